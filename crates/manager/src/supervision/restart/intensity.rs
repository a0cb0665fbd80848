//! How many restarts are too many.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// The most restarts that an intensity can allow in its period: 10,000. Each takes 16 bytes while it counts.
pub const MAX_RESTARTS: u32 = 10_000;

/// How many restarts there may be in any period of this length, as OTP's `intensity` and `period`. One
/// more, and the process ends for ever.
///
/// Restarts that a user asked for do not count. A restart counts from its run's exit, so before its wait.
///
/// The [default](Self::default) is 5 restarts in 60 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[must_use]
pub struct RestartIntensity {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "restarts"))]
    restarts: u32,
    #[cfg_attr(
        feature = "serde",
        serde(rename = "period_ms", with = "crate::model::data::millis")
    )]
    period: Duration,
}

#[cfg(feature = "serde")]
fn restarts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let restarts = <u32 as serde::Deserialize>::deserialize(deserializer)?;
    if restarts > MAX_RESTARTS {
        let expected = "at most 10000 restarts";
        let found = serde::de::Unexpected::Unsigned(restarts.into());
        return Err(serde::de::Error::invalid_value(found, &expected));
    }
    Ok(restarts)
}

impl RestartIntensity {
    /// So many restarts, and at most [`MAX_RESTARTS`], in this time. With 0 the first is one too many.
    /// A spawn refuses restarts within less than 1 ms: nothing would ever be too often.
    pub const fn new(restarts: u32, period: Duration) -> Self {
        let restarts = if restarts > MAX_RESTARTS {
            MAX_RESTARTS
        } else {
            restarts
        };
        Self { restarts, period }
    }

    /// How many restarts are allowed in the period.
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// The time in which they are counted. One that is just as old as this still counts.
    pub const fn period(&self) -> Duration {
        self.period
    }
}

/// With the default backoff, what fails at every start is given up within 8 s of its first failure, plus
/// the time of its starts. What fails less than every 12 s is restarted for ever.
impl Default for RestartIntensity {
    fn default() -> Self {
        Self::new(5, Duration::from_mins(1))
    }
}

impl fmt::Display for RestartIntensity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { restarts, period } = self;
        let s = if *restarts == 1 { "" } else { "s" };
        write!(f, "{restarts} restart{s} within {period:?}")
    }
}

/// The restarts that count at the moment: never more than are allowed.
#[derive(Debug, Clone)]
pub(super) struct Window {
    rule: RestartIntensity,
    /// The oldest first.
    restarts: VecDeque<Instant>,
}

impl Window {
    pub(super) fn new(rule: RestartIntensity) -> Self {
        Self {
            rule,
            restarts: VecDeque::new(),
        }
    }

    /// Counts a restart, unless it is one too many.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        while let Some(oldest) = self.restarts.front()
            && now.saturating_duration_since(*oldest) > self.rule.period
        {
            self.restarts.pop_front();
        }
        let counted = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        let allowed = counted < self.rule.restarts;
        if allowed {
            self.restarts.push_back(now);
        }
        allowed
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.restarts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the restarts, at these seconds, are admitted.
    fn admitted(restarts: u32, period: u64, seconds: &[u64]) -> Vec<bool> {
        let start = Instant::now();
        let rule = RestartIntensity::new(restarts, Duration::from_secs(period));
        let mut window = Window::new(rule);
        let admit = seconds.iter().map(|second| {
            let admitted = window.admit(start + Duration::from_secs(*second));
            assert!(window.len() <= restarts as usize, "the memory is bounded");
            admitted
        });
        admit.collect()
    }

    #[test]
    fn one_more_than_allowed_within_the_period_is_too_many() {
        assert_eq!(admitted(2, 10, &[0, 5, 9]), [true, true, false]);
        assert_eq!(admitted(2, 10, &[0, 5, 10]), [true, true, false]);
        assert_eq!(admitted(1, 10, &[0, 11, 22]), [true, true, true]);
        assert_eq!(admitted(0, 10, &[0, 99]), [false, false]);
    }

    /// Fixed periods would let four through between 9 s and 12 s.
    #[test]
    fn the_period_slides() {
        let seconds = [8, 9, 11, 12, 19, 20, 21];
        let expected = [true, true, false, false, true, true, false];
        assert_eq!(admitted(2, 10, &seconds), expected);
    }

    #[test]
    fn time_that_runs_backwards_is_no_fault() {
        assert_eq!(admitted(2, 10, &[20, 5, 6]), [true, true, false]);
    }

    #[test]
    fn what_is_allowed_is_capped() {
        let rule = RestartIntensity::new(u32::MAX, Duration::MAX);
        assert_eq!(rule.restarts(), MAX_RESTARTS);
        assert_eq!(rule.period(), Duration::MAX);
        let mut window = Window::new(rule);
        let now = Instant::now();
        let admitted = (0..20_000).filter(|_| window.admit(now)).count();
        assert_eq!((admitted, window.len()), (10_000, 10_000));
    }

    #[test]
    fn one_restart_reads_as_one() {
        let one = RestartIntensity::new(1, Duration::from_secs(5));
        assert_eq!(one.to_string(), "1 restart within 5s");
    }
}
