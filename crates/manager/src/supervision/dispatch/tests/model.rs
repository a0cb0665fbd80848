//! What there is, told by the inputs and effects alone, and what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A worker, as its driver sees it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) ready: bool,
    /// It was stopped or killed.
    pub(super) dismissed: bool,
    /// Nothing gets to it any more.
    pub(super) closed: bool,
    /// Its requests, and when the grace ends of those that were cancelled.
    pub(super) slots: BTreeMap<u64, Option<Instant>>,
}

/// A request that a caller waits for.
#[derive(Debug)]
pub(super) struct Open {
    tries: u32,
    deadline: Option<Instant>,
    sends: u32,
    attempts: u32,
    /// Workers that died of nothing else.
    deaths: u32,
    suspect: bool,
    worker: Option<u64>,
}

/// All that the driver knows.
#[expect(
    clippy::struct_excessive_bools,
    reason = "what was said, each by itself"
)]
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) workers: BTreeMap<u64, Seen>,
    pub(super) open: BTreeMap<u64, Open>,
    /// Those that were told that the queue is full, in their order.
    pub(super) outside: Vec<u64>,
    begun: u64,
    ever_ready: bool,
    broken: bool,
    draining: bool,
    aborted: bool,
    pub(super) over: bool,
    last_first_send: Option<u64>,
    /// How the requests went that were submitted in all, and how many of all effects there were.
    pub(super) counts: BTreeMap<&'static str, u64>,
    final_ones: BTreeSet<u64>,
    stats: PoolStats,
}

impl Model {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// What the driver knows before the machine answers. Returns what an answer or a death settles.
    pub(super) fn input(&mut self, input: Input) {
        match input {
            Input::Submit {
                request,
                tries,
                deadline,
            } => {
                self.outside.retain(|other| *other != request);
                let open = Open {
                    tries: tries.max(1),
                    deadline,
                    sends: 0,
                    attempts: 0,
                    deaths: 0,
                    suspect: false,
                    worker: None,
                };
                assert!(self.open.insert(request, open).is_none());
            }
            Input::Dropped { request } => {
                if let Some(open) = self.open.get_mut(&request)
                    && open.worker.is_none()
                {
                    self.open.remove(&request);
                    self.count("dropped");
                }
            }
            Input::WorkerReady { worker } => {
                if let Some(seen) = self.workers.get_mut(&worker) {
                    seen.ready = true;
                    self.ever_ready |= !seen.dismissed;
                }
            }
            Input::WorkerStartFailed { worker }
            | Input::WorkerEnded { worker }
            | Input::WorkerStuck { worker } => {
                self.bury(worker);
            }
            Input::Unsent { worker, request } => {
                let seen = self.workers.get_mut(&worker).expect("it is alive");
                seen.closed = true;
                if seen.slots.remove(&request) == Some(None) {
                    let open = self.open.get_mut(&request).expect("somebody waits for it");
                    open.worker = None;
                    open.attempts -= 1;
                }
                self.count("unsent");
            }
            Input::Drain => self.draining = true,
            Input::Abort => self.aborted = true,
            _ => {}
        }
    }

    fn bury(&mut self, worker: u64) {
        let Some(seen) = self.workers.remove(&worker) else {
            return;
        };
        for (request, cancelled) in &seen.slots {
            if let Some(open) = self.open.get_mut(request)
                && cancelled.is_none()
            {
                open.worker = None;
                open.suspect = true;
                open.deaths += u32::from(seen.slots.len() == 1);
            }
        }
    }

