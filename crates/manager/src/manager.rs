//! The manager: the registry of processes, and nothing else.
//!
//! It never waits for anything that a child can delay: no pipe, no file, no exit. A process's own
//! task does that; the manager answers who there is, and at its end sees all of them out.

pub(crate) mod context;
#[cfg(any(feature = "json", feature = "message-pack"))]
pub mod serde {
    //! How a value becomes a message: the format, and its encoding as text.
    #[cfg(feature = "message-pack")]
    pub use procession_wire::Encoding;
    pub use procession_wire::{MessageFormat, SerdeError};
}

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub use procession_wire::Message;
pub use procession_wire::env::{
    INPUT_PIPE as INPUT_PIPE_ENV_NAME, OUTPUT_PIPE as OUTPUT_PIPE_ENV_NAME,
    PROCESS_DATA_DIR as PROCESS_DATA_DIR_ENV_NAME,
};

use self::context::Context;
pub use crate::containment::Swept;
use crate::containment::{Guard, Hunter};
pub use crate::error::{
    GetLogsError, GetProcessInfoError, KillProcessError, ManagerError, ReadMessageError,
    ReceiveDeserializedMessageError, ReceiveMessageError, RemoveProcessError, RunError,
    SignalProcessError, SpawnProcessError, StopProcessError, WaitError, WriteMessageError,
};
use crate::events::Events;
pub use crate::events::{Event, EventStream, RemovalReason};
use crate::file_events::FileEvents;
use crate::flag::Flag;
pub use crate::handle::{ProcessHandle, ProcessManagerHandle, ScopedProcessHandle};
pub use crate::id::ProcessId;
pub use crate::info::ProcessInfo;
use crate::lifecycle::DrainBounds;
pub use crate::lifecycle::{ExitCause, ExitReport, OutputState, ProcessState, ResourceUsage};
pub use crate::logs::LogsQuery;
pub use crate::messaging::hub::MessageStream;
pub use crate::messaging::sink::MessageSink;
use crate::model::Runnable;
use crate::process::Process;
use crate::process::pool::Pool;
use crate::process::task::{SpawnOptions, SpawnReply, Task};
pub use crate::run::{DEFAULT_OUTPUT_LIMIT, Run, RunOutput};
use crate::run_dir::ManagerDir;
pub use crate::shutdown::ShutdownSignals;
pub use crate::signal::Signal;
pub use crate::stream_ext::{MessageStreamExt, ResultStreamExt, TryMessageStreamExt};

/// Requests that may wait for the manager, which answers each at once.
const REQUESTS: usize = 256;

/// What handles and process tasks say to the manager.
pub(crate) enum Command {
    Spawn {
        runnable: Box<dyn Runnable>,
        options: SpawnOptions,
        reply: SpawnReply,
    },
    Find(ProcessId, oneshot::Sender<Option<Arc<Process>>>),
    List(oneshot::Sender<Vec<ProcessInfo>>),
    Forget(ProcessId),
    /// It has finished, and is kept for its report and logs.
    Finished(ProcessId),
    /// With the manager's grace, where there is none.
    ShutDown(Option<Duration>, oneshot::Sender<()>),
}

/// Starts managers. What it starts is used through a [`ProcessManagerHandle`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use procession_manager::{Cmd, ProcessManager};
///
/// let manager = ProcessManager::in_temp()?;
/// let output = manager.run(Cmd::new("echo").arg("hello")).await?;
/// assert_eq!(output.stdout(), "hello\n");
/// manager.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ProcessManager {
    context: Arc<Context>,
    commands: mpsc::Receiver<Command>,
    processes: HashMap<ProcessId, Arc<Process>>,
    /// Those that have finished, in that order.
    finished: VecDeque<ProcessId>,
    retained: usize,
    tasks: TaskTracker,
    shutdowns: Vec<oneshot::Sender<()>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spawn { .. } => "Spawn",
            Self::Find(..) => "Find",
            Self::List(_) => "List",
            Self::Forget(_) => "Forget",
            Self::Finished(_) => "Finished",
            Self::ShutDown(..) => "ShutDown",
        })
    }
}

