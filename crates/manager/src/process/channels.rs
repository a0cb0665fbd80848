//! What goes between a process and those who talk to it: what stays over all its runs, and what each has for itself.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::OnceCell;

use super::PastRuns;
use super::close_input::Closing;
use super::pool::Pool;
use crate::error::LastLines;
use crate::logs::Logs;
use crate::messaging::conversation::Conversation;
use crate::messaging::hub::Hub;
use crate::messaging::outbox::Outbox;
use crate::messaging::pings::SharedPings;
use crate::statistics::Statistics;

/// The process's channels; there once it has been started, and the same over all its runs.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) outbox: Option<Arc<Outbox>>,
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) log_readers: Pool,
    pub(crate) program: String,
    /// What there is for the run that is alive, or for the last one.
    run: Mutex<Arc<RunChannels>>,
    /// There where it is supervised.
    pub(crate) past: Option<Box<PastRuns>>,
}

/// What each run has for itself.
#[derive(Debug)]
pub(crate) struct RunChannels {
    pub(crate) number: u64,
    /// There where it speaks frames both ways.
    pub(crate) conversation: Option<Arc<Conversation>>,
    /// There where it is sent any.
    pub(crate) pings: Option<SharedPings>,
    pub(crate) logs: Logs,
    pub(crate) closing: Closing,
    /// Of its stderr, looked up once it has exited.
    pub(super) last_lines: OnceLock<Box<OnceCell<LastLines>>>,
}

impl RunChannels {
    pub(crate) fn new(number: u64, closing: Closing) -> Self {
        Self {
            number,
            conversation: None,
            pings: None,
            logs: Logs::default(),
            closing,
            last_lines: OnceLock::new(),
        }
    }
}

impl Channels {
    pub(crate) fn new(
        outbox: Option<Arc<Outbox>>,
        hub: Option<Arc<Hub>>,
        log_readers: Pool,
        program: String,
        run: RunChannels,
    ) -> Self {
        Self {
            outbox,
            hub,
            log_readers,
            program,
            run: Mutex::new(Arc::new(run)),
            past: None,
        }
    }

    /// What there is for the run that is alive, or for the last one.
    pub(crate) fn run(&self) -> Arc<RunChannels> {
        Arc::clone(&self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another run has been started.
    pub(crate) fn next_run(&self, run: RunChannels) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(run);
    }

    pub(super) fn statistics(&self) -> Option<Statistics> {
        if self.outbox.is_none() && self.hub.is_none() {
            return None;
        }
        let sent = self.outbox.as_ref().map(|outbox| outbox.counts());
        let received = self.hub.as_ref().map(|hub| hub.counts());
        let run = self.run();
        let requests = run.conversation.as_ref().map(|asked| asked.counts());
        Some(Statistics::of(
            sent.unwrap_or_default(),
            received.unwrap_or_default(),
            requests.unwrap_or_default(),
        ))
    }
}
