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
//! The file is counted by [slices](FileLog::count_slice) of [`SLICE`] bytes, by one caller at a
//! time: each slice is a job of the pool, which takes the lock for a moment to publish its counts.
//! A hole, which a child makes of any length at once, is a run of NUL bytes and not read.
//!
//! Records are held in memory, one for each [`BLOCK`] bytes, and each time that somebody was
//! waiting. When there are [`RECORDS`] of them, every second one goes, or where that is not enough
//! the times of the older half.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::extents::Extents;
use super::index::{Counted, Counter, Record, Time};
use super::records::Index;
use super::turn::Turn;
use super::view::{Content, Part, View};

const BLOCK: usize = 64 * 1024;
/// Bytes that are read at once.
const READ: usize = 256 * 1024;
/// Bytes that one job counts.
pub(super) const SLICE: u64 = 4 * 1024 * 1024;
/// Reads and holes of one job.
const STEPS: usize = 1024;
pub(super) const RECORDS: usize = 32 * 1024;
/// By so many bytes before it the end is known again.
const END: usize = 64;

/// A log that is a file of the child.
#[derive(Debug)]
pub(crate) struct FileLog {
    /// Until its process is removed.
    file: Mutex<Option<Arc<File>>>,
    /// What is new was written while somebody followed it, so not long ago.
    followed: AtomicBool,
    /// Of the one that counts.
    pub(super) turn: Turn,
    known: Mutex<Known>,
}

/// The counted part of the file. Changed only by the caller whose turn it is, and by the log's
/// completion.
#[derive(Debug, Default)]
struct Known {
    /// Of all that is in the file. Its lines go on from those that were in it before it was
    /// truncated.
    counter: Counter,
    /// The first line of the file that is there.
    first: u64,
    records: Arc<Vec<Record>>,
    /// Bytes without a record that make the next one due.
    stride: u64,
    /// The last bytes that were counted.
    end: Tail,
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

/// Counting all that is in the file at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    /// Up to there.
    length: u64,
    now: Option<Time>,
    /// The file was truncated meanwhile.
    truncated: bool,
}

/// The result of counting a slice.
#[derive(Debug, Default)]
pub(super) struct Slice {
    pub(super) changed: Option<Changed>,
    /// There is more to count.
    pub(super) rest: Option<Pass>,
}

