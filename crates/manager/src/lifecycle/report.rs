//! How a process ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::containment::{LeftProcess, List};

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitCause {
    /// It exited, or was ended by something that is not this manager.
    ByItself,
    /// It was asked to stop, and ended within its grace or was killed at the end of that; the signal
    /// tells which.
    Stopped,
    /// It was killed through this manager.
    Killed,
    /// It ran out of the time that it was given.
    TimedOut,
    /// It did not become ready.
    StartFailed,
    /// It no longer answered.
    Unresponsive,
    /// Its [health check](crate::Cmd::health_check) failed too often in a row.
    Unhealthy,
    /// Another run of it was [asked for](crate::ProcessHandle::restart).
    Restarted,
    /// The manager was shut down.
    ManagerShutDown,
    /// It went over a limit of CPU time, memory, file size or output. Of memory where the kernel has
    /// killed some of its cgroup for that ([`cgroup`](crate::ProcessManagerBuilder::cgroup)), and it did not
    /// exit with code 0 all the same.
    LimitExceeded,
    /// It was restarted too often.
    RestartLimit,
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByItself => "by itself",
            Self::Stopped => "it was asked to stop",
            Self::Killed => "it was killed",
            Self::TimedOut => "its time was up",
            Self::StartFailed => "it did not become ready",
            Self::Unresponsive => "it no longer answered",
            Self::Unhealthy => "it was not well",
            Self::Restarted => "another run of it was asked for",
            Self::ManagerShutDown => "the manager was shut down",
            Self::LimitExceeded => "it went over a limit",
            Self::RestartLimit => "it was restarted too often",
        })
    }
}

/// What is known of a process's output (its messages and its logs) at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputState {
    /// The process has exited, and its output is still being read.
    Draining,
    /// Everything that was written has been read, to the end of the pipe.
    Complete,
    /// Something else (a grandchild, usually) still held the output open, and reading was given up.
    Cut,
}

impl fmt::Display for OutputState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "its output is still being read",
            Self::Complete => "its output is complete",
            Self::Cut => "its output was cut: something else still holds it open",
        })
    }
}

/// What the process used, as the kernel accounts for it (`getrusage(2)`, `RUSAGE_CHILDREN` of this
/// child alone: it and the descendants it waited for).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ResourceUsage {
    /// CPU time in user mode.
    pub user_time: Duration,
    /// CPU time in the kernel.
    pub system_time: Duration,
    /// The most memory that it had resident at once, in bytes, where that is known to be true.
    ///
    /// A child inherits the high-water mark of the process that starts it, so a figure is given
    /// only when it is above the parent's own. With a cgroup that counts memory
    /// ([`cgroup`](crate::ProcessManagerBuilder::cgroup)) it is `memory.peak`: of all of its tree together,
    /// with the files that the kernel keeps in memory for it.
    pub peak_memory: Option<u64>,
}

/// How a process ended: its status, the cause, the time and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitReport {
    pub(crate) status: Option<ExitStatus>,
    pub(crate) cause: ExitCause,
    pub(crate) run_time: Duration,
    pub(crate) usage: Option<ResourceUsage>,
    pub(crate) output: OutputState,
    pub(crate) hunted: Option<u32>,
    pub(crate) left: Vec<LeftProcess>,
}

impl ExitReport {
    /// The exit status; none where something else in this program took it by waiting for every
    /// child, or ignores `SIGCHLD`.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// The exit code, if it exited rather than being ended by a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// The signal that ended it, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.status.and_then(|status| status.signal())
    }

    /// Whether it exited with code 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Whether it ended badly, and not because this program wanted its end.
    pub(crate) fn has_failed(&self) -> bool {
        let wanted = [
            ExitCause::Stopped,
            ExitCause::Killed,
            ExitCause::ManagerShutDown,
        ];
        !self.success() && !wanted.contains(&self.cause)
    }

    /// Why it ended.
    pub fn cause(&self) -> ExitCause {
        self.cause
    }

    /// From its start to its exit.
    pub fn run_time(&self) -> Duration {
        self.run_time
    }

    /// What it used; none where the status is not known either.
    pub fn usage(&self) -> Option<ResourceUsage> {
        self.usage
    }

    /// How many processes of its tree, beside itself, had to be hunted down and killed; none where
    /// that is not known yet (`wait` does not wait for the hunt, `stop`, `kill` and the event
    /// [`Finished`](crate::Event::Finished) do), or where they were to be
    /// [left](crate::Leftovers::Leave).
    ///
    /// Counted are those that the hunt found alive, and those in its cgroup where it has one, each once. What was in the process's own group when it
    /// exited is killed with it, before the hunt.
    pub fn hunted(&self) -> Option<u32> {
        self.hunted
    }

    /// Returns the processes that this one had started and that do not end, since they may not be
    /// killed or wait in the kernel; known with [`hunted`](Self::hunted). Mostly there are none.
    pub fn left(&self) -> &[LeftProcess] {
        &self.left
    }

    /// Whether all of its output was read.
    pub fn output(&self) -> OutputState {
        self.output
    }
}

impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "exited with code {code}")?,
            (None, Some(signal)) => write!(f, "ended by signal {signal}")?,
            (None, None) => f.write_str("ended with an unknown status")?,
        }
        write!(
            f,
            " after {:.3} s ({}",
            self.run_time.as_secs_f64(),
            self.cause
        )?;
        if self.output == OutputState::Cut {
            write!(f, "; {}", self.output)?;
        }
        if let Some(hunted @ 1..) = self.hunted {
            let s = if hunted == 1 { "" } else { "es" };
            write!(f, "; {hunted} process{s} that it had started hunted down")?;
        }
        if !self.left.is_empty() {
            write!(f, "; left: {}", List(&self.left))?;
        }
        f.write_str(")")
    }
}
