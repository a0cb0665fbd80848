//! The task that reads one logged stream.
//!
//! ```text
//!  pipe ──► task ──chunk──► thread of the pool: counts, writes       a line now and then
//!  pipe ──────────────────► thread of the pool: reads, counts, writes, for 50 ms at a time     a flood
//! ```
//!
//! A flood is read where it is written: the bytes stay in the cache of one processor, and no task and no
//! thread change over for each chunk.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use procession_wire::buffer::{READ_BUFFER, reserve_for_read};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::log::Log;
use super::store::Appender;
use crate::lifecycle::OutputState;
use crate::messaging::pipe::ReadEnd;
use crate::messaging::source::{Next, Source};
use crate::os;
use crate::process::Process;
use crate::process::pool::Pool;

/// Read at once of a flood. More would not stay in the processor's cache.
const FLOOD: usize = 128 * 1024;
/// How long a thread reads a flood, before it looks after others.
const TURN: Duration = Duration::from_millis(50);
/// How long it waits for more, in milliseconds.
const LULL: i64 = 2;

/// What was read of a stream that is kept in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: BytesMut,
    /// It wrote more than the limit; what is over it was not kept.
    pub(crate) over: bool,
}

/// Where a stream goes.
pub(crate) enum Target {
    /// Kept in files, written on threads of the pool.
    Store(Stored),
    /// Kept in memory up to `limit` bytes; beyond that the process is killed.
    Memory {
        memory: Arc<Mutex<Memory>>,
        limit: usize,
        process: Weak<Process>,
    },
}

/// A log on the pipe route, and its writer.
pub(crate) struct Stored {
    pub(crate) log: Arc<Log>,
    pub(crate) appender: AppenderSlot,
    pub(crate) pool: Pool,
}

/// The writer of a log, while nobody writes with it. It is taken out for that: no lock is held
/// meanwhile.
#[derive(Clone)]
pub(crate) struct AppenderSlot(Arc<Mutex<Option<Box<Appender>>>>);

impl AppenderSlot {
    pub(crate) fn new(appender: Appender) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(appender)))))
    }

    /// Does this with the writer, unless that was lost in a panic.
    fn with<T>(&self, work: impl FnOnce(&mut Appender) -> T) -> Option<T> {
        let mut appender = self.lock().take()?;
        let result = work(&mut appender);
        *self.lock() = Some(appender);
        Some(result)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Appender>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Capture<R> {
    pub(crate) source: Source<R>,
    pub(crate) target: Target,
}

impl<R: ReadEnd> Capture<R> {
    /// Reads to the end and says how that came.
    pub(crate) async fn run(mut self) -> OutputState {
        let state = self.read().await;
        match &self.target {
            Target::Store(stored) if stored.end().await => OutputState::Cut,
            _ => state,
        }
    }

    async fn read(&mut self) -> OutputState {
        let (mut buffer, mut room) = (BytesMut::new(), READ_BUFFER);
        loop {
            match self.source.next(&mut buffer, room).await {
                Next::Data => {}
                Next::End(state) => return state,
                Next::Failed(error) => {
                    tracing::warn!(%error, "reading a process's output failed");
                    return OutputState::Cut;
                }
            }
            let floods = buffer.len() >= READ_BUFFER / 2;
            // More than this widens the pipe.
            room = if floods { FLOOD } else { READ_BUFFER };
            match &mut self.target {
                Target::Store(stored) => {
                    let pipe = self.source.lend().filter(|_| floods);
                    buffer = stored.append(buffer, pipe).await;
                }
                Target::Memory {
                    memory,
                    limit,
                    process,
                } => keep(&buffer, memory, *limit, process),
            }
            // Time spent on writing is not the child's silence.
            self.source.rearm();
            if floods {
                buffer.clear();
            } else {
                // A silent child holds no buffer.
                buffer = BytesMut::new();
            }
        }
    }
}

impl Stored {
    /// Keeps a chunk, and what comes after it in a flood, where there is a pipe to read that from. Gives the
    /// buffer back.
    async fn append(&self, buffer: BytesMut, flood: Option<OwnedFd>) -> BytesMut {
        let (time, chunk) = (SystemTime::now(), buffer.freeze());
        let appended = {
            let (writer, chunk) = (self.writer(), chunk.clone());
            self.pool.run(move || {
                writer.append(&chunk, time);
                if let Some(pipe) = flood {
                    drop(chunk);
                    writer.flood(&pipe);
                }
            })
        };
        if appended.await.is_err() {
            // Without a thread this one has to do.
            self.writer().append(&chunk, time);
        }
        chunk.try_into_mut().unwrap_or_default()
    }

    fn writer(&self) -> Writer {
        Writer {
            log: Arc::clone(&self.log),
            appender: self.appender.clone(),
        }
    }

    /// There is no more. Says whether lines are missing.
    async fn end(&self) -> bool {
        let writer = self.writer();
        let ended = self.pool.run(move || writer.end()).await;
        // Without a thread this one has to do.
        let is_broken = ended.unwrap_or_else(|_| self.writer().end());
        self.log.completed();
        is_broken
    }
}

/// What writes a log, on whatever thread.
struct Writer {
    log: Arc<Log>,
    appender: AppenderSlot,
}

impl Writer {
    fn append(&self, chunk: &[u8], time: SystemTime) {
        let troubles = self.appender.with(|appender| appender.append(chunk, time));
        for trouble in troubles.into_iter().flatten() {
            self.log.troubled(&trouble);
        }
        self.log.grew();
    }

    /// Whether lines are missing.
    fn end(&self) -> bool {
        let ended = self.appender.with(|appender| {
            appender.end();
            appender.is_broken()
        });
        ended.unwrap_or(true)
    }

    /// Reads on as long as there is more, for a turn. The end, and what fails, is left to the task.
    fn flood(&self, pipe: &OwnedFd) {
        let begun = Instant::now();
        let mut buffer = BytesMut::new();
        while begun.elapsed() < TURN {
            buffer.clear();
            reserve_for_read(&mut buffer, FLOOD);
            match os::read(pipe, &mut buffer) {
                Ok(1..) => self.append(&buffer, SystemTime::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let lull = Timespec {
                        tv_sec: 0,
                        tv_nsec: LULL * 1_000_000,
                    };
                    let mut fds = [PollFd::new(pipe, PollFlags::IN)];
                    if !matches!(poll(&mut fds, Some(&lull)), Ok(1..)) {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            }
        }
    }
}

/// Keeps in memory what there is room for; beyond that the process is killed.
fn keep(bytes: &[u8], memory: &Mutex<Memory>, limit: usize, process: &Weak<Process>) {
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    let room = limit - memory.bytes.len();
    let kept = bytes.len().min(room);
    memory.bytes.extend_from_slice(&bytes[..kept]);
    if kept < bytes.len()
        && !std::mem::replace(&mut memory.over, true)
        && let Some(process) = process.upgrade()
    {
        Process::over_limit(&process);
    }
}
