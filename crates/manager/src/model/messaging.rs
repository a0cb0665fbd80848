//! How messages travel between the parent and a child, and how many of them may wait.

use std::time::Duration;

use procession_wire::{DEFAULT_MESSAGE_LIMIT, Framing};

use super::startup::Liveness;

const DEFAULT_BUFFER: usize = 1024;
const DEFAULT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// How messages travel between the parent and a child: over what, cut how, and what happens when
/// nobody reads them.
///
/// ```
/// use procession_manager::model::command::{Cmd, Messaging, Overflow, Transport};
/// use procession_manager::Framing;
///
/// // A line in, a line out, over stdin and stdout: for scripts and most existing programs.
/// let jq = Cmd::new("jq").arg("--unbuffered").messaging(Messaging::standard_io());
///
/// // Frames over named pipes: stdout and stderr stay free for logs.
/// let worker = Cmd::new("worker").messaging(
///     Messaging::named_pipes()
///         .framing(Framing::Frames)
///         .overflow(Overflow::DropOldest),
/// );
///
/// // Commands on stdin, answers through a pipe.
/// let mixed = Messaging::split(Some(Transport::StandardIo), Some(Transport::NamedPipe));
/// assert_eq!(mixed.input(), Some(Transport::StandardIo));
/// ```
///
/// | setting | default |
/// |---|---|
/// | [`framing`](Self::framing) | [`Framing::Lines`] |
/// | [`buffer`](Self::buffer) | 1024 messages |
/// | [`buffer_bytes`](Self::buffer_bytes) | 4 MiB |
/// | [`overflow`](Self::overflow) | [`Overflow::Block`] |
/// | [`message_limit`](Self::message_limit) | 16 MiB |
/// | [`skip_before_hello`](Self::skip_before_hello) | 0 bytes |
/// | [`liveness`](Self::liveness) | no pings |
/// | [`lease`](Self::lease) | none |
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "Messaging::unconnected", deny_unknown_fields)
)]
#[must_use]
pub struct Messaging {
    pub(super) input: Option<Transport>,
    pub(super) output: Option<Transport>,
    #[cfg_attr(feature = "serde", serde(with = "super::data::framing"))]
    pub(super) framing: Framing,
    pub(super) buffer: usize,
    pub(super) buffer_bytes: usize,
    pub(super) overflow: Overflow,
    pub(super) message_limit: usize,
    pub(super) skip_before_hello: usize,
    pub(super) liveness: Option<Liveness>,
    #[cfg_attr(
        feature = "serde",
        serde(rename = "lease_ms", with = "super::data::milliseconds")
    )]
    pub(super) lease: Option<Duration>,
}

impl Messaging {
    /// Messages to the child's standard input, and from its standard output.
    pub const fn standard_io() -> Self {
        Self::split(Some(Transport::StandardIo), Some(Transport::StandardIo))
    }

    /// Messages both ways through named pipes (FIFOs) in the process's run directory, whose paths the
    /// child finds in its environment as `INPUT_PIPE` and `OUTPUT_PIPE`. The child's standard output
    /// and standard error stay free for logs.
    pub const fn named_pipes() -> Self {
        Self::split(Some(Transport::NamedPipe), Some(Transport::NamedPipe))
    }

    /// Each direction over what is given for it, or off. `input` is what the child reads, `output`
    /// what it writes. A spawn refuses messaging with both directions off.
    pub const fn split(input: Option<Transport>, output: Option<Transport>) -> Self {
        Self {
            input,
            output,
            ..Self::unconnected()
        }
    }

    /// The defaults, with both directions off.
    const fn unconnected() -> Self {
        Self {
            input: None,
            output: None,
            framing: Framing::Lines,
            buffer: DEFAULT_BUFFER,
            buffer_bytes: DEFAULT_BUFFER_BYTES,
            overflow: Overflow::Block,
            message_limit: DEFAULT_MESSAGE_LIMIT,
            skip_before_hello: 0,
            liveness: None,
            lease: None,
        }
    }

