//! Pools: many workers that serve requests, as if they were one.
//!
//! ```text
//!                      ┌────────────── Shared ──────────────┐
//!  request() ── turn ──┤  Dispatch (pure), where each        ├── orders ──► driver ──► a task for each worker
//!     │                │  request is, whom to wake           │                             │
//!     │                └─────────────────────────────────────┘◄── ready, failed, ended ────┘
//!     └── asks the worker that it is given, by itself ──► the worker's conversation
//! ```
//!
//! The decisions are those of [`Dispatch`](crate::supervision::dispatch), taken under one lock by whoever has something
//! to tell. A request is sent, and its reply taken in, by the caller's own task: the pool costs it two steps of the
//! machine and no task in between.

mod builder;
mod driver;
mod error;
mod events;
mod map;
mod request;
mod shared;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::sync::Arc;

use futures_core::Stream;
use procession_wire::Message;
#[cfg(any(feature = "json", feature = "message-pack"))]
use {
    procession_wire::MessageFormat,
    serde::{Serialize, de::DeserializeOwned},
};

pub use self::builder::ProcessPoolBuilder;
pub use self::error::{PoolNotReady, PoolRequestError, RequestName, StartPoolError};
pub use self::events::{PoolEvent, PoolEventStream};
pub use self::map::{MapMonitor, MapProgress, PoolMap, UnorderedPoolMap};
pub use self::request::PoolRequestOptions;
pub use crate::supervision::dispatch::{
    MAX_WORKERS, PoolStats, WhenFull, WorkerState, WorkerStats,
};

use self::builder::Workers;
use self::shared::Shared;
use crate::error::ManagerError;
#[cfg(any(feature = "json", feature = "message-pack"))]
use crate::error::RequestError;
use crate::model::{Cmd, Runnable};
use crate::supervision::dispatch::{Input, PoolRules};

/// Makes the worker of a number.
type Make = dyn Fn(u64) -> Box<dyn Runnable> + Send + Sync;

/// A pool of workers that serve requests: children that speak frames, in any language. Clones are cheap, and are the
/// same pool.
///
/// Each request goes to the worker that has least to do, or waits in a bounded queue. A worker that ends takes only its
/// own requests with it, and is replaced. What becomes of these, and how many workers there are, is said by the
/// [builder](ProcessPoolBuilder) and by [`PoolRequestOptions`].
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use procession_manager::{Cmd, PoolRequestOptions, ProcessManager, ProcessPool};
///
/// let manager = ProcessManager::in_temp()?;
/// let pool = ProcessPool::builder(Cmd::new("python3").arg("worker.py"))
///     .size(2..=4)
///     .recycle_after_requests(10_000)
///     .start(&manager)?;
///
/// let page = pool.request("https://example.org").await?;
/// let twice = PoolRequestOptions::new().tries(2);
/// let other = pool.request_with("https://example.com", twice).await?;
/// # let _ = (page, other);
/// pool.drain().await?;
/// manager.shutdown().await?;
/// # Ok(()) }
/// ```
///
/// The pool keeps its manager alive. When the last clone is dropped, it is [aborted](Self::abort): its workers are
/// killed.
#[derive(Clone)]
pub struct ProcessPool(Arc<Owner>);

struct Owner {
    shared: Arc<Shared>,
    rules: PoolRules,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.step(Input::Abort);
    }
}

impl ProcessPool {
    /// Describes a pool whose workers run this command, which is started as often as there are workers.
    ///
    /// Without [messaging](Cmd::messaging) it gets named pipes and frames, and where its stderr has no use it is
    /// [logged](Cmd::logging), so that errors have a worker's last words. A worker takes requests from its hello on, or
    /// from when it is [ready](Cmd::ready_when), if the command says what shows that.
    pub fn builder(worker: Cmd) -> ProcessPoolBuilder {
        ProcessPoolBuilder::new(Workers::Command(Box::new(worker)))
    }

    /// The same for workers that differ, or that are no plain command: called with the number of each worker that is
    /// started, counted from 0 and never used twice. They have to speak frames both ways.
    pub fn builder_with<F, R>(make: F) -> ProcessPoolBuilder
    where
        F: Fn(u64) -> R + Send + Sync + 'static,
        R: Runnable,
    {
        let make = move |worker| Box::new(make(worker)) as Box<dyn Runnable>;
        ProcessPoolBuilder::new(Workers::Made(Arc::new(make)))
    }

    /// Waits until as many workers are ready as there are to be at least. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`PoolNotReady`]: none can be started, with the reason of the last one, or the pool has ended.
    pub async fn ready(&self) -> Result<(), PoolNotReady> {
        self.0.shared.ready().await
    }

