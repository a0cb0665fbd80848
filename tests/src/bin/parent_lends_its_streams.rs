//! A parent whose child has the parent's own standard input, output and error:
//! `parent_lends_its_streams WORKING_DIRECTORY`. The child runs the shell script in the variable
//! `CHILD_SCRIPT`, or else copies its input to its output.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use procession_manager::{Cmd, Output, ProcessManager, Stdin};
use procession_tests::{fixture_main, programs};

fn main() -> ExitCode {
    fixture_main(|| {
        let directory: PathBuf = env::args_os().nth(1).ok_or("usage: … DIRECTORY")?.into();
        tokio::runtime::Runtime::new()?.block_on(parent(&directory))
    })
}

async fn parent(directory: &Path) -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::spawn(directory)?;
    let script = env::var("CHILD_SCRIPT");
    let script = script.unwrap_or_else(|_| "cat; echo to standard error >&2".to_owned());
    let child = Cmd::new(programs::sh())
        .args(["-c", &script])
        .stdin(Stdin::Inherit)
        .stdout(Output::Inherit)
        .stderr(Output::Inherit);
    let process = manager.spawn_with_handle(child).await?;
    let report = process.wait().await?;
    manager.shutdown().await?;
    if report.success() {
        Ok(())
    } else {
        Err(report.to_string().into())
    }
}
