//! Formats: how a payload becomes a Rust value, and back. Framing knows nothing of them.

#[cfg(feature = "message-pack")]
use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
#[cfg(feature = "message-pack")]
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
#[cfg(feature = "message-pack")]
use serde::{Deserialize, de::IgnoredAny};
use serde::{Serialize, de::DeserializeOwned};

use crate::Escaped;

/// How a value is written into a message.
///
/// A value that is nested more than 127 levels deep is not read: an error, and not the end of the
/// stack.
///
/// ```
/// # #[cfg(feature = "message-pack")] {
/// use procession_wire::{Encoding, Message, MessageFormat};
///
/// // MessagePack as text, fit for lines.
/// let format = MessageFormat::MessagePack(Encoding::Hex);
/// let message = Message::from_serializable("hi", &format)?;
/// assert_eq!(message, "a26869");
/// assert_eq!(message.deserialize::<String>(&format)?, "hi");
/// assert_eq!(format.to_string(), "MessagePack (hex)");
/// # }
/// # Ok::<(), procession_wire::SerdeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageFormat {
    /// JSON in one line (RFC 8259), so it fits both framings.
    #[cfg(feature = "json")]
    Json,
    /// MessagePack. Structs are written as maps with the names of their fields, which other
    /// languages can read; maps and arrays are both read.
    ///
    /// [`Encoding::Raw`] is for frames: over lines, a payload that happens to hold `\n` would be
    /// refused at the sender.
    #[cfg(feature = "message-pack")]
    MessagePack(Encoding),
}

/// How the bytes of MessagePack are written.
///
/// ```
/// use procession_wire::Encoding;
///
/// assert_eq!(Encoding::default(), Encoding::Raw);
/// assert_eq!(Encoding::Base64.to_string(), "base64");
/// ```
#[cfg(feature = "message-pack")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// As they are: for frames.
    #[default]
    Raw,
    /// Standard base64 with padding (RFC 4648, section 4), a third longer.
    Base64,
    /// Hexadecimal, twice as long. Written in lower case, read in both.
    Hex,
}

/// Why a value did not become a message, or a message a value.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use procession_wire::{Message, MessageFormat};
///
/// let error = Message::from("[1, 2").deserialize::<Vec<u8>>(&MessageFormat::Json).unwrap_err();
/// assert!(error.to_string().starts_with("cannot deserialize JSON: EOF while parsing"));
/// # }
/// ```
///
/// A reason has 1,024 bytes at most of what the format says of it, [escaped](crate::Escaped): it
/// may quote the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SerdeError {
    /// The format cannot express the value; with the reason.
    SerializationFailure(MessageFormat, String),
    /// The payload is not of this format, or holds a value of another type; with the reason.
    DeserializationFailure(MessageFormat, String),
    /// The payload is not in this encoding; with the reason.
    #[cfg(feature = "message-pack")]
    DecodingFailure(Encoding, String),
}

/// The bytes that are kept of a reason.
const REASON: usize = 1024;

/// The reason in words. Serde quotes in it what it was given, of any length.
fn reason(error: &dyn fmt::Display) -> String {
    Escaped::display(error).limit(REASON).to_string()
}

impl MessageFormat {
    pub(crate) fn serialize<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, SerdeError> {
        let failure = |reason| SerdeError::SerializationFailure(self, reason);
        match self {
            #[cfg(feature = "json")]
            Self::Json => serde_json::to_vec(value)
                .map(Bytes::from)
                .map_err(|error| failure(reason(&error))),
            #[cfg(feature = "message-pack")]
            Self::MessagePack(encoding) => rmp_serde::to_vec_named(value)
                .map(|raw| encoding.encode(raw))
                .map_err(|error| failure(reason(&error))),
        }
    }

    pub(crate) fn deserialize<T: DeserializeOwned>(self, payload: &[u8]) -> Result<T, SerdeError> {
        let failure = |reason| SerdeError::DeserializationFailure(self, reason);
        match self {
            #[cfg(feature = "json")]
            Self::Json => serde_json::from_slice(payload).map_err(|error| failure(reason(&error))),
            #[cfg(feature = "message-pack")]
            Self::MessagePack(encoding) => {
                from_message_pack(&encoding.decode(payload)?).map_err(failure)
            }
        }
    }
}

/// As in `serde_json`. The library's own limit of 1024 overflows the stack of a thread of 2 MiB in a
/// build that is not optimised.
#[cfg(feature = "message-pack")]
const MAX_DEPTH: usize = 128;

/// Reads exactly one value: bytes after it mean that the payload is something else.
#[cfg(feature = "message-pack")]
fn from_message_pack<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(payload);
    decoder.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut decoder).map_err(|error| reason(&error))?;
    match IgnoredAny::deserialize(&mut decoder) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err("more bytes follow the value".to_owned()),
    }
}

#[cfg(feature = "message-pack")]
impl Encoding {
    fn encode(self, raw: Vec<u8>) -> Bytes {
        match self {
            Self::Raw => raw.into(),
            Self::Base64 => BASE64.encode(&raw).into(),
            Self::Hex => HEXLOWER.encode(&raw).into(),
        }
    }

    fn decode(self, payload: &[u8]) -> Result<Cow<'_, [u8]>, SerdeError> {
        let decoded = match self {
            Self::Raw => return Ok(Cow::Borrowed(payload)),
            Self::Base64 => BASE64.decode(payload),
            Self::Hex => HEXLOWER_PERMISSIVE.decode(payload),
        };
        decoded
            .map(Cow::Owned)
            .map_err(|error| SerdeError::DecodingFailure(self, reason(&error)))
    }
}

#[cfg(feature = "message-pack")]
impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Raw => "raw",
            Self::Base64 => "base64",
            Self::Hex => "hex",
        })
    }
}

impl fmt::Display for MessageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "json")]
            Self::Json => f.write_str("JSON"),
            #[cfg(feature = "message-pack")]
            Self::MessagePack(Encoding::Raw) => f.write_str("MessagePack"),
            #[cfg(feature = "message-pack")]
            Self::MessagePack(encoding) => write!(f, "MessagePack ({encoding})"),
        }
    }
}

impl fmt::Display for SerdeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SerializationFailure(format, reason) => {
                write!(f, "cannot serialize to {format}: {}", Escaped::new(reason))
            }
            Self::DeserializationFailure(format, reason) => {
                write!(f, "cannot deserialize {format}: {}", Escaped::new(reason))
            }
            #[cfg(feature = "message-pack")]
            Self::DecodingFailure(encoding, reason) => {
                write!(
                    f,
                    "the message is not valid {encoding}: {}",
                    Escaped::new(reason)
                )
            }
        }
    }
}

impl std::error::Error for SerdeError {}
