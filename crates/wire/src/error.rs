//! What can be wrong with what is sent, and with what is received.

use std::fmt;

use bytes::Bytes;

/// Why a payload cannot be sent. Nothing of it was written, and the channel goes on.
///
/// ```
/// use procession_wire::{EncodeError, line::check_line};
///
/// let error = check_line(b"two\nlines", 1024).unwrap_err();
/// assert_eq!(error, EncodeError::EmbeddedNewline { at: 3 });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The payload is longer than the channel's message limit.
    TooLarge {
        /// Length of the payload, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Over lines, a payload must not hold the byte that ends a line.
    EmbeddedNewline {
        /// Where the first `\n` is, in bytes from the start.
        at: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, limit } => write!(
                f,
                "the message has {len} bytes and the limit is {limit}: raise the message limit of \
                 this process, or send less at once"
            ),
            Self::EmbeddedNewline { at } => write!(
                f,
                "the message has a newline at byte {at} and would become two lines: use frames, or \
                 a format without newlines"
            ),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Why the bytes received are not frames. After any of these nothing that follows is believed.
///
/// ```
/// use procession_wire::{FrameDecoder, FrameError};
///
/// let mut decoder = FrameDecoder::new(1024);
/// let error = decoder.parse(b"\x00\x00\x00\x00\x42").unwrap_err();
/// assert_eq!(error, FrameError::UnknownKind(0x42));
/// assert!(error.to_string().contains("0x42"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame claims a payload over the limit.
    TooLarge {
        /// Length of the payload as claimed, in bytes, without the kind's fixed fields.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A kind below 0x80 that this version does not know.
    UnknownKind(u8),
    /// A body that has no room for the fixed fields of its kind.
    BodyTooShort {
        /// The kind.
        kind: u8,
        /// Length of the body, in bytes.
        len: usize,
        /// What the kind needs at least, in bytes.
        least: usize,
    },
    /// The stream does not begin with hello, or something calls itself hello and is not.
    NotHello {
        /// What came instead, up to 16 bytes.
        first: Bytes,
    },
    /// Hello announces another major version of the protocol.
    UnsupportedVersion(u16),
    /// The stream ended before hello.
    NoHello,
    /// The stream ended inside a frame.
    Truncated {
        /// How many bytes of the frame there are, its header included.
        have: usize,
        /// How many bytes are missing, as far as known.
        missing: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, limit } => write!(
                f,
                "a frame claims a payload of {len} bytes and the limit is {limit}: either the \
                 message limit is too small, or something that is no frame was written to this pipe"
            ),
            Self::UnknownKind(kind) => write!(
                f,
                "frame of unknown kind {kind:#04x}: either the other side speaks a newer protocol, \
                 or something that is no frame was written to this pipe"
            ),
            Self::BodyTooShort { kind, len, least } => write!(
                f,
                "frame of kind {kind:#04x} with a body of {len} bytes, which needs at least {least}: \
                 check how the other side writes this kind"
            ),
            Self::NotHello { first } => write!(
                f,
                "the stream must begin with a hello frame, and there is \"{}\": does the program \
                 speak frames, and does it print anything else there?",
                first.escape_ascii()
            ),
            Self::UnsupportedVersion(version) => write!(
                f,
                "hello announces protocol version {}.{}, and this side speaks {}.x: build both \
                 sides with the same major version",
                version >> 8,
                version & 0xff,
                crate::PROTOCOL_VERSION >> 8
            ),
            Self::NoHello => write!(
                f,
                "the stream ended before the hello frame: did the program end early, and does it \
                 speak frames?"
            ),
            Self::Truncated { have, missing } => write!(
                f,
                "the stream ended inside a frame, after {have} bytes of it and with {missing} \
                 missing: was the writer killed?"
            ),
        }
    }
}

impl std::error::Error for FrameError {}