    /// Messages to the child only: turns the child's output off.
    pub const fn input_only(mut self) -> Self {
        self.output = None;
        self
    }

    /// Messages from the child only: turns the child's input off.
    pub const fn output_only(mut self) -> Self {
        self.input = None;
        self
    }

    /// How the byte streams are cut into messages, both ways. Children in a shell or any other language
    /// read and write lines with no library; frames carry any bytes and what the SDK needs besides.
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// How many messages of the child may wait for a subscriber: of each subscription, and of the
    /// process while it has none. At least 1; one subscription can choose its own with
    /// [`Subscription::buffer`].
    pub const fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages;
        self
    }

    /// How many bytes of messages may wait for a subscriber. The buffer is full when either bound is
    /// reached; a message larger than this still passes, alone. At least 1.
    pub const fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// What happens to further messages when the buffer is full.
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// The largest payload of one message, in bytes, both ways: from 1 to 4,294,966,271
    /// (4 GiB less 1 KiB and a byte), of requests, replies and items too. Sending more is an error at the sender;
    /// receiving more is one error item over lines, and the end of the stream over frames.
    pub const fn message_limit(mut self, bytes: usize) -> Self {
        self.message_limit = bytes;
        self
    }

    /// With frames: how many bytes of anything else the child's output may start with, such as the
    /// greeting of a launcher. They are dropped. Beyond it, or by default, they are an error.
    /// At most 1 MiB, which is held in memory until the hello comes.
    pub const fn skip_before_hello(mut self, bytes: usize) -> Self {
        self.skip_before_hello = bytes;
        self
    }

    /// With frames both ways: pings, and what becomes of a child that does not answer them.
    pub const fn liveness(mut self, liveness: Liveness) -> Self {
        self.liveness = Some(liveness);
        self
    }

    /// With frames both ways: the child ends itself when nothing has come from us for this long, as after a
    /// crash that leaves its pipes open, or when this program hangs. It is sent a ping at least three times
    /// as often. At least 30 ms; whole milliseconds.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// What carries messages to the child; `None` when that direction is off.
    pub const fn input(&self) -> Option<Transport> {
        self.input
    }

    /// What carries messages from the child; `None` when that direction is off.
    pub const fn output(&self) -> Option<Transport> {
        self.output
    }

    /// How the byte streams are cut into messages.
    pub const fn chosen_framing(&self) -> Framing {
        self.framing
    }

    /// Whether requests can go both ways: frames, input and output.
    pub(crate) fn takes_requests(&self) -> bool {
        self.framing == Framing::Frames && self.input.is_some() && self.output.is_some()
    }

    /// How many messages may wait for a subscriber.
    pub const fn buffered_messages(&self) -> usize {
        self.buffer
    }

    /// How many bytes of messages may wait for a subscriber.
    pub const fn buffered_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// What happens when the buffer is full.
    pub const fn overflow_policy(&self) -> Overflow {
        self.overflow
    }

    /// The largest payload of one message, in bytes.
    pub const fn largest_message(&self) -> usize {
        self.message_limit
    }

    /// The pings.
    pub const fn liveness_check(&self) -> Option<Liveness> {
        self.liveness
    }

    /// After how long without a sign of us the child ends itself.
    pub const fn lease_time(&self) -> Option<Duration> {
        self.lease
    }

    /// How many bytes of anything else may come before the child's first frame.
    pub const fn skipped_before_hello(&self) -> usize {
        self.skip_before_hello
    }
}

/// What carries the messages of one direction.
///
/// ```
/// use procession_manager::model::command::{Messaging, Transport};
///
/// assert_eq!(Messaging::named_pipes().output(), Some(Transport::NamedPipe));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Transport {
    /// The child's standard input or standard output.
    StandardIo,
    /// A named pipe (FIFO) in the process's run directory.
    NamedPipe,
}

/// What happens to messages of a child that find a subscriber's buffer full.
///
/// ```
/// use procession_manager::model::command::Overflow;
///
/// assert_eq!(Overflow::default(), Overflow::Block);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Overflow {
    /// Nothing is lost: the child waits in its write until there is room. The default.
    #[default]
    Block,
    /// The child is never held up: the oldest messages make room for the new ones, and the subscriber
    /// is told how many it lost.
    DropOldest,
}

