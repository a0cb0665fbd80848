//! What a script has in its hands: the child's side of its channel.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use procession_wire::credit::{MESSAGE_LANE, REQUEST_LANE, cost};
use procession_wire::{
    Features, Frame, FrameDecoder, Framing, Hello, LineDecoder, Message, SendCredit,
};
use tokio::sync::mpsc;

use crate::messaging::memory::{MemoryReader, MemoryWriter};
use crate::messaging::pipe::{ReadEnd as _, WriteEnd as _};
use crate::signal::Signal;

/// What the parent may have on its way in each lane, in bytes.
const WINDOW: u32 = 1024 * 1024;
const READ: usize = 64 * 1024;

/// What comes from the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildEvent {
    /// A message.
    Message(Message),
    /// A request, to be ended with [`ChildSide::reply`] or [`ChildSide::fail`].
    Request {
        /// Its id.
        id: u64,
        /// What is asked.
        message: Message,
    },
    /// The parent no longer waits for the answer to this request. It is to be ended all the same.
    Cancel {
        /// The request's id.
        id: u64,
    },
    /// The reply to a request of this child.
    Reply {
        /// The request's id, as [`ChildSide::ask`] gave it.
        id: u64,
        /// The reply.
        message: Message,
    },
    /// A request of this child has failed.
    Failure {
        /// The request's id.
        id: u64,
        /// Why.
        text: String,
    },
    /// A part of the answer to a request of this child.
    Item {
        /// The request's id.
        id: u64,
        /// The part.
        message: Message,
    },
    /// The parent asks the child to finish and exit.
    Stop,
    /// A signal, where the script [handles them](super::ScriptedChild::handles_signals).
    Signal(Signal),
    /// The parent has closed the input. Comes again at each call.
    InputEnded,
}

/// The child's side of its channel. Dropped, both directions are closed.
pub struct ChildSide {
    framing: Framing,
    limit: usize,
    input: Option<MemoryReader>,
    output: Option<MemoryWriter>,
    signals: mpsc::Receiver<Signal>,
    buffer: BytesMut,
    frames: FrameDecoder,
    lines: LineDecoder,
    events: VecDeque<ChildEvent>,
    /// Bytes that the parent gets before anything else.
    owed: BytesMut,
    messages: SendCredit,
    requests: SendCredit,
    items: HashMap<u64, SendCredit>,
    asked: u64,
}

impl ChildSide {
    pub(super) fn new(
        framing: Framing,
        limit: usize,
        input: Option<MemoryReader>,
        output: Option<MemoryWriter>,
        signals: mpsc::Receiver<Signal>,
    ) -> Self {
        Self {
            framing,
            limit,
            input,
            output,
            signals,
            buffer: BytesMut::new(),
            frames: FrameDecoder::new(limit),
            lines: LineDecoder::new(limit),
            events: VecDeque::new(),
            owed: BytesMut::new(),
            messages: SendCredit::new(),
            requests: SendCredit::new(),
            items: HashMap::new(),
            asked: 0,
        }
    }

    fn speaks_frames(&self) -> bool {
        self.framing == Framing::Frames
    }

    /// Hello, and the first credit.
    pub(super) fn greet(&mut self) {
        if !self.speaks_frames() || self.output.is_none() {
            return;
        }
        if self.input.is_none() {
            self.owe(&Frame::Hello(Hello::new(Features::NONE, 0)));
            return;
        }
        self.owe(&Frame::Hello(Hello::new(Features::CREDIT, 0)));
        for lane in [MESSAGE_LANE, REQUEST_LANE] {
            self.owe(&Frame::Credit {
                lane,
                bytes: WINDOW,
            });
        }
    }

    /// Has a frame sent with what is sent next.
    fn owe(&mut self, frame: &Frame) {
        // The frames of our own are within any limit.
        let _ = frame.encode(usize::MAX, &mut self.owed);
    }

