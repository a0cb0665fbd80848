//! The guard of a manager: what is left to act when the manager's process dies, by whatever signal.
//!
//! ```text
//!  start ──► reads its input ──`dismiss`──► exits, having done nothing
//!                  │
//!                  └──end of input: the manager's process is gone──► kills all that has the
//!                     manager's tag, and what is in its cgroup, until two scans in a row are
//!                     empty ──► removes directories
//! ```
//!
//! It is a shell in a process group of its own, with an empty environment, so that it has no tag itself,
//! with `/` as its directory and nothing open but the pipe. The input ends when the last copy of our
//! end goes. Other programs that are started have none, since it is close-on-exec; only a `fork(2)`
//! without an `exec` keeps the guard waiting for that process too.

mod start;

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ChildStdin;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use uuid::Uuid;

use crate::os::{self, Reaped};

/// The name by which a guard is known, among its arguments.
const NAME: &[u8] = b"procession-guard";
/// How long a dismissed guard has to go by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether this is the command line of a guard, as in `/proc/<pid>/cmdline`: one of any manager, of
/// any version.
pub(super) fn is_one(cmdline: &[u8]) -> bool {
    let mut arguments = cmdline.split(|&byte| byte == 0).skip(1);
    arguments.next() == Some(b"-c")
        && arguments.nth(1) == Some(NAME)
        && arguments
            .next()
            .is_some_and(|id| Uuid::try_parse_ascii(id).is_ok())
}

/// The guard of one manager. Dropped, it is dismissed: it acts only on the death of this process.
#[derive(Debug)]
pub(crate) struct Guard {
    pid: Pid,
    pidfd: PidFd,
    /// Stays open until the guard is gone.
    stdin: Option<ChildStdin>,
}

/// Its one descriptor, watched from when somebody first waits for it.
#[derive(Debug)]
enum PidFd {
    Plain(OwnedFd),
    Watched(AsyncFd<OwnedFd>),
    /// Reaped.
    Gone,
}

impl PidFd {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Plain(fd) => Some(fd.as_fd()),
            Self::Watched(fd) => Some(fd.get_ref().as_fd()),
            Self::Gone => None,
        }
    }
}

impl Guard {
    /// Starts the guard of `manager`, which removes `dirs` and the manager's cgroup, absolute paths, when
    /// it has acted.
    ///
    /// Blocking, for about a millisecond. Fails as starting a program does: `ENOENT` where there is no
    /// `/bin/sh`.
    pub(crate) fn start(manager: Uuid, group: Option<&Path>, dirs: &[&Path]) -> io::Result<Self> {
        let (pid, pidfd, stdin) = start::start(manager, group, dirs)?;
        Ok(Self {
            pid,
            pidfd: PidFd::Plain(pidfd),
            stdin: Some(stdin),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().cast_unsigned()
    }

    /// Sends it away, having done nothing, and reaps it.
    ///
    /// Blocking, for about a millisecond; for a second if it is stopped.
    #[cfg(test)]
    pub(crate) fn dismiss(mut self) {
        self.send_away();
    }

    fn send_away(&mut self) {
        let Some(pidfd) = self.pidfd.fd() else {
            return;
        };
        if let Some(stdin) = &mut self.stdin {
            // Where this fails it has ended already.
            let _ = stdin.write_all(b"dismiss\n");
        }
        if !ends_within(pidfd, PATIENCE) {
            // Its input is still open: killed, it does nothing either.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
        let _ = os::reap(pidfd, true);
        self.pidfd = PidFd::Gone;
        self.stdin = None;
    }

    /// Resolves when the guard has ended without being dismissed, with how; it is reaped then. From
    /// then on nobody acts on this process's death.
    ///
    /// Cancel safe. Needs a runtime with I/O enabled. Never resolves again after it has resolved.
    pub(crate) async fn ended(&mut self) -> io::Error {
        self.watch();
        loop {
            let PidFd::Watched(fd) = &self.pidfd else {
                return std::future::pending().await;
            };
            let result = match fd.readable().await {
                Ok(mut ready) => {
                    ready.clear_ready();
                    os::reap(fd.get_ref().as_fd(), false)
                }
                // The runtime shuts down.
                Err(_) => return std::future::pending().await,
            };
            let Some(error) = end(result) else { continue };
            self.pidfd = PidFd::Gone;
            self.stdin = None;
            return error;
        }
    }

    /// Where it cannot be watched, its end is not told; it guards all the same.
    fn watch(&mut self) {
        self.pidfd = match std::mem::replace(&mut self.pidfd, PidFd::Gone) {
            PidFd::Plain(fd) => match os::watch(fd, Interest::READABLE) {
                Ok(fd) => PidFd::Watched(fd),
                Err((fd, error)) => {
                    tracing::warn!(pid = self.pid(), %error, "cannot watch the guard");
                    PidFd::Plain(fd)
                }
            },
            other => other,
        };
    }

    /// What the death of this process does.
    #[cfg(test)]
    fn abandon(mut self) -> Option<Reaped> {
        self.stdin = None;
        let reaped = os::reap(self.pidfd.fd()?, true);
        self.pidfd = PidFd::Gone;
        reaped.ok().flatten()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.send_away();
    }
}

/// In words, if it has ended.
fn end(result: io::Result<Option<Reaped>>) -> Option<io::Error> {
    match result {
        Ok(None) => None,
        Ok(Some(reaped)) => Some(io::Error::other(format!(
            "the guard has ended: {}",
            reaped.status
        ))),
        Err(error) => Some(io::Error::new(
            error.kind(),
            format!("the guard was reaped by something else in this program: {error}"),
        )),
    }
}

fn ends_within(pidfd: BorrowedFd<'_>, time: Duration) -> bool {
    let time = Timespec::try_from(time).ok();
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], time.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests;
