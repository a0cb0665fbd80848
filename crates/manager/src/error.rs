//! The errors: one enum an operation.
//!
//! Each error names the thing that failed and, where there is one, the remedy. All of them are
//! `#[non_exhaustive]`: later versions may tell more causes apart.
//!
//! Shown, an error is one line (with [`LastLines`] some, each marked), and what a child or another
//! user chose of it is [escaped](procession_wire::escape) and shortened. The fields hold it as it
//! is.

mod request;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use procession_wire::{EncodeError, Escaped, FrameError, Message};

use crate::containment::{LeftProcess, List};
use crate::id::ProcessId;
use crate::lifecycle::ExitReport;
use crate::logs::LogStream;
use crate::model::ConfigurationError;

pub use request::{LastLines, RequestError, WaitReadyError};

pub(crate) const NO_MANAGER: &str =
    "the process manager is not running any more: it was shut down, or its runtime has ended";

/// Why a process could not be started.
///
/// A failed start leaves nothing behind, whatever its cause: no process, no run directory, no
/// descriptor. Only one that has [timed out](Self::TimedOut) leaves a thread and a run directory
/// until its hanging ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnProcessError {
    /// The manager has ended, or is shutting down.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// What was asked for contradicts itself; nothing was started.
    #[error("cannot start {}: {source}", Escaped::new(program))]
    InvalidConfiguration {
        /// The program that was to be started.
        program: String,
        /// What is wrong with the request.
        source: ConfigurationError,
    },
    /// The run directory, or a file in it, could not be made.
    #[error(
        "cannot create the run directory {}: {}",
        Escaped::new(path),
        Escaped::display(source)
    )]
    CannotCreateProcessWorkingDir {
        /// The directory or file that could not be made.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A named pipe could not be made or opened.
    #[error(
        "cannot create the named pipe {}: {}",
        Escaped::new(path),
        Escaped::display(source)
    )]
    CannotCreateNamedPipe {
        /// Where the pipe was to be.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// [`Runnable::bootstrap_cmd`](crate::model::Runnable::bootstrap_cmd) failed or panicked.
    #[error("preparing the process failed: {}", Escaped::new(.0))]
    BootstrapProcessFailed(String),
    /// The system refused to start the program.
    #[error("cannot start {}: {}", Escaped::new(program), Escaped::display(source))]
    CannotSpawnProcess {
        /// The program, or the interpreter of the script.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The process was not started within the manager's
    /// [`spawn_timeout`](crate::ProcessManagerBuilder::spawn_timeout), and its start was given up.
    /// Should the process start after all, it is killed at once, and its run directory is removed
    /// then.
    #[error(
        "cannot start {program}: given up after {bound:?} while {doing}: is there a file system that does not answer? `ProcessManagerBuilder::spawn_timeout` sets the bound"
    )]
    TimedOut {
        /// The program that was to be started, where that was known already.
        program: String,
        /// The step of the start that hung.
        doing: &'static str,
        /// How long it was waited for.
        bound: Duration,
    },
    /// A limit of the system or of this process is used up.
    #[error(
        "cannot start {}: {} ({})",
        Escaped::new(program),
        Escaped::new(limit),
        Escaped::display(source)
    )]
    ResourceLimit {
        /// The program that was to be started.
        program: String,
        /// Which limit, what it is now, and how to raise it.
        limit: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteMessageError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The process was spawned without a message input.
    #[error("process {0} was spawned without messaging to it: give its Cmd a Messaging with input")]
    MessageWriterNotFound(ProcessId),
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// The process has ended; what was not yet handed to the kernel is not sent.
    #[error("process {id} has ended: {report}")]
    ProcessExited {
        /// The process.
        id: ProcessId,
        /// How it ended. Its output may still be being read.
        report: Box<ExitReport>,
    },
    /// The input is closed: by the child, or by `close_input`.
    #[error("the message input of process {0} is closed")]
    InputClosed(ProcessId),
    /// The child lives, but has ended its output, or has said `bye`: it allows no more messages, and this
    /// one was not sent.
    #[error("process {0} has ended its output, and with that allows no more messages")]
    NoMoreCredit(ProcessId),
    /// The message is larger than the process's message limit.
    #[error(
        "a message of {len} bytes is over the limit of {limit} bytes: raise Messaging::message_limit"
    )]
    TooLarge {
        /// Bytes of payload.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message with a newline in it cannot be sent as one line.
    #[error(
        "the message has a newline at byte {at}, and one line is one message: use Framing::Frames"
    )]
    EmbeddedNewline {
        /// Where the first newline is.
        at: usize,
    },
    /// The queue to the process is full. Only [`try_send_message`] says so; it hands the message back.
    ///
    /// [`try_send_message`]: crate::ProcessManagerHandle::try_send_message
    #[error("the queue to the process is full")]
    BufferFull(Message),
    /// The value could not be turned into a message.
    #[error("cannot serialise the message: {}", Escaped::new(.0))]
    CannotSerializeMessage(String),
    /// The child broke the protocol, and its channel was closed in both directions.
    #[error("the channel of the process is closed: the child broke the protocol: {0}")]
    FramingLost(FrameError),
    /// The pipe failed.
    #[error("writing to the process failed: {}", Escaped::display(.0))]
    IoError(#[source] io::Error),
}

