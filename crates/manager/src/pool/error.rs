//! Why a request to a pool got no reply, and why a pool cannot be started.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use procession_wire::Escaped;

use crate::error::{NO_MANAGER, RequestError};
use crate::model::ConfigurationError;
use crate::supervision::dispatch::MAX_WORKERS;

/// Why a pool cannot be started. Nothing was started then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartPoolError {
    /// The command of its workers contradicts itself.
    #[error("cannot start a pool of {}: {source}", Escaped::new(program))]
    InvalidConfiguration {
        /// The program of the workers.
        program: String,
        /// What is wrong.
        source: ConfigurationError,
    },
    /// Its workers would not speak frames both ways, so they cannot be asked.
    #[error(
        "cannot start a pool of {}: give its Cmd a Messaging with Framing::Frames, input and output, or none",
        Escaped::new(program)
    )]
    NoFrames {
        /// The program of the workers.
        program: String,
    },
    /// Its workers are to be supervised, which is the pool's own work.
    #[error(
        "cannot start a pool of {}: leave `supervised` out of its Cmd, since a pool replaces its workers",
        Escaped::new(program)
    )]
    Supervised {
        /// The program of the workers.
        program: String,
    },
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// The size has no worker in it, ends before it begins, or begins above [`MAX_WORKERS`].
    #[error(
        "a pool of {min} to {max} workers cannot be: give it at least one and at most {MAX_WORKERS}, as in `1..=4`"
    )]
    InvalidSize {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A rule by which workers would be replaced as soon as they are ready, so that none would
    /// serve.
    #[error("`{setting}` of a pool is too small: give it at least {least}, or leave it out")]
    TooSmall {
        /// The name of the setting.
        setting: &'static str,
        /// The least that it can be, with its unit.
        least: &'static str,
    },
}

/// Which request it was: its number in the pool, and what its caller named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestName {
    pub(crate) number: u64,
    pub(crate) label: Option<Arc<str>>,
}

impl RequestName {
    /// Its number, counted from 0 over all requests of the pool.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What its caller named it, see [`PoolRequestOptions::label`](crate::PoolRequestOptions::label).
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "request {} ({})", self.number, Escaped::new(&**label)),
            None => write!(f, "request {}", self.number),
        }
    }
}

/// Why a request to a pool got no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolRequestError {
    /// The worker answered that it failed, or the request could not be sent, or its reply not be read. It was not
    /// tried again: a failure is an answer.
    #[error(transparent)]
    Request(RequestError),
    /// The worker that had it ended, and it has no [tries](crate::PoolRequestOptions::tries) left.
    #[error("{request} was lost after {attempts} of {tries} tries: {error}")]
    WorkerEnded {
        /// The request.
        request: RequestName,
        /// How often it was sent.
        attempts: u32,
        /// How often it might have been sent.
        tries: u32,
        /// How the worker ended.
        error: Box<RequestError>,
    },
    /// So many workers died while they had it and nothing else that no more are risked.
    #[error("{request} is given up: {workers} workers died of it, the last one so: {error}")]
    Poisonous {
        /// The request.
        request: RequestName,
        /// How many workers died.
        workers: u32,
        /// How the last of them ended.
        error: Box<RequestError>,
    },
    /// The pool has no worker, and cannot start one. It goes on trying.
    #[error("{request} has no worker: {}", Escaped::new(reason).lines())]
    NoWorkers {
        /// The request.
        request: RequestName,
        /// Why the last worker could not be started.
        reason: String,
    },
    /// There was no reply in time, the time in the queue included. The worker was told to cancel, and is replaced
    /// where it does not.
    #[error("{request} had no reply within {deadline:?}")]
    TimedOut {
        /// The request.
        request: RequestName,
        /// The deadline.
        deadline: Duration,
        /// How often it was sent.
        attempts: u32,
    },
    /// The queue is full, and the pool [refuses](crate::WhenFull::Refuse) requests then.
    #[error(
        "the queue of the pool is full: wait for replies, or make it longer by ProcessPoolBuilder::queue"
    )]
    QueueFull,
    /// The pool is being drained or has ended, and takes no more requests.
    #[error("the pool has ended, or is being ended")]
    Ended,
    /// The pool was aborted while the request was open, or has ended with its manager.
    #[error("{request} has ended with its pool")]
    Aborted {
        /// The request.
        request: RequestName,
    },
}

impl PoolRequestError {
    /// Whether the same request may fare better later: it was not the request's own fault.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::WorkerEnded { .. }
                | Self::NoWorkers { .. }
                | Self::TimedOut { .. }
                | Self::QueueFull
        )
    }
}

/// Why a pool has no ready workers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolNotReady {
    /// None could be started. It goes on trying.
    #[error("no worker of the pool could be started: {}", Escaped::new(reason).lines())]
    NoWorkers {
        /// Why the last one could not.
        reason: String,
    },
    /// It has ended, or is being ended.
    #[error("the pool has ended, or is being ended")]
    Ended,
}
