//! Where each request and each worker of a pool is, and what the machine's effects do to that.
//!
//! Nothing here waits, takes a lock or wakes anybody: whom to wake is noted, for whoever holds the lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::super::{PoolEvent, RequestName};
use super::{Failure, Order, Turn};
use crate::clock;
use crate::containment::LeftProcess;
use crate::flag::Flag;
use crate::process::Process;
use crate::ring::Ring;
use crate::supervision::dispatch::{Dispatch, Effect, FailReason, Input, PoolRules, Refusal};

/// Where an open request is.
#[derive(Debug)]
pub(super) enum Place {
    /// There is no room in the queue.
    Outside,
    /// It waits for a worker.
    Queued,
    /// It has one, and its caller does not know it yet.
    Given(u64),
    /// Its caller asks the worker.
    Taken,
    Failed {
        reason: FailReason,
        attempts: u32,
    },
    Refused(Refusal),
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) place: Place,
    /// The last worker that it had.
    pub(super) process: Option<Arc<Process>>,
    pub(super) caller: Option<Waker>,
    pub(super) tries: u32,
    pub(super) deadline: Option<Instant>,
    pub(super) label: Option<Arc<str>>,
}

/// A worker that was begun and has not ended.
#[derive(Debug, Default)]
pub(super) struct Hand {
    /// There once it was started.
    pub(super) process: Option<Arc<Process>>,
    /// It is to be stopped, or killed.
    pub(super) stops: bool,
    pub(super) dies: bool,
    /// Nothing more comes from it.
    pub(super) lost: Arc<Flag>,
    /// The processes of the worker that do not end.
    pub(super) left: Arc<[LeftProcess]>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) dispatch: Dispatch,
    pub(super) requests: FxHashMap<u64, Open>,
    /// Those for which there is no room, in their order.
    pub(super) outside: VecDeque<u64>,
    pub(super) workers: FxHashMap<u64, Hand>,
    pub(super) orders: Vec<Order>,
    pub(super) submitted: u64,
    pub(super) dice: fastrand::Rng,
    /// Why the last worker could not be started that could not.
    pub(super) start_failure: Arc<str>,
    pub(super) broken: bool,
    /// The manager ends, and with it all workers.
    pub(super) manager_ends: bool,
    /// When the driver comes back by itself.
    pub(super) driver_comes: Option<Instant>,
    /// Inputs that are to be told yet.
    pub(super) inputs: VecDeque<Input>,
    /// Others than callers wait for something that has happened.
    pub(super) changed: bool,
    /// How often a caller that asks a worker was told otherwise.
    pub(super) turned: u64,
    /// Nothing, between two steps.
    effects: Vec<Effect>,
    /// Its caller has what it wanted, whatever the machine knows of it.
    pub(super) finished: Option<u64>,
    pub(super) wakers: Vec<Waker>,
    /// Events that are errors of whoever runs the pool.
    pub(super) serious: Vec<PoolEvent>,
}

impl State {
    pub(super) fn new(rules: PoolRules, seed: Option<u64>) -> Self {
        Self {
            dispatch: Dispatch::new(rules),
            requests: FxHashMap::default(),
            outside: VecDeque::new(),
            workers: FxHashMap::default(),
            orders: Vec::new(),
            submitted: 0,
            dice: seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            start_failure: Arc::default(),
            broken: false,
            manager_ends: false,
            driver_comes: None,
            inputs: VecDeque::new(),
            changed: false,
            turned: 0,
            effects: Vec::new(),
            finished: None,
            wakers: Vec::new(),
            serious: Vec::new(),
        }
    }

    pub(super) fn end_with_the_manager(&mut self) {
        if self.manager_ends && self.workers.is_empty() {
            self.inputs.push_back(Input::Abort);
        }
    }

    pub(super) fn submit(&mut self, request: u64) {
        if let Some(open) = self.requests.get(&request) {
            self.inputs.push_back(Input::Submit {
                request,
                tries: open.tries,
                deadline: open.deadline,
            });
        }
    }

    /// What the caller of a request is to do next, if it is known; it is not told twice to ask a worker.
    pub(super) fn turn(&mut self, request: u64) -> Option<Turn> {
        let open = self.requests.get_mut(&request)?;
        match open.place {
            Place::Given(worker) => {
                let process = open.process.clone()?;
                open.place = Place::Taken;
                Some(Turn::Go { worker, process })
            }
            Place::Failed { reason, attempts } => Some(Turn::Failed(Failure {
                reason,
                attempts,
                process: open.process.clone(),
            })),
            Place::Refused(reason) => Some(Turn::Refused(reason)),
            Place::Outside | Place::Queued | Place::Taken => None,
        }
    }

