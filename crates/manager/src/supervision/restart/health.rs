//! The health of one run, from the outcomes of its probes.
//!
//! ```text
//!            success                   miss
//!  Unknown ───────────► Healthy ────────────────┐
//!     │                  ▲  ▲                   ▼
//!     └── miss ──────────┼──┼──────────────► Failing
//!                        │  └─ successes in a row ─┤
//!       successes in a row                         │ misses in a row
//!                        └───── Unhealthy ◄────────┘
//! ```
//!
//! Where one miss is enough, the way from `Unknown` and `Healthy` to `Unhealthy` is one step.

use std::fmt;

/// How many misses and successes in a row change the health of a run. So one hiccup restarts nothing.
///
/// The [default](Self::default) is 3 misses and 1 success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[must_use]
pub struct HealthRule {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "in_a_row"))]
    misses: u32,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "in_a_row"))]
    successes: u32,
}

#[cfg(feature = "serde")]
fn in_a_row<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = <u32 as serde::Deserialize>::deserialize(deserializer)?;
    if count == 0 {
        let found = serde::de::Unexpected::Unsigned(0);
        return Err(serde::de::Error::invalid_value(
            found,
            &"at least 1 in a row",
        ));
    }
    Ok(count)
}

impl HealthRule {
    /// Unhealthy after so many misses in a row, and healthy again after so many successes in a row; both
    /// are at least 1.
    pub const fn new(misses: u32, successes: u32) -> Self {
        Self {
            misses: at_least_1(misses),
            successes: at_least_1(successes),
        }
    }

    /// How many misses in a row make a run unhealthy.
    pub const fn misses(self) -> u32 {
        self.misses
    }

    /// How many successes in a row make it healthy again.
    pub const fn successes(self) -> u32 {
        self.successes
    }
}

const fn at_least_1(count: u32) -> u32 {
    if count == 0 { 1 } else { count }
}

impl Default for HealthRule {
    fn default() -> Self {
        Self::new(3, 1)
    }
}

impl fmt::Display for HealthRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { misses, successes } = *self;
        let es = if misses == 1 { "" } else { "es" };
        let successes_es = if successes == 1 { "" } else { "es" };
        write!(
            f,
            "unhealthy after {misses} miss{es} in a row, healthy again after {successes} \
             success{successes_es} in a row"
        )
    }
}

/// How a run is, by its probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthState {
    /// It has not been probed.
    Unknown,
    /// The last probes were successes.
    Healthy,
    /// It missed some, but not enough in a row; or not enough successes in a row came after that.
    Failing,
    /// It missed enough in a row, and not enough successes in a row came after that.
    Unhealthy,
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Failing => "failing",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// The outcome of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// It answered, in time and well.
    Success,
    /// It did not.
    Miss,
}

/// The health of one run.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    rule: HealthRule,
    state: HealthState,
    /// What the last probe was.
    last: Probe,
    /// How many in a row were that, up to the last.
    in_a_row: u32,
}

impl Health {
    pub(crate) fn new(rule: HealthRule) -> Self {
        Self {
            rule,
            state: HealthState::Unknown,
            last: Probe::Success,
            in_a_row: 0,
        }
    }

    /// How it is.
    pub(crate) fn state(&self) -> HealthState {
        self.state
    }

    /// Takes in one probe and says how the run is after it.
    pub(crate) fn step(&mut self, probe: Probe) -> HealthState {
        if probe != self.last {
            self.in_a_row = 0;
        }
        self.last = probe;
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.state = match (self.state, probe) {
            // There were no misses to make up for.
            (HealthState::Unknown | HealthState::Healthy, Probe::Success) => HealthState::Healthy,
            (_, Probe::Success) if self.in_a_row >= self.rule.successes => HealthState::Healthy,
            (_, Probe::Miss) if self.in_a_row >= self.rule.misses => HealthState::Unhealthy,
            (HealthState::Unhealthy, _) => HealthState::Unhealthy,
            _ => HealthState::Failing,
        };
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first letter of the state after each probe (`+` a success, `-` a miss), `!` for unhealthy.
    fn course(misses: u32, successes: u32, probes: &str) -> String {
        let mut health = Health::new(HealthRule::new(misses, successes));
        assert_eq!(health.state(), HealthState::Unknown);
        let states = probes.chars().map(|probe| {
            let after = health.step(if probe == '+' {
                Probe::Success
            } else {
                Probe::Miss
            });
            assert_eq!(after, health.state());
            match after {
                HealthState::Unknown => '?',
                HealthState::Healthy => 'h',
                HealthState::Failing => 'f',
                HealthState::Unhealthy => '!',
            }
        });
        states.collect()
    }

    #[test]
    fn every_state_meets_every_probe() {
        for (state, path, success, miss) in [
            ("unknown", "", "h", "f"),
            ("healthy", "+", "h", "f"),
            ("failing, one miss", "-", "f", "f"),
            ("failing, two misses", "--", "f", "!"),
            ("failing, one success", "-+", "h", "f"),
            ("unhealthy", "---", "!", "!"),
            ("unhealthy, one success", "---+", "h", "!"),
        ] {
            for (probe, expected) in [("+", success), ("-", miss)] {
                let states = course(3, 2, &format!("{path}{probe}"));
                assert!(
                    states.ends_with(expected),
                    "{probe} while {state}: {states}"
                );
            }
        }
    }

    #[test]
    fn only_misses_in_a_row_are_unhealthy() {
        assert_eq!(course(3, 2, "+--+--+--"), "hffffffff");
        assert_eq!(course(3, 2, "+--+---"), "hfffff!");
        assert_eq!(course(1, 1, "-+-+"), "!h!h");
    }

    #[test]
    fn only_successes_in_a_row_are_healthy_again() {
        assert_eq!(course(3, 2, "-+-++-"), "ffffhf");
        assert_eq!(course(2, 3, "--++-+++"), "f!!!!!!h");
    }

    #[test]
    fn none_at_all_counts_as_one() {
        assert_eq!(HealthRule::new(0, 0), HealthRule::new(1, 1));
        assert_eq!(
            HealthRule::new(0, 2).to_string(),
            "unhealthy after 1 miss in a row, healthy again after 2 successes in a row"
        );
    }
}
