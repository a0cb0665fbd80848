//! What is kept of a log at one moment, and reading lines out of it.
//!
//! ```text
//!  parts      ├──────────────┤├────────────┤      ├──────────┤
//!  positions  start      start+len              ▲            end
//!  lines      first … first+lines-1             └ a hole: dropped, or lost
//! ```
//!
//! A part is a segment of the pipe route, or the file of the file route. Lines may reach over the end of
//! a part into the next one; a line of which bytes are missing is not there. What cannot be read,
//! because the file was truncated or removed, is not there either. Lines are found by the [`records`] of
//! their part.
//!
//! [`records`]: super::records

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::index::{Record, Records, Time, partition};
use super::records::{Index, OpenIndex};
use super::store::StoreLog;
use crate::run_dir::open_own;

const BLOCK: usize = 64 * 1024;

/// A log at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) parts: Vec<Part>,
    /// How many lines have started, and how many of them have ended.
    pub(super) started: u64,
    pub(super) ended: u64,
    /// After the last byte.
    pub(super) end: u64,
    /// Nothing will come after that.
    pub(super) complete: bool,
    /// Lines without a time were written before this one.
    pub(super) unknown_until: Option<Time>,
    /// What is kept, where that changes under the view.
    pub(super) origin: Option<Arc<StoreLog>>,
}

#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) len: u64,
    /// The number of the first line that starts in it, and how many do.
    pub(super) first: u64,
    pub(super) lines: u64,
    /// Where the first of them starts, from its own start, and when.
    pub(super) at: u64,
    pub(super) time: Option<Time>,
    pub(super) content: Content,
    pub(super) index: Index,
}

impl Part {
    fn end(&self) -> u64 {
        self.start + self.len
    }

    pub(super) fn lines_end(&self) -> u64 {
        self.first + self.lines
    }
}

/// Where the bytes of a part are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// In a file of this name, from an offset on.
    Named(Arc<PathBuf>, u64),
    Open(Arc<File>),
}

impl Content {
    fn open(&self) -> io::Result<(Arc<File>, u64)> {
        match self {
            Self::Named(path, base) => Ok((Arc::new(open_own(path)?), *base)),
            Self::Open(file) => Ok((Arc::clone(file), 0)),
        }
    }
}

impl View {
    /// The number of the first line that is still there whole, as far as it is known without reading.
    pub(super) fn first_kept(&self) -> u64 {
        self.parts
            .iter()
            .find(|part| part.lines > 0)
            .map_or(self.started, |part| part.first)
    }

    /// The number of the first line that ended at this time or after it; none where that is not
    /// known.
    pub(super) fn since(&self, time: Time) -> io::Result<Option<u64>> {
        let mut known = true;
        for part in self.parts.iter().filter(|part| part.lines > 0) {
            let index = match part.index.open() {
                Err(_) if self.has_dropped(part) => continue,
                other => other?,
            };
            let before = match &index {
                OpenIndex::Named { .. } => partition(&index, |record| {
                    record.time.is_none_or(|known| known < time)
                })?,
                // Those without a time may come between those that have one.
                OpenIndex::Held(records) => {
                    let found = records
                        .iter()
                        .position(|record| record.time.is_some_and(|known| known >= time));
                    found.unwrap_or(records.len()) as u64
                }
            };
            if before > 0 {
                let earlier = self.unknown_until.is_some_and(|until| until <= time);
                known = earlier || index.get(before - 1)?.time.is_some();
            }
            if before < index.count() {
                let line = part.first + index.get(before)?.line;
                return Ok(known.then_some(line));
            }
        }
        Ok(known.then_some(self.started))
    }

    /// Whether a part was dropped for the limit since.
    fn has_dropped(&self, part: &Part) -> bool {
        let origin = self.origin.as_ref();
        origin.is_some_and(|origin| origin.content(part.start).is_none())
    }

