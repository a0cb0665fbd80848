//! A parent that shuts down when it gets SIGINT or SIGTERM: `parent_shuts_down_on_signals DIRECTORY
//! SCRIPT`, where the script is its child's and says `here` first. Prints `ready`, `stopping` when the
//! child is being ended, and in the end the signal. The grace is an hour.

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{Cmd, Event, Messaging, ProcessManager, ShutdownSignals};
use procession_tests::{fixture_main, programs};

fn main() -> ExitCode {
    fixture_main(|| {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [directory, script] = &arguments[..] else {
            return Err("usage: parent_shuts_down_on_signals DIRECTORY SCRIPT".into());
        };
        tokio::runtime::Runtime::new()?.block_on(parent(directory, script))
    })
}

async fn parent(directory: &str, script: &str) -> Result<(), Box<dyn Error>> {
    let signals = ShutdownSignals::listen()?;
    let manager = ProcessManager::builder()
        .working_directory(directory)
        .grace(Duration::from_hours(1))
        .spawn()?;
    let child = Cmd::new(programs::sh())
        .args(["-c", script])
        .messaging(Messaging::standard_io());
    let child = manager.spawn_with_handle(child).await?;
    let mut stream = child.subscribe_message_stream().await?;
    stream.next().await.ok_or("the child has ended")??;
    let mut events = child.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if matches!(event, Event::Stopping { .. }) {
                say("stopping");
            }
        }
    });
    say("ready");
    let signal = signals.shut_down(&manager).await?;
    let report = child.wait().await?;
    say(&format!(
        "{signal}, {:?}, {:?}",
        report.code(),
        report.signal()
    ));
    Ok(())
}

fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}
