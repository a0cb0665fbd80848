//! The logs of one process: what it writes to stdout and stderr, kept in its run directory.
//!
//! ```text
//!  pipe route   child ─► pipe ─► capture ─► store: segments, bounded ─┐
//!  file route   child ─► file ◄─ counted when asked for ◄─────────────┤
//!                                                                     ▼
//!                        queries, followers, hooks ◄─ lines ◄─ view of what is kept
//! ```
//!
//! Nothing that reads can hold up the child: readers look at a [`view`] of what is kept, on threads of
//! the [pool](crate::process::pool), and find lines by number and time through sparse records
//! ([`index`], read by [`records`]). Followers are only told that there is more ([`log`]), and read it back ([`follow`]).
//!
//! Memory: a log holds 100 bytes or so for each segment, and up to 256 records of 32 bytes; the others are in
//! a file beside the segment, 16 bytes for each chunk that arrived. The file route holds 32 bytes for each
//! 64 KiB, 1 MiB at most.

mod budget;
mod capture;
mod file;
mod follow;
mod hook;
mod index;
mod keep;
mod line;
mod log;
mod query;
mod records;
mod segments;
mod store;
#[cfg(test)]
mod tests;
mod view;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use budget::Budget;
pub(crate) use capture::{Capture, Memory, Stored, Target};
pub(crate) use file::FileLog;
pub use follow::LogFollower;
pub use hook::LogHook;
pub use line::{FollowFrom, LogCursor, LogLine, LogPage, LogStream};
pub(crate) use log::{Log, Route};
pub use query::LogsQuery;
use query::QueryError;
pub(crate) use store::Appender;
pub(crate) use watch::Watch;

use crate::error::{FollowLogsError, GetLogsError, KeepLogsError};
use crate::process::pool::Pool;

/// The logs of a process.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    all: Vec<Arc<Log>>,
    memory: Vec<(LogStream, Arc<Mutex<Memory>>)>,
    /// Whether they were moved. Held while they are: another one would not find them where they were.
    kept: Arc<Mutex<bool>>,
}

impl Logs {
    pub(crate) fn add(&mut self, log: Arc<Log>) {
        self.all.push(log);
    }

    pub(crate) fn add_memory(&mut self, stream: LogStream, memory: Arc<Mutex<Memory>>) {
        self.memory.push((stream, memory));
    }

    /// What was taken into memory of this stream.
    pub(crate) fn memory(&self, stream: LogStream) -> Option<&Arc<Mutex<Memory>>> {
        let found = self.memory.iter().find(|(known, _)| *known == stream);
        found.map(|(_, memory)| memory)
    }

    pub(crate) fn all(&self) -> &[Arc<Log>] {
        &self.all
    }

    /// The log of this stream; that of both, where they are merged.
    fn find(&self, stream: LogStream) -> Option<&Arc<Log>> {
        let of = |wanted| self.all.iter().find(move |log| log.stream == wanted);
        of(stream).or_else(|| of(LogStream::Merged))
    }

    pub(crate) async fn query(
        &self,
        stream: LogStream,
        query: LogsQuery,
        pool: &Pool,
    ) -> Result<LogPage, GetLogsError> {
        let not_logged = || GetLogsError::LoggingTypeWasNotConfigured(stream.to_string());
        let log = Arc::clone(self.find(stream).ok_or_else(not_logged)?);
        let searched = {
            let log = Arc::clone(&log);
            pool.run(move || search(&log, &query)).await
        };
        match searched {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(QueryError::TimesUnknown)) => Err(GetLogsError::TimesUnknown(log.stream)),
            Ok(Err(QueryError::Io(source))) | Err(source) => Err(GetLogsError::UnExpectedIoError {
                stream: log.stream,
                source,
            }),
        }
    }

    pub(crate) fn follow(
        &self,
        stream: LogStream,
        from: FollowFrom,
        pool: &Pool,
    ) -> Result<LogFollower, FollowLogsError> {
        let not_logged = FollowLogsError::LoggingTypeWasNotConfigured(stream.to_string());
        let log = self.find(stream).ok_or(not_logged)?;
        Ok(log.follow(from, pool))
    }

    /// Moves all of them to files in this directory, which is made if it is not there.
    pub(crate) async fn keep(
        &self,
        directory: &Path,
        pool: &Pool,
    ) -> Result<Vec<(LogStream, PathBuf)>, KeepLogsError> {
        self.keep_as(true, directory, pool).await
    }

    /// The same, unless they were moved before.
    pub(crate) async fn keep_once(
        &self,
        directory: &Path,
        pool: &Pool,
    ) -> Result<(), KeepLogsError> {
        self.keep_as(false, directory, pool).await.map(drop)
    }

    async fn keep_as(
        &self,
        again: bool,
        directory: &Path,
        pool: &Pool,
    ) -> Result<Vec<(LogStream, PathBuf)>, KeepLogsError> {
        let (logs, directory) = (self.all.clone(), directory.to_owned());
        let failed = |(path, source)| KeepLogsError::IoError { path, source };
        let (place, kept) = (directory.clone(), Arc::clone(&self.kept));
        let files = pool.run(move || {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if *kept && !again {
                return Ok(Vec::new());
            }
            keep::keep(&logs, &directory).inspect(|_| *kept = true)
        });
        let files = files.await.map_err(|error| failed((place, error)))?;
        files.map_err(failed)
    }
}

fn search(log: &Log, query: &LogsQuery) -> Result<LogPage, QueryError> {
    let view = log.look().map_err(QueryError::Io)?;
    let page = query.run(&view, log.stream)?;
    if let Some(error) = page.damage() {
        log.fault(format!("a part of it cannot be read: {error}"));
    }
    Ok(page)
}
