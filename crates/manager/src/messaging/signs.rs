//! What a child has shown of itself: kept for those who wait until it has started.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// What has been seen of a child so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its hello.
    pub(crate) hello: bool,
    /// The text of its last `ready`.
    pub(crate) ready: Option<Arc<str>>,
    /// A message.
    pub(crate) message: bool,
    /// Its output is not believed any more, for this reason.
    pub(crate) lost: Option<Arc<str>>,
    /// That came with the end of the output, so that its exit is likely to be the reason.
    pub(crate) at_end: bool,
    /// Pings in a row that it did not answer.
    pub(crate) missed: u32,
}

/// Where it is told, by whoever sees it, and watched, by the process's task alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signs(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    /// There is something that the watcher has not looked at.
    changed: AtomicBool,
    watcher: AtomicWaker,
}

impl Signs {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, change: impl FnOnce(&mut Seen)) {
        let mut seen = self.lock();
        let before = seen.clone();
        change(&mut seen);
        let changed = *seen != before;
        drop(seen);
        if changed {
            self.0.changed.store(true, Ordering::Release);
            self.0.watcher.wake();
        }
    }

    /// All that has been seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Ready when something has changed since it was last ready.
    pub(crate) fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.watcher.register(cx.waker());
        // After the waker is there: what changes in between wakes it.
        if self.0.changed.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
