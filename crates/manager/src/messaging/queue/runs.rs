//! From one run of a process to the next: what was queued, and is not in the kernel.

use std::collections::VecDeque;
use std::mem;

use bytes::{Buf as _, Bytes, BytesMut};
use procession_wire::Framing;

use super::{Lane, Outgoing, SendQueue, Waiting, Written};

impl SendQueue {
    /// The run has ended, and another may follow. What was not begun of the messages waits for that
    /// where they are to be kept. All else is given up, first of all the frame of which the kernel
    /// has a part; gives what is to be released.
    pub(crate) fn set_aside(&mut self, keep: bool) -> Written {
        self.between_runs = true;
        let mut freed = Written::default();
        self.seal();
        let mut kept = VecDeque::new();
        for frame in mem::take(&mut self.frames) {
            let whole = frame.left == frame.len;
            if keep && whole && frame.lane == Some(Lane::Messages) {
                let payload = self.cut_payload(frame.len);
                kept.push_back(Waiting {
                    frame: Outgoing::message(payload),
                    charge: frame.charge,
                    done: frame.done,
                });
                continue;
            }
            self.cut(frame.left);
            if let Some(lane) = frame.lane {
                self.give_up(lane, frame.charge, &mut freed);
            }
        }
        for waiting in self
            .blocked
            .iter_mut()
            .flat_map(mem::take)
            .collect::<Vec<_>>()
        {
            if keep && waiting.frame.lane == Lane::Messages {
                kept.push_back(waiting);
            } else {
                self.give_up(waiting.frame.lane, waiting.charge, &mut freed);
            }
        }
        self.blocked[0] = kept;
        self.data.clear();
        self.ready = 0;
        self.control.clear();
        self.control_frames.clear();
        self.unwritten_control = 0;
        freed
    }

    /// A run begins, which has granted nothing yet: what has waited for it may go as soon as it does, or now where
    /// there is no credit.
    pub(crate) fn begin_run(&mut self, with_credit: bool) {
        self.between_runs = false;
        self.credit_ended = false;
        self.credit = with_credit.then(Default::default);
        self.unblock();
    }

    fn give_up(&mut self, lane: Lane, charge: Option<u32>, freed: &mut Written) {
        self.given_up += u64::from(lane == Lane::Messages);
        freed.release(lane, charge);
    }

    /// Takes a whole message off what was encoded.
    fn cut_payload(&mut self, len: usize) -> Bytes {
        let payload = len - self.around();
        if self.framing == Framing::Lines {
            let payload = self.cut(payload);
            self.cut(1);
            payload
        } else {
            self.cut(self.around());
            self.cut(payload)
        }
    }

    /// Takes bytes off what was encoded; where they are in one piece, without copying them.
    fn cut(&mut self, len: usize) -> Bytes {
        if let Some(chunk) = self.data.front_mut()
            && chunk.len() > len
        {
            return chunk.split_to(len);
        }
        let mut parts = BytesMut::new();
        while let Some(mut chunk) = self.data.pop_front() {
            if parts.is_empty() && chunk.len() == len {
                return chunk;
            }
            let missing = len - parts.len();
            if chunk.len() > missing {
                parts.extend_from_slice(&chunk[..missing]);
                chunk.advance(missing);
                self.data.push_front(chunk);
                break;
            }
            parts.extend_from_slice(&chunk);
            if parts.len() == len {
                break;
            }
        }
        parts.freeze()
    }
}
