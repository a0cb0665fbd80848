//! The settings of a manager, and its start.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::task::TaskTracker;

use super::context::Context;
use super::{ProcessManager, REQUESTS};
use crate::containment::Hunter;
use crate::events::Events;
use crate::file_events::FileEvents;
use crate::flag::Flag;
use crate::handle::ProcessManagerHandle;
use crate::lifecycle::DrainBounds;
use crate::logs::{Budget, LogHook};
use crate::process::pool::{MAX_STARTS, Pool};
use crate::run_dir::ManagerDir;

/// Settings of a manager.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use procession_manager::ProcessManager;
///
/// let manager = ProcessManager::builder()
///     .drain_quiet(Duration::from_millis(20))
///     .drain_bound(Duration::from_millis(500))
///     .spawn()?;
/// # manager.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is started before `spawn` is called"]
pub struct ProcessManagerBuilder {
    working_directory: Option<PathBuf>,
    drain: DrainBounds,
    grace: Option<Duration>,
    spawn_timeout: Option<Duration>,
    retained: Option<usize>,
    without_guard: bool,
    cgroup: Option<PathBuf>,
    total_log_limit: TotalLogLimit,
    log_hook: Option<LogHook>,
    failed_logs: Option<PathBuf>,
}

/// In bytes; none is no limit.
#[derive(Debug, Clone, Copy)]
struct TotalLogLimit(Option<u64>);

impl Default for TotalLogLimit {
    fn default() -> Self {
        Self(Some(DEFAULT_TOTAL_LOG_LIMIT))
    }
}

/// How long a process that is stopped has to end by itself, unless set otherwise: 5 s.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// How long the start of a process may take, unless set otherwise: 60 s.
pub const DEFAULT_SPAWN_TIMEOUT: Duration = Duration::from_mins(1);

/// What the logs of all processes of a manager may take unless set otherwise: 4 GiB.
pub const DEFAULT_TOTAL_LOG_LIMIT: u64 = 4 * 1024 * 1024 * 1024;

/// How many processes that have exited a manager keeps unless set otherwise: 1,024.
pub const DEFAULT_RETAINED: usize = 1024;

