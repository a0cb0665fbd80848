//! How a pool is described.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use procession_wire::Framing;

use super::driver::Driver;
use super::shared::Shared;
use super::{Make, Owner, PoolRequestOptions, ProcessPool, StartPoolError};
use crate::handle::ProcessManagerHandle;
use crate::model::{Cmd, Logging, Messaging, Output, Runnable};
use crate::supervision::dispatch::{MAX_WORKERS, PoolRules, WhenFull};

/// A worker that is replaced sooner has no time to serve.
const LEAST_AGE: Duration = Duration::from_millis(10);

/// What the workers are.
pub(super) enum Workers {
    Command(Box<Cmd>),
    Made(Arc<Make>),
}

/// Describes a [`ProcessPool`]: [`ProcessPool::builder`].
#[must_use]
pub struct ProcessPoolBuilder {
    workers: Workers,
    size: RangeInclusive<usize>,
    rules: PoolRules,
    options: PoolRequestOptions,
    memory_limit: Option<u64>,
    seed: Option<u64>,
}

impl ProcessPoolBuilder {
    pub(super) fn new(workers: Workers) -> Self {
        Self {
            workers,
            size: 1..=available_workers(),
            rules: PoolRules::default(),
            options: PoolRequestOptions::new(),
            memory_limit: None,
            seed: None,
        }
    }

    /// How many workers there are at least and at most. Those above the least are started under load, and ended when
    /// they have been [idle](Self::idle_after). From 1 to as many as there are processors to run on
    /// ([`std::thread::available_parallelism`]), unless set.
    ///
    /// While a worker is recycled there may be one more. A most above
    /// [`MAX_WORKERS`](crate::MAX_WORKERS) counts as that, so `1..=usize::MAX` is as many as the
    /// load asks for.
    pub fn size(mut self, workers: RangeInclusive<usize>) -> Self {
        self.size = workers;
        self
    }

