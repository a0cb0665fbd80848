//! How many workers there are, and which are new.

use std::time::{Duration, Instant};

use super::{Dispatch, Effect, Phase, PoolRules, Worker, WorkerState};
use crate::clock::after;

/// The worker that is being recycled, until it has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recycling {
    old: u64,
    /// The worker that was started for it, and has not ended.
    replacement: Option<u64>,
}

/// What holds back the start of workers, and how that went so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Restraint {
    /// Failures in a row, at most one for each wait.
    streak: u32,
    not_before: Option<Instant>,
    /// Starts that failed since a worker was last ready.
    failed_starts: u32,
    broken: bool,
    /// Workers that were lost and have not been replaced.
    lost: u64,
}

impl Restraint {
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// A worker is to be replaced if another is needed.
    pub(super) fn lost(&mut self) {
        self.lost += 1;
    }

    /// A worker is ready; whether that recovers a broken pool.
    pub(super) fn ready(&mut self) -> bool {
        self.failed_starts = 0;
        std::mem::take(&mut self.broken)
    }

    /// A worker has answered for the first time.
    pub(super) fn served(&mut self) {
        self.streak = 0;
        self.not_before = None;
    }

    /// A start has failed, while others can serve or not; whether that breaks the pool.
    pub(super) fn start_failed(
        &mut self,
        others: bool,
        rules: &PoolRules,
        now: Instant,
        draw: &mut dyn FnMut(Duration) -> Duration,
    ) -> bool {
        self.failed_starts = self.failed_starts.saturating_add(1);
        let breaks = !others && !self.broken && self.failed_starts >= rules.start_failures;
        if breaks {
            self.broken = true;
            // What it waits for is too short from here on.
            self.not_before = None;
        }
        self.back_off(rules, now, draw);
        breaks
    }

    /// A worker has failed before it was of any use.
    pub(super) fn back_off(
        &mut self,
        rules: &PoolRules,
        now: Instant,
        draw: &mut dyn FnMut(Duration) -> Duration,
    ) {
        if self.not_before.is_some_and(|at| now < at) {
            return;
        }
        let most = if self.broken {
            rules.backoff.longest_wait()
        } else {
            rules.backoff.most(self.streak)
        };
        self.not_before = Some(after(now, draw(most).min(most)));
        self.streak = self.streak.saturating_add(1);
    }
}

impl Dispatch {
    /// Starts, retires and stops workers. What waits has been sent if it can be.
    pub(super) fn scale(&mut self, now: Instant) {
        self.restraint.not_before = self.restraint.not_before.filter(|at| now < *at);
        self.start_the_least(now);
        self.recycle(now);
        self.start_for_load(now);
        self.stop_the_retired();
        self.stop_the_idle(now);
    }

