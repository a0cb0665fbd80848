//! Moving logs out of the run directory, so that they outlive the process's place in its manager.
//!
//! All of them are copied first. Only then are they moved: a copy that fails leaves nothing behind.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogStream;
use super::log::{Log, Route};
use super::store::{Piece, StoreLog};
use super::view::Content;
use crate::run_dir::{create_new, open_own};

/// What was kept where.
pub(super) type Kept = Vec<(LogStream, PathBuf)>;

/// What could not be made or read, and why.
pub(super) type Refused = (PathBuf, io::Error);

/// Moves logs to `<directory>/<stream>.log`, which must not be there yet: all of them or none. The directory
/// is made if it is not there. Blocking.
pub(super) fn keep(logs: &[Arc<Log>], directory: &Path) -> Result<Kept, Refused> {
    fs::create_dir_all(directory).map_err(|error| (directory.to_owned(), error))?;
    let copies = logs.iter().map(|log| {
        let target = directory.join(format!("{}.log", log.stream));
        Copy::new(&log.route, target).map(|copy| (log.stream, copy))
    });
    let copies: Vec<_> = copies.collect::<Result<_, _>>()?;
    let kept = copies.into_iter();
    Ok(kept.map(|(stream, copy)| (stream, copy.settle())).collect())
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
    pub(super) fn new(route: &'a Route, target: PathBuf) -> Result<Self, Refused> {
        let whole = match create_new(&target) {
            Ok(whole) => whole,
            Err(error) => return Err((target, error)),
        };
        let mut copy = Self {
            target,
            whole,
            settled: false,
            moves: None,
        };
        match route {
            Route::Pipe(store) => {
                let bases = copy.gather(&store.pieces())?;
                let stamp = Stamp::of(&copy.whole).map_err(|error| copy.refused(error))?;
                copy.moves = Some(Moves {
                    store,
                    bases,
                    stamp,
                });
            }
            Route::File(log) => {
                let copied = log.file().and_then(|file| copy.all_of(&file));
                copied.map_err(|error| copy.refused(error))?;
            }
        }
        Ok(copy)
    }

    fn refused(&self, error: io::Error) -> Refused {
        (self.target.clone(), error)
    }

    /// One file of all segments; gives the number of each and where it starts in that.
    fn gather(&mut self, pieces: &[Piece]) -> Result<Vec<(u64, u64)>, Refused> {
        let (mut bases, mut end) = (Vec::new(), 0);
        for piece in pieces {
            let Content::Named(path, base) = &piece.content else {
                continue;
            };
            let refused = |error| (path.to_path_buf(), error);
            let mut file = match (open_own(path), &piece.kept) {
                (Ok(file), _) => file,
                // It was dropped meanwhile, or somebody has removed it.
                (Err(error), None) if error.kind() == io::ErrorKind::NotFound => continue,
                (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => {
                    let text = "the log was moved there before, and is gone";
                    return Err(refused(io::Error::new(error.kind(), text)));
                }
                (Err(error), _) => return Err(refused(error)),
            };
            file.seek(SeekFrom::Start(*base)).map_err(refused)?;
            let copied = io::copy(&mut (&file).take(piece.length), &mut self.whole)
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

    /// All that is in the file. It stays where it is: whoever writes in it goes on.
    fn all_of(&mut self, file: &File) -> io::Result<()> {
        let path = super::watch::path_of(file);
        let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut self.whole));
        copied.map(drop)
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