    /// How many requests a worker has at once, at least one; 1 unless set. More only for workers that serve several
    /// at a time, or to save each the way to and from a worker that serves small requests one after the other.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.rules = self.rules.in_flight(requests);
        self
    }

    /// How many requests may wait for a worker, at least one, and what becomes of more; 1,024, and their callers
    /// [wait](WhenFull::Wait), unless set. What is tried again always has a place, in front.
    pub fn queue(mut self, requests: usize, when_full: WhenFull) -> Self {
        self.rules = self.rules.queue(requests, when_full);
        self
    }

    /// How requests are treated that do not say it themselves.
    pub fn request_options(mut self, options: PoolRequestOptions) -> Self {
        self.options = options;
        self
    }

    /// How long a worker above the least number may have nothing to do before it is stopped; 30 s unless set.
    pub fn idle_after(mut self, time: Duration) -> Self {
        self.rules = self.rules.idle_after(time);
        self
    }

    /// How many workers may die while one and the same request is all they have, at least one, before that is given
    /// up as [poisonous](crate::PoolRequestError::Poisonous), whatever tries it has left; 3 unless set.
    ///
    /// A request whose worker died is from then on sent to a worker that has nothing else, so that it takes no other
    /// request with it.
    pub fn poison_after(mut self, workers: u32) -> Self {
        self.rules = self.rules.poison_after(workers);
        self
    }

    /// How long a start waits after a worker that could not be started, or ended before it answered anything: a random
    /// time of up to `first`, doubled with each failure up to `longest`, until one answers. 100 ms and 10 s unless set.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.rules = self.rules.backoff(first, longest);
        self
    }

    /// How many starts in a row may fail, at least one, before a pool without a ready worker is
    /// [broken](crate::PoolEvent::Broken): its requests then fail until one is ready. 5 unless set.
    pub fn start_failures(mut self, starts: u32) -> Self {
        self.rules = self.rules.start_failures(starts);
        self
    }

    /// How long a worker may go on with a request that was cancelled or timed out, before it is killed and replaced;
    /// 1 s unless set. Other requests that it has are sent to another worker if they have
    /// [tries](PoolRequestOptions::tries), without one of these being used up.
    pub fn cancel_grace(mut self, time: Duration) -> Self {
        self.rules = self.rules.cancel_grace(time);
        self
    }

    /// Replaces a worker that has answered this many requests, at least one; none is replaced for that unless set. Its
    /// replacement is ready before it is stopped, and it answers what it has.
    pub fn recycle_after_requests(mut self, requests: u64) -> Self {
        self.rules = self.rules.recycle_after_requests(requests);
        self
    }

    /// The same for one that has been ready for this long, which should be much longer than a start
    /// takes and is at least 10 ms.
    pub fn recycle_after_age(mut self, age: Duration) -> Self {
        self.rules = self.rules.recycle_after_age(age);
        self
    }

    /// The same for one that holds more than this many bytes of memory: the resident set of its process (`VmRSS`,
    /// `proc_pid_status(5)`), without what that has started. It is looked at once a second. At
    /// least 1.
    pub fn recycle_over_memory(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Where the random waits before starts begin, so that they come the same again. Random unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts the pool on this manager. Requests can be made at once: they wait for the workers, which are started
    /// side by side. [`ready`](ProcessPool::ready) waits for them.
    ///
    /// # Errors
    ///
    /// [`StartPoolError`]: the command, or the size, cannot be, or the manager has ended.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(self, manager: &ProcessManagerHandle) -> Result<ProcessPool, StartPoolError> {
        if manager.is_gone() {
            return Err(StartPoolError::ManagerCommunicationError);
        }
        let (min, max) = (*self.size.start(), *self.size.end());
        if max == 0 || max < min || min > MAX_WORKERS {
            return Err(StartPoolError::InvalidSize { min, max });
        }
        let too_small = |setting, least| Err(StartPoolError::TooSmall { setting, least });
        if self.rules.worker_age().is_some_and(|age| age < LEAST_AGE) {
            return too_small("recycle_after_age", "10 ms");
        }
        if self.memory_limit == Some(0) {
            return too_small("recycle_over_memory", "1 byte");
        }
        let make = match self.workers {
            Workers::Made(make) => make,
            Workers::Command(cmd) => {
                let cmd = checked(*cmd)?;
                Arc::new(move |_| Box::new(cmd.clone()) as Box<dyn Runnable>)
            }
        };
        let rules = self.rules.size(self.size);
        let shared = Arc::new(Shared::new(rules, self.options, self.seed));
        let driver = Driver {
            shared: Arc::clone(&shared),
            manager: manager.clone(),
            make,
            memory_limit: self.memory_limit,
        };
        tokio::spawn(driver.run());
        Ok(ProcessPool(Arc::new(Owner { shared, rules })))
    }
}

/// The command of a worker, if it is one.
fn checked(cmd: Cmd) -> Result<Cmd, StartPoolError> {
    let program = cmd.program().to_string_lossy().into_owned();
    let cmd = if cmd.messaging_options().is_none() {
        cmd.messaging(Messaging::named_pipes().framing(Framing::Frames))
    } else {
        cmd
    };
    let is_heard = cmd.logging_options().is_some() || *cmd.stderr_target() != Output::Null;
    let cmd = if is_heard {
        cmd
    } else {
        cmd.logging(Logging::stderr())
    };
    if !cmd
        .messaging_options()
        .is_some_and(Messaging::takes_requests)
    {
        return Err(StartPoolError::NoFrames { program });
    }
    if cmd.supervision().is_some() {
        return Err(StartPoolError::Supervised { program });
    }
    match cmd.validate() {
        Ok(()) => Ok(cmd),
        Err(source) => Err(StartPoolError::InvalidConfiguration { program, source }),
    }
}

fn available_workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl fmt::Debug for ProcessPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ProcessPoolBuilder");
        if let Workers::Command(cmd) = &self.workers {
            out.field("workers", cmd);
        }
        out.field("size", &self.size)
            .field("rules", &format_args!("{}", self.rules))
            .finish_non_exhaustive()
    }
}
