//! When a process counts as started, and how it is seen to go on living.

use std::time::Duration;

use crate::logs::LogStream;

/// How long a process may take to start, unless its [`Cmd`](super::Cmd) says otherwise: 10 s.
pub const DEFAULT_START_DEADLINE: Duration = Duration::from_secs(10);

/// What shows that a process is ready: given with [`Cmd::ready_when`](super::Cmd::ready_when).
///
/// ```
/// use procession_manager::{Cmd, LogStream, Logging, Readiness};
///
/// let server = Cmd::new("server").logging(Logging::stderr()).ready_when(Readiness::LogLine {
///     stream: LogStream::Stderr,
///     containing: "listening on".into(),
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum Readiness {
    /// The `ready` frame of a child that speaks frames: `parent.ready("…")` with `procession-child`.
    Frame,
    /// Its first message.
    FirstMessage,
    /// A line of one of its logs that has this text in it.
    LogLine {
        /// Which log.
        stream: LogStream,
        /// What is in the line.
        containing: String,
    },
    /// A line of one of its logs that this regular expression matches, in the syntax of the crate `regex`.
    ///
    /// Needs the feature `regex`.
    #[cfg(feature = "regex")]
    #[cfg_attr(docsrs, doc(cfg(feature = "regex")))]
    LogMatch {
        /// Which log.
        stream: LogStream,
        /// The expression.
        expression: String,
    },
    /// `READY=1` to the socket that `NOTIFY_SOCKET` names, as services do that are written for systemd
    /// (`sd_notify(3)`). `STATUS=` becomes the process's status text, `STOPPING=1` and
    /// `EXTEND_TIMEOUT_USEC=` are understood as well. Linux only.
    Notify {
        /// With a time: `WATCHDOG_USEC` tells it to the child, which has to send `WATCHDOG=1` at least
        /// that often, from the moment it is ready; else it is stopped as
        /// [unresponsive](crate::ExitCause::Unresponsive).
        #[cfg_attr(
            feature = "serde",
            serde(default, rename = "watchdog_ms", with = "super::data::milliseconds")
        )]
        watchdog: Option<Duration>,
    },
}

impl Readiness {
    /// The log that it is read from.
    pub(crate) fn log(&self) -> Option<LogStream> {
        match self {
            Self::LogLine { stream, .. } => Some(*stream),
            #[cfg(feature = "regex")]
            Self::LogMatch { stream, .. } => Some(*stream),
            _ => None,
        }
    }
}

impl std::fmt::Display for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame => f.write_str("a `ready` frame"),
            Self::FirstMessage => f.write_str("a first message"),
            Self::LogLine { stream, containing } => {
                write!(f, "a line with {containing:?} on {stream}")
            }
            #[cfg(feature = "regex")]
            Self::LogMatch { stream, expression } => {
                write!(f, "a line that matches {expression:?} on {stream}")
            }
            Self::Notify { .. } => f.write_str("`READY=1` to its notification socket"),
        }
    }
}

/// How long a process may take to start; none is as long as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartDeadline(pub(crate) Option<Duration>);

impl Default for StartDeadline {
    fn default() -> Self {
        Self(Some(DEFAULT_START_DEADLINE))
    }
}

/// Pings to a child over frames, and what becomes of one that does not answer:
/// [`Messaging::liveness`](super::Messaging::liveness).
///
/// The SDK's reading thread answers, so a child that is busy with a request is alive; one that hangs as a
/// whole (stopped by a signal, swapped out, its reading thread dead) is not. Of a child without the credit
/// feature, answers wait behind messages that nobody reads.
///
/// ```
/// use std::time::Duration;
/// use procession_manager::{Framing, Liveness, Messaging};
///
/// // Stopped after three pings in a row without an answer.
/// let messaging = Messaging::named_pipes()
///     .framing(Framing::Frames)
///     .liveness(Liveness::every(Duration::from_secs(5)).misses(3).stop());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[must_use]
pub struct Liveness {
    #[cfg_attr(
        feature = "serde",
        serde(rename = "every_ms", with = "super::data::millis")
    )]
    every: Duration,
    #[cfg_attr(feature = "serde", serde(default = "three"))]
    misses: u32,
    #[cfg_attr(feature = "serde", serde(default))]
    stop: bool,
}

/// Pings in a row that may go unanswered, by default.
const fn three() -> u32 {
    3
}

impl Liveness {
    /// A ping this often, from hello on; three misses in a row count, and are
    /// [told](crate::Event::Unresponsive).
    pub const fn every(interval: Duration) -> Self {
        Self {
            every: interval,
            misses: three(),
            stop: false,
        }
    }

    /// How many pings in a row have to go unanswered; at least 1. A ping counts as missed when the next
    /// one is due.
    pub const fn misses(mut self, misses: u32) -> Self {
        self.misses = misses;
        self
    }

    /// Besides telling, stops the child, with the manager's grace; the cause in its report is
    /// [`Unresponsive`](crate::ExitCause::Unresponsive).
    pub const fn stop(mut self) -> Self {
        self.stop = true;
        self
    }

    /// Between two pings.
    pub const fn interval(&self) -> Duration {
        self.every
    }

    /// How many misses count.
    pub const fn allowed_misses(&self) -> u32 {
        self.misses
    }

    /// Whether the child is stopped then.
    pub const fn stops(&self) -> bool {
        self.stop
    }
}

/// How a request is asked, where it is not by the defaults.
///
/// ```
/// use std::time::Duration;
/// use procession_manager::RequestOptions;
///
/// let patient = RequestOptions::new().deadline(Duration::from_secs(600));
/// let for_ever = RequestOptions::new().no_deadline();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct RequestOptions {
    deadline: Option<Duration>,
}

/// How long a request may take unless it says otherwise: 30 s.
pub const DEFAULT_REQUEST_DEADLINE: Duration = Duration::from_secs(30);

impl RequestOptions {
    /// The defaults: a deadline of [30 s](DEFAULT_REQUEST_DEADLINE).
    pub const fn new() -> Self {
        Self {
            deadline: Some(DEFAULT_REQUEST_DEADLINE),
        }
    }

    /// How long it may take, from the call to its reply; then it fails, and the child is told to cancel.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// It may take as long as the child lives.
    pub const fn no_deadline(mut self) -> Self {
        self.deadline = None;
        self
    }

    /// How long it may take.
    pub const fn time_limit(&self) -> Option<Duration> {
        self.deadline
    }
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self::new()
    }
}
