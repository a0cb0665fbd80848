//! Threads for what blocks: starting processes, and removing their directories.
//!
//! Starting a process blocks its thread for about a millisecond, and preparing one runs a user's
//! code, so neither happens on the runtime's threads, and neither competes for its blocking ones.
//! Threads are started as they are needed, up to [`MAX_THREADS`], and end when idle. Starts may
//! hang for ever (on a dead file system), so that there are as many threads more as there may be
//! [starts](MAX_STARTS).
//!
//! ```text
//!  job ──► queue ──► an idle thread, or a new one while there are few
//!            │
//!            └─ all are busy ──► the watcher: if none begins a job for a while, there will be twice as many
//! ```
//!
//! More starts at a time than there are processors win nothing: their threads would only take the
//! processors from each other, and memory. But one that is slow must not delay the rest.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

const MAX_THREADS: usize = 32;
/// As many starts run, wait for a thread, or hang at a time; further ones wait for a place.
pub(crate) const MAX_STARTS: usize = 256;
/// Where all threads are busy, and none has begun a job for so long, they block.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same where there are [`MAX_THREADS`] and more.
const LONG_PATIENCE: Duration = Duration::from_millis(500);
/// Jobs that run or wait; further callers wait for a place.
const MAX_JOBS: usize = 1024;
const IDLE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the threads; they end when the last one is dropped and the jobs are done.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

#[derive(Debug)]
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
        self.0.watch.notify_all();
    }
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Tells the watcher that there is something to watch.
    watch: Condvar,
    places: Semaphore,
    /// As many threads are started without waiting.
    eager: usize,
    /// And so many at most.
    most: usize,
    patience: Duration,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Without the watcher.
    threads: usize,
    idle: usize,
    /// Jobs that were ever begun.
    begun: u64,
    watcher: Watcher,
    closed: bool,
}

#[derive(Default, PartialEq, Eq)]
enum Watcher {
    #[default]
    None,
    /// Nothing waits for a thread.
    Idle,
    Watching,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("jobs", &self.jobs.len())
            .field("threads", &self.threads)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that a job that has just been queued gets a thread. Fails only if there is none and none
    /// can be started.
    fn serve(self: &Arc<Self>, queue: &mut Queue) -> io::Result<()> {
        if queue.idle >= queue.jobs.len() {
            self.wake.notify_one();
        } else if queue.threads < self.eager {
            match self.start(work) {
                Ok(()) => queue.threads += 1,
                Err(error) if queue.threads == 0 => return Err(error),
                // The threads that there are will come to it.
                Err(_) => self.wake.notify_one(),
            }
        } else {
            self.watch_over(queue);
        }
        Ok(())
    }

    fn watch_over(self: &Arc<Self>, queue: &mut Queue) {
        match queue.watcher {
            Watcher::Idle => self.watch.notify_one(),
            Watcher::None if self.eager < self.most && self.start(watch).is_ok() => {
                queue.watcher = Watcher::Watching;
            }
            Watcher::None | Watcher::Watching => {}
        }
    }

    fn start(self: &Arc<Self>, run: fn(&Arc<Self>)) -> io::Result<()> {
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("procession".into());
        thread.spawn(move || run(&shared)).map(drop)
    }
}

impl Pool {
    /// For jobs that mostly wait: for each there is a thread at once.
    pub(crate) fn new() -> Self {
        Self::with(MAX_THREADS, MAX_THREADS, PATIENCE)
    }

    /// For starting processes.
    pub(crate) fn for_starts() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let eager = (2 * processors).min(MAX_THREADS);
        Self::with(eager, MAX_STARTS + MAX_THREADS, PATIENCE)
    }

    fn with(eager: usize, most: usize, patience: Duration) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            watch: Condvar::new(),
            places: Semaphore::new(MAX_JOBS),
            eager,
            most,
            patience,
        });
        Self {
            _alive: Arc::new(Alive(Arc::clone(&shared))),
            shared,
        }
    }

    /// Runs `job` on one of the threads and resolves with what it returned.
    ///
    /// Once this has been polled past the wait for a place the job runs to its end, even if the
    /// future is dropped. Fails only if there is no thread and none can be started.
    pub(crate) async fn run<T, F>(&self, job: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if let Ok(place) = self.shared.places.acquire().await {
            place.forget();
        }
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let queued = self.push(Box::new(move || {
            // The job's own panics are caught where they can be explained.
            let result = catch_unwind(AssertUnwindSafe(job));
            shared.places.add_permits(1);
            if let Ok(result) = result {
                let _ = sender.send(result);
            }
        }));
        if let Err(error) = queued {
            self.shared.places.add_permits(1);
            return Err(error);
        }
        receiver
            .await
            .map_err(|_| io::Error::other("a job of the process manager panicked"))
    }

    fn push(&self, job: Job) -> io::Result<()> {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(job);
        let served = self.shared.serve(&mut queue);
        if served.is_err() {
            queue.jobs.pop_back();
        }
        served
    }
}

