//! Descriptors are back to what they were, whenever no test of this binary is running.
//!
//! The tests of one binary run side by side in one process, so none can count descriptors for itself.
//! Together they can: the first to start notes what is open, and the last to end compares.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::bound::eventually_blocking;
use crate::procfs;

struct Running {
    tests: usize,
    open_before: Vec<(u32, PathBuf)>,
}

static RUNNING: Mutex<Running> = Mutex::new(Running {
    tests: 0,
    open_before: Vec::new(),
});

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held while a test runs.
#[derive(Debug)]
pub(crate) struct Settled(());

impl Settled {
    pub(crate) fn begin() -> Self {
        let mut running = running();
        if running.tests == 0 {
            warm_up();
            running.open_before = procfs::descriptors();
        }
        running.tests += 1;
        Self(())
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        let mut running = running();
        running.tests -= 1;
        if running.tests > 0 || std::thread::panicking() {
            return;
        }
        let before = running.open_before.clone();
        eventually_blocking("descriptors to be closed", Duration::from_secs(5), || {
            let now = procfs::descriptors();
            if now.len() <= before.len() {
                return Ok(());
            }
            let new: Vec<_> = now.iter().filter(|open| !before.contains(open)).collect();
            Err(format!("still open: {new:?}"))
        });
    }
}

/// Opens what stays open for the life of a process: the signal pipe of the runtime.
fn warm_up() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    drop(runtime);
}
