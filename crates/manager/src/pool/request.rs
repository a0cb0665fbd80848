//! A request to a pool, from its caller's side.
//!
//! ```text
//!             turn: Go                       reply, failure
//!  Waiting ─────────────► Sending ──► Asked ────────────────► answered
//!     ▲                      │          │
//!     └── the worker is lost ┴──────────┤ a verdict (timed out, …), or the caller has gone
//!                                       ▼
//!                               given back: cancelled, and answered when the worker has ceased
//! ```

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use procession_wire::{EncodeError, Message};
use tokio::time::timeout;

use super::shared::{Failure, Shared, Turn};
use super::{PoolRequestError, RequestName};
use crate::clock;
use crate::error::RequestError;
use crate::messaging::asking::{Asking, End, Next};
use crate::messaging::conversation::AskFailure;
use crate::messaging::outbox::SendFailure;
use crate::process::Process;
use crate::supervision::dispatch::{FailReason, Refusal};

/// How long the exit of a worker that was killed may be behind the news of it.
const EXIT_AFTER_KILL: Duration = Duration::from_secs(1);

/// How a request to a pool is treated.
///
/// ```
/// use std::time::Duration;
/// use procession_manager::PoolRequestOptions;
///
/// let options = PoolRequestOptions::new()
///     .tries(3) // it may be done twice
///     .deadline(Duration::from_secs(20))
///     .label("chapter 7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct PoolRequestOptions {
    pub(super) tries: u32,
    pub(super) time_limit: Option<Duration>,
    pub(super) label: Option<Arc<str>>,
}

impl PoolRequestOptions {
    /// One try, no deadline, no label.
    pub const fn new() -> Self {
        Self {
            tries: 1,
            time_limit: None,
            label: None,
        }
    }

    /// How often it may be sent, at least once, where a worker ends before it answers; 1, so never again, unless set. More only for
    /// what may be done twice (idempotent requests): a worker may have done it and died before it could say so.
    ///
    /// What a worker answers is final, a failure as well: that is not tried again. Nor is one of which
    /// [too many workers have died](crate::ProcessPoolBuilder::poison_after).
    pub const fn tries(mut self, tries: u32) -> Self {
        self.tries = if tries == 0 { 1 } else { tries };
        self
    }

    /// How long it may take from now to its reply, the time in the queue and all tries included. Without this it may
    /// take as long as the pool lives.
    ///
    /// Then its worker is told to cancel; a worker that goes on is killed after the
    /// [grace](crate::ProcessPoolBuilder::cancel_grace), and replaced.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.time_limit = Some(deadline);
        self
    }

    /// It may take as long as the pool lives.
    pub const fn no_deadline(mut self) -> Self {
        self.time_limit = None;
        self
    }

    /// What it is called in errors and events.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl Default for PoolRequestOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a request is, by its caller.
enum Stage {
    Waiting,
    /// It is on its way into the queue of this worker.
    Sending(u64),
    Asked(u64, Asking),
}

/// A request that is open. Dropped, it is given up.
struct Open<'a> {
    shared: &'a Arc<Shared>,
    request: u64,
    stage: Stage,
    /// Who is woken when it is to do something else than to ask the worker that it has, and how often anybody was told
    /// so before that.
    known: Option<(Waker, u64)>,
    /// Its caller has had its answer, and told.
    is_over: bool,
}

/// What came of asking a worker.
enum Asked {
    Reply(Message),
    /// The worker's answer, or why it cannot be asked this.
    Failed(RequestError),
    /// The worker can say nothing more.
    Lost,
    /// It can be told nothing more: this has not got to it.
    Unsent,
    /// The pool has something else in mind.
    Turned(Turn),
}

/// Asks whoever the pool says.
pub(super) async fn request(
    shared: &Arc<Shared>,
    message: Message,
    options: &PoolRequestOptions,
) -> Result<Message, PoolRequestError> {
    let deadline = options
        .time_limit
        .map(|limit| clock::after(clock::now(), limit));
    let (request, turn) = shared.submit(options, deadline);
    let mut open = Open {
        shared,
        request,
        stage: Stage::Waiting,
        known: None,
        is_over: false,
    };
    let payload = message.into_bytes();
    let mut turn = match turn {
        Some(turn) => turn,
        None => open.turn(deadline).await,
    };
    loop {
        let (worker, process) = match turn {
            Turn::Go { worker, process } => (worker, process),
            Turn::Failed(failure) => {
                // Apart, since it is large and most requests have a reply.
                return Err(Box::pin(open.failure(failure, options)).await);
            }
            Turn::Refused(Refusal::QueueFull) => return Err(PoolRequestError::QueueFull),
            Turn::Refused(Refusal::Draining) => return Err(PoolRequestError::Ended),
        };
        let asked = open.ask(worker, &process, payload.clone()).await;
        turn = match asked {
            Asked::Reply(reply) => {
                open.answered(worker, true);
                return Ok(reply);
            }
            Asked::Failed(error) => {
                open.answered(worker, false);
                return Err(PoolRequestError::Request(error));
            }
            Asked::Lost => {
                shared.lost(worker);
                open.turn(deadline).await
            }
            Asked::Unsent => {
                shared.unsent(worker, open.request);
                shared.lost(worker);
                open.turn(deadline).await
            }
            Asked::Turned(turn) => turn,
        };
    }
}