    /// Checks one effect against what is known.
    pub(super) fn effect(&mut self, effect: Effect, input: Input, now: Instant, rules: &PoolRules) {
        if !matches!(effect, Effect::Refuse { .. }) {
            assert!(!self.over, "{effect:?} after the end");
        }
        match effect {
            Effect::StartWorker { worker } => {
                assert_eq!(worker, self.begun, "each has a new id");
                assert!(!self.aborted);
                self.begun += 1;
                self.workers.insert(worker, Seen::default());
                self.count("started");
            }
            Effect::StopWorker { worker } => {
                let seen = self.workers.get_mut(&worker).expect("it is alive");
                assert!(!std::mem::replace(&mut seen.dismissed, true));
                let live = seen.slots.values().any(Option::is_none);
                assert!(!live, "a stop takes no request with it");
                seen.slots.clear();
                self.count("stopped");
            }
            Effect::KillWorker { worker } => self.killed(worker, now),
            Effect::Send {
                request,
                worker,
                attempt,
            } => self.sent(request, worker, attempt, now, rules),
            Effect::Cancel { request, worker } => {
                self.cancelled(request, worker, input, now, rules);
            }
            Effect::Done { request, ok } => {
                let open = self.open.remove(&request).expect("somebody waits for it");
                let Input::Answered {
                    worker,
                    request: answered,
                    ok: well,
                } = input
                else {
                    unreachable!("{effect:?} without an answer")
                };
                assert_eq!((open.worker, request, ok), (Some(worker), answered, well));
                self.finish(request, if ok { "served" } else { "answered badly" });
            }
            Effect::Fail {
                request,
                reason,
                attempts,
            } => {
                let open = self.open.remove(&request).expect("somebody waits for it");
                assert_eq!(open.attempts, attempts, "{request} {reason}");
                self.failed(request, &open, reason, now, rules);
            }
            Effect::Refuse { request, reason } => {
                self.open.remove(&request).expect("it was submitted");
                let ends = self.draining || self.aborted;
                assert_eq!(reason == Refusal::Draining, ends);
                self.finish(request, "refused");
            }
            Effect::Full { request } => {
                self.open.remove(&request).expect("it was submitted");
                assert_eq!(rules.when_full, WhenFull::Wait);
                self.outside.push(request);
                self.count("full");
            }
            Effect::Room => self.count("room"),
            Effect::Broken => {
                assert!(!self.broken, "it is said once");
                let mut workers = self.workers.values();
                assert!(
                    workers.all(|it| !it.ready || it.dismissed),
                    "while one can serve"
                );
                self.broken = true;
                self.count("broken");
            }
            Effect::Recovered => {
                assert!(std::mem::take(&mut self.broken) && self.ever_ready);
                self.count("recovered");
            }
            Effect::Drained => {
                assert!((self.draining || self.aborted) && self.open.is_empty());
                assert!(self.workers.is_empty(), "all have ended");
                self.over = true;
            }
        }
    }

    fn finish(&mut self, request: u64, how: &'static str) {
        assert!(self.final_ones.insert(request), "{request} has two ends");
        self.count(how);
    }

    fn killed(&mut self, worker: u64, now: Instant) {
        let seen = self.workers.get_mut(&worker).expect("it is alive");
        let heedless = seen.slots.values().flatten().any(|until| *until <= now);
        assert!(heedless || self.aborted, "a kill has a reason");
        seen.dismissed = true;
        for (request, cancelled) in std::mem::take(&mut seen.slots) {
            if let Some(open) = self.open.get_mut(&request)
                && cancelled.is_none()
            {
                open.worker = None;
                // An innocent one loses no attempt, and is no suspect.
                if open.tries > 1 {
                    open.attempts -= 1;
                }
            }
        }
        self.count("killed");
    }

    fn sent(&mut self, request: u64, worker: u64, attempt: u32, now: Instant, rules: &PoolRules) {
        let open = self.open.get_mut(&request).expect("somebody waits for it");
        assert_eq!(open.worker, None, "it is in one place");
        assert!(open.deadline.is_none_or(|at| at > now), "and not too late");
        open.attempts += 1;
        assert_eq!(attempt, open.attempts);
        assert!(attempt <= open.tries, "no more tries than allowed");
        if open.sends == 0 {
            assert!(self.last_first_send < Some(request), "first in first out");
            self.last_first_send = Some(request);
        }
        open.sends += 1;
        open.worker = Some(worker);
        let suspect = open.suspect;
        let seen = self.workers.get_mut(&worker).expect("it is alive");
        assert!(seen.ready && !seen.dismissed, "a worker has to be ready");
        assert!(
            seen.slots.len() < rules.in_flight,
            "and has to have a place"
        );
        assert!(
            seen.slots.values().all(Option::is_none),
            "and to be heedful"
        );
        let beside = seen.slots.keys().map(|other| &self.open[other]);
        let mut beside = beside.collect::<Vec<_>>();
        beside.retain(|other| suspect || other.suspect);
        assert!(beside.is_empty(), "a suspect is alone");
        seen.slots.insert(request, None);
        self.count(if suspect { "sent alone" } else { "sent" });
    }

