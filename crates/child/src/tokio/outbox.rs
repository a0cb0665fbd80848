//! [`Outbox`]: what is on its way out.
//!
//! ```text
//!          written                   wanted         placed
//!  ───────────┴─────────────────────────┴──────────────┴──►  bytes since the start
//!   in the kernel │ being written        │ fed, may wait │
//! ```
//!
//! Frames are placed whole and written in order, by whoever can: the task that sends, when the pipe
//! has room, and the driver otherwise. A task that goes away in between changes nothing.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    os::fd::AsFd,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use procession_wire::{FrameHead, Framing};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, writev},
};

use super::open::Writer;
use crate::{SendError, core::Wakers};

/// With this much on its way, the next message waits.
const BUFFER: u64 = 64 * 1024;

/// Payloads up to this many bytes are copied behind their prefix; longer ones are written from where
/// they are.
const COPIED: usize = 16 * 1024;

/// As many pieces are given to one write.
const PIECES: usize = 64;

#[derive(Debug)]
pub(super) struct Outbox {
    state: State,
    framing: Framing,
    queue: VecDeque<Bytes>,
    /// Follows what is in the queue.
    tail: BytesMut,
    placed: u64,
    written: u64,
    wanted: u64,
    /// Wait for room, or for their message to be written.
    pub(super) waiting: Wakers,
    /// `bye` was placed: nothing else may be.
    finishing: bool,
    /// The runtime is gone, and nobody writes what is left but the last to drop it.
    undriven: bool,
}

#[derive(Debug)]
enum State {
    Open(Writer),
    Broken(Errno),
    Finished,
}

impl Outbox {
    pub(super) fn new(writer: Writer, framing: Framing) -> Self {
        Self {
            state: State::Open(writer),
            framing,
            queue: VecDeque::new(),
            tail: BytesMut::new(),
            placed: 0,
            written: 0,
            wanted: 0,
            waiting: Wakers::default(),
            finishing: false,
            undriven: false,
        }
    }

