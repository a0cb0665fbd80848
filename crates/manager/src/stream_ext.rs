//! Adapters that turn streams of messages into streams of bytes, strings and values.
//!
//! ```text
//!  MessageStream ──TryMessageStreamExt──► Stream<Result<value, error>>
//!       │ ignore_lost_messages                  │ filter_ok (ResultStreamExt)
//!       ▼                                       ▼
//!  Stream<Message> ──MessageStreamExt──► Stream<value>, Stream<Result<value, error>>
//! ```
//!
//! A message that is not what was asked for is one error item; the stream goes on with the next.

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{StreamExt as _, future};
use procession_wire::Message;
#[cfg(any(feature = "json", feature = "message-pack"))]
use procession_wire::{MessageFormat, SerdeError};
use std::string::FromUtf8Error;

use crate::error::{ReceiveDeserializedMessageError, ReceiveMessageError};

/// Adapters for streams of [`Message`]s.
///
/// ```
/// use futures::{StreamExt, stream};
/// use procession_manager::{Message, MessageStreamExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let messages = stream::iter([Message::from("one"), Message::from(b"\xff"), "three".into()]);
/// let mut strings = messages.into_string_stream();
/// assert_eq!(strings.next().await.unwrap().unwrap(), "one");
/// assert!(strings.next().await.unwrap().is_err());
/// assert_eq!(strings.next().await.unwrap().unwrap(), "three");
/// # }
/// ```
pub trait MessageStreamExt: Stream<Item = Message> {
    /// The bytes of each message, without a copy.
    fn into_bytes_stream(self) -> impl Stream<Item = Bytes>
    where
        Self: Sized,
    {
        self.map(Message::into_bytes)
    }

    /// Each message as a string.
    ///
    /// # Errors
    /// An item is a [`FromUtf8Error`], which holds the bytes, where the message is not UTF-8.
    fn into_string_stream(self) -> impl Stream<Item = Result<String, FromUtf8Error>>
    where
        Self: Sized,
    {
        self.map(Message::try_into_string)
    }

    /// Each message as a value written in `format`.
    ///
    /// # Errors
    /// An item is a [`SerdeError`] where the message cannot be read as such a value.
    #[cfg(any(feature = "json", feature = "message-pack"))]
    fn into_deserialized_stream<T>(
        self,
        format: &MessageFormat,
    ) -> impl Stream<Item = Result<T, SerdeError>> + use<Self, T>
    where
        T: serde::de::DeserializeOwned,
        Self: Sized,
    {
        let format = *format;
        self.map(move |message| message.deserialize(&format))
    }
}

impl<S: Stream<Item = Message> + ?Sized> MessageStreamExt for S {}

/// Adapters for the streams that a subscription gives: messages, and now and then a
/// [`ReceiveMessageError`].
///
/// ```
/// use futures::{StreamExt, stream};
/// use procession_manager::{Message, ReceiveMessageError, TryMessageStreamExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // Like what `subscribe_message_stream` returns.
/// let subscription = stream::iter([
///     Ok(Message::from("one")),
///     Err(ReceiveMessageError::LostMessages(3)),
///     Ok(Message::from("five")),
/// ]);
/// let strings: Vec<_> = subscription.into_string_stream().collect().await;
/// assert_eq!(strings[0].as_deref(), Ok("one"));
/// assert!(strings[1].is_err());
/// assert_eq!(strings[2].as_deref(), Ok("five"));
/// # }
/// ```
pub trait TryMessageStreamExt: Stream<Item = Result<Message, ReceiveMessageError>> {
    /// The bytes of each message, without a copy.
    ///
    /// # Errors
    /// Those of the subscription, as they are.
    fn into_bytes_stream(self) -> impl Stream<Item = Result<Bytes, ReceiveMessageError>>
    where
        Self: Sized,
    {
        self.map(|item| item.map(Message::into_bytes))
    }

