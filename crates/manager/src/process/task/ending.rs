//! The end: its logs are seen out, its run directory is removed, and it is forgotten.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;

use procession_wire::Escaped;

use super::super::spawn::Attached;
use super::super::{Channels, Process, RunChannels};
use super::service::forget_run;
use super::{Run, Task};
use crate::clock;
use crate::error::RemoveProcessError;
use crate::events::{Event, RemovalReason};
use crate::lifecycle::{ExitReport, Lifecycle};
use crate::manager::context::Context;

/// How long the hooks of a process that is removed have to see the rest of its logs.
const HOOKS: Duration = Duration::from_secs(2);
/// How long keeping the logs of what has failed may take.
const KEEP: Duration = Duration::from_secs(10);
/// How long it may take in a shutdown whose grace is over.
const KEEP_LEAST: Duration = Duration::from_secs(2);
/// How many bytes of data of each log on the file route are kept of what has failed: the last 256
/// MiB.
const KEPT_FAILED_DATA: u64 = 256 * 1024 * 1024;

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
        self.forget_past().await;
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
            tracing::warn!(directory = %Escaped::new(&path), %error, "cannot remove a run directory");
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

    /// Leaves a process that does not end to a thread, which reaps it some time and then removes
    /// its run directory.
    pub(super) async fn let_go(&mut self) {
        self.requests.close();
        let run = std::mem::replace(&mut self.run, Run::new(Lifecycle::let_go()));
        // Whoever reads its messages and logs comes to their end.
        let channels = self.process.channels();
        if let Some(hub) = channels.and_then(|channels| channels.hub.as_ref()) {
            hub.end_run();
            hub.end();
        }
        if let Some(channels) = channels {
            channels.run().logs.removed(&self.context.log_readers).await;
        }
        drop(run);
        self.forget_past().await;
        let reason = self.removal.unwrap_or(RemovalReason::ShutDown);
        self.forget(reason).await;
    }

    async fn forget_past(&mut self) {
        let channels = self.process.channels();
        let past = channels.and_then(|channels| channels.past.as_ref());
        let runs = past.map(|past| std::mem::take(&mut *past.lock()));
        for run in runs.into_iter().flatten() {
            forget_run(&self.process, &self.context, run).await;
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
        run.logs.removed(&self.context.log_readers).await;
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
    let kept = run
        .logs
        .keep_once(&directory, KEPT_FAILED_DATA, &context.log_readers);
    tokio::select! {
        biased;
        kept = kept => if let Err(error) = kept {
            tracing::warn!(process = %id, %error, "the logs of a failed process were not kept");
        },
        () = too_long(context.shutdown.subscribe()) => {
            tracing::warn!(process = %id, "the logs of a failed process were not kept: it took too long");
        }
    }
}

/// Resolves when logs have had their time to be kept: [`KEEP`], and no longer than the grace of a
/// shutdown, but [`KEEP_LEAST`] at least.
async fn too_long(mut shutdown: watch::Receiver<Option<Instant>>) {
    let begun = clock::now();
    loop {
        let grace = *shutdown.borrow_and_update();
        let most = begun + KEEP;
        let until = grace.map_or(most, |grace| grace.clamp(begun + KEEP_LEAST, most));
        tokio::select! {
            () = sleep_until(until.into()) => return,
            Ok(()) = shutdown.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_does_not_wait_long_for_logs_that_are_kept() {
        let took = async |shutdown: Option<Duration>, grace: Duration| {
            let begun = clock::now();
            let sender = watch::Sender::new(None);
            let until = tokio::spawn(too_long(sender.subscribe()));
            if let Some(after) = shutdown {
                sleep_until((begun + after).into()).await;
                sender.send_replace(Some(clock::now() + grace));
            }
            until.await.expect("no panic");
            (clock::now() - begun).as_secs()
        };
        let [year, second] = [365 * 24 * 3600, 1].map(Duration::from_secs);
        assert_eq!(took(None, second).await, KEEP.as_secs());
        assert_eq!(took(Some(second), year).await, KEEP.as_secs());
        assert_eq!(took(Some(second), 4 * second).await, 5);
        assert_eq!(
            took(Some(second), Duration::ZERO).await,
            KEEP_LEAST.as_secs()
        );
        assert_eq!(
            took(Some(Duration::ZERO), Duration::ZERO).await,
            KEEP_LEAST.as_secs()
        );
    }
}