impl From<EncodeError> for WriteMessageError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { len, limit } => Self::TooLarge { len, limit },
            EncodeError::EmbeddedNewline { at } => Self::EmbeddedNewline { at },
            other => Self::CannotSerializeMessage(other.to_string()),
        }
    }
}

#[cfg(any(feature = "json", feature = "message-pack"))]
impl From<procession_wire::SerdeError> for WriteMessageError {
    fn from(error: procession_wire::SerdeError) -> Self {
        Self::CannotSerializeMessage(error.to_string())
    }
}

/// Why a process's messages could not be subscribed to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadMessageError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The process was spawned without a message output.
    #[error(
        "process {0} was spawned without messaging from it: give its Cmd a Messaging with output"
    )]
    MessageReaderNotFound(ProcessId),
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// The process has ended, and all that it wrote has been delivered to earlier subscriptions.
    #[error("process {id} has ended and its messages have been read: {report}")]
    ProcessExited {
        /// The process.
        id: ProcessId,
        /// How it ended.
        report: Box<ExitReport>,
    },
    /// A subscription needs room for at least one message.
    #[error("a subscription's buffer must hold at least one message and one byte")]
    EmptyBuffer,
}

/// An item of a message stream that is not a message.
///
/// The stream goes on after [`LostMessages`](Self::LostMessages) and
/// [`MessageTooLarge`](Self::MessageTooLarge); it ends after the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveMessageError {
    /// The subscription was too slow, and this many messages were dropped to make room
    /// ([`Overflow::DropOldest`](crate::model::Overflow::DropOldest)). They would have come here,
    /// between the message before this item and the one after it.
    #[error("{0} messages were lost: the subscription did not read them in time")]
    LostMessages(u64),
    /// The child wrote a line over the message limit. It was skipped to its end; the next line is
    /// read as usual. A subscription holds as many of these as messages, the
    /// newest.
    #[error(
        "the child wrote a line of over {limit} bytes, and it was skipped: raise Messaging::message_limit"
    )]
    MessageTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The child broke the protocol. Nothing after it is believed; the stream ends, or goes on with the
    /// [next run](Self::NewRun).
    #[error("the child broke the protocol: {0}")]
    FramingLost(FrameError),
    /// Reading from the child failed; the stream ends.
    #[error("reading from the child failed: {}", Escaped::new(.0))]
    ReadFailed(String),
    /// A [supervised](crate::Cmd::supervised) process was started again, and what comes from here on is of the run
    /// with this number, counted from 0. Of runs that wrote nothing only the last is told.
    #[error("run {0} of the process begins")]
    NewRun(u64),
}

