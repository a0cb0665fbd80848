//! Stand-ins for pipes, for tests without processes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use super::pipe::{ReadEnd, WriteEnd};

/// A pipe in memory with a fixed capacity.
#[derive(Debug, Clone)]
pub(crate) struct TestPipe(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    capacity: usize,
    writers_gone: bool,
    readers_gone: bool,
    copies: bool,
    writes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl TestPipe {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            bytes: VecDeque::new(),
            capacity,
            writers_gone: false,
            readers_gone: false,
            copies: false,
            writes: 0,
            reader: None,
            writer: None,
        })))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock().expect("no panic");
        let result = change(&mut state);
        for waker in [state.reader.take(), state.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
        result
    }

    /// What the child writes; more than the capacity, since the test does not wait.
    pub(crate) fn child_writes(&self, bytes: &[u8]) {
        self.with(|state| state.bytes.extend(bytes));
    }

    pub(crate) fn child_reads(&self, most: usize) -> Vec<u8> {
        self.with(|state| {
            let count = most.min(state.bytes.len());
            state.bytes.drain(..count).collect()
        })
    }

    /// How many writes have brought something.
    pub(crate) fn writes(&self) -> usize {
        self.0.lock().expect("no panic").writes
    }

    pub(crate) fn no_more_writers(&self) {
        self.with(|state| state.writers_gone = true);
    }

    /// Another child that is being started has copies of the writing end, or not any more.
    pub(crate) fn has_copies(&self, copies: bool) {
        self.with(|state| state.copies = copies);
    }

    pub(crate) fn no_more_readers(&self) {
        self.with(|state| state.readers_gone = true);
    }
}

impl ReadEnd for TestPipe {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().expect("no panic");
        if state.bytes.is_empty() && !state.writers_gone {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(state.bytes.len());
        buffer.extend(state.bytes.drain(..count));
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn child_exited(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn may_have_copies(&self) -> bool {
        self.0.lock().expect("no panic").copies
    }

    fn capacity(&self) -> usize {
        self.0.lock().expect("no panic").capacity
    }
}

impl WriteEnd for TestPipe {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with(|state| {
            if state.readers_gone {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let room = state.capacity.saturating_sub(state.bytes.len());
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state.writes += 1;
            let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
            let before = state.bytes.len();
            state.bytes.extend(bytes.take(room));
            Ok(state.bytes.len() - before)
        })
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.try_write(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.0.lock().expect("no panic").writer = Some(cx.waker().clone());
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }
}
