//! What a pool has done so far.

use std::time::Instant;

use super::WorkerState;
use crate::id::ProcessId;

/// What a pool has done, and has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Requests that wait for a worker.
    pub queued: usize,
    /// Requests that a worker has and a caller waits for.
    pub in_flight: usize,
    /// Requests that were answered well.
    pub served: u64,
    /// Requests that were answered badly, or not at all; but not those that timed out.
    pub failed: u64,
    /// How often a request went back to the queue.
    pub retried: u64,
    /// Requests whose deadline has passed.
    pub timed_out: u64,
    /// Workers that were started in place of another that was lost or recycled.
    pub restarts: u64,
}

/// What one worker has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its id. A replacement has another.
    pub worker: u64,
    /// Its process, once it was started.
    pub process: Option<ProcessId>,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Since when it is ready, or is being started if it never was.
    pub since: Instant,
    /// Requests that it has answered well in time.
    pub served: u64,
    /// Requests that it has answered badly, or when nobody waited any more.
    pub failed: u64,
    /// Requests that it has, cancelled ones too.
    pub in_flight: usize,
}
