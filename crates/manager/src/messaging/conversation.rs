//! Requests between the parent and one child, both ways, over frames.
//!
//! ```text
//!  request() ──► Asking ─────────────┐                       ┌──► Slot ──► Asking
//!                                    ▼                       │
//!  handler ◄── task ──► reply ──► outbox ──► child ──► reader ──► conversation
//!     ▲                                                      │
//!     └──────────────────────────────────────────────────────┘ request, cancel, credit of items
//! ```
//!
//! The accounting is [`Asked`] and [`Accepted`]; here it meets the outbox and the tasks. The reader calls
//! in here and is never made to wait: what comes for a request goes to its slot, and what comes from the
//! child as a request is bounded by the credit that it had.
//!
//! When nothing more will come from the child ([`end`](Conversation::end)) each open request ends at once,
//! and what is being answered is dropped.

mod answers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use procession_wire::credit::{MESSAGE_LANE, MESSAGE_OVERHEAD, REQUEST_LANE};
use procession_wire::request::{Accepted, Asked, Refused};
use procession_wire::{FrameHead, Message};
use tokio::runtime::Handle;

use super::answering::{ItemSink, Request, RequestHandler, Work};
use super::asking::{Asking, End, Slot};
use super::budget::BYTES;
use super::outbox::{Outbox, SendFailure};
use super::pipe::{WriteEnd, WritePipe};
use super::queue::{Lane, Outgoing};
use crate::id::ProcessId;

/// What a child's requests may cost together, on their way and while they are answered, in bytes.
const REQUEST_WINDOW: u64 = 1024 * 1024;
/// What the items of one request may cost that were not read yet, in bytes.
const ITEM_WINDOW: u32 = 256 * 1024;
/// Items of a request that may still come after it was cancelled.
const LATE_ITEMS: u64 = ITEM_WINDOW as u64 / MESSAGE_OVERHEAD;
/// Bytes of control frames that may wait for a child that does not read.
const MAX_CONTROL: usize = 64 * 1024;

pub(crate) struct Conversation<W: WriteEnd = WritePipe> {
    process: ProcessId,
    outbox: Arc<Outbox<W>>,
    runtime: Handle,
    state: Mutex<State>,
}

struct State {
    asked: Asked<Arc<Slot>>,
    accepted: Accepted<Arc<Work>>,
    handler: Option<RequestHandler>,
    counts: RequestCounts,
    /// Frames of control that the child may send because of what went to and fro here.
    earned: u64,
    /// Whether the child keeps to credit; without it nothing is granted, and items wait for the pipe alone.
    with_credit: bool,
    ended: bool,
}

/// How many requests there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestCounts {
    pub(crate) asked: u64,
    pub(crate) replies: u64,
    pub(crate) failures: u64,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    /// Open now: asked by us, and being answered.
    pub(crate) waiting: u64,
    pub(crate) answering: u64,
}

/// Why a request was not asked.
#[derive(Debug)]
pub(crate) enum AskFailure {
    Send(SendFailure),
    /// Nothing comes from the child any more.
    Ended,
}

