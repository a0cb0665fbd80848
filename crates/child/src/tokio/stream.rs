//! [`Messages`], a `Stream`, and [`MessageSink`], a `Sink`.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

use super::{
    Parent,
    endpoint::{Endpoint, Urgency},
};
use crate::{Message, ReceiveError, SendError};

/// The messages from the parent, by [`Parent::messages`].
///
/// Ends when the parent asked this program to stop, or at the end of input; what arrived before is
/// given first. With several streams at once, each message goes to exactly one of them. It does not
/// keep the connection open: when the last [`Parent`] is gone, it ends.
pub struct Messages {
    endpoint: Arc<Endpoint>,
    ended: bool,
}

impl Messages {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            ended: false,
        }
    }
}

impl Stream for Messages {
    type Item = Result<Message, ReceiveError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = ready!(self.endpoint.poll_receive(cx));
        self.ended = matches!(next, None | Some(Err(ReceiveError::NotConfigured)));
        Poll::Ready(next)
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// A sink of messages to the parent, by [`Parent::sink`].
///
/// `feed` gives a message to a buffer of 64 KiB, `flush` resolves when all of it is in the kernel.
/// A message fed last may wait in the sink itself for its place: dropping the sink without a flush
/// loses it. Closing flushes, and leaves the connection open.
pub struct MessageSink {
    parent: Parent,
    waiting: Option<Bytes>,
    /// Where the last message that has its place ends.
    placed: u64,
}

impl MessageSink {
    pub(super) fn new(parent: Parent) -> Self {
        Self {
            parent,
            waiting: None,
            placed: 0,
        }
    }

    fn poll_place(&mut self, cx: &Context<'_>) -> Poll<Result<(), SendError>> {
        if let Some(payload) = &self.waiting {
            let endpoint = self.parent.endpoint();
            let placed = ready!(endpoint.poll_place(cx, payload, Urgency::Feed));
            self.waiting = None;
            self.placed = placed?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink<Message> for MessageSink {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_place(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SendError> {
        assert!(self.waiting.is_none(), "start_send without poll_ready");
        self.parent.endpoint().check(message.as_bytes())?;
        self.waiting = Some(message.into_bytes());
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_place(cx))?;
        let endpoint = self.parent.endpoint();
        endpoint.flush()?;
        // Not where all that is placed ends: others may place more each time that this is polled.
        endpoint.poll_written(cx, self.placed)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_flush(cx)
    }
}

impl fmt::Debug for MessageSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSink")
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}
