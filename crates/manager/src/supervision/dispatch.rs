//! A pool of workers that serve requests, as a pure state machine.
//!
//! The pool, and one worker. From each of its states `WorkerEnded` leads out, and `WorkerStartFailed` before it
//! was ready:
//!
//! ```text
//!          Start            Drain             nothing is open        no worker is left
//!  ──► New ──────► Running ──────► Draining ───────────────► Ending ───────────────► Over
//!       │             │               │        Abort            │                     ▲
//!       └─────────────┴───────────────┴────────────────────► Aborting ────────────────┘
//!
//!         WorkerReady          its replacement is ready
//!  Starting ─────────► Ready ───────────────────────────► Retiring
//!     │  │              │ │                                │   │
//!     │  │ all ends     │ │ idle, or all ends    it has no │   │
//!     │  ▼              │ ▼                  more requests │   │
//!     │  Stopping ◄─────│─┴────────────────────────────────┘   │
//!     │     │           │ a cancel was not heeded, Abort       │
//!     │     ▼           ▼                                      │
//!     └───► Killing ◄───┴──────────────────────────────────────┘
//! ```
//!
//! From each of them `WorkerStuck` leads to Stuck: it was killed, and does not end. What it had is
//! lost with it, as by its end. It stays one of the most, so that workers that cannot be killed do
//! not pile up, and the pool does not wait for it at its end.
//!
//! The driver turns what happened into an [`Input`], asks [`Dispatch::step`] what to do and applies the
//! [`Effect`]s in their order; [`Dispatch::deadline`] says when to come back with [`Input::Tick`]. The requests
//! themselves stay with the driver, and so do callers for whom there is no room:
//!
//! ```text
//!              Full ◄─┐ (outside, until Room)         front: tried again, alone ◄───────┐
//!                     │                                │                                │ tries are left
//!  callers ─ Submit ──┴─► queue, first in first out ───┴─► Send ─► a worker ──┬─ ended ─┤
//!                 │         │                                       ▲         │         ▼ none, poisonous
//!          Refuse ◄         ├─ deadline, Broken ─► Fail      Cancel ┘         │        Fail
//!                           └─ Dropped ─► (nothing)                           └─ Answered ─► Done
//! ```
//!
//! **A request** that was taken ends with one `Done` or `Fail`, unless its caller drops it. One that was in
//! flight when its worker died is a suspect: it goes to the front and is sent again with nothing else beside
//! it, so that it harms no other. One worker at a time is emptied for suspects, and where workers serve
//! several at once, suspects hold at most half of them, so that the others do not wait for them.
//!
//! **Poison**: a death counts against a request where that was all its worker had, cancelled ones included. Where
//! there were others, nobody knows whose fault it was; but from then on each of them is alone, so the poisonous one
//! is found at the price of at most one worker more, and no innocent one is ever given up for it.
//!
//! **The size** counts every worker until it has ended. It is never above the most, but by one while one
//! worker is being recycled: its replacement has to be ready before it retires, and the least number of
//! ready ones has to be left without it. Workers over their memory are recycled one by one, too.
//!
//! **Failing workers**, which did not become ready or died before they answered anything, make the next start
//! wait, and let only one worker be started at a time. That ends when some worker answers its first request: the
//! hundredth answer of an old one says nothing about new ones. A failure while a wait is on does not make it
//! longer, so workers that fail together count once there. A pool breaks when none of its workers is ready and a number
//! of starts in a row have failed: all that waits fails, and so do new requests, while it goes on trying. The first
//! worker that is ready again recovers it.
//!
//! **A cancel** that is not heeded costs the worker its life, and takes nothing from the others that it had:
//! what may be done twice is sent again as if it had not been sent.
//!
//! **What did not get to its worker** goes back to the front as if it had not been sent, and that worker, which is about
//! to end, gets no more.
//!
//! **What it costs**: a step looks at each worker a few times, whatever the number of requests, and each
//! request is looked up by its id and its place in the queue.

mod deliver;
mod input;
mod loss;
mod request;
mod rules;
mod scale;
mod stats;
#[cfg(test)]
mod tests;
mod worker;

use std::time::{Duration, Instant};

pub(crate) use input::{Effect, Input};
pub(crate) use input::{FailReason, Refusal};
pub(crate) use rules::PoolRules;
pub use rules::{MAX_WORKERS, WhenFull};
pub use stats::{PoolStats, WorkerStats};
pub use worker::WorkerState;

