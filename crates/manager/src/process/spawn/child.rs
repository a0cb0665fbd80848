//! Charge of a running child, until it is reaped.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use procession_wire::Escaped;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process_group, pidfd_send_signal, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::containment::{self, Group, Root};
use crate::os;
use crate::run_dir::{ManagerDir, RunDir};
use crate::signal::Signal;

/// Charge of a running child: whoever drops it before it was reaped kills and reaps it.
#[derive(Debug)]
pub(crate) struct Child {
    pub(super) pid: Pid,
    pub(super) pidfd: PidFd,
    /// From before it was started.
    pub(super) since: Instant,
    pub(super) reaped: bool,
    /// Its cgroup, until its exit is past.
    pub(super) group: Option<Arc<Group>>,
    /// Its group is not to be killed with it.
    pub(super) leaves_group: bool,
    pub(super) run_dir: Option<RunDir>,
    /// Goes after the run directory that is in it.
    pub(super) dir: Arc<ManagerDir>,
}

/// The one descriptor for the process: made on a thread without a runtime, then watched by it.
#[derive(Debug)]
pub(super) enum PidFd {
    Plain(OwnedFd),
    Watched(AsyncFd<OwnedFd>),
    Gone,
}

impl PidFd {
    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Plain(fd) => Ok(fd.as_fd()),
            Self::Watched(fd) => Ok(fd.get_ref().as_fd()),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    pub(super) fn number(&self) -> Pid {
        self.pid
    }

    /// Gives the descriptor back, once the exit is past.
    pub(crate) fn close(&mut self) {
        if self.reaped {
            self.pidfd = PidFd::Gone;
        }
    }

    /// The cgroup of it and all that it has started.
    pub(crate) fn group(&self) -> Option<&Arc<Group>> {
        self.group.as_ref()
    }

    /// Lets its cgroup go, when the exit is past and what is left in it is hunted by others.
    pub(crate) fn leave_group(&mut self) {
        if self.reaped {
            self.group = None;
        }
    }

    /// Whoever ends it means its group too, also if that was to be left.
    pub(crate) fn take_group_along(&mut self) {
        self.leaves_group = false;
    }

    /// What a hunt starts from, until it is reaped.
    pub(crate) fn root(&self) -> Option<Root> {
        if self.reaped {
            return None;
        }
        let pidfd = self.pidfd.fd().ok()?.try_clone_to_owned();
        match pidfd {
            Ok(pidfd) => Some(Root::new(self.pid, pidfd)),
            Err(error) => {
                tracing::warn!(pid = self.pid(), %error, "a process is hunted by its tag alone");
                None
            }
        }
    }

    /// Whether, after its exit, there is surely nothing left that it has started.
    pub(crate) fn is_childless(&self) -> bool {
        self.reaped && self.group.is_none() && containment::childless(self.pid, self.since)
    }

    /// Sends it a signal; `false` once it has been reaped.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        if self.reaped {
            return Ok(false);
        }
        match pidfd_send_signal(self.pidfd.fd()?, signal.into()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts watching for the exit.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        if let PidFd::Plain(fd) = std::mem::replace(&mut self.pidfd, PidFd::Gone) {
            match os::watch(fd, Interest::READABLE) {
                Ok(fd) => self.pidfd = PidFd::Watched(fd),
                Err((fd, error)) => {
                    self.pidfd = PidFd::Plain(fd);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Ready when it has exited and was reaped, with what the kernel says of it; without where
    /// something else has reaped it.
    pub(crate) fn poll_exited(&mut self, cx: &mut Context<'_>) -> Poll<Option<os::Reaped>> {
        loop {
            let PidFd::Watched(fd) = &self.pidfd else {
                return Poll::Ready(None);
            };
            // Its process has it alone, so that there is one waker to keep, and no list of those who wait.
            let Ok(mut ready) = ready!(fd.poll_read_ready(cx)) else {
                return Poll::Ready(None);
            };
            ready.clear_ready();
            drop(ready);
            match self.try_reap() {
                Ok(None) => {}
                Ok(reaped) => return Poll::Ready(reaped),
                Err(error) => {
                    tracing::warn!(pid = self.pid(), %error, "the exit status of a process is lost: something else in this program has reaped it");
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// SIGKILL to the whole group. Nothing is sent once the child was reaped: from then on its
    /// number may be somebody else's.
    pub(crate) fn kill_group(&self) {
        if self.reaped {
            return;
        }
        // The group is there as long as its leader is, also as a zombie.
        if let Err(error) = kill_process_group(self.pid, Signal::KILL.into())
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = self.pid(), %error, "cannot kill a process group");
        }
    }

    /// Reaps it if it has exited. What is left of its group is killed first, while its number
    /// cannot be reused.
    fn try_reap(&mut self) -> io::Result<Option<os::Reaped>> {
        if self.reaped || !self.has_exited() {
            return Ok(None);
        }
        if !self.leaves_group {
            self.kill_group();
        }
        let result = self.pidfd.fd().and_then(|fd| os::reap(fd, false));
        // Where it was reaped behind our back there is nothing left to signal either.
        self.reaped = !matches!(result, Ok(None));
        result
    }

    /// Whether it is a zombie; or not there at all, which reaping then tells.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Ok(fd) = self.pidfd.fd() else { return true };
        !matches!(waitid(WaitId::PidFd(fd), options), Ok(None))
    }

    pub(crate) fn take_run_dir(&mut self) -> Option<RunDir> {
        self.run_dir.take()
    }
}

impl Drop for Child {
    /// The runtime went away, or the task panicked. Killing is done here, since the program may end
    /// before another thread runs; reaping may take a moment, and gets a thread.
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.kill_group();
        if let Some(group) = &self.group
            && let Err(error) = group.kill()
        {
            tracing::warn!(cgroup = %Escaped::new(group.path()), %error, "cannot kill a cgroup");
        }
        self.reaped = true;
        let pidfd = match std::mem::replace(&mut self.pidfd, PidFd::Gone) {
            PidFd::Plain(fd) => fd,
            PidFd::Watched(fd) => fd.into_inner(),
            PidFd::Gone => return,
        };
        let (run_dir, group) = (self.run_dir.take(), self.group.take());
        let dir = Arc::clone(&self.dir);
        let reaper = std::thread::Builder::new().name("procession-reaper".into());
        let _ = reaper.spawn(move || {
            let _ = os::reap(pidfd.as_fd(), true);
            drop(run_dir);
            drop(group);
            drop(dir);
        });
    }
}
