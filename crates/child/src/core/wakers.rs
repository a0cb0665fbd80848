//! [`Wakers`]: those who wait for the same thing, tasks or threads.

use std::task::Waker;

/// A list of wakers, each at most once.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    pub(crate) fn register(&mut self, waker: &Waker) {
        if !self.0.iter().any(|known| known.will_wake(waker)) {
            self.0.push(waker.clone());
        }
    }

    /// As the one that [`pop`](Self::pop) gives next.
    pub(super) fn register_first(&mut self, waker: &Waker) {
        self.remove(waker);
        self.0.push(waker.clone());
    }

    pub(super) fn remove(&mut self, waker: &Waker) {
        self.0.retain(|known| !known.will_wake(waker));
    }

    /// Takes one out.
    pub(super) fn pop(&mut self) -> Option<Waker> {
        self.0.pop()
    }

    pub(super) fn push(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    pub(super) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all out, to be woken by [`wake`](Self::wake) when no lock is held.
    #[must_use]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn wake(self) {
        for waker in self.0 {
            waker.wake();
        }
    }
}
