//! What is to be written to a child, as pure data: frames in order, and where the pipe stands.
//!
//! ```text
//!  push_message ──credit?──► tail ─┐                      ┌─► begin ──► (write) ──► advance
//!        │no                       ├─► data: chunks ──────┤
//!        ▼                         │   frames: lengths    │
//!     blocked ──grant──────────────┘                      │
//!  push_control ──► control ──────────────────────────────┘ next after the frame under way
//! ```
//!
//! Small frames are copied into one growing chunk, so that a thousand of them are one write; large
//! payloads are chunks of their own and never copied. Control frames need no credit and overtake
//! every message that has not begun.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{BufMut, Bytes, BytesMut};
use procession_wire::credit::SendCredit;
use procession_wire::{FrameHead, Framing};
use tokio::sync::oneshot;

/// Payloads up to this many bytes are copied next to their neighbours.
pub(crate) const SMALL: usize = 8 * 1024;
/// Chunks in one write: beyond this the kernel's work for each outweighs the call saved.
const MAX_CHUNKS: usize = 64;
/// Bytes in one write; no pipe takes more at once, whatever its size was raised to.
const MAX_WRITE: usize = 1024 * 1024;

/// Told when its message is in the kernel; dropped when it never will be.
pub(crate) type Done = oneshot::Sender<()>;

/// The place that a message takes in the queue, in bytes; none for one that its sender began to
/// write itself.
pub(crate) type Place = Option<u32>;

#[derive(Debug)]
struct Frame {
    /// Bytes not yet in the kernel.
    left: usize,
    /// Bytes in all.
    len: usize,
    /// What is given back when it has been written; control frames are not messages.
    message: bool,
    place: Place,
    done: Option<Done>,
}

#[derive(Debug)]
struct Waiting {
    payload: Bytes,
    place: Place,
    done: Option<Done>,
}

/// What became of a write.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Places to give back.
    pub(crate) places: usize,
    /// Bytes of them.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) struct SendQueue {
    framing: Framing,
    credit: Option<SendCredit>,
    data: VecDeque<Bytes>,
    tail: BytesMut,
    frames: VecDeque<Frame>,
    control: BytesMut,
    control_frames: Vec<usize>,
    blocked: VecDeque<Waiting>,
    accepted: u64,
    written: u64,
}

impl SendQueue {
    /// `with_credit`: messages wait until the child grants credit for them.
    pub(crate) fn new(framing: Framing, with_credit: bool) -> Self {
        Self {
            framing,
            credit: with_credit.then(SendCredit::new),
            data: VecDeque::new(),
            tail: BytesMut::new(),
            frames: VecDeque::new(),
            control: BytesMut::new(),
            control_frames: Vec::new(),
            blocked: VecDeque::new(),
            accepted: 0,
            written: 0,
        }
    }

    /// Whether a message may be written by its sender at once, ahead of nothing.
    pub(crate) fn is_free(&self) -> bool {
        self.is_empty() && self.credit.as_ref().is_none_or(SendCredit::may_send)
    }