    /// Each message as a string.
    ///
    /// # Errors
    /// An item is [`CannotDeserializeMessage`](ReceiveDeserializedMessageError::CannotDeserializeMessage)
    /// where the message is not UTF-8; those of the subscription come through.
    fn into_string_stream(
        self,
    ) -> impl Stream<Item = Result<String, ReceiveDeserializedMessageError>>
    where
        Self: Sized,
    {
        self.map(|item| {
            item?.try_into_string().map_err(|error| {
                ReceiveDeserializedMessageError::CannotDeserializeMessage(format!(
                    "the message is not UTF-8 text: {error}"
                ))
            })
        })
    }

    /// Each message as a value written in `format`.
    ///
    /// # Errors
    /// An item is [`CannotDeserializeMessage`](ReceiveDeserializedMessageError::CannotDeserializeMessage)
    /// where the message cannot be read as such a value; those of the subscription come through.
    #[cfg(any(feature = "json", feature = "message-pack"))]
    fn into_deserialized_stream<T>(
        self,
        format: &MessageFormat,
    ) -> impl Stream<Item = Result<T, ReceiveDeserializedMessageError>> + use<Self, T>
    where
        T: serde::de::DeserializeOwned,
        Self: Sized,
    {
        let format = *format;
        self.map(move |item| {
            item?.deserialize(&format).map_err(|error| {
                ReceiveDeserializedMessageError::CannotDeserializeMessage(error.to_string())
            })
        })
    }

    /// The messages alone, for those who have no use for the errors.
    ///
    /// Hidden are [`LostMessages`](ReceiveMessageError::LostMessages), without a trace, and every other
    /// error, each with a `tracing` event of level `WARN`: a message over the limit is left out, and
    /// where the child broke the protocol or reading failed the stream ends as if the child had.
    fn ignore_lost_messages(self) -> impl Stream<Item = Message>
    where
        Self: Sized,
    {
        self.filter_map(|item| {
            future::ready(match item {
                Ok(message) => Some(message),
                Err(ReceiveMessageError::LostMessages(_)) => None,
                Err(error) => {
                    tracing::warn!(%error, "a message stream hides an error");
                    None
                }
            })
        })
    }
}

impl<S: Stream<Item = Result<Message, ReceiveMessageError>> + ?Sized> TryMessageStreamExt for S {}

/// Adapters for streams of any [`Result`]s.
///
/// ```
/// use futures::{StreamExt, stream};
/// use procession_manager::ResultStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let numbers = stream::iter(["1", "two", "3"]).map(str::parse::<u8>);
/// assert_eq!(numbers.filter_ok().collect::<Vec<_>>().await, [1, 3]);
/// # }
/// ```
pub trait ResultStreamExt<T, E>: Stream<Item = Result<T, E>> {
    /// The `Ok` values alone. Every error is dropped, whatever it says: use it where none matters.
    fn filter_ok(self) -> impl Stream<Item = T>
    where
        Self: Sized,
    {
        self.filter_map(|item| future::ready(item.ok()))
    }
}

