//! Supervised processes, by their handles: their runs, and how they are asked whether they are well.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use procession_wire::Message;
use tokio::sync::oneshot;

use super::ProcessHandle;
use crate::clock;
use crate::error::{GetLogsError, GetProcessInfoError};
use crate::lifecycle::ExitReport;
use crate::logs::{LogPage, LogStream, LogsQuery};
use crate::model::RequestOptions;
use crate::process::Control;

type Check = dyn Fn(ProcessHandle) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync;

/// How a [supervised](crate::Cmd::supervised) process is asked whether it is well, from the moment at which it is
/// ready.
///
/// One check at a time, and the next comes an interval after the end of the last. How many misses in a row count is
/// the matter of its [`HealthRule`](crate::HealthRule). Then the run is stopped with the manager's grace, the cause
/// in its report is [`Unhealthy`](crate::ExitCause::Unhealthy), and it counts as failed.
///
/// ```
/// use std::time::Duration;
/// use procession_manager::{HealthCheck, HealthRule, Supervision};
///
/// let rules = Supervision::default().health(HealthRule::new(3, 1));
/// let check = HealthCheck::new(Duration::from_secs(10), |process| async move {
///     process.request("how are you").await.is_ok_and(|reply| reply == "well")
/// });
/// ```
///
/// Two are equal if they are clones of the same one.
#[derive(Clone)]
pub struct HealthCheck {
    interval: Duration,
    limit: Duration,
    /// It is a request.
    asks: bool,
    check: Arc<Check>,
}

impl HealthCheck {
    /// Passed where this returns `true` within [`time_limit`](Self::time_limit). A panic is a miss.
    /// The interval is at least 10 ms: a spawn refuses less.
    pub fn new<F, Fut>(interval: Duration, check: F) -> Self
    where
        F: Fn(ProcessHandle) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        Self {
            interval,
            limit: interval,
            asks: false,
            check: Arc::new(move |process| Box::pin(check(process))),
        }
    }

    /// Passed where it replies to this request, whatever the reply is; a failure is a miss. The process has to speak
    /// frames both ways.
    pub fn request(interval: Duration, message: impl Into<Message>) -> Self {
        let message = message.into();
        let check = Self::new(interval, move |process| {
            let message = message.clone();
            async move {
                let options = RequestOptions::new().no_deadline();
                process.request_with(message, options).await.is_ok()
            }
        });
        Self {
            asks: true,
            ..check
        }
    }

    /// How long a check may take; as long as the interval unless set, and at least 1 ms.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    pub(crate) async fn passes(&self, process: ProcessHandle) -> bool {
        // One that panics has not passed.
        let check = AssertUnwindSafe(async { (self.check)(process).await }).catch_unwind();
        let passes = tokio::time::timeout(self.limit.min(clock::LONGEST), check).await;
        matches!(passes, Ok(Ok(true)))
    }
}

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheck")
            .field("interval", &self.interval)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl PartialEq for HealthCheck {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.check, &other.check)
            && (self.interval, self.limit) == (other.interval, other.limit)
    }
}

impl Eq for HealthCheck {}

/// A run of a supervised process that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    number: u64,
    started_at: Option<SystemTime>,
    ended_at: Option<SystemTime>,
    report: Arc<ExitReport>,
}

impl RunInfo {
    /// Its number, counted from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When it was started.
    pub fn started_at(&self) -> Option<SystemTime> {
        self.started_at
    }

    /// When it exited.
    pub fn ended_at(&self) -> Option<SystemTime> {
        self.ended_at
    }

    /// How it ended.
    pub fn report(&self) -> &ExitReport {
        &self.report
    }
}

impl ProcessHandle {
    /// Ends the run of a [supervised](crate::Cmd::supervised) process as [`stop`](Self::stop) would, and begins
    /// another as soon as it is over; one that waits for its next run begins it now. That is no restart that counts
    /// for its [intensity](crate::RestartIntensity), and its backoff begins anew.
    ///
    /// Resolves when that was asked for; [`wait_ready`](Self::wait_ready) or its
    /// [events](Self::events) tell of the rest. `false` where it is not supervised or has ended for ever: then nothing
    /// is done.
    ///
    /// Cancel safe: what was asked for is done.
    ///
    /// # Errors
    ///
    /// [`GetProcessInfoError`]: it was removed, or the manager is gone.
    pub async fn restart(&self) -> Result<bool, GetProcessInfoError> {
        let (reply, answer) = oneshot::channel();
        if self.process().ask(Control::Restart(reply)).await
            && let Ok(begun) = answer.await
        {
            return Ok(begun);
        }
        Err(self.missing().into())
    }

    /// The runs of a [supervised](crate::Cmd::supervised) process that have ended and that another has followed, the
    /// oldest first, as many as are [kept](crate::Supervision::keep_runs). That which is alive, or was the last, is
    /// what [`get_process_info`](Self::get_process_info) tells of.
    ///
    /// # Errors
    ///
    /// [`GetProcessInfoError`]: it was removed, or the manager is gone.
    pub fn past_runs(&self) -> Result<Vec<RunInfo>, GetProcessInfoError> {
        let process = self.present::<GetProcessInfoError>()?;
        let past = process
            .channels()
            .and_then(|channels| channels.past.as_ref());
        Ok(past.map_or_else(Vec::new, |past| {
            let runs = past.lock();
            let info = |run: &crate::process::PastRun| RunInfo {
                number: run.number,
                started_at: run.started_at,
                ended_at: run.ended_at,
                report: Arc::clone(&run.report),
            };
            runs.iter().map(info).collect()
        }))
    }

    /// [`query_logs`](Self::query_logs) of a run that has ended, or of the one that is alive: what one run has written
    /// is never among what another has.
    ///
    /// # Errors
    ///
    /// Those of [`query_logs`](Self::query_logs), and [`GetLogsError::RunNotFound`] for a run that was not, or is not
    /// [kept](crate::Supervision::keep_runs) any more.
    pub async fn query_run_logs(
        &self,
        run: u64,
        stream: LogStream,
        query: LogsQuery,
    ) -> Result<LogPage, GetLogsError> {
        let process = self.present::<GetLogsError>()?;
        process
            .query_run_logs(run, stream, query, self.manager().log_readers())
            .await
    }
}
