//! Waiting for processes, signalling and ending them, by their ids; and the end of the manager.

use std::time::Duration;

use tokio::sync::oneshot;

use super::ProcessManagerHandle;
use crate::error::{
    KillProcessError, ManagerError, RemoveProcessError, SignalProcessError, StopProcessError,
    WaitError,
};
use crate::id::ProcessId;
use crate::lifecycle::ExitReport;
use crate::manager::Command;
use crate::signal::Signal;

impl ProcessManagerHandle {
    /// Waits until a process has finished. See [`ProcessHandle::wait`](super::ProcessHandle::wait).
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub async fn wait(&self, id: ProcessId) -> Result<ExitReport, WaitError> {
        self.find::<WaitError>(id).await?.wait().await
    }

    /// Waits for a process, for at most this time. See [`ProcessHandle::wait_timeout`](super::ProcessHandle::wait_timeout).
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub async fn wait_timeout(
        &self,
        id: ProcessId,
        timeout: Duration,
    ) -> Result<Option<ExitReport>, WaitError> {
        self.find::<WaitError>(id)
            .await?
            .wait_timeout(timeout)
            .await
    }

    /// Waits until the first of these processes has finished, as by [`wait`](Self::wait); says which
    /// and how. Of several that have, it is the one that stands first. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`WaitError`]; [`WaitError::NothingToWaitFor`] for no process at all.
    pub async fn wait_any(
        &self,
        ids: impl IntoIterator<Item = ProcessId>,
    ) -> Result<(ProcessId, ExitReport), WaitError> {
        let mut waits = Vec::new();
        for id in ids {
            let process = self.find::<WaitError>(id).await?;
            waits.push(Box::pin(async move { (id, process.wait().await) }));
        }
        if waits.is_empty() {
            return Err(WaitError::NothingToWaitFor);
        }
        let ((id, report), ..) = futures_util::future::select_all(waits).await;
        Ok((id, report?))
    }

    /// Waits until all of these processes have finished, as by [`wait`](Self::wait); gives their
    /// reports in the same order. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`WaitError`]: of the first that cannot be waited for.
    pub async fn wait_all(
        &self,
        ids: impl IntoIterator<Item = ProcessId>,
    ) -> Result<Vec<ExitReport>, WaitError> {
        let mut handles = Vec::new();
        for id in ids {
            handles.push(self.find::<WaitError>(id).await?);
        }
        let mut reports = Vec::with_capacity(handles.len());
        for handle in handles {
            reports.push(handle.wait().await?);
        }
        Ok(reports)
    }

    /// Stops a process and its tree, with the manager's grace. See [`ProcessHandle::stop`](super::ProcessHandle::stop).
    ///
    /// # Errors
    ///
    /// [`StopProcessError`].
    pub async fn stop(&self, id: ProcessId) -> Result<ExitReport, StopProcessError> {
        self.find::<StopProcessError>(id).await?.stop().await
    }

    /// Stops a process and its tree, with a grace of its own. See [`ProcessHandle::stop`](super::ProcessHandle::stop).
    ///
    /// # Errors
    ///
    /// [`StopProcessError`].
    pub async fn stop_with(
        &self,
        id: ProcessId,
        grace: Duration,
    ) -> Result<ExitReport, StopProcessError> {
        let process = self.find::<StopProcessError>(id).await?;
        process.stop_with(grace).await
    }

    /// Sends a signal to a process. See [`ProcessHandle::signal`](super::ProcessHandle::signal).
    ///
    /// # Errors
    ///
    /// [`SignalProcessError`].
    pub async fn signal(&self, id: ProcessId, signal: Signal) -> Result<(), SignalProcessError> {
        let process = self.find::<SignalProcessError>(id).await?;
        process.signal(signal).await
    }

    /// Sends a signal to a process and all that it has started. See [`ProcessHandle::signal_tree`](super::ProcessHandle::signal_tree).
    ///
    /// # Errors
    ///
    /// [`SignalProcessError`].
    pub async fn signal_tree(
        &self,
        id: ProcessId,
        signal: Signal,
    ) -> Result<u32, SignalProcessError> {
        let process = self.find::<SignalProcessError>(id).await?;
        process.signal_tree(signal).await
    }

    /// Kills a process and its whole tree. See [`ProcessHandle::kill`](super::ProcessHandle::kill).
    ///
    /// # Errors
    ///
    /// [`KillProcessError`].
    pub async fn kill(&self, id: ProcessId) -> Result<ExitReport, KillProcessError> {
        self.find::<KillProcessError>(id).await?.kill().await
    }

    /// Forgets a process that has finished. See [`ProcessHandle::remove`](super::ProcessHandle::remove).
    ///
    /// # Errors
    ///
    /// [`RemoveProcessError`].
    pub async fn remove(&self, id: ProcessId) -> Result<(), RemoveProcessError> {
        self.find::<RemoveProcessError>(id).await?.remove().await
    }

    /// Ends the manager: stops every process with the manager's grace, as by [`stop`](Self::stop), all
    /// at once; waits for their ends, and removes all directories. Resolves when nothing of it is
    /// left. Processes that are being started are seen out as well.
    ///
    /// A process that was killed at the end of the grace and is there
    /// [`KILL_BOUND`](crate::KILL_BOUND) later is let go: the shutdown ends with an error that
    /// names it. Its run directory and the manager's, with the lock on the working directory, stay
    /// until it ends or this program does; what is left then is for the next manager in the same
    /// working directory.
    ///
    /// Cancel safe: once this was polled, the shutdown goes on.
    ///
    /// # Errors
    ///
    /// [`ManagerError`]: the manager had ended before, or something does not end
    /// ([`NotEnded`](ManagerError::NotEnded)).
    pub async fn shutdown(&self) -> Result<(), ManagerError> {
        self.end(None).await
    }

    /// The same with a grace of its own; none at all kills at once. While a shutdown is under way, this
    /// can only shorten it.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    pub async fn shutdown_with(&self, grace: Duration) -> Result<(), ManagerError> {
        self.end(Some(grace)).await
    }

    async fn end(&self, grace: Option<Duration>) -> Result<(), ManagerError> {
        let gone = || ManagerError::ManagerCommunicationError;
        let (reply, answer) = oneshot::channel();
        self.sender
            .send(Command::ShutDown(grace, reply))
            .await
            .map_err(|_| gone())?;
        let left = answer.await.map_err(|_| gone())?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(ManagerError::NotEnded { left })
        }
    }
}