    /// Waits for what comes next from the parent. Cancel safe.
    pub async fn next(&mut self) -> ChildEvent {
        loop {
            self.flush().await;
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            if let Some(event) = self.receive().await {
                return event;
            }
        }
    }

    /// Reads once. What is no affair of the script's is dealt with.
    async fn receive(&mut self) -> Option<ChildEvent> {
        let Some(input) = &mut self.input else {
            let signal = self.signals.recv().await;
            return Some(signal.map_or(ChildEvent::InputEnded, ChildEvent::Signal));
        };
        let read = poll_fn(|cx| input.poll_read(cx, &mut self.buffer, READ));
        let read = tokio::select! {
            Some(signal) = self.signals.recv() => return Some(ChildEvent::Signal(signal)),
            read = read => read,
        };
        if read.unwrap_or(0) == 0 {
            self.input = None;
            return Some(ChildEvent::InputEnded);
        }
        self.decode();
        None
    }

    fn decode(&mut self) {
        if !self.speaks_frames() {
            while let Some(line) = self.next_line() {
                self.events.push_back(ChildEvent::Message(line.into()));
            }
            return;
        }
        while let Ok(Some(frame)) = self.frames.decode(&mut self.buffer) {
            self.take(frame);
        }
    }

    fn next_line(&mut self) -> Option<Bytes> {
        use procession_wire::LineStep;
        loop {
            match self.lines.parse(&self.buffer) {
                LineStep::Line { payload, end } => {
                    let line = self.buffer.split_to(end).freeze();
                    return Some(line.slice(payload));
                }
                LineStep::TooLong { end } | LineStep::Skip { end } => {
                    drop(self.buffer.split_to(end));
                }
                LineStep::NeedMore => return None,
            }
        }
    }

    fn take(&mut self, frame: Frame) {
        let lane = match &frame {
            Frame::Message(_) => MESSAGE_LANE,
            Frame::Request { .. } => REQUEST_LANE,
            Frame::Item { id, .. } => *id,
            _ => 0,
        };
        if matches!(
            frame,
            Frame::Message(_) | Frame::Request { .. } | Frame::Item { .. }
        ) {
            // Scripts take what they are given: it is free again at once.
            let bytes = u32::try_from(cost(frame.payload().len())).unwrap_or(u32::MAX);
            self.owe(&Frame::Credit { lane, bytes });
        }
        let event = match frame {
            Frame::Message(payload) => ChildEvent::Message(payload.into()),
            Frame::Request { id, payload } => {
                self.items.insert(id, SendCredit::new());
                let message = payload.into();
                ChildEvent::Request { id, message }
            }
            Frame::Reply { id, payload } => {
                let message = payload.into();
                ChildEvent::Reply { id, message }
            }
            Frame::Item { id, payload } => {
                let message = payload.into();
                ChildEvent::Item { id, message }
            }
            Frame::Failure { id, text } => ChildEvent::Failure { id, text },
            Frame::Cancel { id } => ChildEvent::Cancel { id },
            Frame::Stop => ChildEvent::Stop,
            Frame::Ping(number) => return self.owe(&Frame::Pong(number)),
            Frame::Credit { lane, bytes } => {
                let credit = match lane {
                    MESSAGE_LANE => Some(&mut self.messages),
                    REQUEST_LANE => Some(&mut self.requests),
                    id => self.items.get_mut(&id),
                };
                if let Some(credit) = credit {
                    credit.grant(bytes);
                }
                return;
            }
            _ => return,
        };
        self.events.push_back(event);
    }

    /// Sends a message: a frame, when there is credit for it, or a line.
    pub async fn send(&mut self, message: impl Into<Message>) {
        let payload = message.into().into_bytes();
        if self.speaks_frames() {
            let len = payload.len();
            self.spend(len, |side| Some(&mut side.messages)).await;
            self.put(&Frame::Message(payload)).await;
        } else {
            self.write(&payload).await;
            self.write(b"\n").await;
        }
    }

