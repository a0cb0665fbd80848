//! What callers, workers and the driver of a pool share: the state machine, and where each request is.
//!
//! ```text
//!  callers ── Submit, Answered, Dropped ──┐              ┌── turns: a worker to ask, or a failure ──► callers
//!  workers ── ready, failed, ended ───────┼─► Dispatch ──┤
//!  driver ─── Tick, Start ────────────────┘              └── orders: start, stop, kill ──► driver
//! ```
//!
//! Each step is taken under the lock by whoever has something to tell, and whoever it concerns is woken after it. Events
//! are told under it, too: who hears of one finds the pool as it is after it.
//! So a request goes from its caller to the worker and back with no task in between.

mod state;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::sync::Notify;

use self::state::{Open, Place, State};
use super::{PoolEvent, PoolRequestOptions};
use crate::containment::{LeftProcess, List};
use crate::error::ManagerError;
use crate::flag::Flag;
use crate::id::ProcessId;
use crate::lifecycle::ExitReport;
use crate::process::Process;
use crate::ring::{Listener, Ring};
use crate::supervision::dispatch::{
    FailReason, Input, PoolRules, PoolStats, Refusal, WorkerState, WorkerStats,
};

/// What is to be done with the workers.
#[derive(Debug)]
pub(super) enum Order {
    Start(u64),
    Stop(Arc<Process>),
    Kill(Arc<Process>),
}

/// What a caller is to do next.
#[derive(Debug)]
pub(super) enum Turn {
    /// Ask this worker.
    Go { worker: u64, process: Arc<Process> },
    /// It has failed.
    Failed(Failure),
    /// It was not taken.
    Refused(Refusal),
}

/// Why a request has failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) reason: FailReason,
    pub(super) attempts: u32,
    /// The last worker that it had.
    pub(super) process: Option<Arc<Process>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// That of the state, to be looked at without its lock.
    turned: AtomicU64,
    /// There are orders, or something is due sooner.
    pub(super) driver: Notify,
    /// There are more or fewer ready workers, or it is broken or over.
    changed: Notify,
    /// Nothing of it is left, but what does not end.
    pub(super) ended: Flag,
    left: OnceLock<Vec<LeftProcess>>,
    pub(super) events: Ring<PoolEvent>,
    /// What has happened from the start on, for the first listener.
    early: Mutex<Option<Listener<PoolEvent>>>,
    pub(super) runtime: tokio::runtime::Handle,
    /// Of all requests, unless they say otherwise.
    pub(super) options: PoolRequestOptions,
    least: usize,
}

