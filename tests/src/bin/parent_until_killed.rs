//! A parent that lives until it is killed: `parent_until_killed DIRECTORY TRANSPORT CHILD
//! [CGROUP]`. The directory `-` is a private one. When its child answers, it prints the child's
//! pid.

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use futures::StreamExt as _;
use procession_manager::{Cmd, Framing, Messaging, ProcessManager};
use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [directory, transport, child, cgroup @ ..] = &arguments[..] else {
            return Err("usage: parent_until_killed DIRECTORY TRANSPORT CHILD [CGROUP]".into());
        };
        let messaging = match transport.as_str() {
            "standard-io" => Messaging::standard_io(),
            _ => Messaging::named_pipes(),
        };
        let child = Cmd::new(child).messaging(messaging.framing(Framing::Frames));
        tokio::runtime::Runtime::new()?.block_on(parent(directory, cgroup.first(), child))
    })
}

async fn parent(
    directory: &str,
    cgroup: Option<&String>,
    child: Cmd,
) -> Result<(), Box<dyn Error>> {
    let mut builder = ProcessManager::builder();
    if directory != "-" {
        builder = builder.working_directory(directory);
    }
    if let Some(cgroup) = cgroup {
        builder = builder.cgroup(cgroup);
    }
    let manager = builder.spawn()?;
    let child = manager.spawn_with_handle(child).await?;
    let mut stream = child.subscribe_message_stream().await?;
    child.send_message("there?").await?;
    stream.next().await.ok_or("the child has ended")??;
    let pid = child
        .get_process_info()
        .await?
        .pid()
        .ok_or("the child has no pid")?;
    writeln!(io::stdout(), "{pid}")?;
    std::future::pending().await
}
