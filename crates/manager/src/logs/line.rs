//! What an answer about logs is made of.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use procession_wire::Escaped;

use super::index::Time;
use super::view::Line;

/// Which log of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum LogStream {
    /// What it wrote to standard output.
    Stdout,
    /// What it wrote to standard error.
    Stderr,
    /// Both, in the order written, where they are kept in one log: see
    /// [`Logging::merged`](crate::model::command::Logging::merged).
    Merged,
}

impl LogStream {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Merged => "merged",
        }
    }
}

/// `stdout`, `stderr` or `merged`.
impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many bytes of a line are read unless a query says otherwise: 1 MiB. The others are
/// [cut](LogLine::cut_bytes).
pub const DEFAULT_LINE_LIMIT: usize = 1024 * 1024;

/// One line of a log: bytes, whatever they are.
///
/// Output without a newline is one line, however long: a hole in a log on the [file
/// route](crate::LogRoute::File), which may be of terabytes, is a run of NUL bytes in its line. So
/// a line is cut after [`DEFAULT_LINE_LIMIT`] bytes, or as many as a query
/// [says](crate::LogsQuery::line_limit), and [`cut_bytes`](Self::cut_bytes) says how many more
/// there are.
#[derive(Clone, PartialEq, Eq)]
pub struct LogLine {
    pub(super) number: u64,
    pub(super) time: Option<SystemTime>,
    pub(super) stream: LogStream,
    pub(super) bytes: Bytes,
    pub(super) cut: u64,
    pub(super) ended: bool,
}

impl LogLine {
    pub(super) fn new(stream: LogStream, line: &Line<'_>) -> Self {
        Self {
            number: line.number,
            time: line.time.and_then(Time::system),
            stream,
            bytes: Bytes::copy_from_slice(line.bytes),
            cut: line.cut,
            ended: line.ended,
        }
    }

    /// Its number: 0 is the first line that the process wrote. It never changes, and no other line of
    /// this log ever has it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When its end arrived here, to a millisecond; of one that has not ended, its beginning. Never before the
    /// time of the line before it, also where the system's clock was set back. None where that was not
    /// observed: see [`LogRoute::File`](crate::LogRoute::File).
    pub fn time(&self) -> Option<SystemTime> {
        self.time
    }

    /// The log it is of; [`LogStream::Merged`] for one of both streams.
    pub fn stream(&self) -> LogStream {
        self.stream
    }

    /// Returns the bytes that were written, without the newline at their end, and cut at the limit
    /// on lines. A carriage return before the newline is still there.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many bytes of the line come after [`bytes`](Self::bytes) and were cut; 0 where it is
    /// whole.
    pub fn cut_bytes(&self) -> u64 {
        self.cut
    }

    /// The line as text, as it was written: what is not UTF-8 is shown as U+FFFD, and a carriage
    /// return at its end is left out. Of a line that was cut the text says so at its end: `
    /// [1073741824 bytes cut]`. What a terminal would obey is still in it; the `Display` form has
    /// it escaped.
    pub fn text(&self) -> Cow<'_, str> {
        let text = String::from_utf8_lossy(self.trimmed());
        if self.cut > 0 {
            return format!("{text} [{} bytes cut]", self.cut).into();
        }
        text
    }

    /// Without the carriage return at its end, where the end of the line is there.
    fn trimmed(&self) -> &[u8] {
        match self.bytes.strip_suffix(b"\r") {
            Some(bytes) if self.cut == 0 => bytes,
            _ => &self.bytes,
        }
    }

    /// Whether its newline was written. The last line of a log may have none, and while the process
    /// writes it has more to come.
    pub fn is_ended(&self) -> bool {
        self.ended
    }
}

/// The whole line, without a carriage return at its end, [escaped](Escaped): on one line and
/// without characters that a terminal would obey. [`text`](Self::text) gives it as it is.
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Escaped::bytes(self.trimmed()).limit(usize::MAX);
        if self.cut > 0 {
            return f.pad(&format!("{shown} [{} bytes cut]", self.cut));
        }
        if f.width().is_none() && f.precision().is_none() {
            return shown.fmt(f);
        }
        f.pad(&shown.to_string())
    }
}

/// Shows the start of a long line.
impl fmt::Debug for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLine")
            .field("number", &self.number)
            .field("time", &self.time)
            .field("stream", &self.stream)
            .field("bytes", &Escaped::bytes(&self.bytes).short())
            .field("cut", &self.cut)
            .field("ended", &self.ended)
            .finish()
    }
}

/// A place in a log: before a line that was or will be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct LogCursor(pub(super) u64);

impl LogCursor {
    /// Before the line of this number.
    pub const fn before_line(number: u64) -> Self {
        Self(number)
    }

