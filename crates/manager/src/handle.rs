//! Handles: cheap clones by which everything is asked for.
//!
//! A [`ProcessManagerHandle`] asks the manager for a process once a call; what is then done goes
//! straight to that process. A [`ProcessHandle`] holds its process and asks nobody.

mod endings;
mod logs;
mod process;
mod requests;
mod scoped;
mod service;

use std::sync::Weak;

use procession_wire::Message;
use tokio::sync::{mpsc, oneshot};

pub use process::ProcessHandle;
pub use requests::ReplyItems;
pub use scoped::ScopedProcessHandle;
pub use service::{HealthCheck, RunInfo};

use crate::clock;
use crate::error::{
    FollowLogsError, GetLogsError, GetProcessInfoError, KeepLogsError, KillProcessError,
    ManagerError, ReadMessageError, RemoveProcessError, RequestError, RunError, SignalProcessError,
    SpawnProcessError, StopProcessError, WaitError, WaitReadyError, WriteMessageError,
};
use crate::events::EventStream;
use crate::id::ProcessId;
use crate::info::ProcessInfo;
use crate::lifecycle::{ExitCause, ExitReport};
use crate::logs::LogStream;
use crate::manager::Command;
use crate::manager::context::Context;
use crate::messaging::hub::MessageStream;
use crate::messaging::sink::MessageSink;
use crate::model::{Runnable, Subscription};
use crate::process::pool::Pool;
use crate::process::task::{SpawnOptions, captured};
use crate::process::{Control, Process, ProcessEnd};
use crate::run::{Run, RunOutput, UnfinishedOutput};

/// Why there is no process to do something with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Missing {
    Process(ProcessId),
    Manager,
}

macro_rules! from_missing {
    ($($error:ident)*) => {$(
        impl From<Missing> for $error {
            fn from(missing: Missing) -> Self {
                match missing {
                    Missing::Process(id) => Self::ProcessNotFound(id),
                    Missing::Manager => Self::ManagerCommunicationError,
                }
            }
        }
    )*};
}

from_missing!(WriteMessageError ReadMessageError GetLogsError FollowLogsError KeepLogsError GetProcessInfoError WaitError KillProcessError RemoveProcessError StopProcessError SignalProcessError RequestError WaitReadyError);

/// The way to a process manager: spawn processes through it, and talk to, watch and end them.
///
/// Clones are cheap and may be used from any task. When the last handle of any kind (this one, a
/// [`ProcessHandle`], a [`ScopedProcessHandle`], a [`GroupHandle`](crate::GroupHandle)) is dropped, the manager shuts down as by
/// [`shutdown`](Self::shutdown); message streams and sinks do not count.
///
/// Every method that takes an id is mirrored on [`ProcessHandle`] without it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use futures::TryStreamExt;
/// use procession_manager::{Cmd, Messaging, ProcessManager, TryMessageStreamExt};
///
/// let manager = ProcessManager::in_temp()?;
/// let id = manager.spawn(Cmd::new("cat").messaging(Messaging::standard_io())).await?;
/// let mut echoed = manager.subscribe_message_stream(id).await?.into_string_stream();
///
/// manager.send_message(id, "hello").await?;
/// assert_eq!(echoed.try_next().await?.as_deref(), Some("hello"));
///
/// manager.close_input(id).await?;
/// assert!(manager.wait(id).await?.success());
/// manager.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct ProcessManagerHandle {
    sender: mpsc::Sender<Command>,
    /// Reads logs.
    log_readers: Pool,
    /// Weak: handles do not keep what the manager ends with.
    events: Weak<Context>,
}

impl ProcessManagerHandle {
    pub(crate) fn new(
        sender: mpsc::Sender<Command>,
        log_readers: Pool,
        events: Weak<Context>,
    ) -> Self {
        Self {
            sender,
            log_readers,
            events,
        }
    }

    /// Starts a process: a [`Cmd`](crate::Cmd), a [`Script`](crate::Script), or anything else that
    /// is [`Runnable`]. Resolves when it runs.
    ///
    /// Cancel safe: a process that was started for a future that was dropped is killed and removed.
    ///
    /// # Errors
    ///
    /// [`SpawnProcessError`]; nothing is left behind then.
    pub async fn spawn(&self, runnable: impl Runnable) -> Result<ProcessId, SpawnProcessError> {
        let handle = self.spawn_with_handle(runnable).await?;
        Ok(handle.id())
    }

    /// Starts a process, and gives a handle to it. Otherwise as [`spawn`](Self::spawn).
    ///
    /// # Errors
    ///
    /// [`SpawnProcessError`]; nothing is left behind then.
    pub async fn spawn_with_handle(
        &self,
        runnable: impl Runnable,
    ) -> Result<ProcessHandle, SpawnProcessError> {
        self.start(Box::new(runnable), SpawnOptions::default())
            .await
    }

