//! Work on a log that only one may do at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A turn that callers take one after the other, in their order. It goes with the job on a thread of the pool,
/// so nobody's thread waits for it, and a caller that is dropped while it waits leaves the line.
#[derive(Debug)]
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