impl Open<'_> {
    /// Ready with what is to be done next.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        // First this, then the look: what is said in between is seen the next time.
        let turned = self.shared.turned();
        if let (Stage::Sending(_) | Stage::Asked(..), Some((waker, seen))) =
            (&self.stage, &self.known)
            && *seen == turned
            && waker.will_wake(cx.waker())
        {
            return Poll::Pending;
        }
        let turn = self.shared.poll_turn(self.request, cx);
        self.known = match turn {
            Poll::Ready(_) => None,
            Poll::Pending => Some((cx.waker().clone(), turned)),
        };
        turn
    }

    /// Resolves with what is to be done next.
    async fn turn(&mut self, deadline: Option<Instant>) -> Turn {
        let Some(deadline) = deadline.filter(|_| self.shared.is_outside(self.request)) else {
            return poll_fn(|cx| self.poll_turn(cx)).await;
        };
        let turn = poll_fn(|cx| self.poll_turn(cx));
        tokio::select! {
            biased;
            turn = turn => return turn,
            () = tokio::time::sleep_until(deadline.into()) => {}
        }
        if self.shared.is_outside(self.request) {
            return Turn::Failed(Failure {
                reason: FailReason::TimedOut,
                attempts: 0,
                process: None,
            });
        }
        // It has come in meanwhile, with its deadline.
        poll_fn(|cx| self.poll_turn(cx)).await
    }

    /// Asks this worker, until it answers or the pool says something else.
    async fn ask(&mut self, worker: u64, process: &Process, payload: Bytes) -> Asked {
        self.stage = Stage::Sending(worker);
        let conversation = match process.conversation() {
            Ok(conversation) => conversation,
            Err(error) => return Asked::Failed(error),
        };
        let asked = tokio::select! {
            biased;
            asked = conversation.ask(payload, false) => asked,
            turn = poll_fn(|cx| self.poll_turn(cx)) => return self.turned(turn),
        };
        match asked {
            Ok(asking) => self.stage = Stage::Asked(worker, asking),
            Err(AskFailure::Send(SendFailure::Encode(EncodeError::TooLarge { len, limit }))) => {
                return Asked::Failed(RequestError::TooLarge { len, limit });
            }
            Err(AskFailure::Send(_) | AskFailure::Ended) => {
                self.stage = Stage::Waiting;
                return Asked::Unsent;
            }
        }
        match poll_fn(|cx| self.poll_asked(cx)).await {
            Ok(End::Reply(reply)) => Asked::Reply(reply),
            Ok(End::Failure(text)) => Asked::Failed(RequestError::Failed(text)),
            Ok(End::Overrun) => Asked::Failed(RequestError::TooManyItems),
            Ok(End::Lost) => {
                self.stage = Stage::Waiting;
                Asked::Lost
            }
            Ok(End::NotSent) => {
                self.stage = Stage::Waiting;
                Asked::Unsent
            }
            Err(turn) => self.turned(turn),
        }
    }

    /// Ready with the worker's answer, or with what the pool says instead. The answer goes first: what the worker
    /// has said counts, whatever has become of it.
    fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Turn>> {
        if let Stage::Asked(_, asking) = &mut self.stage {
            while let Poll::Ready(next) = asking.poll_next(cx) {
                if let Next::End(end) = next {
                    return Poll::Ready(Ok(end));
                }
            }
        }
        self.poll_turn(cx).map(Err)
    }

    fn turned(&mut self, turn: Turn) -> Asked {
        self.give_back();
        Asked::Turned(turn)
    }

    fn answered(&mut self, worker: u64, ok: bool) {
        self.is_over = true;
        self.shared.answered(worker, self.request, ok);
    }

    /// Tells the worker that nobody waits any more, and the pool when it has ceased.
    fn give_back(&mut self) {
        let request = self.request;
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Waiting => {}
            Stage::Sending(worker) => self.shared.ceased(worker, request),
            Stage::Asked(worker, mut asking) => {
                asking.cancel();
                let shared = Arc::clone(self.shared);
                self.shared.runtime.spawn(async move {
                    asking.end().await;
                    shared.ceased(worker, request);
                });
            }
        }
    }

    /// Why it has failed.
    async fn failure(&self, failure: Failure, options: &PoolRequestOptions) -> PoolRequestError {
        let request = RequestName {
            number: self.request,
            label: options.label.clone(),
        };
        let Failure {
            reason,
            attempts,
            process,
        } = failure;
        match reason {
            FailReason::WorkerEnded { .. } => PoolRequestError::WorkerEnded {
                request,
                attempts,
                tries: options.tries,
                error: Box::new(exit_of(process).await),
            },
            FailReason::Poisonous { workers } => PoolRequestError::Poisonous {
                request,
                workers,
                error: Box::new(exit_of(process).await),
            },
            FailReason::NoWorkers => PoolRequestError::NoWorkers {
                request,
                reason: self.shared.start_failure(),
            },
            FailReason::TimedOut => PoolRequestError::TimedOut {
                request,
                deadline: options.time_limit.unwrap_or_default(),
                attempts,
            },
            FailReason::Aborted => PoolRequestError::Aborted { request },
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.dropped(self.request);
            self.give_back();
        }
    }
}

/// How the worker ended. One that was killed may still be about to.
async fn exit_of(process: Option<Arc<Process>>) -> RequestError {
    match process {
        Some(process) => {
            let _ = timeout(EXIT_AFTER_KILL, process.drained()).await;
            process.unanswered(true, 0).await
        }
        None => RequestError::ManagerCommunicationError,
    }
}

impl fmt::Debug for Open<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
