//! The manager: the registry of processes, and nothing else.
//!
//! It never waits for anything that a child can delay: no pipe, no file, no exit. A process's own
//! task does that; the manager answers who there is, and at its end sees all of them out.

mod builder;
pub(crate) mod context;
mod start_up;
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
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub use procession_wire::Message;
pub use procession_wire::env::{
    INPUT_PIPE as INPUT_PIPE_ENV_NAME, OUTPUT_PIPE as OUTPUT_PIPE_ENV_NAME,
    PROCESS_DATA_DIR as PROCESS_DATA_DIR_ENV_NAME,
};

pub use self::builder::{
    DEFAULT_GRACE, DEFAULT_RETAINED, DEFAULT_SPAWN_TIMEOUT, DEFAULT_TOTAL_LOG_LIMIT,
    ProcessManagerBuilder,
};
use self::context::Context;
use self::start_up::start_up;
use crate::clock;
pub use crate::containment::{LeftProcess, LeftReason, Swept};
pub use crate::error::{
    FollowLogsError, GetLogsError, GetProcessInfoError, KeepLogsError, KillProcessError, LastLines,
    ManagerError, ReadMessageError, ReceiveDeserializedMessageError, ReceiveMessageError,
    RemoveProcessError, RequestError, RunError, SignalProcessError, SpawnProcessError,
    StopProcessError, WaitError, WaitReadyError, WriteMessageError,
};
pub use crate::events::{Event, EventStream, RemovalReason};
use crate::group::StartGroup;
pub use crate::group::{
    GroupError, GroupEvent, GroupEventStream, GroupHandle, GroupPhase, GroupStatus, MemberFailure,
    MemberStatus, SpawnGroupError,
};
pub use crate::handle::{
    HealthCheck, ProcessHandle, ProcessManagerHandle, ReplyItems, RunInfo, ScopedProcessHandle,
};
pub use crate::id::ProcessId;
pub use crate::info::ProcessInfo;
pub use crate::lifecycle::{
    DENIED_BOUND, ExitCause, ExitReport, KILL_BOUND, OutputState, ProcessState, ResourceUsage,
};
pub use crate::logs::{
    DEFAULT_LINE_LIMIT, FollowFrom, LogCursor, LogFollower, LogHook, LogLine, LogPage, LogStream,
    LogsQuery,
};
pub use crate::messaging::answering::{HandlerError, ItemError, Request, RequestHandler};
pub use crate::messaging::hub::MessageStream;
pub use crate::messaging::sink::MessageSink;
use crate::model::Runnable;
pub use crate::pool::{
    MAX_WORKERS, MapMonitor, MapProgress, PoolEvent, PoolEventStream, PoolMap, PoolNotReady,
    PoolRequestError, PoolRequestOptions, PoolStats, ProcessPool, ProcessPoolBuilder, RequestName,
    StartPoolError, UnorderedPoolMap, WhenFull, WorkerState, WorkerStats,
};
use crate::process::Process;
use crate::process::task::{SpawnOptions, SpawnReply, Task};
pub use crate::run::{DEFAULT_OUTPUT_LIMIT, Run, RunOutput, UnfinishedOutput};
pub use crate::shutdown::ShutdownSignals;
pub use crate::signal::Signal;
pub use crate::statistics::Statistics;
pub use crate::stream_ext::{MessageStreamExt, ResultStreamExt, TryMessageStreamExt};
pub use crate::supervision::{
    Backoff, DEFAULT_KEPT_RUNS, FailurePolicy, GraphError, HealthRule, HealthState, MAX_RESTARTS,
    MemberKind, MemberState, PermanentEnd, RestartIntensity, RestartPolicy, Supervision,
    Undelivered,
};

/// Requests that may wait for the manager, which answers each at once.
const REQUESTS: usize = 256;

/// What handles and process tasks say to the manager.
pub(crate) enum Command {
    Spawn {
        runnable: Box<dyn Runnable>,
        options: SpawnOptions,
        reply: SpawnReply,
    },
    /// Its task becomes one of the manager's.
    StartGroup(Box<StartGroup>),
    Find(ProcessId, oneshot::Sender<Option<Arc<Process>>>),
    List(oneshot::Sender<Vec<ProcessInfo>>),
    Forget(ProcessId),
    /// It has finished, and is kept for its report and logs.
    Finished(ProcessId),
    /// With the manager's grace, where there is none.
    ShutDown(Option<Duration>, oneshot::Sender<Vec<LeftProcess>>),
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
    shutdowns: Vec<oneshot::Sender<Vec<LeftProcess>>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spawn { .. } => "Spawn",
            Self::StartGroup(_) => "StartGroup",
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
    /// ([`std::env::temp_dir`]), which is removed when the manager ends. Where this program and its
    /// guard were both killed, the next manager that the same user starts in this way
    /// [sweeps](crate::Event::Swept) it, in the background and for at most ten seconds.
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
            Command::StartGroup(start) => {
                if let Some(task) = start.accept(Arc::clone(&self.context)) {
                    self.tasks.spawn(task.run());
                }
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
        let until = clock::after(clock::now(), grace);
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
                    // Dropped unanswered, it says the same.
                    Command::StartGroup(_) => {}
                    command => self.handle(command),
                },
            }
        }
        let Self {
            context,
            mut commands,
            processes,
            shutdowns,
            ..
        } = self;
        // Those that nobody has come to forget hold the files of their logs.
        drop(processes);
        // What sweeps and starts the guard ends by itself. From then on the task has the guard alone, and
        // gives it back to the directory, which lets it go last of all.
        context.ready.wait().await;
        guard.abort();
        let _ = guard.await;
        let pool = context.pool.clone();
        // Hunting what is left of all processes, and removing what is left on disk, blocks.
        let removed = pool.run(move || context.end()).await;
        let left = removed.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot remove the manager's directory");
            Vec::new()
        });
        commands.close();
        for reply in shutdowns {
            let _ = reply.send(left.clone());
        }
        // Whoever asked between the last answer and the close: each gets the same answer as
        // those who ask later, by the reply's drop, but for a shutdown, which has been done.
        while let Some(command) = commands.recv().await {
            if let Command::ShutDown(_, reply) = command {
                let _ = reply.send(left.clone());
            }
        }
    }
}
