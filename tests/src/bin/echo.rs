//! Sends each message back, and ends with its input. With the argument `exit` it ends at the message
//! `exit N`, with status N.

use std::process::ExitCode;

use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        let parent = procession_child::connect()?;
        let obeys = std::env::args().nth(1).as_deref() == Some("exit");
        for message in parent.messages() {
            let message = message?;
            if obeys && let Some(status) = exit_status(message.as_str().unwrap_or_default()) {
                parent.finish(status)?;
                std::process::exit(status);
            }
            parent.feed(message)?;
        }
        Ok(())
    })
}

fn exit_status(text: &str) -> Option<i32> {
    text.strip_prefix("exit ")?.parse().ok()
}