impl<S: Stream<Item = Result<T, E>> + ?Sized, T, E> ResultStreamExt<T, E> for S {}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use procession_wire::FrameError;
    use std::fmt;
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    type Item = Result<Message, ReceiveMessageError>;

    /// A message, some lost, a bad one, a good one.
    fn subscription() -> impl Stream<Item = Item> + Unpin + Send {
        stream::iter([
            Ok(Message::from("1")),
            Err(ReceiveMessageError::LostMessages(7)),
            Ok(Message::from(b"\xff")),
            Ok(Message::from("2")),
        ])
    }

    async fn all<S: Stream>(stream: S) -> Vec<S::Item> {
        stream.collect().await
    }

    #[tokio::test]
    async fn bytes_are_the_payload_itself() {
        let message = Message::from(vec![1, 2, 3]);
        let address = message.as_bytes().as_ptr();
        let bytes = all(stream::iter([message.clone()]).into_bytes_stream()).await;
        assert_eq!(bytes[0].as_ptr(), address);
        let bytes = all(stream::iter([Item::Ok(message)]).into_bytes_stream()).await;
        assert_eq!(bytes[0].as_ref().unwrap().as_ptr(), address);
        let lost = all(subscription().into_bytes_stream()).await.remove(1);
        assert_eq!(lost, Err(ReceiveMessageError::LostMessages(7)));
    }

    #[tokio::test]
    async fn a_message_that_is_no_text_is_one_error() {
        let items = all(subscription().into_string_stream()).await;
        assert_eq!(items.len(), 4);
        assert_eq!(items[0].as_deref(), Ok("1"));
        assert_eq!(
            items[1],
            Err(ReceiveDeserializedMessageError::LostMessages(7))
        );
        let Err(ReceiveDeserializedMessageError::CannotDeserializeMessage(text)) = &items[2] else {
            panic!("{:?}", items[2]);
        };
        assert!(text.contains("not UTF-8"), "{text}");
        assert_eq!(items[3].as_deref(), Ok("2"));

        let messages = stream::iter([Message::from(b"\xff"), "2".into()]);
        let items = all(messages.into_string_stream()).await;
        assert_eq!(items[0].as_ref().unwrap_err().as_bytes(), b"\xff");
        assert_eq!(items[1].as_deref(), Ok("2"));
    }

    #[cfg(feature = "json")]
    #[tokio::test]
    async fn a_message_that_is_no_such_value_is_one_error() {
        let numbers = subscription().into_deserialized_stream::<u8>(&MessageFormat::Json);
        let items = all(numbers).await;
        assert_eq!(items.len(), 4);
        assert_eq!(items[0], Ok(1));
        assert_eq!(
            items[1],
            Err(ReceiveDeserializedMessageError::LostMessages(7))
        );
        assert!(matches!(
            &items[2],
            Err(ReceiveDeserializedMessageError::CannotDeserializeMessage(text))
                if text.contains("JSON")
        ));
        assert_eq!(items[3], Ok(2));

        let messages = stream::iter(["x", "2"]).map(Message::from);
        let items = all(messages.into_deserialized_stream::<u8>(&MessageFormat::Json)).await;
        assert!(matches!(
            items[0],
            Err(SerdeError::DeserializationFailure(MessageFormat::Json, _))
        ));
        assert_eq!(items[1], Ok(2));
    }

    /// That the streams outlive the format that they were made with, and can be polled in place and
    /// sent, is a matter of types: this compiles.
    #[cfg(feature = "json")]
    #[tokio::test]
    async fn a_typed_stream_owns_its_format() {
        fn typed() -> impl Stream<Item = Result<u8, ReceiveDeserializedMessageError>> + Unpin + Send
        {
            let format = MessageFormat::Json;
            subscription().into_deserialized_stream(&format)
        }
        assert_eq!(typed().next().await, Some(Ok(1)));
        let format = MessageFormat::Json;
        let messages = stream::iter([Message::from("5")]);
        let mut values = messages.into_deserialized_stream::<u8>(&format);
        let _ = format;
        assert_eq!(values.next().await, Some(Ok(5)));
    }

    #[tokio::test]
    async fn ignoring_errors_keeps_every_message_and_warns_of_all_but_losses() {
        let warnings = Arc::new(Warnings::default());
        let _guard = tracing::subscriber::set_default(Arc::clone(&warnings));
        let broken = Err(ReceiveMessageError::FramingLost(FrameError::NoHello));
        let items = subscription().chain(stream::iter([broken]));
        let messages = all(items.ignore_lost_messages()).await;
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[0], "1");
        assert_eq!(messages[1], b"\xff"[..]);
        assert_eq!(messages[2], "2");
        let texts = warnings.0.lock().unwrap();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains(&FrameError::NoHello.to_string()));
    }

    #[tokio::test]
    async fn filter_ok_keeps_the_values() {
        let kept = all(subscription().filter_ok()).await;
        assert_eq!(kept.len(), 3);
        let items = stream::iter([Ok(1), Err(()), Ok(2)]);
        assert_eq!(all(items.filter_ok()).await, [1, 2]);
    }

    /// Keeps the `error` field of each warning.
    #[derive(Default)]
    struct Warnings(Mutex<Vec<String>>);

    struct ErrorField<'a>(&'a mut Vec<String>);

    impl Visit for ErrorField<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "error" {
                self.0.push(format!("{value:?}"));
            }
        }
    }

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::WARN
        }

        fn event(&self, event: &Event<'_>) {
            event.record(&mut ErrorField(&mut self.0.lock().unwrap()));
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
}