/// The last bytes of what was counted.
#[derive(Debug, Clone, Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.0
            .extend_from_slice(&bytes[bytes.len().saturating_sub(END)..]);
        let over = self.0.len().saturating_sub(END);
        self.0.drain(..over);
    }

    /// Whether the file still has them before this offset.
    fn is_at(&self, file: &File, end: u64) -> io::Result<bool> {
        let mut found = [0; END];
        let found = &mut found[..self.0.len()];
        match file.read_exact_at(found, end - found.len() as u64) {
            Ok(()) => Ok(*found == *self.0),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl FileLog {
    /// `file` must be open for reading.
    pub(crate) fn new(file: Arc<File>) -> Self {
        let known = Known {
            stride: BLOCK as u64,
            ..Known::default()
        };
        Self {
            file: Mutex::new(Some(file)),
            followed: AtomicBool::new(false),
            turn: Turn::default(),
            known: Mutex::new(known),
        }
    }

    /// Fails once it was let go.
    pub(super) fn file(&self) -> io::Result<Arc<File>> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives up the file, so that a holder of the log does not hold the room that the file takes.
    /// Closing the file may take long.
    pub(super) fn let_go(&self) -> Option<Arc<File>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.take()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn complete(&self) {
        self.known().complete = true;
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

    /// Counts up to [`SLICE`] bytes of what is new, which was written just now if the clock has a
    /// time when the pass begins. Blocking. To be called by the one whose [turn](Self::turn) it is.
    pub(super) fn count_slice(
        &self,
        pass: Option<Pass>,
        clock: impl FnOnce() -> Option<Time>,
    ) -> io::Result<Slice> {
        let mut slice = Slice::default();
        let Ok(file) = self.file() else {
            return Ok(slice);
        };
        let (mut counter, mut end) = {
            let known = self.known();
            (known.counter, known.end.clone())
        };
        let metadata = file.metadata()?;
        let length = metadata.len();
        // Not before the length: nothing that is read was written after it.
        let mut pass = pass.unwrap_or_else(|| Pass {
            length,
            now: clock(),
            truncated: false,
        });
        if metadata.nlink() == 0 && !std::mem::replace(&mut self.known().removed, true) {
            slice.changed = Some(Changed::Removed);
        }
        let truncated = length < counter.position() || !end.is_at(&file, counter.position())?;
        if truncated {
            let mut known = self.known();
            slice.changed = Some(Changed::Truncated(known.begin_anew()));
            (counter, end) = (known.counter, Tail::default());
            pass.length = length;
        }
        // One that is truncated over and over has no end.
        let again = truncated && std::mem::replace(&mut pass.truncated, true);
        let until = pass.length.min(length);
        let found = count(&file, &mut counter, &mut end, until)?;
        let more = found.full && counter.position() < until && !again;
        slice.rest = more.then_some(pass);
        self.known().add(counter, end, pass.now, &found.chunks);
        Ok(slice)
    }

    /// What was counted. All of it is dropped once the file was let go.
    pub(super) fn view(&self) -> View {
        let file = self.file().ok();
        let known = self.known();
        let counter = known.counter;
        let part = file.map(|file| Part {
            start: 0,
            len: counter.position(),
            first: known.first,
            lines: counter.started() - known.first,
            at: 0,
            time: known.records.first().and_then(|record| record.time),
            content: Content::Open(file),
            index: Index::Held(Arc::clone(&known.records)),
        });
        View {
            parts: part.into_iter().collect(),
            started: counter.started(),
            ended: counter.ended(),
            end: counter.position(),
            complete: known.complete,
            unknown_until: known.unknown_until,
            origin: None,
        }
    }
}

/// The text found in a slice.
struct Found {
    /// Where each chunk starts, and what it has.
    chunks: Vec<(u64, Counted)>,
    /// The text was as much as a slice may be: there may be more.
    full: bool,
}

/// Counts a slice of what comes in the file after what was counted, up to this length.
fn count(file: &File, counter: &mut Counter, end: &mut Tail, length: u64) -> io::Result<Found> {
    let mut found = Found {
        chunks: Vec::new(),
        full: false,
    };
    let (mut extents, mut left) = (Extents::default(), SLICE);
    let new = length.saturating_sub(counter.position());
    let mut buffer = vec![0; usize::try_from(new).unwrap_or(READ).min(READ)];
    for _ in 0..STEPS {
        let offset = counter.position();
        if offset >= length {
            return Ok(found);
        }
        if left == 0 {
            break;
        }
        let data = extents.data(file, offset)?;
        if data.start > offset {
            let hole = data.start.min(length) - offset;
            found.chunks.push((offset, counter.skip(hole)));
            end.add(&[0; END][..usize::try_from(hole).unwrap_or(END).min(END)]);
            continue;
        }
        let most = (data.end.min(length) - offset).min(left);
        let room = usize::try_from(most).unwrap_or(READ).min(buffer.len());
        let count = match file.read_at(&mut buffer[..room], offset) {
            Ok(0) => return Ok(found),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        left -= count as u64;
        end.add(&buffer[..count]);
        for chunk in buffer[..count].chunks(BLOCK) {
            let base = counter.position();
            found.chunks.push((base, counter.count(chunk)));
        }
    }
    found.full = true;
    Ok(found)
}

impl Known {
    /// All that was counted is gone. Gives how many lines.
    fn begin_anew(&mut self) -> u64 {
        let lines = self.counter.started() - self.first;
        self.counter.restart();
        self.first = self.counter.started();
        self.records = Arc::default();
        self.stride = BLOCK as u64;
        self.end = Tail::default();
        lines
    }

    /// Takes in what was counted of a pass that began at this time.
    fn add(&mut self, counter: Counter, end: Tail, now: Option<Time>, chunks: &[(u64, Counted)]) {
        let now = now.map(|now| self.last.map_or(now, |last| last.max(now)));
        self.last = now.or(self.last);
        let mut fresh = true;
        for (base, counted) in chunks {
            // Also the line after a long one: it is found without reading that.
            let ended = counted.ended;
            for (number, offset) in [ended, counted.starting(*base)].into_iter().flatten() {
                let record = Record {
                    line: number - self.first,
                    offset,
                    time: now,
                };
                self.record(record, std::mem::take(&mut fresh));
            }
        }
        if now.is_none() && !chunks.is_empty() {
            self.unknown_until = Some(Time::of(SystemTime::now()));
        }
        self.counter = counter;
        self.end = end;
    }

    /// Adds a record, if it is due: for its place, or since it is the first of what was observed.
    fn record(&mut self, record: Record, fresh: bool) {
        let last = self.records.last();
        let due = last.is_none_or(|last| {
            let stride = last.offset.saturating_add(self.stride);
            record.offset >= stride || fresh && record.time != last.time
        });
        if !due {
            return;
        }
        let records = Arc::make_mut(&mut self.records);
        records.push(record);
        if records.len() < RECORDS {
            return;
        }
        self.stride = self.stride.saturating_mul(2);
        thin(records);
        if records.len() >= RECORDS / 4 * 3 {
            // Times began and ended to be known over and over: the older ones are forgotten.
            let half = records.len() / 2;
            for record in &mut records[..half] {
                self.unknown_until = self.unknown_until.max(record.time.take());
            }
            thin(records);
        }
    }
}

/// Lets every second record go, but where times begin or end to be known stays told.
fn thin(records: &mut Vec<Record>) {
    let (mut number, mut known) = (0, None);
    records.retain(|record| {
        number += 1;
        let turns = known.replace(record.time.is_some()) != Some(record.time.is_some());
        turns || number % 2 == 1
    });
}
