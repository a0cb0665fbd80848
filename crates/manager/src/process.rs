//! One process: what everybody may know of it, and the task that owns it.
//!
//! [`Process`] is shared by the registry and the handles. It holds the process's queue, the fan-out
//! of its messages and its logs, so that none of these ever goes through the manager; what happens
//! to the process goes through its task ([`task`]), which asks the pure
//! [`lifecycle`](crate::lifecycle) what to do.

mod asking;
mod channels;
mod close_input;
pub(crate) mod notify;
mod past;
pub(crate) mod pool;
mod program;
mod requests;
pub(crate) mod spawn;
mod spawn_error;
pub(crate) mod task;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use procession_wire::FrameError;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

pub(crate) use self::channels::{Channels, RunChannels};
pub(crate) use self::past::{PastRun, PastRuns};
use self::pool::Pool;
use self::requests::Requests;
use crate::containment::LeftProcess;
use crate::error::{
    FollowLogsError, GetLogsError, KeepLogsError, ReadMessageError, RemoveProcessError,
    SignalProcessError, WriteMessageError,
};
use crate::id::ProcessId;
use crate::info::ProcessInfo;
use crate::lifecycle::{ExitCause, ExitReport, OutputState, ProcessState};
use crate::logs::{FollowFrom, LogFollower, LogPage, LogStream, LogsQuery};
use crate::messaging::answering::RequestHandler;
use crate::messaging::hub::Hub;
use crate::messaging::outbox::{Closed, Outbox, SendFailure};
use crate::messaging::pings;
use crate::signal::Signal;
use crate::supervision::{HealthState, PermanentEnd};

/// How long a failed write waits for the exit that is its likely reason.
const EXIT_AFTER_BROKEN_PIPE: Duration = Duration::from_millis(250);

/// What a handle asks of the process's task. The task never waits for the child, so these are
/// answered at once.
#[derive(Debug)]
pub(crate) enum Control {
    /// Stop it; with the manager's grace, where there is none.
    Stop {
        grace: Option<Duration>,
    },
    Kill(ExitCause),
    /// Begin another run now, where it is supervised; answered with whether it is.
    Restart(oneshot::Sender<bool>),
    /// End its run; the next waits for its release. Only of what was spawned [gated](task::SpawnOptions).
    Hold,
    /// Its next run may begin, as soon as it is due.
    Release,
    /// Remove it: newer ones have exited.
    Expire,
    Signal(Signal, oneshot::Sender<Result<(), SignalProcessError>>),
    /// The same for its whole tree; answered with how many processes got it.
    SignalTree(Signal, oneshot::Sender<Result<u32, SignalProcessError>>),
    /// Kill it and forget it: nobody has it.
    Abandon,
    Remove(oneshot::Sender<Result<(), RemoveProcessError>>),
}

/// What is published of a process.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) state: ProcessState,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) ended_at: Option<SystemTime>,
    pub(crate) report: Option<Arc<ExitReport>>,
    pub(crate) start: StartState,
    /// It has started: what it was to show it has shown.
    pub(crate) begun: bool,
    /// What it says of itself.
    pub(crate) text: Option<Arc<str>>,
    /// Once it was told that something of it does not end.
    pub(crate) unended: Option<Box<Unended>>,
    /// There where it is supervised.
    pub(crate) service: Option<Box<Service>>,
}

/// The processes of a process's tree that do not end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unended {
    /// Nothing, where all of it has ended since.
    pub(crate) left: Arc<[LeftProcess]>,
    /// How often that was told.
    pub(crate) times: u32,
}

/// The outcome for a process that was told to end.
#[derive(Debug)]
pub(crate) enum ProcessEnd {
    /// The process has ended.
    Reported(Arc<ExitReport>),
    /// Something of the process has not ended.
    Left {
        left: Vec<LeftProcess>,
        /// How it has ended itself, if it has.
        report: Option<Arc<ExitReport>>,
    },
}

/// Where a supervised process is among its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service {
    /// The run that all else in the status is of.
    pub(crate) run: u64,
    /// By its checks.
    pub(crate) health: HealthState,
    /// Why no other follows, once that is so.
    pub(crate) end: Option<PermanentEnd>,
    /// Nothing runs until it is released: for the n-th time.
    pub(crate) held: Option<u64>,
}

impl Status {
    /// The number of its run.
    pub(crate) fn run(&self) -> u64 {
        self.service.as_ref().map_or(0, |service| service.run)
    }

