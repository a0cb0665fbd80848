//! The buffer of one subscription, as pure data: what has arrived and was not yet taken.
//!
//! Messages arrive in *batches*, the messages of one read, that all subscriptions share. A buffer
//! holds *segments*, ranges of batches, so that dropping the oldest message and taking part of a
//! batch are arithmetic on indices. A consumer takes a *run* of messages at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use procession_wire::{Message, credit};

use crate::error::ReceiveMessageError;
use crate::model::Overflow;

/// What takes up less than this share of what was read with it is copied out of that.
pub(crate) const SMALL_SHARE: usize = 4;

/// The messages of one read. A cheap handle: what many subscriptions have is one and the same.
#[derive(Debug, Clone)]
pub(crate) enum Batch {
    /// Most reads bring one message, and then nothing is allocated but its bytes.
    One(Bytes),
    Many(Arc<Chunk>),
}

/// One chunk of bytes, and where in it each payload is.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Bytes,
    payloads: Positions,
}

/// Where the payloads of a batch are. Most reads bring one message, and then nothing is allocated for it.
#[derive(Debug, Default)]
pub(crate) enum Positions {
    #[default]
    None,
    One(Range<u32>),
    Many(Vec<Range<u32>>),
}

impl Positions {
    /// One more; `likely` is how many there will be in all, as far as the last read tells.
    pub(crate) fn push(&mut self, position: Range<u32>, likely: usize) {
        match self {
            Self::None => *self = Self::One(position),
            Self::One(first) => {
                let mut all = Vec::with_capacity(likely.max(4));
                all.extend([first.clone(), position]);
                *self = Self::Many(all);
            }
            Self::Many(all) => all.push(position),
        }
    }

    pub(crate) fn all(&self) -> &[Range<u32>] {
        match self {
            Self::None => &[],
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(all) => all,
        }
    }

    /// The one that there is, where there is no other.
    pub(crate) fn only(&self) -> Option<Range<u32>> {
        match self {
            Self::One(only) => Some(only.clone()),
            _ => None,
        }
    }
}

impl FromIterator<Range<u32>> for Positions {
    fn from_iter<I: IntoIterator<Item = Range<u32>>>(positions: I) -> Self {
        let mut all = Self::default();
        positions
            .into_iter()
            .for_each(|position| all.push(position, 0));
        all
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Batch {
    pub(crate) fn new(bytes: Bytes, payloads: Positions) -> Self {
        match payloads.only() {
            Some(Range { start, end }) => Self::One(bytes.slice(start as usize..end as usize)),
            None => Self::Many(Arc::new(Chunk { bytes, payloads })),
        }
    }

    /// The same of what was read, with the payloads copied where they are little of it: the rest must
    /// not be kept with them, since nobody has accounted for it.
    pub(crate) fn compact(bytes: Bytes, payloads: Positions) -> Self {
        let used = total(payloads.all());
        if used >= bytes.len() / SMALL_SHARE {
            return Self::new(bytes, payloads);
        }
        let mut copy = BytesMut::with_capacity(used);
        let mut places = Positions::default();
        for Range { start, end } in payloads.all().iter().cloned() {
            let at = u32::try_from(copy.len()).unwrap_or(u32::MAX);
            copy.extend_from_slice(&bytes[start as usize..end as usize]);
            places.push(at..at + (end - start), payloads.all().len());
        }
        Self::new(copy.freeze(), places)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(chunk) => chunk.payloads.all().len(),
        }
    }

    /// The bytes of these messages.
    pub(crate) fn bytes(&self, range: Range<usize>) -> usize {
        match self {
            Self::One(payload) => payload.len() * range.len(),
            Self::Many(chunk) => total(&chunk.payloads.all()[range]),
        }
    }

    /// What these messages cost in credit, and count in a buffer.
    pub(crate) fn cost(&self, range: Range<usize>) -> u64 {
        range.len() as u64 * credit::MESSAGE_OVERHEAD + self.bytes(range) as u64
    }
}

/// The bytes of all these payloads.
fn total(payloads: &[Range<u32>]) -> usize {
    payloads.iter().map(ExactSizeIterator::len).sum()
}

/// Consecutive messages of one batch.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    batch: Batch,
    next: usize,
    end: usize,
    /// The bytes of the batch, counted by themselves: each message counts its hold of them, and subscriptions
    /// on several processors that all counted in one place would wait for each other.
    bytes: Option<Bytes>,
}

/// A hold of a chunk, as the owner of what is counted apart.
struct Hold(Arc<Chunk>);

