//! A handle to one process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use procession_wire::Message;
use tokio::sync::oneshot;

use super::{Missing, ProcessManagerHandle};
use crate::clock;
use crate::containment::LeftProcess;
use crate::error::{
    GetProcessInfoError, KillProcessError, ReadMessageError, RemoveProcessError,
    SignalProcessError, StopProcessError, WaitError, WriteMessageError,
};
use crate::events::EventStream;
use crate::id::ProcessId;
use crate::info::ProcessInfo;
use crate::lifecycle::{ExitCause, ExitReport};
use crate::messaging::buffer::Limits;
use crate::messaging::hub::MessageStream;
use crate::messaging::sink::MessageSink;
use crate::model::Subscription;
use crate::process::{Control, Process, ProcessEnd};
use crate::signal::Signal;

/// A handle to one process: what [`ProcessManagerHandle`] does, without the id, and without asking
/// the manager. Clones are cheap.
///
/// The handle keeps the manager alive, and not the process: that lives until it ends.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use procession_manager::{Cmd, ExitCause, ProcessManager};
///
/// let manager = ProcessManager::in_temp()?;
/// let sleeper = manager.spawn_with_handle(Cmd::new("sleep").arg("1000")).await?;
/// assert!(sleeper.get_process_info().await?.is_running());
/// let report = sleeper.kill().await?;
/// assert_eq!((report.cause(), report.signal()), (ExitCause::Killed, Some(9)));
/// sleeper.remove().await?;
/// # manager.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ProcessHandle {
    process: Arc<Process>,
    manager: ProcessManagerHandle,
}

impl fmt::Debug for ProcessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessHandle")
            .field("info", &self.process.info())
            .finish_non_exhaustive()
    }
}

impl ProcessHandle {
    pub(crate) fn new(process: Arc<Process>, manager: ProcessManagerHandle) -> Self {
        Self { process, manager }
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Its id.
    pub fn id(&self) -> ProcessId {
        self.process.id()
    }

    /// The manager that it belongs to.
    pub fn manager(&self) -> &ProcessManagerHandle {
        &self.manager
    }

    pub(super) fn missing(&self) -> Missing {
        if self.manager.is_gone() {
            Missing::Manager
        } else {
            Missing::Process(self.id())
        }
    }

    /// The process, unless it was removed.
    pub(super) fn present<E: From<Missing>>(&self) -> Result<&Arc<Process>, E> {
        if self.process.is_gone() {
            return Err(self.missing().into());
        }
        Ok(&self.process)
    }

    /// Sends a message; resolves when it is in the kernel, which is not yet "the child has read
    /// it". Waits while the queue to this process is full, or the child has granted no credit.
    ///
    /// Cancel safety: dropped before the message has a place in the queue, nothing is sent; after
    /// that all of it is. Whatever is dropped, no message is ever cut. Poll the future to its end or
    /// drop it: one that waits for room and is kept without being polled holds the room that it is
    /// given, which others then wait for.
    ///
    /// # Errors
    ///
    /// [`WriteMessageError`]. Where the child has gone, the error says how. A message that is refused
    /// (too large; a newline over lines) leaves the channel as it was.
    pub async fn send_message(&self, message: impl Into<Message>) -> Result<(), WriteMessageError> {
        let process = self.present::<WriteMessageError>()?;
        match process.outbox()?.send(message.into().into_bytes()).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(process.write_error(failure).await),
        }
    }

    /// Sends a message if that needs no waiting; it is then written whole, by the manager where
    /// need be.
    ///
    /// # Errors
    ///
    /// [`WriteMessageError`]; [`WriteMessageError::BufferFull`] hands the message back.
    pub fn try_send_message(&self, message: impl Into<Message>) -> Result<(), WriteMessageError> {
        let process = self.present::<WriteMessageError>()?;
        process
            .outbox()?
            .try_send(&message.into().into_bytes())
            .map_err(|failure| process.write_error_now(failure))
    }

    /// A sink for many messages.
    ///
    /// # Errors
    ///
    /// [`WriteMessageError`]: the process has no message input, or has been removed.
    pub fn message_sink(&self) -> Result<MessageSink, WriteMessageError> {
        let process = self.present::<WriteMessageError>()?;
        Ok(MessageSink::new(
            Arc::clone(process),
            Arc::clone(process.outbox()?),
        ))
    }