impl ProcessManager {
    /// Starts a manager that keeps everything it makes in `working_directory`: the pipes, logs and
    /// data of its processes, in a directory of its own that is removed when it ends.
    ///
    /// The directory must exist, and belongs to one manager at a time.
    ///
    /// # Errors
    ///
    /// An error that names the directory: it is missing, not a directory or not writable, another
    /// manager is using it ([`io::ErrorKind::ResourceBusy`]), or others can write in it and it has
    /// no sticky bit ([`io::ErrorKind::PermissionDenied`]).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn spawn(working_directory: impl Into<PathBuf>) -> io::Result<ProcessManagerHandle> {
        Self::builder().working_directory(working_directory).spawn()
    }

    /// Starts a manager in a private directory under the system's directory for temporary files
    /// ([`std::env::temp_dir`]), which is removed when the manager ends.
    ///
    /// # Errors
    ///
    /// An error that names the directory that could not be made.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn in_temp() -> io::Result<ProcessManagerHandle> {
        Self::builder().spawn()
    }

    /// A manager with other settings than the defaults.
    pub fn builder() -> ProcessManagerBuilder {
        ProcessManagerBuilder::default()
    }

    async fn run(mut self) {
        let guard = tokio::spawn(start_up(Arc::clone(&self.context)));
        let mut asked = None;
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::ShutDown(grace, reply) => {
                    self.shutdowns.push(reply);
                    asked = grace;
                    break;
                }
                command => self.handle(command),
            }
        }
        self.shut_down(asked, guard).await;
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Spawn {
                runnable,
                options,
                reply,
            } => {
                let (process, requests) = Process::new(ProcessId::random());
                self.context
                    .events
                    .tell(Event::Spawned { id: process.id() });
                self.processes.insert(process.id(), Arc::clone(&process));
                let task = Task::new(process, requests, Arc::clone(&self.context));
                self.tasks.spawn(task.run(runnable, options, reply));
            }
            Command::Find(id, reply) => {
                let _ = reply.send(self.processes.get(&id).cloned());
            }
            Command::List(reply) => {
                let _ = reply.send(
                    self.processes
                        .values()
                        .map(|process| process.info())
                        .collect(),
                );
            }
            Command::Forget(id) => {
                self.processes.remove(&id);
                if let Some(at) = self.finished.iter().position(|known| *known == id) {
                    self.finished.remove(at);
                }
            }
            Command::Finished(id) => self.retain(id),
            Command::ShutDown(grace, reply) => {
                self.hurry(grace);
                self.shutdowns.push(reply);
            }
        }
    }

    /// Keeps one more that has finished, and lets the oldest go where that is one too many.
    fn retain(&mut self, id: ProcessId) {
        self.finished.push_back(id);
        while self.finished.len() > self.retained {
            let oldest = self.finished.pop_front();
            if let Some(process) = oldest.and_then(|id| self.processes.get(&id)) {
                Process::expire(process);
            }
        }
    }

    /// All processes are to end within this time from now on; it may only come nearer.
    fn hurry(&self, grace: Option<Duration>) {
        let grace = grace.unwrap_or(self.context.grace);
        // A grace that is longer than time itself is as good as one of a year.
        let year = Duration::from_hours(365 * 24);
        let until = Instant::now() + grace.min(year);
        self.context.shutdown.send_if_modified(|known| {
            let sooner = known.is_none_or(|known| until < known);
            if sooner {
                *known = Some(until);
            }
            sooner
        });
    }

    /// Sees every process out, answering meanwhile; nothing new is started.
    async fn shut_down(mut self, grace: Option<Duration>, guard: JoinHandle<()>) {
        self.hurry(grace);
        self.tasks.close();
        let tasks = self.tasks.clone();
        let ended = tasks.wait();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => break,
                Some(command) = self.commands.recv() => match command {
                    Command::Spawn { reply, .. } => {
                        let _ = reply.send(Err(SpawnProcessError::ManagerCommunicationError));
                    }
                    command => self.handle(command),
                },
            }
        }
        let Self {
            context,
            mut commands,
            shutdowns,
            ..
        } = self;
        // What sweeps and starts the guard ends by itself. From then on the task has the guard alone, and
        // gives it back to the directory, which lets it go last of all.
        context.ready.wait().await;
        guard.abort();
        let _ = guard.await;
        let pool = context.pool.clone();
        // Hunting what is left of all processes, and removing what is left on disk, blocks.
        let removed = pool.run(move || drop(context)).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot remove the manager's directory");
        }
        commands.close();
        for reply in shutdowns {
            let _ = reply.send(());
        }
        // Whoever asked between the last answer and the close: each gets the same answer as
        // those who ask later, by the reply's drop, but for a shutdown, which has been done.
        while let Some(command) = commands.recv().await {
            if let Command::ShutDown(_, reply) = command {
                let _ = reply.send(());
            }
        }
    }
}

