//! Why a request got no reply, and why a process did not become ready.

use std::fmt;
use std::io;
use std::time::Duration;

use procession_wire::{Escaped, FrameError};

use super::NO_MANAGER;
use crate::id::ProcessId;
use crate::lifecycle::ExitReport;

/// The last lines of a process's stderr, where that is logged: what it said before something went wrong.
///
/// Ten at most, each of up to 1,000 characters. Shown, they follow what they belong to, each on a
/// line of its own that begins with `  | `, [escaped](procession_wire::Escaped); without any it
/// shows nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LastLines(pub(crate) Vec<String>);

impl LastLines {
    /// The lines, the last one last, as the process wrote them.
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
        let mut lines = self.0.iter().map(Escaped::new);
        lines.try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

impl fmt::Debug for LastLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.iter().map(|line| Escaped::new(line).short());
        f.debug_list().entries(lines).finish()
    }
}

/// Why a request got no reply.
#[derive(thiserror::Error)]
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
    /// The child answered that it failed: the error of its handler, or that it panicked. The text
    /// is as the child has sent it.
    #[error("the request failed: {}", Escaped::new(.0))]
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
    #[error("cannot serialise the request: {}", Escaped::new(.0))]
    CannotSerialize(String),
    /// The reply is no value of the type asked for.
    #[error("cannot deserialise the reply: {}", Escaped::new(.0))]
    CannotDeserialize(String),
    /// The pipe failed.
    #[error("writing to the process failed: {}", Escaped::display(.0))]
    IoError(#[source] io::Error),
}

/// Shows the start of a long text.
impl fmt::Debug for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = |name, text: &str| {
            let text = Escaped::new(text).short();
            f.debug_tuple(name).field(&text).finish()
        };
        match self {
            Self::Failed(why) => text("Failed", why),
            Self::CannotSerialize(why) => text("CannotSerialize", why),
            Self::CannotDeserialize(why) => text("CannotDeserialize", why),
            Self::ProcessNotFound(id) => f.debug_tuple("ProcessNotFound").field(id).finish(),
            Self::ManagerCommunicationError => f.write_str("ManagerCommunicationError"),
            Self::NoFrames(id) => f.debug_tuple("NoFrames").field(id).finish(),
            Self::TooLarge { len, limit } => f
                .debug_struct("TooLarge")
                .field("len", len)
                .field("limit", limit)
                .finish(),
            Self::TimedOut { deadline } => f
                .debug_struct("TimedOut")
                .field("deadline", deadline)
                .finish(),
            Self::ProcessExited { id, report, stderr } => f
                .debug_struct("ProcessExited")
                .field("id", id)
                .field("report", report)
                .field("stderr", stderr)
                .finish(),
            Self::FramingLost { id, error, stderr } => f
                .debug_struct("FramingLost")
                .field("id", id)
                .field("error", error)
                .field("stderr", stderr)
                .finish(),
            Self::OutputEnded { id, stderr } => f
                .debug_struct("OutputEnded")
                .field("id", id)
                .field("stderr", stderr)
                .finish(),
            Self::InputClosed(id) => f.debug_tuple("InputClosed").field(id).finish(),
            Self::TooManyItems => f.write_str("TooManyItems"),
            Self::IoError(error) => f.debug_tuple("IoError").field(error).finish(),
        }
    }
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
    #[error("process {id} has not become ready: {}{stderr}", Escaped::new(reason))]
    StartFailed {
        /// The process.
        id: ProcessId,
        /// What was waited for, or what went wrong.
        reason: String,
        /// What it said last.
        stderr: LastLines,
    },
}