    /// Takes no more messages, and ends the child's input after those that are queued: the child
    /// reads the end of its input. On a named pipe that happens once the child has opened it, since
    /// it could not see the end before. Does not wait for it.
    ///
    /// # Errors
    ///
    /// [`WriteMessageError`]: the process has no message input, has ended, or has been removed. An
    /// input that is closed already is no error.
    #[expect(
        clippy::unused_async,
        reason = "as every other request; it may come to wait"
    )]
    pub async fn close_input(&self) -> Result<(), WriteMessageError> {
        let process = self.present::<WriteMessageError>()?;
        process.close_input()
    }

    /// Subscribes to the child's messages, with the buffer and policy of its
    /// [`Messaging`](crate::Messaging).
    ///
    /// Any number of subscriptions get every message each. While there is none, messages wait in
    /// the process's own buffer, and the next subscription gets them.
    ///
    /// # Errors
    ///
    /// [`ReadMessageError`].
    pub async fn subscribe_message_stream(&self) -> Result<MessageStream, ReadMessageError> {
        self.subscribe_message_stream_with(Subscription::new())
            .await
    }

    /// Subscribes with a buffer and a policy of its own.
    ///
    /// # Errors
    ///
    /// [`ReadMessageError`]; [`ReadMessageError::EmptyBuffer`] for a buffer of nothing.
    #[expect(
        clippy::unused_async,
        reason = "as every other request; it may come to wait"
    )]
    pub async fn subscribe_message_stream_with(
        &self,
        subscription: Subscription,
    ) -> Result<MessageStream, ReadMessageError> {
        let hub = self.present::<ReadMessageError>()?.hub()?;
        let defaults = hub.defaults();
        let limits = Limits {
            messages: subscription
                .buffered_messages()
                .unwrap_or(defaults.messages),
            bytes: subscription
                .buffered_bytes()
                .map_or(defaults.bytes, |bytes| {
                    u64::try_from(bytes).unwrap_or(u64::MAX)
                }),
            overflow: subscription.overflow_policy().unwrap_or(defaults.overflow),
        };
        if limits.messages == 0 || limits.bytes == 0 {
            return Err(ReadMessageError::EmptyBuffer);
        }
        Ok(hub.subscribe(limits))
    }

    /// What is known of it. Answered at once.
    ///
    /// # Errors
    ///
    /// [`GetProcessInfoError`].
    #[expect(
        clippy::unused_async,
        reason = "as every other request; it may come to wait"
    )]
    pub async fn get_process_info(&self) -> Result<ProcessInfo, GetProcessInfoError> {
        Ok(self.present::<GetProcessInfoError>()?.info())
    }

    /// Waits until it has exited and its output has been read, or was cut: what something else
    /// holds open does not hold this up for longer than the drain bound. Event-driven; any number
    /// of tasks may wait. Cancel safe.
    ///
    /// The handle keeps the report, also when the process has been removed and the manager has ended.
    ///
    /// # Errors
    ///
    /// [`WaitError`]: the manager has ended without learning how the process did.
    pub async fn wait(&self) -> Result<ExitReport, WaitError> {
        match self.process.drained().await {
            Some(report) => Ok(report),
            None => Err(self.missing().into()),
        }
    }

    /// The same, but for at most this time: `None` where it has not finished by then. It goes on
    /// running; to have it stopped then, see [`Cmd::timeout`](crate::Cmd::timeout).
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub async fn wait_timeout(&self, timeout: Duration) -> Result<Option<ExitReport>, WaitError> {
        match tokio::time::timeout(timeout.min(clock::LONGEST), self.wait()).await {
            Ok(report) => report.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Stops the process and its tree, with the [grace](crate::ProcessManagerBuilder::grace) of its
    /// manager.
    ///
    /// The process is asked to end: over frames by the `stop` frame at once and SIGTERM at half the
    /// grace, else by the end of its input and SIGTERM at once. SIGTERM goes to all processes of
    /// its tree. The processes left at the end of the grace are killed. Resolves with the exit
    /// report when nothing of the tree is left, or with an error when something is left after the
    /// grace and the [bound](crate::KILL_BOUND) of a kill. A process that has ended already is no
    /// error: its report stays as it was.
    ///
    /// A second stop can only shorten the grace of the first; [`kill`](Self::kill) ends it at once.
    ///
    /// Cancel safe: once this was polled, the stop is carried out.
    ///
    /// # Errors
    ///
    /// [`StopProcessError`]: the manager has ended without learning how the process did, or something
    /// does not end ([`NotEnded`](StopProcessError::NotEnded)).
    pub async fn stop(&self) -> Result<ExitReport, StopProcessError> {
        self.stop_within(None).await
    }

    /// The same, with a grace of its own.
    ///
    /// # Errors
    ///
    /// [`StopProcessError`].
    pub async fn stop_with(&self, grace: Duration) -> Result<ExitReport, StopProcessError> {
        self.stop_within(Some(grace)).await
    }

    async fn stop_within(&self, grace: Option<Duration>) -> Result<ExitReport, StopProcessError> {
        let id = self.id();
        match self.end_by(Control::Stop { grace }).await {
            Some((Some(report), left)) if left.is_empty() => Ok(report),
            Some((report, left)) => Err(StopProcessError::NotEnded {
                id,
                left,
                report: report.map(Box::new),
            }),
            None => Err(self.missing().into()),
        }
    }

    /// Asks it to end, and waits for that; the report, and what does not end.
    async fn end_by(&self, request: Control) -> Option<(Option<ExitReport>, Vec<LeftProcess>)> {
        // Before it is asked: what is told from here on comes after that.
        let before = self.process.given_up();
        self.process.ask(request).await;
        Some(match self.process.end_or_left(before, false).await? {
            ProcessEnd::Reported(report) => {
                let report = ExitReport::clone(&report);
                let left = report.left().to_vec();
                (Some(report), left)
            }
            ProcessEnd::Left { left, report } => {
                (report.map(|report| ExitReport::clone(&report)), left)
            }
        })
    }

    /// Sends it a signal: to the process itself and to nothing that it has started. Never to another
    /// process that has its number by now: it goes by `pidfd_send_signal(2)`.
    ///
    /// # Errors
    ///
    /// [`SignalProcessError`]; [`SignalProcessError::ProcessExited`] once it has exited.
    pub async fn signal(&self, signal: Signal) -> Result<(), SignalProcessError> {
        let (reply, answer) = oneshot::channel();
        if self.process.ask(Control::Signal(signal, reply)).await
            && let Ok(result) = answer.await
        {
            return result;
        }
        Err(self.missing().into())
    }

    /// Sends a signal to it and to all that it has started; says how many processes got it. What
    /// starts while this looks for them may be missed.
    ///
    /// # Errors
    ///
    /// [`SignalProcessError`]; [`SignalProcessError::ProcessExited`] once it has exited.
    pub async fn signal_tree(&self, signal: Signal) -> Result<u32, SignalProcessError> {
        let (reply, answer) = oneshot::channel();
        if self.process.ask(Control::SignalTree(signal, reply)).await
            && let Ok(result) = answer.await
        {
            return result;
        }
        Err(self.missing().into())
    }

    /// What happens to it from now on. The stream ends when it is removed; of one that was removed, it
    /// is empty.
    pub fn events(&self) -> EventStream {
        // First the listening, then the look: what is removed in between is told.
        let events = self.manager.events_of(self.id());
        if self.process.is_gone() {
            return EventStream::ended();
        }
        events
    }

    /// Kills it and all that it has started (`SIGKILL`), and closes its input; resolves with the
    /// exit report when nothing of its tree is left, or with an error when something is left after
    /// [`KILL_BOUND`](crate::KILL_BOUND). The process itself gets the signal at once, by its own
    /// pidfd, whatever else can be found. A process that has ended already is no error: its report
    /// is what it was.
    ///
    /// Cancel safe: once this was polled, the kill is carried out.
    ///
    /// # Errors
    ///
    /// [`KillProcessError`]: the manager has ended without learning how the process did, or something
    /// does not end ([`NotEnded`](KillProcessError::NotEnded)).
    pub async fn kill(&self) -> Result<ExitReport, KillProcessError> {
        let id = self.id();
        match self.end_by(Control::Kill(ExitCause::Killed)).await {
            Some((Some(report), left)) if left.is_empty() => Ok(report),
            Some((report, left)) => Err(KillProcessError::NotEnded {
                id,
                left,
                report: report.map(Box::new),
            }),
            None => Err(self.missing().into()),
        }
    }

    /// Forgets it, once it has finished: its report and logs go, and its run directory with
    /// everything in it.
    ///
    /// # Errors
    ///
    /// [`RemoveProcessError`]; [`RemoveProcessError::StillRunning`] if it has not finished.
    pub async fn remove(&self) -> Result<(), RemoveProcessError> {
        let (reply, answer) = oneshot::channel();
        if self.process.ask(Control::Remove(reply)).await {
            match answer.await {
                Ok(result) => return result,
                // Removed by somebody else meanwhile.
                Err(_) => return Err(self.missing().into()),
            }
        }
        Err(self.missing().into())
    }
}
