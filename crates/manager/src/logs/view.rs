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
//! A line is as long as the child makes it, so no more of it is read than the limit on lines says,
//! and holes in it are stepped over.
//!
//! [`records`]: super::records

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::extents::Extents;
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

    /// Reads from this line on, of each line as many bytes as the limit says, until it is given up.
    pub(super) fn lines<'a>(
        &'a self,
        from: u64,
        limit: usize,
        given_up: &'a CancellationToken,
    ) -> Lines<'a> {
        Lines {
            view: self,
            number: from,
            limit,
            given_up,
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
    /// So many bytes of it come after these.
    pub(super) cut: u64,
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
    limit: usize,
    given_up: &'a CancellationToken,
    open: Option<OpenPart<'a>>,
    /// Why a part that is kept could not be read; the last of them.
    damaged: Option<io::Error>,
}

/// A line that was found: what the buffer has of it, how long it is, and whether it has its
/// newline.
#[derive(Debug)]
struct Found {
    bytes: Range<usize>,
    length: u64,
    ended: bool,
}

/// A line that was found, and when it began to arrive.
type Timed = (Option<Time>, Found);

/// Reading in a part, at the start of a line. The buffer holds what was read and not used: no more
/// than twice the limit on lines, and a block.
#[derive(Debug)]
struct OpenPart<'a> {
    number: usize,
    part: &'a Part,
    file: Arc<File>,
    base: u64,
    /// What is left of the part behind the buffer.
    offset: u64,
    buffer: Vec<u8>,
    begin: usize,
    time: Option<Time>,
    records: VecDeque<Record>,
    next_record: u64,
    given_up: &'a CancellationToken,
}

impl OpenPart<'_> {
    /// Reads more behind what is in the buffer. False at the end of the part.
    fn fill(&mut self) -> io::Result<bool> {
        if self.offset == self.part.len {
            return Ok(false);
        }
        self.goes_on()?;
        if self.begin > 0 {
            self.buffer.drain(..self.begin);
            self.begin = 0;
        }
        let kept = self.buffer.len();
        let room = BLOCK.max(kept) as u64;
        let room = usize::try_from(room.min(self.part.len - self.offset)).unwrap_or(BLOCK);
        self.buffer.resize(kept + room, 0);
        let read = read_at(
            &self.file,
            &mut self.buffer[kept..],
            self.base + self.offset,
        );
        self.buffer.truncate(kept + *read.as_ref().unwrap_or(&0));
        self.offset += read? as u64;
        Ok(true)
    }

    fn goes_on(&self) -> io::Result<()> {
        if self.given_up.is_cancelled() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        Ok(())
    }

    /// Finds the end of the line that starts at `begin` and has this number in the part, and goes
    /// behind it. What is over the limit is not in the buffer.
    fn line(&mut self, number: u64, limit: usize) -> io::Result<Found> {
        let mut seen = 0;
        loop {
            let found = memchr::memchr(b'\n', &self.buffer[self.begin + seen..]);
            seen = found.map_or(self.buffer.len() - self.begin, |found| seen + found);
            if found.is_none() && seen > limit {
                return self.long_line(number, limit);
            }
            if found.is_some() || !self.fill()? {
                let ended = found.is_some();
                let begin = self.begin;
                self.begin += seen + usize::from(ended);
                return Ok(Found {
                    bytes: begin..begin + seen.min(limit),
                    length: seen as u64,
                    ended,
                });
            }
        }
    }

    /// Goes behind a line that is longer than the limit, without reading it where its end is known.
    /// All of the buffer is of that line.
    fn long_line(&mut self, number: u64, limit: usize) -> io::Result<Found> {
        let start = self.offset - (self.buffer.len() - self.begin) as u64;
        let (end, ended) = self.end_of(number)?;
        self.buffer.drain(..self.begin);
        self.buffer.truncate(limit);
        self.begin = self.buffer.len();
        self.offset = end + u64::from(ended);
        Ok(Found {
            bytes: 0..self.begin,
            length: end - start,
            ended,
        })
    }

    /// Where the line of this number ends that goes on behind the buffer, and whether it has its
    /// newline.
    fn end_of(&self, number: u64) -> io::Result<(u64, bool)> {
        if number + 1 == self.part.lines {
            // The last that starts in the part reaches to its end.
            let ended = self.byte(self.part.len - 1)? == b'\n';
            return Ok((self.part.len - u64::from(ended), ended));
        }
        if let Ok(index) = self.part.index.open() {
            let at = partition(&index, |record| record.line <= number)?;
            if at < index.count()
                && let next = index.get(at)?
                && next.line == number + 1
                && next.offset > self.offset
                && self.byte(next.offset - 1)? == b'\n'
            {
                return Ok((next.offset - 1, true));
            }
        }
        let (mut extents, mut offset) = (Extents::default(), self.offset);
        let mut block = vec![0; BLOCK];
        while offset < self.part.len {
            self.goes_on()?;
            let data = extents.data(&self.file, self.base + offset)?;
            offset = data.start.saturating_sub(self.base).min(self.part.len);
            let room = (data.end.saturating_sub(self.base)).min(self.part.len) - offset;
            let room = usize::try_from(room).unwrap_or(BLOCK).min(BLOCK);
            if room == 0 {
                continue;
            }
            let read = read_at(&self.file, &mut block[..room], self.base + offset)?;
            if let Some(found) = memchr::memchr(b'\n', &block[..read]) {
                return Ok((offset + found as u64, true));
            }
            offset += read as u64;
        }
        Ok((offset, false))
    }

    fn byte(&self, offset: u64) -> io::Result<u8> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, self.base + offset)?;
        Ok(byte[0])
    }
}

