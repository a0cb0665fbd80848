//! A pipe in memory, in place of one of the system's: for children that are no processes.
//!
//! Either end wakes the other in the same runtime, so nothing has to be waited for from outside, and
//! time can be paused.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use super::pipe::{ReadEnd, WriteEnd};

/// What a pipe of the system usually holds, in bytes: `pipe(7)`.
pub(crate) const CAPACITY: usize = 64 * 1024;

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    written_to_its_end: bool,
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let (reader, writer) = {
            let mut state = self.lock();
            change(&mut state);
            (state.reader.take(), state.writer.take())
        };
        for waker in [reader, writer].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// The end that is written.
#[derive(Debug)]
pub(crate) struct MemoryWriter(Arc<Shared>);

/// The end that is read.
#[derive(Debug)]
pub(crate) struct MemoryReader(Arc<Shared>);

/// A new one. Dropping an end is what closing it is.
pub(crate) fn pipe() -> (MemoryWriter, MemoryReader) {
    let shared = Arc::<Shared>::default();
    (MemoryWriter(Arc::clone(&shared)), MemoryReader(shared))
}

impl WriteEnd for MemoryWriter {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let (unread, room) = {
            let state = self.0.lock();
            (state.unread, CAPACITY.saturating_sub(state.bytes.len()))
        };
        if unread {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let count = len.min(room);
        if count == 0 && len > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.change(|state| {
            let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
            state.bytes.extend(bytes.take(count));
        });
        Ok(count)
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // Before the look: what is read in between wakes it.
        self.0.lock().writer = Some(cx.waker().clone());
        match self.try_write(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.0.lock().writer = Some(cx.waker().clone());
                if self.0.lock().bytes.len() < CAPACITY {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }
}

impl ReadEnd for MemoryReader {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        {
            let mut state = self.0.lock();
            if state.bytes.is_empty() && !state.written_to_its_end {
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let mut count = 0;
        self.0.change(|state| {
            count = room.min(state.bytes.len());
            buffer.extend(state.bytes.drain(..count));
        });
        Poll::Ready(Ok(count))
    }

    fn child_exited(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.0.change(|state| state.written_to_its_end = true);
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        self.0.change(|state| state.unread = true);
    }
}
