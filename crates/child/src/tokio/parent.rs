//! [`Parent`]: the public verbs.

use std::{fmt, future::poll_fn, path::Path, sync::Arc, thread};

use procession_wire::{Framing, Message};
#[cfg(any(feature = "json", feature = "message-pack"))]
use {
    procession_wire::MessageFormat,
    serde::{Serialize, de::DeserializeOwned},
};

use super::{
    MessageSink, Messages,
    endpoint::{Endpoint, Urgency},
};
use crate::{
    ConnectError, ReceiveError, SendError,
    open::{Ends, Setup},
};

/// The connection to the parent, by [`connect`](super::connect).
///
/// Clones are cheap and share the connection; all tasks may use it at once.
///
/// When the last clone is dropped, everything fed is flushed, over frames `bye` is sent with status 0
/// (101 if the thread panics), and both ends are closed. That drop blocks its thread while the pipe
/// is full: [`finish`](Self::finish) does the same without blocking, and reports errors.
#[derive(Clone)]
pub struct Parent {
    handle: Arc<Handle>,
}

/// What the clones count.
struct Handle {
    endpoint: Arc<Endpoint>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let status = if thread::panicking() { 101 } else { 0 };
        let _ = self.endpoint.close(status);
    }
}

impl Parent {
    pub(super) async fn over(setup: Setup, ends: Ends) -> Result<Self, ConnectError> {
        let endpoint = Endpoint::open(setup, ends).await?;
        Ok(Self {
            handle: Arc::new(Handle { endpoint }),
        })
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.handle.endpoint
    }