/// What one subscription wants different from the process's [`Messaging`].
///
/// ```
/// use procession_manager::model::command::{Overflow, Subscription};
///
/// // A dashboard that only cares for the newest few.
/// let newest = Subscription::new().buffer(16).overflow(Overflow::DropOldest);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Subscription {
    buffer: Option<usize>,
    buffer_bytes: Option<usize>,
    overflow: Option<Overflow>,
}

impl Subscription {
    /// A subscription like the process's own settings.
    pub const fn new() -> Self {
        Self {
            buffer: None,
            buffer_bytes: None,
            overflow: None,
        }
    }

    /// How many messages may wait here. At least 1: subscribing refuses 0.
    pub const fn buffer(mut self, messages: usize) -> Self {
        self.buffer = Some(messages);
        self
    }

    /// How many bytes of messages may wait here; a message larger than this still passes, alone. At
    /// least 1: subscribing refuses 0.
    pub const fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = Some(bytes);
        self
    }

    /// What happens when the buffer is full.
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// How many messages may wait here; `None` for the process's own setting.
    pub const fn buffered_messages(&self) -> Option<usize> {
        self.buffer
    }

    /// How many bytes of messages may wait here; `None` for the process's own setting.
    pub const fn buffered_bytes(&self) -> Option<usize> {
        self.buffer_bytes
    }

    /// What happens when the buffer is full; `None` for the process's own setting.
    pub const fn overflow_policy(&self) -> Option<Overflow> {
        self.overflow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_connect_what_they_name() {
        let (stdio, pipe) = (Some(Transport::StandardIo), Some(Transport::NamedPipe));
        let table = [
            (Messaging::standard_io(), stdio, stdio),
            (Messaging::named_pipes(), pipe, pipe),
            (Messaging::standard_io().input_only(), stdio, None),
            (Messaging::named_pipes().output_only(), None, pipe),
            (Messaging::split(stdio, pipe), stdio, pipe),
            (Messaging::split(None, stdio), None, stdio),
        ];
        for (messaging, input, output) in table {
            assert_eq!((messaging.input(), messaging.output()), (input, output));
        }
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let messaging = Messaging::standard_io();
        assert_eq!(messaging.chosen_framing(), Framing::Lines);
        assert_eq!(messaging.buffered_messages(), 1024);
        assert_eq!(messaging.buffered_bytes(), 4_194_304);
        assert_eq!(messaging.overflow_policy(), Overflow::Block);
        assert_eq!(messaging.largest_message(), 16_777_216);
        assert_eq!(messaging.skipped_before_hello(), 0);
    }

    #[test]
    fn every_verb_is_seen_by_its_accessor() {
        let messaging = Messaging::standard_io()
            .framing(Framing::Frames)
            .buffer(1)
            .buffer_bytes(2)
            .overflow(Overflow::DropOldest)
            .message_limit(3)
            .skip_before_hello(4);
        assert_eq!(messaging.chosen_framing(), Framing::Frames);
        assert_eq!(messaging.buffered_messages(), 1);
        assert_eq!(messaging.buffered_bytes(), 2);
        assert_eq!(messaging.overflow_policy(), Overflow::DropOldest);
        assert_eq!(messaging.largest_message(), 3);
        assert_eq!(messaging.skipped_before_hello(), 4);
    }

    #[test]
    fn a_subscription_says_only_what_it_wants_different() {
        let plain = Subscription::new();
        assert_eq!(plain.buffered_messages(), None);
        assert_eq!(plain.buffered_bytes(), None);
        assert_eq!(plain.overflow_policy(), None);
        let own = plain
            .buffer(5)
            .buffer_bytes(7)
            .overflow(Overflow::DropOldest);
        assert_eq!(own.buffered_messages(), Some(5));
        assert_eq!(own.buffered_bytes(), Some(7));
        assert_eq!(own.overflow_policy(), Some(Overflow::DropOldest));
    }
}
