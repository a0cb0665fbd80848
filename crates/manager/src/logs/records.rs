//! The records of one part of a log: where they are, and reading them.
//!
//! ```text
//!  pipe route   | in a file: written | in memory: waiting |
//!  file route   | in memory: held                         |
//!               0                                     count
//! ```
//!
//! What is written is read from the file each time, so that a view holds none of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::index::{RECORD, Record, Records};
use crate::run_dir::open_own;

/// Records that are read at once.
const RECORDS: usize = 256;

/// Where the records of a part are.
#[derive(Debug, Clone)]
pub(super) enum Index {
    /// In a file, and after those the ones that wait to be written there.
    Named {
        path: Arc<PathBuf>,
        written: u64,
        waiting: Vec<Record>,
    },
    Held(Arc<Vec<Record>>),
}

/// The records of a part, opened.
pub(super) enum OpenIndex<'a> {
    Named {
        file: Option<File>,
        written: u64,
        waiting: &'a [Record],
    },
    Held(&'a [Record]),
}

impl Index {
    pub(super) fn open(&self) -> io::Result<OpenIndex<'_>> {
        Ok(match self {
            Self::Named {
                path,
                written,
                waiting,
            } => OpenIndex::Named {
                file: (*written > 0).then(|| open_own(path)).transpose()?,
                written: *written,
                waiting,
            },
            Self::Held(records) => OpenIndex::Held(records),
        })
    }
}

impl Records for OpenIndex<'_> {
    fn count(&self) -> u64 {
        match self {
            Self::Named {
                written, waiting, ..
            } => written + waiting.len() as u64,
            Self::Held(records) => records.len() as u64,
        }
    }

    fn get(&self, index: u64) -> io::Result<Record> {
        let held = |record: Option<&Record>| {
            record
                .copied()
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        match self {
            Self::Named {
                file: Some(file),
                written,
                ..
            } if index < *written => {
                let mut bytes = [0; RECORD];
                file.read_exact_at(&mut bytes, index * RECORD as u64)?;
                Ok(Record::from_bytes(&bytes))
            }
            Self::Named {
                written, waiting, ..
            } => held(waiting.get(usize::try_from(index - written).unwrap_or(usize::MAX))),
            Self::Held(records) => held(records.get(usize::try_from(index).unwrap_or(usize::MAX))),
        }
    }
}

impl OpenIndex<'_> {
    /// The record and those after it, as many as are good to have at once.
    pub(super) fn some(&self, index: u64) -> io::Result<VecDeque<Record>> {
        if let Self::Named {
            file: Some(file),
            written,
            ..
        } = self
            && index < *written
        {
            let count = usize::try_from(written - index)
                .unwrap_or(RECORDS)
                .min(RECORDS);
            let mut bytes = vec![0; count * RECORD];
            file.read_exact_at(&mut bytes, index * RECORD as u64)?;
            let records = bytes.as_chunks().0.iter().map(Record::from_bytes);
            return Ok(records.collect());
        }
        let count = (self.count() - index).min(RECORDS as u64);
        (index..index + count).map(|at| self.get(at)).collect()
    }
}
