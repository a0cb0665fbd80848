//! Serving: takes requests, runs each handler in a task, sends each request its one end.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use procession_wire::FrameHead;
use tokio::task::JoinSet;

use super::{Request, endpoint::Endpoint};
use crate::{
    HandlerError, Message, ServeError,
    core::{Arrived, Key},
    lock,
    requests::{DROPPED, caught, fitting, outcome},
};

impl Endpoint {
    pub(super) async fn serve<H, F>(
        self: &Arc<Self>,
        limit: usize,
        handler: H,
    ) -> Result<(), ServeError>
    where
        H: Fn(Request) -> F,
        F: Future<Output = Result<Message, HandlerError>> + Send + 'static,
    {
        if lock(&self.inbox).session.requests().is_none() {
            return Err(ServeError::NotSupported);
        }
        let mut tasks = JoinSet::new();
        let serving = Serving(self);
        while let Some(arrived) = poll_fn(|cx| self.poll_serve(cx, limit.max(1), &mut tasks)).await
        {
            let open = Open {
                endpoint: Arc::clone(self),
                key: arrived.key,
            };
            let request = Request::new(Arc::clone(self), arrived);
            match caught(|| handler(request)) {
                Ok(handling) => {
                    tasks.spawn(open.answer_with(handling));
                }
                Err(panic) => open.end(Err(panic)).await,
            }
        }
        drop(serving);
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// The next request, when fewer than `limit` are worked on.
    fn poll_serve(
        &self,
        cx: &mut Context<'_>,
        limit: usize,
        tasks: &mut JoinSet<()>,
    ) -> Poll<Option<Arrived>> {
        while let Poll::Ready(Some(_)) = tasks.poll_join_next(cx) {}
        if tasks.len() >= limit {
            return Poll::Pending;
        }
        let next = match lock(&self.inbox).session.requests() {
            Some(requests) => requests.poll_request(cx.waker()),
            None => Poll::Ready(None),
        };
        if next.is_pending() {
            // The parent may be waiting for what was fed.
            self.start_flush();
        }
        next
    }

    /// Ends a request, unless it has been, once there is room.
    fn poll_end(&self, cx: &Context<'_>, key: Key, outcome: &Result<Message, String>) -> Poll<()> {
        let Some(outbox) = &self.outbox else {
            return Poll::Ready(());
        };
        {
            let mut outbox = lock(outbox);
            if outbox.check().is_ok() && !outbox.has_room() {
                outbox.waiting.register(cx.waker());
                outbox.want_all();
                drop(outbox);
                self.wake_driver();
                return Poll::Pending;
            }
        }
        self.end_request(key, outcome);
        Poll::Ready(())
    }

    /// Ends a request, unless it has been. Under the lock of the outbox, so that `bye` does not come
    /// between.
    fn end_request(&self, key: Key, outcome: &Result<Message, String>) {
        let Some(outbox) = &self.outbox else {
            return;
        };
        let mut outbox = lock(outbox);
        let ends = {
            let mut inbox = lock(&self.inbox);
            let requests = inbox.session.requests();
            requests.is_some_and(|requests| requests.end(key))
        };
        if ends && outbox.check().is_ok() {
            let (head, payload) = match outcome {
                Ok(reply) => (FrameHead::Reply { id: key.id }, reply.clone().into_bytes()),
                Err(text) => {
                    let text = fitting(text, self.setup.limit).to_owned();
                    (FrameHead::Failure { id: key.id }, text.into())
                }
            };
            outbox.place_frame(head, payload);
            outbox.want_all();
            self.write(outbox);
        } else {
            drop(outbox);
        }
        self.deliver_events();
    }
}

/// One who waits for requests.
struct Serving<'a>(&'a Endpoint);

impl Drop for Serving<'_> {
    /// It may have been woken for a request: someone else looks for it.
    fn drop(&mut self) {
        if let Some(requests) = lock(&self.0.inbox).session.requests() {
            requests.server_left();
        }
        self.0.deliver_events();
    }
}

/// A request that must have one end, whatever happens.
struct Open {
    endpoint: Arc<Endpoint>,
    key: Key,
}

impl Open {
    async fn answer_with(self, handling: impl Future<Output = Result<Message, HandlerError>>) {
        let handled = {
            let mut handling = pin!(handling);
            poll_fn(|cx| match caught(|| handling.as_mut().poll(cx)) {
                Ok(polled) => polled.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            })
            .await
        };
        let outcome = outcome(handled, self.endpoint.setup.limit);
        self.end(outcome).await;
    }

    async fn end(self, outcome: Result<Message, String>) {
        poll_fn(|cx| self.endpoint.poll_end(cx, self.key, &outcome)).await;
    }
}

impl Drop for Open {
    /// If it has been ended, this does nothing.
    fn drop(&mut self) {
        self.endpoint
            .end_request(self.key, &Err(DROPPED.to_owned()));
    }
}