    /// Opens the content of a part, wherever that is now.
    fn open(&self, part: &Part) -> io::Result<(Arc<File>, u64)> {
        let opened = part.content.open();
        let moved = match &self.origin {
            Some(origin) if opened.is_err() => origin.content(part.start),
            _ => None,
        };
        moved.map_or(opened, |content| content.open())
    }

    /// Reads from this line on.
    pub(super) fn lines(&self, from: u64) -> Lines<'_> {
        Lines {
            view: self,
            number: from,
            open: None,
            damaged: None,
        }
    }
}

/// A line that was read, where it was read to.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) number: u64,
    pub(super) time: Option<Time>,
    pub(super) bytes: &'a [u8],
    pub(super) ended: bool,
}

/// What comes next in a log.
#[derive(Debug, PartialEq)]
pub(super) enum Step<'a> {
    Line(Line<'a>),
    /// So many lines from this one on are not there.
    Dropped {
        first: u64,
        count: u64,
    },
}

/// Lines of a view, one after the other.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    view: &'a View,
    number: u64,
    open: Option<OpenPart>,
    /// Why a part that is kept could not be read; the last of them.
    pub(super) damaged: Option<io::Error>,
}

/// A line in the buffer: when it began to arrive, where it is, and whether it has ended.
type Placed = (Option<Time>, Range<usize>, bool);

/// Reading in a part, at the start of a line. The buffer holds what was read and not used.
#[derive(Debug)]
struct OpenPart {
    part: usize,
    file: Arc<File>,
    base: u64,
    /// What is left of the part behind the buffer.
    offset: u64,
    end: u64,
    buffer: Vec<u8>,
    begin: usize,
    time: Option<Time>,
    records: VecDeque<Record>,
    next_record: u64,
}

impl OpenPart {
    /// Reads more behind what is in the buffer. False at the end of the part.
    fn fill(&mut self) -> io::Result<bool> {
        if self.offset == self.end {
            return Ok(false);
        }
        if self.begin > 0 {
            self.buffer.drain(..self.begin);
            self.begin = 0;
        }
        let kept = self.buffer.len();
        let room = BLOCK.max(kept) as u64;
        let room = usize::try_from(room.min(self.end - self.offset)).unwrap_or(BLOCK);
        self.buffer.resize(kept + room, 0);
        let read = loop {
            match self
                .file
                .read_at(&mut self.buffer[kept..], self.base + self.offset)
            {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(kept + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it was truncated",
            )),
            count => {
                self.offset += count as u64;
                Ok(true)
            }
        }
    }

    /// Finds the end of the line that starts at `begin`: how long it is, and whether it has its newline.
    fn line(&mut self) -> io::Result<(usize, bool)> {
        let mut seen = 0;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[self.begin + seen..]) {
                return Ok((seen + found, true));
            }
            seen = self.buffer.len() - self.begin;
            if !self.fill()? {
                return Ok((seen, false));
            }
        }
    }
}

