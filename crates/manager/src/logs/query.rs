//! Which lines of a log are wanted, and which of a view are.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use memchr::memmem::Finder;
use tokio_util::sync::CancellationToken;

use super::index::Time;
use super::line::{DEFAULT_LINE_LIMIT, LogCursor, LogLine, LogPage, LogStream};
use super::view::{Step, View};

/// Which lines of a log to read. Lines are counted from 0, the first that the process wrote.
///
/// ```
/// use procession_manager::LogsQuery;
///
/// // of a log with the lines 0 to 4 ...
/// LogsQuery::fetch_all(); // 0 1 2 3 4
/// LogsQuery::with_offset(2); // 2 3 4
/// LogsQuery::with_limit(2); // 0 1
/// LogsQuery::with_offset_and_limit(2, 2); // 2 3
/// LogsQuery::last(2); // 3 4
/// ```
///
/// These can be combined with conditions. A limit, and the last so many, count the lines that meet all of
/// them:
///
/// ```
/// # use procession_manager::LogsQuery;
/// use std::time::{Duration, SystemTime};
///
/// // The last ten warnings of a minute.
/// let minute = SystemTime::now() - Duration::from_secs(60);
/// LogsQuery::last(10).since(minute).containing("WARN");
/// ```
///
/// Asking for more than is there is no error: an answer ends where the log ends, and is empty when the
/// offset is past it. A line whose newline was not written yet is in the answer as well.
///
/// A query costs as much as its answer: lines that are asked for by their number, from the end or
/// by their time are found by an index. Conditions on the text of a line are checked line by line,
/// over all lines that the rest of the query leaves. So [`limit`](Self::limit) and
/// [`last`](Self::last) bound the memory of an answer: each line has at most as many bytes as the
/// [limit on lines](Self::line_limit).
#[derive(Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct LogsQuery {
    offset: u64,
    limit: Option<usize>,
    last: Option<usize>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    line_limit: Option<usize>,
    conditions: Vec<Condition>,
}

#[derive(Clone)]
enum Condition {
    Contains(Box<Finder<'static>>),
    #[cfg(feature = "regex")]
    Matches(regex::bytes::Regex),
}

impl Condition {
    fn holds(&self, line: &[u8]) -> bool {
        match self {
            Self::Contains(finder) => finder.find(line).is_some(),
            #[cfg(feature = "regex")]
            Self::Matches(regex) => regex.is_match(line),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contains(finder) => {
                write!(f, "contains {:?}", String::from_utf8_lossy(finder.needle()))
            }
            #[cfg(feature = "regex")]
            Self::Matches(regex) => write!(f, "matches {:?}", regex.as_str()),
        }
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Contains(one), Self::Contains(other)) => one.needle() == other.needle(),
            #[cfg(feature = "regex")]
            (Self::Matches(one), Self::Matches(other)) => one.as_str() == other.as_str(),
            #[cfg(feature = "regex")]
            _ => false,
        }
    }
}

impl Eq for Condition {}

impl LogsQuery {
    /// Every line. The answer is as large as the log.
    pub fn fetch_all() -> Self {
        Self::default()
    }

    /// Every line but the first `offset`: those with this number or a larger one.
    pub fn with_offset(offset: usize) -> Self {
        Self {
            offset: offset as u64,
            ..Self::default()
        }
    }

    /// The first `limit` lines.
    pub fn with_limit(limit: usize) -> Self {
        Self::default().limit(limit)
    }

    /// The first `limit` lines after the first `offset`.
    pub fn with_offset_and_limit(offset: usize, limit: usize) -> Self {
        Self::with_offset(offset).limit(limit)
    }

    /// The last `count` lines.
    pub fn last(count: usize) -> Self {
        Self {
            last: Some(count),
            ..Self::default()
        }
    }

    /// The lines from this place on, which an earlier [answer](LogPage::cursor) has told.
    pub fn from_cursor(cursor: LogCursor) -> Self {
        Self {
            offset: cursor.line(),
            ..Self::default()
        }
    }

    /// No more than so many lines.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// No line that [ended](LogLine::time) before this time.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// No line that [ended](LogLine::time) at this time, or after it.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    /// Cuts each line after so many bytes; [`DEFAULT_LINE_LIMIT`] unless set. A line
    /// [says](LogLine::cut_bytes) how many bytes it has more. Conditions see what is left of it.
    pub fn line_limit(mut self, bytes: usize) -> Self {
        self.line_limit = Some(bytes);
        self
    }

    /// Only lines with these bytes in them. May be said more than once: then all of them have to be there.
    pub fn containing(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let finder = Finder::new(bytes.as_ref()).into_owned();
        self.conditions.push(Condition::Contains(Box::new(finder)));
        self
    }