impl ProcessManagerBuilder {
    /// Where everything is kept: see [`ProcessManager::spawn`]. Without it, in a private temporary
    /// directory.
    pub fn working_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.working_directory = Some(path.into());
        self
    }

    /// How long after a process's exit its output may be silent before it counts as cut, where
    /// something else still holds it open; 50 ms unless set. Every chunk that arrives starts the
    /// time anew.
    pub fn drain_quiet(mut self, quiet: Duration) -> Self {
        self.drain.quiet = quiet;
        self
    }

    /// How long after a process's exit its output is read at most; 2 s unless set.
    pub fn drain_bound(mut self, bound: Duration) -> Self {
        self.drain.bound = bound;
        self
    }

    /// How long a process that is stopped has to end by itself, before it is killed;
    /// [`DEFAULT_GRACE`] unless set. A stop may bring its own.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// How long the start of a process may take, [`bootstrap_cmd`](crate::Runnable::bootstrap_cmd)
    /// included; [`DEFAULT_SPAWN_TIMEOUT`] unless set. What takes longer is given up, with
    /// [`SpawnProcessError::TimedOut`](crate::SpawnProcessError::TimedOut), and at a shutdown at
    /// the end of its grace, but after 2 s at the earliest.
    ///
    /// No start waits for the other side of a FIFO or for a terminal, but one on a file system that
    /// does not answer hangs until that does, and nothing can break it off. Its thread is lost
    /// until then; up to 256 starts may hang while others go on. One that comes to its end after it
    /// was given up is undone: its processes are killed, its run directory is removed. At least 1
    /// ms.
    pub fn spawn_timeout(mut self, timeout: Duration) -> Self {
        self.spawn_timeout = Some(timeout);
        self
    }

    /// How many processes that have exited are kept, with their reports and logs;
    /// [`DEFAULT_RETAINED`] unless set. When there are more, the oldest is removed, as by
    /// [`remove`](ProcessManagerHandle::remove), and
    /// [`Event::Removed`](crate::Event::Removed) tells it. A [`ProcessHandle`](crate::ProcessHandle) keeps the report of its process all the same.
    pub fn retain_exited(mut self, count: usize) -> Self {
        self.retained = Some(count);
        self
    }

    /// How many bytes the logs of all processes may take together, those that have exited included;
    /// [`DEFAULT_TOTAL_LOG_LIMIT`] unless set, and no limit where this is `None`. When there are more, the
    /// oldest go, whichever process they are of. Logs on the [file route](crate::LogRoute::File) have no
    /// limit and do not count.
    pub fn total_log_limit(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.total_log_limit = TotalLogLimit(bytes.into());
        self
    }

    /// What is called with each line of each log, such as [`LogHook::tracing`]. A
    /// [command](crate::Cmd::log_hook) may have one of its own besides.
    pub fn log_hook(mut self, hook: LogHook) -> Self {
        self.log_hook = Some(hook);
        self
    }

    /// Where the logs of processes that have failed go when they are removed:
    /// `<directory>/<process id>/stdout.log` and so on, as by
    /// [`keep_logs`](crate::ProcessHandle::keep_logs). Nowhere unless set.
    ///
    /// The last 256 MiB of data of a log on the [file route](crate::LogRoute::File) are kept, which
    /// has no limit of its own, and holes in it stay holes;
    /// [`Event::LogFault`](crate::Event::LogFault) tells how many bytes were cut. The removal of
    /// the process waits for up to 10 s, in a shutdown to the end of its grace or for 2 s; then it
    /// is given up, with a warning by `tracing`, and nothing of that process's logs is kept.
    ///
    /// Failed is what did not exit with code 0 without having been stopped or killed by this program. Where
    /// they cannot be kept, a warning tells it by `tracing`. Logs that were kept by
    /// [`keep_logs`](crate::ProcessHandle::keep_logs) already are left at that: there is no second copy.
    pub fn keep_failed_logs(mut self, directory: impl Into<PathBuf>) -> Self {
        self.failed_logs = Some(directory.into());
        self
    }

    /// Whether a guard is started; it is unless set.
    ///
    /// The guard is one `/bin/sh` beside this program that waits for its end. If this program is
    /// killed, or ends without [`shutdown`](ProcessManagerHandle::shutdown), the guard kills all that
    /// the manager has started, and removes its directories. Without it they stay until the next
    /// manager starts in the same working directory.
    pub fn guard(mut self, guard: bool) -> Self {
        self.without_guard = !guard;
        self
    }

    /// Gives each process a cgroup of its own in this delegated cgroup v2 directory, in which it is
    /// before its first instruction, with all that it ever starts. None is used unless set.
    ///
    /// Without it a tree is known by its environment, process group and parents, and what erases the
    /// first and leaves the others is not found. A cgroup cannot be left like that: whatever is in it
    /// dies by `cgroup.kill`, what is just being forked included, when the process is killed, when it has
    /// exited (but with [`Leftovers::Leave`](crate::Leftovers::Leave)), at the manager's end, by the guard,
    /// and by the next manager in the same working directory. [`hunted`](crate::ExitReport::hunted) counts it.
    /// SIGTERM, and signals to a tree, go to those that are found without it.
    ///
    /// The manager makes `procession-<uuid>` in the directory, and in that one cgroup for each process;
    /// each is removed when nothing is left in it. Where the directory has `memory` in its
    /// `cgroup.subtree_control`, reports have `memory.peak` (Linux 5.19) as
    /// [`peak_memory`](crate::ResourceUsage::peak_memory), and for an `oom_kill` the cause
    /// [`LimitExceeded`](crate::ExitCause::LimitExceeded).
    ///
    /// The child is started by `/bin/sh`, which stops itself (`SIGSTOP`) until this program has moved it,
    /// with its own rights, whatever the child's user, and then becomes the program: about a millisecond
    /// more, and its `argv[0]` is the absolute path. Nothing of it is open in the child. If it cannot be
    /// moved, the spawn fails and the program does not run. A child that may write in other cgroups, as
    /// root may, can still move itself there.
    ///
    /// Delegation is `Delegate=yes` of a systemd unit, or the directory and the files `cgroup.procs` and
    /// `cgroup.subtree_control` in it being this user's; the kernel also asks for the right to write
    /// `cgroup.procs` of the closest cgroup that is above both this program's and the child's. See
    /// cgroups(7) and the kernel's `cgroup-v2.rst`, "Delegation".
    pub fn cgroup(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cgroup = Some(directory.into());
        self
    }

    /// Starts the manager.
    ///
    /// # Errors
    ///
    /// See [`ProcessManager::spawn`]. [`io::ErrorKind::InvalidInput`] for a
    /// [`spawn_timeout`](Self::spawn_timeout) under 1 ms. With a [`cgroup`](Self::cgroup) also an
    /// error that names that directory and the remedy: it is missing, not cgroup v2
    /// ([`io::ErrorKind::InvalidInput`]), not writable ([`io::ErrorKind::PermissionDenied`]), or
    /// without `cgroup.kill`, which is there since Linux 5.14 ([`io::ErrorKind::Unsupported`]).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn spawn(self) -> io::Result<ProcessManagerHandle> {
        let spawn_timeout = self.spawn_timeout.unwrap_or(DEFAULT_SPAWN_TIMEOUT);
        if spawn_timeout < Duration::from_millis(1) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "`spawn_timeout` is too short: give it at least 1 ms",
            ));
        }
        let mut dir = match &self.working_directory {
            Some(path) => ManagerDir::open(path)?,
            None => ManagerDir::temporary()?,
        };
        if let Some(cgroup) = &self.cgroup {
            dir.contain(cgroup)?;
        }
        let dir = Arc::new(dir);
        let (sender, commands) = mpsc::channel(REQUESTS);
        let (pool, readers) = (Pool::for_starts(), Pool::new());
        let context = Arc::new(Context {
            left: std::sync::Mutex::default(),
            dir,
            pool,
            starts: Arc::new(Semaphore::new(MAX_STARTS)),
            spawn_timeout,
            log_pool: Pool::new(),
            log_readers: readers.clone(),
            log_budget: Budget::new(self.total_log_limit.0),
            log_hook: self.log_hook,
            failed_logs: self.failed_logs,
            drain: self.drain,
            grace: self.grace.unwrap_or(DEFAULT_GRACE),
            with_guard: !self.without_guard,
            events: Events::new(),
            hunter: Hunter::new(),
            ready: Flag::default(),
            files: Arc::new(FileEvents::new(tokio::runtime::Handle::current())),
            shutdown: watch::Sender::new(None),
            registry: sender.downgrade(),
        });
        let manager = ProcessManager {
            context,
            commands,
            processes: HashMap::new(),
            finished: VecDeque::new(),
            retained: self.retained.unwrap_or(DEFAULT_RETAINED),
            tasks: TaskTracker::new(),
            shutdowns: Vec::new(),
        };
        let events = Arc::downgrade(&manager.context);
        tokio::spawn(manager.run());
        Ok(ProcessManagerHandle::new(sender, readers, events))
    }
}
