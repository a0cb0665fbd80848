//! Following a log: a stream of its lines, read back from where they are kept.
//!
//! ```text
//!          ┌──────────── lines ◄───────────┐
//!  look ──►│ a batch: up to 1,024 lines or 256 KiB, on a thread of the pool
//!          └─ none ─► wait to be told ─────┘      none, and complete ─► end
//! ```
//!
//! A follower holds no more than a batch and a line, so a slow one costs nothing and holds up
//! nobody. What was dropped before it came to it, it is told.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio_util::sync::CancellationToken;

use super::line::{DEFAULT_LINE_LIMIT, FollowFrom, LogCursor, LogLine};
use super::log::{Log, Membership};
use super::view::{Step, View};
use crate::error::FollowLogsError;
use crate::process::pool::Pool;

const BATCH_LINES: usize = 1024;
const BATCH_BYTES: usize = 256 * 1024;

type Item = Result<LogLine, FollowLogsError>;
type Reading = Pin<Box<dyn Future<Output = (Vec<Item>, Follow)> + Send>>;

/// The lines of a log as they appear: a [`Stream`] of [`LogLine`]s.
///
/// A line comes when it has ended, or the log has, and is [cut](LogLine::cut_bytes) after
/// [`DEFAULT_LINE_LIMIT`] bytes. The stream ends when the log is complete: all that
/// could write it has gone, or its process has exited and the manager has stopped reading. Lines that were
/// dropped, for the limit on the log's size, before this follower came to them, are told by
/// [`FollowLogsError::Dropped`], and it goes on after them; so it does after an error. Taking an item is
/// cancel safe.
///
/// It does not keep the process: when that is removed, the rest of its lines are gone.
#[must_use = "streams do nothing unless polled"]
pub struct LogFollower {
    ready: VecDeque<Item>,
    reading: Option<Reading>,
    cursor: LogCursor,
}

impl LogFollower {
    pub(super) fn new(log: &Arc<Log>, from: FollowFrom, pool: Pool) -> Self {
        let next = match from {
            FollowFrom::Beginning => Some(0),
            FollowFrom::End => None,
            FollowFrom::Line(number) => Some(number),
            FollowFrom::Cursor(cursor) => Some(cursor.line()),
        };
        let follow = Follow {
            member: log.join(),
            pool,
            next,
            over: false,
        };
        Self {
            ready: VecDeque::new(),
            reading: Some(Box::pin(follow.read())),
            cursor: LogCursor(next.unwrap_or(0)),
        }
    }

    /// After the last line that was taken.
    pub fn cursor(&self) -> LogCursor {
        self.cursor
    }
}

impl Stream for LogFollower {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                match &item {
                    Ok(line) => self.cursor = LogCursor(line.number + 1),
                    Err(FollowLogsError::Dropped { first, count }) => {
                        self.cursor = LogCursor(first + count);
                    }
                    Err(_) => {}
                }
                return Poll::Ready(Some(item));
            }
            let Some(reading) = &mut self.reading else {
                return Poll::Ready(None);
            };
            let (items, follow) = std::task::ready!(reading.as_mut().poll(cx));
            self.reading = (!items.is_empty()).then(|| Box::pin(follow.read()) as Reading);
            self.ready.extend(items);
        }
    }
}

impl fmt::Debug for LogFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFollower")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

struct Follow {
    member: Membership,
    pool: Pool,
    /// The line that comes next; the one that is being written, where that is not known yet.
    next: Option<u64>,
    /// There is nothing more to be had.
    over: bool,
}

impl Follow {
    /// The next lines, once there are any; none at the end.
    async fn read(mut self) -> (Vec<Item>, Self) {
        while !self.over {
            // Seen before the look: what comes in between wakes it again.
            let complete = self.member.progress.borrow_and_update().complete;
            let items = match self.batch(complete).await {
                Ok((next, items)) => {
                    self.next = Some(next);
                    items
                }
                Err(error) => {
                    let failed = FollowLogsError::IoError(error);
                    // What fails once may fail at once again: not before there is something new.
                    self.over = complete;
                    if !complete {
                        let _ = self.member.progress.changed().await;
                    }
                    return (vec![Err(failed)], self);
                }
            };
            if !items.is_empty() || complete {
                return (items, self);
            }
            if self.member.progress.changed().await.is_err() {
                break;
            }
        }
        (Vec::new(), self)
    }

    /// The next lines that are there; and the number of the line after them.
    async fn batch(&self, complete: bool) -> io::Result<(u64, Vec<Item>)> {
        let (log, next) = (Arc::clone(&self.member.log), self.next);
        let view = log.look(&self.pool).await?;
        let given_up = CancellationToken::new();
        let _dropped = given_up.clone().drop_guard();
        let read = self
            .pool
            .run(move || batch(&log, &view, next, complete, &given_up));
        read.await
    }
}

/// What there is from this line on, up to a batch; and the number of the line after it.
fn batch(
    log: &Log,
    view: &View,
    next: Option<u64>,
    complete: bool,
    given_up: &CancellationToken,
) -> (u64, Vec<Item>) {
    // In the end no line is being written.
    let end = if view.complete {
        view.started
    } else {
        view.ended
    };
    let from = next.unwrap_or(end);
    let mut lines = view.lines(from, DEFAULT_LINE_LIMIT, given_up);
    let mut items: Vec<Item> = Vec::new();
    let (mut bytes_left, mut end) = (BATCH_BYTES, from);
    // What has not ended is not even read: it may be long, and would be read again each time that it grows.
    while items.len() < BATCH_LINES && bytes_left > 0 && (complete || lines.number() < view.ended) {
        match lines.next() {
            None => break,
            Some(Step::Dropped { first, count }) => {
                items.push(Err(FollowLogsError::Dropped { first, count }));
                end = first + count;
            }
            Some(Step::Line(line)) if !line.ended && !complete => break,
            Some(Step::Line(line)) => {
                bytes_left = bytes_left.saturating_sub(line.bytes.len() + 1);
                items.push(Ok(LogLine::new(log.stream, &line)));
                end = line.number + 1;
            }
        }
    }
    if let Some(error) = lines.damage() {
        log.fault(format!("a part of it cannot be read: {error}"));
    }
    (end, items)
}
