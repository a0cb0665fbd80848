//! What can go wrong on the child's side, one enum an operation.

use std::{fmt, io, path::PathBuf};

#[cfg(any(feature = "json", feature = "message-pack"))]
use procession_wire::SerdeError;
use procession_wire::{EncodeError, EnvironmentError, Escaped, FrameError, LineTooLong, env};

/// Why there is no connection to the parent.
///
/// Each names the environment variable that was tried, and what was wrong with it:
///
/// ```
/// // This example was not started by a Procession parent.
/// let error = procession_child::connect().unwrap_err();
/// assert_eq!(error.variable(), Some("PROCESS_DATA_DIR"));
/// assert!(error.is_missing());
/// assert_eq!(
///     error.to_string(),
///     "PROCESS_DATA_DIR is not set: was this program started by a Procession parent?"
/// );
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// A variable is missing or has a value that makes no sense.
    Environment(EnvironmentError),
    /// The parent spawned this program without messaging: there is a run directory, and no channel.
    NoMessaging,
    /// The path that a variable holds is no named pipe.
    NotAPipe {
        /// `INPUT_PIPE` or `OUTPUT_PIPE`.
        variable: &'static str,
        /// What it holds.
        path: PathBuf,
    },
    /// The system refused what a variable asks for.
    Io {
        /// The variable.
        variable: &'static str,
        /// What was tried, as in "cannot …".
        action: String,
        /// The system's reason.
        source: io::Error,
    },
    /// This process has connected before. There is one channel, and it has one owner: clone the
    /// `Parent` instead.
    AlreadyConnected,
}

impl ConnectError {
    pub(crate) fn io(
        variable: &'static str,
        action: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            variable,
            action: action.into(),
            source: source.into(),
        }
    }

    /// The environment variable that was tried.
    pub fn variable(&self) -> Option<&'static str> {
        match self {
            Self::Environment(error) => Some(error.variable()),
            Self::NoMessaging => Some(env::MESSAGE_FRAMING),
            Self::NotAPipe { variable, .. } | Self::Io { variable, .. } => Some(variable),
            Self::AlreadyConnected => None,
        }
    }

    /// Whether a variable was not set at all: the program was started by hand, or by a parent that
    /// does not talk to it. A program that also works on its own goes on here.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Environment(error) => {
                matches!(error.kind(), env::EnvironmentErrorKind::Missing)
            }
            Self::NoMessaging => true,
            _ => false,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(error) => error.fmt(f),
            Self::NoMessaging => write!(
                f,
                "{} is not set: the parent spawned this program without messaging",
                env::MESSAGE_FRAMING
            ),
            Self::NotAPipe { variable, path } => {
                write!(
                    f,
                    "{variable} is {:?}, which is not a pipe",
                    Escaped::new(path)
                )
            }
            Self::Io {
                variable,
                action,
                source,
            } => write!(f, "{variable}: cannot {}: {source}", Escaped::new(action)),
            Self::AlreadyConnected => f.write_str(
                "this process has connected to its parent before: clone that `Parent` instead",
            ),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<EnvironmentError> for ConnectError {
    fn from(error: EnvironmentError) -> Self {
        Self::Environment(error)
    }
}

/// Why a message was not sent. Unless it says otherwise, nothing of it was, and the next one can be.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The payload has more bytes than the message limit of this process allows.
    TooLarge {
        /// Bytes of the payload.
        len: usize,
        /// The most that is allowed, see [`Parent::message_limit`](crate::Parent::message_limit).
        limit: usize,
    },
    /// Over lines, the payload has a newline at this byte and would become two messages.
    EmbeddedNewline {
        /// Where, counted from 0.
        at: usize,
    },
    /// Nobody will read it: the parent has closed its end or has ended. What was sent shortly before
    /// may be lost as well.
    ParentGone(io::Error),
    /// The system failed to write for another reason. Part of the message may have been written, so
    /// nothing can be sent any more.
    Io(io::Error),
    /// The parent gave this program no output for messages.
    NotConfigured,
    /// [`finish`](crate::Parent::finish) was called: `bye` was sent, and nothing follows it.
    Finished,
    /// The value could not be turned into a message.
    #[cfg(any(feature = "json", feature = "message-pack"))]
    Serialize(SerdeError),
}

impl SendError {
    pub(crate) fn from_io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ParentGone(error)
        } else {
            Self::Io(error)
        }
    }

    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::ParentGone(error) | Self::Io(error) => error,
            other => io::Error::other(other),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            &Self::TooLarge { len, limit } => EncodeError::TooLarge { len, limit }.fmt(f),
            &Self::EmbeddedNewline { at } => EncodeError::EmbeddedNewline { at }.fmt(f),
            Self::ParentGone(error) => write!(f, "the parent reads no more: {error}"),
            Self::Io(error) => write!(f, "cannot write to the parent: {error}"),
            Self::NotConfigured => write!(
                f,
                "{} is \"none\": the parent takes no messages from this program",
                env::MESSAGE_OUTPUT
            ),
            Self::Finished => f.write_str("nothing can be sent after `finish`"),
            #[cfg(any(feature = "json", feature = "message-pack"))]
            Self::Serialize(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ParentGone(error) | Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { len, limit } => Self::TooLarge { len, limit },
            EncodeError::EmbeddedNewline { at } => Self::EmbeddedNewline { at },
            other => Self::Io(io::Error::new(io::ErrorKind::InvalidInput, other)),
        }
    }
}

/// Why there is no message to give.
///
/// After a line that is too long and a value that is none, the next message is read as usual. All
/// others end the input.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReceiveError {
    /// A line was over the message limit and was skipped.
    LineTooLong(LineTooLong),
    /// Framing is lost, or the input ended inside a frame. Nothing after it is believed.
    Frame(FrameError),
    /// The system failed to read.
    Io(io::Error),
    /// The parent gave this program no input for messages.
    NotConfigured,
    /// The message could not be turned into a value of the type asked for.
    #[cfg(any(feature = "json", feature = "message-pack"))]
    Deserialize(SerdeError),
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong(error) => error.fmt(f),
            Self::Frame(error) => error.fmt(f),
            Self::Io(error) => write!(f, "cannot read from the parent: {error}"),
            Self::NotConfigured => write!(
                f,
                "{} is \"none\": the parent sends no messages to this program",
                env::MESSAGE_INPUT
            ),
            #[cfg(any(feature = "json", feature = "message-pack"))]
            Self::Deserialize(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReceiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}
