//! The pipe route: output that passes through the manager and is kept in segment files.
//!
//! ```text
//!  capture task ──chunk──► Appender (a thread of the pool) ──► stdout.<n>.log      the bytes
//!                             │                           └──► stdout.<n>.index    records, when many
//!                             └──► StoreLog: the table of segments ──► views ──► queries, followers
//! ```
//!
//! One chunk of a log is written at a time; the pipe holds what comes meanwhile. A chunk that cannot be
//! written is counted and lost: the next begins a new segment, and what is between is a hole. The same
//! where somebody has truncated or removed the file: that is looked at before each write.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use procession_wire::Escaped;

use super::LogStream;
use super::budget::Budget;
use super::index::{Counted, Counter, RECORD, Time};
use super::keep::Stamp;
use super::segments::{Chunk, Segment, Segments, WAITING};
use super::view::{Content, View};
use crate::run_dir::create_new;

/// The largest segment, in bytes. With a limit it is an eighth of that at most.
const SEGMENT: u64 = 64 * 1024 * 1024;
/// So many segments of the largest size make up a limit.
const SEGMENTS: u64 = 8;
/// Times are told apart from here on, in microseconds.
const TICK: u64 = 1000;
/// There is a record for each so many bytes, whatever the time.
const STRIDE: u64 = 4096;

/// What is kept of one log.
#[derive(Debug)]
pub(crate) struct StoreLog {
    segments: Mutex<Segments>,
    /// Of its process, and of the manager.
    budgets: [Arc<Budget>; 2],
}

/// A segment that is to be copied.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) number: u64,
    pub(super) length: u64,
    pub(super) content: Content,
    /// Its file is the user's, and was this one when it was written.
    pub(super) kept: Option<Arc<Stamp>>,
}

impl StoreLog {
    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view(self: &Arc<Self>) -> View {
        let mut view = self.segments().view();
        view.origin = Some(Arc::clone(self));
        view
    }

    /// Where the segment that starts there is now, if it is still kept.
    pub(super) fn content(&self, start: u64) -> Option<Content> {
        let mut segments = self.segments();
        let found = segments.iter_mut().find(|segment| segment.start == start);
        found.map(|segment| segment.content.clone())
    }

    pub(super) fn complete(&self) {
        self.segments().complete = true;
    }

    /// For the room that it takes. Where it was moved meanwhile, that has been given back already.
    pub(super) fn drop_segment(&self, number: u64) {
        let dropped = self.segments().drop_one(number);
        let Some(segment) = dropped else { return };
        // First: whoever takes the room writes at once.
        remove_files(&segment);
        for budget in &self.budgets {
            budget.remove(number, segment.size());
        }
    }

    /// From now on all that is kept is in this one file, one segment after the other; takes no room of
    /// any limit from then on.
    pub(super) fn moved(&self, to: &Path, bases: &[(u64, u64)], stamp: Stamp) {
        let (to, stamp) = (Arc::new(to.to_owned()), Arc::new(stamp));
        for (number, base) in bases {
            let (old, size) = {
                let mut segments = self.segments();
                let Some(segment) = segments.get(*number) else {
                    continue;
                };
                let content = Content::Named(Arc::clone(&to), *base);
                let old = std::mem::replace(&mut segment.content, content);
                if segment.kept.replace(Arc::clone(&stamp)).is_some() {
                    continue;
                }
                (old, segment.size())
            };
            // First: whoever takes the room writes at once. Who wants room just now drops another
            // segment.
            if let Content::Named(path, _) = old {
                let _ = std::fs::remove_file(&*path);
            }
            for budget in &self.budgets {
                budget.remove(*number, size);
            }
        }
    }

    /// What is kept now.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let mut segments = self.segments();
        let pieces = segments.iter_mut().map(|segment| Piece {
            number: segment.number,
            length: segment.len,
            content: segment.content.clone(),
            kept: segment.kept.clone(),
        });
        pieces.collect()
    }
}

impl Drop for StoreLog {
    /// Its files go with the run directory.
    fn drop(&mut self) {
        let segments = self
            .segments
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for segment in segments.iter_mut().filter(|segment| segment.kept.is_none()) {
            for budget in &self.budgets {
                budget.remove(segment.number, segment.size());
            }
        }
    }
}

fn remove_files(segment: &Segment) {
    if let Content::Named(path, _) = &segment.content {
        let _ = std::fs::remove_file(&**path);
    }
    if segment.written > 0 {
        let _ = std::fs::remove_file(&*segment.index);
    }
}

/// What has happened to a log that nobody asked for.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Lines cannot be written, from now on.
    Refused(io::Error),
    /// They can be written again.
    Over,
    /// A file was truncated or removed by somebody.
    Damaged(PathBuf),
}

