//! The asking side of [`Endpoint`], and [`Reply`].

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use procession_wire::FrameHead;
use tokio::{
    task::coop::cooperative,
    time::{Sleep, sleep},
};

use super::endpoint::Endpoint;
use crate::{
    Message, RequestError, RequestOptions,
    core::{Lost, Place, Step},
    lock,
    requests::LONGEST,
};

/// An answer with items, by [`Parent::request_items`](super::Parent::request_items).
///
/// As a [`Stream`] it gives the items. It ends when the reply has come, which [`reply`](Self::reply)
/// then gives. If there will be no reply, the last thing that it gives is the error, and `reply` gives
/// the same.
///
/// The parent is told that there is room for more as items are taken: up to 256 KiB of them are held
/// here. Dropped before the reply has come, it cancels the request.
pub struct Reply {
    asked: Asked,
    end: Option<Result<Message, Ended>>,
    told: bool,
}

/// Why a request has ended without a reply, as often as one asks.
#[derive(Clone, Debug)]
enum Ended {
    Lost(Lost),
    TimedOut(Duration),
}

/// A request that was sent. Dropped before its end has come, it is cancelled.
struct Asked {
    endpoint: Arc<Endpoint>,
    id: u64,
    deadline: Deadline,
}

/// One who waits for credit, and may be dropped while it does.
struct Asker<'a> {
    endpoint: &'a Endpoint,
    place: Place,
}

/// Until when a request waits.
struct Deadline(Option<(Duration, Pin<Box<Sleep>>)>);

impl Endpoint {
    pub(super) async fn request(
        self: &Arc<Self>,
        message: Message,
        options: &RequestOptions,
    ) -> Result<Message, RequestError> {
        let mut asked = self.ask(message, options, false).await?;
        loop {
            match poll_fn(|cx| asked.poll_step(cx)).await {
                // None is kept; if there is one, nobody wants it.
                Ok(Step::Item(_)) => {}
                Ok(Step::End(end)) => return end.map_err(Lost::into_error),
                Err(late) => return Err(late.into_error()),
            }
        }
    }

    pub(super) async fn request_items(
        self: &Arc<Self>,
        message: Message,
        options: &RequestOptions,
    ) -> Result<Reply, RequestError> {
        Ok(Reply {
            asked: self.ask(message, options, true).await?,
            end: None,
            told: false,
        })
    }

    /// Waits for credit and room, and sends a request.
    async fn ask(
        self: &Arc<Self>,
        message: Message,
        options: &RequestOptions,
        keeps_items: bool,
    ) -> Result<Asked, RequestError> {
        if lock(&self.inbox).session.requests().is_none() {
            return Err(RequestError::NotSupported);
        }
        self.check_length(message.len())?;
        let payload = message.into_bytes();
        let mut deadline = Deadline::new(options);
        let mut asker = Asker {
            endpoint: self,
            place: Place::default(),
        };
        let id = poll_fn(|cx| {
            if let Poll::Ready(ended) = deadline.poll(cx) {
                return Poll::Ready(Err(ended.into_error()));
            }
            asker.poll_ask(cx, &payload, keeps_items)
        })
        .await?;
        Ok(Asked {
            endpoint: Arc::clone(self),
            id,
            deadline,
        })
    }
}

impl Asker<'_> {
    fn poll_ask(
        &mut self,
        cx: &Context<'_>,
        payload: &Bytes,
        keeps_items: bool,
    ) -> Poll<Result<u64, RequestError>> {
        let endpoint = self.endpoint;
        let mut outbox = lock(endpoint.outbox()?);
        outbox.check()?;
        if !outbox.has_room() {
            outbox.waiting.register(cx.waker());
            outbox.want_all();
            drop(outbox);
            endpoint.wake_driver();
            return Poll::Pending;
        }
        let asked = match lock(&endpoint.inbox).session.requests() {
            Some(requests) => {
                let asked = requests.asking().try_ask(payload.len(), keeps_items);
                if asked.is_none() {
                    // Under one lock with the attempt: whatever makes it ready comes later.
                    let _ = requests.asking().poll_credit(&mut self.place, cx.waker());
                }
                asked
            }
            None => Some(Err(Lost::Gone)),
        };
        match asked {
            Some(Ok((id, bytes))) => {
                outbox.place_frame(FrameHead::Request { id }, payload.clone());
                outbox.place_frame(FrameHead::Credit { lane: id, bytes }, Bytes::new());
                outbox.want_all();
                endpoint.write(outbox);
                Poll::Ready(Ok(id))
            }
            Some(Err(lost)) => Poll::Ready(Err(lost.into_error())),
            None => {
                drop(outbox);
                // The parent may be waiting for what was fed.
                endpoint.start_flush();
                Poll::Pending
            }
        }
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        if !self.place.is_taken() {
            return;
        }
        if let Some(requests) = lock(&self.endpoint.inbox).session.requests() {
            requests.asking().leave(&mut self.place);
        }
    }
}

