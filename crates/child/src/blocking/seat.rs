//! [`Seat`]: where one thread sleeps until something comes for it alone.

use std::{
    sync::{
        Arc, Condvar, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use super::endpoint::{Inbox, Patience};

/// Its waker is left in the session, as a task's would be. Waking a thread that does not sleep costs
/// nothing: it is the reader, and looks for itself.
#[derive(Debug, Default)]
pub(super) struct Seat {
    taken: AtomicBool,
    called: Condvar,
}

impl Seat {
    /// Sleeps until it is called. Whoever calls has changed the inbox under its lock, before or after
    /// the lock was let go of here: so no call is missed.
    pub(super) fn sleep<'a>(
        &self,
        inbox: MutexGuard<'a, Inbox>,
        patience: Patience,
    ) -> MutexGuard<'a, Inbox> {
        self.taken.store(true, Ordering::Release);
        let inbox = match patience.left() {
            None => self
                .called
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                let waited = self.called.wait_timeout(inbox, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        self.taken.store(false, Ordering::Release);
        inbox
    }

    pub(super) fn notify(&self) {
        if self.taken.load(Ordering::Acquire) {
            self.called.notify_one();
        }
    }
}

impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        self.notify();
    }
}