/// Sweeps what dead managers have left in the working directory, starts the guard, and stays with it.
async fn start_up(context: Arc<Context>) {
    let dir = Arc::clone(&context.dir);
    let with_guard = context.with_guard;
    let started = context.pool.run(move || {
        let swept = dir.sweep();
        (swept, with_guard.then(|| dir.start_guard()))
    });
    let (swept, guard) = match started.await {
        Ok((swept, guard)) => (swept, guard.transpose()),
        Err(error) => (Vec::new(), Err(error)),
    };
    for swept in swept {
        context.events.tell_early(Event::Swept(swept));
    }
    context.ready.set();
    let error = match guard {
        Ok(None) => return,
        Ok(Some(guard)) => {
            let mut kept = Kept {
                dir: Arc::clone(&context.dir),
                guard: Some(guard),
            };
            match &mut kept.guard {
                Some(guard) => guard.ended().await,
                None => return,
            }
        }
        Err(error) => error,
    };
    tracing::warn!(%error, "there is no guard: children would outlive this program if it was killed");
    let reason = error.to_string();
    context
        .events
        .tell_early(Event::GuardUnavailable { reason });
}

/// The guard while it is watched. Whatever ends the watching, the runtime's own end included, it goes
/// back to the directory: that dismisses it when there is nothing left to guard.
struct Kept {
    dir: Arc<ManagerDir>,
    guard: Option<Guard>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            self.dir.keep_guard(guard);
        }
    }
}

/// Settings of a manager.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::{Duration, Instant};
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
    retained: Option<usize>,
    without_guard: bool,
}

/// How long a process that is stopped has to end by itself, unless set otherwise: 5 s.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

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

    /// How many processes that have exited are kept, with their reports and logs;
    /// [`DEFAULT_RETAINED`] unless set. When there are more, the oldest is removed, as by
    /// [`remove`](ProcessManagerHandle::remove), and
    /// [`Event::Removed`] tells it. A [`ProcessHandle`] keeps the report of its process all the same.
    pub fn retain_exited(mut self, count: usize) -> Self {
        self.retained = Some(count);
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

    /// Starts the manager.
    ///
    /// # Errors
    ///
    /// See [`ProcessManager::spawn`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn spawn(self) -> io::Result<ProcessManagerHandle> {
        let dir = Arc::new(match &self.working_directory {
            Some(path) => ManagerDir::open(path)?,
            None => ManagerDir::temporary()?,
        });
        let (sender, commands) = mpsc::channel(REQUESTS);
        let pool = Pool::new();
        let context = Arc::new(Context {
            dir,
            pool: pool.clone(),
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
        Ok(ProcessManagerHandle::new(sender, pool, events))
    }
}