    /// Ends a request with this reply.
    pub async fn reply(&mut self, id: u64, message: impl Into<Message>) {
        self.items.remove(&id);
        let payload = message.into().into_bytes();
        self.put(&Frame::Reply { id, payload }).await;
    }

    /// Ends a request with a failure.
    pub async fn fail(&mut self, id: u64, text: impl Into<String>) {
        self.items.remove(&id);
        self.put(&Frame::failure(id, text, self.limit)).await;
    }

    /// Sends a part of an answer, when the parent has room for it.
    pub async fn item(&mut self, id: u64, message: impl Into<Message>) {
        let payload = message.into().into_bytes();
        self.spend(payload.len(), |side| side.items.get_mut(&id))
            .await;
        self.put(&Frame::Item { id, payload }).await;
    }

    /// Asks the parent; the answer comes as an event with the id that this gives.
    pub async fn ask(&mut self, message: impl Into<Message>) -> u64 {
        let payload = message.into().into_bytes();
        self.spend(payload.len(), |side| Some(&mut side.requests))
            .await;
        self.asked += 1;
        let id = self.asked;
        self.put(&Frame::Request { id, payload }).await;
        self.put(&Frame::Credit {
            lane: id,
            bytes: WINDOW,
        })
        .await;
        id
    }

    /// Says that it is ready.
    pub async fn ready(&mut self, status: impl Into<String>) {
        self.put(&Frame::Ready(status.into())).await;
    }

    /// Says that nothing follows.
    pub async fn bye(&mut self, status: i32) {
        self.put(&Frame::Bye { status }).await;
    }

    /// Writes any bytes.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.flush().await;
        write(self.output.as_ref(), bytes).await;
    }

    /// Reads any bytes, as they come: none at the end of the input. Cancel safe.
    ///
    /// Bytes that [`next`](Self::next) has not given yet are among them; a script uses one of the
    /// two.
    pub async fn read(&mut self) -> Bytes {
        if let Some(input) = &mut self.input
            && self.buffer.is_empty()
        {
            let read = poll_fn(|cx| input.poll_read(cx, &mut self.buffer, READ)).await;
            if read.unwrap_or(0) == 0 {
                self.input = None;
            }
        }
        self.buffer.split().freeze()
    }

    /// Closes the output: the parent sees its end.
    pub fn close_output(&mut self) {
        self.output = None;
    }

    /// Closes the input: the parent's writes fail.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    async fn put(&mut self, frame: &Frame) {
        self.owe(frame);
        self.flush().await;
    }

    async fn flush(&mut self) {
        while !self.owed.is_empty() {
            let written = write_some(self.output.as_ref(), &self.owed).await;
            drop(self.owed.split_to(written));
        }
    }

    /// Waits for credit as long as there can be any, and spends it.
    async fn spend(
        &mut self,
        payload_len: usize,
        credit: impl Fn(&mut Self) -> Option<&mut SendCredit>,
    ) {
        loop {
            let ended = self.input.is_none();
            match credit(self) {
                Some(credit) if credit.may_send() || ended => return credit.spend(payload_len),
                Some(_) => {}
                None => return,
            }
            self.flush().await;
            if let Some(event) = self.receive().await {
                self.events.push_back(event);
            }
        }
    }
}

async fn write(output: Option<&MemoryWriter>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = write_some(output, bytes).await;
        bytes = &bytes[written..];
    }
}

/// How much of it was written; all of it, where nobody reads. Cancel safe.
async fn write_some(output: Option<&MemoryWriter>, bytes: &[u8]) -> usize {
    let Some(output) = output else {
        return bytes.len();
    };
    let written = poll_fn(|cx| output.poll_write(cx, &[IoSlice::new(bytes)])).await;
    written.unwrap_or(bytes.len())
}

impl fmt::Debug for ChildSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSide")
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}
