//! Where files may be: on a disk, or in memory.

use std::{
    env,
    path::{Path, PathBuf},
};

use rustix::fs::statfs;
use tempfile::TempDir;

use crate::{Failure, runner::NotHere};

/// The kind of filesystem that a directory is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Disk,
    Tmpfs,
}

/// `statfs(2)`: filesystems whose files are nowhere but in memory.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

impl Place {
    /// A new directory there, to be removed when it is dropped.
    pub(crate) fn directory(self) -> Result<TempDir, Failure> {
        let parent = self.find();
        let parent = parent.ok_or_else(|| NotHere(format!("there is no {} here", self.name())))?;
        Ok(tempfile::tempdir_in(parent)?)
    }

    /// A word on where that is.
    pub(crate) fn describe(self) -> String {
        match self.find() {
            None => format!("there is no {} here", self.name()),
            Some(path) if path == env::temp_dir() => {
                let path = path.display();
                format!("in {path}, the default for temporary files")
            }
            Some(path) => format!("in {}", path.display()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk that can be written",
            Self::Tmpfs => "tmpfs that can be written",
        }
    }

    fn find(self) -> Option<PathBuf> {
        let candidates = match self {
            Self::Disk => [Some(env::temp_dir()), Some("/var/tmp".into()), beside_us()],
            Self::Tmpfs => [Some("/dev/shm".into()), Some(env::temp_dir()), None],
        };
        let mut candidates = candidates.into_iter().flatten();
        candidates.find(|path| Self::of(path) == Some(self))
    }

    /// The kind that `path` is of, if files can be made there.
    fn of(path: &Path) -> Option<Self> {
        let kind = u64::try_from(statfs(path).ok()?.f_type).ok()?;
        tempfile::tempfile_in(path).ok()?;
        Some(if IN_MEMORY.contains(&kind) {
            Self::Tmpfs
        } else {
            Self::Disk
        })
    }
}

/// The directory of this program.
fn beside_us() -> Option<PathBuf> {
    Some(env::current_exe().ok()?.parent()?.to_owned())
}