impl Deadline {
    /// # Panics
    ///
    /// There is one, and the runtime has no time driver.
    fn new(options: &RequestOptions) -> Self {
        Self(
            options
                .deadline
                .map(|after| (after, Box::pin(sleep(after.min(LONGEST))))),
        )
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        match &mut self.0 {
            Some((after, sleep)) => {
                ready!(sleep.as_mut().poll(cx));
                Poll::Ready(Ended::TimedOut(*after))
            }
            None => Poll::Pending,
        }
    }
}

impl Ended {
    fn into_error(self) -> RequestError {
        match self {
            Self::Lost(lost) => lost.into_error(),
            Self::TimedOut(deadline) => RequestError::TimedOut(deadline),
        }
    }
}

impl Asked {
    /// The next item or the end. Where there is always a next one, other tasks get their turn.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Ended>> {
        pin!(cooperative(poll_fn(|cx| self.poll_step_freely(cx)))).poll(cx)
    }

    fn poll_step_freely(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Ended>> {
        // First: it is for all of the answer, and there may always be an item.
        if let Poll::Ready(late) = self.deadline.poll(cx) {
            return Poll::Ready(Err(late));
        }
        let (step, owes) = {
            let mut inbox = lock(&self.endpoint.inbox);
            let step = match inbox.session.requests() {
                Some(requests) => requests.poll_step(self.id, cx.waker()),
                None => Poll::Ready(Step::End(Err(Lost::Gone))),
            };
            (step, inbox.session.has_control())
        };
        if owes {
            self.endpoint.wake_driver();
        }
        step.map(Ok)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(requests) = lock(&self.endpoint.inbox).session.requests() {
            requests.give_up(self.id);
        }
        self.endpoint.deliver_events();
    }
}

impl Reply {
    /// Waits for the reply. Items that were not taken are thrown away.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is none.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the request is cancelled.
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::RequestError> {
    /// use futures::TryStreamExt;
    ///
    /// let mut lines = parent.request_items("the log").await?;
    /// while let Some(line) = lines.try_next().await? {
    ///     println!("{line:?}");
    /// }
    /// println!("and in the end: {:?}", lines.reply().await?);
    /// # Ok(()) }
    /// ```
    pub async fn reply(mut self) -> Result<Message, RequestError> {
        while self.end.is_none() {
            poll_fn(|cx| self.poll_step(cx)).await;
        }
        match &self.end {
            Some(Ok(reply)) => Ok(reply.clone()),
            Some(Err(ended)) => Err(ended.clone().into_error()),
            None => Err(RequestError::ParentGone),
        }
    }

    /// The next item, or nothing at the end.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        match ready!(self.asked.poll_step(cx)) {
            Ok(Step::Item(item)) => return Poll::Ready(Some(item)),
            Ok(Step::End(end)) => self.end = Some(end.map_err(Ended::Lost)),
            Err(late) => self.end = Some(Err(late)),
        }
        Poll::Ready(None)
    }
}

impl Stream for Reply {
    type Item = Result<Message, RequestError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.end.is_none()
            && let Some(item) = ready!(self.poll_step(cx))
        {
            return Poll::Ready(Some(Ok(item)));
        }
        let this = self.get_mut();
        Poll::Ready(match &this.end {
            Some(Err(ended)) if !std::mem::replace(&mut this.told, true) => {
                Some(Err(ended.clone().into_error()))
            }
            _ => None,
        })
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("has_ended", &self.end.is_some())
            .finish_non_exhaustive()
    }
}
