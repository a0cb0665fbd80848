//! Moving logs out of the run directory, so that they outlive the process's place in its manager.
//!
//! All of them are copied first. Only then are they moved: a copy that fails leaves nothing behind.
//! A copy keeps the holes of a file, and is given up between two steps.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::LogStream;
use super::extents::Extents;
use super::log::{Log, Route};
use super::store::{Piece, StoreLog};
use super::view::Content;
use crate::run_dir::{create_new, open_own};

/// What was kept where.
pub(super) type Kept = Vec<(LogStream, PathBuf)>;

/// What could not be made or read, and why.
pub(super) type Refused = (PathBuf, io::Error);

/// Bytes that are copied before it is asked whether to go on.
const STEP: u64 = 8 * 1024 * 1024;

/// Bounds on keeping logs.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// Of a log on the file route, which has no limit of its own: how many bytes of data are kept,
    /// the last ones.
    pub(super) data: Option<u64>,
    pub(super) given_up: CancellationToken,
}

/// Moves logs to `<directory>/<stream>.log`, which must not be there yet: all of them or none. The directory
/// is made if it is not there. Blocking, until it is given up or the logs are removed.
pub(super) fn keep(logs: &[Arc<Log>], directory: &Path, bounds: &Bounds) -> Result<Kept, Refused> {
    fs::create_dir_all(directory).map_err(|error| (directory.to_owned(), error))?;
    let copies = logs.iter().map(|log| {
        let target = directory.join(format!("{}.log", log.stream));
        let goes_on = || !bounds.given_up.is_cancelled() && !log.is_removed();
        Copy::new(&log.route, target, bounds.data, &goes_on).map(|copy| (log, copy))
    });
    let copies: Vec<_> = copies.collect::<Result<_, _>>()?;
    let kept = copies.into_iter().map(|(log, copy)| {
        let cut = copy.cut();
        let target = copy.settle();
        if cut > 0 {
            log.fault(format!(
                "only its end was kept in {}: {cut} bytes before that were cut",
                target.display()
            ));
        }
        (log.stream, target)
    });
    Ok(kept.collect())
}

/// By what a file is known again that was given to the user.
#[derive(Debug, PartialEq)]
pub(super) struct Stamp {
    place: (u64, u64),
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            place: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// A whole log in a file. Removed again, unless it is settled.
pub(super) struct Copy<'a> {
    target: PathBuf,
    whole: File,
    cut: u64,
    settled: bool,
    moves: Option<Moves<'a>>,
}

/// The segments that are in it, and where each starts.
struct Moves<'a> {
    store: &'a StoreLog,
    bases: Vec<(u64, u64)>,
    stamp: Stamp,
}

