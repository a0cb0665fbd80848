//! What is called with each line of a log as it passes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt as _;

use super::follow::LogFollower;
use super::line::LogLine;
use crate::error::FollowLogsError;
use crate::id::ProcessId;

type Call = dyn Fn(ProcessId, LogLine) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// What is called with each line of a log as it passes: for the logs of one
/// [command](crate::Cmd::log_hook), or of [all of a manager](crate::ProcessManagerBuilder::log_hook).
///
/// Each log has a task that calls it with one line after the other, from the first. It reads them back
/// from where they are kept, as a [follower](crate::ProcessHandle::follow_logs) does: a slow hook holds up
/// nobody, and misses only what was dropped for the log's limit before it came to it, of which a warning
/// tells by `tracing`. When the process is removed, the hook has up to 2 s to see the rest.
///
/// ```
/// use procession_manager::LogHook;
///
/// let hook = LogHook::new(|process, line| async move {
///     println!("{process} {}: {line}", line.stream());
/// });
/// ```
///
/// Two are equal if they are clones of the same one.
#[derive(Clone)]
pub struct LogHook(Arc<Call>);

impl LogHook {
    /// Calls this, and waits for what it returns before the next line of that log.
    pub fn new<F, Fut>(hook: F) -> Self
    where
        F: Fn(ProcessId, LogLine) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |process, line| Box::pin(hook(process, line))))
    }

    /// Emits each line as a `tracing` event of level INFO and target `procession::log`, with the
    /// line's text, [escaped](procession_wire::Escaped), as the message and the fields `process`,
    /// `stream` and `line` (its number).
    pub fn tracing() -> Self {
        Self::new(|process, line| {
            tracing::info!(
                target: "procession::log",
                %process,
                stream = %line.stream(),
                line = line.number(),
                "{line}"
            );
            std::future::ready(())
        })
    }

    /// Calls it with all that the follower gives.
    pub(crate) async fn run(self, process: ProcessId, mut follower: LogFollower) {
        while let Some(item) = follower.next().await {
            match item {
                Ok(line) => self.0(process, line).await,
                Err(FollowLogsError::Dropped { count, .. }) => {
                    tracing::warn!(%process, count, "lines were dropped before the log hook saw them");
                }
                Err(error) => tracing::warn!(%process, %error, "a log hook misses lines"),
            }
        }
    }
}

impl fmt::Debug for LogHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHook").finish_non_exhaustive()
    }
}

impl PartialEq for LogHook {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LogHook {}