    /// Whether nothing is queued at all.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_work() && self.blocked.is_empty()
    }

    /// Whether there is something that may be written now.
    pub(crate) fn has_work(&self) -> bool {
        !self.frames.is_empty() || !self.control_frames.is_empty()
    }

    /// Bytes that may be written now, those of control frames apart.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.tail.len() + self.data.iter().map(Bytes::len).sum::<usize>()
    }

    /// How many messages were taken in, and how many of them are in the kernel.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.accepted, self.written)
    }

    /// Takes note of a message that its sender writes itself.
    pub(crate) fn begin_direct(&mut self, payload_len: usize) {
        self.accepted += 1;
        if let Some(credit) = &mut self.credit {
            credit.spend(payload_len);
        }
    }

    /// Its sender has written all of it.
    pub(crate) fn end_direct(&mut self) {
        self.written += 1;
    }

    /// Its sender could write only a part: `rest` goes before everything else.
    pub(crate) fn take_over(&mut self, rest: [Bytes; 3], len: usize, done: Done) {
        let mut left = 0;
        for chunk in rest.into_iter().rev().filter(|chunk| !chunk.is_empty()) {
            left += chunk.len();
            self.data.push_front(chunk);
        }
        self.frames.push_front(Frame {
            left,
            len,
            message: true,
            place: None,
            done: Some(done),
        });
    }

    pub(crate) fn push_message(&mut self, payload: Bytes, place: Place, done: Option<Done>) {
        self.accepted += 1;
        match &mut self.credit {
            Some(credit) if !self.blocked.is_empty() || !credit.may_send() => {
                self.blocked.push_back(Waiting {
                    payload,
                    place,
                    done,
                });
                return;
            }
            Some(credit) => credit.spend(payload.len()),
            None => {}
        }
        self.encode(Waiting {
            payload,
            place,
            done,
        });
    }

    fn encode(&mut self, message: Waiting) {
        let Waiting {
            payload,
            place,
            done,
        } = message;
        let before = self.tail.len();
        let mut apart = 0;
        if self.framing == Framing::Frames {
            self.tail
                .put_slice(&FrameHead::Message.prefix(payload.len()));
        }
        if payload.len() <= SMALL {
            self.tail.put_slice(&payload);
        } else {
            apart = self.tail.len() + payload.len() - before;
            self.seal();
            self.data.push_back(payload);
        }
        if self.framing == Framing::Lines {
            self.tail.put_u8(b'\n');
        }
        let before = if apart > 0 { 0 } else { before };
        let len = apart + self.tail.len() - before;
        self.frames.push_back(Frame {
            left: len,
            len,
            message: true,
            place,
            done,
        });
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.data.push_back(self.tail.split().freeze());
        }
    }

    /// Bytes of control frames that wait.
    pub(crate) fn control_bytes(&self) -> usize {
        self.control.len()
    }

    /// Queues a whole frame that needs no credit.
    pub(crate) fn push_control(&mut self, head: FrameHead, payload: &[u8]) {
        let before = self.control.len();
        self.control.put_slice(&head.prefix(payload.len()));
        self.control.put_slice(payload);
        self.control_frames.push(self.control.len() - before);
    }

    /// The child allows this many bytes more.
    pub(crate) fn grant(&mut self, bytes: u32) {
        if let Some(credit) = &mut self.credit {
            credit.grant(bytes);
        }
        self.unblock();
    }

    /// The child wants no credit: messages wait for nothing but the pipe.
    pub(crate) fn without_credit(&mut self) {
        self.credit = None;
        self.unblock();
    }

    fn unblock(&mut self) {
        while let Some(message) = self.blocked.front() {
            match &mut self.credit {
                Some(credit) if !credit.may_send() => break,
                Some(credit) => credit.spend(message.payload.len()),
                None => {}
            }
            if let Some(message) = self.blocked.pop_front() {
                self.encode(message);
            }
        }
    }

    /// What to write next, in order. Until [`advance`](Self::advance) nothing may come in between.
    pub(crate) fn begin(&mut self, chunks: &mut Vec<Bytes>) {
        chunks.clear();
        self.insert_control();
        self.seal();
        let mut bytes = 0;
        for chunk in self.data.iter().take(MAX_CHUNKS) {
            if bytes >= MAX_WRITE {
                break;
            }
            bytes += chunk.len();
            chunks.push(chunk.clone());
        }
    }

    /// Puts the control frames right after the frame under way, and earlier ones of their kind.
    fn insert_control(&mut self) {
        if self.control_frames.is_empty() {
            return;
        }
        let begun = |frame: &Frame| frame.left < frame.len || !frame.message;
        let first = self.frames.iter().take_while(|frame| begun(frame)).count();
        let mut offset = self.frames.iter().take(first).map(|frame| frame.left).sum();
        self.seal();
        let mut at = 0;
        while offset > 0 {
            let chunk = &mut self.data[at];
            if chunk.len() > offset {
                let rest = chunk.split_off(offset);
                self.data.insert(at + 1, rest);
                offset = 0;
            } else {
                offset -= chunk.len();
            }
            at += 1;
        }
        self.data.insert(at, self.control.split().freeze());
        for (index, len) in self.control_frames.drain(..).enumerate() {
            self.frames.insert(
                first + index,
                Frame {
                    left: len,
                    len,
                    message: false,
                    place: None,
                    done: None,
                },
            );
        }
    }

    /// `count` bytes of what [`begin`](Self::begin) gave are in the kernel.
    pub(crate) fn advance(&mut self, mut count: usize) -> Written {
        let mut chunk_bytes = count;
        while chunk_bytes > 0 {
            let Some(chunk) = self.data.front_mut() else {
                break;
            };
            if chunk.len() > chunk_bytes {
                let _ = chunk.split_to(chunk_bytes);
                break;
            }
            chunk_bytes -= chunk.len();
            self.data.pop_front();
        }
        let mut written = Written::default();
        while let Some(frame) = self.frames.front_mut() {
            if frame.left > count {
                frame.left -= count;
                break;
            }
            count -= frame.left;
            let Some(frame) = self.frames.pop_front() else {
                break;
            };
            self.written += u64::from(frame.message);
            if let Some(bytes) = frame.place {
                written.places += 1;
                written.bytes += bytes as usize;
            }
            if let Some(done) = frame.done {
                let _ = done.send(());
            }
        }
        written
    }

    /// Forgets everything: nothing of it will be written.
    pub(crate) fn clear(&mut self) {
        let (accepted, written) = self.progress();
        *self = Self::new(self.framing, self.credit.is_some());
        (self.accepted, self.written) = (accepted, written);
    }
}

/// The chunks as a write takes them.
pub(crate) fn slices(chunks: &[Bytes]) -> Vec<IoSlice<'_>> {
    chunks.iter().map(|chunk| IoSlice::new(chunk)).collect()
}

#[cfg(test)]
mod tests;
