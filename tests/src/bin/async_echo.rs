//! Sends each message back, on a runtime: the twin of `echo`.

use std::process::ExitCode;

use futures::StreamExt as _;
use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let parent = procession_child::tokio::connect().await?;
            let mut messages = parent.messages();
            while let Some(message) = messages.next().await {
                parent.send(message?).await?;
            }
            Ok(())
        })
    })
}
