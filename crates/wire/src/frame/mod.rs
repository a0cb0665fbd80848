//! `Framing::Frames`: a length, a kind and a body.
//!
//! ```text
//!  0         4      5
//!  ┌─────────┬──────┬──────────────┬─────────┐
//!  │ len u32 │ kind │ fixed fields │ payload │   len: of fixed fields and payload, big-endian
//!  └─────────┴──────┴──────────────┴─────────┘
//!  └──────────── FramePrefix ──────┘
//!  └──── FrameHead ─────────────┘               in memory: everything but the payload
//! ```
//!
//! To write a frame, take [`FrameHead::prefix`] and let the payload follow it, in one `writev` or
//! one buffer. To read frames, give [`FrameDecoder::parse`] what has been received. [`Frame`] is the
//! owned form, for where convenience counts more than nanoseconds.

mod decoder;
mod hello;
mod owned;

use std::{fmt, ops::Deref};

pub use decoder::{FrameDecoder, ParsedFrame};
pub use hello::{Features, Hello, MAX_HELLO_LEN};
pub use owned::Frame;

use hello::HELLO_LEN;

use crate::{EncodeError, MAX_MESSAGE_LIMIT};

/// Length of what every frame begins with: length and kind, in bytes.
pub const HEADER_LEN: usize = 5;

/// The kinds, as they are on the wire.
mod kind {
    pub(super) const MESSAGE: u8 = 0x00;
    pub(super) const REQUEST: u8 = 0x01;
    pub(super) const REPLY: u8 = 0x02;
    pub(super) const FAILURE: u8 = 0x03;
    pub(super) const CANCEL: u8 = 0x04;
    pub(super) const ITEM: u8 = 0x05;
    pub(super) const CREDIT: u8 = 0x06;
    pub(super) const HELLO: u8 = 0x10;
    pub(super) const READY: u8 = 0x11;
    pub(super) const STOP: u8 = 0x12;
    pub(super) const PING: u8 = 0x13;
    pub(super) const PONG: u8 = 0x14;
    pub(super) const BYE: u8 = 0x15;
    /// From here on a receiver skips what it does not know.
    pub(super) const EXTENSION: u8 = 0x80;

    /// Length of the fixed fields of a kind; `None` if the kind is unknown.
    #[inline]
    pub(super) const fn fixed_len(kind: u8) -> Option<usize> {
        match kind {
            MESSAGE | READY | STOP | EXTENSION.. => Some(0),
            REQUEST | REPLY | FAILURE | CANCEL | ITEM | PING | PONG => Some(8),
            CREDIT => Some(12),
            HELLO => Some(super::HELLO_LEN),
            BYE => Some(4),
            _ => None,
        }
    }
}

/// Checks that a payload of this many bytes can be sent in a frame, with a limit in bytes (never
/// more than [`MAX_MESSAGE_LIMIT`]).
///
/// # Errors
///
/// [`EncodeError::TooLarge`].
#[inline]
pub fn check_payload(len: usize, limit: usize) -> Result<(), EncodeError> {
    let limit = limit.min(MAX_MESSAGE_LIMIT);
    if len > limit {
        return Err(EncodeError::TooLarge { len, limit });
    }
    Ok(())
}

/// Everything of a frame but its payload.
///
/// ```
/// use procession_wire::FrameHead;
///
/// let prefix = FrameHead::Request { id: 7 }.prefix(3);
/// assert_eq!(&prefix[..], b"\x00\x00\x00\x0b\x01\0\0\0\0\0\0\0\x07"); // 3 bytes of payload follow
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameHead {
    /// A message; the payload is all of the body.
    Message,
    /// A request that expects one [`Reply`](Self::Reply) or [`Failure`](Self::Failure).
    Request {
        /// The asker's number for it, 1 to 2⁶⁴−2.
        id: u64,
    },
    /// The answer to a request.
    Reply {
        /// The request's id.
        id: u64,
    },
    /// A request that failed; the payload is text.
    Failure {
        /// The request's id.
        id: u64,
    },
    /// The asker no longer wants the answer, which is sent all the same.
    Cancel {
        /// The request's id.
        id: u64,
    },
    /// A part of the answer to a request; the reply ends it.
    Item {
        /// The request's id.
        id: u64,
    },
    /// More credit for a lane: see [`credit`](crate::credit).
    Credit {
        /// The lane.
        lane: u64,
        /// How much more may be sent on it, in bytes.
        bytes: u32,
    },
    /// The child's first frame.
    Hello(Hello),
    /// The child has started and does its work now; the payload is a status text.
    Ready,
    /// Please finish and exit.
    Stop,
    /// Please answer with a pong of the same number.
    Ping(u64),
    /// The answer to a ping.
    Pong(u64),
    /// The child's last frame: whatever follows it is not to be read as frames.
    Bye {
        /// The exit status that the child is about to have.
        status: i32,
    },
    /// A kind of 0x80 and above, which a receiver that does not know it skips.
    Extension {
        /// The kind. When written, its highest bit is set.
        kind: u8,
    },
}

