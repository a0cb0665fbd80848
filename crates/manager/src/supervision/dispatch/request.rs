//! The requests that are open, and in which order they wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rustc_hash::FxHashMap;

/// A request that a caller waits for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The n-th that was taken. Who waits longest is always first, so this is its place in the queue
    /// whenever it waits.
    order: u64,
    tries: u32,
    pub(super) attempts: u32,
    /// Workers that died while it was all they had in flight.
    pub(super) deaths: u32,
    /// A worker that had it died, so it is to be alone from now on.
    pub(super) suspect: bool,
    deadline: Option<Instant>,
    /// Who has it, unless it waits.
    pub(super) worker: Option<u64>,
}

impl Request {
    /// Whether it may be sent once more.
    pub(super) fn may_try(&self) -> bool {
        self.attempts < self.tries
    }

    /// Takes it out of the queue in which it waits, if it does.
    fn leave(&self, common: &mut BTreeMap<u64, u64>, suspects: &mut BTreeMap<u64, u64>) {
        if self.worker.is_none() {
            let queue = if self.suspect { suspects } else { common };
            queue.remove(&self.order);
        }
    }

    /// Whether it may be done twice.
    pub(super) fn is_idempotent(&self) -> bool {
        self.tries > 1
    }
}

/// All requests that are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests {
    open: FxHashMap<u64, Request>,
    /// Those that wait, by their order.
    common: BTreeMap<u64, u64>,
    /// Those that wait and have to be alone, by their order. They go first.
    suspects: BTreeMap<u64, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    taken: u64,
}

impl Requests {
    pub(super) fn contains(&self, request: u64) -> bool {
        self.open.contains_key(&request)
    }

    pub(super) fn get_mut(&mut self, request: u64) -> Option<&mut Request> {
        self.open.get_mut(&request)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn waiting(&self) -> usize {
        self.common.len() + self.suspects.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.open.len() - self.waiting()
    }

    pub(super) fn first_common(&self) -> Option<u64> {
        self.common.first_key_value().map(|(_, request)| *request)
    }

    pub(super) fn first_suspect(&self) -> Option<u64> {
        self.suspects.first_key_value().map(|(_, request)| *request)
    }

    /// All of them, those that were taken first before the others.
    pub(super) fn in_order(&self) -> Vec<u64> {
        let mut all: Vec<_> = self.open.iter().map(|(id, it)| (it.order, *id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, request)| request).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Some request whose deadline has passed.
    pub(super) fn overdue(&self, now: Instant) -> Option<u64> {
        let (at, request) = self.deadlines.first()?;
        (*at <= now).then_some(*request)
    }

    /// Takes a new one to the end of the queue.
    pub(super) fn take(&mut self, request: u64, tries: u32, deadline: Option<Instant>) {
        let order = self.taken;
        self.taken += 1;
        self.deadlines.extend(deadline.map(|at| (at, request)));
        self.common.insert(order, request);
        let open = Request {
            order,
            tries,
            attempts: 0,
            deaths: 0,
            suspect: false,
            deadline,
            worker: None,
        };
        self.open.insert(request, open);
    }

    /// Gives one that waits to a worker, and says which attempt that is.
    pub(super) fn give(&mut self, request: u64, worker: u64) -> u32 {
        let Some(open) = self.open.get_mut(&request) else {
            return 0;
        };
        open.leave(&mut self.common, &mut self.suspects);
        open.worker = Some(worker);
        open.attempts = open.attempts.saturating_add(1);
        open.attempts
    }

    /// Takes one back to the front of the queue. All that was ever sent is older than what was not.
    pub(super) fn take_back(&mut self, request: u64) {
        if let Some(open) = self.open.get_mut(&request) {
            open.worker = None;
            let queue = if open.suspect {
                &mut self.suspects
            } else {
                &mut self.common
            };
            queue.insert(open.order, request);
        }
    }

    /// Forgets one, wherever it is.
    pub(super) fn remove(&mut self, request: u64) -> Option<Request> {
        let open = self.open.remove(&request)?;
        open.leave(&mut self.common, &mut self.suspects);
        if let Some(at) = open.deadline {
            self.deadlines.remove(&(at, request));
        }
        Some(open)
    }
}
