//! What a manager's tasks share.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Command;
use crate::file_events::FileEvents;
use crate::id::ProcessId;
use crate::lifecycle::DrainBounds;
use crate::process::pool::Pool;
use crate::run_dir::ManagerDir;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) dir: Arc<ManagerDir>,
    pub(crate) pool: Pool,
    pub(crate) drain: DrainBounds,
    pub(crate) files: Arc<FileEvents>,
    pub(crate) shutdown: CancellationToken,
    /// Weak: the tasks do not keep the manager, the handles do.
    pub(super) registry: mpsc::WeakSender<Command>,
}

impl Context {
    /// Takes a process off the registry.
    pub(crate) async fn forget(&self, id: ProcessId) {
        if let Some(registry) = self.registry.upgrade() {
            let _ = registry.send(Command::Forget(id)).await;
        }
    }
}
