//! A parent without root's rights: `parent_asks_too_much WORKING_DIRECTORY` asks for children with rights
//! that it cannot give, prints each error, and fails if one was started or left something behind.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use procession_manager::{Cmd, Messaging, ProcessManager, Resource, SpawnProcessError};
use procession_tests::{become_nobody, fixture_main};
use rustix::process::{Resource as Kernel, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    fixture_main(|| {
        let directory: PathBuf = env::args_os().nth(1).ok_or("usage: … DIRECTORY")?.into();
        become_nobody()?;
        tokio::runtime::Runtime::new()?.block_on(parent(&directory))
    })
}

async fn parent(directory: &Path) -> Result<(), Box<dyn Error>> {
    let few = Rlimit {
        current: Some(200),
        maximum: Some(200),
    };
    setrlimit(Kernel::Nofile, few)?;
    assert_eq!(getrlimit(Kernel::Nofile), few);
    let manager = ProcessManager::spawn(directory)?;
    let child = || {
        Cmd::new("sleep")
            .arg("1000")
            .messaging(Messaging::named_pipes())
    };
    for refused in [
        child().user(1),
        child().group(0),
        child().groups([0]),
        child().nice(-20),
        child().limit(Resource::OpenFiles, 201),
        child().limit(Resource::OpenFiles, u64::MAX),
    ] {
        match manager.spawn(refused).await {
            Err(error @ SpawnProcessError::CannotSpawnProcess { .. }) => {
                writeln!(io::stdout(), "{error}")?;
            }
            other => return Err(format!("expected a refusal, got {other:?}").into()),
        }
    }
    if !manager.list().await?.is_empty() {
        return Err("a refusal has left an entry".into());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?.path();
        if entry.is_dir() {
            let inside: Vec<_> = fs::read_dir(entry)?
                .filter_map(|entry| Some(entry.ok()?.file_name()))
                .filter(|name| name != ".procession")
                .collect();
            if !inside.is_empty() {
                return Err(format!("left behind: {inside:?}").into());
            }
        }
    }
    // What needs no rights works.
    let child = Cmd::new("sh")
        .args(["-c", "umask; nice; ulimit -n; ulimit -Hn"])
        .umask(0o27)
        .nice(19)
        .limit(Resource::OpenFiles, 200);
    let output = manager.run(child).await?;
    if output.stdout() != "0027\n19\n200\n200\n" {
        return Err(format!("{output:?}").into());
    }
    manager.shutdown().await?;
    Ok(())
}
