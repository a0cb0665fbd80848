//! [`Events`]: whom a change of the session concerns.

use super::Wakers;
use crate::signal::Raised;

/// Those to be woken, and callbacks to be called, when no lock is held.
#[derive(Default)]
#[must_use]
pub(crate) struct Events {
    pub(super) wakers: Wakers,
    pub(super) raised: Vec<Raised>,
}

impl Events {
    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.raised.is_empty()
    }

    pub(crate) fn deliver(self) {
        self.wakers.wake();
        for raised in self.raised {
            raised.call();
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