    /// The number of the line after it.
    pub const fn line(self) -> u64 {
        self.0
    }
}

/// The number of the line after it.
impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The answer to a [`LogsQuery`](crate::LogsQuery).
#[derive(Clone)]
pub struct LogPage {
    pub(super) lines: Vec<LogLine>,
    pub(super) first_kept: u64,
    pub(super) written: u64,
    pub(super) dropped: u64,
    pub(super) cursor: LogCursor,
    pub(super) complete: bool,
    pub(super) damage: Option<Arc<io::Error>>,
}

impl LogPage {
    /// The lines, in their order.
    pub fn lines(&self) -> &[LogLine] {
        &self.lines
    }

    /// The lines, in their order.
    pub fn into_lines(self) -> Vec<LogLine> {
        self.lines
    }

    /// The number of the first line that is still kept whole; the number of the next line where none is.
    pub fn first_kept(&self) -> u64 {
        self.first_kept
    }

    /// How many lines the process had written, those that were dropped and one without its newline
    /// among them.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many of the lines that were looked through are no longer there: they were dropped for the
    /// limit, or lost.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Where to [go on](crate::LogsQuery::from_cursor): after the last line that was looked at, and
    /// before one that had not ended.
    pub fn cursor(&self) -> LogCursor {
        self.cursor
    }

    /// Why a part of what was looked through cannot be read: something has truncated, removed or replaced a
    /// file of the log. The lines that were in it count as [dropped](Self::dropped).
    pub fn damage(&self) -> Option<&io::Error> {
        self.damage.as_deref()
    }

    /// Whether the log will have no more lines than it had.
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}

/// Shows the first lines.
impl fmt::Debug for LogPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        f.debug_struct("LogPage")
            .field("lines", &self.lines.len())
            .field("first_lines", &&self.lines[..self.lines.len().min(SHOWN)])
            .field("first_kept", &self.first_kept)
            .field("written", &self.written)
            .field("dropped", &self.dropped)
            .field("cursor", &self.cursor)
            .field("complete", &self.complete)
            .field("damage", &self.damage)
            .finish()
    }
}

impl IntoIterator for LogPage {
    type Item = LogLine;
    type IntoIter = std::vec::IntoIter<LogLine>;

    fn into_iter(self) -> Self::IntoIter {
        self.lines.into_iter()
    }
}

/// Where a follower begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FollowFrom {
    /// The first line that the process wrote.
    #[default]
    Beginning,
    /// The line that is being written, or the next.
    End,
    /// The line of this number.
    Line(u64),
    /// Where an answer or another follower left off.
    Cursor(LogCursor),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_line_shows_what_is_not_text() {
        let table: [(&[u8], &str, &str); 6] = [
            (b"", "", ""),
            (b"plain", "plain", "plain"),
            (b"dos\r", "dos", "dos"),
            (b"a\rb\r\r", "a\rb\r", r"a\rb\r"),
            (b"\xff nul \0", "\u{fffd} nul \0", r"\xff nul \u{0}"),
            (
                b"\x1b]0;owned\x07",
                "\x1b]0;owned\x07",
                r"\u{1b}]0;owned\u{7}",
            ),
        ];
        for (bytes, text, shown) in table {
            let line = Line {
                number: 0,
                time: None,
                bytes,
                cut: 0,
                ended: true,
            };
            let line = LogLine::new(LogStream::Stdout, &line);
            assert_eq!(line.text(), text);
            assert_eq!(line.to_string(), shown);
            assert_eq!(format!("{line:>2}").trim_start(), shown);
            assert_eq!(line.bytes(), bytes);
        }
        let line = Line {
            number: 0,
            time: None,
            bytes: b"begin\r",
            cut: 7,
            ended: true,
        };
        let line = LogLine::new(LogStream::Stdout, &line);
        assert_eq!(line.text(), "begin\r [7 bytes cut]");
        assert_eq!(line.to_string(), "begin\\r [7 bytes cut]");
    }

    #[test]
    fn debug_of_an_answer_is_short() {
        let line = LogLine {
            number: 0,
            time: None,
            stream: LogStream::Stdout,
            bytes: vec![b'\x1b'; 1 << 20].into(),
            cut: 0,
            ended: true,
        };
        let page = LogPage {
            lines: vec![line; 1000],
            first_kept: 0,
            written: 1000,
            dropped: 0,
            cursor: LogCursor(1000),
            complete: true,
            damage: None,
        };
        let text = format!("{page:?}");
        assert!(text.len() < 8 * 1024, "{}", text.len());
        assert!(text.contains("lines: 1000") && text.contains("... (1048320 bytes more)"));
    }
}
