//! What becomes of the requests of a worker that is gone.

use std::time::{Duration, Instant};

use super::{Dispatch, Effect, FailReason, Worker, WorkerState};

impl Dispatch {
    pub(super) fn start_failed(
        &mut self,
        worker: u64,
        now: Instant,
        draw: &mut dyn FnMut(Duration) -> Duration,
    ) {
        // What was ready can only end.
        let state = self.workers.get(worker).map(Worker::state);
        if !matches!(state, Some(WorkerState::Ready | WorkerState::Retiring)) {
            self.ended(worker, now, draw);
        }
    }

    pub(super) fn ended(
        &mut self,
        worker: u64,
        now: Instant,
        draw: &mut dyn FnMut(Duration) -> Duration,
    ) {
        if let Some(gone) = self.workers.remove(worker) {
            self.no_longer_recycled(worker);
            self.lost(gone, now, draw);
        }
    }

    /// Handles a worker that does not end like one that has ended, but that it still counts towards
    /// the maximum.
    pub(super) fn stuck(
        &mut self,
        worker: u64,
        now: Instant,
        draw: &mut dyn FnMut(Duration) -> Duration,
    ) {
        let Some(found) = self.workers.get_mut(worker) else {
            return;
        };
        let as_it_was = found.clone();
        found.strip();
        self.workers.change(worker, WorkerState::Stuck);
        self.lost(as_it_was, now, draw);
    }

    /// Nothing more comes from this worker.
    fn lost(&mut self, mut gone: Worker, now: Instant, draw: &mut dyn FnMut(Duration) -> Duration) {
        let worker = gone.id;
        if matches!(gone.state(), WorkerState::Starting | WorkerState::Ready) {
            self.restraint.lost();
        }
        if gone.state() == WorkerState::Starting {
            let serves = |worker: &Worker| {
                matches!(worker.state(), WorkerState::Ready | WorkerState::Retiring)
            };
            let others = self.workers.iter().any(serves);
            if self.restraint.start_failed(others, &self.rules, now, draw) {
                self.effects.push(Effect::Broken);
                for request in self.requests.in_order() {
                    self.give_up(request, FailReason::NoWorkers);
                }
            }
        } else if gone.is_ready() && gone.answered() == 0 {
            self.restraint.back_off(&self.rules, now, draw);
        }
        let alone = gone.load() == 1;
        for request in gone.strip() {
            self.bereaved(request, worker, alone);
        }
    }

    /// A request's worker has died.
    fn bereaved(&mut self, request: u64, worker: u64, alone: bool) {
        let Some(open) = self.requests.get_mut(request) else {
            return;
        };
        open.suspect = true;
        open.deaths += u32::from(alone);
        if open.deaths >= self.rules.poison_after {
            let workers = open.deaths;
            self.give_up(request, FailReason::Poisonous { workers });
        } else if open.may_try() {
            self.retry(request);
        } else {
            self.give_up(request, FailReason::WorkerEnded { worker });
        }
    }

    /// A request has not got to its worker.
    pub(super) fn unsent(&mut self, worker: u64, request: u64) {
        let Some(found) = self.workers.get_mut(worker) else {
            return;
        };
        found.closed = true;
        found.give_back(request);
        if let Some(open) = self.requests.get_mut(request)
            && open.worker == Some(worker)
        {
            open.attempts = open.attempts.saturating_sub(1);
            self.requests.take_back(request);
        }
    }

    fn retry(&mut self, request: u64) {
        self.stats.retried += 1;
        self.requests.take_back(request);
    }

    /// Kills one that is not being killed; says what its callers wait for.
    pub(super) fn kill(&mut self, worker: u64) -> Vec<u64> {
        let Some(found) = self.workers.get_mut(worker) else {
            return Vec::new();
        };
        if matches!(found.state(), WorkerState::Killing | WorkerState::Stuck) {
            return Vec::new();
        }
        let live = found.strip();
        self.workers.change(worker, WorkerState::Killing);
        self.effects.push(Effect::KillWorker { worker });
        live
    }

    pub(super) fn stop(&mut self, worker: u64) {
        if let Some(found) = self.workers.get_mut(worker) {
            found.strip();
        }
        self.workers.change(worker, WorkerState::Stopping);
        self.effects.push(Effect::StopWorker { worker });
    }

    /// Kills the workers whose grace is over. What else they had is innocent.
    pub(super) fn kill_the_heedless(&mut self, now: Instant) {
        let heedless = |worker: &&Worker| worker.kill_at().is_some_and(|at| at <= now);
        while let Some(worker) = self.workers.iter().find(heedless).map(|worker| worker.id) {
            self.restraint.lost();
            for request in self.kill(worker) {
                let Some(open) = self.requests.get_mut(request) else {
                    continue;
                };
                if open.is_idempotent() {
                    open.attempts = open.attempts.saturating_sub(1);
                    self.retry(request);
                } else {
                    self.give_up(request, FailReason::WorkerEnded { worker });
                }
            }
        }
    }
}