use request::Requests;
use scale::{Recycling, Restraint};
use worker::{Worker, Workers};

use crate::clock::after;

/// Where the pool is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests are taken, and wait for the start.
    New,
    Running,
    /// No request is taken; what was is finished.
    Draining,
    /// No request is left, and all workers are being stopped.
    Ending,
    /// The same, but they are being killed.
    Aborting,
    Over,
}

/// A pool of workers.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    rules: PoolRules,
    phase: Phase,
    requests: Requests,
    workers: Workers,
    /// How often a worker was used so far.
    uses: u64,
    /// The worker that is being emptied for a suspect.
    reserved: Option<u64>,
    recycling: Option<Recycling>,
    restraint: Restraint,
    /// Somebody waits for room.
    crowded: bool,
    stats: PoolStats,
    effects: Vec<Effect>,
}

impl Dispatch {
    /// A pool without workers, until [`Input::Start`].
    pub(crate) fn new(rules: PoolRules) -> Self {
        Self {
            rules,
            phase: Phase::New,
            requests: Requests::default(),
            workers: Workers::default(),
            uses: 0,
            reserved: None,
            recycling: None,
            restraint: Restraint::default(),
            crowded: false,
            stats: PoolStats::default(),
            effects: Vec::new(),
        }
    }

    /// What it has done, and has to do.
    pub(crate) fn stats(&self) -> PoolStats {
        PoolStats {
            queued: self.requests.waiting(),
            in_flight: self.requests.in_flight(),
            ..self.stats
        }
    }

    /// What each worker has done that has not ended, in the order of their ids.
    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerStats> {
        self.workers.iter().map(Worker::stats)
    }

    /// Whether nothing more can happen to it.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether requests are refused, since it is being ended or has ended.
    pub(crate) fn takes_no_more(&self) -> bool {
        !matches!(self.phase, Phase::New | Phase::Running)
    }

