//! What can be queued for a child, and by what it is bounded.

use bytes::Bytes;
use procession_wire::{FrameHead, FramePrefix};

/// What is bounded and granted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Messages,
    Requests,
    /// Replies, failures and items. What asked for them bounds them, and so does their own room here.
    Answers,
}

/// How many lanes there are.
pub(crate) const LANES: usize = 3;

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) lane: Lane,
    /// Not used over lines.
    pub(crate) head: FrameHead,
    pub(crate) payload: Bytes,
    /// A frame without payload that has to follow it at once.
    pub(crate) followed_by: Option<FramePrefix>,
}

impl Outgoing {
    pub(crate) fn message(payload: Bytes) -> Self {
        Self {
            lane: Lane::Messages,
            head: FrameHead::Message,
            payload,
            followed_by: None,
        }
    }

    /// A request, and the first credit for its items.
    pub(crate) fn request(id: u64, payload: Bytes, credit: Option<u32>) -> Self {
        let credit = credit.map(|bytes| FrameHead::Credit { lane: id, bytes });
        Self {
            lane: Lane::Requests,
            head: FrameHead::Request { id },
            payload,
            followed_by: credit.map(|credit| credit.prefix(0)),
        }
    }

    pub(crate) fn answer(head: FrameHead, payload: Bytes) -> Self {
        Self {
            lane: Lane::Answers,
            head,
            payload,
            followed_by: None,
        }
    }
}

impl Lane {
    /// Which of the lanes with credit it is.
    pub(super) fn with_credit(self) -> Option<usize> {
        match self {
            Self::Messages => Some(0),
            Self::Requests => Some(1),
            Self::Answers => None,
        }
    }
}
