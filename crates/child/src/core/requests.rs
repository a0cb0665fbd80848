//! [`Requests`]: what the parent asks, and what we ask it.
//!
//! ```text
//!  request ──► queue ──► poll_request(): a server takes it ──► end() ──► reply or failure
//!                │                                               ▲
//!                └── cancelled, stopping, closed: refused ───────┘
//! ```
//!
//! Whoever waits leaves a waker: a task's, or one that wakes a thread. A request that no server takes
//! waits in the queue, which credit bounds.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Poll, Waker},
};

use procession_wire::{
    FrameHead, Message,
    request::{Accepted, ItemCredit, Refused},
};

use super::{
    Asking, Events, Lost, Step, Wakers,
    control::{Control, Due, Refusal},
};
use crate::signal::Signal;

/// What the parent may have on the way to us in requests, or open: payload bytes plus 64 a request.
const WINDOW: u64 = 1024 * 1024;

/// The requests of one channel, both ways.
#[derive(Debug)]
pub(crate) struct Requests {
    phase: Phase,
    accepted: Accepted<Work>,
    last_serial: u64,
    queue: VecDeque<Arrived>,
    /// Wait for a request.
    servers: Wakers,
    asking: Asking,
    pub(super) owed: Control,
    events: Events,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Stopping,
    /// Nothing comes any more; what was accepted is still answered.
    Ended,
    Closed,
}

/// Which request of the parent: its id alone may come again once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: u64,
    serial: u64,
}

/// A request that has come.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) key: Key,
    pub(crate) message: Message,
    /// Raised when it is cancelled.
    pub(crate) cancelled: Arc<Signal>,
}

/// What is kept of an open request of the parent.
#[derive(Debug)]
struct Work {
    serial: u64,
    cancelled: Arc<Signal>,
    /// Wait for credit for an item, or to be cancelled.
    waiting: Wakers,
}

