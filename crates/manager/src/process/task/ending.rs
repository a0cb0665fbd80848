//! The end: its logs are seen out, its run directory is removed, and it is forgotten.

use std::path::PathBuf;
use std::time::Duration;

use super::super::spawn::Attached;
use super::super::{Channels, Process, RunChannels};
use super::Task;
use super::service::forget_run;
use crate::error::RemoveProcessError;
use crate::events::{Event, RemovalReason};
use crate::lifecycle::ExitReport;
use crate::manager::context::Context;

/// How long the hooks of a process that is removed have to see the rest of its logs.
const HOOKS: Duration = Duration::from_secs(2);

impl Task {
    pub(super) async fn clean_up(&mut self) {
        let mut child = self.run.child.take();
        if child.is_none() && self.service.is_none() {
            return;
        }
        let run_dir = child.as_mut().and_then(Attached::take_run_dir);
        drop(child);
        // From here on handles see that it is gone, before anybody is told that it was removed.
        self.requests.close();
        self.end_logs().await;
        let channels = self.process.channels();
        let past = channels.and_then(|channels| channels.past.as_ref());
        let runs = past.map(|past| std::mem::take(&mut *past.lock()));
        for run in runs.into_iter().flatten() {
            forget_run(&self.process, &self.context, run).await;
        }
        let mut path = PathBuf::new();
        let removed = match run_dir {
            Some(run_dir) => {
                run_dir.path().clone_into(&mut path);
                self.context.pool.run(move || run_dir.remove()).await
            }
            None => Ok(Ok(())),
        };
        // Where it was removed before its hunt was over, that goes on by itself.
        self.run.hunts.detach_all();
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
        let hooks = async { while self.run.log_hooks.next().await.is_some() {} };
        if tokio::time::timeout(HOOKS, hooks).await.is_err() {
            tracing::warn!(process = %self.process.id(), "a log hook is too slow: it misses the last lines");
            self.run.log_hooks.abort_all();
        }
        let info = self.process.info();
        let Some(run) = self.process.channels().map(Channels::run) else {
            return;
        };
        // One that was put aside has been kept with its run.
        if self.run.exit.is_set()
            && let Some(report) = info.report()
        {
            keep_failed(&self.process, &self.context, &run, &report, info.run()).await;
        }
        run.logs.all().iter().for_each(|log| log.removed());
    }

    /// Takes it off the registry. Where the manager is at its end that is as good as done.
    pub(super) async fn forget(&mut self, reason: RemovalReason) {
        let id = self.process.id();
        self.context.forget(id).await;
        self.context.events.tell(Event::Removed { id, reason });
    }
}

/// Keeps the logs of a run that has failed, unless the user did.
pub(super) async fn keep_failed(
    process: &Process,
    context: &Context,
    run: &RunChannels,
    report: &ExitReport,
    number: u64,
) {
    let Some(directory) = context.failed_logs.as_ref() else {
        return;
    };
    if !report.has_failed() {
        return;
    }
    let id = process.id();
    let directory = match number {
        0 => directory.join(id.to_string()),
        number => directory.join(format!("{id}.{number}")),
    };
    let kept = run.logs.keep_once(&directory, &context.log_readers);
    if let Err(error) = kept.await {
        tracing::warn!(process = %id, %error, "the logs of a failed process were not kept");
    }
}
