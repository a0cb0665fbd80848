//! The task that reads one logged stream.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use procession_wire::buffer::READ_BUFFER;
use tokio::sync::mpsc;

use crate::lifecycle::{ExitCause, OutputState};
use crate::messaging::pipe::ReadEnd;
use crate::messaging::source::{Next, Source};
use crate::process::Control;

/// What was read of a stream that is kept in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: BytesMut,
    /// It wrote more than the limit; what is over it was not kept.
    pub(crate) over: bool,
}

/// Where a stream goes.
pub(crate) enum Target {
    /// Appended to a file.
    File(File),
    /// Kept in memory up to `limit` bytes; beyond that the process is killed.
    Memory {
        memory: Arc<Mutex<Memory>>,
        limit: usize,
        control: mpsc::WeakSender<Control>,
    },
}

pub(crate) struct Capture<R> {
    pub(crate) source: Source<R>,
    pub(crate) target: Target,
}

impl<R: ReadEnd> Capture<R> {
    /// Reads to the end and says how that came.
    pub(crate) async fn run(mut self) -> OutputState {
        let mut buffer = BytesMut::new();
        let mut broken = false;
        loop {
            match self.source.next(&mut buffer, READ_BUFFER).await {
                Next::Data => {}
                Next::End(OutputState::Complete) if broken => return OutputState::Cut,
                Next::End(state) => return state,
                Next::Failed(error) => {
                    tracing::warn!(%error, "reading a process's output failed");
                    return OutputState::Cut;
                }
            }
            // A full disk costs lines of the log, not the child its life.
            if let Err(error) = self.target.take(&mut buffer)
                && !std::mem::replace(&mut broken, true)
            {
                tracing::warn!(%error, "writing a process's log failed: lines are missing from it");
            }
            buffer = BytesMut::new();
        }
    }
}

impl Target {
    fn take(&mut self, buffer: &mut BytesMut) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(buffer),
            Self::Memory {
                memory,
                limit,
                control,
            } => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let room = *limit - memory.bytes.len();
                let kept = buffer.len().min(room);
                memory.bytes.extend_from_slice(&buffer[..kept]);
                if kept < buffer.len()
                    && !std::mem::replace(&mut memory.over, true)
                    && let Some(control) = control.upgrade()
                {
                    let _ = control.try_send(Control::Kill(ExitCause::LimitExceeded));
                }
                Ok(())
            }
        }
    }
}
