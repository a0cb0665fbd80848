//! [`Message`]: what one side says to the other, any bytes at all.

use std::{fmt, ops::RangeBounds, str::Utf8Error, string::FromUtf8Error};

use bytes::{Bytes, BytesMut};

/// How many bytes of a payload `Debug` shows.
const PREVIEW: usize = 64;

/// The payload of one message: any bytes, of any length up to the channel's limit.
///
/// Clones and slices share the bytes and cost a few nanoseconds, whatever the length. A received
/// message is a slice of the buffer it was read into and keeps all of that buffer alive:
/// [`detach`](Self::detach) a small one that is kept for long.
///
/// ```
/// use procession_wire::Message;
///
/// let message = Message::from("héllo");
/// assert_eq!(message.len(), 6);
/// assert_eq!(message, "héllo");
/// assert_eq!(message.as_str()?, "héllo");
/// assert_eq!(format!("{message:?}"), r#"Message("h\xc3\xa9llo", 6 bytes)"#);
/// # Ok::<(), std::str::Utf8Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message(Bytes);

impl Message {
    /// An empty message.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// A message that refers to bytes built into the program, with no allocation.
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self(Bytes::from_static(bytes))
    }

    /// A message of these bytes. Owned bytes (`Vec<u8>`, [`Bytes`]) are taken over, not copied.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// A message of this text. A `String` is taken over, not copied.
    pub fn from_string(text: impl Into<String>) -> Self {
        Self(Bytes::from(text.into()))
    }

    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The payload as text.
    ///
    /// # Errors
    ///
    /// The payload is not UTF-8; the error says where it stops being so.
    pub fn as_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.0)
    }

    /// The payload, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The payload as an owned text; copied unless this is the only holder of the bytes.
    ///
    /// # Errors
    ///
    /// The payload is not UTF-8; the error holds the bytes.
    pub fn try_into_string(self) -> Result<String, FromUtf8Error> {
        String::from_utf8(self.0.into())
    }

    /// The payload's length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the payload has no bytes. An empty message is a message like any other.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A part of this message that shares its bytes.
    ///
    /// # Panics
    ///
    /// The range reaches past the end.
    ///
    /// ```
    /// # use procession_wire::Message;
    /// assert_eq!(Message::from("key=value").slice(4..), "value");
    /// ```
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        Self(self.0.slice(range))
    }

    /// A copy with bytes of its own, which keeps no read buffer alive.
    pub fn detach(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

#[cfg(any(feature = "json", feature = "message-pack"))]
impl Message {
    /// A message that holds `value` in the given format.
    ///
    /// ```
    /// # #[cfg(feature = "json")] {
    /// use procession_wire::{Message, MessageFormat};
    ///
    /// let message = Message::from_serializable(&[1, 2, 3], &MessageFormat::Json)?;
    /// assert_eq!(message, "[1,2,3]");
    /// assert_eq!(message.deserialize::<Vec<u8>>(&MessageFormat::Json)?, [1, 2, 3]);
    /// # }
    /// # Ok::<(), procession_wire::SerdeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SerdeError::SerializationFailure`](crate::SerdeError::SerializationFailure): the format
    /// cannot express the value.
    pub fn from_serializable<T: serde::Serialize + ?Sized>(
        value: &T,
        format: &crate::MessageFormat,
    ) -> Result<Self, crate::SerdeError> {
        format.serialize(value).map(Self)
    }

    /// The value that this message holds in the given format.
    ///
    /// # Errors
    ///
    /// The payload is not in that encoding or format, or is not a `T`. The message is untouched.
    pub fn deserialize<T: serde::de::DeserializeOwned>(
        &self,
        format: &crate::MessageFormat,
    ) -> Result<T, crate::SerdeError> {
        format.deserialize(&self.0)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.len().min(PREVIEW)];
        let cut = if shown.len() < self.len() { "..." } else { "" };
        write!(
            f,
            "Message(\"{}\"{cut}, {} bytes)",
            shown.escape_ascii(),
            self.len()
        )
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<[u8; N]> for Message {
    fn from(bytes: [u8; N]) -> Self {
        Self(Bytes::copy_from_slice(&bytes))
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<BytesMut> for Message {
    fn from(bytes: BytesMut) -> Self {
        Self(bytes.freeze())
    }
}

impl From<Message> for Vec<u8> {
    fn from(message: Message) -> Self {
        message.0.into()
    }
}

impl From<Message> for Bytes {
    fn from(message: Message) -> Self {
        message.0
    }
}

impl TryFrom<Message> for String {
    type Error = FromUtf8Error;

    fn try_from(message: Message) -> Result<Self, FromUtf8Error> {
        message.try_into_string()
    }
}

impl PartialEq<[u8]> for Message {
    fn eq(&self, other: &[u8]) -> bool {
        self.0 == other
    }
}

impl PartialEq<&[u8]> for Message {
    fn eq(&self, other: &&[u8]) -> bool {
        self.0 == *other
    }
}

impl PartialEq<str> for Message {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Message {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}
