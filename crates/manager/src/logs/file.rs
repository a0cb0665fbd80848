//! The file route: a file that is the child's own output, counted when somebody asks.
//!
//! ```text
//!  child ──► stdout.log ◄── refresh (a thread of the pool): counts what is new ──► view
//! ```
//!
//! The file is held open, so that it can be read whatever becomes of its name. What was counted stays
//! counted: a file that became shorter, or does not end any more as it did, was truncated, and all its
//! lines are dropped. Its new ones have the numbers after those.
//!
//! Records are held in memory, one for each [`BLOCK`] bytes, and each time that somebody was waiting. When
//! there are [`RECORDS`] of them, every second one goes.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::index::{Counter, Record, Time};
use super::records::Index;
use super::view::{Content, Part, View};

const BLOCK: usize = 64 * 1024;
/// Bytes that are read at once.
const READ: usize = 256 * 1024;
const RECORDS: usize = 32 * 1024;
/// By so many bytes before it the end is known again.
const END: usize = 64;

/// A log that is a file of the child.
#[derive(Debug)]
pub(crate) struct FileLog {
    /// Until its process is removed.
    file: Mutex<Option<Arc<File>>>,
    /// What is new was written while somebody followed it, so not long ago.
    followed: AtomicBool,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Of all that there ever was.
    counter: Counter,
    /// Where the file that is there starts, and its first line.
    start: u64,
    first: u64,
    records: Arc<Vec<Record>>,
    /// Bytes without a record that make the next one due.
    stride: u64,
    /// The last bytes that were counted.
    end: Vec<u8>,
    /// What was counted before came without anybody looking.
    last: Option<Time>,
    /// What has no time was written before this one.
    unknown_until: Option<Time>,
    removed: bool,
    complete: bool,
}

/// What has happened to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Shorter, or another text. So many lines were dropped.
    Truncated(u64),
    /// Its name is gone. It can be read all the same.
    Removed,
}

impl FileLog {
    /// `file` must be open for reading.
    pub(crate) fn new(file: Arc<File>) -> Self {
        let counted = Counted {
            stride: BLOCK as u64,
            ..Counted::default()
        };
        Self {
            file: Mutex::new(Some(file)),
            followed: AtomicBool::new(false),
            counted: Mutex::new(counted),
        }
    }

    /// Fails once it was let go.
    pub(super) fn file(&self) -> io::Result<Arc<File>> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whoever still has the log does not hold the room that its file takes.
    pub(super) fn let_go(&self) {
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn complete(&self) {
        self.counted().complete = true;
    }

    /// Whether somebody has looked, and follows it since.
    pub(super) fn set_followed(&self, followed: bool) {
        self.followed.store(followed, Ordering::Relaxed);
    }

    /// The time, if what is new was written while somebody followed.
    pub(super) fn clock(&self) -> impl FnOnce() -> Option<Time> {
        || {
            let followed = self.followed.load(Ordering::Relaxed);
            followed.then(|| Time::of(SystemTime::now()))
        }
    }

    /// Counts what is new, and was written just now if the clock has a time. Blocking, for as long as it
    /// takes to read that.
    pub(super) fn refresh(
        &self,
        clock: impl FnOnce() -> Option<Time>,
    ) -> io::Result<Option<Changed>> {
        let Ok(file) = self.file() else {
            return Ok(None);
        };
        let mut counted = self.counted();
        let metadata = file.metadata()?;
        // Not before the length: nothing that is read was written after it.
        let now = clock();
        let mut changed = None;
        if metadata.nlink() == 0 && !std::mem::replace(&mut counted.removed, true) {
            changed = Some(Changed::Removed);
        }
        let length = metadata.len();
        if counted.is_truncated(&file, length)? {
            changed = Some(Changed::Truncated(counted.begin_anew()));
        }
        let position = counted.counter.position();
        counted.read(&file, length, now)?;
        if now.is_none() && counted.counter.position() > position {
            counted.unknown_until = Some(Time::of(SystemTime::now()));
        }
        Ok(changed)
    }

    /// What was counted. All of it is dropped once the file was let go.
    pub(super) fn view(&self) -> View {
        let file = self.file().ok();
        let counted = self.counted();
        let counter = counted.counter;
        let first = counted.records.first();
        let part = file.map(|file| Part {
            start: counted.start,
            len: counter.position() - counted.start,
            first: counted.first,
            lines: counter.started() - counted.first,
            at: first.map_or(0, |record| record.offset),
            time: first.and_then(|record| record.time),
            content: Content::Open(file),
            index: Index::Held(Arc::clone(&counted.records)),
        });
        View {
            parts: part.into_iter().collect(),
            started: counter.started(),
            ended: counter.ended(),
            end: counter.position(),
            complete: counted.complete,
            unknown_until: counted.unknown_until,
            origin: None,
        }
    }
}

impl Counted {
    fn is_truncated(&self, file: &File, length: u64) -> io::Result<bool> {
        let known = self.counter.position() - self.start;
        if length < known {
            return Ok(true);
        }
        let mut end = [0; END];
        let end = &mut end[..self.end.len()];
        match file.read_exact_at(end, known - end.len() as u64) {
            Ok(()) => Ok(*end != *self.end),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// All that was counted is gone. Gives how many lines.
    fn begin_anew(&mut self) -> u64 {
        let lines = self.counter.started() - self.first;
        self.counter.end_line();
        self.start = self.counter.position();
        self.first = self.counter.started();
        self.records = Arc::default();
        self.stride = BLOCK as u64;
        self.end.clear();
        lines
    }

    fn read(&mut self, file: &File, length: u64, now: Option<Time>) -> io::Result<()> {
        let now = now.map(|now| self.last.map_or(now, |last| last.max(now)));
        self.last = now.or(self.last);
        let mut fresh = true;
        let mut buffer = vec![0; READ.min(usize::try_from(length).unwrap_or(READ))];
        loop {
            let offset = self.counter.position() - self.start;
            let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(READ);
            let room = left.min(buffer.len());
            if room == 0 {
                return Ok(());
            }
            let count = match file.read_at(&mut buffer[..room], offset) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut read = &buffer[..count];
            let kept = count.saturating_sub(END);
            self.end.extend_from_slice(&read[kept..]);
            let over = self.end.len().saturating_sub(END);
            self.end.drain(..over);
            while !read.is_empty() {
                let chunk;
                (chunk, read) = read.split_at(BLOCK.min(read.len()));
                let base = self.counter.position();
                let counted = self.counter.count(chunk);
                if let Some((number, at)) = counted.timed(base, self.start) {
                    let record = Record {
                        line: number - self.first,
                        offset: at - self.start,
                        time: now,
                    };
                    self.record(record, std::mem::take(&mut fresh));
                }
            }
        }
    }

    /// Adds a record, if it is due: for its place, or since it is the first of what was observed.
    fn record(&mut self, record: Record, fresh: bool) {
        let last = self.records.last();
        let due = last.is_none_or(|last| {
            record.offset >= last.offset + self.stride || fresh && record.time != last.time
        });
        if !due {
            return;
        }
        let records = Arc::make_mut(&mut self.records);
        records.push(record);
        if records.len() >= RECORDS {
            self.stride *= 2;
            // But where times begin or end to be known stays told.
            let (mut number, mut known) = (0, None);
            records.retain(|record| {
                number += 1;
                let turns = known.replace(record.time.is_some()) != Some(record.time.is_some());
                turns || number % 2 == 1
            });
        }
    }
}
