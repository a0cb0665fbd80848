//! One worker, from its start to its end.
//!
//! ```text
//!  spawn ──► hello, or its sign of readiness ──► ready ──► its output has been read ──► ended
//!    │                 │                                        ▲
//!    └─────────────────┴──► start failed      nothing more came from it: killed, if it lives on
//!                                             it does not end: stuck, until it does
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::shared::Shared;
use crate::error::SpawnProcessError;
use crate::handle::{ProcessHandle, ProcessManagerHandle};
use crate::lifecycle::{ExitCause, ExitReport};
use crate::process::{Process, ProcessEnd};

/// How long the exit of a worker may be behind the end of its output before it is killed.
const EXIT_AFTER_THE_END: Duration = Duration::from_secs(1);

/// Tells of a worker's end, also where its task goes away without a word.
struct Teller {
    shared: Arc<Shared>,
    worker: Option<u64>,
}

impl Teller {
    /// It could not be started, for this reason.
    fn start_failed(mut self, reason: &str) {
        if let Some(worker) = self.worker.take() {
            self.shared.start_failed(worker, reason);
        }
    }

    fn ended(mut self, report: Option<Arc<ExitReport>>) {
        if let Some(worker) = self.worker.take() {
            self.shared.worker_ended(worker, report);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Some(worker) = self.worker {
            self.shared.worker_ended(worker, None);
        }
    }
}

/// Starts a worker and stays with it.
pub(super) async fn run(
    shared: Arc<Shared>,
    manager: ProcessManagerHandle,
    worker: u64,
    make: Arc<super::Make>,
) {
    let teller = Teller {
        shared: Arc::clone(&shared),
        worker: Some(worker),
    };
    let Ok(runnable) = catch_unwind(AssertUnwindSafe(|| make(worker))) else {
        teller.start_failed("what makes the workers has panicked");
        return;
    };
    let handle = match manager.spawn_with_handle(runnable).await {
        Ok(handle) => handle,
        Err(error) => {
            if matches!(error, SpawnProcessError::ManagerCommunicationError) {
                shared.manager_ends();
            }
            teller.start_failed(&error.to_string());
            return;
        }
    };
    let process = handle.process();
    let lost = shared.attach(worker, process);
    let failure = begin(process).await.err();
    if failure.is_none() {
        shared.worker_ready(worker, handle.id());
        tokio::select! {
            _ = process.end_or_left(0, true) => {}
            () = lost.wait() => {
                let end = timeout(EXIT_AFTER_THE_END, process.end_or_left(0, true));
                if end.await.is_err() {
                    Process::kill_soon(process);
                }
            }
        }
    }
    let mut told = 0;
    let report = loop {
        match process.end_or_left(told, true).await {
            Some(ProcessEnd::Reported(report)) => break Some(report),
            Some(ProcessEnd::Left { left, .. }) => {
                told = process.given_up();
                shared.worker_stuck(worker, handle.id(), left);
            }
            None => break None,
        }
    };
    // Looked up while there are logs: those whose requests it had are told.
    process.last_lines().await;
    let by_manager = |report: &Arc<ExitReport>| report.cause() == ExitCause::ManagerShutDown;
    if report.as_ref().is_none_or(by_manager) {
        // First: nobody is to be started in its place.
        shared.manager_ends();
    }
    match failure {
        Some(reason) => teller.start_failed(&reason),
        None => teller.ended(report),
    }
    forget(&handle).await;
}

/// Waits until it takes requests; why it does not.
async fn begin(process: &Arc<Process>) -> Result<(), String> {
    let begun = match process.conversation() {
        Ok(_) => process
            .wait_begun()
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if begun.is_err() {
        Process::kill_soon(process);
    }
    begun
}

/// Nothing of it is left, and nobody asks for its report any more but those who have it.
async fn forget(handle: &ProcessHandle) {
    handle.process().finished().await;
    // Somebody may have been faster, or the manager is at its end.
    let _ = handle.remove().await;
}