impl Shared {
    pub(super) fn new(rules: PoolRules, options: PoolRequestOptions, seed: Option<u64>) -> Self {
        let events = Ring::new();
        Self {
            early: Mutex::new(Some(events.listen())),
            events,
            state: Mutex::new(State::new(rules, seed)),
            turned: AtomicU64::new(0),
            driver: Notify::new(),
            changed: Notify::new(),
            ended: Flag::default(),
            left: OnceLock::new(),
            runtime: tokio::runtime::Handle::current(),
            options,
            least: rules.least(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the machine what happened, and everybody what comes of it.
    pub(super) fn step(&self, input: Input) {
        self.with(|state| state.inputs.push_back(input));
    }

    /// Does something with the state, then all that comes of it.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let (result, others, last, serious, calls) = {
            let mut state = self.lock();
            let result = act(&mut state);
            state.settle(&self.events);
            self.turned.store(state.turned, Release);
            let due = state.dispatch.deadline();
            let calls = !state.orders.is_empty()
                || due.is_some_and(|due| state.driver_comes.is_none_or(|comes| due < comes));
            if std::mem::take(&mut state.changed) {
                self.changed.notify_waiters();
            }
            let last = state.wakers.pop();
            // Mostly there are no more, and the room stays where it is.
            let others: Vec<Waker> = state.wakers.drain(..).collect();
            let serious = std::mem::take(&mut state.serious);
            (result, others, last, serious, calls)
        };
        if calls {
            self.driver.notify_one();
        }
        others.into_iter().chain(last).for_each(Waker::wake);
        for event in serious {
            tracing::error!("{event}");
        }
        result
    }

    /// Takes a request in; gives its number, and what its caller is to do next if that is known.
    pub(super) fn submit(
        &self,
        options: &PoolRequestOptions,
        deadline: Option<Instant>,
    ) -> (u64, Option<Turn>) {
        self.with(|state| {
            let request = state.submitted;
            state.submitted += 1;
            let open = Open {
                place: Place::Queued,
                process: None,
                caller: None,
                tries: options.tries,
                deadline,
                label: options.label.clone(),
            };
            state.requests.insert(request, open);
            state.submit(request);
            state.settle(&self.events);
            (request, state.turn(request))
        })
    }

    /// How often a caller that asks a worker was told otherwise so far.
    pub(super) fn turned(&self) -> u64 {
        self.turned.load(Acquire)
    }

    /// Ready with what its caller is to do next.
    pub(super) fn poll_turn(&self, request: u64, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut state = self.lock();
        if let Some(turn) = state.turn(request) {
            return Poll::Ready(turn);
        }
        if let Some(open) = state.requests.get_mut(&request) {
            match &mut open.caller {
                Some(caller) => caller.clone_from(cx.waker()),
                None => open.caller = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Whether it waits for room in the queue, where nobody but its caller knows its deadline.
    pub(super) fn is_outside(&self, request: u64) -> bool {
        let state = self.lock();
        let open = state.requests.get(&request);
        open.is_some_and(|open| matches!(open.place, Place::Outside))
    }

    /// A worker has answered, and its caller has the answer.
    pub(super) fn answered(&self, worker: u64, request: u64, ok: bool) {
        self.with(|state| {
            state.inputs.push_back(Input::Answered {
                worker,
                request,
                ok,
            });
            state.finished = Some(request);
        });
    }

    /// A request has not got to its worker, which is about to end or has.
    pub(super) fn unsent(&self, worker: u64, request: u64) {
        self.with(|state| {
            let Some(open) = state.requests.get(&request) else {
                return;
            };
            match open.place {
                Place::Failed {
                    reason: FailReason::WorkerEnded { .. },
                    ..
                } => state.submit(request),
                _ => state.inputs.push_back(Input::Unsent { worker, request }),
            }
        });
    }

    /// A worker has ceased to work on a request that nobody waits for any more.
    pub(super) fn ceased(&self, worker: u64, request: u64) {
        self.step(Input::Answered {
            worker,
            request,
            ok: false,
        });
    }

    /// Its caller does not want it any more. What it has at a worker it still has to give back.
    pub(super) fn dropped(&self, request: u64) {
        self.with(|state| {
            if let Some(open) = state.requests.get(&request)
                && matches!(open.place, Place::Outside)
            {
                state.outside.retain(|other| *other != request);
            }
            state.inputs.push_back(Input::Dropped { request });
        });
    }

    /// A worker's process was started. Gives what is set when nothing more comes from it.
    pub(super) fn attach(&self, worker: u64, process: &Arc<Process>) -> Arc<Flag> {
        self.with(|state| {
            let hand = state.workers.entry(worker).or_default();
            hand.process = Some(Arc::clone(process));
            let (stops, dies, lost) = (hand.stops, hand.dies, Arc::clone(&hand.lost));
            if dies {
                state.orders.push(Order::Kill(Arc::clone(process)));
            } else if stops {
                state.orders.push(Order::Stop(Arc::clone(process)));
            }
            lost
        })
    }

    /// Nothing more comes from a worker, which may not have exited.
    pub(super) fn lost(&self, worker: u64) {
        let lost = {
            let state = self.lock();
            state
                .workers
                .get(&worker)
                .map(|hand| Arc::clone(&hand.lost))
        };
        if let Some(lost) = lost {
            lost.set();
        }
    }

    /// A worker takes requests.
    pub(super) fn worker_ready(&self, worker: u64, process: ProcessId) {
        self.with(|state| {
            self.events.tell(PoolEvent::WorkerReady { worker, process });
            state.inputs.push_back(Input::WorkerReady { worker });
        });
    }

    /// A worker could not be started, and nothing of it is left.
    pub(super) fn start_failed(&self, worker: u64, reason: &str) {
        self.with(|state| {
            self.events.tell(PoolEvent::WorkerStartFailed {
                worker,
                reason: reason.to_owned(),
            });
            state.start_failure = reason.into();
            state.workers.remove(&worker);
            state.inputs.push_back(Input::WorkerStartFailed { worker });
            state.end_with_the_manager();
        });
    }

    /// The manager ends: nothing more is taken, what workers have they may finish, and what is left ends with the last
    /// of them.
    pub(super) fn manager_ends(&self) {
        self.with(|state| {
            state.manager_ends = true;
            state.inputs.push_back(Input::Drain);
        });
    }

    /// A worker has ended; how, where that is known.
    pub(super) fn worker_ended(&self, worker: u64, report: Option<Arc<ExitReport>>) {
        self.with(|state| {
            let hand = state.workers.remove(&worker).unwrap_or_default();
            if let Some((process, report)) = hand.process.zip(report) {
                self.events.tell(PoolEvent::WorkerEnded {
                    worker,
                    process: process.id(),
                    report,
                });
            }
            state.inputs.push_back(Input::WorkerEnded { worker });
            state.end_with_the_manager();
        });
    }

    /// A worker does not end.
    pub(super) fn worker_stuck(&self, worker: u64, process: ProcessId, left: Vec<LeftProcess>) {
        self.with(|state| {
            let left: Arc<[LeftProcess]> = left.into();
            state.start_failure = List(&left).to_string().into();
            if let Some(hand) = state.workers.get_mut(&worker) {
                hand.left = Arc::clone(&left);
            }
            let event = PoolEvent::WorkerStuck {
                worker,
                process,
                left,
            };
            self.events.tell(event.clone());
            state.serious.push(event);
            state.inputs.push_back(Input::WorkerStuck { worker });
        });
        self.driver.notify_one();
    }

    /// How many of its workers do not end.
    pub(super) fn stuck(&self) -> usize {
        let state = self.lock();
        let workers = state.dispatch.workers();
        workers
            .filter(|worker| worker.state == WorkerState::Stuck)
            .count()
    }

    /// Nothing of the pool is left but what does not end.
    pub(super) fn end(&self) {
        let state = self.lock();
        let mut workers: Vec<_> = state.workers.iter().collect();
        workers.sort_unstable_by_key(|(worker, _)| **worker);
        let left = workers.into_iter().flat_map(|(_, hand)| hand.left.to_vec());
        let _ = self.left.set(left.collect());
        drop(state);
        self.ended.set();
        self.events.tell(PoolEvent::Ended);
    }

    /// Waits for the end of the pool.
    pub(super) async fn wait_for_the_end(&self) -> Result<(), ManagerError> {
        self.ended.wait().await;
        match self.left.get() {
            Some(left) if !left.is_empty() => Err(ManagerError::NotEnded { left: left.clone() }),
            _ => Ok(()),
        }
    }

    pub(super) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.lock().orders)
    }

    /// When the driver has to come back; it is called if that becomes sooner.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.driver_comes = state.dispatch.deadline();
        state.driver_comes
    }

    /// All that happens from now on; for the first listener from the start on.
    pub(super) fn listen(&self) -> Listener<PoolEvent> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = early.take() {
            return first;
        }
        // First the listening, then the look: an end in between is told.
        let mut listener = self.events.listen();
        if self.ended.is_set() {
            listener.end();
        }
        listener
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().dispatch.is_over()
    }