impl AsRef<[u8]> for Hold {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Run {
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Message> {
        if self.next >= self.end {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let bytes = match &mut self.batch {
            Batch::One(payload) => std::mem::take(payload),
            Batch::Many(chunk) => {
                let Range { start, end } = chunk.payloads.all()[index].clone();
                let hold = || Bytes::from_owner(Hold(Arc::clone(chunk)));
                let bytes = self.bytes.get_or_insert_with(hold);
                bytes.slice(start as usize..end as usize)
            }
        };
        Some(Message::from(bytes))
    }

    /// Its first messages, as many as `most`; none where it has no more than those.
    fn split(&mut self, most: usize) -> Option<Self> {
        (self.len() > most).then(|| {
            let first = Self {
                batch: self.batch.clone(),
                next: self.next,
                end: self.next + most,
                bytes: None,
            };
            self.next = first.end;
            first
        })
    }

    pub(crate) fn cost(&self) -> u64 {
        self.batch.cost(self.next..self.end)
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.next
    }
}

#[derive(Debug)]
enum Segment {
    Messages(Run),
    Error(ReceiveMessageError),
}

/// How much a buffer holds, and what it does when that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Messages.
    pub(crate) messages: usize,
    /// Bytes, each message counted with [`credit::MESSAGE_OVERHEAD`].
    pub(crate) bytes: u64,
    pub(crate) overflow: Overflow,
}

impl Limits {
    /// How many messages a consumer takes at once: few beside what the buffer holds, so that what
    /// it has taken does not count much, and enough that taking costs little.
    fn run(&self) -> usize {
        (self.messages / 16).clamp(1, 64)
    }
}

/// What a consumer finds.
#[derive(Debug)]
pub(crate) enum Taken {
    Run(Run),
    Error(ReceiveMessageError),
    /// Nothing now; it will be woken.
    Empty,
    /// Nothing any more.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Buffer {
    limits: Limits,
    segments: VecDeque<Segment>,
    held: usize,
    held_bytes: u64,
    /// Segments that are errors.
    errors: usize,
    lost: u64,
    /// All that ever were.
    dropped: u64,
    ended: bool,
    waker: Option<Waker>,
    /// The cost of all that was ever taken out, for credit.
    released: u64,
    /// The run that the consumer is busy with: messages, and their cost.
    out_messages: usize,
    out: u64,
    /// The reader found this buffer full, and waits.
    reader_waits: bool,
}

impl Buffer {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            segments: VecDeque::new(),
            held: 0,
            held_bytes: 0,
            errors: 0,
            lost: 0,
            dropped: 0,
            ended: false,
            waker: None,
            released: 0,
            out_messages: 0,
            out: 0,
            reader_waits: false,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn blocks(&self) -> bool {
        self.limits.overflow == Overflow::Block
    }

    /// The cost of all that was ever taken out of it, or dropped.
    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    /// Starts the count of what was taken out.
    pub(crate) fn set_released(&mut self, released: u64) {
        self.released = released;
    }

    /// How many messages made room for others here.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn held_cost(&self) -> u64 {
        self.held_bytes + self.out
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.ended && self.segments.is_empty() && self.lost == 0
    }

    /// How many of the batch's messages from `from` on there is room for. Where there is none for
    /// any, the next release says that the reader waits.
    pub(crate) fn room(&mut self, batch: &Batch, from: usize, limits: Limits) -> usize {
        let mut messages = self.held + self.out_messages;
        let mut bytes = self.held_cost();
        let all = batch.len() - from;
        let mut count = 0;
        if messages + all <= limits.messages
            && bytes + batch.cost(from..batch.len()) <= limits.bytes
        {
            count = all;
        }
        while count < all && messages < limits.messages && bytes < limits.bytes {
            messages += 1;
            bytes += batch.cost(from + count..from + count + 1);
            count += 1;
        }
        self.reader_waits = count == 0;
        count
    }

    /// Appends messages of a batch, dropping the oldest where that is the policy. The waker, if
    /// any, is to be woken.
    pub(crate) fn push(&mut self, batch: Batch, range: Range<usize>) -> Option<Waker> {
        if range.is_empty() {
            return None;
        }
        self.held += range.len();
        self.held_bytes += batch.cost(range.clone());
        self.segments.push_back(Segment::Messages(Run {
            batch,
            next: range.start,
            end: range.end,
            bytes: None,
        }));
        if !self.blocks() {
            self.drop_oldest();
        }
        self.waker.take()
    }

