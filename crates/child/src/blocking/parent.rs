//! [`Parent`]: the public verbs.

use std::{fmt, path::Path, sync::Arc, thread, time::Duration};

use procession_wire::{Framing, Message};
#[cfg(any(feature = "json", feature = "message-pack"))]
use {
    procession_wire::MessageFormat,
    serde::{Serialize, de::DeserializeOwned},
};

use super::{
    Messages,
    endpoint::{Endpoint, TICK},
};
use crate::{
    ConnectError, ReceiveError, SendError,
    open::{Ends, Setup},
};

/// The connection to the parent, by [`connect`](crate::connect).
///
/// Clones are cheap and share the connection; all threads may use it at once. Calls wait: a send until
/// the bytes are in the kernel, a receive until there is a message.
///
/// When the last clone is dropped, everything sent or fed is flushed, over frames `bye` is sent with
/// status 0 (101 if the thread panics), and both ends are closed. [`finish`](Self::finish) does the
/// same with a status of its own, and reports errors. [`std::process::exit`] drops nothing: call
/// `finish` before it, or at least [`flush`](Self::flush), or what was fed is lost.
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
    pub(crate) fn over(setup: Setup, ends: Ends) -> Result<Self, ConnectError> {
        Self::over_with(setup, ends, TICK)
    }

    pub(super) fn over_with(
        setup: Setup,
        ends: Ends,
        tick: Duration,
    ) -> Result<Self, ConnectError> {
        let endpoint = Endpoint::open(setup, ends, tick)?;
        Ok(Self {
            handle: Arc::new(Handle { endpoint }),
        })
    }

    /// The messages from the parent, until it asks this program to stop or ends the input.
    ///
    /// Iterators and [`receive`](Self::receive) share one input: each message goes to exactly one.
    /// An iterator does not keep the connection open.
    ///
    /// ```no_run
    /// let parent = procession_child::connect()?;
    /// for message in parent.messages() {
    ///     parent.send(message?.as_str()?.to_uppercase())?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn messages(&self) -> Messages {
        Messages::new(Arc::clone(&self.handle.endpoint))
    }

    /// Waits for the next message. `None`: there will be no more, see [`Messages`].
    ///
    /// What was [fed](Self::feed) is flushed before it waits.
    ///
    /// # Errors
    ///
    /// [`ReceiveError`] says what was wrong with the input, and whether there can be more.
    ///
    /// ```no_run
    /// # let parent = procession_child::connect()?;
    /// while let Some(message) = parent.receive()? {
    ///     println!("the parent says {message:?}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn receive(&self) -> Result<Option<Message>, ReceiveError> {
        self.handle.endpoint.receive().transpose()
    }

    /// Waits for the next message and turns it into a value.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), and [`ReceiveError::Deserialize`] for a message that is no such
    /// value; the next one is received as usual.
    ///
    #[cfg_attr(feature = "json", doc = "```no_run")]
    #[cfg_attr(not(feature = "json"), doc = "```ignore")]
    /// use procession_child::MessageFormat;
    ///
    /// let parent = procession_child::connect()?;
    /// while let Some(numbers) = parent.receive_as::<Vec<f64>>(&MessageFormat::Json)? {
    ///     parent.send_as(&numbers.iter().sum::<f64>(), &MessageFormat::Json)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub fn receive_as<T: DeserializeOwned>(
        &self,
        format: &MessageFormat,
    ) -> Result<Option<T>, ReceiveError> {
        self.receive()?
            .map(|message| message.deserialize(format))
            .transpose()
            .map_err(ReceiveError::Deserialize)
    }

    /// Sends a message. Returns when its bytes are in the kernel, which is not yet "the parent has
    /// read it". What was [fed](Self::feed) before goes first.
    ///
    /// Waits while the pipe is full and, over frames, while the parent has granted no credit: its
    /// buffer is full.
    ///
    /// # Errors
    ///
    /// [`SendError`]. Too large a message and a newline over lines are refused before anything is
    /// written.
    ///
    /// ```no_run
    /// # let parent = procession_child::connect()?;
    /// parent.send("a text")?;
    /// parent.send(vec![0, 159, 146, 150])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.handle.endpoint.send(message.into().as_bytes())
    }

    /// Sends a value. As [`send`](Self::send) otherwise.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::Serialize`] for a value that the format cannot hold.
    ///
    #[cfg_attr(feature = "message-pack", doc = "```no_run")]
    #[cfg_attr(not(feature = "message-pack"), doc = "```ignore")]
    /// use procession_child::{Encoding, MessageFormat};
    ///
    /// let parent = procession_child::connect()?;
    /// parent.send_as(&("temperature", 21.5), &MessageFormat::MessagePack(Encoding::Raw))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub fn send_as<T: Serialize + ?Sized>(
        &self,
        value: &T,
        format: &MessageFormat,
    ) -> Result<(), SendError> {
        self.send(Message::from_serializable(value, format).map_err(SendError::Serialize)?)
    }

    /// Sends a message through a buffer, as a [`BufWriter`](std::io::BufWriter) does: up to 64 KiB
    /// are gathered before they are written. For many small messages in a row, several times faster
    /// than [`send`](Self::send).
    ///
    /// The buffer is flushed by [`flush`](Self::flush), by the next [`send`](Self::send), before this
    /// program waits for a message or for credit, and when the connection ends.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). An error of the pipe may concern messages fed earlier.
    ///
    /// ```no_run
    /// # let parent = procession_child::connect()?;
    /// for line in std::fs::read_to_string("/etc/services")?.lines() {
    ///     parent.feed(line)?;
    /// }
    /// parent.flush()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn feed(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.handle.endpoint.feed(message.into().as_bytes())
    }

    /// Writes what was [fed](Self::feed). Returns when it is in the kernel.
    ///
    /// # Errors
    ///
    /// [`SendError::ParentGone`], [`SendError::Io`] and [`SendError::Finished`] mean that some of what
    /// was fed is lost.
    pub fn flush(&self) -> Result<(), SendError> {
        self.handle.endpoint.flush()
    }

    /// Tells the parent that this program is ready to work, with a status text for people, which may
    /// be empty. Over lines there is no such thing, and nothing is sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); it needs no credit.
    ///
    /// ```no_run
    /// # let parent = procession_child::connect()?;
    /// parent.ready("model loaded")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ready(&self, status: &str) -> Result<(), SendError> {
        self.handle.endpoint.ready(status)
    }

    /// Calls `callback` when the parent asks this program to stop, or now if it has asked already.
    ///
    /// Callbacks run on a thread of their own, one after the other in the order given, so they may
    /// block and may send. They see the stop while the rest of the program is busy. A callback that
    /// holds a clone of the `Parent` keeps the connection open until it has run or
    /// [`finish`](Self::finish) is called.
    ///
    /// Only frames have a stop. Over lines a parent ends the input and sends SIGTERM.
    ///
    /// ```no_run
    /// use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
    ///
    /// let parent = procession_child::connect()?;
    /// let enough = Arc::new(AtomicBool::new(false));
    /// let stop = Arc::clone(&enough);
    /// parent.on_stop(move || stop.store(true, Ordering::Relaxed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_stop(&self, callback: impl FnOnce() + Send + 'static) {
        self.handle.endpoint.stop.on_raise(Box::new(callback));
    }

    /// Whether the parent has asked this program to stop. A program that does long work looks now and
    /// then; costs next to nothing.
    pub fn is_stopping(&self) -> bool {
        self.handle.endpoint.stop.is_raised()
    }

    /// Whether the input has ended: the parent closed it or is gone. True as soon as that is seen,
    /// even while messages that arrived before wait to be received. Always false without input.
    pub fn input_ended(&self) -> bool {
        self.handle.endpoint.input_ended()
    }

    /// How messages are cut.
    pub fn framing(&self) -> Framing {
        self.handle.endpoint.setup.framing
    }

    /// The most bytes of payload that a message may have, either way.
    pub fn message_limit(&self) -> usize {
        self.handle.endpoint.setup.limit
    }

    /// The run directory that the parent made for this process; see [`data_dir`](crate::data_dir).
    pub fn data_dir(&self) -> &Path {
        &self.handle.endpoint.setup.data_dir
    }

    /// Whether the parent can send to this program.
    pub fn has_input(&self) -> bool {
        self.handle.endpoint.has_input
    }

    /// Whether this program can send to the parent.
    pub fn has_output(&self) -> bool {
        self.handle.endpoint.output.is_some()
    }

    /// Ends the connection: flushes, over frames says `bye` with this status, and closes both ends,
    /// for all clones. The status is by convention that with which the program exits.
    ///
    /// Other threads that wait for a request, a reply or credit do so no longer; one that waits in
    /// [`receive`](Self::receive), until the next bytes or the end of the input pipe.
    ///
    /// # Errors
    ///
    /// [`SendError::ParentGone`] and [`SendError::Io`]: not all that was sent has reached the kernel.
    ///
    /// ```no_run
    /// # let parent = procession_child::connect()?;
    /// parent.finish(3)?;
    /// std::process::exit(3);
    /// # #[expect(unreachable_code)]
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish(self, status: i32) -> Result<(), SendError> {
        self.handle.endpoint.close(status)
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.handle.endpoint
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
