//! One test at a time, in binaries whose tests measure the whole process.

use std::sync::{Mutex, MutexGuard, PoisonError};

static ALONE: Mutex<()> = Mutex::new(());

/// Holds every other test of this binary that calls it until the guard is dropped.
pub fn alone() -> MutexGuard<'static, ()> {
    // The test that failed holding it has been reported; the others still run.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
