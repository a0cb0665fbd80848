//! The blocking side over real pipes, against a parent in the same process.

mod control;
mod ending;
mod receiving;
mod requests;
mod sending;

use std::time::Duration;

use procession_wire::Framing;

use super::Parent;
use crate::{
    lock,
    test_parent::{LIMIT, TestParent, channel},
};

/// So long that the watcher never reads.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// The watcher reads at once.
const AT_ONCE: Duration = Duration::ZERO;

fn connected(framing: Framing, tick: Duration) -> (Parent, TestParent) {
    let (setup, ends, parent) = channel(framing, LIMIT);
    (Parent::over_with(setup, ends, tick).unwrap(), parent)
}

/// Connected, greeted, and with all the credit there is.
fn frames(tick: Duration) -> (Parent, TestParent) {
    let (child, mut parent) = connected(Framing::Frames, tick);
    parent.greet();
    (child, parent)
}

fn lines(tick: Duration) -> (Parent, TestParent) {
    connected(Framing::Lines, tick)
}

impl Parent {
    fn watcher_reads(&self) -> u64 {
        lock(&self.endpoint().inbox).watcher.reads
    }

    fn watcher_is_parked(&self) -> bool {
        lock(&self.endpoint().inbox).watcher.is_parked()
    }

    fn senders_without_credit(&self) -> usize {
        lock(&self.endpoint().inbox).senders
    }

    /// Whether a thread sleeps until another one has read something.
    fn is_awaited(&self) -> bool {
        lock(&self.endpoint().inbox).is_awaited()
    }

    /// Whether someone has the reading role.
    fn has_reader(&self) -> bool {
        lock(&self.endpoint().inbox).reader.is_none()
    }

    /// Whether someone is in the middle of a write.
    fn is_writing(&self) -> bool {
        self.endpoint().output.as_ref().unwrap().try_lock().is_err()
    }
}