/// An item of a stream of strings or of deserialised values that is not such a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveDeserializedMessageError {
    /// See [`ReceiveMessageError::LostMessages`].
    #[error("{0} messages were lost: the subscription did not read them in time")]
    LostMessages(u64),
    /// This message is not what was asked for; the next one is read as usual.
    #[error("{}", Escaped::new(.0))]
    CannotDeserializeMessage(String),
    /// Anything else that a message stream can say.
    #[error(transparent)]
    Receive(ReceiveMessageError),
}

impl From<ReceiveMessageError> for ReceiveDeserializedMessageError {
    fn from(error: ReceiveMessageError) -> Self {
        match error {
            ReceiveMessageError::LostMessages(lost) => Self::LostMessages(lost),
            other => Self::Receive(other),
        }
    }
}

/// Why logs could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetLogsError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// The process was spawned without logging of that stream. Holds the stream's name.
    #[error("{} of this process is not logged: give its Cmd a Logging that has it", Escaped::new(.0))]
    LoggingTypeWasNotConfigured(String),
    /// It is not known when these lines were written: on the [file route](crate::LogRoute::File) times are
    /// known only of what was written while somebody followed the log.
    #[error(
        "the times of lines of {0} are not known: nobody was following it when they were written; ask without `since` and `until`, or log by the pipe route"
    )]
    TimesUnknown(LogStream),
    /// There was no such run of the process, or what it wrote is not kept any more.
    #[error(
        "there is no run {0} of this process, or it is not kept any more: see Supervision::keep_runs"
    )]
    RunNotFound(u64),
    /// The log could not be read.
    #[error("cannot read the log of {stream}: {}", Escaped::display(source))]
    UnExpectedIoError {
        /// The log.
        stream: LogStream,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why a log cannot be followed, or what a follower has missed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowLogsError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// The process was spawned without logging of that stream. Holds the stream's name.
    #[error("{} of this process is not logged: give its Cmd a Logging that has it", Escaped::new(.0))]
    LoggingTypeWasNotConfigured(String),
    /// In the stream: these lines were gone before they could be read, because of the limit on the log's
    /// size or because something happened to its file. The next item is the line after them.
    #[error("{count} lines from line {first} on were dropped before they were read")]
    Dropped {
        /// The number of the first of them.
        first: u64,
        /// How many.
        count: u64,
    },
    /// In the stream: the log could not be read. Reading is tried again when there is more.
    #[error("cannot read the log: {}", Escaped::display(.0))]
    IoError(#[source] io::Error),
}

/// Why logs could not be moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepLogsError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// The process has not ended, or its output is still being read: kill it, or wait for it, first.
    #[error("process {0} has not finished: kill it or wait for it before moving its logs")]
    StillRunning(ProcessId),
    /// The directory or a file in it could not be made or written, where what was there already is
    /// not replaced; or a file to which a log was moved before is gone, or was changed since; or
    /// the process was removed meanwhile. All logs are where they were.
    #[error(
        "cannot keep a log: {}: {}",
        Escaped::new(path),
        Escaped::display(source)
    )]
    IoError {
        /// The directory or file, the earlier one where it is that.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why there is no information about a process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetProcessInfoError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
}

/// Why waiting for a process ended without its report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended without learning how the process did.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// [`wait_any`](crate::ProcessManagerHandle::wait_any) was given no process.
    #[error("there is no process to wait for: the list is empty")]
    NothingToWaitFor,
}

