//! Many messages at once: a [`Sink`] over a process's outbox.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use procession_wire::Message;

use super::outbox::Outbox;
use crate::error::WriteMessageError;
use crate::process::Process;

type Waiting = Pin<Box<dyn Future<Output = Result<(), WriteMessageError>> + Send>>;

/// A [`Sink`] of messages to one process, for many messages at once.
///
/// `feed` waits until there is room for a message, and queues it; `flush` resolves when everything
/// that was fed is in the kernel. What gathers is also written without a flush, 64 KiB
/// at a time; the rest waits for one. `send` is a feed and a flush. Closing the sink flushes it and
/// leaves the process's input open: see
/// [`close_input`](crate::ProcessManagerHandle::close_input).
///
/// Any number of sinks and single sends may be in use at once; no message is ever cut, and those of
/// one sink stay in order. A message that was fed is sent whole, also when the sink is dropped.
///
/// A sink that is not used holds up nobody, ready or not: it takes no room before it is given a
/// message. So where several are ready at once, each may queue one message more than there is room
/// for, and the next sender waits until as much has been written.
///
/// `feed`, `flush` and `send` are cancel safe: dropped before the sink is ready, nothing is queued;
/// after that the message is sent.
///
/// # Errors
///
/// Those of [`send_message`](crate::ProcessManagerHandle::send_message). A message that is refused
/// by itself (too large, a newline over lines) does not disturb the sink.
pub struct MessageSink {
    process: Arc<Process>,
    outbox: Arc<Outbox>,
    /// The sink may be given a message, also if there is no room by now.
    has_turn: bool,
    waiting: Option<Waiting>,
    flushing: Option<Waiting>,
}

impl MessageSink {
    pub(crate) fn new(process: Arc<Process>, outbox: Arc<Outbox>) -> Self {
        Self {
            process,
            outbox,
            has_turn: false,
            waiting: None,
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

    /// Takes no room, so that a sink which is not used after that holds up nobody.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        if this.has_turn || (this.waiting.is_none() && this.outbox.has_room()) {
            return Poll::Ready(Ok(()));
        }
        let waiting = this.waiting.get_or_insert_with(|| {
            // There is room again as messages are written, so nothing may be left lying.
            this.outbox.pump();
            let (process, outbox) = (Arc::clone(&this.process), Arc::clone(&this.outbox));
            Box::pin(async move {
                match outbox.wait_for_turn().await {
                    Ok(()) => Ok(()),
                    Err(failure) => Err(process.write_error(failure).await),
                }
            })
        });
        let waited = ready!(waiting.as_mut().poll(cx));
        this.waiting = None;
        this.has_turn = waited.is_ok();
        Poll::Ready(waited)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        let this = self.get_mut();
        this.has_turn = false;
        // One that goes on from a flush that was cancelled would not wait for this message.
        this.flushing = None;
        let payload = message.into_bytes();
        let fed = this.outbox.check(&payload);
        let fed = fed.and_then(|()| this.outbox.feed(payload));
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
        self.outbox.pump();
    }
}