impl Lines<'_> {
    /// The number of the line that comes next.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// None at the end. What cannot be read is told as dropped.
    pub(super) fn next(&mut self) -> Option<Step<'_>> {
        let number = self.number;
        if number >= self.view.started {
            return None;
        }
        match self.advance() {
            Ok(Some((time, line, ended))) => {
                self.number += 1;
                Some(Step::Line(Line {
                    number,
                    time,
                    bytes: &self.open.as_ref()?.buffer[line],
                    ended,
                }))
            }
            Ok(None) => Some(Step::Dropped {
                first: number,
                count: self.number - number,
            }),
            Err((part, error)) => {
                self.open = None;
                let part = &self.view.parts[part];
                self.number = part.lines_end().max(number + 1);
                if !self.view.has_dropped(part) {
                    self.damaged = Some(error);
                }
                Some(Step::Dropped {
                    first: number,
                    count: self.number - number,
                })
            }
        }
    }

    /// Puts the next line into the buffer: its time, where it is, and whether it has ended. None after
    /// having gone past lines that are not there. An error is of a part.
    fn advance(&mut self) -> Result<Option<Placed>, (usize, io::Error)> {
        let parts = &self.view.parts;
        let stale = |open: &OpenPart| self.number >= parts[open.part].lines_end();
        if self.open.as_ref().is_some_and(stale) {
            self.open = None;
        }
        let open = if let Some(open) = &mut self.open {
            open
        } else {
            let part = parts.partition_point(|part| part.lines_end() <= self.number);
            let Some(found) = parts.get(part) else {
                self.number = self.view.started;
                return Ok(None);
            };
            if found.first > self.number {
                self.number = found.first;
                return Ok(None);
            }
            let open = seek(self.view, part, self.number).map_err(|error| (part, error))?;
            self.open.insert(open)
        };
        let of_part = |part| move |error| (part, error);
        let here = open.part;
        let (length, ended) = open.line().map_err(of_part(here))?;
        let begin = open.begin;
        let time = open.time_of(self.number - parts[here].first, &parts[here]);
        open.begin += length + usize::from(ended);
        if ended {
            return Ok(Some((time, begin..begin + length, true)));
        }
        // It goes on in the parts after this one, if those are there.
        let mut before = &parts[here];
        for (part, next) in parts.iter().enumerate().skip(here + 1) {
            if next.start != before.end() {
                self.number += 1;
                return Ok(None);
            }
            // All up to the first line that starts in it belongs to this one.
            let share = if next.lines > 0 { next.at } else { next.len };
            open.take(self.view, next, share).map_err(of_part(part))?;
            if next.lines > 0 || open.buffer.last() == Some(&b'\n') {
                return Ok(Some((time, begin..open.buffer.len() - 1, true)));
            }
            before = next;
        }
        if before.end() != self.view.end {
            self.number += 1;
            return Ok(None);
        }
        Ok(Some((time, begin..open.buffer.len(), false)))
    }
}

impl OpenPart {
    /// Adds the first bytes of a part that follows.
    fn take(&mut self, view: &View, part: &Part, share: u64) -> io::Result<()> {
        let (file, base) = view.open(part)?;
        let share = usize::try_from(share).map_err(io::Error::other)?;
        let kept = self.buffer.len();
        self.buffer.resize(kept + share, 0);
        file.read_exact_at(&mut self.buffer[kept..], base)
    }

    /// When a line arrived, by its number in the part; lines are asked for in their order.
    fn time_of(&mut self, line: u64, part: &Part) -> Option<Time> {
        loop {
            if self.records.is_empty()
                && let Ok(index) = part.index.open()
                && self.next_record < index.count()
            {
                self.records = index.some(self.next_record).unwrap_or_default();
            }
            match self.records.front() {
                Some(record) if record.line <= line => self.time = record.time,
                _ => return self.time,
            }
            self.records.pop_front();
            self.next_record += 1;
        }
    }
}

/// Opens a part at the start of a line that starts in it.
fn seek(view: &View, number: usize, line: u64) -> io::Result<OpenPart> {
    let part = &view.parts[number];
    let relative = line - part.first;
    let (file, base) = view.open(part)?;
    let mut record = Record {
        line: 0,
        offset: part.at,
        time: part.time,
    };
    let mut next_record = 0;
    // Without its index a part is read from its start.
    if let Ok(index) = part.index.open() {
        next_record = partition(&index, |record| record.line <= relative).unwrap_or(0);
        if next_record > 0
            && let Ok(found) = index.get(next_record - 1)
        {
            record = found;
        }
    }
    let mut open = OpenPart {
        part: number,
        file,
        base,
        offset: record.offset,
        end: part.len,
        buffer: Vec::new(),
        begin: 0,
        time: record.time,
        records: VecDeque::new(),
        next_record,
    };
    for _ in record.line..relative {
        let (length, _) = open.line()?;
        open.begin += length + 1;
        if open.begin > open.buffer.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not what was written",
            ));
        }
    }
    Ok(open)
}
