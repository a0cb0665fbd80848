//! A request to the child, from the asker's side.
//!
//! ```text
//!  ask ──► Asking ──poll──► Slot ◄── items, then one end ◄── conversation ◄── reader
//!            │ drop before the end
//!            └────────────► taken out of the queue, or a cancel to the child
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use procession_wire::{Message, credit};
use tokio::sync::oneshot;

use super::conversation::Conversation;
use super::pipe::{WriteEnd, WritePipe};

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Reply(Message),
    Failure(String),
    /// More items came than were allowed for.
    Overrun,
    /// The child's output ended before it.
    Lost,
    /// The request was not sent, and never will be.
    NotSent,
}

/// Where what comes for one request is put.
#[derive(Debug)]
pub(crate) struct Slot {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Message>,
    keeps_items: bool,
    end: Option<End>,
    waker: Option<Waker>,
}

impl Slot {
    pub(super) fn new(keeps_items: bool) -> Arc<Self> {
        let state = State {
            keeps_items,
            ..State::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.lock();
            change(&mut state);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes an item in; `false` where items are not read, and its credit is free at once.
    pub(super) fn item(&self, item: Message) -> bool {
        let keeps = self.lock().keeps_items;
        if keeps {
            self.change(|state| state.items.push_back(item));
        }
        keeps
    }

    pub(super) fn end(&self, end: End) {
        self.change(|state| {
            state.end.get_or_insert(end);
        });
    }
}

/// A request that was sent, or has its place in the queue. Dropped before its end, it is cancelled.
pub(crate) struct Asking<W: WriteEnd = WritePipe> {
    pub(super) conversation: Arc<Conversation<W>>,
    pub(super) id: u64,
    pub(super) slot: Arc<Slot>,
    /// Whether the child may get to see it.
    pub(super) placed: bool,
    /// Dropped by the queue where it will never be written.
    pub(super) sent: Option<oneshot::Receiver<()>>,
}

impl<W: WriteEnd> Asking<W> {
    /// Resolves with its end; items are thrown away. Cancel safe.
    pub(crate) async fn end(&mut self) -> End {
        loop {
            match poll_fn(|cx| self.poll_next(cx)).await {
                Next::Item(_) => {}
                Next::End(end) => return end,
            }
        }
    }

    /// Tells the child that the answer is not wanted any more. Its end comes all the same.
    pub(crate) fn cancel(&self) {
        if self.placed {
            self.conversation.outbox().cancel_request(self.id);
        }
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // Not written: nothing will come. What is written may be answered whatever becomes of the input.
        if let Some(sent) = &mut self.sent
            && let Poll::Ready(sent) = Pin::new(sent).poll(cx)
        {
            self.sent = None;
            if sent.is_err() {
                self.slot.end(End::NotSent);
            }
        }
        let mut state = self.slot.lock();
        if let Some(item) = state.items.pop_front() {
            drop(state);
            self.conversation
                .item_read(self.id, credit::cost(item.len()));
            return Poll::Ready(Next::Item(item));
        }
        if let Some(end) = state.end.clone() {
            return Poll::Ready(Next::End(end));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<W: WriteEnd> Drop for Asking<W> {
    fn drop(&mut self) {
        self.conversation.abandon(self.id, self.placed);
    }
}

impl<W: WriteEnd> fmt::Debug for Asking<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What came for a request.
#[derive(Debug)]
pub(crate) enum Next {
    Item(Message),
    End(End),
}
