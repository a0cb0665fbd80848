//! The asking side of [`Endpoint`], and [`Reply`].

use std::{
    fmt,
    iter::FusedIterator,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use procession_wire::FrameHead;

use super::endpoint::{Endpoint, Patience};
use crate::{
    Message, RequestError, RequestOptions,
    core::{Lost, Place, Step},
    lock,
};

/// An answer with items, by [`Parent::request_items`](crate::Parent::request_items).
///
/// As an iterator it gives the items; each `next` waits for one. It ends when the reply has come,
/// which [`reply`](Self::reply) then gives. If there will be no reply, the last thing that it gives is
/// the error, and `reply` gives the same.
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

/// Until when a request waits.
#[derive(Clone, Copy)]
struct Deadline {
    after: Option<Duration>,
    at: Option<Instant>,
}

impl Endpoint {
    pub(super) fn request(
        self: &Arc<Self>,
        message: &Message,
        options: &RequestOptions,
    ) -> Result<Message, RequestError> {
        let asked = self.ask(message, options, false)?;
        loop {
            match asked.step() {
                // None is kept; if there is one, nobody wants it.
                Ok(Step::Item(_)) => {}
                Ok(Step::End(end)) => return end.map_err(Lost::into_error),
                Err(late) => return Err(late.into_error()),
            }
        }
    }

    pub(super) fn request_items(
        self: &Arc<Self>,
        message: &Message,
        options: &RequestOptions,
    ) -> Result<Reply, RequestError> {
        Ok(Reply {
            asked: self.ask(message, options, true)?,
            end: None,
            told: false,
        })
    }

    /// Waits for credit and sends a request.
    fn ask(
        self: &Arc<Self>,
        message: &Message,
        options: &RequestOptions,
        keeps_items: bool,
    ) -> Result<Asked, RequestError> {
        let deadline = Deadline::new(options);
        if lock(&self.inbox).session.requests().is_none() {
            return Err(RequestError::NotSupported);
        }
        let output = self.output()?;
        self.check_length(message.len())?;
        loop {
            let mut asked = None;
            let sent = self.write(output, |output| {
                asked = match lock(&self.inbox).session.requests() {
                    Some(requests) => requests.asking().try_ask(message.len(), keeps_items),
                    None => Some(Err(Lost::Gone)),
                };
                let Some(Ok((id, bytes))) = asked else {
                    return Ok(());
                };
                let credit = FrameHead::Credit { lane: id, bytes }.prefix(0);
                output.frame(FrameHead::Request { id }, message.as_bytes(), &credit)
            });
            match asked {
                Some(Ok((id, _))) => {
                    let endpoint = Arc::clone(self);
                    let asked = Asked {
                        endpoint,
                        id,
                        deadline,
                    };
                    // If it was not sent, it is given up here.
                    return sent.map(|()| asked).map_err(RequestError::Send);
                }
                Some(Err(lost)) => return Err(lost.into_error()),
                None => self.wait_for_request_credit(deadline)?,
            }
        }
    }

    fn wait_for_request_credit(&self, deadline: Deadline) -> Result<(), RequestError> {
        // The parent may be waiting for what was fed.
        self.flush_fed();
        let mut place = Place::default();
        let waited = self.wait_alone(deadline.patience(), |session, waker| {
            match session.requests() {
                Some(requests) => requests.asking().poll_credit(&mut place, waker),
                None => Poll::Ready(()),
            }
        });
        if let Some(requests) = lock(&self.inbox).session.requests() {
            requests.asking().leave(&mut place);
        }
        waited.ok_or_else(|| deadline.ended().into_error())
    }
}

impl Deadline {
    fn new(options: &RequestOptions) -> Self {
        let after = options.deadline;
        Self {
            after,
            // One that cannot be told is never.
            at: after.and_then(|after| Instant::now().checked_add(after)),
        }
    }

    fn patience(self) -> Patience {
        self.at.map_or(Patience::Interruptible, Patience::Until)
    }

    fn ended(self) -> Ended {
        Ended::TimedOut(self.after.unwrap_or(Duration::MAX))
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
    /// Waits for the next item or the end.
    fn step(&self) -> Result<Step, Ended> {
        let waited = self
            .endpoint
            .wait_alone(self.deadline.patience(), |session, waker| {
                match session.requests() {
                    Some(requests) => requests.poll_step(self.id, waker),
                    None => Poll::Ready(Step::End(Err(Lost::Gone))),
                }
            });
        waited.ok_or_else(|| self.deadline.ended())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(requests) = lock(&self.endpoint.inbox).session.requests() {
            requests.give_up(self.id);
        }
        self.endpoint.write_control();
    }
}

impl Reply {
    /// Waits for the reply. Items that were not taken are thrown away.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is none.
    ///
    /// ```no_run
    /// let parent = procession_child::connect()?;
    /// let mut lines = parent.request_items("the log")?;
    /// for line in &mut lines {
    ///     println!("{:?}", line?);
    /// }
    /// println!("and in the end: {:?}", lines.reply()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reply(mut self) -> Result<Message, RequestError> {
        while self.end.is_none() {
            self.step();
        }
        match &self.end {
            Some(Ok(reply)) => Ok(reply.clone()),
            Some(Err(ended)) => Err(ended.clone().into_error()),
            None => Err(RequestError::ParentGone),
        }
    }

    fn step(&mut self) -> Option<Message> {
        match self.asked.step() {
            Ok(Step::Item(item)) => return Some(item),
            Ok(Step::End(end)) => self.end = Some(end.map_err(Ended::Lost)),
            Err(late) => self.end = Some(Err(late)),
        }
        None
    }
}

impl Iterator for Reply {
    type Item = Result<Message, RequestError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_none()
            && let Some(item) = self.step()
        {
            return Some(Ok(item));
        }
        match &self.end {
            Some(Err(ended)) if !std::mem::replace(&mut self.told, true) => {
                Some(Err(ended.clone().into_error()))
            }
            _ => None,
        }
    }
}

impl FusedIterator for Reply {}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("has_ended", &self.end.is_some())
            .finish_non_exhaustive()
    }
}
