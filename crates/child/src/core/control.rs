//! [`Control`]: the control frames that a child owes its parent.

use std::collections::VecDeque;

use bytes::BufMut;
use procession_wire::{
    FrameHead,
    credit::{MESSAGE_LANE, REQUEST_LANE},
};

/// Of more pings than this that wait for an answer, the newest are answered.
const PONGS: usize = 16;

/// Why a request fails, until a program can answer one.
const REFUSAL: &[u8] = b"this child does not serve requests";

/// No control frame is longer.
const LONGEST: usize = 64;

/// What waits to be written, bounded: one amount a lane, the newest pings, and the requests that the
/// parent had credit for.
#[derive(Debug, Default)]
pub(super) struct Control {
    pongs: VecDeque<u64>,
    messages: u64,
    requests: u64,
    /// Ids of refused requests, and what each cost.
    refusals: VecDeque<(u64, u64)>,
}

/// One control frame.
pub(super) enum Due {
    Pong(u64),
    Grant { lane: u64, bytes: u32 },
    Refusal { id: u64, cost: u64 },
}

impl Control {
    pub(super) fn is_empty(&self) -> bool {
        self.pongs.is_empty()
            && self.messages == 0
            && self.requests == 0
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

    pub(super) fn refuse(&mut self, id: u64, cost: u64) {
        self.refusals.push_back((id, cost));
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
        let (id, cost) = self.refusals.pop_front()?;
        Some(Due::Refusal { id, cost })
    }
}

impl Due {
    /// Whether any frame fits into what is left of `most` bytes.
    pub(super) fn fits(written: usize, most: usize) -> bool {
        written + LONGEST <= most
    }

    /// Writes the frame and returns its length.
    pub(super) fn encode(&self, out: &mut impl BufMut) -> usize {
        let (prefix, payload) = match *self {
            Self::Pong(number) => (FrameHead::Pong(number).prefix(0), &b""[..]),
            Self::Grant { lane, bytes } => (FrameHead::Credit { lane, bytes }.prefix(0), &b""[..]),
            Self::Refusal { id, .. } => (FrameHead::Failure { id }.prefix(REFUSAL.len()), REFUSAL),
        };
        out.put_slice(&prefix);
        out.put_slice(payload);
        prefix.len() + payload.len()
    }
}

fn take_amount(due: &mut u64) -> Option<u32> {
    let bytes = u32::try_from(*due).unwrap_or(u32::MAX);
    *due -= u64::from(bytes);
    (bytes > 0).then_some(bytes)
}
