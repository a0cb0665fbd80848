//! What a manager's tasks share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};

use super::Command;
use crate::containment::{Hunter, LeftProcess};
use crate::events::Events;
use crate::file_events::FileEvents;
use crate::flag::Flag;
use crate::handle::ProcessManagerHandle;
use crate::id::ProcessId;
use crate::lifecycle::DrainBounds;
use crate::logs::{Budget, LogHook};
use crate::process::pool::Pool;
use crate::run_dir::ManagerDir;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) dir: Arc<ManagerDir>,
    pub(crate) pool: Pool,
    /// A place for each start that is under way, or hangs.
    pub(crate) starts: Arc<Semaphore>,
    /// How long a start may take.
    pub(crate) spawn_timeout: Duration,
    /// Writes logs: apart, so that nothing slow of others holds that up.
    pub(crate) log_pool: Pool,
    /// Reads logs: a large file may take long.
    pub(crate) log_readers: Pool,
    /// Of the logs of all its processes.
    pub(crate) log_budget: Arc<Budget>,
    pub(crate) log_hook: Option<LogHook>,
    /// Where the logs of what has failed go.
    pub(crate) failed_logs: Option<PathBuf>,
    pub(crate) drain: DrainBounds,
    pub(crate) files: Arc<FileEvents>,
    /// The grace of a stop that names none.
    pub(crate) grace: Duration,
    pub(crate) with_guard: bool,
    pub(crate) events: Events,
    pub(crate) hunter: Hunter,
    /// Set when what dead managers left has been swept, and the guard is there.
    pub(crate) ready: Flag,
    /// From the shutdown on: when the grace of its processes ends. It may only come nearer.
    pub(crate) shutdown: watch::Sender<Option<Instant>>,
    /// The processes that did not end while the manager was shut down.
    pub(crate) left: Mutex<Vec<LeftProcess>>,
    /// Weak: the tasks do not keep the manager, the handles do.
    pub(super) registry: mpsc::WeakSender<Command>,
}

impl Context {
    /// A process has finished: it is kept until it is removed, or newer ones have taken its place.
    pub(crate) async fn finished(&self, id: ProcessId) {
        if let Some(registry) = self.registry.upgrade() {
            let _ = registry.send(Command::Finished(id)).await;
        }
    }

    /// A handle to the manager, while there is anybody who has one.
    pub(crate) fn handle(self: &Arc<Self>) -> Option<ProcessManagerHandle> {
        let sender = self.registry.upgrade()?;
        let readers = self.log_readers.clone();
        Some(ProcessManagerHandle::new(
            sender,
            readers,
            Arc::downgrade(self),
        ))
    }

    /// Something does not end. At the manager's end that is told by it.
    pub(crate) fn note_left(&self, left: &[LeftProcess]) {
        if self.shutdown.borrow().is_none() {
            return;
        }
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        for left in left {
            if !all.contains(left) {
                all.push(left.clone());
            }
        }
    }

    /// Ends what is left of the manager, and says what of it does not end. Blocking.
    ///
    /// A process that was let go has the directory: that ends with it, and is the next manager's to
    /// sweep where this program ends sooner.
    pub(super) fn end(self: Arc<Self>) -> Vec<LeftProcess> {
        let mut left =
            std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        let dir = Arc::clone(&self.dir);
        drop(self);
        for process in Arc::into_inner(dir).map_or_else(Vec::new, ManagerDir::end) {
            if left.iter().all(|known| known.pid() != process.pid()) {
                left.push(process);
            }
        }
        left
    }

    /// Takes a process off the registry.
    pub(crate) async fn forget(&self, id: ProcessId) {
        if let Some(registry) = self.registry.upgrade() {
            let _ = registry.send(Command::Forget(id)).await;
        }
    }
}
