//! Takes messages in until its input ends, then sends one message back: what they come to.

use std::process::ExitCode;

use procession_tests::fixture_main;
use procession_tests::payload::Digest;

fn main() -> ExitCode {
    fixture_main(|| {
        let parent = procession_child::connect()?;
        let mut digest = Digest::default();
        for message in parent.messages() {
            digest.add(message?.as_bytes());
        }
        parent.send(digest.to_string())?;
        Ok(())
    })
}
