//! When the output of a process that has exited is given up, as pure arithmetic.

use std::time::{Duration, Instant};

use crate::clock::after;

/// How long the output of a process that has exited is still read.
///
/// A process may exit while its last output is still in the pipe, and a grandchild may hold the
/// pipe open for ever. So after the exit each chunk that arrives re-arms a quiet period, and a hard
/// bound ends it all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrainBounds {
    pub(crate) quiet: Duration,
    pub(crate) bound: Duration,
}

impl Default for DrainBounds {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(50),
            bound: Duration::from_secs(2),
        }
    }
}

/// Where the reading of one output is, after the exit.
///
/// Silence counts only from when nobody may have had a copy of the output for a moment, because of being
/// just started: see `starts`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    quiet_until: Instant,
    bound: Instant,
    /// There may have been a copy when this quiet period began.
    doubtful: bool,
}

impl Drain {
    /// `copies`: there may be such a copy now.
    pub(crate) fn new(bounds: DrainBounds, now: Instant, copies: bool) -> Self {
        Self {
            quiet_until: after(now, bounds.quiet),
            bound: after(now, bounds.bound),
            doubtful: copies,
        }
    }

    /// Another quiet period begins.
    pub(crate) fn rearm(&mut self, bounds: DrainBounds, now: Instant, copies: bool) {
        self.quiet_until = after(now, bounds.quiet);
        self.doubtful = copies;
    }

    /// When to look at it again.
    pub(crate) fn until(&self) -> Instant {
        self.quiet_until.min(self.bound)
    }

    /// When it has been long enough, whatever still comes.
    pub(crate) fn bound(&self) -> Instant {
        self.bound
    }

    /// Whether it has been long enough, whatever still comes.
    pub(crate) fn is_past_bound(&self, now: Instant) -> bool {
        now >= self.bound
    }

    /// Whether nothing that has not come by now is waited for, because of the bound or of silence.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.is_past_bound(now) || (now >= self.quiet_until && !self.doubtful)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: DrainBounds = DrainBounds {
        quiet: Duration::from_millis(10),
        bound: Duration::from_millis(100),
    };

    #[test]
    fn it_ends_by_silence_and_by_the_bound() {
        let exit = Instant::now();
        let after = |milliseconds| exit + Duration::from_millis(milliseconds);
        let mut drain = Drain::new(BOUNDS, exit, false);
        assert_eq!(drain.until(), after(10));
        assert!(!drain.is_over(after(9)));
        assert!(drain.is_over(after(10)));
        drain.rearm(BOUNDS, after(9), false);
        assert!(!drain.is_over(after(18)));
        drain.rearm(BOUNDS, after(95), false);
        assert_eq!(drain.until(), after(100));
        assert!(!drain.is_over(after(99)));
        assert!(drain.is_over(after(100)));
    }

    #[test]
    fn silence_that_began_with_a_copy_never_counts() {
        let exit = Instant::now();
        let after = |milliseconds| exit + Duration::from_millis(milliseconds);
        let mut drain = Drain::new(BOUNDS, exit, true);
        assert!(!drain.is_over(after(50)), "only the bound");
        assert!(drain.is_over(after(100)));
        drain.rearm(BOUNDS, after(50), false);
        assert!(!drain.is_over(after(59)));
        assert!(drain.is_over(after(60)));
    }
}
