//! Work on a log that only one may do at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A turn that tasks take one after the other, in their order. It goes with the job on a thread of
/// the pool, so nobody's thread waits for it, and a task that is aborted while it waits leaves the
/// line.
///
/// A future of the user must not take it: one that is not polled when its turn comes would hold up
/// all others.
#[derive(Debug, Clone)]
pub(super) struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turn {
    /// Waits for the turn, which is over when what this returns is dropped.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}
