//! A parent whose child has a lease: `parent_grants_a_lease DIRECTORY MILLISECONDS PROGRAM
//! [ARGUMENT]...`. It prints the child's pid when that is ready, and how it ended when it has.

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use procession_manager::{Cmd, Framing, Messaging, ProcessManager};
use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [directory, milliseconds, program, rest @ ..] = &arguments[..] else {
            return Err("usage: parent_grants_a_lease DIRECTORY MILLISECONDS PROGRAM".into());
        };
        let lease = Duration::from_millis(milliseconds.parse()?);
        let messaging = Messaging::named_pipes().framing(Framing::Frames);
        let child = Cmd::new(program).args(rest);
        let child = child.messaging(messaging.lease(lease));
        tokio::runtime::Runtime::new()?.block_on(parent(directory, child))
    })
}

async fn parent(directory: &str, child: Cmd) -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::builder()
        .working_directory(directory)
        .spawn()?;
    let child = manager.spawn_with_handle(child).await?;
    child.wait_ready().await?;
    let info = child.get_process_info().await?;
    let pid = info.pid().ok_or("the child has no pid")?;
    writeln!(io::stdout(), "{pid}")?;
    let report = child.wait().await?;
    let (code, signal) = (report.code(), report.signal());
    writeln!(io::stdout(), "code {code:?} signal {signal:?}")?;
    manager.shutdown().await?;
    Ok(())
}
