//! Moving logs out of the run directory, so that they outlive the process's place in its manager.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::LogStream;
use super::log::{Log, Route};
use super::view::Content;
use crate::run_dir::{create_new, open_own};

/// Moves one log to `<directory>/<stream>.log`, which must not be there yet. Blocking.
pub(super) fn keep(log: &Log, directory: &Path) -> Result<PathBuf, (PathBuf, io::Error)> {
    let target = directory.join(format!("{}.log", log.stream));
    let moved = match &log.route {
        Route::Pipe(store) => {
            let pieces = store.pieces();
            gather(&pieces, &target).map(|bases| store.moved(&target, &bases))
        }
        Route::File(log) => log.file().and_then(|file| copy(&file, &target)),
    };
    match moved {
        Ok(()) => Ok(target),
        Err(error) => Err((target, error)),
    }
}

/// One file of all segments; gives the number of each and where it starts in that.
fn gather(pieces: &[(u64, u64, Content)], target: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut whole = create_new(target)?;
    let gathered = (|| {
        let (mut bases, mut end) = (Vec::new(), 0);
        for (number, length, content) in pieces {
            let Content::Named(path, base) = content else {
                continue;
            };
            let mut file = match open_own(path) {
                // It was dropped meanwhile, or somebody has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            file.seek(SeekFrom::Start(*base))?;
            let copied = io::copy(&mut file.take(*length), &mut whole)?;
            bases.push((*number, end));
            end += copied;
        }
        Ok(bases)
    })();
    gathered.inspect_err(|_| drop(fs::remove_file(target)))
}

/// All that is in the file. It stays where it is: whoever writes in it goes on.
fn copy(file: &File, target: &Path) -> io::Result<()> {
    let mut whole = create_new(target)?;
    let path = super::watch::path_of(file);
    let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut whole));
    copied
        .map(drop)
        .inspect_err(|_| drop(fs::remove_file(target)))
}

/// What was kept where.
pub(super) type Kept = Vec<(LogStream, PathBuf)>;