    /// When [`scale`](Self::scale) has something to do even if nothing happens, or a worker's grace ends.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let graces = self.workers.iter().filter_map(Worker::kill_at);
        let idle = (self.surplus() > 0).then(|| {
            let idle = self.workers.iter().filter(|worker| self.is_idle(worker));
            idle.map(|worker| self.idle_until(worker)).min()
        });
        let fresh = self
            .workers
            .iter()
            .filter(|worker| worker.is_ready() && !worker.worn && self.phase == Phase::Running);
        let age = self.rules.recycle_age;
        let ages = fresh.filter_map(|worker| age.map(|age| after(worker.since, age)));
        let others = idle.flatten().into_iter().chain(self.restraint.not_before);
        graces.chain(ages).chain(others).min()
    }

    /// A worker that has ended is not recycled any more, nor does it replace another.
    pub(super) fn no_longer_recycled(&mut self, worker: u64) {
        if let Some(recycling) = &mut self.recycling {
            if recycling.old == worker {
                self.recycling = None;
            } else if recycling.replacement == Some(worker) {
                recycling.replacement = None;
            }
        }
    }

    /// The replacement of one that does not retire yet: it does not count as one more.
    fn pending(&self) -> Option<u64> {
        let recycling = self.recycling?;
        let old = self.workers.get(recycling.old)?;
        recycling.replacement.filter(|_| old.is_ready())
    }

    /// Whether there is a place for one more, and now is the time for it.
    fn may_start(&self, most: usize, now: Instant) -> bool {
        self.workers.len() < most
            && self.restraint.not_before.is_none_or(|at| at <= now)
            && (self.restraint.streak == 0 || self.workers.starting() == 0)
    }

    /// The most workers that there may be without a replacement that is yet to be started.
    fn most(&self) -> usize {
        // Whoever is recycled ends, and until then he or his replacement is the one above the most.
        let is_replaced = self.recycling.is_some_and(|recycling| {
            let old = self.workers.get(recycling.old);
            recycling.replacement.is_some() || old.is_some_and(|old| !old.is_ready())
        });
        self.rules.max + usize::from(is_replaced)
    }

    fn start(&mut self, now: Instant) -> u64 {
        let worker = self.workers.begin(now);
        self.effects.push(Effect::StartWorker { worker });
        worker
    }

    fn start_in_place(&mut self, now: Instant) {
        if self.restraint.lost > 0 {
            self.restraint.lost -= 1;
            self.stats.restarts += 1;
        }
        self.start(now);
    }

    fn start_the_least(&mut self, now: Instant) {
        if self.phase != Phase::Running {
            return;
        }
        let replacement = usize::from(self.pending().is_some());
        // A broken pool takes no requests, so no load would ever bring it back.
        let probe = usize::from(self.restraint.is_broken());
        let least = self.rules.min.max(probe) + replacement;
        while self.workers.starting() + self.workers.ready() < least
            && self.may_start(self.most(), now)
        {
            self.start_in_place(now);
        }
    }

    /// All that can serve are full, or there would be nothing that waits.
    fn start_for_load(&mut self, now: Instant) {
        let wanted = self.requests.waiting().div_ceil(self.rules.in_flight);
        while self.workers.starting() < wanted && self.may_start(self.most(), now) {
            self.start_in_place(now);
        }
    }

    fn recycle(&mut self, now: Instant) {
        if self.phase != Phase::Running {
            return;
        }
        for worker in self.workers.iter_mut() {
            let (requests, age) = (self.rules.recycle_requests, self.rules.recycle_age);
            worker.worn |= worker.is_ready()
                && (requests.is_some_and(|most| worker.answered() >= most)
                    || age.is_some_and(|age| after(worker.since, age) <= now));
        }
        if self.recycling.is_none() {
            let ready = || self.workers.iter().filter(|worker| worker.is_ready());
            let over = ready().find(|worker| worker.over_memory);
            let old = over.or_else(|| ready().find(|worker| worker.worn));
            self.recycling = old.map(|old| Recycling {
                old: old.id,
                replacement: None,
            });
        }
        let Some(Recycling { old, replacement }) = self.recycling else {
            return;
        };
        if !self.workers.get(old).is_some_and(Worker::is_ready) {
            return;
        }
        match replacement.map(|replacement| self.workers.get(replacement)) {
            None if self.may_start(self.rules.max + 1, now) => {
                self.stats.restarts += 1;
                let replacement = Some(self.start(now));
                self.recycling = Some(Recycling { old, replacement });
            }
            Some(Some(replacement))
                if replacement.is_ready() && self.workers.ready() > self.rules.min =>
            {
                self.workers.change(old, WorkerState::Retiring);
            }
            _ => {}
        }
    }

    fn stop_the_retired(&mut self) {
        let retired = self
            .workers
            .iter()
            .find(|worker| worker.state() == WorkerState::Retiring && worker.load() == 0);
        // There is at most one.
        if let Some(worker) = retired.map(|worker| worker.id) {
            self.stop(worker);
        }
    }

    /// How many of the ready may be stopped. While something waits, which may be suspects that have to wait
    /// for one another, none.
    fn surplus(&self) -> usize {
        if self.requests.waiting() > 0 {
            return 0;
        }
        // A replacement that is ready is no surplus for long: with one above the least the old one retires.
        self.workers.ready().saturating_sub(self.rules.min)
    }

    /// Whether it has nothing to do, and is not about to be replaced.
    fn is_idle(&self, worker: &Worker) -> bool {
        let is_recycled = self
            .recycling
            .is_some_and(|recycling| recycling.old == worker.id);
        worker.is_ready() && worker.load() == 0 && !is_recycled
    }

    fn idle_until(&self, worker: &Worker) -> Instant {
        after(worker.idle_since, self.rules.idle_after)
    }

    /// Those that were not used for longest go first.
    fn stop_the_idle(&mut self, now: Instant) {
        while self.surplus() > 0 {
            let idle = self.workers.iter().filter(|worker| self.is_idle(worker));
            let due = idle.filter(|worker| self.idle_until(worker) <= now);
            let Some(worker) = due.min_by_key(|worker| worker.used).map(|worker| worker.id) else {
                return;
            };
            self.stop(worker);
        }
    }
}
