//! A parent that runs out of descriptors at each point of a spawn, one after the other:
//! `parent_short_of_descriptors WORKING_DIRECTORY`. Prints how many spawns were refused.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use procession_manager::{
    Cmd, Logging, Messaging, Output, ProcessHandle, ProcessManager, SpawnProcessError, Stdin,
};
use procession_tests::procfs::{children, descriptors};
use procession_tests::{eventually, fixture_main, programs, run_directories};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// More than one spawn can need.
const MOST_ROOM: u64 = 60;
/// The same for one that shares all of its streams.
const MOST_BARE_ROOM: u64 = 4;

fn main() -> ExitCode {
    fixture_main(|| {
        let directory: PathBuf = env::args_os().nth(1).ok_or("usage: … DIRECTORY")?.into();
        tokio::runtime::Runtime::new()?.block_on(parent(&directory))
    })
}

async fn parent(directory: &Path) -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::spawn(directory)?;
    let child = || {
        Cmd::new(programs::sh())
            .args(["-c", "exec sleep 1000"])
            .messaging(Messaging::named_pipes())
            .logging(Logging::stdout_and_stderr())
    };
    // The first descriptor that this one needs is the one that watches it, when it runs already.
    let bare = || {
        Cmd::new(programs::sh())
            .args(["-c", "exec sleep 1000"])
            .stdin(Stdin::Inherit)
            .stdout(Output::Inherit)
            .stderr(Output::Inherit)
    };
    // What is opened once and kept is open from here on.
    let first = manager.spawn_with_handle(child()).await?;
    first.kill().await?;
    first.remove().await?;
    // Before the lower limits, which make the manager give up what it has in reserve.
    let second = manager.spawn_with_handle(child()).await?;
    remove_without_descriptors(directory, second).await?;
    let mut open = settled().await;

    let mut refused = Vec::new();
    let mut started = 0;
    let full = (0..MOST_ROOM).map(|room| (room, child()));
    for (room, cmd) in full.chain((0..MOST_BARE_ROOM).map(|room| (room, bare()))) {
        let before = getrlimit(Resource::Nofile);
        allow(limit_with_room(room))?;
        let spawned = manager.spawn_with_handle(cmd).await;
        setrlimit(Resource::Nofile, before)?;
        match spawned {
            Ok(process) => {
                process.kill().await?;
                process.remove().await?;
                started += 1;
            }
            Err(error @ SpawnProcessError::ResourceLimit { .. }) => refused.push(error.to_string()),
            Err(other) => return Err(format!("with room for {room}: {other:?}").into()),
        }
        let left = children();
        for pid in left.iter().filter_map(|child| child.pid.try_into().ok()) {
            // It would hold the streams of the test open.
            kill_process(Pid::from_raw(pid).ok_or("no pid")?, Signal::KILL)?;
        }
        if !left.is_empty() {
            return Err(format!("with room for {room}, a child is left: {left:?}").into());
        }
        let left = run_directories(directory)?;
        if !left.is_empty() {
            return Err(format!("with room for {room}, left behind: {left:?}").into());
        }
        eventually(
            format!("descriptors to be closed, with room for {room}"),
            Duration::from_secs(2),
            async || (descriptors().len() <= open).then_some(()),
        )
        .await;
        // What a limit made the manager give up does not hide what is left open later.
        open = open.min(descriptors().len());
    }
    // A kill needs none.
    let process = manager.spawn_with_handle(child()).await?;
    let before = getrlimit(Resource::Nofile);
    allow(limit_with_room(0))?;
    let ended = async {
        let ended = tokio::time::timeout(Duration::from_secs(3), process.wait()).await;
        let restored = setrlimit(Resource::Nofile, before);
        ended
            .map_err(|_| "it was not killed at once")
            .and(Ok(restored))
    };
    let (killed, ended) = tokio::join!(process.kill(), ended);
    ended??;
    killed?;
    process.remove().await?;

    let mut output = io::stdout();
    writeln!(output, "refused {}\nstarted {started}", refused.len())?;
    for words in refused {
        writeln!(output, "error {words}")?;
    }
    manager.shutdown().await?;
    Ok(())
}

/// The files that a child leaves are removed when there is no descriptor to be had, however deep
/// they are.
async fn remove_without_descriptors(
    directory: &Path,
    process: ProcessHandle,
) -> Result<(), Box<dyn Error>> {
    process.kill().await?;
    let run_directory = run_directories(directory)?.pop().ok_or("it has none")?;
    for inner in ["a/b/c/d/e/f/g/h", "i/j/k/l"] {
        fs::create_dir_all(run_directory.join(inner))?;
        fs::write(run_directory.join(inner).join("file"), "text")?;
    }
    settled().await;
    let before = getrlimit(Resource::Nofile);
    allow(limit_with_room(1))?;
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let removed = process.remove().await;
    drop(taken);
    setrlimit(Resource::Nofile, before)?;
    removed?;
    if run_directory.exists() {
        return Err("the run directory is still there".into());
    }
    Ok(())
}

/// The number of open descriptors, once two looks in a row agree.
async fn settled() -> usize {
    let mut last = descriptors().len();
    eventually(
        "the number of descriptors to settle",
        Duration::from_secs(2),
        async move || {
            let now = descriptors().len();
            let same = now == last;
            last = now;
            same.then_some(now)
        },
    )
    .await
}

/// The limit under which this many more descriptors can be opened: it bounds their numbers, and the
/// lowest free number is always taken.
fn limit_with_room(room: u64) -> u64 {
    let taken: Vec<u64> = descriptors()
        .into_iter()
        .map(|(number, _)| number.into())
        .collect();
    let free = (0..).filter(|number| !taken.contains(number));
    free.take(usize::try_from(room).unwrap_or(usize::MAX))
        .last()
        .map_or(0, |last| last + 1)
}

fn allow(descriptors: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(descriptors),
        ..getrlimit(Resource::Nofile)
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}
