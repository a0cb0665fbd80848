//! Answers each request with its length, and keeps it.

use std::error::Error;
use std::sync::Mutex;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = procession_child::connect()?;
    let kept = Mutex::new(Vec::new());
    parent.serve(move |request| {
        let message = request.message().as_bytes().to_vec();
        let len = message.len();
        kept.lock()
            .map_err(|_| "another request has panicked")?
            .push(message);
        Ok(len.to_string().into())
    })?;
    Ok(())
}
