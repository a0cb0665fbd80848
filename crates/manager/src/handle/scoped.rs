//! A handle that takes its process with it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::ProcessHandle;
use crate::process::Process;

/// A [`ProcessHandle`] whose process is killed when its last clone is dropped. It dereferences to
/// the `ProcessHandle`, for everything that can be done with one.
///
/// The process stays known to the manager, with its report and logs, until it is removed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use procession_manager::{Cmd, ExitCause, ProcessManager};
///
/// let manager = ProcessManager::in_temp()?;
/// let scoped = manager.spawn_with_scoped_handle(Cmd::new("sleep").arg("1000")).await?;
/// let id = scoped.id();
/// drop(scoped);
/// assert_eq!(manager.wait(id).await?.cause(), ExitCause::Killed);
/// # manager.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ScopedProcessHandle {
    scope: Arc<Scope>,
}

struct Scope(ProcessHandle);

impl ScopedProcessHandle {
    pub(crate) fn new(handle: ProcessHandle) -> Self {
        Self {
            scope: Arc::new(Scope(handle)),
        }
    }
}

impl Deref for ScopedProcessHandle {
    type Target = ProcessHandle;

    fn deref(&self) -> &ProcessHandle {
        &self.scope.0
    }
}

impl fmt::Debug for ScopedProcessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedProcessHandle")
            .field(&self.scope.0)
            .finish()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        Process::kill_soon(self.0.process());
    }
}
