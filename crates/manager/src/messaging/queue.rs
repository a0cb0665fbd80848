//! What is to be written to a child, as pure data: frames in order, and where the pipe stands.
//!
//! ```text
//!  push ──credit of its lane?──► tail ─┐                      ┌─► begin ──► (write) ──► advance
//!        │no                           ├─► data: chunks ──────┤
//!        ▼                             │   frames: lengths    │
//!     blocked, by lane ──grant─────────┘                      │
//!  push_control ──► control ──────────────────────────────────┘ next after the frame under way
//! ```
//!
//! Messages and requests wait for the credit of their lane, each in a queue of their own, so that a lane
//! without credit holds up no other. Answers (replies, failures, and items, for whose credit their sender
//! has waited) need none.
//!
//! Small frames are copied into one growing chunk, so that a thousand of them are one write; large
//! payloads are chunks of their own and never copied. Control frames need no credit and overtake
//! every message that has not begun.

mod outgoing;
mod runs;

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{BufMut, Bytes, BytesMut};
use procession_wire::credit::SendCredit;
use procession_wire::{FrameHead, Framing};
use tokio::sync::oneshot;

pub(crate) use outgoing::{LANES, Lane, Outgoing};

/// Payloads up to this many bytes are copied next to their neighbours.
pub(crate) const SMALL: usize = 8 * 1024;
/// Chunks in one write: beyond this the kernel's work for each outweighs the call saved.
const MAX_CHUNKS: usize = 64;
/// Bytes in one write; no pipe takes more at once, whatever its size was raised to.
const MAX_WRITE: usize = 1024 * 1024;

/// Told when its message is in the kernel; dropped when it never will be.
pub(crate) type Done = oneshot::Sender<()>;

#[derive(Debug)]
struct Frame {
    /// Bytes not yet in the kernel.
    left: usize,
    /// Bytes in all.
    len: usize,
    /// None for a control frame.
    lane: Option<Lane>,
    /// Bytes of its lane's capacity, released with it; `None` where it was not counted.
    charge: Option<u32>,
    done: Option<Done>,
}

#[derive(Debug)]
struct Waiting {
    frame: Outgoing,
    charge: Option<u32>,
    done: Option<Done>,
}

/// What became of a write.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Frames whose capacity is to be released, by lane.
    pub(crate) frames: [usize; LANES],
    /// Bytes of it.
    pub(crate) bytes: [usize; LANES],
    /// How many senders were told.
    pub(crate) senders: usize,
}

impl Written {
    fn release(&mut self, lane: Lane, charge: Option<u32>) {
        if let Some(bytes) = charge {
            self.frames[lane as usize] += 1;
            self.bytes[lane as usize] += bytes as usize;
        }
    }
}

#[derive(Debug)]
pub(crate) struct SendQueue {
    framing: Framing,
    /// Of messages and requests.
    credit: Option<[SendCredit; 2]>,
    data: VecDeque<Bytes>,
    tail: BytesMut,
    frames: VecDeque<Frame>,
    /// Bytes in `data` and `tail`.
    ready: usize,
    control: BytesMut,
    /// Bytes of control frames that were not written yet, wherever they are.
    unwritten_control: usize,
    control_frames: Vec<usize>,
    /// Messages and requests that wait for credit.
    blocked: [VecDeque<Waiting>; 2],
    /// No more credit will come: what has none is not taken.
    credit_ended: bool,
    /// There is no child: everything waits for the next.
    between_runs: bool,
    accepted: u64,
    written: u64,
    /// Messages that were given up for that.
    given_up: u64,
    /// Bytes of payload in all messages that were written.
    written_bytes: u64,
}

impl SendQueue {
    /// `with_credit`: messages wait until the child grants credit for them.
    pub(crate) fn new(framing: Framing, with_credit: bool) -> Self {
        Self {
            framing,
            credit: with_credit.then(Default::default),
            data: VecDeque::new(),
            tail: BytesMut::new(),
            frames: VecDeque::new(),
            ready: 0,
            control: BytesMut::new(),
            unwritten_control: 0,
            control_frames: Vec::new(),
            blocked: Default::default(),
            credit_ended: false,
            between_runs: false,
            accepted: 0,
            written: 0,
            given_up: 0,
            written_bytes: 0,
        }
    }

    /// Whether a frame of this lane may be written by its sender at once, ahead of nothing.
    pub(crate) fn is_free(&self, lane: Lane) -> bool {
        if self.has_work() || self.between_runs {
            return false;
        }
        let Some(index) = lane.with_credit() else {
            return true;
        };
        let credit = self.credit.as_ref().map(|credit| &credit[index]);
        self.blocked[index].is_empty() && credit.is_none_or(SendCredit::may_send)
    }

