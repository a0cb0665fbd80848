//! What is known of a process.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::containment::LeftProcess;
use crate::id::ProcessId;
use crate::lifecycle::{ExitReport, ProcessState};
use crate::process::{Service, StartState, Status};
use crate::statistics::Statistics;
use crate::supervision::{HealthState, PermanentEnd};

/// What was known of a process when it was asked for.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use procession_manager::{Cmd, ProcessManager};
///
/// let manager = ProcessManager::in_temp()?;
/// let process = manager.spawn_with_handle(Cmd::new("true")).await?;
/// process.wait().await?;
/// let info = process.get_process_info().await?;
/// assert!(!info.is_running());
/// assert!(info.exit_status().is_some_and(|status| status.success()));
/// # manager.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    id: ProcessId,
    pid: Option<u32>,
    state: ProcessState,
    started_at: Option<SystemTime>,
    ended_at: Option<SystemTime>,
    report: Option<Arc<ExitReport>>,
    ready: bool,
    status: Option<Arc<str>>,
    left: Option<Arc<[LeftProcess]>>,
    service: Option<Service>,
    pub(crate) latency: Option<Duration>,
    pub(crate) statistics: Option<Statistics>,
}

impl ProcessInfo {
    pub(crate) fn new(id: ProcessId, status: &Status) -> Self {
        Self {
            id,
            pid: status.pid,
            state: status.state,
            started_at: status.started_at,
            ended_at: status.ended_at,
            report: status.report.clone(),
            ready: status.start == StartState::Ready,
            status: status.text.clone(),
            left: status
                .unended
                .as_ref()
                .map(|unended| Arc::clone(&unended.left)),
            service: status.service.as_deref().copied(),
            latency: None,
            statistics: None,
        }
    }

    pub(crate) fn report(&self) -> Option<Arc<ExitReport>> {
        self.report.clone()
    }

    /// Its id.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The system's number for it, while it runs. Afterwards the number may be somebody else's.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Where it is in its life.
    pub fn state(&self) -> ProcessState {
        self.state
    }

    /// Whether it has not exited yet. While a supervised process waits for its next run, it has.
    pub fn is_running(&self) -> bool {
        self.report.is_none()
    }

    /// Which of its runs all this is of, counted from 0: as often was it started again.
    pub fn run(&self) -> u64 {
        self.service.map_or(0, |service| service.run)
    }

    /// Why no other run follows, where it is [supervised](crate::Cmd::supervised) and that is so.
    pub fn permanent_end(&self) -> Option<PermanentEnd> {
        self.service.and_then(|service| service.end)
    }

    /// How it is by its [health check](crate::Cmd::health_check), if it has one.
    pub fn health(&self) -> HealthState {
        self.service
            .map_or(HealthState::Unknown, |service| service.health)
    }

    /// Whether it has become ready, as [`Cmd::ready_when`](crate::Cmd::ready_when) says. That stays so when
    /// it exits.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// What it said last of itself: the text of its `ready` frame, or the `STATUS` of a notification.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// Returns the processes that do not end though they were killed, and why: the process itself,
    /// while its state is [`Stuck`](ProcessState::Stuck), or processes that it had started. Mostly
    /// there are none.
    pub fn left(&self) -> &[LeftProcess] {
        self.left.as_deref().unwrap_or_default()
    }

    /// From the last ping that it answered in time to its answer; with
    /// [`Messaging::liveness`](crate::Messaging::liveness) or a lease only.
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// How much went to and fro, with messaging.
    pub fn statistics(&self) -> Option<Statistics> {
        self.statistics
    }

    /// How it ended, once it has. Final when the state is [`ProcessState::Finished`]; before that
    /// its output is still being read.
    pub fn exit(&self) -> Option<&ExitReport> {
        self.report.as_deref()
    }

    /// Its exit status, once it has exited.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.report.as_deref().and_then(ExitReport::status)
    }

    /// When it was started.
    pub fn started_at(&self) -> Option<SystemTime> {
        self.started_at
    }

    /// When it exited.
    pub fn ended_at(&self) -> Option<SystemTime> {
        self.ended_at
    }
}
