//! What a pool keeps to.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::supervision::Backoff;

/// The most workers that a pool can have: 16,384. A larger most counts as this.
pub const MAX_WORKERS: usize = 16 * 1024;

/// What becomes of a request that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// Its caller waits until there is room. The default.
    #[default]
    Wait,
    /// It is refused.
    Refuse,
}

impl fmt::Display for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wait => "wait",
            Self::Refuse => "are refused",
        })
    }
}

/// How a pool of workers is run: its size, its queue, and what it does about workers that fail.
///
/// The [default](Self::default) is 1 to 4 workers; the other defaults are said at each rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct PoolRules {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) in_flight: usize,
    pub(super) queue: usize,
    pub(super) when_full: WhenFull,
    pub(super) idle_after: Duration,
    pub(super) poison_after: u32,
    pub(super) backoff: Backoff,
    pub(super) start_failures: u32,
    pub(super) cancel_grace: Duration,
    pub(super) recycle_requests: Option<u64>,
    pub(super) recycle_age: Option<Duration>,
}

impl PoolRules {
    /// The defaults, with at least and at most so many workers.
    pub(crate) const fn new(workers: RangeInclusive<usize>) -> Self {
        Self {
            min: 0,
            max: 1,
            in_flight: 1,
            queue: 1024,
            when_full: WhenFull::Wait,
            idle_after: Duration::from_secs(30),
            poison_after: 3,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            start_failures: 5,
            cancel_grace: Duration::from_secs(1),
            recycle_requests: None,
            recycle_age: None,
        }
        .size(workers)
    }

    /// At least and at most so many workers, and no more than [`MAX_WORKERS`]. At most is at least
    /// one, and no less than at least.
    pub(crate) const fn size(mut self, workers: RangeInclusive<usize>) -> Self {
        let min = at_most(*workers.start(), MAX_WORKERS);
        let max = at_most(*workers.end(), MAX_WORKERS);
        let least = at_least_one(min);
        self.min = min;
        self.max = if max < least { least } else { max };
        self
    }

    /// How long a worker may have been ready before it is replaced.
    pub(crate) const fn worker_age(&self) -> Option<Duration> {
        self.recycle_age
    }

    /// The least number of workers.
    pub(crate) const fn least(&self) -> usize {
        self.min
    }

    /// The most that workers serve at once.
    pub(crate) const fn capacity(&self) -> usize {
        self.max.saturating_mul(self.in_flight)
    }

    /// How many requests a worker serves at once, at least one; 1 unless set.
    pub(crate) const fn in_flight(mut self, requests: usize) -> Self {
        self.in_flight = at_least_one(requests);
        self
    }

    /// How many requests may wait for a worker, at least one, and what becomes of more; 1,024, and they
    /// [wait](WhenFull::Wait) outside, unless set. What is tried again waits in front and always has a
    /// place: that is at most what the workers had in flight.
    pub(crate) const fn queue(mut self, requests: usize, when_full: WhenFull) -> Self {
        self.queue = at_least_one(requests);
        self.when_full = when_full;
        self
    }

    /// How long a worker above the least number may have nothing to do; 30 s unless set.
    pub(crate) const fn idle_after(mut self, time: Duration) -> Self {
        self.idle_after = time;
        self
    }

    /// How many workers may die while one and the same request is all they have in flight, at least one,
    /// before it is given up; 3 unless set.
    pub(crate) const fn poison_after(mut self, workers: u32) -> Self {
        self.poison_after = if workers == 0 { 1 } else { workers };
        self
    }

    /// How long the pool waits before it starts a worker after one that failed: a random time up to
    /// `first`, which doubles with each failure up to `longest`; 100 ms and 10 s unless set.
    pub(crate) const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = Backoff::new(first, longest);
        self
    }

    /// How many starts in a row may fail, at least one, before a pool without a ready worker is broken; 5 unless
    /// set.
    pub(crate) const fn start_failures(mut self, starts: u32) -> Self {
        self.start_failures = if starts == 0 { 1 } else { starts };
        self
    }

    /// How long a worker may go on with a request that was cancelled before it is killed; 1 s unless set.
    pub(crate) const fn cancel_grace(mut self, time: Duration) -> Self {
        self.cancel_grace = time;
        self
    }

    /// A worker that has answered so many requests, at least one, is replaced; none is unless set.
    pub(crate) const fn recycle_after_requests(mut self, requests: u64) -> Self {
        self.recycle_requests = Some(if requests == 0 { 1 } else { requests });
        self
    }

    /// A worker that has been ready for so long is replaced; none is unless set. It should be much longer than
    /// a start takes.
    pub(crate) const fn recycle_after_age(mut self, age: Duration) -> Self {
        self.recycle_age = Some(age);
        self
    }
}

const fn at_least_one(number: usize) -> usize {
    if number == 0 { 1 } else { number }
}

const fn at_most(number: usize, most: usize) -> usize {
    if number > most { most } else { number }
}

impl Default for PoolRules {
    fn default() -> Self {
        Self::new(1..=4)
    }
}

impl fmt::Display for PoolRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} to {} workers, {} in flight each; {} may be queued, more {}; idle after {:?}; poisonous \
             after {} workers; starts wait up to {:?}, doubled to {:?}, broken after {} failures; cancels \
             have {:?}",
            self.min,
            self.max,
            self.in_flight,
            self.queue,
            self.when_full,
            self.idle_after,
            self.poison_after,
            self.backoff.first_wait(),
            self.backoff.longest_wait(),
            self.start_failures,
            self.cancel_grace,
        )?;
        if let Some(requests) = self.recycle_requests {
            write!(f, "; recycled after {requests} requests")?;
        }
        if let Some(age) = self.recycle_age {
            write!(f, "; recycled after {age:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_can_be_read() {
        assert_eq!(
            PoolRules::default().to_string(),
            "1 to 4 workers, 1 in flight each; 1024 may be queued, more wait; idle after 30s; poisonous \
             after 3 workers; starts wait up to 100ms, doubled to 10s, broken after 5 failures; cancels \
             have 1s"
        );
        let rules = PoolRules::new(0..=1)
            .queue(2, WhenFull::Refuse)
            .recycle_after_requests(9)
            .recycle_after_age(Duration::from_mins(1));
        let text = rules.to_string();
        assert!(text.contains("2 may be queued, more are refused"), "{text}");
        let end = "; recycled after 9 requests; recycled after 60s";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn rules_that_no_pool_can_keep_are_put_right() {
        #[expect(clippy::reversed_empty_ranges, reason = "this is the case")]
        for (workers, min, max) in [
            (0..=0, 0, 1),
            (3..=2, 3, 3),
            (2..=5, 2, 5),
            (0..=usize::MAX, 0, MAX_WORKERS),
            (usize::MAX..=usize::MAX, MAX_WORKERS, MAX_WORKERS),
        ] {
            let rules = PoolRules::new(workers);
            assert_eq!((rules.min, rules.max), (min, max));
        }
        let rules = PoolRules::default()
            .in_flight(0)
            .queue(0, WhenFull::Wait)
            .poison_after(0)
            .start_failures(0);
        assert_eq!((rules.in_flight, rules.queue), (1, 1));
        assert_eq!((rules.poison_after, rules.start_failures), (1, 1));
    }
}