    /// Whether another run may follow this one.
    fn is_followed(&self) -> bool {
        self.service
            .as_ref()
            .is_some_and(|service| service.end.is_none())
    }
}

/// Whether it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StartState {
    Pending,
    Ready,
    /// It never will be, for this reason.
    Failed(Arc<str>),
}

#[derive(Debug)]
pub(crate) struct Process {
    id: ProcessId,
    status: Mutex<Status>,
    /// Tells of each change of the status, and of the end of the task.
    changed: Notify,
    requests: Requests,
    channels: OnceLock<Channels>,
}

/// The end at which the task takes what is asked of it; nothing can be asked once it is dropped.
#[derive(Debug)]
pub(crate) struct Asked(Arc<Process>);

impl Asked {
    /// Ready with the next request; with none once they are closed.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Control>> {
        self.0.requests.poll_next(cx)
    }

    /// Takes no more: handles see that the process is gone.
    pub(crate) fn close(&self) {
        self.0.requests.close();
        self.0.changed.notify_waiters();
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.close();
        self.0.requests.clear();
    }
}

impl Process {
    pub(crate) fn new(id: ProcessId) -> (Arc<Self>, Asked) {
        let status = Status {
            state: ProcessState::Spawning,
            pid: None,
            started_at: None,
            ended_at: None,
            report: None,
            start: StartState::Pending,
            begun: false,
            text: None,
            unended: None,
            service: None,
        };
        let process = Arc::new(Self {
            id,
            status: Mutex::new(status),
            changed: Notify::new(),
            requests: Requests::new(),
            channels: OnceLock::new(),
        });
        let asked = Asked(Arc::clone(&process));
        (process, asked)
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    pub(crate) fn info(&self) -> ProcessInfo {
        let mut info = ProcessInfo::new(self.id, &self.status());
        if let Some(channels) = self.channels() {
            let run = channels.run();
            let pings = run.pings.as_ref();
            info.latency = pings.and_then(|pings| pings::lock(pings).latency());
            info.statistics = channels.statistics();
        }
        info
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves with what is found in the status, once that is there; `None` if the task has ended without it.
    pub(crate) async fn when<T>(&self, find: impl Fn(&Status) -> Option<T>) -> Option<T> {
        loop {
            // Made before the look: what changes in between wakes it.
            let changed = self.changed.notified();
            let gone = self.is_gone();
            let found = find(&self.status());
            if found.is_some() || gone {
                return found;
            }
            changed.await;
        }
    }

    /// Resolves when the run that is alive has exited, or another has begun.
    async fn exited(&self) {
        let run = self.status().run();
        self.run_ended(run).await;
    }

    /// Whether its next run waits for its release.
    fn is_held(&self) -> bool {
        let status = self.status();
        let service = status.service.as_ref();
        service.is_some_and(|service| service.held.is_some())
    }

    /// Which of its runs is talked to, counted from 0.
    pub(crate) fn run_number(&self) -> u64 {
        self.channels().map_or(0, |channels| channels.run().number)
    }

    /// Whether it may be started again, or might have been.
    pub(crate) fn is_supervised(&self) -> bool {
        self.status().service.is_some()
    }

    /// How its last run has ended that has.
    pub(crate) fn last_report(&self) -> Option<Arc<ExitReport>> {
        let past = self.channels().and_then(|channels| channels.past.as_ref());
        self.report().or_else(|| {
            let runs = past?.lock();
            runs.back().map(|run| Arc::clone(&run.report))
        })
    }

    /// What answers its requests, where that outlives a run.
    pub(crate) fn handler(&self) -> Option<RequestHandler> {
        self.channels()?.past.as_ref()?.handler()
    }

    pub(crate) fn start_state(&self) -> StartState {
        self.status().start.clone()
    }

    pub(crate) fn status_text(&self) -> Option<Arc<str>> {
        self.status().text.clone()
    }

    pub(crate) fn channels(&self) -> Option<&Channels> {
        self.channels.get()
    }

    /// Sets what the task publishes.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status());
        self.changed.notify_waiters();
    }

    pub(crate) fn open(&self, channels: Channels) {
        // Set once, by the task, when the child has been started.
        let _ = self.channels.set(channels);
    }

    pub(crate) fn report(&self) -> Option<Arc<ExitReport>> {
        self.status().report.clone()
    }

    /// Resolves with the report once the output has been read, of the last run where there may be several;
    /// `None` if the manager went away without one.
    pub(crate) async fn drained(&self) -> Option<ExitReport> {
        self.report_when(|status| {
            let report = status.report.as_deref();
            report.is_some_and(|report| report.output() != OutputState::Draining)
        })
        .await
    }

    /// Resolves with the final report, when nothing of its tree is left either.
    pub(crate) async fn finished(&self) -> Option<ExitReport> {
        self.report_when(|status| status.state == ProcessState::Finished)
            .await
    }

    /// How often it was told so far that something of it does not end.
    pub(crate) fn given_up(&self) -> u32 {
        self.status()
            .unended
            .as_ref()
            .map_or(0, |unended| unended.times)
    }

    /// Resolves with the report once nothing of it is left or its output has been read (`drained`),
    /// or with what does not end, told more than `before` times; `None` if the manager went away
    /// without either.
    pub(crate) async fn end_or_left(&self, before: u32, drained: bool) -> Option<ProcessEnd> {
        self.when(|status| {
            let report = status.report.clone().filter(|report| {
                let is_read = drained && report.output() != OutputState::Draining;
                !status.is_followed() && (is_read || status.state == ProcessState::Finished)
            });
            let left = || {
                let unended = status.unended.as_ref()?;
                let is_new = unended.times > before && !unended.left.is_empty();
                is_new.then(|| ProcessEnd::Left {
                    left: unended.left.to_vec(),
                    report: status.report.clone(),
                })
            };
            report.map(ProcessEnd::Reported).or_else(left)
        })
        .await
    }

    async fn report_when(&self, ready: impl Fn(&Status) -> bool) -> Option<ExitReport> {
        let report = self.when(|status| {
            let report = status.report.clone();
            report.filter(|_| !status.is_followed() && ready(status))
        });
        report.await.map(|report| ExitReport::clone(&report))
    }

    /// Why a signal cannot be sent: it has exited, or is not there yet.
    pub(crate) fn signal_error(&self) -> SignalProcessError {
        match self.report() {
            Some(report) => SignalProcessError::ProcessExited {
                id: self.id,
                report: Box::new(ExitReport::clone(&report)),
            },
            None => SignalProcessError::ProcessNotFound(self.id),
        }
    }

    /// Asks the task; `false` if it has ended.
    pub(crate) async fn ask(&self, request: Control) -> bool {
        self.requests.send(request).await
    }

    /// Whether its task has ended: it was removed, or the manager is at its end.
    pub(crate) fn is_gone(&self) -> bool {
        self.requests.is_closed()
    }

    /// Kills and forgets it, asked from where nothing can wait.
    pub(crate) fn abandon(process: &Arc<Self>) {
        process.ask_soon(Control::Abandon);
    }

    /// Kills it, asked from where nothing can wait.
    pub(crate) fn kill_soon(process: &Arc<Self>) {
        process.ask_soon(Control::Kill(ExitCause::Killed));
    }

    /// Removes it: newer processes have exited.
    pub(crate) fn expire(process: &Arc<Self>) {
        process.ask_soon(Control::Expire);
    }

    /// Kills it because it is over a limit, asked from where nothing can wait.
    pub(crate) fn over_limit(process: &Arc<Self>) {
        process.ask_soon(Control::Kill(ExitCause::LimitExceeded));
    }

    fn ask_soon(self: &Arc<Self>, request: Control) {
        let Err(request) = self.requests.try_send(request) else {
            return;
        };
        // Its task answers at once, so the channel is full for a moment only.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let process = Arc::clone(self);
            runtime.spawn(async move { process.ask(request).await });
        }
    }

