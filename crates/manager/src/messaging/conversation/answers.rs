//! Answering: from the handler to the outbox.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use procession_wire::FrameHead;
use procession_wire::request::ItemCredit;

use super::super::answering::{ItemError, ItemSink, Request, RequestHandler, Work};
use super::super::pipe::WriteEnd;
use super::super::queue::{Lane, Outgoing};
use super::Conversation;

impl<W: WriteEnd> Conversation<W> {
    pub(super) async fn answer(
        self: Arc<Self>,
        id: u64,
        work: &Work,
        request: Request,
        handler: Option<RequestHandler>,
    ) {
        let limit = self.outbox.message_limit();
        let answer = async {
            let Some(handler) = handler else {
                return Err("this parent answers no requests".to_owned());
            };
            let handled = AssertUnwindSafe(async { handler.call(request).await });
            match handled.catch_unwind().await {
                Ok(Ok(reply)) if reply.len() <= limit => Ok(reply),
                Ok(Ok(reply)) => Err(format!(
                    "the reply has {} bytes and the limit is {limit}",
                    reply.len()
                )),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the handler panicked".to_owned()),
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
        // The place first: what the answers take here is bounded only while the request counts as open.
        let place = self.outbox.place(Lane::Answers, payload.len()).await;
        let grant = {
            let mut state = self.lock();
            state.accepted.end(id);
            match head {
                FrameHead::Reply { .. } => state.counts.answered += 1,
                _ => state.counts.refused += 1,
            }
            state.accepted.grant_due().filter(|_| state.with_credit)
        };
        let Ok(place) = place else {
            return;
        };
        let _ = self
            .outbox
            .put_placed(Outgoing::answer(head, payload), place);
        self.grant_requests(grant);
    }

    async fn put_item(&self, id: u64, item: Bytes) -> Result<(), ItemError> {
        let limit = self.outbox.message_limit();
        if item.len() > limit {
            let len = item.len();
            return Err(ItemError::TooLarge { len, limit });
        }
        let cancelled = || ItemError::Cancelled;
        let work = self
            .lock()
            .accepted
            .get(id)
            .cloned()
            .ok_or_else(cancelled)?;
        loop {
            // Made before the look: what is granted in between wakes it.
            let granted = work.granted.notified();
            let credit = {
                let mut state = self.lock();
                if !state.with_credit {
                    state.accepted.grant(id, u32::MAX);
                }
                state.accepted.spend_item(id, item.len())
            };
            match credit {
                ItemCredit::Spent => break,
                ItemCredit::Closed => return Err(cancelled()),
                ItemCredit::Wait => tokio::select! {
                    () = granted => {}
                    () = work.cancelled.wait() => return Err(cancelled()),
                },
            }
        }
        let place = self.outbox.place(Lane::Answers, item.len()).await;
        let put = place.and_then(|place| {
            let item = Outgoing::answer(FrameHead::Item { id }, item);
            self.outbox.put_placed(item, place)
        });
        put.map_err(|_| cancelled())
    }
}

impl<W: WriteEnd> ItemSink for Conversation<W> {
    fn send_item<'a>(
        &'a self,
        id: u64,
        item: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), ItemError>> + Send + 'a>> {
        Box::pin(self.put_item(id, item))
    }
}
