//! The processes left of a tree that was killed, and why they are still there.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};

use rustix::process::Pid;

/// The start of `/proc/<pid>/status`, with all that is used of it.
const STATUS: u64 = 4096;

/// A process that was to end and has not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeftProcess {
    pid: u32,
    name: String,
    reason: LeftReason,
}

/// Why a process that was killed is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeftReason {
    /// The kernel refuses the signal (`EPERM`, see `kill(2)`): the process has become another user,
    /// as a set-user-ID program does.
    NotPermitted {
        /// The user that it runs as (its effective user), where that is known.
        user: Option<u32>,
    },
    /// The process is dead, and the kernel keeps it for the process that traces it (`ptrace(2)`).
    Traced {
        /// The tracer.
        tracer: u32,
    },
    /// The process got SIGKILL and is still there. Mostly it waits in the kernel for a device or a
    /// file system (state `D`, see `proc_pid_stat(5)`).
    DoesNotDie,
}

impl LeftProcess {
    /// Looks at a process that should be gone: `None` where it is, or only waits to be reaped.
    /// `denied`: it may not be killed.
    pub(crate) fn look(pid: Pid, denied: bool) -> Option<Self> {
        let mut text = Vec::new();
        let read = File::open(format!("/proc/{pid}/status"))
            .and_then(|file| file.take(STATUS).read_to_end(&mut text));
        match read {
            Ok(_) => Self::parse(pid, &String::from_utf8_lossy(&text), denied),
            Err(error) if is_gone(&error) => None,
            Err(_) => Some(Self::unseen(pid.as_raw_pid().cast_unsigned(), "", denied)),
        }
    }

    /// The same where nothing can be read of it, by the name that is known.
    pub(crate) fn unseen(pid: u32, name: &str, denied: bool) -> Self {
        let reason = if denied {
            LeftReason::NotPermitted { user: None }
        } else {
            LeftReason::DoesNotDie
        };
        let name = name.to_owned();
        Self { pid, name, reason }
    }

    fn parse(pid: Pid, status: &str, denied: bool) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.strip_prefix(':'))
                .map(str::trim)
        };
        let tracer = field("TracerPid")
            .and_then(|tracer| tracer.parse().ok())
            .filter(|tracer| *tracer > 0);
        let is_zombie = field("State").is_some_and(|state| state.starts_with(['Z', 'X']));
        // Of a zombie the first thread alone may have ended.
        let has_threads = field("Threads").is_some_and(|threads| threads != "1");
        let reason = match tracer {
            Some(tracer) if is_zombie => LeftReason::Traced { tracer },
            _ if is_zombie && !has_threads => return None,
            _ if denied => LeftReason::NotPermitted {
                user: field("Uid").and_then(|users| users.split('\t').nth(1)?.parse().ok()),
            },
            _ => LeftReason::DoesNotDie,
        };
        Some(Self {
            pid: pid.as_raw_pid().cast_unsigned(),
            name: field("Name").unwrap_or_default().to_owned(),
            reason,
        })
    }

    /// The system's number for it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name of its program, of which the kernel keeps 15 bytes (`comm` in `proc_pid_comm(5)`).
    /// The process itself can change it to anything; [`Display`](fmt::Display) shows it escaped.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it is still there.
    pub fn reason(&self) -> LeftReason {
        self.reason
    }
}

impl fmt::Display for LeftProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, reason } = self;
        write!(f, "process {pid} (`{}`) ", name.escape_debug())?;
        match reason {
            LeftReason::NotPermitted { user } => {
                f.write_str("may not be killed by this user")?;
                if let Some(user) = user {
                    write!(f, ", since it runs as user {user}")?;
                }
                write!(f, ": end it as root, by `kill -KILL {pid}`")
            }
            LeftReason::Traced { tracer } => write!(
                f,
                "is dead and kept by the process {tracer} that traces it: end or detach that one"
            ),
            LeftReason::DoesNotDie => write!(
                f,
                "was killed and does not end: it waits in the kernel, see /proc/{pid}/stack"
            ),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Several of them in one line.
pub(crate) struct List<'a>(pub(crate) &'a [LeftProcess]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (index, left) in self.0.iter().take(SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{left}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_and_the_remedy_are_told() {
        let status = |state: &str, tracer: u32, threads: u32| {
            format!(
                "Name:\tca\u{1b}t\nUmask:\t0022\nState:\t{state}\nTracerPid:\t{tracer}\nUid:\t0\t0\t0\t0\nThreads:\t{threads}\n"
            )
        };
        let pid = Pid::from_raw(12).expect("not zero");
        let of = |status: &str, denied| LeftProcess::parse(pid, status, denied);
        let denied = of(&status("S (sleeping)", 0, 1), true).expect("left");
        assert_eq!(denied.reason(), LeftReason::NotPermitted { user: Some(0) });
        assert_eq!(
            denied.to_string(),
            "process 12 (`ca\\u{1b}t`) may not be killed by this user, since it runs as user 0: end it as root, by `kill -KILL 12`"
        );
        let traced = of(&status("Z (zombie)", 7, 1), false).expect("left");
        assert_eq!(traced.reason(), LeftReason::Traced { tracer: 7 });
        assert!(traced.to_string().contains("process 7 that traces it"));
        let waits = of(&status("D (disk sleep)", 0, 1), false).expect("left");
        assert_eq!(waits.reason(), LeftReason::DoesNotDie);
        assert_eq!(of(&status("Z (zombie)", 0, 1), true), None);
        let threads = of(&status("Z (zombie)", 0, 2), false).expect("threads are left");
        assert_eq!(threads.reason(), LeftReason::DoesNotDie);
    }

    #[test]
    fn many_are_told_of_shortly() {
        let left = vec![LeftProcess::unseen(7, "x", false); 7];
        let text = List(&left).to_string();
        assert_eq!(text.matches("process 7").count(), 5);
        assert!(text.ends_with("; and 2 more"), "{text}");
    }
}
