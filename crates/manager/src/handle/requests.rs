//! Asking a process, and waiting until it is ready.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt as _;
use procession_wire::Message;
use tokio::time::{Sleep, sleep, timeout};
#[cfg(any(feature = "json", feature = "message-pack"))]
use {
    procession_wire::MessageFormat,
    serde::{Serialize, de::DeserializeOwned},
};

use super::{ProcessHandle, ProcessManagerHandle};
use crate::clock;
use crate::error::{RequestError, WaitReadyError};
use crate::id::ProcessId;
use crate::messaging::answering::RequestHandler;
use crate::messaging::asking::{Asking, End, Next};
use crate::model::RequestOptions;
use crate::process::Process;

impl ProcessManagerHandle {
    /// Asks a process. See [`ProcessHandle::request`].
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn request(
        &self,
        id: ProcessId,
        message: impl Into<Message>,
    ) -> Result<Message, RequestError> {
        self.request_with(id, message, RequestOptions::new()).await
    }

    /// Asks a process, with another deadline. See [`ProcessHandle::request_with`].
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn request_with(
        &self,
        id: ProcessId,
        message: impl Into<Message>,
        options: RequestOptions,
    ) -> Result<Message, RequestError> {
        let process = self.find::<RequestError>(id).await?;
        process.request_with(message, options).await
    }

    /// Asks a process with a value, for a value. See [`ProcessHandle::request_as`].
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub async fn request_as<Req: Serialize + ?Sized, Resp: DeserializeOwned>(
        &self,
        id: ProcessId,
        request: &Req,
        format: &MessageFormat,
    ) -> Result<Resp, RequestError> {
        let process = self.find::<RequestError>(id).await?;
        process.request_as(request, format).await
    }

    /// Asks a process for an answer in parts. See [`ProcessHandle::request_items`].
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn request_items(
        &self,
        id: ProcessId,
        message: impl Into<Message>,
        options: RequestOptions,
    ) -> Result<ReplyItems, RequestError> {
        let process = self.find::<RequestError>(id).await?;
        process.request_items(message, options).await
    }

    /// Waits until a process is ready. See [`ProcessHandle::wait_ready`].
    ///
    /// # Errors
    ///
    /// [`WaitReadyError`].
    pub async fn wait_ready(&self, id: ProcessId) -> Result<String, WaitReadyError> {
        self.find::<WaitReadyError>(id).await?.wait_ready().await
    }
}

impl ProcessHandle {
    /// Asks the child, and resolves with its reply. The child has to speak frames both ways.
    ///
    /// Any number of requests may be under way, as far as the child allows; replies may come in any order.
    /// It fails after [30 s](crate::DEFAULT_REQUEST_DEADLINE), see [`request_with`](Self::request_with).
    /// Where the child ends or breaks the protocol, it fails at once, and the error says how and what the
    /// child wrote last to its stderr, where that is logged.
    ///
    /// Cancel safety: dropped before the request has a place in the queue, nothing is sent; after that the
    /// child is told that nobody waits any more.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn request(&self, message: impl Into<Message>) -> Result<Message, RequestError> {
        self.request_with(message, RequestOptions::new()).await
    }

    /// Asks the child, with another deadline or none. Otherwise as [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn request_with(
        &self,
        message: impl Into<Message>,
        options: RequestOptions,
    ) -> Result<Message, RequestError> {
        let process = self.present::<RequestError>()?;
        let (message, run) = (message.into(), process.run_number());
        let asked = async {
            match process.begin_request(message, false).await? {
                Ok(mut asking) => Ok::<_, RequestError>(Ok(asking.end().await)),
                Err(failure) => Ok(Err(failure)),
            }
        };
        let ended = match options.time_limit() {
            None => asked.await?,
            Some(deadline) => match timeout(deadline.min(clock::LONGEST), asked).await {
                Ok(ended) => ended?,
                Err(_) => return Err(RequestError::TimedOut { deadline }),
            },
        };
        // Looking up what went wrong is not the request's time.
        match ended {
            Ok(end) => process.reply(end, run).await,
            Err(failure) => Err(process.not_asked(failure, run).await),
        }
    }

    /// Asks the child with a value, and resolves with the value that it replies. Otherwise as
    /// [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub async fn request_as<Req: Serialize + ?Sized, Resp: DeserializeOwned>(
        &self,
        request: &Req,
        format: &MessageFormat,
    ) -> Result<Resp, RequestError> {
        let message = Message::from_serializable(request, format)
            .map_err(|error| RequestError::CannotSerialize(error.to_string()))?;
        let reply = self.request(message).await?;
        reply
            .deserialize(format)
            .map_err(|error| RequestError::CannotDeserialize(error.to_string()))
    }

    /// Asks the child for an answer in parts: a stream of the items that come before the reply. The deadline
    /// is for all of it.
    ///
    /// Up to 256 KiB of items are on their way at most, so a slow reader slows this one answer and nothing
    /// else. Dropped before its end, the request is cancelled.
    ///
    /// # Errors
    ///
    /// [`RequestError`], also for what the stream says.
    pub async fn request_items(
        &self,
        message: impl Into<Message>,
        options: RequestOptions,
    ) -> Result<ReplyItems, RequestError> {
        let process = self.present::<RequestError>()?;
        let (limit, run) = (options.time_limit(), process.run_number());
        let mut deadline = limit.map(|limit| (limit, Box::pin(sleep(limit.min(clock::LONGEST)))));
        let asked = process.begin_request(message.into(), true);
        let asked = match &mut deadline {
            None => asked.await?,
            Some((limit, until)) => tokio::select! {
                biased;
                asked = asked => asked?,
                () = until => return Err(RequestError::TimedOut { deadline: *limit }),
            },
        };
        let asking = match asked {
            Ok(asking) => asking,
            Err(failure) => return Err(process.not_asked(failure, run).await),
        };
        Ok(ReplyItems {
            process: Arc::clone(process),
            run,
            deadline,
            state: State::Open(asking),
        })
    }

    /// Waits until the process is ready, as its [`Cmd`](crate::Cmd::ready_when) says, and gives its status
    /// text, which may be empty. At once where it is ready already.
    ///
    /// Of a child over frames whose [`Cmd`](crate::Cmd::ready_when) says nothing it waits for the `ready`
    /// frame, which need not come while the child lives. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`WaitReadyError`]: it ended before, or it was not ready in time.
    pub async fn wait_ready(&self) -> Result<String, WaitReadyError> {
        self.present::<WaitReadyError>()?.wait_ready().await
    }

    /// Answers the child's requests from now on by this, in place of what its [`Cmd`](crate::Cmd::serve)
    /// said. Requests that came before it go on as they are.
    ///
    /// # Errors
    ///
    /// [`RequestError::NoFrames`], or it has been removed.
    pub fn serve(&self, handler: RequestHandler) -> Result<(), RequestError> {
        let process = self.present::<RequestError>()?;
        process.serve(handler)?;
        Ok(())
    }
}

