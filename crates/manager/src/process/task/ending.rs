//! The end: its logs are seen out, its run directory is removed, and it is forgotten.

use std::path::PathBuf;
use std::time::Duration;

use super::Task;
use crate::error::RemoveProcessError;
use crate::events::{Event, RemovalReason};

/// How long the hooks of a process that is removed have to see the rest of its logs.
const HOOKS: Duration = Duration::from_secs(2);

impl Task {
    pub(super) async fn clean_up(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let run_dir = child.take_run_dir();
        drop(child);
        // From here on handles see that it is gone, before anybody is told that it was removed.
        self.requests.close();
        self.end_logs().await;
        let mut path = PathBuf::new();
        let removed = match run_dir {
            Some(run_dir) => {
                run_dir.path().clone_into(&mut path);
                self.context.pool.run(move || run_dir.remove()).await
            }
            None => Ok(Ok(())),
        };
        // Where it was removed before its hunt was over, that goes on by itself.
        self.hunts.detach_all();
        let asked = RemovalReason::Requested;
        let reason = self.removal.filter(|_| self.removals.is_empty());
        self.forget(reason.unwrap_or(asked)).await;
        let error = match removed {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error),
        };
        if let Some(error) = &error {
            tracing::warn!(directory = %path.display(), %error, "cannot remove a run directory");
        }
        let mut error = error;
        for reply in self.removals.drain(..) {
            let _ = reply.send(match error.take() {
                Some(source) => Err(RemoveProcessError::CannotRemoveRunDirectory {
                    path: path.clone(),
                    source,
                }),
                None => Ok(()),
            });
        }
    }

    /// Lets the hooks see the rest of its logs, and keeps those of what has failed, unless the user did.
    pub(super) async fn end_logs(&mut self) {
        let hooks = async { while self.log_hooks.next().await.is_some() {} };
        if tokio::time::timeout(HOOKS, hooks).await.is_err() {
            tracing::warn!(process = %self.process.id(), "a log hook is too slow: it misses the last lines");
            self.log_hooks.abort_all();
        }
        let info = self.process.info();
        let failed = info.report().is_some_and(|report| report.has_failed());
        if let (true, Some(directory), Some(channels)) =
            (failed, &self.context.failed_logs, self.process.channels())
        {
            let directory = directory.join(self.process.id().to_string());
            if let Err(error) = channels
                .logs
                .keep_once(&directory, &self.context.log_readers)
                .await
            {
                tracing::warn!(process = %self.process.id(), %error, "the logs of a failed process were not kept");
            }
        }
        let logs = self.process.channels().map(|channels| channels.logs.all());
        logs.into_iter().flatten().for_each(|log| log.removed());
    }

    /// Takes it off the registry. Where the manager is at its end that is as good as done.
    pub(super) async fn forget(&mut self, reason: RemovalReason) {
        let id = self.process.id();
        self.context.forget(id).await;
        self.context.events.tell(Event::Removed { id, reason });
    }
}
