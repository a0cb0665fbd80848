//! Answering: from the handler to the outbox.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use procession_wire::FrameHead;
use procession_wire::request::ItemCredit;

use super::super::answering::{ItemError, ItemSink, Request, RequestHandler, Work};
use super::super::outbox::Permit;
use super::super::pipe::WriteEnd;
use super::super::queue::{Lane, Outgoing};
use super::{Conversation, State};

const PANICKED: &str = "the handler panicked";

impl<W: WriteEnd> Conversation<W> {
    pub(super) async fn answer(
        self: Arc<Self>,
        id: u64,
        work: Arc<Work>,
        request: Request,
        handler: Option<RequestHandler>,
    ) {
        let open = Open {
            conversation: &self,
            id,
            ended: false,
        };
        let limit = self.outbox.message_limit();
        let answer = async {
            let Some(handler) = handler else {
                return Err("this parent answers no requests".to_owned());
            };
            let handled = async {
                let answer = handler.call(request).await;
                answer.map_err(|error| error.to_string())
            };
            match AssertUnwindSafe(handled).catch_unwind().await {
                Ok(Ok(reply)) if reply.len() <= limit => Ok(reply),
                Ok(Ok(reply)) => Err(format!(
                    "the reply has {} bytes and the limit is {limit}",
                    reply.len()
                )),
                Ok(Err(text)) => Err(text),
                Err(_) => Err(PANICKED.to_owned()),
            }
        };
        let answer = tokio::select! {
            biased;
            () = work.cancelled.wait() => Err("cancelled".to_owned()),
            answer = answer => answer,
        };
        let (head, payload) = match answer {
            Ok(reply) => (FrameHead::Reply { id }, reply.into_bytes()),
            Err(mut text) => {
                text.truncate(text.floor_char_boundary(limit));
                (FrameHead::Failure { id }, Bytes::from(text))
            }
        };
        // The permit first: what the answers take here is bounded only while the request counts as
        // open.
        let permit = self.outbox.acquire(Lane::Answers, payload.len()).await;
        open.end(Outgoing::answer(head, payload), permit.ok());
    }

    /// Ends a request by this frame.
    fn end_by(&self, id: u64, frame: Outgoing, permit: Option<Permit<'_>>) {
        let grant = {
            let mut state = self.lock();
            match frame.head {
                FrameHead::Reply { .. } => state.counts.answered += 1,
                _ => state.counts.refused += 1,
            }
            // Together, so that no item can come after it.
            let open = state.accepted.end(id).is_some();
            if open {
                // An error is that nobody is there to send it to.
                let _ = self.outbox.queue(frame, permit);
            }
            state.accepted.grant_due().filter(|_| state.with_credit)
        };
        self.outbox.pump();
        self.grant_requests(grant);
    }

    async fn put_item(&self, id: u64, work: &Arc<Work>, item: Bytes) -> Result<(), ItemError> {
        let limit = self.outbox.message_limit();
        if item.len() > limit {
            let len = item.len();
            return Err(ItemError::TooLarge { len, limit });
        }
        loop {
            self.wait_for_item_credit(id, work).await?;
            // Spent with the permit in hand: a sender that gives up here has cost nothing.
            let permit = self.outbox.acquire(Lane::Answers, item.len()).await;
            let permit = permit.map_err(|_| ItemError::Cancelled)?;
            let mut state = self.lock();
            if state.item_credit(id, work) == ItemCredit::Spent {
                state.accepted.spend_item(id, item.len());
                state.earned += 1;
                let item = Outgoing::answer(FrameHead::Item { id }, item);
                let queued = self.outbox.queue(item, Some(permit));
                drop(state);
                self.outbox.pump();
                return queued.map_err(|_| ItemError::Cancelled);
            }
        }
    }

    async fn wait_for_item_credit(&self, id: u64, work: &Arc<Work>) -> Result<(), ItemError> {
        loop {
            // Made before the look: what is granted in between wakes it.
            let granted = work.granted.notified();
            let credit = self.lock().item_credit(id, work);
            match credit {
                ItemCredit::Spent => return Ok(()),
                ItemCredit::Closed => return Err(ItemError::Cancelled),
                ItemCredit::Wait => tokio::select! {
                    () = granted => {}
                    () = work.cancelled.wait() => return Err(ItemError::Cancelled),
                },
            }
        }
    }
}

impl State {
    /// Whether an item may be sent by whoever does this work: its id may be that of another by now.
    fn item_credit(&mut self, id: u64, work: &Arc<Work>) -> ItemCredit {
        match self.accepted.get(id) {
            Some(open) if Arc::ptr_eq(open, work) => {}
            _ => return ItemCredit::Closed,
        }
        if !self.with_credit {
            self.accepted.grant(id, u32::MAX);
        }
        self.accepted.item_credit(id)
    }
}

/// A request that is being answered: it has an end whatever becomes of its handler.
struct Open<'a, W: WriteEnd> {
    conversation: &'a Arc<Conversation<W>>,
    id: u64,
    ended: bool,
}

impl<W: WriteEnd> Open<'_, W> {
    fn end(mut self, frame: Outgoing, permit: Option<Permit<'_>>) {
        self.ended = true;
        self.conversation.end_by(self.id, frame, permit);
    }
}

impl<W: WriteEnd> Drop for Open<'_, W> {
    fn drop(&mut self) {
        if !self.ended {
            let head = FrameHead::Failure { id: self.id };
            let failure = Outgoing::answer(head, Bytes::from_static(PANICKED.as_bytes()));
            self.conversation.end_by(self.id, failure, None);
        }
    }
}

impl<W: WriteEnd> ItemSink for Conversation<W> {
    fn send_item<'a>(
        &'a self,
        id: u64,
        work: &'a Arc<Work>,
        item: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), ItemError>> + Send + 'a>> {
        Box::pin(self.put_item(id, work, item))
    }
}
