//! The runs of a supervised process that have ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::RunChannels;
use crate::lifecycle::ExitReport;
use crate::messaging::answering::RequestHandler;
use crate::run_dir::RunDir;

/// One of them.
#[derive(Debug)]
pub(crate) struct PastRun {
    pub(crate) number: u64,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) ended_at: Option<SystemTime>,
    pub(crate) report: Arc<ExitReport>,
    pub(crate) channels: Arc<RunChannels>,
    /// With its logs.
    pub(crate) run_dir: Option<RunDir>,
}

/// The last of them, the oldest first, and what outlives each.
#[derive(Debug, Default)]
pub(crate) struct PastRuns {
    runs: Mutex<VecDeque<PastRun>>,
    /// What answers the child's requests, where that was set after its start.
    handler: Mutex<Option<RequestHandler>>,
}

impl PastRuns {
    pub(crate) fn lock(&self) -> MutexGuard<'_, VecDeque<PastRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the one that has just ended; gives the oldest, where there are more than these.
    pub(crate) fn add(&self, run: PastRun, most: usize) -> Option<PastRun> {
        let mut runs = self.lock();
        runs.push_back(run);
        if runs.len() > most {
            runs.pop_front()
        } else {
            None
        }
    }

    /// How a run has ended, if that is known still.
    pub(crate) fn report(&self, number: u64) -> Option<Arc<ExitReport>> {
        let runs = self.lock();
        let run = runs.iter().find(|run| run.number == number);
        run.map(|run| Arc::clone(&run.report))
    }

    /// What there is for a run that has ended.
    pub(crate) fn channels(&self, number: u64) -> Option<Arc<RunChannels>> {
        let runs = self.lock();
        let run = runs.iter().find(|run| run.number == number);
        run.map(|run| Arc::clone(&run.channels))
    }

    fn handler_slot(&self) -> MutexGuard<'_, Option<RequestHandler>> {
        self.handler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers the child in all runs to come.
    pub(crate) fn serve(&self, handler: RequestHandler) {
        let before = self.handler_slot().replace(handler);
        // What is in it may call in here when it goes.
        drop(before);
    }

    pub(crate) fn handler(&self) -> Option<RequestHandler> {
        self.handler_slot().clone()
    }

    /// No run follows. A handler may hold a handle, which keeps the manager.
    pub(crate) fn end(&self) {
        let handler = self.handler_slot().take();
        drop(handler);
    }
}
