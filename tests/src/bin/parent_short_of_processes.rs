//! A parent that may start no more processes for a while:
//! `parent_short_of_processes WORKING_DIRECTORY`. Prints the error that it gets.

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use procession_manager::{Cmd, Messaging, ProcessManager, SpawnProcessError};
use procession_tests::procfs::descriptors;
use procession_tests::{become_nobody, eventually, fixture_main, run_directories};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    fixture_main(|| {
        let directory: PathBuf = env::args_os().nth(1).ok_or("usage: … DIRECTORY")?.into();
        // Root is not held to this limit.
        become_nobody()?;
        tokio::runtime::Runtime::new()?.block_on(parent(&directory))
    })
}

async fn parent(directory: &Path) -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::spawn(directory)?;
    let child = || {
        Cmd::new("/bin/sh")
            .args(["-c", "exec sleep 1000"])
            .messaging(Messaging::named_pipes())
    };
    let first = manager.spawn_with_handle(child()).await?;

    let before = getrlimit(Resource::Nproc);
    setrlimit(
        Resource::Nproc,
        Rlimit {
            current: Some(1),
            ..before
        },
    )?;
    let open = descriptors().len();
    let refused = manager.spawn(child()).await;
    setrlimit(Resource::Nproc, before)?;
    let error = match refused {
        Err(error @ SpawnProcessError::ResourceLimit { .. }) => error,
        other => return Err(format!("expected a refusal, got {other:?}").into()),
    };
    if manager.list().await?.len() != 1 || !first.get_process_info().await?.is_running() {
        return Err("the refusal has disturbed the first process, or left an entry".into());
    }
    let directories = run_directories(directory)?;
    if directories.len() != 1 {
        return Err(format!("there should be one run directory: {directories:?}").into());
    }
    eventually(
        "the descriptors of the refused spawn to be closed",
        Duration::from_secs(2),
        async || (descriptors().len() <= open).then_some(()),
    )
    .await;
    writeln!(io::stdout(), "{error}")?;

    let next = manager.spawn_with_handle(child()).await?;
    next.kill().await?;
    manager.shutdown().await?;
    Ok(())
}