impl<W: WriteEnd> std::fmt::Debug for Conversation<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl<W: WriteEnd> Conversation<W> {
    pub(crate) fn new(
        process: ProcessId,
        outbox: Arc<Outbox<W>>,
        handler: Option<RequestHandler>,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            process,
            outbox,
            runtime,
            state: Mutex::new(State {
                asked: Asked::new(ITEM_WINDOW),
                accepted: Accepted::new(REQUEST_WINDOW),
                handler,
                counts: RequestCounts::default(),
                earned: 0,
                with_credit: true,
                ended: false,
            }),
        })
    }

    pub(crate) fn outbox(&self) -> &Arc<Outbox<W>> {
        &self.outbox
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> RequestCounts {
        let state = self.lock();
        RequestCounts {
            waiting: state.asked.len() as u64,
            answering: state.accepted.len() as u64,
            ..state.counts
        }
    }

    /// What answers the child from now on.
    pub(crate) fn serve(&self, handler: RequestHandler) {
        let mut state = self.lock();
        let unused = if state.ended {
            Some(handler)
        } else {
            state.handler.replace(handler)
        };
        // What is in it may call in here when it goes.
        drop(state);
        drop(unused);
    }

    /// Asks the child; resolves when the request is in the kernel or has its place in the queue. Dropped
    /// before that, nothing is sent.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        payload: Bytes,
        keeps_items: bool,
    ) -> Result<Asking<W>, AskFailure> {
        self.outbox.check(&payload).map_err(AskFailure::Send)?;
        let slot = Slot::new(keeps_items);
        let (id, credit) = {
            let mut state = self.lock();
            if state.ended {
                return Err(AskFailure::Ended);
            }
            state.counts.asked += 1;
            state.earned += 1;
            let (id, credit) = state.asked.ask(Arc::clone(&slot));
            (id, Some(credit).filter(|_| state.with_credit))
        };
        let mut asking = Asking {
            conversation: Arc::clone(self),
            id,
            slot,
            placed: false,
            sent: None,
        };
        let put = self
            .outbox
            .put(Outgoing::request(id, payload, credit))
            .await;
        asking.sent = put.map_err(AskFailure::Send)?;
        asking.placed = true;
        Ok(asking)
    }

    /// Returns the units of the budget that frames of a cancelled request may still cost: items for
    /// which there is credit, one item beyond it, and the reply.
    fn late_frames(&self) -> u64 {
        let longest = self.outbox.message_limit() / BYTES + 1;
        LATE_ITEMS + 2 * longest as u64
    }

    /// Whoever asked no longer waits.
    pub(super) fn abandon(&self, id: u64, placed: bool) {
        let open = {
            let mut state = self.lock();
            let open = state.asked.cancel(id).is_some();
            state.earned += if open { self.late_frames() } else { 0 };
            open
        };
        if open && placed {
            self.outbox.cancel_request(id);
        }
    }

    /// How many frames of control the child may have sent for a reason: credit for what was sent to
    /// it, credit for the items of its requests and cancels of them, and what crosses with our
    /// cancels.
    pub(crate) fn earned(&self) -> u64 {
        self.outbox.accepted() + self.lock().earned
    }

    /// An item was read, and there is room for more.
    pub(super) fn item_read(&self, id: u64, cost: u64) {
        let grant = {
            let mut state = self.lock();
            let grant = state.asked.consumed(id, cost);
            grant.filter(|_| state.with_credit)
        };
        if let Some(bytes) = grant {
            self.outbox
                .control(FrameHead::Credit { lane: id, bytes }, b"");
        }
    }

    /// The child allows more on a lane.
    pub(crate) fn credit(&self, lane: u64, bytes: u32) {
        match lane {
            MESSAGE_LANE => self.outbox.grant(Lane::Messages, bytes),
            REQUEST_LANE => self.outbox.grant(Lane::Requests, bytes),
            id => {
                let mut state = self.lock();
                let work = state.accepted.grant(id, bytes).cloned();
                drop(state);
                if let Some(work) = work {
                    work.granted.notify_waiters();
                }
            }
        }
    }

    /// An item has come; `false` if nobody waits for it.
    pub(crate) fn item(&self, id: u64, item: Message) -> bool {
        let cost = procession_wire::credit::cost(item.len());
        let mut state = self.lock();
        match state.asked.item(id, item.len()) {
            Ok(None) => false,
            Ok(Some(slot)) => {
                let slot = Arc::clone(slot);
                drop(state);
                let kept = slot.item(item);
                if !kept {
                    self.item_read(id, cost);
                }
                kept
            }
            Err(error) => {
                let slot = state.asked.cancel(id);
                drop(state);
                tracing::warn!(process = %self.process, id, %error, "a child sends items without credit: the request fails");
                self.outbox.cancel_request(id);
                if let Some(slot) = slot {
                    slot.end(End::Overrun);
                }
                false
            }
        }
    }

    /// A reply has come; `false` if nobody waits for it.
    pub(crate) fn reply(&self, id: u64, reply: Message) -> bool {
        self.ended_by(id, |counts| {
            counts.replies += 1;
            End::Reply(reply)
        })
    }

    /// A failure has come; `false` if nobody waits for it.
    pub(crate) fn failure(&self, id: u64, text: &[u8]) -> bool {
        self.ended_by(id, |counts| {
            counts.failures += 1;
            End::Failure(String::from_utf8_lossy(text).into_owned())
        })
    }

    fn ended_by(&self, id: u64, end: impl FnOnce(&mut RequestCounts) -> End) -> bool {
        let mut state = self.lock();
        let slot = state.asked.end(id);
        let waits = slot.is_some();
        if let Some(slot) = slot {
            let end = end(&mut state.counts);
            drop(state);
            slot.end(end);
        }
        waits
    }

    /// The child no longer waits for the answer.
    pub(crate) fn cancel(&self, id: u64) {
        let work = self.lock().accepted.cancel(id).cloned();
        if let Some(work) = work {
            work.cancelled.set();
        }
    }

    /// The child has said hello: it may ask.
    pub(crate) fn greeted(&self, with_credit: bool) {
        let grant = {
            let mut state = self.lock();
            state.with_credit = with_credit;
            state.accepted.grant_due().filter(|_| with_credit)
        };
        self.grant_requests(grant);
        if !with_credit {
            self.outbox.without_credit();
        }
    }

    fn grant_requests(&self, grant: Option<u32>) {
        if let Some(bytes) = grant {
            let lane = REQUEST_LANE;
            self.outbox.control(FrameHead::Credit { lane, bytes }, b"");
        }
    }

    /// The child asks; `false` if it is only refused.
    pub(crate) fn request(self: &Arc<Self>, id: u64, message: Message) -> bool {
        let work = Arc::<Work>::default();
        let handler = {
            let mut state = self.lock();
            if state.ended {
                return false;
            }
            let accepted = state.accepted.accept(id, message.len(), Arc::clone(&work));
            match accepted {
                Err(Refused::CreditExceeded(error)) => {
                    drop(state);
                    tracing::warn!(process = %self.process, id, %error, "a child asks without credit");
                    self.refuse(
                        id,
                        b"too many requests at once: there was no credit for this one",
                    );
                    return false;
                }
                Err(_) => {
                    tracing::warn!(process = %self.process, id, "a request with an id that is in use is ignored");
                    return false;
                }
                Ok(()) => {
                    if !state.with_credit {
                        state.accepted.grant(id, u32::MAX);
                    }
                    // Credit for its items, and a cancel.
                    state.earned += if state.handler.is_some() { 2 } else { 0 };
                    state.handler.clone()
                }
            }
        };
        let request = Request {
            process: self.process,
            id,
            message,
            work: Arc::clone(&work),
            items: Arc::clone(self) as Arc<dyn ItemSink>,
        };
        let conversation = Arc::clone(self);
        let is_served = handler.is_some();
        self.runtime
            .spawn(async move { conversation.answer(id, work, request, handler).await });
        is_served
    }

    /// What cannot be taken in ends at once.
    fn refuse(&self, id: u64, why: &[u8]) {
        if self.outbox.control_bytes() < MAX_CONTROL {
            self.outbox.control(FrameHead::Failure { id }, why);
        }
    }

    /// Nothing more comes from the child.
    pub(crate) fn end(&self) {
        let handler;
        let (slots, works) = {
            let mut state = self.lock();
            state.ended = true;
            // It may hold a handle, which keeps the manager.
            handler = state.handler.take();
            let works: Vec<_> = state
                .accepted
                .cancel_all()
                .map(|(_, work)| Arc::clone(work))
                .collect();
            (state.asked.lose_all(), works)
        };
        for slot in slots {
            slot.end(End::Lost);
        }
        for work in works {
            work.cancelled.set();
        }
        drop(handler);
        self.outbox.end_credit();
    }
}

#[cfg(test)]
mod tests;
