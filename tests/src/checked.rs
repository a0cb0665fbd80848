//! A manager for one test, and what must be gone after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use procession_manager::{ProcessHandle, ProcessManager, ProcessManagerHandle, Runnable};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::bound::{Within, ci_factor, eventually_blocking};
use crate::procfs;
use crate::settled::Settled;

/// How long a whole test may take.
const WHOLE_TEST: Duration = Duration::from_mins(1);
/// How long the traces of a test may take to go away after the shutdown: a process that was killed and
/// is not our child is reaped by its own parent, in its own time.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// The manager of one test.
#[derive(Debug)]
pub struct Checked {
    manager: ProcessManagerHandle,
    places: Places,
}

#[derive(Debug)]
struct Places {
    working: PathBuf,
    scratch: PathBuf,
    _root: TempDir,
}

impl Checked {
    /// Its handle.
    pub fn manager(&self) -> &ProcessManagerHandle {
        &self.manager
    }

    /// The working directory of the manager.
    pub fn working_directory(&self) -> &Path {
        &self.places.working
    }

    /// A directory for files of the test itself.
    pub fn scratch(&self) -> &Path {
        &self.places.scratch
    }

    /// Spawns a process that is expected to start.
    pub async fn spawn(&self, what: impl Runnable) -> ProcessHandle {
        self.manager
            .spawn_with_handle(what)
            .within("a process to start")
            .await
            .expect("the process starts")
    }

    /// The run directories that there are now.
    pub fn run_directories(&self) -> Vec<PathBuf> {
        run_directories(&self.places.working).expect("the working directory can be read")
    }
}

/// Runs a test with a manager of its own, for at most a minute (more under CI).
///
/// # Panics
/// When the test does, when it takes too long, and when it leaves something behind.
pub fn checked<F>(test: F)
where
    F: AsyncFnOnce(&Checked),
{
    checked_for(WHOLE_TEST, test);
}

/// [`checked`] with another bound.
///
/// # Panics
/// As [`checked`] does.
pub fn checked_for<F>(bound: Duration, test: F)
where
    F: AsyncFnOnce(&Checked),
{
    let _settled = Settled::begin();
    let runtime = runtime();
    let places = runtime.block_on(async {
        let checked = start();
        tokio::time::timeout(bound * ci_factor(), test(&checked))
            .await
            .unwrap_or_else(|_| panic!("the test did not end within {bound:?}"));
        let Checked { manager, places } = checked;
        manager
            .shutdown()
            .within("the shutdown")
            .await
            .expect("the manager shuts down");
        places
    });
    check_gone(&places.working);
    drop(runtime);
    check_no_zombie();
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn start() -> Checked {
    let root = tempfile::tempdir().expect("a temporary directory");
    let real = root
        .path()
        .canonicalize()
        .expect("the real path of the temporary directory");
    let places = Places {
        working: real.join("work"),
        scratch: real.join("scratch"),
        _root: root,
    };
    fs::create_dir(&places.working).expect("the working directory");
    fs::create_dir(&places.scratch).expect("the scratch directory");
    let manager = ProcessManager::spawn(&places.working).expect("the manager starts");
    Checked { manager, places }
}

/// Panics unless no trace of the manager of this directory is left: no process, no run directory, no
/// descriptor.
fn check_gone(working: &Path) {
    eventually_blocking("all processes of the test to be gone", CLEAN_UP, || {
        let left = procfs::with_in_environment(working.as_os_str());
        if left.is_empty() {
            return Ok(());
        }
        let lines: Vec<_> = left
            .into_iter()
            .map(|pid| (pid, procfs::command_line(pid)))
            .collect();
        Err(format!("still there: {lines:?}"))
    });
    let directories = directories_in(working).expect("the working directory can be read");
    assert!(
        directories.is_empty(),
        "left in the working directory: {directories:?}"
    );
    let open: Vec<_> = procfs::descriptors()
        .into_iter()
        .filter(|(_, target)| target.starts_with(working))
        .collect();
    assert!(open.is_empty(), "descriptors left open: {open:?}");
}

fn check_no_zombie() {
    // Children of tests that run beside this one are zombies for a moment; a leaked one stays.
    let seen = procfs::zombies();
    eventually_blocking("zombies to be reaped", CLEAN_UP, || {
        let left: Vec<_> = procfs::zombies()
            .into_iter()
            .filter(|now| {
                seen.iter()
                    .any(|then| (then.pid, then.started) == (now.pid, now.started))
            })
            .collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("still zombies: {left:?}"))
        }
    });
}

/// The run directories of all managers that use this working directory.
///
/// # Errors
/// When a directory cannot be read. One that goes away meanwhile is none.
pub fn run_directories(working: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for manager in directories_in(working)? {
        found.extend(directories_in(&manager)?);
    }
    Ok(found)
}

fn directories_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    Ok(paths.filter(|path| path.is_dir()).collect())
}
