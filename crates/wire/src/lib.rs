//! The protocol between a Procession parent and its children.
//!
//! Everything here is pure: no process is started, no file opened, no runtime needed. Bytes go in,
//! messages come out, and the other way round.
//!
//! | to | look at |
//! |---|---|
//! | hold a payload | [`Message`] |
//! | cut a stream into lines | [`line`](mod@line): [`LineDecoder`], [`line::encode_line`] |
//! | cut a stream into frames | [`frame`]: [`FrameDecoder`], [`FrameHead`], and [`Frame`], which owns |
//! | know how much to read | [`buffer`] |
//! | bound what is on its way | [`credit`]: [`SendCredit`], [`ReceiveWindow`] |
//! | show what somebody else wrote | [`escape`]: [`Escaped`] |
//! | keep account of requests | [`request`]: [`Asked`](request::Asked), [`Accepted`](request::Accepted) |
//! | tell a child where its channel is | [`env`](mod@env): [`ChildEnvironment`] |
#![cfg_attr(
    any(feature = "json", feature = "message-pack"),
    doc = "| turn a payload into a value | [`format`](mod@format): [`MessageFormat`] |"
)]
#![cfg_attr(
    feature = "codec",
    doc = "| use `tokio_util::codec::Framed` | [`codec`] |"
)]
//!
//! Two layers know nothing of each other: *framing* cuts bytes into messages, *format* turns a
//! message into a Rust value. `docs/protocol.md` in the repository specifies all of it, for children
//! in any language, with byte-exact test vectors that this crate's tests read.
//!
//! Features, none on by default: `json` and `message-pack` for typed payloads, `codec` for
//! `tokio-util`.
//!
//! ```
//! use bytes::BytesMut;
//! use procession_wire::{DEFAULT_MESSAGE_LIMIT, Frame, FrameDecoder};
//!
//! let mut pipe = BytesMut::new();
//! Frame::Message("hello".into()).encode(DEFAULT_MESSAGE_LIMIT, &mut pipe)?;
//! assert_eq!(&pipe[..], b"\x00\x00\x00\x05\x00hello");
//!
//! let mut decoder = FrameDecoder::new(DEFAULT_MESSAGE_LIMIT);
//! assert_eq!(decoder.decode(&mut pipe)?, Some(Frame::Message("hello".into())));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod buffer;
#[cfg(feature = "codec")]
pub mod codec;
pub mod credit;
pub mod env;
mod error;
pub mod escape;
#[cfg(any(feature = "json", feature = "message-pack"))]
pub mod format;
pub mod frame;
mod framing;
pub mod line;
mod message;
pub mod request;

pub use credit::{CreditExceeded, ReceiveWindow, SendCredit};
pub use env::{
    Channel, ChildEnvironment, EnvironmentError, EnvironmentErrorKind, MessagingEnvironment,
    TreeTag,
};
pub use error::{EncodeError, FrameError};
pub use escape::Escaped;
#[cfg(feature = "message-pack")]
pub use format::Encoding;
#[cfg(any(feature = "json", feature = "message-pack"))]
pub use format::{MessageFormat, SerdeError};
pub use frame::{Features, Frame, FrameDecoder, FrameHead, FramePrefix, Hello, ParsedFrame};
pub use framing::{Framing, UnknownFraming};
pub use line::{LineDecoder, LineStep, LineTooLong};
pub use message::Message;

/// The longest payload of a message unless configured otherwise, in bytes: 16 MiB.
pub const DEFAULT_MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// The highest message limit that can be configured, in bytes: 4 GiB less room for the fixed fields
/// of a frame, whose length is a 32-bit number.
pub const MAX_MESSAGE_LIMIT: usize = u32::MAX as usize - 1024;

/// The version of the protocol that this crate implements: 1.0, major in the high byte.
pub const PROTOCOL_VERSION: u16 = 0x0100;
