//! Sends each message back, on `procession-child` with its default features.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = procession_child::connect()?;
    while let Some(message) = parent.receive()? {
        parent.send(message)?;
    }
    Ok(())
}
