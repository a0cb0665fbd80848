//! The workers of a pool.

use std::fmt;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::WorkerStats;

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerState {
    /// It is being started.
    Starting,
    /// It takes requests.
    Ready,
    /// It has been replaced, and ends when it has answered what it has.
    Retiring,
    /// It is being stopped, and has nothing that a caller waits for.
    Stopping,
    /// It is being killed.
    Killing,
    /// The worker was killed and does not end. It has no requests any more, and is not replaced
    /// before it ends.
    Stuck,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Retiring => "retiring",
            Self::Stopping => "stopping",
            Self::Killing => "killing",
            Self::Stuck => "stuck",
        })
    }
}

/// One worker that was begun and has not ended.
#[expect(clippy::struct_excessive_bools, reason = "each by itself")]
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) id: u64,
    state: WorkerState,
    /// When it became ready, or was begun.
    pub(super) since: Instant,
    /// When its last answer came, or it became ready.
    pub(super) idle_since: Instant,
    /// The number of its last use among all uses of all workers; 0 if never.
    pub(super) used: u64,
    /// The requests that it has, and when the grace ends of those that were cancelled.
    slots: FxHashMap<u64, Option<Instant>>,
    /// When the first grace ends.
    kill_at: Option<Instant>,
    /// What it has is to be alone.
    pub(super) alone: bool,
    pub(super) served: u64,
    pub(super) failed: u64,
    pub(super) over_memory: bool,
    /// Nothing gets to it any more.
    pub(super) closed: bool,
    /// It is too old, or has answered enough.
    pub(super) worn: bool,
}

impl Worker {
    pub(super) fn state(&self) -> WorkerState {
        self.state
    }

    pub(super) fn is_ready(&self) -> bool {
        self.state == WorkerState::Ready
    }

    pub(super) fn answered(&self) -> u64 {
        self.served.saturating_add(self.failed)
    }

    pub(super) fn load(&self) -> usize {
        self.slots.len()
    }

    /// When it is to be killed, since it does not heed a cancel.
    pub(super) fn kill_at(&self) -> Option<Instant> {
        self.kill_at
    }

    /// Whether it may get a request at all, besides its limit.
    pub(super) fn is_open(&self) -> bool {
        self.is_ready() && self.kill_at.is_none() && !self.alone && !self.closed
    }

    pub(super) fn add(&mut self, request: u64, alone: bool, use_number: u64) {
        self.slots.insert(request, None);
        self.alone = alone;
        self.used = use_number;
    }

    /// A request is cancelled, and has until then to be given back.
    pub(super) fn cancel(&mut self, request: u64, until: Instant) {
        if let Some(slot) = self.slots.get_mut(&request) {
            *slot = Some(until);
            self.kill_at = Some(self.kill_at.map_or(until, |at| at.min(until)));
        }
    }

    /// A request is given back; whether it was there.
    pub(super) fn give_back(&mut self, request: u64) -> bool {
        let Some(cancelled) = self.slots.remove(&request) else {
            return false;
        };
        if cancelled.is_some() {
            self.kill_at = self.slots.values().flatten().min().copied();
        }
        self.alone &= !self.slots.is_empty();
        true
    }

    /// Takes all its requests from it; those that were not cancelled are what a caller waits for, in
    /// the order of their ids.
    pub(super) fn strip(&mut self) -> Vec<u64> {
        self.kill_at = None;
        self.alone = false;
        let slots = std::mem::take(&mut self.slots).into_iter();
        let live = slots.filter(|(_, cancelled)| cancelled.is_none());
        let mut live: Vec<u64> = live.map(|(request, _)| request).collect();
        live.sort_unstable();
        live
    }

    pub(super) fn stats(&self) -> WorkerStats {
        WorkerStats {
            worker: self.id,
            process: None,
            state: self.state,
            since: self.since,
            served: self.served,
            failed: self.failed,
            in_flight: self.slots.len(),
        }
    }
}

/// All workers that were begun and have not ended, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Workers {
    all: Vec<Worker>,
    begun: u64,
    starting: usize,
    ready: usize,
}

impl Workers {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn starting(&self) -> usize {
        self.starting
    }

    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Worker> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.all.iter_mut()
    }

    fn index(&self, worker: u64) -> Option<usize> {
        self.all.binary_search_by_key(&worker, |it| it.id).ok()
    }

    pub(super) fn get(&self, worker: u64) -> Option<&Worker> {
        self.index(worker).map(|index| &self.all[index])
    }

    pub(super) fn get_mut(&mut self, worker: u64) -> Option<&mut Worker> {
        self.index(worker).map(|index| &mut self.all[index])
    }

    /// A new one, which is being started.
    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        let id = self.begun;
        self.begun += 1;
        self.starting += 1;
        self.all.push(Worker {
            id,
            state: WorkerState::Starting,
            since: now,
            idle_since: now,
            used: 0,
            slots: FxHashMap::default(),
            kill_at: None,
            alone: false,
            served: 0,
            failed: 0,
            over_memory: false,
            closed: false,
            worn: false,
        });
        id
    }

    /// The only place that changes a worker's state.
    pub(super) fn change(&mut self, worker: u64, state: WorkerState) {
        if let Some(index) = self.index(worker) {
            let old = std::mem::replace(&mut self.all[index].state, state);
            self.count_out(old);
            match state {
                WorkerState::Starting => self.starting += 1,
                WorkerState::Ready => self.ready += 1,
                _ => {}
            }
        }
    }

    /// One that has ended.
    pub(super) fn remove(&mut self, worker: u64) -> Option<Worker> {
        let worker = self.all.remove(self.index(worker)?);
        self.count_out(worker.state);
        Some(worker)
    }

    fn count_out(&mut self, state: WorkerState) {
        match state {
            WorkerState::Starting => self.starting -= 1,
            WorkerState::Ready => self.ready -= 1,
            _ => {}
        }
    }
}
