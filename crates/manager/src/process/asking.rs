//! What a request to a process comes to where there is no reply, and whether the process is ready.

use std::sync::Arc;
use std::time::Duration;

use procession_wire::{EncodeError, FrameError, Message};
use tokio::time::timeout;

use super::{EXIT_AFTER_BROKEN_PIPE, Process, RunChannels, StartState, Status};
use crate::error::{LastLines, RequestError, WaitReadyError};
use crate::lifecycle::{ExitReport, OutputState, ProcessState};
use crate::logs::{LastWords, LogStream};
use crate::messaging::answering::RequestHandler;
use crate::messaging::asking::Asking;
use crate::messaging::conversation::{AskFailure, Conversation};
use crate::messaging::outbox::{Closed, SendFailure};

/// How long the exit may be behind the end of the output. With the time for the last lines it makes up the
/// bound for a request to a child that has ended its output and lives.
const EXIT_AFTER_THE_END: Duration = Duration::from_millis(50);
/// How long what a child wrote last may take into its log, and how long to be looked up.
const LAST_LINES: Duration = Duration::from_millis(40);
const LINES: usize = 10;
const LINE: usize = 1000;

impl Process {
    pub(crate) fn conversation(&self) -> Result<Arc<Conversation>, RequestError> {
        self.channels()
            .and_then(|channels| channels.run().conversation.clone())
            .ok_or(RequestError::NoFrames(self.id))
    }

    /// What answers the child from now on, also in the runs to come.
    pub(crate) fn serve(&self, handler: RequestHandler) -> Result<(), RequestError> {
        let conversation = self.conversation()?;
        let past = self.channels().and_then(|channels| channels.past.as_ref());
        if let Some(past) = past {
            past.serve(handler.clone());
        }
        conversation.serve(handler);
        Ok(())
    }

    pub(crate) async fn begin_request(
        &self,
        message: Message,
        keeps_items: bool,
    ) -> Result<Result<Asking, AskFailure>, RequestError> {
        let asked = self.conversation()?;
        Ok(asked.ask(message.into_bytes(), keeps_items).await)
    }

    /// Why a request was not asked.
    pub(crate) async fn not_asked(&self, failure: AskFailure, run: u64) -> RequestError {
        match failure {
            AskFailure::Send(SendFailure::Encode(EncodeError::TooLarge { len, limit })) => {
                RequestError::TooLarge { len, limit }
            }
            AskFailure::Ended => self.unanswered(true, run).await,
            AskFailure::Send(_) => self.unanswered(false, run).await,
        }
    }

    /// Why no reply comes. Its exit is the likely reason, and is waited for, briefly. `heard`: it is the
    /// child's output that has ended, and not its input.
    pub(crate) async fn unanswered(&self, heard: bool, run: u64) -> RequestError {
        let id = self.id;
        let closed = self.outbox().ok().and_then(|outbox| outbox.closed());
        if let Some(Closed::Broken(error)) = &closed
            && !matches!(error, FrameError::NoHello | FrameError::Truncated { .. })
        {
            return RequestError::FramingLost {
                id,
                error: error.clone(),
                stderr: self.last_lines().await,
            };
        }
        let _ = timeout(EXIT_AFTER_THE_END, self.run_ended(run)).await;
        let stderr = self.last_lines_of(run).await;
        if let Some(report) = self.report_of(run) {
            let report = Box::new(ExitReport::clone(&report));
            return RequestError::ProcessExited { id, report, stderr };
        }
        if self.is_gone() {
            return RequestError::ManagerCommunicationError;
        }
        match closed {
            Some(Closed::Broken(error)) => RequestError::FramingLost { id, error, stderr },
            Some(Closed::Failed(kind, text)) if !heard => {
                RequestError::IoError(std::io::Error::new(kind, text))
            }
            Some(Closed::ByRequest | Closed::ByChild) if !heard => RequestError::InputClosed(id),
            _ => RequestError::OutputEnded { id, stderr },
        }
    }

    /// Resolves when this run has exited, or another has begun.
    pub(super) async fn run_ended(&self, run: u64) {
        self.when(|status| (status.report.is_some() || status.run() != run).then_some(()))
            .await;
    }