    /// Asks a worker, and resolves with its reply.
    ///
    /// It is sent once, and may take as long as the pool lives, unless the
    /// [builder](ProcessPoolBuilder::request_options) or [`request_with`](Self::request_with) says otherwise.
    ///
    /// Cancel safety: dropped, the request leaves the queue, or its worker is told to cancel; a worker that goes on is
    /// replaced after the [grace](ProcessPoolBuilder::cancel_grace).
    ///
    /// # Errors
    ///
    /// [`PoolRequestError`].
    pub async fn request(&self, message: impl Into<Message>) -> Result<Message, PoolRequestError> {
        request::request(&self.0.shared, message.into(), &self.0.shared.options).await
    }

    /// Asks a worker, with options for this request. Otherwise as [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// [`PoolRequestError`].
    pub async fn request_with(
        &self,
        message: impl Into<Message>,
        options: PoolRequestOptions,
    ) -> Result<Message, PoolRequestError> {
        request::request(&self.0.shared, message.into(), &options).await
    }

    /// Asks a worker with a value, and resolves with the value that it replies. Otherwise as
    /// [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// [`PoolRequestError`].
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub async fn request_as<Req: Serialize + ?Sized, Resp: DeserializeOwned>(
        &self,
        request: &Req,
        format: &MessageFormat,
    ) -> Result<Resp, PoolRequestError> {
        let options = self.0.shared.options.clone();
        self.request_as_with(request, format, options).await
    }

    /// Asks a worker with a value for a value, with options for this request.
    ///
    /// # Errors
    ///
    /// [`PoolRequestError`].
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub async fn request_as_with<Req: Serialize + ?Sized, Resp: DeserializeOwned>(
        &self,
        request: &Req,
        format: &MessageFormat,
        options: PoolRequestOptions,
    ) -> Result<Resp, PoolRequestError> {
        let message = Message::from_serializable(request, format).map_err(|error| {
            PoolRequestError::Request(RequestError::CannotSerialize(error.to_string()))
        })?;
        let reply = self.request_with(message, options).await?;
        reply.deserialize(format).map_err(|error| {
            PoolRequestError::Request(RequestError::CannotDeserialize(error.to_string()))
        })
    }

    /// Asks for each input of a stream: a stream of results, in the order of the inputs.
    ///
    /// So many inputs are under way at once, see [`PoolMap::limit`], and the next is taken when one of them has its
    /// result: memory does not depend on how many there are. Where results are not taken, no more inputs are. An input
    /// that fails is one error item, and the stream goes on. Dropped, what is under way is cancelled.
    ///
    /// ```no_run
    /// # async fn run(pool: procession_manager::ProcessPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::{StreamExt, stream};
    ///
    /// let files = stream::iter(["a.png", "b.png", "c.png"]);
    /// let mut results = pool.map(files);
    /// let monitor = results.monitor();
    /// while let Some(result) = results.next().await {
    ///     println!("{:?}; {}", result?, monitor.progress());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn map<S>(&self, inputs: S) -> PoolMap<S>
    where
        S: Stream,
        S::Item: Into<Message>,
    {
        PoolMap::new(self, inputs)
    }

    /// The same, with each result as it comes and the number of its input, counted from 0: no result waits for a slower
    /// one.
    pub fn map_unordered<S>(&self, inputs: S) -> UnorderedPoolMap<S>
    where
        S: Stream,
        S::Item: Into<Message>,
    {
        UnorderedPoolMap::new(self, inputs)
    }

    /// Takes no more requests, finishes those there are, and stops the workers with the manager's grace. Resolves when
    /// nothing of the pool is left. Of a pool that has ended, at once.
    ///
    /// Cancel safe: once this was polled, it is carried out.
    ///
    /// # Errors
    ///
    /// [`ManagerError::NotEnded`]: workers were killed and do not end.
    pub async fn drain(&self) -> Result<(), ManagerError> {
        self.0.shared.step(Input::Drain);
        self.0.shared.wait_for_the_end().await
    }

    /// Ends the pool now: requests that are open fail, and the workers are killed. Resolves when nothing of the pool is
    /// left.
    ///
    /// Cancel safe: once this was polled, it is carried out.
    ///
    /// # Errors
    ///
    /// As [`drain`](Self::drain).
    pub async fn abort(&self) -> Result<(), ManagerError> {
        self.0.shared.step(Input::Abort);
        self.0.shared.wait_for_the_end().await
    }

    /// What the pool has done so far. Answered at once.
    pub fn stats(&self) -> PoolStats {
        self.0.shared.stats()
    }

    /// Its workers that have not ended, with what each has done, in the order of their numbers. Answered at once.
    pub fn workers(&self) -> Vec<WorkerStats> {
        self.0.shared.workers()
    }

    /// What happens in it from now on; the first listener gets all that has happened since the start.
    pub fn events(&self) -> PoolEventStream {
        PoolEventStream {
            listener: self.0.shared.listen(),
        }
    }
}

impl fmt::Debug for ProcessPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPool")
            .field("rules", &format_args!("{}", self.0.rules))
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
