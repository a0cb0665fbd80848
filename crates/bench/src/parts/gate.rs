//! The one input of many children: a named pipe that the benchmark holds, and that ends for all at once.
//!
//! It also ends when the benchmark does, however that comes, so that no child outlives it.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use rustix::fs::{Mode, OFlags, open};
use tempfile::TempDir;

use crate::{Failure, peers::make_fifo};

/// A named pipe that all children read, and whose end they wait for.
pub(super) struct Gate {
    path: PathBuf,
    // Dropped in this order: whoever waits is let go before the name is.
    end: OwnedFd,
    directory: TempDir,
}

impl Gate {
    pub(super) fn new() -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("gate");
        make_fifo(&path)?;
        // For both directions, so that this open does not wait for another one.
        let end = open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            path,
            end,
            directory,
        })
    }

    /// What a child is to have as its standard input.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same for a child that is started by hand.
    pub(super) fn stdin(&self) -> Result<Stdio, Failure> {
        Ok(File::open(&self.path)?.into())
    }

    /// A directory that goes with the gate.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends the input of all children. The directory stays as long as what is returned.
    pub(super) fn open(self) -> TempDir {
        drop(self.end);
        self.directory
    }
}

/// Children that were started by hand; killed and reaped unless that was done.
#[derive(Default)]
pub(super) struct ByHand(pub(super) Vec<Child>);

impl Drop for ByHand {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that was reaped already is only looked up.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