/// Watches over jobs that wait.
fn watch(shared: &Arc<Shared>) {
    let mut queue = shared.lock();
    loop {
        let (begun, waits) = (queue.begun, !queue.jobs.is_empty());
        let time = if waits {
            queue.watcher = Watcher::Watching;
            if queue.threads < MAX_THREADS {
                shared.patience
            } else {
                LONG_PATIENCE
            }
        } else {
            queue.watcher = Watcher::Idle;
            IDLE
        };
        if queue.closed && !waits {
            queue.watcher = Watcher::None;
            return;
        }
        let woken = shared.watch.wait_timeout(queue, time);
        let (woken, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        if !timeout.timed_out() || waits == queue.jobs.is_empty() {
            continue;
        }
        if !waits {
            queue.watcher = Watcher::None;
            return;
        }
        if queue.begun == begun {
            let more = queue.jobs.len().min(queue.threads).max(1);
            for _ in queue.threads..shared.most.min(queue.threads + more) {
                // Where none can be started, those that there are will come to it.
                queue.threads += usize::from(shared.start(work).is_ok());
            }
        }
    }
}

fn work(shared: &Arc<Shared>) {
    let mut queue = shared.lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            queue.begun += 1;
            drop(queue);
            job();
            queue = shared.lock();
            continue;
        }
        if queue.closed {
            break;
        }
        queue.idle += 1;
        let (woken, timeout) = shared
            .wake
            .wait_timeout(queue, IDLE)
            .unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        queue.idle -= 1;
        if timeout.timed_out() && queue.jobs.is_empty() {
            break;
        }
    }
    queue.threads -= 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn a_job_that_blocks_does_not_delay_the_next() {
        let pool = Pool::new();
        let (release, blocked) = channel::<()>();
        let slow = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || blocked.recv().is_ok()).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(pool.run(|| 2).await.expect("runs"), 2);
        release.send(()).expect("still waiting");
        assert!(slow.await.expect("no panic").expect("runs"));
    }

    #[tokio::test]
    async fn jobs_that_block_get_more_threads() {
        let pool = Pool::with(2, MAX_THREADS, Duration::from_millis(1));
        let mut held = Vec::new();
        for _ in 0..8 {
            let (release, blocked) = channel::<()>();
            let pool = pool.clone();
            let slow = tokio::spawn(async move { pool.run(move || blocked.recv().is_ok()).await });
            held.push((release, slow));
        }
        tokio::task::yield_now().await;
        assert_eq!(pool.run(|| 2).await.expect("runs"), 2);
        for (release, slow) in held {
            release.send(()).expect("still waiting");
            assert!(slow.await.expect("no panic").expect("runs"));
        }
        // The watcher ends with the pool too.
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        while shared.upgrade().is_some() {
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn jobs_that_do_not_block_share_a_few_threads() {
        let pool = Pool::with(2, MAX_THREADS, Duration::from_hours(1));
        let jobs = (0..200).map(|number| pool.run(move || number));
        let done = futures::future::join_all(jobs).await;
        for (number, done) in done.into_iter().enumerate() {
            assert_eq!(done.expect("runs"), number);
        }
        let queue = pool.shared.lock();
        assert!(queue.threads <= 2, "{queue:?}");
        assert_eq!(queue.begun, 200);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_lives() {
        let pool = Pool::new();
        pool.run(|| panic!("on purpose"))
            .await
            .expect_err("panicked");
        assert_eq!(pool.run(|| 1).await.expect("runs"), 1);
    }

    #[tokio::test]
    async fn threads_end_with_the_pool() {
        let pool = Pool::with(1, MAX_THREADS, Duration::from_millis(1));
        let (alive, ended) = channel::<()>();
        pool.run(move || {
            thread_local!(static HELD: std::cell::RefCell<Option<std::sync::mpsc::Sender<()>>> = const { std::cell::RefCell::new(None) });
            HELD.with(|held| *held.borrow_mut() = Some(alive));
        })
        .await
        .expect("runs");
        drop(pool);
        // The thread's own storage goes when it ends, and with it the only sender.
        ended.recv().expect_err("nothing is ever sent");
    }
}
