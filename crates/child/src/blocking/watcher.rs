//! The watcher: reads the input while the program is busy elsewhere.
//!
//! ```text
//!                 nothing came or went for a tick,
//!                 and the role is free
//!  ┌─────────┐ ─────────────────────────────────► ┌─────────┐
//!  │ ticking │ ◄───────────────────────────────── │ reading │ ─► input ended: thread ends
//!  └──┬───▲──┘   the program waits, or too much   └─────────┘
//!     │   │      is held
//!     │   │
//!     │   └─── the program leaves `receive`
//!     │
//!     │ nothing came or went for a tick, and the program is in `receive`, or too much is held
//!     ▼
//!  ┌────────┐
//!  │ parked │   no wake-ups
//!  └────────┘
//! ```

use std::sync::{MutexGuard, PoisonError};

use super::{
    endpoint::{Endpoint, Inbox, Patience},
    read_end::{Outcome, ReadEnd},
};
use crate::lock;

#[derive(Debug, Default)]
pub(super) struct Watcher {
    parked: bool,
    #[cfg(test)]
    pub(super) reads: u64,
}

impl Watcher {
    /// Whether the watcher must be woken for it.
    pub(super) fn unpark(&mut self) -> bool {
        std::mem::take(&mut self.parked)
    }

    #[cfg(test)]
    pub(super) fn is_parked(&self) -> bool {
        self.parked
    }
}

impl Endpoint {
    /// What the watcher's thread runs.
    pub(super) fn watch(&self) {
        let mut inbox = lock(&self.inbox);
        let mut seen = None;
        while !inbox.session.has_ended() {
            let quiet = seen == Some(inbox.visits);
            seen = Some(inbox.visits);
            if !quiet {
                inbox = self.tick(inbox);
                continue;
            }
            inbox = match inbox.take_reader() {
                Some(end) => self.watch_pipe(inbox, end),
                None => self.park(inbox),
            };
            seen = None;
        }
    }

    fn tick<'a>(&'a self, inbox: MutexGuard<'a, Inbox>) -> MutexGuard<'a, Inbox> {
        let waited = self.left.wait_timeout(inbox, self.tick);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn park<'a>(&'a self, mut inbox: MutexGuard<'a, Inbox>) -> MutexGuard<'a, Inbox> {
        inbox.watcher.parked = true;
        self.left
            .wait_while(inbox, |inbox| inbox.watcher.parked)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until the program waits for what is read, or too much is held, or the input ends.
    fn watch_pipe<'a>(
        &'a self,
        mut inbox: MutexGuard<'a, Inbox>,
        mut end: ReadEnd,
    ) -> MutexGuard<'a, Inbox> {
        loop {
            if inbox.session.has_backlog() {
                end.deliver_backlog(&mut inbox.session);
            } else {
                drop(inbox);
                let outcome = end.read(Patience::Interruptible, self.interrupt.as_ref());
                inbox = lock(&self.inbox);
                if matches!(outcome, Outcome::Quiet) {
                    return inbox;
                }
                end.deliver(outcome, &mut inbox.session);
                #[cfg(test)]
                {
                    inbox.watcher.reads += 1;
                }
            }
            inbox = self.told(inbox);
            if inbox.session.has_ended() {
                return inbox;
            }
            if inbox.is_awaited() || inbox.session.is_full() {
                inbox.give_back(end);
                self.pass_on(&mut inbox);
                return inbox;
            }
        }
    }
}
