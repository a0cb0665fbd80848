//! [`Signal`]: tells a program that its parent asks it to stop, or no longer wants an answer.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::lock;

type Callback = Box<dyn FnOnce() + Send>;

/// A flag, and what to call when it is raised. Callbacks run on a thread of their own, one after the
/// other, so that one may send, receive or block without holding up the reading thread.
#[derive(Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    callbacks: Mutex<Vec<Callback>>,
}

/// Callbacks of a signal that was raised.
#[must_use]
pub(crate) struct Raised(Vec<Callback>);

impl Signal {
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Calls `callback` when the signal is raised, or now if it has been.
    pub(crate) fn on_raise(&self, callback: Callback) {
        let mut callbacks = lock(&self.callbacks);
        if self.is_raised() {
            drop(callbacks);
            Raised(vec![callback]).call();
        } else {
            callbacks.push(callback);
        }
    }

    /// Sets the flag at once, and gives the callbacks to [`Raised::call`] when no lock is held.
    pub(crate) fn raise(&self) -> Raised {
        let mut callbacks = lock(&self.callbacks);
        self.raised.store(true, Ordering::Release);
        Raised(std::mem::take(&mut *callbacks))
    }

    /// Forgets the callbacks, and drops what they hold.
    pub(crate) fn forget(&self) {
        let callbacks = std::mem::take(&mut *lock(&self.callbacks));
        drop(callbacks);
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&self.is_raised()).finish()
    }
}

impl Raised {
    pub(crate) fn call(self) {
        let Self(callbacks) = self;
        if callbacks.is_empty() {
            return;
        }
        let callbacks = Arc::new(Mutex::new(callbacks));
        let for_thread = Arc::clone(&callbacks);
        let spawned = thread::Builder::new()
            .name("procession-call".into())
            .spawn(move || call_here(&for_thread));
        if spawned.is_err() {
            // No thread to be had: better late answers to the parent than no call.
            call_here(&callbacks);
        }
    }
}

fn call_here(callbacks: &Mutex<Vec<Callback>>) {
    let callbacks = std::mem::take(&mut *lock(callbacks));
    for callback in callbacks {
        // The panic hook has reported it; the other callbacks still run.
        let _ = catch_unwind(AssertUnwindSafe(callback));
    }
}