    pub(super) fn stats(&self) -> PoolStats {
        self.lock().dispatch.stats()
    }

    pub(super) fn workers(&self) -> Vec<WorkerStats> {
        let state = self.lock();
        let all = state.dispatch.workers().map(|mut stats| {
            let hand = state.workers.get(&stats.worker);
            let process = hand.and_then(|hand| hand.process.as_ref());
            stats.process = process.map(|process| process.id());
            stats
        });
        all.collect()
    }

    /// The processes of the workers that take requests.
    pub(super) fn ready_processes(&self) -> Vec<(u64, Arc<Process>)> {
        let state = self.lock();
        let ready = state.dispatch.workers().filter_map(|stats| {
            let hand = state.workers.get(&stats.worker)?;
            let process = hand.process.clone()?;
            (stats.state == WorkerState::Ready).then_some((stats.worker, process))
        });
        ready.collect()
    }

    /// Why the last worker could not be started.
    pub(super) fn start_failure(&self) -> String {
        self.lock().start_failure.as_ref().to_owned()
    }

    /// Resolves when as many workers are ready as there are to be at least, or none can be.
    pub(super) async fn ready(&self) -> Result<(), super::PoolNotReady> {
        loop {
            // Made before the look: what changes in between wakes it.
            let changed = self.changed.notified();
            {
                let state = self.lock();
                if state.dispatch.takes_no_more() {
                    return Err(super::PoolNotReady::Ended);
                }
                if state.broken {
                    let reason = state.start_failure.as_ref().to_owned();
                    return Err(super::PoolNotReady::NoWorkers { reason });
                }
                let ready = state
                    .dispatch
                    .workers()
                    .filter(|it| it.state == WorkerState::Ready);
                if ready.count() >= self.least {
                    return Ok(());
                }
            }
            changed.await;
        }
    }
}
