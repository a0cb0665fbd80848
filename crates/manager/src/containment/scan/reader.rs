//! The thread that reads processes for a scan, and is given up where one's memory does not come.
//!
//! `environ` and `cmdline` are in the memory of their process, and a read of them waits for a lock
//! that this process may hold for as long as it likes: while a page comes from a file system of its
//! own (FUSE), or a dead one (NFS). No signal but SIGKILL ends such a wait, so that the thread is
//! left to itself:
//!
//! ```text
//!  scan ──► reader ──► result
//!    │ looks every half a second
//!    └─ at the same process as before ──► the reader is given up, and ends when its read does;
//!                                         until then another one passes that process over
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::{Identity, ProcReader, Seen, Snapshot};

/// A read that still goes on after this time is given up: after twice this time at most.
const STALL: Duration = Duration::from_millis(500);
/// As many processes are waited for by threads of their own. While there are more nothing is
/// scanned.
const MAX_STALLED: usize = 8;

type Job = Box<dyn FnOnce(&mut ProcReader) + Send>;

/// Scans, with one reader at a time, which it keeps from scan to scan.
#[derive(Debug, Default)]
pub(in crate::containment) struct Scanner {
    reader: Option<Reader>,
    stalled: Vec<Stalled>,
    #[cfg(test)]
    pub(super) root: Option<std::path::PathBuf>,
}

/// A process whose memory does not come.
#[derive(Debug)]
struct Stalled {
    process: Identity,
    /// Of the thread that waits for it, while it does.
    waiting: Weak<()>,
}

impl Scanner {
    /// Looks at every process. Blocking: about 15 µs for each; a second more for one whose memory
    /// does not come.
    ///
    /// # Errors
    /// A lack of descriptors or memory; and where more processes hold up their readers than are
    /// waited for.
    pub(in crate::containment) fn scan(&mut self) -> io::Result<Snapshot> {
        loop {
            let Some(reader) = self.reader()? else {
                // A scan that may wait is better than none.
                return self.proc_reader().scan();
            };
            let passed_over: Vec<_> = self.stalled.iter().map(|it| it.process).collect();
            let result = reader.run(move |proc| {
                proc.passed_over = passed_over;
                proc.scan()
            });
            match result {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                other => {
                    return other.map(|mut snapshot| {
                        snapshot.reader = Some(reader);
                        snapshot
                    });
                }
            }
        }
    }

    /// The reader, a new one where that was given up; `None` where no thread can be started.
    fn reader(&mut self) -> io::Result<Option<Reader>> {
        if let Some(old) = self.reader.take_if(|reader| reader.is_given_up())
            && let Some((_, process)) = old.shared.now()
        {
            let pid = process.0.as_raw_pid();
            tracing::debug!(pid, "the memory of a process does not come");
            let waiting = old.waiting;
            self.stalled.push(Stalled { process, waiting });
        }
        self.stalled
            .retain(|stalled| stalled.waiting.strong_count() > 0);
        if self.stalled.len() > MAX_STALLED {
            return Err(io::Error::other(
                "the memory of too many processes does not come",
            ));
        }
        if self.reader.is_none() {
            self.reader = Reader::start(self.proc_reader()).ok();
        }
        Ok(self.reader.clone())
    }

    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "tests have files of their own")
    )]
    fn proc_reader(&self) -> ProcReader {
        #[cfg(test)]
        if let Some(root) = &self.root {
            return ProcReader::of(root);
        }
        ProcReader::default()
    }
}

/// A handle to the thread, which ends with the last one.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
    waiting: Weak<()>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The process whose memory is being read, and how many were before it.
    reads: Mutex<Option<(u64, Identity)>>,
    given_up: AtomicBool,
}

impl Shared {
    pub(super) fn reads(&self, process: Option<(u64, Identity)>) {
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }

    fn now(&self) -> Option<(u64, Identity)> {
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    fn start(mut proc: ProcReader) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(1);
        let shared = Arc::clone(&proc.shared);
        let alive = Arc::new(());
        let waiting = Arc::downgrade(&alive);
        thread::Builder::new()
            .name("procession-scan".into())
            .spawn(move || {
                for job in queue {
                    job(&mut proc);
                }
                drop(alive);
            })?;
        Ok(Self {
            jobs,
            shared,
            waiting,
        })
    }

    fn is_given_up(&self) -> bool {
        self.shared.given_up.load(Ordering::Acquire)
    }

    /// Whether the number still is that of the process that was seen.
    pub(super) fn is_still(&self, seen: &Seen) -> io::Result<bool> {
        let seen = seen.clone();
        self.run(move |proc| proc.is_still(&seen))
    }

    /// Runs a job. Where that stalls the thread is given up, which is [`io::ErrorKind::TimedOut`].
    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut ProcReader) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, result) = sync_channel(1);
        let job: Job = Box::new(move |proc| {
            let _ = done.send(job(proc));
        });
        // There is room in the queue unless the thread was given up.
        if self.is_given_up() || self.jobs.try_send(job).is_err() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut before = None;
        loop {
            let error = match result.recv_timeout(STALL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => io::Error::other("a scan panicked"),
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.shared.now();
                    if now.is_none() || now != before {
                        before = now;
                        continue;
                    }
                    io::ErrorKind::TimedOut.into()
                }
            };
            self.shared.given_up.store(true, Ordering::Release);
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests;
