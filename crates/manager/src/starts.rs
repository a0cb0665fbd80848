//! Which children this program is just starting, whatever their manager.
//!
//! A child has copies of all our descriptors until its program runs (`execve(2)` closes them). As long as
//! one that was begun before the exit of another is not through, an output that shows no end may be held by nobody but that copy:
//!
//! ```text
//!   begun ──► copies of all ends ──► its program runs: the copies are gone ──► through
//!                    │
//!   exit of another ─┴─ a mark: silence counts from when all that was begun before is through
//! ```
//!
//! Silence from before that says nothing, not even when all are through at its end: what starts a child is
//! told so when the new program has its memory, and only then does the kernel close the copies
//! (`begin_new_exec` in fs/exec.c: `exec_mmap`, which ends a `vfork(2)`, comes before `do_close_on_exec`).

use std::sync::{Mutex, MutexGuard, PoisonError};

static STARTS: Mutex<Starts> = Mutex::new(Starts::new());

#[derive(Debug)]
struct Starts {
    begun: u64,
    /// Those that are not through, in their order.
    under_way: Vec<u64>,
}

fn lock() -> MutexGuard<'static, Starts> {
    STARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child is being started, for as long as this is there.
#[derive(Debug)]
#[must_use = "a start is over when this is dropped"]
pub(crate) struct Starting(u64);

/// A moment among all starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

/// To be held from before a child is started until its program runs.
pub(crate) fn starting() -> Starting {
    Starting(lock().begin())
}

/// Now.
pub(crate) fn mark() -> Mark {
    Mark(lock().begun)
}

impl Drop for Starting {
    fn drop(&mut self) {
        lock().end(self.0);
    }
}

impl Mark {
    /// Whether all that was begun before is through.
    pub(crate) fn is_past(self) -> bool {
        lock().are_through(self.0)
    }
}

impl Starts {
    const fn new() -> Self {
        Self {
            begun: 0,
            under_way: Vec::new(),
        }
    }

    fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.under_way.push(self.begun);
        self.begun
    }

    fn end(&mut self, start: u64) {
        self.under_way.retain(|other| *other != start);
    }

    fn are_through(&self, up_to: u64) -> bool {
        self.under_way.first().is_none_or(|first| *first > up_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_past_when_all_before_it_are_through_in_any_order() {
        let mut starts = Starts::new();
        assert!(starts.are_through(starts.begun));
        let (first, second) = (starts.begin(), starts.begin());
        let mark = starts.begun;
        let third = starts.begin();
        starts.end(second);
        assert!(!starts.are_through(mark));
        starts.end(first);
        assert!(starts.are_through(mark), "the third was begun after it");
        assert!(!starts.are_through(starts.begun));
        starts.end(third);
        assert!(starts.are_through(starts.begun));
    }

    #[test]
    fn a_start_is_over_when_it_is_dropped() {
        let starting = starting();
        let mark = mark();
        assert!(!mark.is_past());
        drop(starting);
        // Other tests have their own under way.
        while !mark.is_past() {
            std::thread::yield_now();
        }
    }
}