    /// Whether something can still be placed at all.
    pub(super) fn check(&self) -> Result<(), SendError> {
        match &self.state {
            State::Broken(errno) => Err(SendError::from_io((*errno).into())),
            State::Finished => Err(SendError::Finished),
            State::Open(_) if self.finishing => Err(SendError::Finished),
            State::Open(_) if self.undriven => Err(undriven()),
            State::Open(_) => Ok(()),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.placed - self.written < BUFFER
    }

    /// Whether enough is fed to be worth a write.
    pub(super) fn is_full(&self) -> bool {
        !self.has_room()
    }

    pub(super) fn place_message(&mut self, payload: Bytes) {
        match self.framing {
            Framing::Frames => self.place_frame(FrameHead::Message, payload),
            _ => self.place(b"", payload, b"\n"),
        }
    }

    pub(super) fn place_frame(&mut self, head: FrameHead, payload: Bytes) {
        self.place(&head.prefix(payload.len()), payload, b"");
    }

    fn place(&mut self, prefix: &[u8], payload: Bytes, suffix: &[u8]) {
        self.placed += (prefix.len() + payload.len() + suffix.len()) as u64;
        self.tail.put_slice(prefix);
        if payload.len() <= COPIED {
            self.tail.put_slice(&payload);
        } else {
            if !self.tail.is_empty() {
                self.queue.push_back(self.tail.split().freeze());
            }
            self.queue.push_back(payload);
        }
        self.tail.put_slice(suffix);
    }

    /// Places whole frames that `put` encodes.
    pub(super) fn place_frames(&mut self, put: impl FnOnce(&mut BytesMut)) {
        let before = self.tail.len();
        put(&mut self.tail);
        self.placed += (self.tail.len() - before) as u64;
    }

    /// After this, no message can be placed.
    pub(super) fn set_finishing(&mut self) -> bool {
        !std::mem::replace(&mut self.finishing, true)
    }

    pub(super) fn set_undriven(&mut self) -> Wakers {
        self.undriven = true;
        self.waiting.take()
    }

    pub(super) fn is_relayed(&self) -> bool {
        matches!(&self.state, State::Open(writer) if writer.relay.is_some())
    }

    /// Where what is placed now ends.
    pub(super) fn position(&self) -> u64 {
        self.placed
    }

    /// Asks for all that is placed to be written.
    pub(super) fn want_all(&mut self) {
        self.wanted = self.placed;
    }

    pub(super) fn is_wanting(&self) -> bool {
        self.written < self.wanted && matches!(self.state, State::Open(_))
    }

    /// Writes what is wanted, as far as the pipe has room. With a context, its task is woken when
    /// there is more room. Returns those to be woken.
    pub(super) fn write(&mut self, cx: Option<&mut Context<'_>>) -> Wakers {
        let before = self.written;
        if let Err(error) = self.write_wanted(cx) {
            self.state = State::Broken(Errno::from_io_error(&error).unwrap_or(Errno::IO));
            self.queue.clear();
            self.tail = BytesMut::new();
            return self.waiting.take();
        }
        if self.written > before {
            self.waiting.take()
        } else {
            Wakers::default()
        }
    }

    /// Ready once all up to `position` is in the kernel.
    pub(super) fn poll_written(
        &mut self,
        cx: &Context<'_>,
        position: u64,
    ) -> Poll<Result<(), SendError>> {
        if self.written >= position {
            return Poll::Ready(Ok(()));
        }
        match &self.state {
            State::Open(_) if !self.undriven => {
                self.waiting.register(cx.waker());
                Poll::Pending
            }
            State::Open(_) => Poll::Ready(Err(undriven())),
            State::Broken(errno) => Poll::Ready(Err(SendError::from_io((*errno).into()))),
            State::Finished => Poll::Ready(Err(SendError::Finished)),
        }
    }

    /// Writes all that is left, waiting for room with this thread, and closes.
    pub(super) fn finish(&mut self) -> (Result<(), SendError>, Option<Writer>) {
        let outcome = self.write_all();
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Open(writer) => (outcome, Some(writer)),
            State::Broken(errno) => (Err(SendError::from_io(errno.into())), None),
            State::Finished => (Ok(()), None),
        }
    }

    fn write_wanted(&mut self, mut cx: Option<&mut Context<'_>>) -> io::Result<()> {
        while self.is_wanting() {
            let State::Open(writer) = &self.state else {
                break;
            };
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.pieces(&mut pieces);
            match writer.sender.try_write_vectored(&pieces[..count]) {
                Ok(len) => self.advance(len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let Some(cx) = cx.as_deref_mut() else {
                        break;
                    };
                    match writer.sender.poll_write_ready(cx) {
                        Poll::Ready(outcome) => outcome?,
                        Poll::Pending => break,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_all(&mut self) -> Result<(), SendError> {
        self.want_all();
        while self.is_wanting() {
            let State::Open(writer) = &self.state else {
                break;
            };
            let fd = writer.sender.as_fd();
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.pieces(&mut pieces);
            match writev(fd, &pieces[..count]) {
                Ok(len) => self.advance(len),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // Whatever comes of it, the next write tells.
                    let _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None);
                }
                Err(errno) => return Err(SendError::from_io(errno.into())),
            }
        }
        Ok(())
    }

    fn pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>; PIECES]) -> usize {
        let parts = self.queue.iter().map(|part| &part[..]);
        let parts = parts.chain(Some(&self.tail[..]).filter(|tail| !tail.is_empty()));
        let mut count = 0;
        for (piece, part) in pieces.iter_mut().zip(parts) {
            *piece = IoSlice::new(part);
            count += 1;
        }
        count
    }

    fn advance(&mut self, len: usize) {
        self.written += len as u64;
        let mut rest = len;
        while let Some(front) = self.queue.front_mut().filter(|_| rest > 0) {
            let step = rest.min(front.len());
            front.advance(step);
            rest -= step;
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        self.tail.advance(rest);
    }
}

fn undriven() -> SendError {
    SendError::Io(io::Error::other(
        "the runtime that wrote to the parent has ended",
    ))
}