/// Writes a log: on one thread at a time.
#[derive(Debug)]
pub(crate) struct Appender {
    log: Arc<StoreLog>,
    dir: PathBuf,
    stream: LogStream,
    /// Segments of this log so far: the next one's name.
    made: u64,
    largest: u64,
    counter: Counter,
    active: Option<Active>,
    last: Time,
    failing: bool,
    /// Lines were lost because they could not be written.
    broken: bool,
}

/// The segment that is being written.
#[derive(Debug)]
struct Active {
    number: u64,
    path: PathBuf,
    file: File,
    index: Option<File>,
    len: u64,
    /// The last record: where, and when.
    record: Option<(u64, Time)>,
}

impl Appender {
    /// A log in `dir`, of which nothing is there yet.
    pub(crate) fn new(
        dir: &Path,
        stream: LogStream,
        process: Arc<Budget>,
        manager: Arc<Budget>,
    ) -> (Self, Arc<StoreLog>) {
        let limits = [process.limit(), manager.limit()];
        let eighth = limits
            .into_iter()
            .flatten()
            .min()
            .map(|limit| limit / SEGMENTS);
        let log = Arc::new(StoreLog {
            segments: Mutex::default(),
            budgets: [process, manager],
        });
        let appender = Self {
            log: Arc::clone(&log),
            dir: dir.to_owned(),
            stream,
            made: 0,
            largest: eighth.map_or(SEGMENT, |eighth| eighth.min(SEGMENT)),
            counter: Counter::default(),
            active: None,
            last: Time(0),
            failing: false,
            broken: false,
        };
        (appender, log)
    }

    /// Whether lines were lost because they could not be written.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Keeps a chunk that arrived at `time`. Blocking. Tells what went wrong; the first time, where it goes on
    /// to go wrong.
    pub(crate) fn append(&mut self, mut chunk: &[u8], time: SystemTime) -> Vec<Trouble> {
        self.last = Time::of(time).max(self.last);
        let mut troubles = Vec::new();
        while !chunk.is_empty() {
            let taken = self.active.as_ref().map_or(0, |active| active.len);
            if taken >= self.largest {
                self.seal();
                continue;
            }
            let room = usize::try_from(self.largest - taken).unwrap_or(chunk.len());
            let piece;
            (piece, chunk) = chunk.split_at(room.min(chunk.len()));
            self.piece(piece, &mut troubles);
        }
        troubles
    }