impl FrameHead {
    /// The kind, as on the wire.
    pub fn kind(self) -> u8 {
        match self {
            Self::Message => kind::MESSAGE,
            Self::Request { .. } => kind::REQUEST,
            Self::Reply { .. } => kind::REPLY,
            Self::Failure { .. } => kind::FAILURE,
            Self::Cancel { .. } => kind::CANCEL,
            Self::Item { .. } => kind::ITEM,
            Self::Credit { .. } => kind::CREDIT,
            Self::Hello(_) => kind::HELLO,
            Self::Ready => kind::READY,
            Self::Stop => kind::STOP,
            Self::Ping(_) => kind::PING,
            Self::Pong(_) => kind::PONG,
            Self::Bye { .. } => kind::BYE,
            Self::Extension { kind } => kind | kind::EXTENSION,
        }
    }

    /// What precedes a payload of this many bytes: header and fixed fields.
    ///
    /// # Panics
    ///
    /// The payload is over [`MAX_MESSAGE_LIMIT`] and does not fit a 32-bit
    /// length. Senders use [`check_payload`] first.
    #[inline]
    pub fn prefix(self, payload_len: usize) -> FramePrefix {
        let mut prefix = FramePrefix {
            bytes: [0; _],
            len: HEADER_LEN,
        };
        match self {
            Self::Message | Self::Ready | Self::Stop | Self::Extension { .. } => {}
            Self::Request { id }
            | Self::Reply { id }
            | Self::Failure { id }
            | Self::Cancel { id }
            | Self::Item { id } => prefix.push(id.to_be_bytes()),
            Self::Ping(number) | Self::Pong(number) => prefix.push(number.to_be_bytes()),
            Self::Credit { lane, bytes } => {
                prefix.push(lane.to_be_bytes());
                prefix.push(bytes.to_be_bytes());
            }
            Self::Hello(hello) => prefix.push(hello.fields()),
            Self::Bye { status } => prefix.push(status.to_be_bytes()),
        }
        let len = u32::try_from(payload_len + prefix.len - HEADER_LEN)
            .expect("a payload within the highest message limit");
        prefix.bytes[..4].copy_from_slice(&len.to_be_bytes());
        prefix.bytes[4] = self.kind();
        prefix
    }

    /// Whether frames of this kind carry a payload.
    pub(crate) fn has_payload(self) -> bool {
        match self {
            Self::Message
            | Self::Request { .. }
            | Self::Reply { .. }
            | Self::Failure { .. }
            | Self::Item { .. }
            | Self::Ready
            | Self::Extension { .. } => true,
            Self::Cancel { .. }
            | Self::Credit { .. }
            | Self::Hello(_)
            | Self::Stop
            | Self::Ping(_)
            | Self::Pong(_)
            | Self::Bye { .. } => false,
        }
    }
}

/// What precedes the payload of a frame, ready to be written: up to 25 bytes, on the stack.
///
/// ```
/// use procession_wire::FrameHead;
///
/// let mut out = Vec::new();
/// out.extend_from_slice(&FrameHead::Message.prefix(2));
/// out.extend_from_slice(b"hi");
/// assert_eq!(out, b"\x00\x00\x00\x02\x00hi");
/// ```
#[derive(Clone, Copy)]
pub struct FramePrefix {
    bytes: [u8; HEADER_LEN + HELLO_LEN],
    len: usize,
}

impl FramePrefix {
    #[inline]
    fn push<const N: usize>(&mut self, field: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&field);
        self.len += N;
    }
}

impl Deref for FramePrefix {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for FramePrefix {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for FramePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FramePrefix({:02x?})", &self[..])
    }
}