    /// The program that was started.
    pub(crate) fn program(&self) -> &str {
        self.channels().map_or("", |channels| &channels.program)
    }

    pub(crate) fn close_input(&self) -> Result<(), WriteMessageError> {
        let outbox = self.outbox()?;
        if let Some(report) = self.report() {
            return Err(WriteMessageError::ProcessExited {
                id: self.id,
                report: Box::new(ExitReport::clone(&report)),
            });
        }
        if let Some(channels) = self.channels() {
            let run = channels.run();
            run.closing.check().map_err(WriteMessageError::IoError)?;
        }
        outbox.close_after_queue();
        Ok(())
    }

    async fn query(
        &self,
        run: &RunChannels,
        stream: LogStream,
        query: LogsQuery,
        pool: &Pool,
    ) -> Result<LogPage, GetLogsError> {
        let page = run.logs.query(stream, query, pool).await?;
        // Its files may have gone meanwhile.
        if self.is_gone() {
            return Err(GetLogsError::ProcessNotFound(self.id));
        }
        Ok(page)
    }

    pub(crate) async fn query_logs(
        &self,
        stream: LogStream,
        query: LogsQuery,
        pool: &Pool,
    ) -> Result<LogPage, GetLogsError> {
        let Some(channels) = self.channels() else {
            return Err(GetLogsError::ProcessNotFound(self.id));
        };
        self.query(&channels.run(), stream, query, pool).await
    }

