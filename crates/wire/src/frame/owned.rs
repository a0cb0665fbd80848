//! [`Frame`]: a frame that owns its payload.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::{FrameHead, Hello, check_payload};
use crate::{EncodeError, Escaped};

/// A whole frame. See [`FrameHead`] for what each kind means.
///
/// ```
/// use bytes::BytesMut;
/// use procession_wire::{Frame, FrameDecoder};
///
/// let failure = Frame::Failure { id: 3, text: "no such file".into() };
/// let mut out = BytesMut::new();
/// failure.encode(1024, &mut out)?;
/// assert_eq!(FrameDecoder::new(1024).decode(&mut out)?, Some(failure));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// A message.
    Message(Bytes),
    /// A request.
    Request {
        /// The asker's number for it.
        id: u64,
        /// What is asked.
        payload: Bytes,
    },
    /// The answer to a request.
    Reply {
        /// The request's id.
        id: u64,
        /// The answer.
        payload: Bytes,
    },
    /// A request that failed.
    Failure {
        /// The request's id.
        id: u64,
        /// Why.
        text: String,
    },
    /// The asker no longer wants the answer.
    Cancel {
        /// The request's id.
        id: u64,
    },
    /// A part of the answer to a request.
    Item {
        /// The request's id.
        id: u64,
        /// The part.
        payload: Bytes,
    },
    /// More credit for a lane.
    Credit {
        /// The lane.
        lane: u64,
        /// How much more may be sent on it, in bytes.
        bytes: u32,
    },
    /// The child's first frame.
    Hello(Hello),
    /// The child has started, with a status text that may be empty.
    Ready(String),
    /// Please finish and exit.
    Stop,
    /// Please answer with a pong of the same number.
    Ping(u64),
    /// The answer to a ping.
    Pong(u64),
    /// The child's last frame.
    Bye {
        /// The exit status that the child is about to have.
        status: i32,
    },
    /// A frame of a kind that is left to extensions.
    Extension {
        /// The kind, 0x80 or above.
        kind: u8,
        /// The body.
        payload: Bytes,
    },
}

/// Shows the head, and the start of the payload.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Frame");
        out.field("head", &self.head());
        if !self.payload().is_empty() {
            out.field("payload", &Escaped::bytes(self.payload()).short());
        }
        out.finish()
    }
}

impl Frame {
    /// A failure whose text is cut to `limit` bytes, between two characters: however long the
    /// reason is, the request must end.
    ///
    /// ```
    /// use procession_wire::Frame;
    ///
    /// assert_eq!(Frame::failure(3, "zu groß", 6).payload(), "zu gro".as_bytes());
    /// ```
    pub fn failure(id: u64, text: impl Into<String>, limit: usize) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(limit));
        Self::Failure { id, text }
    }

    /// Appends the frame to `out`, or leaves `out` as it is. `limit` is that of the channel, in
    /// bytes of payload.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLarge`].
    pub fn encode(&self, limit: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        let payload = self.payload();
        check_payload(payload.len(), limit)?;
        let prefix = self.head().prefix(payload.len());
        out.reserve(prefix.len() + payload.len());
        out.put_slice(&prefix);
        out.put_slice(payload);
        Ok(())
    }

    /// Everything but the payload.
    pub fn head(&self) -> FrameHead {
        match *self {
            Self::Message(_) => FrameHead::Message,
            Self::Request { id, .. } => FrameHead::Request { id },
            Self::Reply { id, .. } => FrameHead::Reply { id },
            Self::Failure { id, .. } => FrameHead::Failure { id },
            Self::Cancel { id } => FrameHead::Cancel { id },
            Self::Item { id, .. } => FrameHead::Item { id },
            Self::Credit { lane, bytes } => FrameHead::Credit { lane, bytes },
            Self::Hello(hello) => FrameHead::Hello(hello),
            Self::Ready(_) => FrameHead::Ready,
            Self::Stop => FrameHead::Stop,
            Self::Ping(number) => FrameHead::Ping(number),
            Self::Pong(number) => FrameHead::Pong(number),
            Self::Bye { status } => FrameHead::Bye { status },
            Self::Extension { kind, .. } => FrameHead::Extension { kind },
        }
    }

    /// The payload: text as its bytes, nothing for a kind that has none.
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Message(payload)
            | Self::Request { payload, .. }
            | Self::Reply { payload, .. }
            | Self::Item { payload, .. }
            | Self::Extension { payload, .. } => payload,
            Self::Failure { text, .. } | Self::Ready(text) => text.as_bytes(),
            Self::Cancel { .. }
            | Self::Credit { .. }
            | Self::Hello(_)
            | Self::Stop
            | Self::Ping(_)
            | Self::Pong(_)
            | Self::Bye { .. } => &[],
        }
    }

    /// The frame with this head and payload. Text that is not UTF-8 is taken lossily; the payload of
    /// a kind that has none is ignored.
    #[inline]
    pub fn from_parts(head: FrameHead, payload: Bytes) -> Self {
        let text = |payload: Bytes| String::from_utf8_lossy(&payload).into_owned();
        match head {
            FrameHead::Message => Self::Message(payload),
            FrameHead::Request { id } => Self::Request { id, payload },
            FrameHead::Reply { id } => Self::Reply { id, payload },
            FrameHead::Failure { id } => Self::Failure {
                id,
                text: text(payload),
            },
            FrameHead::Cancel { id } => Self::Cancel { id },
            FrameHead::Item { id } => Self::Item { id, payload },
            FrameHead::Credit { lane, bytes } => Self::Credit { lane, bytes },
            FrameHead::Hello(hello) => Self::Hello(hello),
            FrameHead::Ready => Self::Ready(text(payload)),
            FrameHead::Stop => Self::Stop,
            FrameHead::Ping(number) => Self::Ping(number),
            FrameHead::Pong(number) => Self::Pong(number),
            FrameHead::Bye { status } => Self::Bye { status },
            FrameHead::Extension { kind } => Self::Extension { kind, payload },
        }
    }
}