    /// Tells the machine all that is to be told.
    pub(super) fn settle(&mut self, events: &Ring<PoolEvent>) {
        let mut effects = std::mem::take(&mut self.effects);
        let now = clock::now();
        while let Some(input) = self.next_input() {
            if let Input::Submit { request, .. } = input
                && let Some(open) = self.requests.get_mut(&request)
            {
                open.place = Place::Queued;
            }
            let dice = &mut self.dice;
            let mut draw = |most: Duration| {
                let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
                Duration::from_nanos(dice.u64(..=nanos))
            };
            self.dispatch.step(input, now, &mut draw, &mut effects);
            for effect in effects.drain(..) {
                self.changed |= self.apply(effect, events);
            }
            match input {
                Input::Submit { request, .. } => self.let_in(request),
                Input::Dropped { request } => {
                    self.requests.remove(&request);
                }
                Input::WorkerReady { .. } | Input::Drain | Input::Abort => self.changed = true,
                _ => {}
            }
        }
        self.effects = effects;
    }

    fn next_input(&mut self) -> Option<Input> {
        self.inputs.pop_front().or_else(|| {
            // Where it was to be sent to another worker, that is no longer wanted.
            let request = self.finished.take()?;
            let open = self.requests.contains_key(&request);
            open.then_some(Input::Dropped { request })
        })
    }

    /// One was submitted: if it came from outside and is in, the next from there may come.
    fn let_in(&mut self, request: u64) {
        let is_outside = |open: &Open| matches!(open.place, Place::Outside);
        if self.outside.front() != Some(&request)
            || self.requests.get(&request).is_some_and(is_outside)
        {
            return;
        }
        self.outside.pop_front();
        if let Some(next) = self.outside.front().copied() {
            self.submit(next);
        }
    }

    fn apply(&mut self, effect: Effect, events: &Ring<PoolEvent>) -> bool {
        match effect {
            Effect::StartWorker { worker } => {
                self.workers.entry(worker).or_default();
                self.orders.push(Order::Start(worker));
                events.tell(PoolEvent::WorkerStarting { worker });
            }
            Effect::StopWorker { worker } | Effect::KillWorker { worker } => {
                events.tell(PoolEvent::WorkerStopping { worker });
                let dies = matches!(effect, Effect::KillWorker { .. });
                if let Some(hand) = self.workers.get_mut(&worker) {
                    hand.stops = true;
                    hand.dies |= dies;
                    let process = hand.process.clone();
                    let order = if dies { Order::Kill } else { Order::Stop };
                    self.orders.extend(process.map(order));
                }
            }
            Effect::Send {
                request, worker, ..
            } => {
                let hand = self.workers.get(&worker);
                let process = hand.and_then(|hand| hand.process.clone());
                if let Some(open) = self.requests.get_mut(&request) {
                    open.process = process;
                }
                self.put(request, Place::Given(worker));
            }
            Effect::Cancel { request, worker } => {
                // Whoever has asked the worker sees to the cancel; nobody has where nobody has looked yet.
                let open = self.requests.get(&request);
                if open.is_some_and(|open| matches!(open.place, Place::Given(_))) {
                    self.inputs.push_back(Input::Answered {
                        worker,
                        request,
                        ok: false,
                    });
                }
            }
            Effect::Done { request, .. } => {
                self.requests.remove(&request);
            }
            Effect::Fail {
                request,
                reason,
                attempts,
            } => {
                let open = self.requests.get(&request);
                let is_unsent = open.is_some_and(|open| matches!(open.place, Place::Given(_)));
                if is_unsent && matches!(reason, FailReason::WorkerEnded { .. }) {
                    // Its caller has not looked yet, so it was not sent: it is as good as new.
                    self.submit(request);
                    return false;
                }
                if let FailReason::Poisonous { workers } = reason {
                    let label = self
                        .requests
                        .get(&request)
                        .and_then(|open| open.label.clone());
                    let request = RequestName {
                        number: request,
                        label,
                    };
                    let event = PoolEvent::Poisonous { request, workers };
                    self.serious.push(event.clone());
                    events.tell(event);
                }
                self.put(request, Place::Failed { reason, attempts });
            }
            Effect::Refuse { request, reason } => self.put(request, Place::Refused(reason)),
            Effect::Full { request } => {
                let open = self.requests.get_mut(&request);
                if let Some(open) = open {
                    open.place = Place::Outside;
                    // Who was let in from outside and finds no room any more is still the first.
                    if self.outside.front() != Some(&request) {
                        self.outside.push_back(request);
                    }
                }
                return false;
            }
            Effect::Room => {
                if let Some(first) = self.outside.front().copied() {
                    self.submit(first);
                }
            }
            Effect::Broken => {
                self.broken = true;
                let reason = self.start_failure.as_ref().to_owned();
                let event = PoolEvent::Broken { reason };
                self.serious.push(event.clone());
                events.tell(event);
                return true;
            }
            Effect::Recovered => {
                self.broken = false;
                events.tell(PoolEvent::Recovered);
            }
            Effect::Drained => return true,
        }
        false
    }

    fn put(&mut self, request: u64, place: Place) {
        if let Some(open) = self.requests.get_mut(&request) {
            self.turned += u64::from(matches!(open.place, Place::Taken));
            open.place = place;
            self.wakers.extend(open.caller.take());
        }
    }
}
