//! A typed request, parent and child in one program: `cargo run --bin typed_request`. The README shows it.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use procession_manager::{Cmd, Framing, Message, MessageFormat::Json, Messaging, ProcessManager};

fn child() -> Result<(), Box<dyn std::error::Error>> {
    let parent = procession_child::connect()?;
    Ok(parent.serve(|request| {
        let numbers: Vec<f64> = request.deserialize_as(&Json)?;
        let sum: f64 = numbers.iter().sum();
        Ok(Message::from_serializable(&sum, &Json)?)
    })?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().len() > 1 {
        return child();
    }
    let manager = ProcessManager::in_temp()?;
    let adder = Cmd::new(std::env::current_exe()?).arg("child");
    let adder = adder.messaging(Messaging::named_pipes().framing(Framing::Frames));
    let adder = manager.spawn_with_handle(adder).await?;
    let sum: f64 = adder.request_as(&[1.0, 2.5], &Json).await?;
    println!("1 + 2.5 = {sum}"); // 1 + 2.5 = 3.5
    Ok(manager.shutdown().await?)
}
