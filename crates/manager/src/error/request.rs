//! Why a request got no reply, and why a process did not become ready.

use std::fmt;
use std::io;
use std::time::Duration;

use procession_wire::FrameError;

use super::NO_MANAGER;
use crate::id::ProcessId;
use crate::lifecycle::ExitReport;

/// The last lines of a process's stderr, where that is logged: what it said before something went wrong.
///
/// Ten at most, each of up to 1,000 characters. Shown, they follow what they belong to, on lines of
/// their own; without any it shows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastLines(pub(crate) Vec<String>);

impl LastLines {
    /// The lines, the last one last.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for LastLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str("; the last lines of its stderr:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// The process was spawned without frames both ways.
    #[error(
        "process {0} cannot be asked: give its Cmd a Messaging with Framing::Frames, input and output"
    )]
    NoFrames(ProcessId),
    /// The request is larger than the process's message limit. Nothing of it was sent.
    #[error(
        "a request of {len} bytes is over the limit of {limit} bytes: raise Messaging::message_limit"
    )]
    TooLarge {
        /// Bytes of payload.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The child answered that it failed: the error of its handler, or that it panicked.
    #[error("the request failed: {0}")]
    Failed(String),
    /// There was no reply in time. The child was told to cancel.
    #[error("there was no reply within {deadline:?}")]
    TimedOut {
        /// The deadline.
        deadline: Duration,
    },
    /// The process has ended. A reply that it wrote before would have counted.
    #[error("process {id} has ended without a reply: {report}{stderr}")]
    ProcessExited {
        /// The process.
        id: ProcessId,
        /// How it ended. What follows of its output may still be being read.
        report: Box<ExitReport>,
        /// What it said last.
        stderr: LastLines,
    },
    /// The child broke the protocol, and nothing that it writes is believed any more.
    #[error("process {id} has broken the protocol: {error}{stderr}")]
    FramingLost {
        /// The process.
        id: ProcessId,
        /// How.
        error: FrameError,
        /// What it said last.
        stderr: LastLines,
    },
    /// The child lives, but has closed its output, or has said `bye`: nothing more comes from it.
    #[error("process {id} has ended its output without a reply{stderr}")]
    OutputEnded {
        /// The process.
        id: ProcessId,
        /// What it said last.
        stderr: LastLines,
    },
    /// The input is closed, by the child or by `close_input`, and the request was not sent.
    #[error("the message input of process {0} is closed")]
    InputClosed(ProcessId),
    /// The child has sent more items than it was allowed to, so that memory is not bounded any more.
    #[error("the child has sent more items than there was credit for")]
    TooManyItems,
    /// The value could not be turned into a message.
    #[error("cannot serialise the request: {0}")]
    CannotSerialize(String),
    /// The reply is no value of the type asked for.
    #[error("cannot deserialise the reply: {0}")]
    CannotDeserialize(String),
    /// The pipe failed.
    #[error("writing to the process failed: {0}")]
    IoError(#[source] io::Error),
}

/// Why a process did not become ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitReadyError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// It has ended before.
    #[error("process {id} has ended before it was ready: {report}{stderr}")]
    ProcessExited {
        /// The process.
        id: ProcessId,
        /// How it ended.
        report: Box<ExitReport>,
        /// What it said last.
        stderr: LastLines,
    },
    /// It has not become ready in time, or has broken the protocol before; it is being stopped.
    #[error("process {id} has not become ready: {reason}{stderr}")]
    StartFailed {
        /// The process.
        id: ProcessId,
        /// What was waited for, or what went wrong.
        reason: String,
        /// What it said last.
        stderr: LastLines,
    },
}
