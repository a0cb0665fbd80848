//! Many messages at once: a [`Sink`] over a process's outbox.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use procession_wire::Message;

use super::outbox::Outbox;
use super::queue::{Lane, Place};
use crate::error::WriteMessageError;
use crate::process::Process;

type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, WriteMessageError>> + Send>>;

/// A [`Sink`] of messages to one process, for many messages at once.
///
/// `feed` queues a message and resolves as soon as there is a place for it; `flush` resolves when
/// everything that was fed is in the kernel. What gathers is also written without a flush, 64 KiB
/// at a time; the rest waits for one. `send` is a feed and a flush. Closing the sink flushes it and
/// leaves the process's input open: see
/// [`close_input`](crate::ProcessManagerHandle::close_input).
///
/// Any number of sinks and single sends may be in use at once; no message is ever cut, and those of
/// one sink stay in order. A message that was fed is sent whole, also when the sink is dropped.
///
/// # Errors
///
/// Those of [`send_message`](crate::ProcessManagerHandle::send_message). A message that is refused
/// by itself (too large, a newline over lines) does not disturb the sink.
pub struct MessageSink {
    process: Arc<Process>,
    outbox: Arc<Outbox>,
    place: Place,
    reserving: Option<Waiting<Place>>,
    flushing: Option<Waiting<()>>,
}

impl MessageSink {
    pub(crate) fn new(process: Arc<Process>, outbox: Arc<Outbox>) -> Self {
        Self {
            process,
            outbox,
            place: None,
            reserving: None,
            flushing: None,
        }
    }
}

impl fmt::Debug for MessageSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSink")
            .field("process", &self.process.id())
            .finish_non_exhaustive()
    }
}

impl Sink<Message> for MessageSink {
    type Error = WriteMessageError;

    /// Has a place in the queue when it is ready. The queue's bytes may be overshot by the one
    /// message that takes the place, since its length is not known yet.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        if this.place.is_some() {
            return Poll::Ready(Ok(()));
        }
        if this.reserving.is_none() {
            if let Some(place) = this.outbox.try_empty_place() {
                this.place = place;
                return Poll::Ready(Ok(()));
            }
            // Places come back as messages are written, so nothing may be left lying.
            this.outbox.pump();
            let (process, outbox) = (Arc::clone(&this.process), Arc::clone(&this.outbox));
            this.reserving = Some(Box::pin(async move {
                match outbox.place(Lane::Messages, 1).await {
                    Ok(place) => Ok(place),
                    Err(failure) => Err(process.write_error(failure).await),
                }
            }));
        }
        let Some(reserving) = &mut this.reserving else {
            return Poll::Ready(Ok(()));
        };
        let reserved = ready!(reserving.as_mut().poll(cx));
        this.reserving = None;
        this.place = reserved?;
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        let this = self.get_mut();
        let payload = message.into_bytes();
        let fed = this.outbox.check(&payload).and_then(|()| {
            let place = this.outbox.enlarge(this.place.take(), payload.len());
            this.outbox.feed(payload, place)
        });
        fed.map_err(|failure| this.process.write_error_now(failure))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        if this.flushing.is_none() {
            let (process, outbox) = (Arc::clone(&this.process), Arc::clone(&this.outbox));
            outbox.pump();
            if outbox.is_flushed() {
                return Poll::Ready(Ok(()));
            }
            this.flushing = Some(Box::pin(async move {
                match outbox.flush().await {
                    Ok(()) => Ok(()),
                    Err(failure) => Err(process.write_error(failure).await),
                }
            }));
        }
        let Some(flushing) = &mut this.flushing else {
            return Poll::Ready(Ok(()));
        };
        let flushed = ready!(flushing.as_mut().poll(cx));
        this.flushing = None;
        Poll::Ready(flushed)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_flush(cx)
    }
}

impl Drop for MessageSink {
    fn drop(&mut self) {
        self.outbox.give_back(self.place.take());
        self.outbox.pump();
    }
}
