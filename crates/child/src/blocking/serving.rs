//! The serving side of [`Endpoint`]: takes requests, runs handlers, sends each its one end.

use std::{sync::Arc, task::Poll, thread};

use procession_wire::FrameHead;

use super::{
    Request,
    endpoint::{Endpoint, Patience},
};
use crate::{
    HandlerError, Message, ServeError,
    core::{Arrived, Key},
    lock,
    requests::{DROPPED, caught, fitting, outcome},
};

/// The most threads that one call serves on.
const MAX_SERVING_THREADS: usize = 1024;

impl Endpoint {
    pub(super) fn serve<H>(self: &Arc<Self>, handler: &H) -> Result<(), ServeError>
    where
        H: Fn(Request) -> Result<Message, HandlerError>,
    {
        self.check_serves()?;
        while let Some(arrived) = self.next_request() {
            self.handle(arrived, handler);
        }
        Ok(())
    }

    /// With fewer threads, if the system gives no more.
    pub(super) fn serve_on<H>(
        self: &Arc<Self>,
        threads: usize,
        handler: &H,
    ) -> Result<(), ServeError>
    where
        H: Fn(Request) -> Result<Message, HandlerError> + Sync,
    {
        self.check_serves()?;
        thread::scope(|scope| {
            for _ in 1..threads.min(MAX_SERVING_THREADS) {
                let spawned = thread::Builder::new()
                    .name("procession-serve".into())
                    .spawn_scoped(scope, || self.serve(handler));
                if spawned.is_err() {
                    break;
                }
            }
            self.serve(handler)
        })
    }

    fn check_serves(&self) -> Result<(), ServeError> {
        match lock(&self.inbox).session.requests() {
            Some(_) => Ok(()),
            None => Err(ServeError::NotSupported),
        }
    }

    fn next_request(&self) -> Option<Arrived> {
        self.flush_fed();
        let next = self.wait_alone(Patience::Interruptible, |session, waker| {
            match session.requests() {
                Some(requests) => requests.poll_request(waker),
                None => Poll::Ready(None),
            }
        });
        next.flatten()
    }

    fn handle<H>(self: &Arc<Self>, arrived: Arrived, handler: &H)
    where
        H: Fn(Request) -> Result<Message, HandlerError>,
    {
        let open = Open {
            endpoint: self,
            key: arrived.key,
        };
        let request = Request::new(Arc::clone(self), arrived);
        let handled = caught(|| handler(request));
        open.end(&outcome(handled, self.setup.limit));
    }

    /// Ends a request, unless it has been. Under the lock of the output, so that `bye` does not come
    /// between.
    fn end_request(&self, key: Key, outcome: &Result<Message, String>) {
        let Some(output) = &self.output else {
            return;
        };
        // A failure to write is reported by the next call that sends.
        let _ = self.write(output, |output| {
            let requests_end = {
                let mut inbox = lock(&self.inbox);
                let requests = inbox.session.requests();
                requests.is_some_and(|requests| requests.end(key))
            };
            if !requests_end {
                return Ok(());
            }
            match outcome {
                Ok(reply) => output.frame(FrameHead::Reply { id: key.id }, reply.as_bytes(), &[]),
                Err(text) => {
                    let text = fitting(text, self.setup.limit);
                    output.frame(FrameHead::Failure { id: key.id }, text.as_bytes(), &[])
                }
            }
        });
        self.deliver_events();
    }
}

/// A request that must have one end, whatever happens.
struct Open<'a> {
    endpoint: &'a Endpoint,
    key: Key,
}

impl Open<'_> {
    fn end(self, outcome: &Result<Message, String>) {
        self.endpoint.end_request(self.key, outcome);
    }
}

impl Drop for Open<'_> {
    /// If it has been ended, this does nothing.
    fn drop(&mut self) {
        self.endpoint
            .end_request(self.key, &Err(DROPPED.to_owned()));
    }
}