impl<'a> Copy<'a> {
    pub(super) fn new(
        route: &'a Route,
        target: PathBuf,
        data: Option<u64>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Self, Refused> {
        let whole = match create_new(&target) {
            Ok(whole) => whole,
            Err(error) => return Err((target, error)),
        };
        let mut copy = Self {
            target,
            whole,
            cut: 0,
            settled: false,
            moves: None,
        };
        match route {
            Route::Pipe(store) => {
                let bases = copy.gather(&store.pieces(), goes_on)?;
                let stamp = Stamp::of(&copy.whole).map_err(|error| copy.refused(error))?;
                copy.moves = Some(Moves {
                    store,
                    bases,
                    stamp,
                });
            }
            Route::File(log) => {
                let copied = log
                    .file()
                    .and_then(|file| copy.all_of(&file, data, goes_on));
                copy.cut = copied.map_err(|error| copy.refused(error))?;
            }
        }
        Ok(copy)
    }

    fn refused(&self, error: io::Error) -> Refused {
        (self.target.clone(), error)
    }

    /// One file of all segments; gives the number of each and where it starts in that.
    fn gather(
        &mut self,
        pieces: &[Piece],
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Vec<(u64, u64)>, Refused> {
        let (mut bases, mut end) = (Vec::new(), 0);
        for piece in pieces {
            let Content::Named(path, base) = &piece.content else {
                continue;
            };
            let refused = |error| (path.to_path_buf(), error);
            let file = match (open_own(path), &piece.kept) {
                (Ok(file), _) => file,
                // It was dropped meanwhile, or somebody has removed it.
                (Err(error), None) if error.kind() == io::ErrorKind::NotFound => continue,
                (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => {
                    let text = "the log was moved there before, and is gone";
                    return Err(refused(io::Error::new(error.kind(), text)));
                }
                (Err(error), _) => return Err(refused(error)),
            };
            let copied = self
                .copy(&file, *base..*base + piece.length, end, goes_on)
                .map_err(|error| self.refused(error))?;
            // After the copy: what was changed under it is seen too.
            if let Some(stamp) = &piece.kept
                && Stamp::of(&file).map_err(refused)? != **stamp
            {
                let text = "the log was moved there before, and something has changed it since";
                return Err(refused(io::Error::new(io::ErrorKind::InvalidData, text)));
            }
            // One that somebody has cut stays where it is, damaged.
            if copied == piece.length {
                bases.push((piece.number, end));
            }
            end += copied;
        }
        Ok(bases)
    }

    /// All that is in the file, or the last so many bytes of data and what is between them; gives
    /// how many bytes before that are not in the copy. Holes stay holes. The file stays where it
    /// is: whoever writes in it goes on.
    fn all_of(
        &mut self,
        file: &File,
        data: Option<u64>,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<u64> {
        // By a descriptor of its own, whose offset is nobody else's.
        let file = File::open(super::watch::path_of(file))?;
        let length = file.metadata()?.len();
        let mut over = 0;
        if let Some(most) = data {
            over = each_extent(&file, length, goes_on, |_| Ok(()))?.saturating_sub(most);
        }
        let mut start = (over == 0).then_some(0);
        each_extent(&file, length, goes_on, |extent| {
            let passed = over.min(extent.end - extent.start);
            over -= passed;
            let from = extent.start + passed;
            if from < extent.end {
                let start = *start.get_or_insert(from);
                self.copy(&file, from..extent.end, from - start, goes_on)?;
            }
            Ok(())
        })?;
        let start = start.unwrap_or(length);
        self.whole.set_len(length - start)?;
        Ok(start)
    }

    /// Copies a range of a file to this place, as far as it is there; gives how much that was.
    fn copy(
        &mut self,
        mut file: &File,
        range: Range<u64>,
        to: u64,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<u64> {
        file.seek(SeekFrom::Start(range.start))?;
        self.whole.seek(SeekFrom::Start(to))?;
        let (mut left, length) = (range.end - range.start, range.end - range.start);
        while left > 0 {
            check(goes_on)?;
            // By copy_file_range(2) where that can be, which shares the blocks on some file
            // systems.
            match io::copy(&mut file.take(left.min(STEP)), &mut self.whole)? {
                0 => break,
                copied => left -= copied,
            }
        }
        Ok(length - left)
    }

    /// How many bytes at the beginning of the log are not in it.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// From now on it is the user's, and the log is in it.
    pub(super) fn settle(mut self) -> PathBuf {
        self.settled = true;
        if let Some(moves) = self.moves.take() {
            moves.store.moved(&self.target, &moves.bases, moves.stamp);
        }
        std::mem::take(&mut self.target)
    }
}

impl Drop for Copy<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let _ = fs::remove_file(&self.target);
        }
    }
}

/// Calls this with each range of data of a file, up to this length; gives how many bytes of data
/// there are.
fn each_extent(
    file: &File,
    length: u64,
    goes_on: &dyn Fn() -> bool,
    mut each: impl FnMut(Range<u64>) -> io::Result<()>,
) -> io::Result<u64> {
    let (mut extents, mut offset, mut all) = (Extents::default(), 0, 0);
    while offset < length {
        check(goes_on)?;
        let data = extents.data(file, offset)?;
        let data = data.start.min(length)..data.end.min(length);
        offset = data.end;
        all += data.end - data.start;
        if !data.is_empty() {
            each(data)?;
        }
    }
    Ok(all)
}

fn check(goes_on: &dyn Fn() -> bool) -> io::Result<()> {
    if goes_on() {
        return Ok(());
    }
    let text = "it took too long, or the process was removed meanwhile";
    Err(io::Error::new(io::ErrorKind::TimedOut, text))
}
