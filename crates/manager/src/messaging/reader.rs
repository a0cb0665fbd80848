//! The reader of one child's message output.
//!
//! ```text
//!   pipe ─► buffer ─► decode ─► one batch of messages a read ─► hub
//!                        ├────► replies, items, requests ─► conversation
//!                        └────► control frames ─► outbox (pong, credit), signs (hello, ready, bye)
//! ```
//!
//! One growing buffer carries a partial frame over to the next read; payloads are slices of it. The
//! reader never waits for the writer, and for a subscription only where the child has no credit;
//! and where the child sends more that nobody waits for than its [budget](ControlBudget) allows,
//! for that. From the exit on it waits for nobody: what the pipe still holds is taken past full
//! buffers, up to one pipe's capacity.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use procession_wire::buffer::{MAX_READ_BUFFER, READ_BUFFER, next_read};
use procession_wire::{
    Features, FrameDecoder, FrameError, FrameHead, LineDecoder, LineStep, Message,
};
use tokio::time::{Instant, sleep};

use super::budget::ControlBudget;
use super::buffer::{Batch, Positions, SMALL_SHARE};
use super::conversation::Conversation;
use super::hub::{Granter, Hub};
use super::outbox::Closed;
use super::pings::{self, SharedPings};
use super::pipe::{ReadEnd, WriteEnd};
use super::signs::Signs;
use super::source::{Next, Source};
use super::spare;
use crate::error::ReceiveMessageError;
use crate::lifecycle::OutputState;

/// The first read after a silence: most of what then comes is small.
const SMALL_READ: usize = spare::SIZE;

/// The longest message that is copied out of what was read, in bytes.
const COPIED: usize = 1024;

/// A read of fewer bytes than this is a crumb, if it completes nothing.
const CRUMB: usize = 4 * 1024;
/// So many crumbs in a row are free: a frame may well come by a few writes.
const MOST_CRUMBS: u8 = 16;

/// The longest status text that is kept, in bytes.
pub(crate) const MAX_STATUS: usize = 4 * 1024;

/// Cuts the stream into messages.
#[derive(Debug)]
pub(crate) enum Decoder {
    Lines { lines: LineDecoder, limit: usize },
    Frames(FrameDecoder),
}

/// Where what is read goes.
pub(crate) struct Receivers<W: WriteEnd> {
    pub(crate) hub: Arc<Hub>,
    /// There over frames, where the child has an input too.
    pub(crate) conversation: Option<Arc<Conversation<W>>>,
    pub(crate) signs: Signs,
    /// There where any are sent.
    pub(crate) pings: Option<SharedPings>,
}

pub(crate) struct Reader<R, W: WriteEnd> {
    source: Source<R>,
    decoder: Decoder,
    hub: Arc<Hub>,
    conversation: Option<Arc<Conversation<W>>>,
    signs: Signs,
    pings: Option<SharedPings>,
    /// The first hello has come.
    greeted: bool,
    /// A message has been told of.
    has_message: bool,
    /// After the child's last frame.
    farewell: bool,
    budget: ControlBudget,
    /// Reads in a row that brought little and completed nothing.
    crumbs: u8,
    buffer: BytesMut,
    room: usize,
    /// The longest frame so far, up to what one read may be given room for: a child that has sent
    /// long messages is believed when it announces another, and the buffer need not grow in steps.
    believed: usize,
    /// How many messages the last read brought.
    likely: usize,
    /// From the exit on: bytes that may still be taken past full buffers.
    overdraft: Option<usize>,
    /// The limit that the line after the last messages was over.
    too_long: Option<usize>,
}

/// The wait for room in full buffers. Boxed, since most messages find some, and every reader would have the
/// space for it for its whole life.
type Room<'a> = Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>>;

/// Reading cannot go on.
enum Stop {
    Lost(FrameError),
    Cut,
}

impl<R: ReadEnd, W: WriteEnd> Reader<R, W> {
    pub(crate) fn new(source: Source<R>, decoder: Decoder, receivers: Receivers<W>) -> Self {
        let earned = earned(receivers.conversation.as_deref());
        Self {
            source,
            decoder,
            budget: ControlBudget::new(Instant::now(), earned),
            crumbs: 0,
            hub: receivers.hub,
            conversation: receivers.conversation,
            signs: receivers.signs,
            pings: receivers.pings,
            greeted: false,
            has_message: false,
            farewell: false,
            buffer: BytesMut::new(),
            room: SMALL_READ,
            believed: 0,
            likely: 0,
            overdraft: None,
            too_long: None,
        }
    }