    /// When to come back with [`Input::Tick`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let requests = self.requests.next_deadline();
        if self.is_live() {
            requests.into_iter().chain(self.next_look()).min()
        } else {
            requests
        }
    }

    /// Takes in what happened at `now` and adds what to do to `effects`. `draw` gives a random time between 0 and the
    /// one it is given, both included; it is asked once for each wait of the backoff.
    pub(crate) fn step(
        &mut self,
        input: Input,
        now: Instant,
        draw: &mut dyn FnMut(Duration) -> Duration,
        effects: &mut Vec<Effect>,
    ) {
        match input {
            Input::Start if self.phase == Phase::New => self.phase = Phase::Running,
            Input::Start | Input::Tick => {}
            Input::Submit {
                request,
                tries,
                deadline,
            } => self.submit(request, tries, deadline),
            Input::Dropped { request } => self.dropped(request, now),
            Input::WorkerReady { worker } => self.ready(worker, now),
            Input::WorkerStartFailed { worker } => self.start_failed(worker, now, draw),
            Input::WorkerEnded { worker } => self.ended(worker, now, draw),
            Input::WorkerStuck { worker } => self.stuck(worker, now, draw),
            Input::Answered {
                worker,
                request,
                ok,
            } => self.answered(worker, request, ok, now),
            Input::Unsent { worker, request } => self.unsent(worker, request),
            Input::OverMemory { worker } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.over_memory = worker.is_ready();
                }
            }
            Input::Drain => {
                if matches!(self.phase, Phase::New | Phase::Running) {
                    self.phase = Phase::Draining;
                }
            }
            Input::Abort => self.abort(),
        }
        self.settle(now);
        effects.append(&mut self.effects);
    }

    /// Whether requests are finished.
    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Draining)
    }

    fn submit(&mut self, request: u64, tries: u32, deadline: Option<Instant>) {
        if self.requests.contains(request) {
            return;
        }
        if self.takes_no_more() {
            let reason = Refusal::Draining;
            self.effects.push(Effect::Refuse { request, reason });
        } else if self.restraint.is_broken() {
            self.fail(request, FailReason::NoWorkers, 0);
        } else if self.requests.waiting() < self.rules.queue {
            self.requests.take(request, tries, deadline);
        } else if self.rules.when_full == WhenFull::Refuse {
            let reason = Refusal::QueueFull;
            self.effects.push(Effect::Refuse { request, reason });
        } else {
            self.crowded = true;
            self.effects.push(Effect::Full { request });
        }
    }

    fn dropped(&mut self, request: u64, now: Instant) {
        if let Some(open) = self.requests.remove(request)
            && let Some(worker) = open.worker
        {
            self.cancel(request, worker, now);
        }
    }

    /// The slot stays occupied until it is given back, or the worker is killed.
    fn cancel(&mut self, request: u64, worker: u64, now: Instant) {
        if let Some(holder) = self.workers.get_mut(worker) {
            holder.cancel(request, after(now, self.rules.cancel_grace));
            self.effects.push(Effect::Cancel { request, worker });
        }
    }

    fn ready(&mut self, worker: u64, now: Instant) {
        let Some(found) = self.workers.get_mut(worker) else {
            return;
        };
        if found.state() != WorkerState::Starting {
            return;
        }
        found.since = now;
        found.idle_since = now;
        self.workers.change(worker, WorkerState::Ready);
        if self.restraint.ready() {
            self.effects.push(Effect::Recovered);
        }
    }

    fn answered(&mut self, worker: u64, request: u64, ok: bool, now: Instant) {
        let Some(found) = self.workers.get_mut(worker) else {
            return;
        };
        if !found.give_back(request) {
            return;
        }
        if found.answered() == 0 {
            self.restraint.served();
        }
        *if ok {
            &mut found.served
        } else {
            &mut found.failed
        } += 1;
        self.uses += 1;
        found.used = self.uses;
        found.idle_since = now;
        // Of one that was cancelled nobody wants to know, even if its id is used again.
        let open = self.requests.get_mut(request);
        if open.is_some_and(|open| open.worker == Some(worker)) {
            self.requests.remove(request);
            *if ok {
                &mut self.stats.served
            } else {
                &mut self.stats.failed
            } += 1;
            self.effects.push(Effect::Done { request, ok });
        }
    }

    /// Fails one that is open.
    fn give_up(&mut self, request: u64, reason: FailReason) {
        if let Some(open) = self.requests.remove(request) {
            self.fail(request, reason, open.attempts);
        }
    }

    fn fail(&mut self, request: u64, reason: FailReason, attempts: u32) {
        *if reason == FailReason::TimedOut {
            &mut self.stats.timed_out
        } else {
            &mut self.stats.failed
        } += 1;
        self.effects.push(Effect::Fail {
            request,
            reason,
            attempts,
        });
    }

    fn abort(&mut self) {
        if matches!(self.phase, Phase::Aborting | Phase::Over) {
            return;
        }
        self.phase = Phase::Aborting;
        for request in self.requests.in_order() {
            self.give_up(request, FailReason::Aborted);
        }
        let alive: Vec<u64> = self.workers.iter().map(|worker| worker.id).collect();
        for worker in alive {
            self.kill(worker);
        }
    }

    /// Does all that has become due.
    fn settle(&mut self, now: Instant) {
        while let Some(request) = self.requests.overdue(now) {
            self.time_out(request, now);
        }
        if self.is_live() {
            self.kill_the_heedless(now);
            self.send_suspects();
            self.send_common();
            self.scale(now);
        }
        let has_room = self.takes_no_more() || self.requests.waiting() < self.rules.queue;
        if self.crowded && has_room {
            self.crowded = false;
            self.effects.push(Effect::Room);
        }
        if self.phase == Phase::Draining && self.requests.is_empty() {
            self.phase = Phase::Ending;
            let alive = self.workers.iter().filter(|worker| {
                !matches!(
                    worker.state(),
                    WorkerState::Stopping | WorkerState::Killing | WorkerState::Stuck
                )
            });
            for worker in alive.map(|worker| worker.id).collect::<Vec<u64>>() {
                self.stop(worker);
            }
        }
        let is_stuck = |worker: &Worker| worker.state() == WorkerState::Stuck;
        if matches!(self.phase, Phase::Ending | Phase::Aborting)
            && self.workers.iter().all(is_stuck)
        {
            self.phase = Phase::Over;
            self.effects.push(Effect::Drained);
        }
    }

    fn time_out(&mut self, request: u64, now: Instant) {
        if let Some(open) = self.requests.remove(request) {
            if let Some(worker) = open.worker {
                self.cancel(request, worker, now);
            }
            self.fail(request, FailReason::TimedOut, open.attempts);
        }
    }
}