    /// The messages from the parent, until it asks this program to stop or ends the input.
    ///
    /// Streams and [`receive`](Self::receive) share one input: each message goes to exactly one. A
    /// stream does not keep the connection open.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::TryStreamExt;
    ///
    /// let parent = procession_child::tokio::connect().await?;
    /// let mut messages = parent.messages();
    /// while let Some(message) = messages.try_next().await? {
    ///     parent.send(message.as_str()?.to_uppercase()).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn messages(&self) -> Messages {
        Messages::new(Arc::clone(self.endpoint()))
    }

    /// Waits for the next message. `None`: there will be no more, see [`Messages`].
    ///
    /// What was [fed](Self::feed) is flushed while it waits.
    ///
    /// # Errors
    ///
    /// [`ReceiveError`] says what was wrong with the input, and whether there can be more.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has taken no message.
    pub async fn receive(&self) -> Result<Option<Message>, ReceiveError> {
        poll_fn(|cx| self.endpoint().poll_receive(cx))
            .await
            .transpose()
    }

    /// Waits for the next message and turns it into a value.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), and [`ReceiveError::Deserialize`] for a message that is no such
    /// value; the next one is received as usual.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has taken no message.
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub async fn receive_as<T: DeserializeOwned>(
        &self,
        format: &MessageFormat,
    ) -> Result<Option<T>, ReceiveError> {
        self.receive()
            .await?
            .map(|message| message.deserialize(format))
            .transpose()
            .map_err(ReceiveError::Deserialize)
    }

    /// Sends a message. Resolves when its bytes are in the kernel, which is not yet "the parent has
    /// read it". What was [fed](Self::feed) before goes first.
    ///
    /// Waits while the pipe is full and, over frames, while the parent has granted no credit.
    ///
    /// # Errors
    ///
    /// [`SendError`]. Too large a message and a newline over lines are refused before anything is
    /// written.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for its place, nothing is sent. After that the message is sent whole.
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::SendError> {
    /// parent.send("a text").await?;
    /// parent.send(vec![0, 159, 146, 150]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let position = self.place(message.into(), Urgency::Send).await?;
        self.written(position).await
    }

    /// Sends a value. As [`send`](Self::send) otherwise.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::Serialize`] for a value that the format cannot hold.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub async fn send_as<T: Serialize + ?Sized>(
        &self,
        value: &T,
        format: &MessageFormat,
    ) -> Result<(), SendError> {
        let message = Message::from_serializable(value, format).map_err(SendError::Serialize);
        self.send(message?).await
    }

    /// Gives a message to a buffer of 64 KiB, which is written when it is full, by
    /// [`flush`](Self::flush), by the next [`send`](Self::send), while a task waits in
    /// [`receive`](Self::receive) or for credit, and when the connection ends.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). An error of the pipe may concern messages fed earlier.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for its place, the message is not sent.
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::SendError> {
    /// for number in 0..1_000_000 {
    ///     parent.feed(number.to_string()).await?;
    /// }
    /// parent.flush().await?;
    /// # Ok(()) }
    /// ```
    pub async fn feed(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.place(message.into(), Urgency::Feed).await.map(drop)
    }

    /// Resolves when what was [fed](Self::feed) is in the kernel.
    ///
    /// # Errors
    ///
    /// [`SendError::ParentGone`], [`SendError::Io`] and [`SendError::Finished`] mean that some of what
    /// was fed is lost.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the writing goes on.
    pub async fn flush(&self) -> Result<(), SendError> {
        let position = self.endpoint().flush()?;
        self.written(position).await
    }

    /// A [`Sink`](futures_sink::Sink) of messages to the parent, which keeps the connection open.
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::SendError> {
    /// use futures::{SinkExt, StreamExt, stream};
    /// use procession_child::Message;
    ///
    /// let mut numbers = stream::iter(0..1000).map(|n| Ok(Message::from(n.to_string())));
    /// parent.sink().send_all(&mut numbers).await?;
    /// # Ok(()) }
    /// ```
    pub fn sink(&self) -> MessageSink {
        MessageSink::new(self.clone())
    }

    /// Tells the parent that this program is ready to work, with a status text for people, which may
    /// be empty. Over lines there is no such thing, and nothing is sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); it needs no credit.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it is sent.
    pub async fn ready(&self, status: &str) -> Result<(), SendError> {
        match self.endpoint().ready(status)? {
            Some(position) => self.written(position).await,
            None => Ok(()),
        }
    }

    /// Calls `callback` when the parent asks this program to stop, or now if it has asked already.
    ///
    /// Callbacks run on a thread of their own, outside of the runtime; [`stopped`](Self::stopped) is
    /// the async form. Only frames have a stop.
    pub fn on_stop(&self, callback: impl FnOnce() + Send + 'static) {
        self.endpoint().stop.on_raise(Box::new(callback));
    }

    /// Resolves when the parent asks this program to stop; never over lines.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is lost: once it has been asked, every such future resolves at once.
    ///
    /// ```no_run
    /// # async fn work() {}
    /// # async fn run(parent: procession_child::tokio::Parent) {
    /// tokio::select! {
    ///     () = work() => {}
    ///     () = parent.stopped() => println!("stopping early"),
    /// }
    /// # }
    /// ```
    pub async fn stopped(&self) {
        poll_fn(|cx| self.endpoint().poll_stopped(cx)).await;
    }

    /// Whether the parent has asked this program to stop.
    pub fn is_stopping(&self) -> bool {
        self.endpoint().stop.is_raised()
    }

    /// Whether the input has ended: the parent closed it or is gone. True as soon as that is seen,
    /// even while messages that arrived before wait to be received. Always false without input.
    pub fn input_ended(&self) -> bool {
        self.endpoint().input_ended()
    }

    /// How messages are cut.
    pub fn framing(&self) -> Framing {
        self.endpoint().setup.framing
    }

    /// The most bytes of payload that a message may have, either way.
    pub fn message_limit(&self) -> usize {
        self.endpoint().setup.limit
    }

    /// The run directory that the parent made for this process.
    pub fn data_dir(&self) -> &Path {
        &self.endpoint().setup.data_dir
    }

    /// Whether the parent can send to this program.
    pub fn has_input(&self) -> bool {
        self.endpoint().has_input
    }

    /// Whether this program can send to the parent.
    pub fn has_output(&self) -> bool {
        self.endpoint().outbox.is_some()
    }

    /// Ends the connection: flushes, over frames says `bye` with this status, and closes both ends,
    /// for all clones.
    ///
    /// # Errors
    ///
    /// [`SendError::ParentGone`] and [`SendError::Io`]: not all that was sent has reached the kernel.
    ///
    /// # Cancel safety
    ///
    /// `bye` is on its way once this is polled. Dropped, what is left is as for any other drop of the
    /// last clone.
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::SendError> {
    /// parent.finish(0).await?;
    /// # Ok(()) }
    /// ```
    pub async fn finish(self, status: i32) -> Result<(), SendError> {
        let mut outcome = Ok(());
        if let Some(position) = self.endpoint().say_bye(status) {
            outcome = self.written(position).await;
        }
        let closed = if self.endpoint().is_relayed() {
            let endpoint = Arc::clone(self.endpoint());
            let closing = ::tokio::task::spawn_blocking(move || endpoint.close(status));
            closing.await.unwrap_or(Ok(()))
        } else {
            self.endpoint().close(status)
        };
        outcome.and(closed)
    }

    async fn place(&self, message: Message, urgency: Urgency) -> Result<u64, SendError> {
        self.endpoint().check(message.as_bytes())?;
        let payload = message.into_bytes();
        poll_fn(|cx| self.endpoint().poll_place(cx, &payload, urgency)).await
    }

    async fn written(&self, position: u64) -> Result<(), SendError> {
        poll_fn(|cx| self.endpoint().poll_written(cx, position)).await
    }
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parent")
            .field("framing", &self.framing())
            .field("message_limit", &self.message_limit())
            .field("has_input", &self.has_input())
            .field("has_output", &self.has_output())
            .field("is_stopping", &self.is_stopping())
            .finish_non_exhaustive()
    }
}