    /// How this run has ended, if it has.
    fn report_of(&self, run: u64) -> Option<Arc<ExitReport>> {
        let (now, report) = {
            let status = self.status();
            (status.run(), status.report.clone())
        };
        if now == run {
            return report;
        }
        let past = self.channels()?.past.as_ref()?.report(run);
        past.or_else(|| self.last_report())
    }

    /// [`last_lines`](Self::last_lines) of this run.
    async fn last_lines_of(&self, run: u64) -> LastLines {
        if self.status().run() == run {
            return self.last_lines().await;
        }
        let past = || self.channels()?.past.as_ref()?.channels(run);
        match past() {
            Some(run) => {
                let lines = timeout(LAST_LINES, self.read_last_lines(&run)).await;
                lines.unwrap_or_default()
            }
            None => LastLines::default(),
        }
    }

    /// What it wrote last to its stderr, where that is logged. Of one that has exited it is looked up once.
    pub(crate) async fn last_lines(&self) -> LastLines {
        let Some(channels) = self.channels() else {
            return LastLines::default();
        };
        let run = channels.run();
        let look = async || {
            let _ = timeout(LAST_LINES, self.output_read()).await;
            let lines = timeout(LAST_LINES, self.read_last_lines(&run)).await;
            lines.unwrap_or_default()
        };
        if self.report().is_none() {
            return look().await;
        }
        let lines = run.last_lines.get_or_init(Box::default);
        lines.get_or_init(look).await.clone()
    }

    async fn read_last_lines(&self, run: &RunChannels) -> LastLines {
        let Some(channels) = self.channels() else {
            return LastLines::default();
        };
        let bounds = LastWords {
            lines: LINES,
            characters: LINE,
        };
        let words = run
            .logs
            .last_words(LogStream::Stderr, bounds, &channels.log_readers);
        LastLines(words.await.unwrap_or_default())
    }

    /// Resolves when the output of the run that is alive has been read.
    async fn output_read(&self) {
        let run = self.status().run();
        self.when(|status| {
            let report = status.report.as_deref();
            let read = report.is_some_and(|report| report.output() != OutputState::Draining);
            (read || status.run() != run).then_some(())
        })
        .await;
    }

    /// Waits until it has shown what it was to show: its sign of readiness, or where there is none to wait for, its
    /// hello.
    pub(crate) async fn wait_begun(&self) -> Result<(), WaitReadyError> {
        let known = |status: &Status| {
            let failed = matches!(status.start, StartState::Failed(_));
            (status.begun || failed || status.report.is_some()).then_some(status.begun)
        };
        if self.when(known).await == Some(true) {
            return Ok(());
        }
        self.wait_ready().await.map(drop)
    }

    pub(crate) async fn wait_ready(&self) -> Result<String, WaitReadyError> {
        let id = self.id;
        let known = |status: &Status| {
            let ended = status.start != StartState::Pending || status.report.is_some();
            let is_stuck = status.state == ProcessState::Stuck;
            let known =
                status.start == StartState::Ready || (ended && (is_stuck || !status.is_followed()));
            known.then_some(())
        };
        self.when(known).await;
        let (start, text) = {
            let status = self.status();
            let text = status.text.as_deref().unwrap_or_default().to_owned();
            (status.start.clone(), text)
        };
        if start == StartState::Ready {
            return Ok(text);
        }
        // It is being stopped, and may say why it did not start.
        let _ = timeout(EXIT_AFTER_BROKEN_PIPE, self.exited()).await;
        let report = self.report();
        let stderr = self.last_lines().await;
        match (start, report) {
            (StartState::Failed(reason), _) => Err(WaitReadyError::StartFailed {
                id,
                reason: reason.to_string(),
                stderr,
            }),
            (_, Some(report)) => Err(WaitReadyError::ProcessExited {
                id,
                report: Box::new(ExitReport::clone(&report)),
                stderr,
            }),
            _ => Err(WaitReadyError::ManagerCommunicationError),
        }
    }
}