    /// Reads to the end and says how that came. The subscriptions' streams end with it.
    ///
    /// Not an `async fn`: that would have room for the reader twice, as its argument and where it is used.
    pub(crate) fn run(self) -> impl Future<Output = OutputState> + Send {
        let mut reader = self;
        async move {
            let state = reader.read().await;
            reader.hub.end_run();
            if let Some(conversation) = &reader.conversation {
                conversation.end();
            }
            state
        }
    }

    async fn read(&mut self) -> OutputState {
        loop {
            let before = self.buffer.len();
            let stopped = match self.source.next(&mut self.buffer, self.room).await {
                Next::Data => {
                    let received = self.buffer.len();
                    let stopped = self.decode_all().await;
                    self.count_crumb(received - before, self.buffer.len() == received);
                    stopped
                }
                Next::End(state) => match self.finish(state) {
                    Ok(None) => return state,
                    Ok(Some(room)) => match room.await {
                        Ok(()) => return state,
                        Err(stop) => Err(stop),
                    },
                    Err(stop) => Err(stop),
                },
                Next::Failed(error) => {
                    self.hub
                        .report(&ReceiveMessageError::ReadFailed(error.to_string()));
                    return OutputState::Cut;
                }
            };
            match stopped {
                Ok(()) => self.make_room(),
                Err(Stop::Cut) => return OutputState::Cut,
                Err(Stop::Lost(error)) => {
                    let why = error.to_string();
                    let at_end =
                        matches!(error, FrameError::NoHello | FrameError::Truncated { .. });
                    self.signs.tell(|seen| {
                        seen.lost = Some(why.into());
                        seen.at_end = at_end;
                    });
                    self.hub
                        .report(&ReceiveMessageError::FramingLost(error.clone()));
                    if let Some(conversation) = &self.conversation {
                        conversation.outbox().close(Closed::Broken(error));
                    }
                    return OutputState::Cut;
                }
            }
        }
    }

    /// Notes what a read came to. Many reads for one frame are work for nothing, unless they bring
    /// much of it.
    fn count_crumb(&mut self, len: usize, is_incomplete: bool) {
        if is_incomplete && len < CRUMB {
            self.crumbs = self.crumbs.saturating_add(1);
            if self.crumbs > MOST_CRUMBS {
                self.budget.spend(len);
            }
        } else {
            self.crumbs = 0;
        }
    }

    /// Waits until the child may have more done that nobody waits for.
    async fn wait_for_budget(&mut self) {
        loop {
            let earned = earned(self.conversation.as_deref());
            let Some(wait) = self.budget.refill(Instant::now(), earned) else {
                return;
            };
            let exit = Arc::clone(self.source.exit());
            let exited = tokio::select! {
                biased;
                () = exit.wait() => true,
                () = sleep(wait) => false,
            };
            self.source.rearm();
            if exited {
                // The drain has a bound of its own, and waits for nobody.
                self.budget.pardon();
                return;
            }
        }
    }

    /// Decides on the next read: more after one that was full, and nothing held while silent.
    fn make_room(&mut self) {
        if self.buffer.is_empty() {
            let filled = self.buffer.capacity() == 0;
            spare::put(std::mem::take(&mut self.buffer));
            self.room = if filled {
                (self.room * 4).min(READ_BUFFER)
            } else {
                SMALL_READ
            };
        } else {
            let missing = match &self.decoder {
                Decoder::Lines { .. } => self.buffer.len(),
                Decoder::Frames(frames) => frames.needed(&self.buffer),
            };
            let believed = missing.min(self.believed);
            self.room = next_read(self.buffer.len(), missing).max(believed);
        }
    }

    /// Hands on what was read, as far as it is whole. Nothing of it is held while there is no room, but what the
    /// wait for that holds.
    async fn decode_all(&mut self) -> Result<(), Stop> {
        loop {
            if let Some(room) = self.decode()? {
                room.await?;
            }
            // There may be more in the buffer, which the budget was too small for.
            let mut is_done = !self.budget.take_interrupted();
            // After the messages before it.
            if let Some(limit) = self.too_long.take() {
                self.hub
                    .report(&ReceiveMessageError::MessageTooLarge { limit });
                is_done = false;
            }
            if self.budget.is_exhausted() {
                // Boxed, since few ever come here.
                Box::pin(self.wait_for_budget()).await;
            } else if is_done {
                return Ok(());
            }
        }
    }

