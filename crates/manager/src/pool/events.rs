//! What happens in a pool.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use procession_wire::Escaped;

use super::RequestName;
use crate::containment::{LeftProcess, List};
use crate::id::ProcessId;
use crate::lifecycle::ExitReport;
use crate::ring::{Heard, Listener};

/// Something that happened in a pool. Workers are numbered from 0, and a replacement has a number of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolEvent {
    /// A worker is being started.
    WorkerStarting {
        /// Its number.
        worker: u64,
    },
    /// A worker takes requests.
    WorkerReady {
        /// Its number.
        worker: u64,
        /// Its process.
        process: ProcessId,
    },
    /// A worker could not be started, or did not become ready.
    WorkerStartFailed {
        /// Its number.
        worker: u64,
        /// Why.
        reason: String,
    },
    /// A worker is being stopped or killed by the pool: it is idle, is recycled, does not heed a cancel, or the pool
    /// ends.
    WorkerStopping {
        /// Its number.
        worker: u64,
    },
    /// A worker was killed and does not end. It is not replaced before it does, so that such
    /// workers do not pile up; its requests are lost as by its end.
    /// [`WorkerEnded`](Self::WorkerEnded) or [`WorkerStartFailed`](Self::WorkerStartFailed) follows
    /// when it ends before the pool has.
    WorkerStuck {
        /// The number of the worker.
        worker: u64,
        /// The process of the worker.
        process: ProcessId,
        /// The processes that do not end, each with the reason.
        left: Arc<[LeftProcess]>,
    },
    /// A worker that was ready has ended.
    WorkerEnded {
        /// Its number.
        worker: u64,
        /// Its process.
        process: ProcessId,
        /// How it ended.
        report: Arc<ExitReport>,
    },
    /// A request is given up, since workers died of it.
    Poisonous {
        /// The request.
        request: RequestName,
        /// How many died.
        workers: u32,
    },
    /// No worker is ready, and none could be started: until one is, all requests fail.
    Broken {
        /// Why the last one could not be started.
        reason: String,
    },
    /// After [`Broken`](Self::Broken) a worker is ready.
    Recovered,
    /// The pool has ended: no request is open, and nothing of its workers is left but what is
    /// [stuck](Self::WorkerStuck).
    Ended,
    /// The listener was too slow, and this many events were dropped that would have come here.
    Missed(u64),
}

impl fmt::Display for PoolEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkerStarting { worker } => write!(f, "worker {worker} is being started"),
            Self::WorkerReady { worker, process } => {
                write!(f, "worker {worker} is ready: process {process}")
            }
            Self::WorkerStartFailed { worker, reason } => {
                let reason = Escaped::new(reason);
                write!(f, "worker {worker} could not be started: {reason}")
            }
            Self::WorkerStopping { worker } => write!(f, "worker {worker} is being ended"),
            Self::WorkerStuck { worker, left, .. } => {
                write!(f, "worker {worker} does not end: {}", List(left))
            }
            Self::WorkerEnded { worker, report, .. } => write!(f, "worker {worker} {report}"),
            Self::Poisonous { request, workers } => {
                write!(f, "{request} is given up: {workers} workers died of it")
            }
            Self::Broken { reason } => {
                write!(f, "no worker could be started: {}", Escaped::new(reason))
            }
            Self::Recovered => f.write_str("a worker is ready again"),
            Self::Ended => f.write_str("the pool has ended"),
            Self::Missed(count) => write!(f, "{count} events were missed"),
        }
    }
}

/// The events of a pool: a [`Stream`] of [`PoolEvent`]s. It ends when the pool has ended.
///
/// A listener may be 1,024 events behind; past that the oldest are dropped, and [`PoolEvent::Missed`] says how
/// many. Taking an item is cancel safe.
#[must_use = "streams do nothing unless polled"]
pub struct PoolEventStream {
    pub(super) listener: Listener<PoolEvent>,
}

impl Stream for PoolEventStream {
    type Item = PoolEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PoolEvent>> {
        let event = match ready!(self.listener.poll_next(cx)) {
            Some(Heard::Told(event)) => event,
            Some(Heard::Missed(count)) => PoolEvent::Missed(count),
            None => return Poll::Ready(None),
        };
        if event == PoolEvent::Ended {
            self.listener.end();
        }
        Poll::Ready(Some(event))
    }
}

impl fmt::Debug for PoolEventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolEventStream").finish_non_exhaustive()
    }
}
