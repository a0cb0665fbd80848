//! The clock of the runtime, which tests can pause.

use std::time::{Duration, Instant};

/// The longest wait: a hundred years of 365 days. A longer one counts as this, so that no sum of an
/// instant and a time of a caller's overflows.
pub(crate) const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// Now. To be called within the runtime.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the instant that lies `time` after `now`, and at most [`LONGEST`].
pub(crate) fn after(now: Instant, time: Duration) -> Instant {
    now + time.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_long() {
        let now = Instant::now();
        // The longest that `Instant` itself can add: timers that round it up overflow.
        let longest = (0..63).rev().fold(Duration::ZERO, |sum, bit| {
            let more = sum + Duration::from_secs(1 << bit);
            now.checked_add(more).map_or(sum, |_| more)
        });
        for time in [LONGEST, longest, Duration::MAX] {
            assert_eq!(after(now, time), now + LONGEST);
        }
        for time in [Duration::ZERO, Duration::from_nanos(1), LONGEST / 2] {
            assert_eq!(after(now, time), now + time);
        }
    }
}