    pub(crate) async fn query_run_logs(
        &self,
        run: u64,
        stream: LogStream,
        query: LogsQuery,
        pool: &Pool,
    ) -> Result<LogPage, GetLogsError> {
        let Some(channels) = self.channels() else {
            return Err(GetLogsError::ProcessNotFound(self.id));
        };
        // The look at those that have ended comes last: a run goes there before another takes its place.
        let found = Some(channels.run()).filter(|found| found.number == run);
        let past = || channels.past.as_ref()?.channels(run);
        let Some(run) = found.or_else(past) else {
            return Err(GetLogsError::RunNotFound(run));
        };
        self.query(&run, stream, query, pool).await
    }

    pub(crate) fn follow_logs(
        &self,
        stream: LogStream,
        from: FollowFrom,
        pool: &Pool,
    ) -> Result<LogFollower, FollowLogsError> {
        match self.channels() {
            Some(channels) => channels.run().logs.follow(stream, from, pool),
            None => Err(FollowLogsError::ProcessNotFound(self.id)),
        }
    }

    pub(crate) async fn keep_logs(
        &self,
        directory: &Path,
        pool: &Pool,
    ) -> Result<Vec<(LogStream, PathBuf)>, KeepLogsError> {
        let report = self.report();
        let ended = report.is_some_and(|report| report.output() != OutputState::Draining);
        match self.channels() {
            Some(channels) if ended => channels.run().logs.keep(directory, pool).await,
            _ => Err(KeepLogsError::StillRunning(self.id)),
        }
    }

    pub(crate) fn outbox(&self) -> Result<&Arc<Outbox>, WriteMessageError> {
        self.channels()
            .and_then(|channels| channels.outbox.as_ref())
            .ok_or(WriteMessageError::MessageWriterNotFound(self.id))
    }

    pub(crate) fn hub(&self) -> Result<&Arc<Hub>, ReadMessageError> {
        let hub = self
            .channels()
            .and_then(|channels| channels.hub.as_ref())
            .ok_or(ReadMessageError::MessageReaderNotFound(self.id))?;
        match self.report() {
            Some(report) if hub.is_spent() => Err(ReadMessageError::ProcessExited {
                id: self.id,
                report: Box::new(ExitReport::clone(&report)),
            }),
            _ => Ok(hub),
        }
    }

    /// Says why a message was not sent. A broken pipe usually means that the child has gone, and its
    /// exit says more: it is waited for, briefly.
    pub(crate) async fn write_error(&self, failure: SendFailure) -> WriteMessageError {
        let gone = match &failure {
            SendFailure::Closed(Closed::ByChild | Closed::Exited | Closed::NoMoreCredit) => true,
            // Its output has ended in a place where only an exit ends it.
            SendFailure::Closed(Closed::Broken(error)) => {
                matches!(error, FrameError::NoHello | FrameError::Truncated { .. })
            }
            _ => false,
        };
        if gone {
            let _ = timeout(EXIT_AFTER_BROKEN_PIPE, self.exited()).await;
        }
        self.write_error_now(failure)
    }

    pub(crate) fn write_error_now(&self, failure: SendFailure) -> WriteMessageError {
        let closed = match failure {
            SendFailure::Encode(error) => return error.into(),
            SendFailure::Full(message) => return WriteMessageError::BufferFull(message),
            SendFailure::Closed(closed) => closed,
        };
        // Where the next run has begun meanwhile, it was the one before that it is about.
        let of_a_run = matches!(closed, Closed::Exited);
        let report = if of_a_run {
            self.last_report()
        } else {
            self.report()
        };
        if let Some(report) = report {
            return WriteMessageError::ProcessExited {
                id: self.id,
                report: Box::new(ExitReport::clone(&report)),
            };
        }
        match closed {
            Closed::Broken(error) => WriteMessageError::FramingLost(error),
            Closed::Failed(kind, text) => {
                WriteMessageError::IoError(std::io::Error::new(kind, text))
            }
            Closed::NoMoreCredit => WriteMessageError::NoMoreCredit(self.id),
            Closed::ByRequest | Closed::ByChild | Closed::Exited => {
                WriteMessageError::InputClosed(self.id)
            }
        }
    }
}
