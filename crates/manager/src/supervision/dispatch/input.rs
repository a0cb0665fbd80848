//! What the state machine takes in and what it answers.

use std::fmt;
use std::time::Instant;

/// What happened. A request or a worker that there is not, or not any more, is ignored, so that messages
/// may cross each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The workers are to be started, once.
    Start,
    /// A caller has a request. Its id is the driver's to give, and no two that are alive share one.
    Submit {
        request: u64,
        /// How often it may be sent in all. 1, or 0: never again. More only for what may be done twice.
        tries: u32,
        /// When its caller will not wait any longer, in the queue or for the answer.
        deadline: Option<Instant>,
    },
    /// A caller does not want the answer any more.
    Dropped { request: u64 },
    /// A worker takes requests.
    WorkerReady { worker: u64 },
    /// It could not be started, and nothing of it is left.
    WorkerStartFailed { worker: u64 },
    /// It is gone, asked for or not.
    WorkerEnded { worker: u64 },
    /// The worker was killed, asked for or not, and does not end: all that it had is lost.
    WorkerStuck { worker: u64 },
    /// It has answered a request, or said that it has ceased to work on one that was cancelled.
    Answered { worker: u64, request: u64, ok: bool },
    /// A request did not get to the worker that it was sent to, and none will any more: the worker is about to end.
    Unsent { worker: u64, request: u64 },
    /// It holds more memory than it should.
    OverMemory { worker: u64 },
    /// A deadline may have passed.
    Tick,
    /// Finish what there is, take no more, and end.
    Drain,
    /// End now.
    Abort,
}

/// What to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Start a worker. Then [`Input::WorkerReady`] and [`Input::WorkerEnded`], or
    /// [`Input::WorkerStartFailed`].
    StartWorker { worker: u64 },
    /// Stop a worker, which no caller waits for. Then [`Input::WorkerEnded`]; how long that may take is the
    /// matter of its own lifecycle.
    StopWorker { worker: u64 },
    /// Kill a worker. Then [`Input::WorkerEnded`].
    KillWorker { worker: u64 },
    /// Send a request to a worker, for the n-th time. A time that was taken from it by no fault of its own is
    /// not counted, so the number may come again. Then [`Input::Answered`].
    Send {
        request: u64,
        worker: u64,
        attempt: u32,
    },
    /// Tell a worker that nobody waits for this answer any more. Then [`Input::Answered`].
    Cancel { request: u64, worker: u64 },
    /// A request has been answered. Final.
    Done { request: u64, ok: bool },
    /// A request has failed after so many attempts. Final.
    Fail {
        request: u64,
        reason: FailReason,
        attempts: u32,
    },
    /// A request was not taken. Final.
    Refuse { request: u64, reason: Refusal },
    /// A request was not taken, and is to be submitted again after [`Room`](Self::Room). Until then it is
    /// the driver's alone, and so is its deadline.
    Full { request: u64 },
    /// There is room again: what was not taken is to be submitted again, in its order, until the next
    /// [`Full`](Self::Full).
    Room,
    /// No worker is ready, and none could be started. The pool goes on trying; until one is ready all requests fail.
    Broken,
    /// After [`Broken`](Self::Broken) a worker is ready.
    Recovered,
    /// No request is open, no worker is left, and none will be. Nothing follows but refusals.
    Drained,
}

/// Why a request has failed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FailReason {
    /// The worker that had it ended, and it may not be tried again.
    WorkerEnded {
        /// The worker.
        worker: u64,
    },
    /// So many workers died of it that no more are risked.
    Poisonous {
        /// How many died with nothing else in flight.
        workers: u32,
    },
    /// No worker could be started.
    NoWorkers,
    /// Its deadline has passed.
    TimedOut,
    /// The pool was ended.
    Aborted,
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkerEnded { worker } => write!(f, "worker {worker} ended before it answered"),
            Self::Poisonous { workers } => write!(f, "{workers} workers died of it"),
            Self::NoWorkers => f.write_str("no worker could be started"),
            Self::TimedOut => f.write_str("it took too long"),
            Self::Aborted => f.write_str("the pool was ended"),
        }
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// The queue is full.
    QueueFull,
    /// The pool is being ended, or has ended.
    Draining,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "the queue is full",
            Self::Draining => "the pool is being ended",
        })
    }
}
