//! The task that reads one logged stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::BytesMut;
use procession_wire::buffer::READ_BUFFER;
use tokio::sync::mpsc;

use super::log::Log;
use super::store::Appender;
use crate::lifecycle::{ExitCause, OutputState};
use crate::messaging::pipe::ReadEnd;
use crate::messaging::source::{Next, Source};
use crate::process::Control;
use crate::process::pool::Pool;

/// A child that fills this much at once is read by more, so that the pipe is widened.
const FLOOD: usize = 256 * 1024;

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
        control: mpsc::WeakSender<Control>,
    },
}

/// A log on the pipe route, and its writer.
pub(crate) struct Stored {
    pub(crate) log: Arc<Log>,
    pub(crate) appender: Arc<Mutex<Appender>>,
    pub(crate) pool: Pool,
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
            Target::Store(stored) if stored.end() => OutputState::Cut,
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
            let floods = buffer.len() >= READ_BUFFER;
            room = if floods { FLOOD } else { READ_BUFFER };
            match &mut self.target {
                Target::Store(stored) => buffer = stored.append(buffer).await,
                Target::Memory {
                    memory,
                    limit,
                    control,
                } => keep(&buffer, memory, *limit, control),
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
    /// Gives the buffer back.
    async fn append(&self, buffer: BytesMut) -> BytesMut {
        let (time, chunk) = (SystemTime::now(), buffer.freeze());
        let append = {
            let (appender, chunk) = (Arc::clone(&self.appender), chunk.clone());
            move || lock(&appender).append(&chunk, time)
        };
        let appended = self.pool.run(append).await;
        // Without a thread this one has to do.
        let troubles = appended.unwrap_or_else(|_| lock(&self.appender).append(&chunk, time));
        for trouble in &troubles {
            self.log.troubled(trouble);
        }
        self.log.grew();
        chunk.try_into_mut().unwrap_or_default()
    }

    /// There is no more. Says whether lines are missing.
    fn end(&self) -> bool {
        let mut appender = lock(&self.appender);
        appender.end();
        self.log.completed();
        appender.is_broken()
    }
}

fn lock(appender: &Mutex<Appender>) -> MutexGuard<'_, Appender> {
    appender.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps in memory what there is room for; beyond that the process is killed.
fn keep(bytes: &[u8], memory: &Mutex<Memory>, limit: usize, control: &mpsc::WeakSender<Control>) {
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    let room = limit - memory.bytes.len();
    let kept = bytes.len().min(room);
    memory.bytes.extend_from_slice(&bytes[..kept]);
    if kept < bytes.len()
        && !std::mem::replace(&mut memory.over, true)
        && let Some(control) = control.upgrade()
    {
        let _ = control.try_send(Control::Kill(ExitCause::LimitExceeded));
    }
}
