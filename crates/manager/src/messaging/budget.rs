//! How much a child may have its parent do that nobody has asked for. Pure; the reader waits.
//!
//! Messages, requests and items have credit or a full pipe to hold them back. All else costs units
//! of a token bucket, one for each frame and one for each 4 KiB of it:
//!
//! ```text
//!   time: 16,000 a second ─────────────┐
//!   what the parent has sent: 1 each ──┤
//!                                      ▼
//!                                  ┌────────┐ a frame that nobody waits for: ping, ready, credit,
//!                                  │ bucket │ what is ignored, bytes after `bye`, a line too long,
//!                                  └───┬────┘ a frame that comes in crumbs
//!                                      ▼
//!                     empty: the reader waits, the child's pipe fills
//! ```
//!
//! So the parent's work is bounded in time, by what it does of its own accord. A child that keeps
//! to the protocol is not held up: a frame of control is an answer to a message, a request or an
//! item, or one of a few. The exception is a child that sends more than 16,000 items a second to a
//! request whose items nobody reads.

use std::time::Duration;

use tokio::time::Instant;

/// The units that can be spent at once, and in one second.
pub(crate) const PER_SECOND: u32 = 16_000;
/// The units that can be spent at once by a child to which much has been sent.
const MOST: i64 = 1 << 20;
/// In what time there is one more.
const UNIT: Duration = Duration::from_nanos(1_000_000_000 / PER_SECOND as u64);
/// A unit for so many bytes, besides the one of the frame.
pub(crate) const BYTES: usize = 4096;
/// The bucket is waited for until it holds so much: a wait for each unit would cost more than what
/// it bounds.
const SLICE: u32 = PER_SECOND / 20;

#[derive(Debug)]
pub(crate) struct ControlBudget {
    /// Below zero by one frame at most.
    units: i64,
    refilled: Instant,
    /// The units that had been earned by the last refill.
    earned: u64,
    interrupted: bool,
}

impl ControlBudget {
    /// A full one.
    pub(crate) fn new(now: Instant, earned: u64) -> Self {
        Self {
            units: i64::from(PER_SECOND),
            refilled: now,
            earned,
            interrupted: false,
        }
    }

    /// Accounts for a frame, or for something else, of so many bytes.
    pub(crate) fn spend(&mut self, len: usize) {
        self.units = self.units.saturating_sub(cost(len));
    }

    /// Takes back what was spent on a frame that somebody has waited for.
    pub(crate) fn refund(&mut self, len: usize) {
        self.units = self.units.saturating_add(cost(len));
    }

    /// Fills the bucket, for a child that has exited.
    pub(crate) fn pardon(&mut self) {
        self.units = i64::from(PER_SECOND);
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.units <= 0
    }

    /// Whether the reader has to leave the next frame where it is;
    /// [`take_interrupted`](Self::take_interrupted) tells of it once.
    pub(crate) fn interrupts(&mut self) -> bool {
        self.interrupted |= self.is_exhausted();
        self.interrupted
    }

    pub(crate) fn take_interrupted(&mut self) -> bool {
        std::mem::take(&mut self.interrupted)
    }

    /// Puts in what is due by now; `earned` is what the parent has sent in all. Gives how long to
    /// wait before it is asked again, if that is not enough.
    pub(crate) fn refill(&mut self, now: Instant, earned: u64) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.refilled).as_nanos() / UNIT.as_nanos();
        let due = u32::try_from(passed).unwrap_or(u32::MAX);
        // The part of a unit that is left counts the next time.
        self.refilled += UNIT * due;
        let room = i64::from(PER_SECOND).saturating_sub(self.units).max(0);
        self.units += i64::from(due).min(room);
        let new = earned.saturating_sub(self.earned);
        self.earned = earned;
        let room = MOST.saturating_sub(self.units).max(0);
        self.units += i64::try_from(new).unwrap_or(MOST).min(room);
        if !self.is_exhausted() {
            return None;
        }
        let missing = i64::from(SLICE) - self.units;
        Some(UNIT * u32::try_from(missing).unwrap_or(u32::MAX))
    }
}

fn cost(len: usize) -> i64 {
    i64::try_from(1 + len / BYTES).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An action on a bucket.
    enum Step {
        Spend(usize),
        Refund(usize),
        /// So many milliseconds pass, and so much is earned: how many milliseconds to wait.
        Refill(u64, u64, Option<u64>),
    }
    use Step::{Refill, Refund, Spend};

    #[test]
    fn what_can_be_spent_is_bounded_in_time_and_by_what_was_sent() {
        let many = |count: u32| (0..count).map(|_| Spend(0));
        let wait = |step| [Refill(0, 0, None), step];
        let table: [(&str, Vec<Step>, i64); 9] = [
            ("full at first", vec![], 16_000),
            ("one for a frame", vec![Spend(0), Spend(4095)], 15_998),
            (
                "and for each 4 KiB",
                vec![Spend(4096), Spend(1 << 20)],
                15_741,
            ),
            ("given back", vec![Spend(1 << 20), Refund(1 << 20)], 16_000),
            (
                "no more than full",
                wait(Refill(1000, 0, None)).into(),
                16_000,
            ),
            (
                "empty: a slice is waited for",
                many(16_000)
                    .chain([Refill(0, 0, Some(50)), Refill(50, 0, None)])
                    .collect(),
                800,
            ),
            (
                "a long frame is waited for longer",
                many(15_999)
                    .chain([
                        Spend(16 << 20),
                        Refill(0, 0, Some(306)),
                        Refill(306, 0, None),
                    ])
                    .collect(),
                800,
            ),
            (
                "what was sent counts at once, and once",
                many(16_000)
                    .chain([Refill(0, 5, None), Spend(0), Refill(0, 5, None)])
                    .collect(),
                4,
            ),
            (
                "up to a bound",
                many(16_000).chain([Refill(0, 1 << 40, None)]).collect(),
                MOST,
            ),
        ];
        for (what, steps, units) in table {
            let mut now = Instant::now();
            let mut budget = ControlBudget::new(now, 0);
            for step in steps {
                match step {
                    Spend(len) => budget.spend(len),
                    Refund(len) => budget.refund(len),
                    Refill(passed, earned, wait) => {
                        now += Duration::from_millis(passed);
                        let waits = budget.refill(now, earned);
                        let waits = waits.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(0));
                        assert_eq!(waits, wait, "{what}");
                    }
                }
            }
            assert_eq!(budget.units, units, "{what}");
        }
    }

    #[test]
    fn parts_of_a_unit_are_not_lost() {
        let start = Instant::now();
        let mut budget = ControlBudget::new(start, 0);
        (0..16_000).for_each(|_| budget.spend(0));
        for step in 1..=10_000 {
            budget.refill(start + UNIT / 10 * step, 0);
        }
        assert_eq!(budget.units, 1000);
    }

    #[test]
    fn no_length_and_no_time_is_too_much() {
        let mut budget = ControlBudget::new(Instant::now(), 0);
        (0..3).for_each(|_| budget.spend(usize::MAX));
        assert!(budget.refill(Instant::now(), u64::MAX).is_some());
        budget.refill(Instant::now() + Duration::from_secs(u64::from(u32::MAX)), 0);
    }
}
