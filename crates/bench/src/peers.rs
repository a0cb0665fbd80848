//! Who takes part: each library, and raw pipes, behind one small trait.
//!
//! | peer | is |
//! |---|---|
//! | `ours`, `heim`, `raw` | a [`Peer`] in this program, under tokio |
//! | `blocking` | a thread of this program with blocking ends: what a pipe can do |
//! | `script` | a parent and a child of its own in Node or Python: what their users have |
//!
//! A peer starts a child, sends it messages and receives its messages, each in the way that its
//! own documentation recommends. The work itself (`parts/`) is written once for all of them.

mod blocking;
mod heim;
mod ours;
mod raw;
mod script;

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use futures::Stream;

use crate::{Failure, child::Job};

pub(crate) use self::{
    blocking::{BLOCKING, Blocking, BlockingSetup},
    heim::Heim,
    ours::Ours,
    raw::{Raw, make_fifo},
    script::{Load, Task, executors, scripts},
};

/// How the messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    NamedPipes,
    StandardIo,
}

/// What to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) job: Job,
    pub(crate) transport: Transport,
    /// The most messages that may wait for us at once, for a peer that would lose them otherwise.
    pub(crate) backlog: usize,
}

/// A child, and the conversation with it.
pub(crate) trait Peer: Sized + Send + 'static {
    /// What the table calls it.
    const NAME: &'static str;
    /// Bytes that its framing adds to a message where that decides how messages fall into reads.
    const DELIMITER: usize = 0;
    /// Whether every message arrives as one, and not in pieces.
    const WHOLE: bool = true;

    /// Starts the child.
    fn start(setup: Setup) -> impl Future<Output = Result<Self, Failure>> + Send;
    /// The child's process id.
    fn pid(&mut self) -> impl Future<Output = Result<u32, Failure>> + Send;
    /// Sends one message: it is in the kernel, or as good as there, afterwards.
    fn send(&mut self, message: &Bytes) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Sends one of many messages: `flush` follows.
    fn feed(&mut self, message: &Bytes) -> impl Future<Output = Result<(), Failure>> + Send {
        self.send(message)
    }
    /// Ends a series of `feed`.
    fn flush(&mut self) -> impl Future<Output = Result<(), Failure>> + Send {
        std::future::ready(Ok(()))
    }
    /// Receives one message, in place of the last one; returns its length.
    fn receive(&mut self) -> impl Future<Output = Result<usize, Failure>> + Send;
    /// What `receive` has received.
    fn message(&self) -> &[u8];
    /// Ends the child and takes all that belonged to it away.
    fn end(self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A peer whose conversation many tasks may share.
pub(crate) trait Shared: Peer {
    /// What a task sends with.
    type Sender: Send + 'static;

    /// One for each task.
    fn sender(&self) -> Self::Sender;
    /// Sends one message, as [`Peer::send`] does.
    fn send_by(
        sender: &Self::Sender,
        message: &Bytes,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Everything that the child says, beside what [`Peer::receive`] receives: the lengths of the messages.
    fn subscribe(&mut self) -> impl Future<Output = Result<Lengths, Failure>> + Send;
}

/// The lengths of messages, as they come.
pub(crate) type Lengths = Pin<Box<dyn Stream<Item = Result<usize, Failure>> + Send>>;
