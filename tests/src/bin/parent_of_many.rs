//! A parent that ends in many ways, none of them a shutdown:
//! `parent_of_many DIRECTORY ENDING COUNT [INNER]`.
//!
//! It starts this many children, each a shell with a `sleep` in its group and one in a session of its own:
//! three processes. With a directory for it, one more child is this program itself, as the parent of ten.
//! It prints `ready`, and ends when it is told a line. If it is to live on, it prints `alive` then.

use std::env;
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

use futures::StreamExt as _;
use procession_manager::{Cmd, Framing, Messaging, ProcessManager, ProcessManagerHandle};
use procession_tests::{fixture_main, programs};
use tokio::runtime::Runtime;

const FAMILY: &str = "sleep 1000 & setsid sleep 1000 & wait";

fn main() -> ExitCode {
    fixture_main(|| {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [directory, ending, count, inner @ ..] = &arguments[..] else {
            return Err("usage: parent_of_many DIRECTORY ENDING COUNT [INNER]".into());
        };
        let runtime = Runtime::new()?;
        let manager = runtime.block_on(start(directory, count.parse()?, inner.first()))?;
        say("ready")?;
        io::stdin().read_line(&mut String::new())?;
        end(ending, runtime, manager)
    })
}

async fn start(
    directory: &str,
    count: usize,
    inner: Option<&String>,
) -> Result<ProcessManagerHandle, Box<dyn Error>> {
    let manager = ProcessManager::spawn(directory)?;
    let family = || Cmd::new(programs::sh()).args(["-c", FAMILY]);
    let spawned = (0..count).map(|_| manager.spawn(family()));
    for spawned in futures::future::join_all(spawned).await {
        spawned?;
    }
    if let Some(inner) = inner {
        let parent = Cmd::new(env::current_exe()?)
            .args([inner, "returns", "10"])
            .messaging(Messaging::standard_io().framing(Framing::Lines));
        let parent = manager.spawn_with_handle(parent).await?;
        let mut stream = parent.subscribe_message_stream().await?;
        stream.next().await.ok_or("the inner parent has ended")??;
    }
    Ok(manager)
}

fn end(
    ending: &str,
    runtime: Runtime,
    manager: ProcessManagerHandle,
) -> Result<(), Box<dyn Error>> {
    match ending {
        "returns" => return Ok(()),
        "exits" => std::process::exit(3),
        "panics" => runtime.block_on(async { panic!("as the test has it") }),
        "panics-in-a-task" => {
            let task = runtime.spawn(async move {
                let _manager = manager;
                panic!("as the test has it")
            });
            let end: Result<(), _> = runtime.block_on(task);
            end.expect_err("it panicked");
        }
        "drops-the-runtime" => drop(runtime),
        "drops-the-runtime-in-the-background" => runtime.shutdown_background(),
        other => return Err(format!("unknown ending {other}").into()),
    }
    say("alive")?;
    loop {
        thread::park();
    }
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
