//! A stream of inputs to a stream of results.
//!
//! ```text
//!             taken while fewer than the limit are under way
//!  inputs ───────────────────────────────────────────────────► requests to the pool ──► results
//!                                                               │ progress
//! ```
//!
//! Nothing is done but in the task that polls the results: who takes none, starts none.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;
use futures_util::StreamExt as _;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use procession_wire::Message;

use super::request::request;
use super::{PoolRequestError, PoolRequestOptions, ProcessPool};
use crate::clock;

type Outcome = Result<Message, PoolRequestError>;
type Running = Pin<Box<dyn Future<Output = (u64, Outcome)> + Send>>;

/// How far a [`map`](ProcessPool::map) is.
///
/// Shown, it is a line such as `120 done, 3 of them failed, 8 in flight, 60.0/s`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MapProgress {
    /// Inputs that have a result, the failed ones too.
    pub done: u64,
    /// Inputs whose result is an error.
    pub failed: u64,
    /// Inputs that were taken and have no result yet.
    pub in_flight: u64,
    /// Since the first input was taken, up to the last result.
    pub elapsed: Duration,
}

impl MapProgress {
    /// Results a second, over all of the time.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate need not be exact to the last of 2^52"
    )]
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.done as f64 / seconds
        } else {
            0.0
        }
    }
}

impl fmt::Display for MapProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            done,
            failed,
            in_flight,
            ..
        } = self;
        let rate = self.rate();
        write!(
            f,
            "{done} done, {failed} of them failed, {in_flight} in flight, {rate:.1}/s"
        )
    }
}

/// Tells how far a map is, from wherever it is asked. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct MapMonitor(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    /// Of the last result, in nanoseconds since the first input was taken.
    last: AtomicU64,
}

impl MapMonitor {
    /// How far it is now.
    pub fn progress(&self) -> MapProgress {
        let done = self.0.done.load(Relaxed);
        MapProgress {
            done,
            failed: self.0.failed.load(Relaxed),
            in_flight: self.0.taken.load(Relaxed).saturating_sub(done),
            elapsed: Duration::from_nanos(self.0.last.load(Relaxed)),
        }
    }
}

/// Those that are under way.
enum Requests {
    Ordered(FuturesOrdered<Running>),
    Unordered(FuturesUnordered<Running>),
}

impl Requests {
    /// How many there are; of those in order also the ones that are done and wait for others.
    fn len(&self) -> usize {
        match self {
            Self::Ordered(requests) => requests.len(),
            Self::Unordered(requests) => requests.len(),
        }
    }

    fn push(&mut self, request: Running) {
        match self {
            Self::Ordered(requests) => requests.push_back(request),
            Self::Unordered(requests) => requests.push(request),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(u64, Outcome)>> {
        match self {
            Self::Ordered(requests) => requests.poll_next_unpin(cx),
            Self::Unordered(requests) => requests.poll_next_unpin(cx),
        }
    }
}

struct Mapping<S> {
    pool: ProcessPool,
    /// None once it has ended.
    inputs: Option<Pin<Box<S>>>,
    options: Arc<PoolRequestOptions>,
    limit: usize,
    requests: Requests,
    monitor: MapMonitor,
    begun: Option<Instant>,
}

impl<S> Mapping<S>
where
    S: Stream,
    S::Item: Into<Message>,
{
    fn new(pool: &ProcessPool, inputs: S, requests: Requests) -> Self {
        let capacity = pool.0.rules.capacity();
        Self {
            pool: pool.clone(),
            inputs: Some(Box::pin(inputs)),
            options: Arc::new(pool.0.shared.options.clone()),
            limit: match requests {
                // Those that have their result and wait for an earlier one keep no worker from the next.
                Requests::Ordered(_) => capacity.saturating_mul(2),
                Requests::Unordered(_) => capacity,
            },
            requests,
            monitor: MapMonitor::default(),
            begun: None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(u64, Outcome)>> {
        self.take_inputs(cx);
        let next = ready!(self.requests.poll_next(cx));
        if let Some((_, outcome)) = &next {
            let counts = &self.monitor.0;
            let elapsed = self
                .begun
                .map_or(Duration::ZERO, |begun| clock::now().duration_since(begun));
            let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
            counts.last.store(nanos, Relaxed);
            counts
                .failed
                .fetch_add(u64::from(outcome.is_err()), Relaxed);
            counts.done.fetch_add(1, Relaxed);
        } else if self.inputs.is_some() {
            return Poll::Pending;
        }
        Poll::Ready(next)
    }

    /// Takes inputs while there is room for them.
    fn take_inputs(&mut self, cx: &mut Context<'_>) {
        while self.requests.len() < self.limit
            && let Some(inputs) = &mut self.inputs
        {
            let input = match inputs.as_mut().poll_next(cx) {
                Poll::Ready(Some(input)) => input.into(),
                Poll::Ready(None) => {
                    self.inputs = None;
                    return;
                }
                Poll::Pending => return,
            };
            self.begun.get_or_insert_with(clock::now);
            let number = self.monitor.0.taken.fetch_add(1, Relaxed);
            let (pool, options) = (Arc::clone(&self.pool.0), Arc::clone(&self.options));
            self.requests.push(Box::pin(async move {
                (number, request(&pool.shared, input, &options).await)
            }));
        }
    }

    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("progress", &format_args!("{}", self.monitor.progress()))
            .finish_non_exhaustive()
    }
}

macro_rules! map_type {
    ($(#[$meta:meta])* $name:ident, $requests:expr, $limit:literal) => {
        $(#[$meta])*
        #[must_use = "streams do nothing unless polled"]
        pub struct $name<S>(Mapping<S>);

        impl<S> $name<S>
        where
            S: Stream,
            S::Item: Into<Message>,
        {
            pub(super) fn new(pool: &ProcessPool, inputs: S) -> Self {
                Self(Mapping::new(pool, inputs, $requests))
            }

            /// How each input is treated; as the pool's builder says unless set. Set it before the first result is
            /// taken: it holds for inputs that are taken after it. With a label, all have the same.
            pub fn options(mut self, options: PoolRequestOptions) -> Self {
                self.0.options = Arc::new(options);
                self
            }

            /// How many inputs are under way at most, at least one;
            #[doc = $limit]
            /// unless set.
            pub fn limit(mut self, inputs: usize) -> Self {
                self.0.limit = inputs.max(1);
                self
            }

            /// Tells how far it is, also while the stream is used elsewhere.
            pub fn monitor(&self) -> MapMonitor {
                self.0.monitor.clone()
            }
        }

        impl<S> fmt::Debug for $name<S>
        where
            S: Stream,
            S::Item: Into<Message>,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.debug(stringify!($name), f)
            }
        }
    };
}

map_type! {
    /// The results of inputs, in their order: [`ProcessPool::map`].
    PoolMap, Requests::Ordered(FuturesOrdered::new()), "twice as many as all workers have at once"
}

map_type! {
    /// The results of inputs as they come, each with the number of its input: [`ProcessPool::map_unordered`].
    UnorderedPoolMap, Requests::Unordered(FuturesUnordered::new()), "as many as all workers have at once"
}

impl<S> Stream for PoolMap<S>
where
    S: Stream,
    S::Item: Into<Message>,
{
    type Item = Outcome;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let next = self.get_mut().0.poll_next(cx);
        next.map(|next| next.map(|(_, outcome)| outcome))
    }
}

impl<S> Stream for UnorderedPoolMap<S>
where
    S: Stream,
    S::Item: Into<Message>,
{
    type Item = (u64, Outcome);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(u64, Outcome)>> {
        self.get_mut().0.poll_next(cx)
    }
}
