//! The segments of one log: a table, changed by what is written and dropped. Files are others' work.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::index::{Counted, Counter, RECORD, Record, Time};
use super::keep::Stamp;
use super::records::Index;
use super::view::{Content, Part, View};

/// Records that wait in memory.
pub(super) const WAITING: usize = 256;

/// A file of a log, and the file of its records.
#[derive(Debug)]
pub(super) struct Segment {
    /// No other segment of the manager has it; older ones have smaller ones.
    pub(super) number: u64,
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) first: u64,
    pub(super) lines: u64,
    at: u64,
    time: Option<Time>,
    pub(super) content: Content,
    /// Moved out of the run directory: it takes no room of any limit, and its file is the user's.
    pub(super) kept: Option<Arc<Stamp>>,
    pub(super) index: Arc<PathBuf>,
    /// Records in the file, and those that are not there yet.
    pub(super) written: u64,
    pub(super) waiting: Vec<Record>,
}

impl Segment {
    /// An empty one, at this position, before the line of this number.
    pub(super) fn new(
        number: u64,
        content: PathBuf,
        index: PathBuf,
        start: u64,
        first: u64,
    ) -> Self {
        Self {
            number,
            start,
            len: 0,
            first,
            lines: 0,
            at: 0,
            time: None,
            content: Content::Named(Arc::new(content), 0),
            kept: None,
            index: Arc::new(index),
            written: 0,
            waiting: Vec::new(),
        }
    }

    /// What it takes of the disk.
    pub(super) fn size(&self) -> u64 {
        self.len + (self.written + self.waiting.len() as u64) * RECORD as u64
    }

    /// The record of a chunk that is to be added, if a line that starts here gets its time from it.
    pub(super) fn timed(&self, counted: Counted, time: Time) -> Option<Record> {
        let (number, at) = counted.timed(self.start + self.len, self.start)?;
        let first = if self.lines == 0 { number } else { self.first };
        Some(Record {
            line: number - first,
            offset: at - self.start,
            time: Some(time),
        })
    }

    fn add(&mut self, chunk: &Chunk, record: Option<Record>) {
        let counted = chunk.counted;
        if self.lines == 0 {
            self.first = counted.first;
            self.at = self.len + counted.at;
            self.time = Some(chunk.time);
        }
        self.len += chunk.length;
        self.lines += counted.lines;
        self.waiting.extend(record);
    }

    /// Lets every second record go where too many wait; gives the room that they took.
    pub(super) fn thin(&mut self) -> u64 {
        let before = self.waiting.len();
        if before >= WAITING {
            let mut number = 0;
            self.waiting.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
        ((before - self.waiting.len()) * RECORD) as u64
    }

    fn part(&self) -> Part {
        Part {
            start: self.start,
            len: self.len,
            first: self.first,
            lines: self.lines,
            at: self.at,
            time: self.time,
            content: self.content.clone(),
            index: Index::Named {
                path: Arc::clone(&self.index),
                written: self.written,
                waiting: self.waiting.clone(),
            },
        }
    }
}

/// What has passed: its length, its lines and time, and what was counted after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) length: u64,
    pub(super) counted: Counted,
    pub(super) time: Time,
    pub(super) counter: Counter,
}

/// What is kept of a log, and what has passed.
#[derive(Debug, Default)]
pub(super) struct Segments {
    list: VecDeque<Segment>,
    counted: Counter,
    pub(super) complete: bool,
}

impl Segments {
    pub(super) fn begin(&mut self, segment: Segment) {
        self.list.push_back(segment);
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut Segment> {
        let index = self
            .list
            .binary_search_by_key(&number, |segment| segment.number);
        self.list.get_mut(index.ok()?)
    }

    /// A chunk has passed, and is in this segment; in none where it could not be written, or was dropped
    /// meanwhile.
    pub(super) fn passed(&mut self, segment: Option<u64>, chunk: &Chunk, record: Option<Record>) {
        self.counted = chunk.counter;
        if let Some(segment) = segment.and_then(|number| self.get(number)) {
            segment.add(chunk, record);
        }
    }

    /// Takes it off, unless it was moved: then it takes no room, and its file is the user's.
    pub(super) fn drop_one(&mut self, number: u64) -> Option<Segment> {
        let index = self
            .list
            .binary_search_by_key(&number, |segment| segment.number)
            .ok()?;
        if self.list.get(index)?.kept.is_some() {
            return None;
        }
        self.list.remove(index)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Segment> {
        self.list.iter_mut()
    }

    pub(super) fn view(&self) -> View {
        View {
            parts: self.list.iter().map(Segment::part).collect(),
            started: self.counted.started(),
            ended: self.counted.ended(),
            end: self.counted.position(),
            complete: self.complete,
            unknown_until: None,
            origin: None,
        }
    }
}
