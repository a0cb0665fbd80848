//! A request from the child, and what answers it.
//!
//! Each request has a task of its own, so a slow handler holds up no other. How many there are at once
//! is bounded by the credit of the request lane, which only the end of a request gives back.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use procession_wire::Message;
use tokio::sync::Notify;

use crate::flag::Flag;
use crate::id::ProcessId;

/// Why a handler fails: any error, or a text by `.into()`.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

type Answer = Pin<Box<dyn Future<Output = Result<Message, HandlerError>> + Send>>;
type Call = dyn Fn(Request) -> Answer + Send + Sync;

/// What answers the requests of a child: given with [`Cmd::serve`](crate::Cmd::serve).
///
/// Each request is handled by a task of its own. What the handler returns is the reply; an error, or a
/// panic, is that request's failure, and its text is what the child gets to see. A request that the
/// child cancels is dropped at its next `await`, as any future is.
///
/// ```
/// use procession_manager::RequestHandler;
///
/// let handler = RequestHandler::new(|request| async move {
///     let number: u64 = request.message().as_str()?.parse()?;
///     Ok((number + 1).to_string().into())
/// });
/// ```
///
/// Two are equal if they are clones of the same one.
#[derive(Clone)]
pub struct RequestHandler(Arc<Call>);

impl RequestHandler {
    /// Calls this with each request.
    pub fn new<F, Fut>(handler: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Message, HandlerError>> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(handler(request))))
    }

    pub(super) fn call(&self, request: Request) -> Answer {
        (self.0)(request)
    }
}

impl fmt::Debug for RequestHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHandler").finish_non_exhaustive()
    }
}

impl PartialEq for RequestHandler {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RequestHandler {}

/// Where the items of an answer go.
pub(super) trait ItemSink: Send + Sync {
    fn send_item<'a>(
        &'a self,
        id: u64,
        work: &'a Arc<Work>,
        item: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), ItemError>> + Send + 'a>>;
}

/// A request from a child.
pub struct Request {
    pub(super) process: ProcessId,
    pub(super) id: u64,
    pub(super) message: Message,
    pub(super) work: Arc<Work>,
    pub(super) items: Arc<dyn ItemSink>,
}

impl Request {
    /// The process that asks.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// What it asks.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// What it asks, as a value.
    ///
    /// # Errors
    ///
    /// [`SerdeError`](procession_wire::SerdeError): it is no such value.
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub fn deserialize_as<T: serde::de::DeserializeOwned>(
        &self,
        format: &procession_wire::MessageFormat,
    ) -> Result<T, procession_wire::SerdeError> {
        self.message.deserialize(format)
    }

    /// Sends a part of the answer, before the reply. Waits while the child has no room for more of this
    /// answer; nothing else waits with it.
    ///
    /// Dropped while it waits, nothing is sent; after that all of it is.
    ///
    /// # Errors
    ///
    /// [`ItemError`]: the item is too large, or nobody waits for it any more.
    pub async fn item(&self, item: impl Into<Message>) -> Result<(), ItemError> {
        let item = item.into().into_bytes();
        self.items.send_item(self.id, &self.work, item).await
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("process", &self.process)
            .field("id", &self.id)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// Why a part of an answer was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// It is larger than the process's message limit.
    #[error(
        "an item of {len} bytes is over the limit of {limit} bytes: raise Messaging::message_limit"
    )]
    TooLarge {
        /// Bytes of payload.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The request was cancelled, or the child is gone.
    #[error("nobody waits for the answer any more")]
    Cancelled,
}

/// What is kept of a request that is being answered.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Nobody waits for the answer.
    pub(super) cancelled: Flag,
    /// More items may be sent.
    pub(super) granted: Notify,
}

const _: () = {
    const fn assert_send<T: Send + Sync>() {}
    assert_send::<Request>();
    assert_send::<RequestHandler>();
};
