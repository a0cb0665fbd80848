//! [`Request`]: what an async handler is given.

use std::{fmt, future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use procession_wire::FrameHead;
#[cfg(any(feature = "json", feature = "message-pack"))]
use {
    procession_wire::{MessageFormat, SerdeError},
    serde::de::DeserializeOwned,
};

use super::endpoint::Endpoint;
use crate::{
    ItemError, Message,
    core::{Arrived, Key, Sendable},
    lock,
    signal::Signal,
};

/// A request from the parent, given to the handler of [`Parent::serve`](super::Parent::serve).
///
/// The handler's outcome answers it. Before that the handler can send [items](Self::item), and see
/// whether the parent still [wants](Self::cancelled) the answer.
pub struct Request {
    endpoint: Arc<Endpoint>,
    key: Key,
    message: Message,
    cancelled: Arc<Signal>,
}

impl Request {
    pub(super) fn new(endpoint: Arc<Endpoint>, arrived: Arrived) -> Self {
        Self {
            endpoint,
            key: arrived.key,
            message: arrived.message,
            cancelled: arrived.cancelled,
        }
    }

    /// What is asked.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// What is asked, without a copy.
    pub fn into_message(self) -> Message {
        self.message
    }

    /// What is asked, as a value.
    ///
    /// # Errors
    ///
    /// It is no such value.
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub fn deserialize_as<T: DeserializeOwned>(
        &self,
        format: &MessageFormat,
    ) -> Result<T, SerdeError> {
        self.message.deserialize(format)
    }

    /// Sends a part of the answer, ahead of the reply. Resolves when it has its place on the way out.
    ///
    /// Waits while 64 KiB are on their way out, and while the parent has room for no more items of
    /// this request.
    ///
    /// # Errors
    ///
    /// [`ItemError`]: the parent wants no more of them, or will take no more. A handler that passes
    /// this on by `?` does the right thing.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, the item is not sent.
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::ServeError> {
    /// parent.serve(16, async |request| {
    ///     for number in 0..1000 {
    ///         request.item(number.to_string()).await?;
    ///     }
    ///     Ok("that was all".into())
    /// }).await
    /// # }
    /// ```
    pub async fn item(&self, message: impl Into<Message>) -> Result<(), ItemError> {
        let payload = message.into().into_bytes();
        self.endpoint.check_length(payload.len())?;
        poll_fn(|cx| self.poll_item(cx, &payload)).await
    }

    /// Whether the parent no longer wants the answer.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_raised()
    }

    /// Resolves when the parent no longer wants the answer; at the end of input too, when nothing can
    /// be cancelled any more: so nobody waits for ever.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is lost.
    ///
    /// ```no_run
    /// # async fn work(text: &str) -> String { text.into() }
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::ServeError> {
    /// parent.serve(16, async |request| {
    ///     tokio::select! {
    ///         done = work(request.message().as_str()?) => Ok(done.into()),
    ///         () = request.cancelled() => Err("cancelled".into()),
    ///     }
    /// }).await
    /// # }
    /// ```
    pub async fn cancelled(&self) {
        poll_fn(|cx| match lock(&self.endpoint.inbox).session.requests() {
            Some(requests) => requests.poll_cancelled(self.key, cx.waker()),
            None => Poll::Ready(()),
        })
        .await;
    }

    /// Calls `callback` when the parent no longer wants the answer, or now if that is so already. Not
    /// at the end of input. It runs on a thread of its own, outside of the runtime.
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) {
        self.cancelled.on_raise(Box::new(callback));
    }

    fn poll_item(
        &self,
        cx: &std::task::Context<'_>,
        payload: &Bytes,
    ) -> Poll<Result<(), ItemError>> {
        // Under the lock of the outbox, so that no item follows the reply.
        let mut outbox = lock(self.endpoint.outbox()?);
        outbox.check()?;
        if !outbox.has_room() {
            outbox.waiting.register(cx.waker());
            outbox.want_all();
            drop(outbox);
            self.endpoint.wake_driver();
            return Poll::Pending;
        }
        let sendable = match lock(&self.endpoint.inbox).session.requests() {
            Some(requests) => {
                let sendable = requests.try_item(self.key, payload.len());
                if sendable.is_none() {
                    // Under one lock with the attempt: whatever makes it ready comes later.
                    let _ = requests.poll_item(self.key, cx.waker());
                }
                sendable
            }
            None => Some(Sendable::Gone),
        };
        match sendable {
            Some(Sendable::Now) => {
                outbox.place_frame(FrameHead::Item { id: self.key.id }, payload.clone());
                outbox.want_all();
                self.endpoint.write(outbox);
                Poll::Ready(Ok(()))
            }
            Some(Sendable::Cancelled) => Poll::Ready(Err(ItemError::Cancelled)),
            Some(Sendable::Answered) => Poll::Ready(Err(ItemError::Answered)),
            Some(Sendable::Gone) => Poll::Ready(Err(ItemError::ParentGone)),
            None => {
                drop(outbox);
                // The parent may be waiting for what was fed.
                self.endpoint.start_flush();
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("message", &self.message)
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
