//! Whether a child still answers: pings, and what their answers tell. Pure; the driver is
//! [`run`].
//!
//! ```text
//!   every interval: ping ──► pong ──► latency, answers
//!                     └ no pong by the next ─► missed + 1 ─ so many in a row ─► unresponsive, once
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use procession_wire::FrameHead;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::outbox::Outbox;
use super::pipe::WriteEnd;
use crate::clock;

#[derive(Debug, Default)]
pub(crate) struct Pings {
    last: u64,
    waiting: Option<(u64, Instant)>,
    missed: u32,
    latency: Option<Duration>,
}

impl Pings {
    /// The next ping, and how many in a row were not answered.
    pub(crate) fn next(&mut self, now: Instant) -> (u64, u32) {
        if self.waiting.is_some() {
            self.missed = self.missed.saturating_add(1);
        }
        self.last += 1;
        self.waiting = Some((self.last, now));
        (self.last, self.missed)
    }

    /// The answer to a ping has come; late ones count for nothing but that it lives. Gives how many in a
    /// row were not answered.
    pub(crate) fn pong(&mut self, number: u64, now: Instant) -> u32 {
        if let Some((waiting, since)) = self.waiting {
            if waiting == number {
                self.waiting = None;
                self.latency = Some(now.saturating_duration_since(since));
            }
            if number <= waiting {
                self.missed = 0;
            }
        }
        self.missed
    }

    /// From the last ping that was answered in time to its pong.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.latency
    }
}

/// The pings of one process, shared by those who send them and the reader.
pub(crate) type SharedPings = Arc<Mutex<Pings>>;

pub(crate) fn lock(pings: &SharedPings) -> std::sync::MutexGuard<'_, Pings> {
    pings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends pings for ever, and tells each time how many in a row were not answered.
pub(crate) async fn run<W: WriteEnd>(
    pings: SharedPings,
    outbox: Arc<Outbox<W>>,
    every: Duration,
    mut tell: impl FnMut(u32),
) {
    let every = every.min(clock::LONGEST);
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        let (number, missed) = lock(&pings).next(now);
        outbox.control(FrameHead::Ping(number), b"");
        tell(missed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_count_in_a_row_and_any_answer_ends_them() {
        let mut pings = Pings::default();
        let at = |millis| Instant::now() + Duration::from_millis(millis);
        let start = at(0);
        assert_eq!(pings.next(start), (1, 0));
        pings.pong(1, start + Duration::from_millis(3));
        assert_eq!(pings.latency(), Some(Duration::from_millis(3)));
        assert_eq!(pings.next(start), (2, 0));
        assert_eq!(pings.next(start), (3, 1));
        assert_eq!(pings.next(start), (4, 2));
        pings.pong(2, start);
        assert_eq!(
            pings.latency(),
            Some(Duration::from_millis(3)),
            "it is late"
        );
        assert_eq!(pings.next(start), (5, 1), "the fourth was not answered");
        pings.pong(99, start);
        assert_eq!(pings.next(start), (6, 2), "nobody has sent that one");
    }
}
