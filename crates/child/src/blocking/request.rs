//! [`Request`]: what a handler is given.

use std::{fmt, sync::Arc, task::Poll};

use procession_wire::FrameHead;
#[cfg(any(feature = "json", feature = "message-pack"))]
use {
    procession_wire::{MessageFormat, SerdeError},
    serde::de::DeserializeOwned,
};

use super::endpoint::{Endpoint, Patience};
use crate::{
    ItemError, Message,
    core::{Arrived, Key, Requests, Sendable},
    lock,
    signal::Signal,
};

/// A request from the parent, given to the handler of [`Parent::serve`](crate::Parent::serve).
///
/// The handler's return value answers it. Before that the handler can send [items](Self::item), and
/// see whether the parent still [wants](Self::is_cancelled) the answer.
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
    ///
    #[cfg_attr(feature = "json", doc = "```no_run")]
    #[cfg_attr(not(feature = "json"), doc = "```ignore")]
    /// use procession_child::{Message, MessageFormat::Json};
    ///
    /// let parent = procession_child::connect()?;
    /// parent.serve(|request| {
    ///     let numbers: Vec<f64> = request.deserialize_as(&Json)?;
    ///     Ok(Message::from_serializable(&numbers.iter().sum::<f64>(), &Json)?)
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub fn deserialize_as<T: DeserializeOwned>(
        &self,
        format: &MessageFormat,
    ) -> Result<T, SerdeError> {
        self.message.deserialize(format)
    }

    /// Sends a part of the answer, ahead of the reply. Returns when its bytes are in the kernel.
    ///
    /// Waits while the pipe is full and while the parent has room for no more items of this request.
    ///
    /// # Errors
    ///
    /// [`ItemError`]: the parent wants no more of them, or will take no more. A handler that passes
    /// this on by `?` does the right thing.
    ///
    /// ```no_run
    /// let parent = procession_child::connect()?;
    /// parent.serve(|request| {
    ///     for number in 0..1000 {
    ///         request.item(number.to_string())?;
    ///     }
    ///     Ok("that was all".into())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn item(&self, message: impl Into<Message>) -> Result<(), ItemError> {
        let message = message.into();
        let len = message.len();
        self.endpoint.check_length(len)?;
        loop {
            // Under the lock of the output, so that no item follows the reply.
            let mut sendable = None;
            self.endpoint.write(self.endpoint.output()?, |output| {
                sendable = lock(&self.endpoint.inbox)
                    .session
                    .requests()
                    .map_or(Some(Sendable::Gone), |requests| {
                        requests.try_item(self.key, len)
                    });
                if sendable == Some(Sendable::Now) {
                    output.frame(FrameHead::Item { id: self.key.id }, message.as_bytes(), &[])?;
                }
                Ok(())
            })?;
            match sendable {
                Some(Sendable::Now) => return Ok(()),
                Some(Sendable::Cancelled) => return Err(ItemError::Cancelled),
                Some(Sendable::Answered) => return Err(ItemError::Answered),
                Some(Sendable::Gone) => return Err(ItemError::ParentGone),
                None => {
                    // The parent may be waiting for what was fed.
                    self.endpoint.flush_fed();
                    self.wait(Requests::poll_item);
                }
            }
        }
    }

    /// Whether the parent no longer wants the answer. Long work looks now and then, and ends with
    /// whatever outcome it likes; costs next to nothing.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_raised()
    }

    /// Waits until the parent no longer wants the answer. Returns at the end of input too, when
    /// nothing can be cancelled any more: so nobody waits for ever.
    pub fn wait_cancelled(&self) {
        self.wait(Requests::poll_cancelled);
    }

    /// Calls `callback` when the parent no longer wants the answer, or now if that is so already. Not
    /// at the end of input.
    ///
    /// Callbacks run on a thread of their own, one after the other. One that was not called when the
    /// request has been answered never is.
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) {
        self.cancelled.on_raise(Box::new(callback));
    }

    fn wait(&self, mut check: impl FnMut(&mut Requests, Key, &std::task::Waker) -> Poll<()>) {
        self.endpoint
            .wait_alone(Patience::Interruptible, |session, waker| {
                match session.requests() {
                    Some(requests) => check(requests, self.key, waker),
                    None => Poll::Ready(()),
                }
            });
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