    fn cancelled(
        &mut self,
        request: u64,
        worker: u64,
        input: Input,
        now: Instant,
        rules: &PoolRules,
    ) {
        let open = &self.open[&request];
        assert_eq!(open.worker, Some(worker));
        if input == (Input::Dropped { request }) {
            self.open.remove(&request);
            self.count("dropped");
        } else {
            assert!(open.deadline.is_some_and(|at| at <= now));
        }
        let seen = self.workers.get_mut(&worker).expect("it is alive");
        let until = now + rules.cancel_grace;
        assert_eq!(seen.slots.insert(request, Some(until)), Some(None));
    }

    fn failed(
        &mut self,
        request: u64,
        open: &Open,
        reason: FailReason,
        now: Instant,
        rules: &PoolRules,
    ) {
        let how = match reason {
            FailReason::WorkerEnded { .. } => {
                assert!(open.attempts == open.tries && open.worker.is_none());
                "lost"
            }
            FailReason::Poisonous { workers } => {
                assert_eq!((workers, workers), (open.deaths, rules.poison_after));
                "poisonous"
            }
            FailReason::NoWorkers => {
                assert!(self.broken && open.worker.is_none());
                "without workers"
            }
            FailReason::TimedOut => {
                assert!(open.deadline.is_some_and(|at| at <= now));
                "timed out"
            }
            FailReason::Aborted => {
                assert!(self.aborted);
                if let Some(seen) = open.worker.and_then(|it| self.workers.get_mut(&it)) {
                    seen.slots.remove(&request);
                }
                "aborted"
            }
        };
        self.finish(request, how);
    }

    /// What holds after each step.
    pub(super) fn check(&mut self, dispatch: &Dispatch, now: Instant, rules: &PoolRules) {
        let stats = dispatch.stats();
        let waiting = self.open.values().filter(|open| open.worker.is_none());
        let unsent = waiting.clone().filter(|open| open.sends == 0).count();
        let waiting = waiting.count();
        assert_eq!(stats.queued, waiting);
        assert_eq!(stats.in_flight, self.open.len() - waiting);
        assert!(unsent <= rules.queue, "the queue is bounded");
        assert!(waiting <= rules.queue + (rules.max + 1) * rules.in_flight);
        let of = |how: &str| self.counts.get(how).copied().unwrap_or_default();
        assert_eq!(stats.served, of("served"));
        assert_eq!(stats.timed_out, of("timed out"));
        let failed = [
            "answered badly",
            "lost",
            "poisonous",
            "without workers",
            "aborted",
        ];
        assert_eq!(stats.failed, failed.into_iter().map(of).sum::<u64>());
        assert!(stats.retried >= self.stats.retried && stats.restarts >= self.stats.restarts);
        assert!(stats.restarts <= of("started"));
        self.stats = stats;
        let alive: Vec<WorkerStats> = dispatch.workers().collect();
        for (stats, (worker, seen)) in alive.iter().zip(&self.workers) {
            assert_eq!((stats.worker, stats.in_flight), (*worker, seen.slots.len()));
        }
        assert_eq!(alive.len(), self.workers.len());
        let recycles = rules.recycle_age.is_some() || of("over memory") > 0;
        assert!(alive.len() <= rules.max + usize::from(recycles));
        let retiring = alive.iter().filter(|it| it.state == WorkerState::Retiring);
        assert!(retiring.count() <= 1, "one by one");
        assert_eq!(dispatch.is_over(), self.over);
        assert!(!self.aborted || waiting == 0);
        let due = dispatch.deadline();
        assert!(due.is_none_or(|at| at > now), "all that was due is done");
        assert!(due.is_none() || !self.over, "nothing is due after the end");
        let runs = !self.aborted && self.begun > 0;
        let waits = waiting > 0 || (self.broken && !self.draining);
        let comes = !alive.is_empty() || due.is_some();
        assert!(!runs || !waits || comes, "it waits for nothing");
        // Without suspects, nothing waits while there is a place.
        if runs && waiting > 0 && self.open.values().all(|open| !open.suspect) {
            let idle = alive.iter().find(|it| {
                it.state == WorkerState::Ready
                    && !self.workers[&it.worker].closed
                    && it.in_flight < rules.in_flight
                    && self.workers[&it.worker].slots.values().all(Option::is_none)
            });
            assert!(idle.is_none(), "{idle:?} while {waiting} wait");
        }
    }
}