    fn decode(&mut self) -> Result<Option<Room<'_>>, Stop> {
        match self.decoder {
            Decoder::Lines { .. } => self.decode_lines(),
            Decoder::Frames(_) => self.decode_frames(),
        }
    }

    /// Hands on lines up to one that is too long, or all that are there.
    fn decode_lines(&mut self) -> Result<Option<Room<'_>>, Stop> {
        let mut payloads = Positions::default();
        let mut at = 0;
        let Decoder::Lines { lines, limit } = &mut self.decoder else {
            return Ok(None);
        };
        self.too_long = loop {
            match lines.parse(&self.buffer[at..]) {
                LineStep::Line { payload, end } => {
                    let payload = position(at + payload.start)..position(at + payload.end);
                    payloads.push(payload, self.likely);
                    at += end;
                }
                LineStep::TooLong { end } => {
                    at += end;
                    self.budget.spend(end);
                    break Some(*limit);
                }
                LineStep::Skip { end } => {
                    at += end;
                    self.budget.spend(end);
                }
                LineStep::NeedMore => break None,
            }
        };
        match payloads.only() {
            Some(payload) if payload.len() <= COPIED => self.offer_copy(payload, at),
            _ => {
                let chunk = self.buffer.split_to(at).freeze();
                self.deliver(chunk, payloads)
            }
        }
    }

    fn decode_frames(&mut self) -> Result<Option<Room<'_>>, Stop> {
        if self.farewell {
            self.budget.spend(self.buffer.len());
            self.buffer.clear();
            return Ok(None);
        }
        let mut payloads = Positions::default();
        // What is not a message, with where its payload is.
        let mut others = Vec::new();
        let mut at = 0;
        let lost = loop {
            if self.farewell {
                at = self.buffer.len();
                break None;
            }
            if self.budget.interrupts() {
                break None;
            }
            let Decoder::Frames(frames) = &mut self.decoder else {
                return Ok(None);
            };
            match frames.parse(&self.buffer[at..]) {
                Ok(Some(frame)) => {
                    let (start, end) = (at + frame.payload.start, at + frame.payload.end);
                    match frame.head {
                        FrameHead::Message => {
                            payloads.push(position(start)..position(end), self.likely);
                        }
                        FrameHead::Bye { .. } => self.farewell = true,
                        head => {
                            self.budget.spend(end - start);
                            others.push((head, start..end));
                        }
                    }
                    at += frame.end;
                    self.believed = self.believed.max(frame.end.min(MAX_READ_BUFFER));
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if others.is_empty()
            && lost.is_none()
            && !self.farewell
            && let Some(payload) = payloads.only()
            && payload.len() <= COPIED
        {
            return self.offer_copy(payload, at);
        }
        let chunk = self.buffer.split_to(at).freeze();
        // Before the messages, which may have to wait for a reader.
        for (head, payload) in others {
            let len = payload.len();
            if self.other(head, part(&chunk, payload)) {
                self.budget.refund(len);
            }
        }
        if self.farewell
            && let Some(conversation) = &self.conversation
        {
            conversation.end();
        }
        match (self.deliver(chunk, payloads)?, lost) {
            (room, None) => Ok(room),
            (None, Some(error)) => Err(Stop::Lost(error)),
            (Some(room), Some(error)) => Ok(Some(Box::pin(async move {
                room.await?;
                Err(Stop::Lost(error))
            }))),
        }
    }

    /// Hands on one small message, which is copied out of what was read: then the buffer is still ours,
    /// and is of use for the next read.
    fn offer_copy(&mut self, payload: Range<u32>, end: usize) -> Result<Option<Room<'_>>, Stop> {
        let Range {
            start,
            end: payload_end,
        } = payload;
        let message = Bytes::copy_from_slice(&self.buffer[start as usize..payload_end as usize]);
        if end == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.advance(end);
        }
        self.offer(Batch::One(message))
    }

    /// Hands on the messages in what was taken off the buffer.
    fn deliver(&mut self, chunk: Bytes, payloads: Positions) -> Result<Option<Room<'_>>, Stop> {
        if payloads.all().is_empty() {
            return Ok(None);
        }
        self.likely = payloads.all().len();
        self.offer(Batch::compact(chunk, payloads))
    }

    /// Hands on messages; what there is no room for is handed on by what this gives.
    fn offer(&mut self, mut batch: Batch) -> Result<Option<Room<'_>>, Stop> {
        if !std::mem::replace(&mut self.has_message, true) {
            self.signs.tell(|seen| seen.message = true);
        }
        let (mut from, len) = (0, batch.len());
        while from < len {
            if self.source.exit().is_set() {
                return self.overdraw(batch, from).map(|()| None);
            }
            let taken = self.hub.offer(&mut batch, from, false);
            if taken == 0 {
                return Ok(Some(Box::pin(self.wait_for_room(batch, from, len))));
            }
            from += taken;
        }
        Ok(None)
    }

    async fn wait_for_room(
        &mut self,
        mut batch: Batch,
        mut from: usize,
        len: usize,
    ) -> Result<(), Stop> {
        while from < len {
            if self.source.exit().is_set() {
                return self.overdraw(batch, from);
            }
            let exit = Arc::clone(self.source.exit());
            tokio::select! {
                biased;
                taken = poll_fn(|cx| self.hub.poll_offer(cx, &mut batch, from)) => from += taken,
                () = exit.wait() => {}
            }
        }
        Ok(())
    }

    /// The child has exited: nobody is waited for any more.
    fn overdraw(&mut self, mut batch: Batch, mut from: usize) -> Result<(), Stop> {
        let len = batch.len();
        while from < len {
            let taken = self.hub.offer(&mut batch, from, false);
            if taken == 0 {
                break;
            }
            from += taken;
        }
        self.source.rearm();
        if from == len {
            return Ok(());
        }
        let rest = batch.bytes(from..len);
        // What is in hand at the exit was read before it, and comes on top.
        let in_hand = rest + self.buffer.len();
        let capacity = self.source.capacity();
        let overdraft = self.overdraft.get_or_insert(capacity + in_hand);
        if *overdraft < rest {
            return Err(Stop::Cut);
        }
        *overdraft -= rest;
        self.hub.offer(&mut batch, from, true);
        Ok(())
    }

    fn finish(&mut self, state: OutputState) -> Result<Option<Room<'_>>, Stop> {
        match &mut self.decoder {
            Decoder::Frames(_) if self.farewell => Ok(None),
            Decoder::Frames(frames) if state == OutputState::Complete => {
                frames.finish(&self.buffer).map_err(Stop::Lost)?;
                Ok(None)
            }
            Decoder::Frames(_) => Ok(None),
            Decoder::Lines { lines, .. } => {
                let Some(last) = lines.finish(&mut self.buffer) else {
                    return Ok(None);
                };
                let whole = std::iter::once(0..position(last.len())).collect();
                self.deliver(last, whole)
            }
        }
    }

    /// Takes in a frame that is not a message. Says whether it was one that somebody has waited
    /// for.
    fn other(&mut self, head: FrameHead, payload: Message) -> bool {
        match head {
            // Another one changes nothing.
            FrameHead::Hello(_) if std::mem::replace(&mut self.greeted, true) => return false,
            FrameHead::Hello(hello) => {
                let with_credit = hello.features.contains(Features::CREDIT);
                if let Some(conversation) = &self.conversation {
                    if with_credit {
                        let granter = Arc::new(Arc::clone(conversation.outbox()));
                        self.hub.grant_through(granter as Arc<dyn Granter>);
                    }
                    conversation.greeted(with_credit);
                }
                self.signs.tell(|seen| seen.hello = true);
                return true;
            }
            FrameHead::Ready => {
                let mut text = String::from_utf8_lossy(payload.as_bytes()).into_owned();
                text.truncate(text.floor_char_boundary(MAX_STATUS));
                self.signs.tell(|seen| seen.ready = Some(text.into()));
                return false;
            }
            FrameHead::Pong(number) => {
                if let Some(pings) = &self.pings {
                    let missed = pings::lock(pings).pong(number, Instant::now());
                    self.signs.tell(|seen| seen.missed = missed);
                }
                return false;
            }
            _ => {}
        }
        let Some(conversation) = &self.conversation else {
            return false;
        };
        match head {
            FrameHead::Request { id } => return conversation.request(id, payload),
            FrameHead::Reply { id } => return conversation.reply(id, payload),
            FrameHead::Failure { id } => return conversation.failure(id, payload.as_bytes()),
            FrameHead::Item { id } => return conversation.item(id, payload),
            FrameHead::Credit { lane, bytes } => conversation.credit(lane, bytes),
            FrameHead::Ping(value) => conversation.outbox().control(FrameHead::Pong(value), b""),
            FrameHead::Cancel { id } => conversation.cancel(id),
            _ => {}
        }
        false
    }
}

fn earned<W: WriteEnd>(conversation: Option<&Conversation<W>>) -> u64 {
    conversation.map_or(0, Conversation::earned)
}

/// A payload in what was read. A small one is copied: it must not keep all the rest in memory, which
/// nobody has accounted for.
fn part(chunk: &Bytes, payload: Range<usize>) -> Message {
    if payload.len() < chunk.len() / SMALL_SHARE {
        Message::from(Bytes::copy_from_slice(&chunk[payload]))
    } else {
        Message::from(chunk.slice(payload))
    }
}

/// Positions in one buffer, which is never longer than a message may be plus one read.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
