//! Which of a child's output streams are kept as logs.

use std::fmt;

/// How much of its logs a process keeps unless set otherwise: 64 MiB.
pub const DEFAULT_LOG_LIMIT: u64 = 64 * 1024 * 1024;

/// Which of a child's output streams are kept as logs, to be read at any time until the process is
/// removed.
///
/// Unlike messages, logs are lines for people and are kept in files: reading them takes nothing away.
/// A stream that carries messages cannot be logged as well. A program that buffers its output when
/// that is no terminal does so here too, so that its lines may arrive late; `stdbuf -oL`, `python3 -u`
/// and the like help.
///
/// ```
/// use procession_manager::model::command::{Cmd, Logging};
///
/// let build = Cmd::new("make").logging(Logging::merged());
/// assert!(build.logging_options().is_some_and(Logging::is_merged));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[must_use]
pub struct Logging {
    streams: Streams,
    #[cfg_attr(feature = "serde", serde(default))]
    route: LogRoute,
    /// In bytes; none is no limit.
    #[cfg_attr(
        feature = "serde",
        serde(default = "default_limit", with = "super::data::or_none")
    )]
    limit: Option<u64>,
}

#[cfg(feature = "serde")]
#[expect(clippy::unnecessary_wraps, reason = "the type of the field")]
fn default_limit() -> Option<u64> {
    Some(DEFAULT_LOG_LIMIT)
}

/// How output becomes a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum LogRoute {
    /// Through a pipe: the manager counts and times the lines, and writes them to files that it keeps
    /// within the limit. The child waits where it writes faster than that, and never for whoever reads
    /// the logs.
    #[default]
    Pipe,
    /// The child's output is the file itself. It costs the parent nothing, and no parent can slow the
    /// child; there is no limit on the file's size, and where the disk is full the child is told so by
    /// its write.
    ///
    /// Lines are counted when somebody asks. The time of a line is known where somebody was
    /// [following](crate::ProcessHandle::follow_logs) when it was written, to about 10 ms; in a
    /// long log, of more than 32,768 such moments, more coarsely. It is not known of what was
    /// written while counting took longer than 100 ms. A file that becomes shorter, as after the
    /// shell's `echo x > /dev/stderr`, was truncated: its lines are dropped, the numbers go on, and
    /// [`Event::LogFault`](crate::Event::LogFault) tells it.
    ///
    /// A question waits until all that nobody has asked about before is counted, for as long as
    /// reading it takes. Nothing else waits for that. A hole in the file, as `truncate` makes it,
    /// counts as NUL bytes of the line that it is in, and takes no time.
    ///
    /// Whether the output is complete is asked of the kernel by a lease (`F_SETLEASE` in fcntl(2)): on a
    /// file system without leases, such as NFS, it counts as cut. Linux only.
    File,
}

/// Private so that a stream can later have settings of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
enum Streams {
    Stdout,
    Stderr,
    StdoutAndStderr,
    Merged,
}

impl Logging {
    /// Keeps standard output.
    pub const fn stdout() -> Self {
        Self::of(Streams::Stdout)
    }

    /// Keeps standard error: the one for a child whose messages are on standard output.
    pub const fn stderr() -> Self {
        Self::of(Streams::Stderr)
    }

    /// Keeps standard output and standard error, each in a log of its own.
    pub const fn stdout_and_stderr() -> Self {
        Self::of(Streams::StdoutAndStderr)
    }

    /// Keeps standard output and standard error in one log, in the order in which they were written.
    pub const fn merged() -> Self {
        Self::of(Streams::Merged)
    }

    const fn of(streams: Streams) -> Self {
        Self {
            streams,
            route: LogRoute::Pipe,
            limit: Some(DEFAULT_LOG_LIMIT),
        }
    }

    /// How output becomes a log; [`LogRoute::Pipe`] unless set.
    pub const fn route(mut self, route: LogRoute) -> Self {
        self.route = route;
        self
    }

    /// How many bytes of its logs the process keeps, both streams together; [`DEFAULT_LOG_LIMIT`] unless
    /// set, 64 KiB at least. When there are more, the oldest go, an eighth of the limit at a time; the
    /// numbers of lines stay. What has no place of its own, 16 bytes for each moment at which output
    /// arrived, counts too.
    ///
    /// On the [file route](LogRoute::File) there is no limit.
    pub const fn limit(mut self, bytes: u64) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// Keeps all of its logs, as far as the [manager's
    /// limit](crate::ProcessManagerBuilder::total_log_limit) allows.
    pub const fn unlimited(mut self) -> Self {
        self.limit = None;
        self
    }

    /// What was given with [`route`](Self::route), or its default.
    pub const fn log_route(self) -> LogRoute {
        self.route
    }

    /// The limit in bytes, if there is one.
    pub const fn size_limit(self) -> Option<u64> {
        match self.route {
            LogRoute::Pipe => self.limit,
            LogRoute::File => None,
        }
    }

    /// Whether standard output is kept, alone or merged.
    pub const fn captures_stdout(self) -> bool {
        !matches!(self.streams, Streams::Stderr)
    }

    /// Whether standard error is kept, alone or merged.
    pub const fn captures_stderr(self) -> bool {
        !matches!(self.streams, Streams::Stdout)
    }

    /// Whether both streams are kept in one log.
    pub const fn is_merged(self) -> bool {
        matches!(self.streams, Streams::Merged)
    }
}

/// The name of the constructor, such as `stdout_and_stderr`.
impl fmt::Display for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.streams {
            Streams::Stdout => "stdout",
            Streams::Stderr => "stderr",
            Streams::StdoutAndStderr => "stdout_and_stderr",
            Streams::Merged => "merged",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_captures_what_it_says() {
        let table = [
            (Logging::stdout(), "stdout", true, false, false),
            (Logging::stderr(), "stderr", false, true, false),
            (
                Logging::stdout_and_stderr(),
                "stdout_and_stderr",
                true,
                true,
                false,
            ),
            (Logging::merged(), "merged", true, true, true),
        ];
        for (logging, name, stdout, stderr, merged) in table {
            assert_eq!(logging.to_string(), name);
            assert_eq!(logging.captures_stdout(), stdout, "{name}");
            assert_eq!(logging.captures_stderr(), stderr, "{name}");
            assert_eq!(logging.is_merged(), merged, "{name}");
        }
    }
}