    fn piece(&mut self, piece: &[u8], troubles: &mut Vec<Trouble>) {
        if let Some(path) = self.damaged() {
            self.active = None;
            troubles.push(Trouble::Damaged(path));
        }
        let counted = self.counter.count(piece);
        match self.write(piece, counted) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    troubles.push(Trouble::Over);
                }
            }
            Err(error) => {
                self.seal_or_drop();
                let chunk = self.chunk(piece, counted);
                self.log.segments().passed(None, &chunk, None);
                self.broken = true;
                if !std::mem::replace(&mut self.failing, true) {
                    troubles.push(Trouble::Refused(error));
                }
            }
        }
    }

    fn chunk(&self, piece: &[u8], counted: Counted) -> Chunk {
        Chunk {
            length: piece.len() as u64,
            counted,
            time: self.last,
            counter: self.counter,
        }
    }

    /// Looks whether the active segment still is what was written. What is missing at its end is lost.
    fn damaged(&mut self) -> Option<PathBuf> {
        let active = self.active.as_ref()?;
        let metadata = active.file.metadata().ok()?;
        let mut segments = self.log.segments();
        let Some(segment) = segments.get(active.number) else {
            // It was dropped for its room.
            drop(segments);
            self.active = None;
            return None;
        };
        let gone = metadata.nlink() == 0;
        if metadata.len() >= active.len && !gone {
            return None;
        }
        // What it took is given back with it; a part of it cannot be told from what somebody else wrote.
        let number = segment.number;
        drop(segments);
        let path = active.path.clone();
        self.log.drop_segment(number);
        Some(path)
    }

    fn write(&mut self, piece: &[u8], counted: Counted) -> io::Result<()> {
        let (last, length) = (self.last, piece.len() as u64);
        let offset = self.active.as_ref().map_or(0, |active| active.len);
        let before = self.active.as_ref().and_then(|active| active.record);
        let due = before.is_none_or(|(at, time)| {
            offset >= at + STRIDE && last > time || last.0 >= time.0 + TICK
        });
        let with_record = due && (counted.lines > 0 || counted.ended.is_some());
        let taken = length + if with_record { RECORD as u64 } else { 0 };
        for budget in &self.log.budgets {
            budget.take(taken);
        }
        let written = self.write_taken(piece, counted, with_record);
        if !matches!(written, Ok(true)) {
            for budget in &self.log.budgets {
                budget.give_back(taken);
            }
        }
        written.map(drop)
    }

    /// Room was taken for it. False if its segment was dropped meanwhile.
    fn write_taken(
        &mut self,
        piece: &[u8],
        counted: Counted,
        with_record: bool,
    ) -> io::Result<bool> {
        let chunk = self.chunk(piece, counted);
        let (last, length) = (chunk.time, chunk.length);
        // The room may have been that of the active one.
        if let Some(active) = &self.active
            && self.log.segments().get(active.number).is_none()
        {
            self.active = None;
        }
        if self.active.is_none() {
            self.active = Some(self.begin(length)?);
        }
        let Some(active) = &mut self.active else {
            return Ok(false);
        };
        if let Err(error) = active.file.write_all_at(piece, active.len) {
            // Something of it may be there.
            let _ = active.file.set_len(active.len);
            return Err(error);
        }
        let mut segments = self.log.segments();
        let record = segments
            .get(active.number)
            .and_then(|segment| segment.timed(counted, last))
            .filter(|_| with_record);
        segments.passed(Some(active.number), &chunk, record);
        let Some(segment) = segments.get(active.number) else {
            return Ok(false);
        };
        active.len += length;
        if record.is_some() {
            active.record = Some((active.len - length, last));
        }
        let full = segment.waiting.len() >= WAITING;
        drop(segments);
        if with_record && record.is_none() {
            for budget in &self.log.budgets {
                budget.give_back(RECORD as u64);
            }
        }
        if full {
            self.write_records();
        }
        Ok(true)
    }

    /// Begins a segment at the end of what was counted before the chunk of this length.
    fn begin(&mut self, length: u64) -> io::Result<Active> {
        let (path, file) = self.create()?;
        let index = path.with_extension("index");
        let [_, manager] = &self.log.budgets;
        let number = manager.number();
        let start = self.counter.position() - length;
        let segment = Segment::new(number, path.clone(), index, start, self.counter.started());
        self.log.segments().begin(segment);
        for budget in &self.log.budgets {
            budget.add(number, Arc::downgrade(&self.log));
        }
        Ok(Active {
            number,
            path,
            file,
            index: None,
            len: 0,
            record: None,
        })
    }

    /// The file of the next segment: `stdout.log`, `stdout.1.log` and so on.
    fn create(&mut self) -> io::Result<(PathBuf, File)> {
        loop {
            let name = match self.made {
                0 => format!("{}.log", self.stream),
                number => format!("{}.{number}.log", self.stream),
            };
            let path = self.dir.join(name);
            match create_new(&path) {
                Ok(file) => {
                    self.made += 1;
                    return Ok((path, file));
                }
                // The child may have made one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.made += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the active segment: the next chunk begins another one.
    fn seal(&mut self) {
        self.write_records();
        self.active = None;
    }

    /// Ends the active segment; one to which nothing could be written goes.
    fn seal_or_drop(&mut self) {
        match self.active.take_if(|active| active.len == 0) {
            Some(active) => self.log.drop_segment(active.number),
            None => self.seal(),
        }
    }

    /// Writes the records that wait to their file. Where that fails they wait on, as many as may
    /// wait: of more than that every second one goes, and times are told less finely.
    fn write_records(&mut self) {
        let Some(active) = &mut self.active else {
            return;
        };
        let mut segments = self.log.segments();
        let Some(segment) = segments.get(active.number) else {
            return;
        };
        let (path, written) = (Arc::clone(&segment.index), segment.written);
        let bytes: Option<Vec<_>> = segment.waiting.iter().map(|one| one.to_bytes()).collect();
        let count = segment.waiting.len();
        drop(segments);
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        let result = (|| {
            let file = match &mut active.index {
                Some(file) => file,
                None => active.index.insert(create_new(&path)?),
            };
            file.write_all_at(&bytes.concat(), written * RECORD as u64)
        })();
        if let Err(error) = result {
            tracing::debug!(path = %Escaped::new(path.as_path()), %error, "cannot write the index of a log yet");
            let thinned = self
                .log
                .segments()
                .get(active.number)
                .map_or(0, Segment::thin);
            for budget in &self.log.budgets {
                budget.give_back(thinned);
            }
            return;
        }
        if let Some(segment) = self.log.segments().get(active.number) {
            segment.waiting.drain(..count);
            segment.written += count as u64;
        }
    }

    /// There is no more to come.
    pub(crate) fn end(&mut self) {
        self.seal();
        self.log.complete();
    }
}