/// An answer in parts, by [`ProcessHandle::request_items`]: a [`Stream`] of the items that come before the
/// reply, in order. It ends with the reply, which [`reply`](Self::reply) gives, or with an error.
///
/// ```no_run
/// # async fn run(process: procession_manager::ProcessHandle) -> Result<(), Box<dyn std::error::Error>> {
/// use futures::TryStreamExt;
/// use procession_manager::RequestOptions;
///
/// let mut rows = process.request_items("select", RequestOptions::new()).await?;
/// while let Some(row) = rows.try_next().await? {
///     println!("{row:?}");
/// }
/// println!("and the summary: {:?}", rows.reply().await?);
/// # Ok(()) }
/// ```
#[must_use = "dropped, the request is cancelled"]
pub struct ReplyItems {
    process: Arc<Process>,
    run: u64,
    deadline: Option<(Duration, Pin<Box<Sleep>>)>,
    state: State,
}

enum State {
    Open(Asking),
    /// What went wrong is being looked up.
    Ending(Pin<Box<dyn Future<Output = Result<Message, RequestError>> + Send>>),
    Replied(Message),
    /// An error has been given.
    Over,
}

impl ReplyItems {
    /// The reply. Items that come before it are thrown away.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    ///
    /// # Panics
    ///
    /// If the stream has given an error before.
    pub async fn reply(mut self) -> Result<Message, RequestError> {
        while self.next().await.transpose()?.is_some() {}
        match std::mem::replace(&mut self.state, State::Over) {
            State::Replied(reply) => Ok(reply),
            _ => panic!("the stream has ended with an error"),
        }
    }
}

impl Stream for ReplyItems {
    type Item = Result<Message, RequestError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Replied(_) | State::Over => return Poll::Ready(None),
                State::Ending(ending) => {
                    let (next, state) = match ready!(ending.as_mut().poll(cx)) {
                        Ok(reply) => (None, State::Replied(reply)),
                        Err(error) => (Some(Err(error)), State::Over),
                    };
                    this.state = state;
                    return Poll::Ready(next);
                }
                State::Open(asking) => {
                    let proceed = ready!(tokio::task::coop::poll_proceed(cx));
                    // First: a slow reader has no more time than a fast one.
                    if let Some((deadline, until)) = &mut this.deadline
                        && until.as_mut().poll(cx).is_ready()
                    {
                        let deadline = *deadline;
                        this.state = State::Over;
                        return Poll::Ready(Some(Err(RequestError::TimedOut { deadline })));
                    }
                    let next = ready!(asking.poll_next(cx));
                    proceed.made_progress();
                    match next {
                        Next::Item(item) => return Poll::Ready(Some(Ok(item))),
                        Next::End(end) => {
                            let (process, run) = (Arc::clone(&this.process), this.run);
                            let ending = async move { process.reply(end, run).await };
                            this.state = State::Ending(Box::pin(ending));
                        }
                    }
                }
            }
        }
    }
}

impl fmt::Debug for ReplyItems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyItems")
            .field("process", &self.process.id())
            .finish_non_exhaustive()
    }
}

impl Process {
    /// What an end comes to.
    async fn reply(&self, end: End, run: u64) -> Result<Message, RequestError> {
        match end {
            End::Reply(reply) => Ok(reply),
            End::Failure(text) => Err(RequestError::Failed(text)),
            End::Overrun => Err(RequestError::TooManyItems),
            End::Lost => Err(self.unanswered(true, run).await),
            End::NotSent => Err(self.unanswered(false, run).await),
        }
    }
}

const _: () = {
    const fn assert_send<T: Send + Unpin>() {}
    assert_send::<ReplyItems>();
};
