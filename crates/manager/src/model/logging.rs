//! Which of a child's output streams are kept as logs.

use std::fmt;

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
        Self { streams }
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