    /// Whether nothing is queued at all.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_work() && self.blocked.iter().all(VecDeque::is_empty)
    }

    /// How many messages are queued, and their bytes.
    pub(crate) fn depth(&self) -> (u64, u64) {
        let blocked = self.blocked[0].iter();
        let blocked: usize = blocked.map(|waiting| waiting.frame.payload.len()).sum();
        let frames = self.frames.iter();
        let frames = frames.filter(|frame| frame.lane == Some(Lane::Messages));
        let left: usize = frames.map(|frame| frame.left).sum();
        let waiting = self.accepted - self.written - self.given_up;
        (waiting, (blocked + left) as u64)
    }

    /// Whether there is something that may be written now.
    pub(crate) fn has_work(&self) -> bool {
        !self.frames.is_empty() || !self.control_frames.is_empty()
    }

    /// Whether somebody waits until something that may be written is in the kernel.
    pub(crate) fn has_sender(&self) -> bool {
        self.frames.iter().any(|frame| frame.done.is_some())
    }

    /// Bytes that may be written now, without control frames that were not begun.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.ready
    }

    /// How many messages were taken in, and how many of them are in the kernel.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.accepted, self.written)
    }

    /// Takes note of a frame that its sender writes itself.
    pub(crate) fn begin_direct(&mut self, lane: Lane, payload_len: usize) {
        self.accepted += u64::from(lane == Lane::Messages);
        self.spend(lane, payload_len);
    }

    /// Its sender could write nothing of it.
    pub(crate) fn undo_direct(&mut self, lane: Lane) {
        self.accepted -= u64::from(lane == Lane::Messages);
    }

    /// Its sender has written all of it.
    pub(crate) fn end_direct(&mut self, lane: Lane, payload_len: usize) {
        if lane == Lane::Messages {
            self.written += 1;
            self.written_bytes += payload_len as u64;
        }
    }

    /// What is on the wire besides the payload of a message.
    fn around(&self) -> usize {
        match self.framing {
            Framing::Lines => 1,
            _ => FrameHead::Message.prefix(0).len(),
        }
    }

    /// Bytes of payload in the messages that are in the kernel.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    fn spend(&mut self, lane: Lane, payload_len: usize) {
        if let (Some(credit), Some(index)) = (&mut self.credit, lane.with_credit()) {
            credit[index].spend(payload_len);
        }
    }

    /// Its sender could write only a part: `rest` goes before everything else.
    pub(crate) fn take_over(&mut self, lane: Lane, rest: [Bytes; 3], len: usize, done: Done) {
        let mut left = 0;
        for chunk in rest.into_iter().rev().filter(|chunk| !chunk.is_empty()) {
            left += chunk.len();
            self.data.push_front(chunk);
        }
        self.ready += left;
        self.frames.push_front(Frame {
            left,
            len,
            lane: Some(lane),
            charge: None,
            done: Some(done),
        });
    }

    /// Takes in a frame; one without credit waits for that.
    #[inline]
    pub(crate) fn push(&mut self, frame: Outgoing, charge: Option<u32>, done: Option<Done>) {
        if frame.lane == Lane::Messages {
            self.push_message(frame.payload, charge, done);
        } else {
            self.push_any(Waiting {
                frame,
                charge,
                done,
            });
        }
    }

    /// The same for a message. Small ones that need not wait come in numbers, and go the shortest way.
    #[inline]
    pub(crate) fn push_message(&mut self, payload: Bytes, charge: Option<u32>, done: Option<Done>) {
        self.accepted += 1;
        let credit = self.credit.as_ref();
        let may_send = self.blocked[0].is_empty() && credit.is_none_or(|it| it[0].may_send());
        if payload.len() > SMALL || !may_send || self.between_runs {
            let frame = Outgoing::message(payload);
            return self.push_any(Waiting {
                frame,
                charge,
                done,
            });
        }
        self.spend(Lane::Messages, payload.len());
        let len = self.around() + payload.len();
        self.tail.reserve(len);
        if self.framing == Framing::Frames {
            let prefix = FrameHead::Message.prefix(payload.len());
            self.tail.put_slice(&prefix);
        }
        self.tail.put_slice(&payload);
        if self.framing == Framing::Lines {
            self.tail.put_u8(b'\n');
        }
        self.ready += len;
        self.frames.push_back(Frame {
            left: len,
            len,
            lane: Some(Lane::Messages),
            charge,
            done,
        });
    }

    fn push_any(&mut self, waiting: Waiting) {
        if let Some(index) = waiting.frame.lane.with_credit() {
            let credit = self.credit.as_ref().map(|credit| &credit[index]);
            let first = self.blocked[index].is_empty();
            let may_send = first && credit.is_none_or(SendCredit::may_send);
            if self.between_runs || (credit.is_some() && !may_send) {
                self.blocked[index].push_back(waiting);
                return;
            }
        }
        self.spend(waiting.frame.lane, waiting.frame.payload.len());
        self.encode(waiting);
    }

    /// Takes back a request that waits for credit. Gives what is to be released; `None` if it does
    /// not wait.
    pub(crate) fn withdraw(&mut self, id: u64) -> Option<Written> {
        let blocked = &mut self.blocked[1];
        let index = blocked
            .iter()
            .position(|waiting| waiting.frame.head == FrameHead::Request { id })?;
        let waiting = blocked.remove(index)?;
        let mut freed = Written::default();
        freed.release(Lane::Requests, waiting.charge);
        Some(freed)
    }

    fn encode(&mut self, message: Waiting) {
        let Waiting {
            frame,
            charge,
            done,
        } = message;
        let payload = frame.payload;
        let before = self.tail.len();
        let mut apart = 0;
        if self.framing == Framing::Frames {
            self.tail.put_slice(&frame.head.prefix(payload.len()));
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
        if let Some(next) = frame.followed_by {
            self.tail.put_slice(&next);
        }
        let before = if apart > 0 { 0 } else { before };
        let len = apart + self.tail.len() - before;
        self.ready += len;
        self.frames.push_back(Frame {
            left: len,
            len,
            lane: Some(frame.lane),
            charge,
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
        self.unwritten_control
    }

    /// How many messages were given up because no credit for them will come.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Whether this will never be sent, for want of credit.
    pub(crate) fn is_hopeless(&self, lane: Lane) -> bool {
        let credit = self.credit.as_ref().zip(lane.with_credit());
        self.credit_ended && credit.is_some_and(|(credit, index)| !credit[index].may_send())
    }

    /// No more credit will come. Gives what is to be released of what waits for it.
    pub(crate) fn end_credit(&mut self) -> Written {
        self.credit_ended = true;
        let mut freed = Written::default();
        for waiting in self.blocked.iter_mut().flat_map(|lane| lane.drain(..)) {
            let lane = waiting.frame.lane;
            self.given_up += u64::from(lane == Lane::Messages);
            freed.release(lane, waiting.charge);
        }
        freed
    }

    /// Queues a whole frame that needs no credit.
    pub(crate) fn push_control(&mut self, head: FrameHead, payload: &[u8]) {
        let before = self.control.len();
        self.control.put_slice(&head.prefix(payload.len()));
        self.control.put_slice(payload);
        self.control_frames.push(self.control.len() - before);
        self.unwritten_control += self.control.len() - before;
    }

    /// The child allows this many bytes more on a lane.
    pub(crate) fn grant(&mut self, lane: Lane, bytes: u32) {
        if let (Some(credit), Some(index)) = (&mut self.credit, lane.with_credit()) {
            credit[index].grant(bytes);
        }
        self.unblock();
    }

    /// The child wants no credit: frames wait for nothing but the pipe.
    pub(crate) fn without_credit(&mut self) {
        self.credit = None;
        self.unblock();
    }

    fn unblock(&mut self) {
        // Requests first: they are few, and somebody waits for each.
        for lane in [Lane::Requests, Lane::Messages] {
            let Some(index) = lane.with_credit() else {
                continue;
            };
            while let Some(next) = self.blocked[index].front() {
                let len = next.frame.payload.len();
                let credit = self.credit.as_ref().map(|credit| &credit[index]);
                if credit.is_some_and(|credit| !credit.may_send()) {
                    break;
                }
                self.spend(lane, len);
                if let Some(next) = self.blocked[index].pop_front() {
                    self.encode(next);
                }
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
        let begun = |frame: &Frame| frame.left < frame.len || frame.lane.is_none();
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
        self.ready += self.control.len();
        self.data.insert(at, self.control.split().freeze());
        for (index, len) in self.control_frames.drain(..).enumerate() {
            self.frames.insert(
                first + index,
                Frame {
                    left: len,
                    len,
                    lane: None,
                    charge: None,
                    done: None,
                },
            );
        }
    }

    /// `count` bytes of what [`begin`](Self::begin) gave are in the kernel.
    pub(crate) fn advance(&mut self, mut count: usize) -> Written {
        self.ready = self.ready.saturating_sub(count);
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
            if frame.lane.is_none() {
                self.unwritten_control = self.unwritten_control.saturating_sub(frame.len);
            }
            if frame.lane == Some(Lane::Messages) {
                self.written += 1;
                self.written_bytes += (frame.len - self.around()) as u64;
            }
            if let Some(lane) = frame.lane {
                written.release(lane, frame.charge);
            }
            if let Some(done) = frame.done {
                written.senders += 1;
                let _ = done.send(());
            }
        }
        written
    }

    /// Forgets everything: nothing of it will be written.
    pub(crate) fn clear(&mut self) {
        let ((accepted, written), bytes) = (self.progress(), self.written_bytes);
        let given_up = self.given_up;
        *self = Self::new(self.framing, self.credit.is_some());
        (self.accepted, self.written, self.written_bytes) = (accepted, written, bytes);
        self.given_up = given_up;
    }
}

/// The chunks as a write takes them.
pub(crate) fn slices(chunks: &[Bytes]) -> Vec<IoSlice<'_>> {
    chunks.iter().map(|chunk| IoSlice::new(chunk)).collect()
}

#[cfg(test)]
mod tests;
