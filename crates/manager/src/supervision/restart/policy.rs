//! Which exits are followed by a restart, and all rules together.

use std::fmt;

use super::{Backoff, HealthRule, RestartIntensity};

/// Which ends of a run are followed by another run.
///
/// An end that a user asked for, by a stop or a kill, and the manager's shutdown are never followed by
/// one. The names are those of systemd (`Restart=`); OTP calls them `temporary`, `transient` and `permanent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum RestartPolicy {
    /// None.
    Never,
    /// A [failure](Self::is_failure). The default.
    #[default]
    OnFailure,
    /// Every one.
    Always,
}

impl RestartPolicy {
    /// Whether a run failed: it exited with another code than 0, or by a signal (no code), or not by
    /// itself. The last is a run that did not start in time, no longer answered, was unhealthy, ran out of
    /// its time or went over a limit, whatever its code was then. Whether somebody asked for its end is another
    /// question, and comes first.
    pub const fn is_failure(code: Option<i32>, by_itself: bool) -> bool {
        !by_itself || !matches!(code, Some(0))
    }

    /// Whether a run that nobody asked to end is followed by another.
    pub const fn restarts(self, failed: bool) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => failed,
            Self::Always => true,
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::OnFailure => "on failure",
            Self::Always => "always",
        })
    }
}

/// What becomes of messages that were sent, and that the run they were for has not got.
///
/// A message of which the kernel has a part when the run ends is given up either way, and its sender told:
/// the next run would get it twice, or cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Undelivered {
    /// They go to the next run, in order, and so does what is sent while there is none. The default.
    #[default]
    NextRun,
    /// They fail with the run's exit report, and so does what is sent while there is no run.
    Fail,
}

/// How a process is kept up: all rules together. The default is the default of each.
///
/// ```
/// use std::time::Duration;
/// use procession_manager::{Backoff, RestartIntensity, RestartPolicy, Supervision};
///
/// let rules = Supervision::new(RestartPolicy::Always)
///     .backoff(Backoff::new(Duration::from_millis(100), Duration::from_secs(10)))
///     .intensity(RestartIntensity::new(20, Duration::from_secs(3600)));
/// assert_eq!(
///     rules.to_string(),
///     "restarted always; waits up to 100ms, doubled to 10s, anew after 60s up; \
///      at most 20 restarts within 3600s; unhealthy after 3 misses in a row, \
///      healthy again after 1 success in a row"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[must_use]
pub struct Supervision {
    #[cfg_attr(feature = "serde", serde(rename = "restart"))]
    policy: RestartPolicy,
    backoff: Backoff,
    intensity: RestartIntensity,
    health: HealthRule,
    undelivered: Undelivered,
    #[cfg_attr(feature = "serde", serde(rename = "keep_runs"))]
    kept_runs: Runs,
    seed: Option<u64>,
}

/// How many runs are kept that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Runs(usize);

impl Default for Runs {
    fn default() -> Self {
        Self(DEFAULT_KEPT_RUNS)
    }
}

/// How many runs that have ended are kept, with their reports and their logs, unless set otherwise: 4.
pub const DEFAULT_KEPT_RUNS: usize = 4;

impl Supervision {
    /// The defaults, with this policy.
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// How long a restart waits.
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How many restarts are too many.
    pub const fn intensity(mut self, intensity: RestartIntensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// When a run is unhealthy. Without probes none is.
    pub const fn health(mut self, health: HealthRule) -> Self {
        self.health = health;
        self
    }

    /// What becomes of messages that a run has not got.
    pub const fn undelivered(mut self, undelivered: Undelivered) -> Self {
        self.undelivered = undelivered;
        self
    }

    /// How many runs that have ended are kept, with their reports and their logs, beside the newest;
    /// [`DEFAULT_KEPT_RUNS`] unless set.
    pub const fn keep_runs(mut self, runs: usize) -> Self {
        self.kept_runs = Runs(runs);
        self
    }

    /// Where the random waits of the backoff begin, so that they come the same again. Random unless set.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What becomes of messages that a run has not got.
    pub const fn undelivered_policy(&self) -> Undelivered {
        self.undelivered
    }

    /// How many runs that have ended are kept.
    pub const fn kept_runs(&self) -> usize {
        self.kept_runs.0
    }

    /// Where the random waits begin, if that was set.
    pub const fn seed_value(&self) -> Option<u64> {
        self.seed
    }

    /// Which ends are followed by a restart.
    pub const fn restart_policy(&self) -> RestartPolicy {
        self.policy
    }

    /// How long a restart waits.
    pub const fn backoff_rule(&self) -> Backoff {
        self.backoff
    }

    /// How many restarts are too many.
    pub const fn intensity_rule(&self) -> RestartIntensity {
        self.intensity
    }

    /// When a run is unhealthy.
    pub const fn health_rule(&self) -> HealthRule {
        self.health
    }
}

impl fmt::Display for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "restarted {}; waits {}; at most {}; {}",
            self.policy, self.backoff, self.intensity, self.health
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_code_0_by_itself_is_a_failure() {
        for (code, by_itself, failure) in [
            (Some(0), true, false),
            (Some(1), true, true),
            (Some(-1), true, true),
            (None, true, true),
            (Some(0), false, true),
            (Some(1), false, true),
            (None, false, true),
        ] {
            let found = RestartPolicy::is_failure(code, by_itself);
            assert_eq!(found, failure, "{code:?}, by itself: {by_itself}");
        }
    }

    #[test]
    fn each_policy_restarts_what_it_says() {
        for (policy, text, failed, not_failed) in [
            (RestartPolicy::Never, "never", false, false),
            (RestartPolicy::OnFailure, "on failure", true, false),
            (RestartPolicy::Always, "always", true, true),
        ] {
            let found = (policy.restarts(true), policy.restarts(false));
            assert_eq!(found, (failed, not_failed), "{policy}");
            assert_eq!(policy.to_string(), text);
        }
    }

    #[test]
    fn the_rules_can_be_read() {
        assert_eq!(
            Supervision::default().to_string(),
            "restarted on failure; waits up to 250ms, doubled to 30s, anew after 60s up; at most 5 \
             restarts within 60s; unhealthy after 3 misses in a row, healthy again after 1 success in \
             a row"
        );
    }
}
