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

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use procession_wire::Message;
pub use procession_wire::env::{
    INPUT_PIPE as INPUT_PIPE_ENV_NAME, OUTPUT_PIPE as OUTPUT_PIPE_ENV_NAME,
    PROCESS_DATA_DIR as PROCESS_DATA_DIR_ENV_NAME,
};

use self::context::Context;
pub use crate::error::{
    GetLogsError, GetProcessInfoError, KillProcessError, ManagerError, ReadMessageError,
    ReceiveDeserializedMessageError, ReceiveMessageError, RemoveProcessError, RunError,
    SpawnProcessError, WaitError, WriteMessageError,
};
use crate::file_events::FileEvents;
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
    ShutDown(oneshot::Sender<()>),
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
            Self::ShutDown(_) => "ShutDown",
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
    /// An error that names the directory: it is missing, not a directory or not writable, or
    /// another manager is using it ([`io::ErrorKind::ResourceBusy`]).
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
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::ShutDown(reply) => {
                    self.shutdowns.push(reply);
                    break;
                }
                command => self.handle(command),
            }
        }
        self.shut_down().await;
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Spawn {
                runnable,
                options,
                reply,
            } => {
                let (process, requests) = Process::new(ProcessId::random());
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
            }
            Command::ShutDown(reply) => self.shutdowns.push(reply),
        }
    }

    /// Sees every process out, answering meanwhile; nothing new is started.
    async fn shut_down(mut self) {
        self.context.shutdown.cancel();
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
        let pool = context.pool.clone();
        // Removing what is left on disk blocks.
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
            if let Command::ShutDown(reply) = command {
                let _ = reply.send(());
            }
        }
    }
}

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
}

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
            files: Arc::new(FileEvents::new(tokio::runtime::Handle::current())),
            shutdown: CancellationToken::new(),
            registry: sender.downgrade(),
        });
        let manager = ProcessManager {
            context,
            commands,
            processes: HashMap::new(),
            tasks: TaskTracker::new(),
            shutdowns: Vec::new(),
        };
        tokio::spawn(manager.run());
        Ok(ProcessManagerHandle::new(sender, pool))
    }
}
