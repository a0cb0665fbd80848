//! [`Output`]: the output pipe and what is fed but not yet written.
//!
//! Only whole frames are ever in the buffer, and each write call here writes all it is given, so
//! between two calls the pipe always stands between two frames.

use std::{io::IoSlice, os::fd::OwnedFd};

use procession_wire::{FrameHead, Framing};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, write, writev},
};

use crate::SendError;

/// Fed messages are written in pieces of up to this many bytes: the usual capacity of a pipe.
const BUFFER: usize = 64 * 1024;

/// Payloads up to this many bytes are copied behind their prefix; longer ones are written from where
/// they are.
const COPIED: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Output {
    state: State,
    framing: Framing,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Open(OwnedFd),
    /// A write failed, perhaps inside a frame.
    Broken(Errno),
    Finished,
}

impl Output {
    pub(super) fn new(fd: OwnedFd, framing: Framing) -> Self {
        Self {
            state: State::Open(fd),
            framing,
            buffer: Vec::new(),
        }
    }

    /// Writes a message, and first what was fed before it.
    pub(super) fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() <= COPIED {
            self.append(payload);
            self.flush()
        } else {
            self.prefix(payload);
            self.write_with(payload, self.suffix())
        }
    }

    /// Buffers a message, and writes only when the buffer is full.
    pub(super) fn feed(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > COPIED {
            return self.send(payload);
        }
        self.end()?;
        if self.buffer.len() + payload.len() + 5 > BUFFER {
            self.flush()?;
        }
        self.append(payload);
        Ok(())
    }

    /// Writes a frame that is no message and the frames that have to follow it, and first what was fed
    /// before it.
    pub(super) fn frame(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        followed_by: &[u8],
    ) -> Result<(), SendError> {
        self.buffer.extend_from_slice(&head.prefix(payload.len()));
        if payload.len() <= COPIED {
            self.buffer.extend_from_slice(payload);
            self.buffer.extend_from_slice(followed_by);
            self.flush()
        } else {
            self.write_with(payload, followed_by)
        }
    }

    /// Writes what was fed.
    pub(super) fn flush(&mut self) -> Result<(), SendError> {
        if self.buffer.is_empty() {
            return self.end().map(drop);
        }
        self.write_with(&[], &[])
    }

    /// Writes whole frames ahead of what is fed.
    pub(super) fn write_ahead(&mut self, frames: &[u8]) -> Result<(), SendError> {
        let outcome = match self.end() {
            Ok(fd) => write_all(fd, frames),
            Err(error) => return Err(error),
        };
        self.note(outcome)
    }

    /// Whether a write of one page would not wait, or would fail at once.
    pub(super) fn has_room(&self) -> bool {
        let State::Open(fd) = &self.state else {
            return true;
        };
        let mut fds = [PollFd::new(fd, PollFlags::OUT)];
        !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
    }

    pub(super) fn has_fed(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Where frames go that end the output. Nothing else may be written any more.
    pub(super) fn finish(&mut self, last: &[u8]) -> Result<(), SendError> {
        self.buffer.extend_from_slice(last);
        let outcome = if self.is_finished() {
            Ok(())
        } else {
            self.flush()
        };
        self.state = State::Finished;
        self.buffer = Vec::new();
        outcome
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    fn append(&mut self, payload: &[u8]) {
        self.prefix(payload);
        self.buffer.extend_from_slice(payload);
        self.buffer.extend_from_slice(self.suffix());
    }

    fn prefix(&mut self, payload: &[u8]) {
        if self.framing == Framing::Frames {
            let prefix = FrameHead::Message.prefix(payload.len());
            self.buffer.extend_from_slice(&prefix);
        }
    }

    fn suffix(&self) -> &'static [u8] {
        if self.framing == Framing::Frames {
            b""
        } else {
            b"\n"
        }
    }

    /// Writes the buffer and, unless the payload is empty, it and what follows it.
    fn write_with(&mut self, payload: &[u8], suffix: &[u8]) -> Result<(), SendError> {
        let outcome = match (self.end(), payload) {
            (Err(error), _) => {
                self.buffer.clear();
                return Err(error);
            }
            (Ok(fd), []) => write_all(fd, &self.buffer),
            (Ok(fd), _) => write_all_of(
                fd,
                &mut [
                    IoSlice::new(&self.buffer),
                    IoSlice::new(payload),
                    IoSlice::new(suffix),
                ],
            ),
        };
        self.buffer.clear();
        self.note(outcome)
    }

    fn end(&self) -> Result<&OwnedFd, SendError> {
        match &self.state {
            State::Open(fd) => Ok(fd),
            State::Broken(errno) => Err(SendError::from_io((*errno).into())),
            State::Finished => Err(SendError::Finished),
        }
    }

    fn note(&mut self, outcome: Result<(), Errno>) -> Result<(), SendError> {
        outcome.map_err(|errno| {
            self.state = State::Broken(errno);
            SendError::from_io(errno.into())
        })
    }
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(errno) => recover(fd, errno)?,
        }
    }
    Ok(())
}

fn write_all_of(fd: &OwnedFd, mut slices: &mut [IoSlice<'_>]) -> Result<(), Errno> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match writev(fd, slices) {
            Ok(len) => IoSlice::advance_slices(&mut slices, len),
            Err(errno) => recover(fd, errno)?,
        }
    }
    Ok(())
}

/// Waits until the write can be tried again, if it can be.
fn recover(fd: &OwnedFd, errno: Errno) -> Result<(), Errno> {
    match errno {
        Errno::INTR => Ok(()),
        // Someone has made the shared file description non-blocking.
        Errno::AGAIN => match poll(&mut [PollFd::new(fd, PollFlags::OUT)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        },
        errno => Err(errno),
    }
}