    /// Appends what is no message. Of runs that began and wrote nothing only the last is told:
    /// there may be any number of them. As many errors are held as messages: a child that writes
    /// nothing but lines over the limit must not fill the memory. The oldest goes then.
    pub(crate) fn push_error(&mut self, error: ReceiveMessageError) -> Option<Waker> {
        if let ReceiveMessageError::NewRun(_) = error
            && let Some(Segment::Error(ReceiveMessageError::NewRun(_))) = self.segments.back()
        {
            self.segments.pop_back();
            self.errors -= 1;
        }
        self.segments.push_back(Segment::Error(error));
        self.errors += 1;
        self.drop_oldest_errors();
        self.waker.take()
    }

    fn drop_oldest_errors(&mut self) {
        while self.errors > self.limits.messages.max(1) {
            let is_error = |segment: &Segment| matches!(segment, Segment::Error(_));
            let Some(at) = self.segments.iter().position(is_error) else {
                return;
            };
            // No message is lost with it, and the newer errors say the same.
            self.segments.remove(at);
            self.errors -= 1;
        }
    }

    pub(crate) fn end(&mut self) -> Option<Waker> {
        self.ended = true;
        self.waker.take()
    }

    /// Keeps the newest messages that fit, and at least one.
    fn drop_oldest(&mut self) {
        let Limits {
            messages, bytes, ..
        } = self.limits;
        let mut at = 0;
        while self.held > messages.max(1) || (self.held > 1 && self.held_bytes > bytes) {
            match self.segments.get_mut(at) {
                Some(Segment::Messages(run)) => {
                    let cost = run.batch.cost(run.next..run.next + 1);
                    run.next += 1;
                    self.held -= 1;
                    self.held_bytes -= cost;
                    self.released += cost;
                    self.lost += 1;
                    self.dropped += 1;
                    if run.len() == 0 {
                        self.segments.remove(at);
                    }
                }
                // Errors say what no message can, and have a bound of their own.
                Some(Segment::Error(_)) => at += 1,
                None => break,
            }
        }
    }

    /// The consumer has done with the last run.
    pub(crate) fn release(&mut self) {
        self.released += std::mem::take(&mut self.out);
        self.out_messages = 0;
    }

    /// Whether the reader waits for what a release has made room for.
    pub(crate) fn wakes_reader(&mut self) -> bool {
        std::mem::take(&mut self.reader_waits)
    }

    /// Takes what comes next; where there is nothing, `waker` is kept to be woken.
    pub(crate) fn take(&mut self, waker: &Waker) -> Taken {
        if self.lost > 0 {
            return Taken::Error(ReceiveMessageError::LostMessages(std::mem::take(
                &mut self.lost,
            )));
        }
        let most = self.limits.run();
        match self.segments.front_mut() {
            Some(Segment::Messages(run)) => {
                let taken = match run.split(most) {
                    Some(taken) => taken,
                    None => match self.segments.pop_front() {
                        Some(Segment::Messages(run)) => run,
                        _ => return Taken::Empty,
                    },
                };
                let cost = taken.cost();
                self.held -= taken.len();
                self.held_bytes -= cost;
                self.out = cost;
                self.out_messages = taken.len();
                Taken::Run(taken)
            }
            Some(Segment::Error(_)) => match self.segments.pop_front() {
                Some(Segment::Error(error)) => {
                    self.errors -= 1;
                    Taken::Error(error)
                }
                _ => Taken::Empty,
            },
            None if self.ended => Taken::Ended,
            None => {
                if !self
                    .waker
                    .as_ref()
                    .is_some_and(|known| known.will_wake(waker))
                {
                    self.waker = Some(waker.clone());
                }
                Taken::Empty
            }
        }
    }

    /// Puts back what is left of a run that was taken, before everything else.
    pub(crate) fn put_back(&mut self, run: Run) {
        let cost = run.cost();
        self.out = self.out.saturating_sub(cost);
        self.out_messages = self.out_messages.saturating_sub(run.len());
        if run.len() > 0 {
            self.held += run.len();
            self.held_bytes += cost;
            self.segments.push_front(Segment::Messages(run));
        }
    }

    /// Takes over all that `other` holds, which came before anything here.
    pub(crate) fn adopt(&mut self, other: &mut Buffer) -> Option<Waker> {
        self.held += std::mem::take(&mut other.held);
        self.held_bytes += std::mem::take(&mut other.held_bytes);
        self.lost += std::mem::take(&mut other.lost);
        self.errors += std::mem::take(&mut other.errors);
        let mut segments = std::mem::take(&mut other.segments);
        segments.append(&mut self.segments);
        self.segments = segments;
        self.drop_oldest_errors();
        if !self.blocks() {
            self.drop_oldest();
        }
        self.waker.take()
    }
}

#[cfg(test)]
mod tests;