/// Why a process could not be killed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KillProcessError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended, and has killed what it had.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// Not all of the process has ended within [`KILL_BOUND`](crate::KILL_BOUND), or
    /// [`DENIED_BOUND`](crate::DENIED_BOUND) where it may not be killed. The process stays known to
    /// the manager, its input is closed, and its exit is told when it comes. Another kill tries
    /// again.
    #[error("process {id} was killed and has not ended: {}", List(left))]
    NotEnded {
        /// The process.
        id: ProcessId,
        /// The processes left: the process itself, or processes that it had started.
        left: Vec<LeftProcess>,
        /// How the process itself ended, if it did.
        report: Option<Box<ExitReport>>,
    },
}

/// Why a process could not be stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopProcessError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended, and has stopped what it had.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// Not all of the process has ended: it was killed at the end of its grace, and
    /// [`KILL_BOUND`](crate::KILL_BOUND) later, or [`DENIED_BOUND`](crate::DENIED_BOUND) where it
    /// may not be killed, something is left. The process stays known to the manager, its input is
    /// closed, and its exit is told when it comes. Another stop kills it again.
    #[error("process {id} was stopped and has not ended: {}", List(left))]
    NotEnded {
        /// The process.
        id: ProcessId,
        /// The processes left: the process itself, or processes that it had started.
        left: Vec<LeftProcess>,
        /// How the process itself ended, if it did.
        report: Option<Box<ExitReport>>,
    },
}

/// Why a signal could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalProcessError {
    /// No process has this id: it was never spawned here, or it has been removed.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// The process has ended: its number may be somebody else's by now, and nothing was sent.
    #[error("process {id} has ended: {report}")]
    ProcessExited {
        /// The process.
        id: ProcessId,
        /// How it ended. Its output may still be being read.
        report: Box<ExitReport>,
    },
    /// The system refused; a process that runs as another user, most likely.
    #[error("sending the signal failed: {}", Escaped::display(.0))]
    IoError(#[source] io::Error),
}

/// Why a process could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveProcessError {
    /// No process has this id: it was never spawned here, or it has been removed already.
    #[error("there is no process {0}")]
    ProcessNotFound(ProcessId),
    /// The manager has ended, and has removed what it had.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// The process has not ended, or its output is still being read: kill it, or wait for it, first.
    #[error("process {0} has not finished: kill it or wait for it before removing it")]
    StillRunning(ProcessId),
    /// The run directory could not be removed whole. The process is gone from the manager.
    #[error(
        "cannot remove the run directory {}: {}",
        Escaped::new(path),
        Escaped::display(source)
    )]
    CannotRemoveRunDirectory {
        /// The run directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why [`run`](crate::ProcessManagerHandle::run) has no complete output to give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnProcessError),
    /// It took longer than it was given, and was killed.
    #[error("{} was killed after its time-out of {timeout:?}", Escaped::new(output.program()))]
    TimedOut {
        /// The time it was given.
        timeout: Duration,
        /// What it had written until then, and how it ended.
        output: Box<crate::run::RunOutput>,
    },
    /// It wrote more than the limit, and was killed.
    #[error("{} was killed: it wrote more than {limit} bytes to one of its outputs", Escaped::new(output.program()))]
    OutputLimit {
        /// The limit on each of stdout and stderr, in bytes.
        limit: usize,
        /// What was read, up to the limit, and how it ended.
        output: Box<crate::run::RunOutput>,
    },
    /// The program was killed for its time-out or its output, and does not end.
    #[error("{program} was killed and has not ended: {}", List(left))]
    NotEnded {
        /// The program.
        program: String,
        /// The processes left.
        left: Vec<LeftProcess>,
        /// The output that the program has written until now.
        output: Box<crate::run::UnfinishedOutput>,
    },
    /// The manager was shut down meanwhile.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
}

/// Why the manager, a group or a pool could not be ended whole, or the list of processes not be
/// had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The manager has ended already.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
    /// All was ended but this, which was killed and does not end.
    #[error("not everything has ended: {}", List(left))]
    NotEnded {
        /// The processes left.
        left: Vec<LeftProcess>,
    },
}
