//! How long a restart waits.

use std::fmt;
use std::time::Duration;

/// How long a restart waits: exponential backoff with full jitter.
///
/// The n-th restart in a row, counted from 0, waits a random time between 0 and `first` × 2ⁿ, and at most
/// `longest`. Jitter keeps processes that fail together from starting together. A run that was stable,
/// which means up for `reset_after` since it counted as started, takes n back to 0.
///
/// The [default](Self::default) is 250 ms, 30 s, and 60 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[must_use]
pub struct Backoff {
    #[cfg_attr(
        feature = "serde",
        serde(rename = "first_ms", with = "crate::model::data::millis")
    )]
    first: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(rename = "longest_ms", with = "crate::model::data::millis")
    )]
    longest: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(rename = "reset_after_ms", with = "crate::model::data::millis")
    )]
    reset_after: Duration,
}

impl Backoff {
    /// The first restart waits at most `first`, and none more than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            reset_after: Duration::from_mins(1),
        }
    }

    /// How long a run has to be up to count as stable; 60 s unless set.
    pub const fn reset_after(mut self, time: Duration) -> Self {
        self.reset_after = time;
        self
    }

    /// The most that the first restart in a row waits.
    pub const fn first_wait(&self) -> Duration {
        self.first
    }

    /// The most that any restart waits.
    pub const fn longest_wait(&self) -> Duration {
        self.longest
    }

    /// How long a run has to be up to count as stable.
    pub const fn stable_after(&self) -> Duration {
        self.reset_after
    }

    /// The most that the n-th restart in a row waits.
    pub fn most(&self, n: u32) -> Duration {
        let most = self
            .first
            .as_nanos()
            .saturating_mul(2u128.saturating_pow(n))
            .min(self.longest.as_nanos());
        // In range, since `longest` is.
        Duration::from_nanos_u128(most)
    }

    /// How long the n-th restart in a row waits; `draw` gives a random time between 0 and the one it is
    /// given, both included.
    pub fn wait(&self, n: u32, draw: impl FnOnce(Duration) -> Duration) -> Duration {
        let most = self.most(n);
        draw(most).min(most)
    }
}

/// What fails at once is back within a second or two, and what fails on and on costs next to nothing.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_secs(30))
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first,
            longest,
            reset_after,
        } = self;
        write!(
            f,
            "up to {first:?}, doubled to {longest:?}, anew after {reset_after:?} up"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_most_doubles_up_to_the_longest_and_never_overflows() {
        let usual = Backoff::new(seconds(1), seconds(30));
        let nano = Duration::from_nanos(1);
        let tiny = Backoff::new(nano, seconds(3600));
        let endless = Backoff::new(seconds(1), Duration::MAX);
        let cases = [
            (usual, 0, seconds(1)),
            (usual, 1, seconds(2)),
            (usual, 4, seconds(16)),
            (usual, 5, seconds(30)),
            (usual, u32::MAX, seconds(30)),
            (tiny, 40, Duration::from_nanos(1 << 40)),
            (tiny, 42, seconds(3600)),
            (endless, 63, seconds(1 << 63)),
            (endless, 64, Duration::MAX),
            (endless, 127, Duration::MAX),
            (endless, 128, Duration::MAX),
            (endless, u32::MAX, Duration::MAX),
            (Backoff::new(Duration::MAX, Duration::MAX), 0, Duration::MAX),
            (Backoff::new(Duration::MAX, seconds(1)), 9, seconds(1)),
            (Backoff::new(seconds(9), seconds(5)), 0, seconds(5)),
            (
                Backoff::new(Duration::ZERO, seconds(5)),
                200,
                Duration::ZERO,
            ),
        ];
        for (backoff, n, most) in cases {
            assert_eq!(backoff.most(n), most, "restart {n}: {backoff}");
        }
    }

    #[test]
    fn the_wait_is_what_is_drawn_but_no_more_than_the_most() {
        let backoff = Backoff::new(seconds(1), seconds(30));
        assert_eq!(backoff.wait(3, |most| most / 4), seconds(2));
        assert_eq!(backoff.wait(3, |_| Duration::ZERO), Duration::ZERO);
        assert_eq!(backoff.wait(3, |most| most), seconds(8));
        assert_eq!(backoff.wait(3, |_| Duration::MAX), seconds(8));
    }
}
