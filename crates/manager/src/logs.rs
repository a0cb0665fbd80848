//! The logs of one process: what it writes to stdout and stderr, kept in its run directory.
//!
//! ```text
//!   child's stdout ─► pipe ─► capture task ─► stdout.log ─► queries
//! ```
//!
//! The output goes through a pipe and never waits for whoever reads the logs. A query reads the
//! file on a thread for that, never on the runtime's, and refuses a file that something has put in its
//! place.

mod capture;
mod query;

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub(crate) use capture::{Capture, Memory, Target};
pub use query::LogsQuery;

use crate::error::GetLogsError;
use crate::id::ProcessId;
use crate::process::pool::Pool;
use crate::process::spawn::LogName;
use crate::run_dir::open_own;

/// Where the logs of a process are.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    files: Vec<(LogName, PathBuf)>,
    memory: Vec<(LogName, Arc<Mutex<Memory>>)>,
}

impl Logs {
    pub(crate) fn add_file(&mut self, name: LogName, path: PathBuf) {
        self.files.push((name, path));
    }

    pub(crate) fn add_memory(&mut self, name: LogName, memory: Arc<Mutex<Memory>>) {
        self.memory.push((name, memory));
    }

    /// What was taken into memory of this stream.
    pub(crate) fn memory(&self, name: LogName) -> Option<&Arc<Mutex<Memory>>> {
        find(&self.memory, name)
    }

    /// Reads lines of a stream; of both streams, in the order written, where they are merged.
    pub(crate) async fn read(
        &self,
        process: ProcessId,
        name: LogName,
        query: LogsQuery,
        pool: &Pool,
    ) -> Result<Vec<String>, GetLogsError> {
        let Some(path) = find(&self.files, name).or_else(|| find(&self.files, LogName::Merged))
        else {
            let stream = if name == LogName::Stdout {
                "stdout"
            } else {
                "stderr"
            };
            return Err(GetLogsError::LoggingTypeWasNotConfigured(stream.to_owned()));
        };
        let path = path.clone();
        let read = {
            let path = path.clone();
            pool.run(move || read_lines(&path, &query)).await
        };
        match read {
            Ok(Ok(lines)) => Ok(lines),
            // The file goes with its process.
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(GetLogsError::ProcessNotFound(process))
            }
            Ok(Err(source)) | Err(source) => Err(GetLogsError::UnExpectedIoError { path, source }),
        }
    }
}

fn find<T>(list: &[(LogName, T)], name: LogName) -> Option<&T> {
    list.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, found)| found)
}

/// Lines are bytes that end with a newline; what is not UTF-8 is shown by U+FFFD. The last line
/// counts also without its newline.
fn read_lines(path: &Path, query: &LogsQuery) -> io::Result<Vec<String>> {
    let mut reader = BufReader::with_capacity(64 * 1024, open_own(path)?);
    let mut lines = Vec::new();
    let limit = query.limit().unwrap_or(usize::MAX);
    for _ in 0..query.offset() {
        if reader.skip_until(b'\n')? == 0 {
            return Ok(lines);
        }
    }
    let mut line = Vec::new();
    while lines.len() < limit {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        lines.push(String::from_utf8_lossy(&line).into_owned());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_newlines_alone_and_nothing_is_dropped() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("log");
        std::fs::write(&path, b"one\r\n\n\xff\xfe bad\nlast").expect("written");
        let all = ["one\r", "", "\u{fffd}\u{fffd} bad", "last"];
        let read = |query| read_lines(&path, &query).expect("read");
        assert_eq!(read(LogsQuery::fetch_all()), all);
        assert_eq!(read(LogsQuery::with_offset(1)), all[1..]);
        assert_eq!(read(LogsQuery::with_limit(2)), all[..2]);
        assert_eq!(read(LogsQuery::with_offset_and_limit(1, 2)), all[1..3]);
        assert!(read(LogsQuery::with_offset(9)).is_empty());
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        read_lines(&link, &LogsQuery::fetch_all()).expect_err("a link");
    }
}
