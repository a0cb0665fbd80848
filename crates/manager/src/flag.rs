//! Something that happens once, and that any number of tasks may wait for.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Set once; never taken back.
#[derive(Debug, Default)]
pub(crate) struct Flag {
    set: AtomicBool,
    notify: Notify,
}

impl Flag {
    pub(crate) fn set(&self) {
        self.set.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Resolves when it is set. Cancel safe.
    pub(crate) async fn wait(&self) {
        // Made before the look: what is set in between wakes it.
        let notified = self.notify.notified();
        if !self.is_set() {
            notified.await;
        }
    }
}
