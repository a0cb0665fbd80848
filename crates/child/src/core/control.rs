//! [`Control`]: the control frames that a child owes its parent.

use std::collections::{BTreeMap, VecDeque};

use bytes::BufMut;
use procession_wire::{
    FrameHead,
    credit::{MESSAGE_LANE, REQUEST_LANE},
};

/// Of more pings than this that wait for an answer, the newest are answered.
const PONGS: usize = 16;

/// With this many requests refused that were not told so, no more are refused that had no credit.
const REFUSALS: usize = 1024;

/// No control frame is longer.
const LONGEST: usize = 64;

/// The control frames that wait to be written, bounded: one amount a lane, the newest pings, ends
/// and cancels of requests that there was credit for, and up to `REFUSALS` refusals of those
/// without.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pongs: VecDeque<u64>,
    messages: u64,
    requests: u64,
    /// Credit for the items of requests of ours.
    items: BTreeMap<u64, u64>,
    /// Requests of ours that nobody waits for any more.
    cancels: VecDeque<u64>,
    /// Requests of the parent that nobody will answer.
    refusals: VecDeque<(u64, Refusal)>,
}

/// Why a request of the parent ends without anybody having answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Stopping,
    Cancelled,
    Closed,
    CreditExceeded,
}

/// One control frame.
pub(super) enum Due {
    Pong(u64),
    Grant { lane: u64, bytes: u32 },
    Cancel { id: u64 },
    Refusal { id: u64, why: Refusal },
}

impl Control {
    pub(super) fn is_empty(&self) -> bool {
        self.pongs.is_empty()
            && self.messages == 0
            && self.requests == 0
            && self.items.is_empty()
            && self.cancels.is_empty()
            && self.refusals.is_empty()
    }

    pub(super) fn pong(&mut self, number: u64) {
        if self.pongs.len() == PONGS {
            self.pongs.pop_front();
        }
        self.pongs.push_back(number);
    }

    pub(super) fn grant_messages(&mut self, bytes: u32) {
        self.messages += u64::from(bytes);
    }

    pub(super) fn grant_requests(&mut self, bytes: u32) {
        self.requests += u64::from(bytes);
    }

    pub(super) fn grant_items(&mut self, id: u64, bytes: u32) {
        *self.items.entry(id).or_default() += u64::from(bytes);
    }

    /// The request of ours has ended: no credit for its items.
    pub(super) fn forget_items(&mut self, id: u64) {
        self.items.remove(&id);
    }

    pub(super) fn cancel(&mut self, id: u64) {
        self.cancels.push_back(id);
    }

    pub(super) fn refuse(&mut self, id: u64, why: Refusal) {
        self.refusals.push_back((id, why));
    }

    /// Whether so many refusals wait that only those of requests with credit can be added.
    pub(super) fn is_crowded(&self) -> bool {
        self.refusals.len() >= REFUSALS
    }

    pub(super) fn refuses(&self, id: u64) -> bool {
        self.refusals.iter().any(|(refused, _)| *refused == id)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes out what is most urgent.
    pub(super) fn next(&mut self) -> Option<Due> {
        if let Some(number) = self.pongs.pop_front() {
            return Some(Due::Pong(number));
        }
        if let Some(bytes) = take_amount(&mut self.messages) {
            let lane = MESSAGE_LANE;
            return Some(Due::Grant { lane, bytes });
        }
        if let Some(bytes) = take_amount(&mut self.requests) {
            let lane = REQUEST_LANE;
            return Some(Due::Grant { lane, bytes });
        }
        if let Some(id) = self.cancels.pop_front() {
            return Some(Due::Cancel { id });
        }
        if let Some(mut lane) = self.items.first_entry() {
            let bytes = take_amount(lane.get_mut()).unwrap_or(0);
            let lane = if *lane.get() == 0 {
                lane.remove_entry().0
            } else {
                *lane.key()
            };
            return Some(Due::Grant { lane, bytes });
        }
        let (id, why) = self.refusals.pop_front()?;
        Some(Due::Refusal { id, why })
    }
}

impl Refusal {
    fn text(self) -> &'static str {
        match self {
            Self::Stopping => "this child is stopping",
            Self::Cancelled => "cancelled",
            Self::Closed => "this child has closed its connection",
            Self::CreditExceeded => "more requests than were granted",
        }
    }
}

impl Due {
    /// Whether any frame fits into what is left of `most` bytes.
    pub(super) fn fits(written: usize, most: usize) -> bool {
        written.saturating_add(LONGEST) <= most
    }

    /// Writes the frame, with no more text than `limit` bytes, and returns its length.
    pub(super) fn encode(&self, limit: usize, out: &mut impl BufMut) -> usize {
        let (head, text) = match *self {
            Self::Pong(number) => (FrameHead::Pong(number), ""),
            Self::Grant { lane, bytes } => (FrameHead::Credit { lane, bytes }, ""),
            Self::Cancel { id } => (FrameHead::Cancel { id }, ""),
            Self::Refusal { id, why } => (FrameHead::Failure { id }, why.text()),
        };
        let text = &text[..text.floor_char_boundary(limit)];
        let prefix = head.prefix(text.len());
        out.put_slice(&prefix);
        out.put_slice(text.as_bytes());
        prefix.len() + text.len()
    }
}

fn take_amount(due: &mut u64) -> Option<u32> {
    let bytes = u32::try_from(*due).unwrap_or(u32::MAX);
    *due -= u64::from(bytes);
    (bytes > 0).then_some(bytes)
}