    /// Starts a process that is killed when the last clone of the handle to it is dropped.
    /// Otherwise as [`spawn`](Self::spawn).
    ///
    /// # Errors
    ///
    /// [`SpawnProcessError`]; nothing is left behind then.
    pub async fn spawn_with_scoped_handle(
        &self,
        runnable: impl Runnable,
    ) -> Result<ScopedProcessHandle, SpawnProcessError> {
        Ok(ScopedProcessHandle::new(
            self.spawn_with_handle(runnable).await?,
        ))
    }

    /// Starts a supervised process of which each run but the first waits for its release.
    pub(crate) async fn spawn_gated(
        &self,
        runnable: Box<dyn Runnable>,
    ) -> Result<ProcessHandle, SpawnProcessError> {
        let options = SpawnOptions {
            gated: true,
            ..SpawnOptions::default()
        };
        self.start(runnable, options).await
    }

    async fn start(
        &self,
        runnable: Box<dyn Runnable>,
        options: SpawnOptions,
    ) -> Result<ProcessHandle, SpawnProcessError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Spawn {
            runnable,
            options,
            reply,
        };
        let gone = || SpawnProcessError::ManagerCommunicationError;
        self.sender.send(command).await.map_err(|_| gone())?;
        let spawned = answer.await.map_err(|_| gone())??;
        let process = spawned.accept().ok_or_else(gone)?;
        Ok(ProcessHandle::new(process, self.clone()))
    }

    /// Runs a program to its end: what it wrote to stdout and stderr, and how it ended. A program
    /// that fails is no error here; see [`RunOutput::success`].
    ///
    /// A stream that the `Cmd` gives another use (messages, logs, a file) is left to that. The
    /// process is removed afterwards; one that was killed and does not end, when it has ended.
    /// Cancel safe: if the future is dropped, the process is killed and removed.
    ///
    /// # Errors
    ///
    /// [`RunError`]; for a time-out or an output over the limit it carries what was read.
    pub async fn run(&self, run: impl Into<Run>) -> Result<RunOutput, RunError> {
        let Run {
            runnable,
            timeout,
            output_limit,
        } = run.into();
        let options = SpawnOptions {
            capture: Some(output_limit),
            ..SpawnOptions::default()
        };
        let handle = Abandoned(self.start(runnable, options).await?);
        let process = handle.0.process();
        if let Some(timeout) = timeout {
            let ended =
                tokio::time::timeout(timeout.min(clock::LONGEST), process.end_or_left(0, true));
            if ended.await.is_err() {
                process.ask(Control::Kill(ExitCause::TimedOut)).await;
            }
        }
        let end = process.end_or_left(0, true).await;
        let end = end.ok_or(RunError::ManagerCommunicationError)?;
        let (stdout, stdout_over) = captured(process, LogStream::Stdout);
        let (stderr, stderr_over) = captured(process, LogStream::Stderr);
        let report = match end {
            ProcessEnd::Reported(report) => ExitReport::clone(&report),
            ProcessEnd::Left { left, .. } => {
                return Err(RunError::NotEnded {
                    program: process.program().to_owned(),
                    left,
                    output: Box::new(UnfinishedOutput { stdout, stderr }),
                });
            }
        };
        let output = RunOutput {
            program: process.program().to_owned(),
            stdout,
            stderr,
            report,
        };
        let _ = handle.0.remove().await;
        match (timeout, output.report.cause()) {
            (Some(timeout), ExitCause::TimedOut) => Err(RunError::TimedOut {
                timeout,
                output: Box::new(output),
            }),
            (_, ExitCause::ManagerShutDown) => Err(RunError::ManagerCommunicationError),
            _ if stdout_over || stderr_over => Err(RunError::OutputLimit {
                limit: output_limit,
                output: Box::new(output),
            }),
            _ => Ok(output),
        }
    }

    /// A handle to a process that is known by its id.
    ///
    /// # Errors
    ///
    /// [`GetProcessInfoError`]: there is no such process, or the manager has ended.
    pub async fn process(&self, id: ProcessId) -> Result<ProcessHandle, GetProcessInfoError> {
        self.find(id).await
    }

    async fn find<E: From<Missing>>(&self, id: ProcessId) -> Result<ProcessHandle, E> {
        let (reply, answer) = oneshot::channel();
        // A command that could not be sent comes back with its reply, which would then never come.
        if self.sender.send(Command::Find(id, reply)).await.is_err() {
            return Err(Missing::Manager.into());
        }
        match answer.await {
            Ok(Some(process)) => Ok(ProcessHandle::new(process, self.clone())),
            Ok(None) => Err(Missing::Process(id).into()),
            Err(_) => Err(Missing::Manager.into()),
        }
    }

    /// Sends a message to a process. See [`ProcessHandle::send_message`].
    ///
    /// # Errors
    ///
    /// [`WriteMessageError`].
    pub async fn send_message(
        &self,
        id: ProcessId,
        message: impl Into<Message>,
    ) -> Result<(), WriteMessageError> {
        let process = self.find::<WriteMessageError>(id).await?;
        process.send_message(message).await
    }

    /// Sends a message to a process if that needs no waiting. See
    /// [`ProcessHandle::try_send_message`].
    ///
    /// # Errors
    ///
    /// [`WriteMessageError`]; [`WriteMessageError::BufferFull`] hands the message back.
    pub async fn try_send_message(
        &self,
        id: ProcessId,
        message: impl Into<Message>,
    ) -> Result<(), WriteMessageError> {
        let process = self.find::<WriteMessageError>(id).await?;
        process.try_send_message(message)
    }

    /// A sink for many messages to a process. See [`ProcessHandle::message_sink`].
    ///
    /// # Errors
    ///
    /// [`WriteMessageError`].
    pub async fn message_sink(&self, id: ProcessId) -> Result<MessageSink, WriteMessageError> {
        self.find::<WriteMessageError>(id).await?.message_sink()
    }

    /// Ends a process's input. See [`ProcessHandle::close_input`].
    ///
    /// # Errors
    ///
    /// [`WriteMessageError`].
    pub async fn close_input(&self, id: ProcessId) -> Result<(), WriteMessageError> {
        self.find::<WriteMessageError>(id)
            .await?
            .close_input()
            .await
    }

    /// Subscribes to the messages of a process. See [`ProcessHandle::subscribe_message_stream`].
    ///
    /// # Errors
    ///
    /// [`ReadMessageError`].
    pub async fn subscribe_message_stream(
        &self,
        id: ProcessId,
    ) -> Result<MessageStream, ReadMessageError> {
        self.subscribe_message_stream_with(id, Subscription::new())
            .await
    }

    /// Subscribes with a buffer and a policy of its own. See
    /// [`ProcessHandle::subscribe_message_stream_with`].
    ///
    /// # Errors
    ///
    /// [`ReadMessageError`].
    pub async fn subscribe_message_stream_with(
        &self,
        id: ProcessId,
        subscription: Subscription,
    ) -> Result<MessageStream, ReadMessageError> {
        let process = self.find::<ReadMessageError>(id).await?;
        process.subscribe_message_stream_with(subscription).await
    }

    /// What is known of a process. Answered at once, whatever the process does.
    ///
    /// # Errors
    ///
    /// [`GetProcessInfoError`].
    pub async fn get_process_info(
        &self,
        id: ProcessId,
    ) -> Result<ProcessInfo, GetProcessInfoError> {
        self.find::<GetProcessInfoError>(id)
            .await?
            .get_process_info()
            .await
    }

    /// What is known of every process that was not removed, in no order. Answered at once.
    ///
    /// # Errors
    ///
    /// [`ManagerError`].
    pub async fn list(&self) -> Result<Vec<ProcessInfo>, ManagerError> {
        let gone = || ManagerError::ManagerCommunicationError;
        let (reply, answer) = oneshot::channel();
        self.sender
            .send(Command::List(reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// What happens to the processes of this manager from now on; the first listener also gets what
    /// happened at the start of the manager ([`Event::Swept`](crate::Event::Swept),
    /// [`Event::GuardUnavailable`](crate::Event::GuardUnavailable)).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::StreamExt;
    /// use procession_manager::{Cmd, Event, ProcessManager};
    ///
    /// let manager = ProcessManager::in_temp()?;
    /// let mut events = manager.events();
    /// let id = manager.spawn(Cmd::new("true")).await?;
    /// while let Some(event) = events.next().await {
    ///     println!("{event}");
    ///     if matches!(event, Event::Finished { id: done, .. } if done == id) {
    ///         break;
    ///     }
    /// }
    /// # manager.shutdown().await?;
    /// # Ok(()) }
    /// ```
    pub fn events(&self) -> EventStream {
        match self.events.upgrade() {
            Some(context) => context.events.listen(),
            None => EventStream::ended(),
        }
    }

    pub(crate) fn events_of(&self, id: ProcessId) -> EventStream {
        match self.events.upgrade() {
            Some(context) => context.events.listen_to(id),
            None => EventStream::ended(),
        }
    }

    /// Asks the manager; fails where it has ended.
    pub(crate) async fn ask(&self, command: Command) -> Result<(), ()> {
        self.sender.send(command).await.map_err(|_| ())
    }

    /// Whether the manager has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) fn log_readers(&self) -> &Pool {
        &self.log_readers
    }
}

/// A process that nobody but one future has: it ends with that.
struct Abandoned(ProcessHandle);

impl Drop for Abandoned {
    fn drop(&mut self) {
        Process::abandon(self.0.process());
    }
}