    /// Only lines that the expression matches. It sees a line's bytes without its newline, so that `$` is
    /// their end; in bytes that are not UTF-8 only `(?-u)` matches.
    ///
    /// Needs the feature `regex`.
    #[cfg(feature = "regex")]
    #[cfg_attr(docsrs, doc(cfg(feature = "regex")))]
    pub fn matching(mut self, regex: regex::bytes::Regex) -> Self {
        self.conditions.push(Condition::Matches(regex));
        self
    }

    /// Finds the answer. Blocking. What is given up has an answer that nobody is to see.
    pub(super) fn run(
        &self,
        view: &View,
        stream: LogStream,
        given_up: &CancellationToken,
    ) -> Result<LogPage, QueryError> {
        let at = |time: Option<SystemTime>| {
            let number = time.map(|time| view.since(Time::of(time)));
            match number.transpose()? {
                Some(None) => Err(QueryError::TimesUnknown),
                other => Ok(other.flatten()),
            }
        };
        let from = at(self.since)?.unwrap_or(0).max(self.offset);
        let to = at(self.until)?.unwrap_or(u64::MAX).min(view.started);
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut page = LogPage {
            lines: Vec::new(),
            first_kept: view.first_kept(),
            written: view.started,
            dropped: 0,
            cursor: LogCursor(from.max(to)),
            complete: view.complete,
            damage: None,
        };
        let mut search = Search {
            query: self,
            view,
            stream,
            given_up,
            page: &mut page,
        };
        let mut lines = Vec::new();
        let cursor = match self.last {
            None if limit == 0 => from,
            None => search.forward(from, to, |line| {
                lines.push(line);
                lines.len() < limit
            }),
            Some(count) => {
                lines = search.backward(from, to, count);
                lines.truncate(limit);
                to.max(from)
            }
        };
        page.lines = lines;
        // What has more to come is to be read again.
        let open = view.started > view.ended && !view.complete && from <= view.ended;
        let cursor = if open { cursor.min(view.ended) } else { cursor };
        page.cursor = LogCursor(cursor);
        Ok(page)
    }
}

#[derive(Debug)]
pub(super) enum QueryError {
    TimesUnknown,
    Io(io::Error),
}

impl From<io::Error> for QueryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Search<'a> {
    query: &'a LogsQuery,
    view: &'a View,
    stream: LogStream,
    given_up: &'a CancellationToken,
    page: &'a mut LogPage,
}

/// Windows of so many lines are looked through from the end, where conditions have to be met.
const WINDOW: u64 = 4096;

impl Search<'_> {
    /// Looks through the lines from `from` up to `to`, until nobody takes more. Says where it
    /// ended.
    fn forward(&mut self, from: u64, to: u64, mut take: impl FnMut(LogLine) -> bool) -> u64 {
        let limit = self.query.line_limit.unwrap_or(DEFAULT_LINE_LIMIT);
        let mut lines = self.view.lines(from, limit, self.given_up);
        while lines.number() < to {
            match lines.next() {
                None => break,
                Some(Step::Dropped { first, count }) => {
                    self.page.dropped += (first + count).min(to) - first;
                }
                Some(Step::Line(line)) => {
                    let mut conditions = self.query.conditions.iter();
                    if conditions.all(|one| one.holds(line.bytes))
                        && !take(LogLine::new(self.stream, &line))
                    {
                        break;
                    }
                }
            }
        }
        if let Some(error) = lines.damage() {
            self.page.damage = Some(Arc::new(error));
        }
        lines.number().min(to).max(from)
    }

    /// The last `count` of the lines from `from` up to `to`.
    fn backward(&mut self, from: u64, to: u64, count: usize) -> Vec<LogLine> {
        let from = from.max(self.view.first_kept().min(to));
        let window = if self.query.conditions.is_empty() {
            count as u64
        } else {
            WINDOW
        };
        let mut end = to;
        let mut found: VecDeque<LogLine> = VecDeque::new();
        while end > from && found.len() < count && !self.given_up.is_cancelled() {
            let begin = end.saturating_sub(window).max(from);
            // No more of a window than is wanted is held at any time.
            let wanted = count - found.len();
            let mut last: VecDeque<LogLine> = VecDeque::new();
            self.forward(begin, end, |line| {
                if last.len() == wanted {
                    last.pop_front();
                }
                last.push_back(line);
                true
            });
            last.append(&mut found);
            found = last;
            end = begin;
        }
        found.into()
    }
}

impl fmt::Debug for LogsQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("LogsQuery");
        out.field("offset", &self.offset);
        let numbers = [
            ("limit", &self.limit),
            ("last", &self.last),
            ("line_limit", &self.line_limit),
        ];
        for (name, number) in numbers {
            number.map(|number| out.field(name, &number));
        }
        for (name, time) in [("since", &self.since), ("until", &self.until)] {
            time.map(|time| out.field(name, &time));
        }
        if !self.conditions.is_empty() {
            out.field("conditions", &self.conditions);
        }
        out.finish()
    }
}