/// Reads what there is, which is something.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) => {
                let text = "it was truncated";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            other => return other,
        }
    }
}

impl<'a> Lines<'a> {
    /// The number of the line that comes next.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Why a part that is kept could not be read. Nothing where it was given up.
    pub(super) fn damage(&mut self) -> Option<io::Error> {
        let damaged = self.damaged.take();
        damaged.filter(|_| !self.given_up.is_cancelled())
    }

    /// None at the end. What cannot be read is told as dropped.
    pub(super) fn next(&mut self) -> Option<Step<'_>> {
        let number = self.number;
        if number >= self.view.started {
            return None;
        }
        match self.advance() {
            Ok(Some((time, found))) => {
                self.number += 1;
                let kept = found.bytes.len() as u64;
                Some(Step::Line(Line {
                    number,
                    time,
                    bytes: &self.open.as_ref()?.buffer[found.bytes],
                    cut: found.length - kept,
                    ended: found.ended,
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

    /// Puts the next line into the buffer, and says when it began to arrive. None after having gone
    /// past lines that are not there. An error is of a part.
    fn advance(&mut self) -> Result<Option<Timed>, (usize, io::Error)> {
        let parts = &self.view.parts;
        let stale = |open: &OpenPart<'_>| self.number >= open.part.lines_end();
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
            let open = self.seek(part).map_err(|error| (part, error))?;
            self.open.insert(open)
        };
        let of_part = |part| move |error| (part, error);
        let here = open.number;
        let number = self.number - open.part.first;
        let mut found = open.line(number, self.limit).map_err(of_part(here))?;
        let time = open.time_of(number);
        if found.ended {
            return Ok(Some((time, found)));
        }
        // It goes on in the parts after this one, if those are there.
        let mut before = &parts[here];
        for (part, next) in parts.iter().enumerate().skip(here + 1) {
            if next.start != before.end() {
                self.number += 1;
                return Ok(None);
            }
            open.take(self.view, next, &mut found, self.limit)
                .map_err(of_part(part))?;
            if found.ended {
                return Ok(Some((time, found)));
            }
            before = next;
        }
        if before.end() != self.view.end {
            self.number += 1;
            return Ok(None);
        }
        Ok(Some((time, found)))
    }

    /// Opens a part at the start of the next line, which starts in it.
    fn seek(&self, number: usize) -> io::Result<OpenPart<'a>> {
        let part = &self.view.parts[number];
        let relative = self.number - part.first;
        let (file, base) = self.view.open(part)?;
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
            number,
            part,
            file,
            base,
            offset: record.offset,
            buffer: Vec::new(),
            begin: 0,
            time: record.time,
            records: VecDeque::new(),
            next_record,
            given_up: self.given_up,
        };
        for line in record.line..relative {
            if !open.line(line, BLOCK)?.ended {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is not what was written",
                ));
            }
        }
        Ok(open)
    }
}

impl OpenPart<'_> {
    /// Adds to a line what it has in a part that follows: all up to the first line that starts
    /// there.
    fn take(
        &mut self,
        view: &View,
        part: &Part,
        found: &mut Found,
        limit: usize,
    ) -> io::Result<()> {
        let share = if part.lines > 0 { part.at } else { part.len };
        let Some(last) = share.checked_sub(1) else {
            return Ok(());
        };
        let (file, base) = view.open(part)?;
        let room = limit - found.bytes.len();
        let room = usize::try_from(share).unwrap_or(room).min(room);
        let kept = self.buffer.len();
        self.buffer.resize(kept + room, 0);
        file.read_exact_at(&mut self.buffer[kept..], base)?;
        found.ended = part.lines > 0 || {
            let mut byte = [0];
            file.read_exact_at(&mut byte, base + last)?;
            byte == *b"\n"
        };
        found.length += share - u64::from(found.ended);
        found.bytes.end += room;
        if found.ended && room as u64 == share {
            found.bytes.end -= 1;
        }
        Ok(())
    }

    /// When a line arrived, by its number in the part; lines are asked for in their order.
    fn time_of(&mut self, line: u64) -> Option<Time> {
        loop {
            if self.records.is_empty()
                && let Ok(index) = self.part.index.open()
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