/// Whether an item can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sendable {
    Now,
    Cancelled,
    /// The request has been answered.
    Answered,
    /// There is no credit, and none will come.
    Gone,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Open,
            accepted: Accepted::new(WINDOW),
            last_serial: 0,
            queue: VecDeque::new(),
            servers: Wakers::default(),
            asking: Asking::new(),
            owed: Control::default(),
            events: Events::default(),
        }
    }

    /// The next request to answer. `Ready(None)`: there will be no more.
    pub(crate) fn poll_request(&mut self, waker: &Waker) -> Poll<Option<Arrived>> {
        let next = self.queue.pop_front();
        if next.is_none() && self.phase == Phase::Open {
            self.servers.register_first(waker);
            return Poll::Pending;
        }
        // Woken or not, it waits no more: the next request is for someone who does.
        self.servers.remove(waker);
        Poll::Ready(next)
    }

    /// One who waited for a request has gone, and may have been woken for it. Threads do not go.
    #[cfg(feature = "tokio")]
    pub(crate) fn server_left(&mut self) {
        self.events.wakers.append(self.servers.take());
    }

    /// Ready when [`try_item`](Self::try_item) has an outcome.
    pub(crate) fn poll_item(&mut self, key: Key, waker: &Waker) -> Poll<()> {
        let waits = self.accepted.item_credit(key.id) == ItemCredit::Wait && !self.is_over();
        match self.work(key) {
            Some(work) if waits => {
                work.waiting.register(waker);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Accounts for an item, which has to be sent at once. `None`: there is no credit yet.
    pub(crate) fn try_item(&mut self, key: Key, payload_len: usize) -> Option<Sendable> {
        if self.work(key).is_none() {
            return Some(Sendable::Answered);
        }
        match self.accepted.spend_item(key.id, payload_len) {
            ItemCredit::Spent => Some(Sendable::Now),
            ItemCredit::Wait => self.is_over().then_some(Sendable::Gone),
            ItemCredit::Closed => Some(Sendable::Cancelled),
        }
    }

    /// Ready when the request is cancelled, has ended, or can be cancelled no more.
    pub(crate) fn poll_cancelled(&mut self, key: Key, waker: &Waker) -> Poll<()> {
        let is_over = self.is_over();
        match self.work(key) {
            Some(work) if !is_over && !work.cancelled.is_raised() => {
                work.waiting.register(waker);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// The request has been answered: whether the answer has to be sent, at once.
    pub(crate) fn end(&mut self, key: Key) -> bool {
        let is_open = self.work(key).is_some();
        if is_open {
            self.end_id(key.id);
        }
        is_open
    }

    fn end_id(&mut self, id: u64) {
        if let Some(work) = self.accepted.end(id) {
            self.events.wakers.append(work.waiting);
            self.note_due_credit();
        }
    }

    fn work(&mut self, key: Key) -> Option<&mut Work> {
        let work = self.accepted.get_mut(key.id)?;
        (work.serial == key.serial).then_some(work)
    }

    pub(crate) fn asking(&mut self) -> &mut Asking {
        &mut self.asking
    }

    /// The next item of a request of ours, or its end.
    pub(crate) fn poll_step(&mut self, id: u64, waker: &Waker) -> Poll<Step> {
        self.asking.poll_step(id, &mut self.owed, waker)
    }

    /// Nobody waits for the answer to a request of ours any more.
    pub(crate) fn give_up(&mut self, id: u64) {
        self.asking.give_up(id, &mut self.owed);
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn take_events(&mut self) -> Events {
        std::mem::take(&mut self.events)
    }

    /// A frame that concerns a request has come.
    pub(super) fn frame(&mut self, head: FrameHead, payload: Message) {
        match head {
            FrameHead::Request { id } => self.request(id, payload),
            FrameHead::Item { id } => self.item(id, payload),
            FrameHead::Reply { id } => self.reply(id, Ok(payload)),
            FrameHead::Failure { id } => {
                let text = String::from_utf8_lossy(payload.as_bytes()).into_owned();
                self.reply(id, Err(Lost::Failed(text)));
            }
            FrameHead::Cancel { id } => self.cancel(id),
            _ => {}
        }
    }

    fn request(&mut self, id: u64, message: Message) {
        if self.phase == Phase::Closed {
            return;
        }
        let cancelled = Arc::new(Signal::default());
        self.last_serial += 1;
        let serial = self.last_serial;
        let work = Work {
            serial,
            cancelled: Arc::clone(&cancelled),
            waiting: Wakers::default(),
        };
        match self.accepted.accept(id, message.len(), work) {
            Ok(()) if self.phase == Phase::Open => {
                self.queue.push_back(Arrived {
                    key: Key { id, serial },
                    message,
                    cancelled,
                });
                self.events.wakers.push(self.servers.pop());
            }
            Ok(()) => self.owed.refuse(id, Refusal::Stopping),
            Err(refused) => {
                // A bad id is ignored, and so is what comes faster than it can be refused.
                if matches!(refused, Refused::CreditExceeded(_)) && !self.owed.is_crowded() {
                    self.owed.refuse(id, Refusal::CreditExceeded);
                }
                self.note_due_credit();
            }
        }
    }

    fn cancel(&mut self, id: u64) {
        let Some(work) = self.accepted.cancel(id) else {
            return;
        };
        if let Some(at) = self.queue.iter().position(|waiting| waiting.key.id == id) {
            self.queue.remove(at);
            self.owed.refuse(id, Refusal::Cancelled);
            return;
        }
        self.events.raised.push(work.cancelled.raise());
        self.events.wakers.append(work.waiting.take());
    }

    /// Credit for the items of a request of the parent.
    pub(super) fn grant_items(&mut self, id: u64, bytes: u32) {
        if let Some(work) = self.accepted.grant(id, bytes) {
            self.events.wakers.append(work.waiting.take());
        }
    }

    /// Credit for requests of ours.
    pub(super) fn grant(&mut self, bytes: u32) {
        self.events.wakers.append(self.asking.grant(bytes));
    }

    fn item(&mut self, id: u64, item: Message) {
        let waker = self.asking.item(id, item, &mut self.owed);
        self.events.wakers.push(waker);
    }

    fn reply(&mut self, id: u64, end: Result<Message, Lost>) {
        let waker = self.asking.end(id, end, &mut self.owed);
        self.events.wakers.push(waker);
    }

    /// The parent asks to stop: what was accepted is still answered.
    pub(super) fn stop(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Stopping;
            self.events.wakers.append(self.servers.take());
        }
    }

    /// Nothing comes any more: no answers, no credit, no cancels.
    pub(super) fn end_input(&mut self) {
        self.stop();
        if self.phase == Phase::Stopping {
            self.phase = Phase::Ended;
            self.lose_all();
        }
    }

    /// The connection ends: whatever is open is refused, once.
    pub(super) fn close(&mut self) {
        self.end_input();
        self.phase = Phase::Closed;
        self.queue.clear();
        for (id, work) in self.accepted.cancel_all() {
            if !work.cancelled.is_raised() {
                self.events.raised.push(work.cancelled.raise());
            }
            self.events.wakers.append(work.waiting.take());
            if !self.owed.refuses(id) {
                self.owed.refuse(id, Refusal::Closed);
            }
        }
    }

    /// Takes out a control frame.
    pub(super) fn next_due(&mut self) -> Option<Due> {
        let due = self.owed.next()?;
        if let Due::Refusal { id, .. } = due {
            self.end_id(id);
        }
        Some(due)
    }

    pub(super) fn note_due_credit(&mut self) {
        if self.is_over() {
            return;
        }
        if let Some(bytes) = self.accepted.grant_due() {
            self.owed.grant_requests(bytes);
        }
    }

    fn lose_all(&mut self) {
        self.events.wakers.append(self.asking.lose_all());
        let accepted = &mut self.accepted;
        for work in accepted.answerers_mut() {
            self.events.wakers.append(work.waiting.take());
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Closed)
    }
}
