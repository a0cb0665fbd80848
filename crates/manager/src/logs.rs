//! The logs of one process: what it writes to stdout and stderr, kept in its run directory.
//!
//! ```text
//!  pipe route   child ─► pipe ─► capture ─► store: segments, bounded ─┐
//!  file route   child ─► file ◄─ counted when asked for ◄─────────────┤
//!                                                                     ▼
//!                        queries, followers, hooks ◄─ lines ◄─ view of what is kept
//! ```
//!
//! Nothing that reads can hold up the child: readers look at a [`view`] of what is kept, on threads
//! of the [pool](crate::process::pool), and find lines by number and time through sparse records
//! ([`index`], read by [`records`]). Followers are only told that there is more ([`log`]), and read
//! it back ([`follow`]). No lock is held over a system call: locks guard what was counted, and work
//! on a log goes by [`turn`].
//!
//! Memory: a log holds 100 bytes or so for each segment, and up to 256 records of 32 bytes; the others are in
//! a file beside the segment, 16 bytes for each chunk that arrived. The file route holds 32 bytes for each
//! 64 KiB, 1 MiB at most.

mod budget;
mod capture;
mod extents;
mod file;
mod follow;
mod hook;
mod index;
mod keep;
mod last_words;
mod line;
mod log;
mod query;
mod records;
mod segments;
mod store;
#[cfg(test)]
mod tests;
mod turn;
mod view;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

pub(crate) use budget::Budget;
pub(crate) use capture::{AppenderSlot, Capture, Memory, Stored, Target};
pub(crate) use file::FileLog;
pub use follow::LogFollower;
pub use hook::LogHook;
use keep::Bounds;
pub(crate) use last_words::LastWords;
pub use line::{DEFAULT_LINE_LIMIT, FollowFrom, LogCursor, LogLine, LogPage, LogStream};
pub(crate) use log::{Log, Route};
pub use query::LogsQuery;
use query::QueryError;
pub(crate) use store::Appender;
use turn::Turn;
use view::View;
pub(crate) use watch::Watch;

use crate::error::{FollowLogsError, GetLogsError, KeepLogsError};
use crate::process::pool::Pool;

/// The logs of a process.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    all: Vec<Arc<Log>>,
    memory: Vec<(LogStream, Arc<Mutex<Memory>>)>,
    /// Whether they were moved.
    kept: Arc<AtomicBool>,
    /// Of the one that moves them: another one would not find them where they were.
    turn: Turn,
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
        let stream = log.stream;
        let failed = |source| GetLogsError::UnExpectedIoError { stream, source };
        let view = log.look(pool).await.map_err(failed)?;
        let given_up = CancellationToken::new();
        let _dropped = given_up.clone().drop_guard();
        let searched = pool.run(move || search(&log, &view, &query, &given_up));
        searched
            .await
            .map_err(failed)?
            .map_err(|error| match error {
                QueryError::TimesUnknown => GetLogsError::TimesUnknown(stream),
                QueryError::Io(source) => failed(source),
            })
    }

    /// Returns the last lines that were written to this stream; `None` where the stream is not
    /// logged, or its log cannot be read.
    pub(crate) async fn last_words(
        &self,
        stream: LogStream,
        bounds: LastWords,
        pool: &Pool,
    ) -> Option<Vec<String>> {
        let log = Arc::clone(self.find(stream)?);
        if let Route::File(file) = &log.route {
            let file = file.file().ok()?;
            return pool.run(move || bounds.of_file(&file)).await.ok()?.ok();
        }
        let query = LogsQuery::last(bounds.lines).line_limit(bounds.line_limit());
        let page = self.query(stream, query, pool).await.ok()?;
        Some(bounds.of_lines(page.lines()))
    }

    /// Their files go: what cannot be read from now on is nobody's fault, and nothing is moved any
    /// more.
    pub(crate) async fn removed(&self, pool: &Pool) {
        let files = self.all.iter().filter_map(|log| log.set_removed());
        let files: Vec<_> = files.collect();
        // Closing one that has no name any more frees all of it.
        if !files.is_empty() {
            let _ = pool.run(move || drop(files)).await;
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

    /// Moves all of them to files in this directory, which is made if it is not there. Goes on when
    /// this is dropped once it was polled.
    pub(crate) async fn keep(
        &self,
        directory: &Path,
        pool: &Pool,
    ) -> Result<Vec<(LogStream, PathBuf)>, KeepLogsError> {
        let bounds = Bounds::default();
        self.keep_as(true, directory, bounds, pool).await
    }

    /// The same, unless they were moved before. Of a log on the file route no more than the last so
    /// many bytes of data are kept. Given up when this is dropped.
    pub(crate) async fn keep_once(
        &self,
        directory: &Path,
        data: u64,
        pool: &Pool,
    ) -> Result<(), KeepLogsError> {
        let bounds = Bounds {
            data: Some(data),
            given_up: CancellationToken::new(),
        };
        let _dropped = bounds.given_up.clone().drop_guard();
        let kept = self.keep_as(false, directory, bounds, pool);
        kept.await.map(drop)
    }

    async fn keep_as(
        &self,
        again: bool,
        directory: &Path,
        bounds: Bounds,
        pool: &Pool,
    ) -> Result<Vec<(LogStream, PathBuf)>, KeepLogsError> {
        let failed = |(path, source)| KeepLogsError::IoError { path, source };
        let (turn, pool, place) = (self.turn.clone(), pool.clone(), directory.to_owned());
        let (logs, kept) = (self.all.clone(), Arc::clone(&self.kept));
        let kept = async move {
            let turn = turn.take().await;
            let keep = move || {
                let _turn = turn;
                if kept.load(Ordering::Relaxed) && !again {
                    return Ok(Vec::new());
                }
                keep::keep(&logs, &place, &bounds).inspect(|_| kept.store(true, Ordering::Relaxed))
            };
            pool.run(keep).await
        };
        let files = match self.all.first() {
            Some(log) => log.runtime.spawn(kept).await.map_err(io::Error::other),
            None => Ok(kept.await),
        };
        let files = files.flatten();
        files
            .map_err(|error| failed((directory.to_owned(), error)))?
            .map_err(failed)
    }
}

fn search(
    log: &Log,
    view: &View,
    query: &LogsQuery,
    given_up: &CancellationToken,
) -> Result<LogPage, QueryError> {
    let page = query.run(view, log.stream, given_up)?;
    if let Some(error) = page.damage() {
        log.fault(format!("a part of it cannot be read: {error}"));
    }
    Ok(page)
}
