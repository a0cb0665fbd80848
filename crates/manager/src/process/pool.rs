//! Threads for what blocks: starting processes, and removing their directories.
//!
//! Starting a process blocks its thread for about a millisecond, and preparing one runs a user's
//! code, so neither happens on the runtime's threads, and neither competes for its blocking ones.
//! Threads are started as they are needed, up to [`MAX_THREADS`], and end when idle.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

/// More than two spawns at a time win nothing, but one slow preparation must not delay the rest.
const MAX_THREADS: usize = 32;
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
    }
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    places: Semaphore,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
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
}

impl Pool {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            places: Semaphore::new(MAX_JOBS),
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
        if queue.idle >= queue.jobs.len() {
            self.shared.wake.notify_one();
        } else if queue.threads < MAX_THREADS {
            let shared = Arc::clone(&self.shared);
            let started = thread::Builder::new()
                .name("procession".into())
                .spawn(move || work(&shared));
            match started {
                Ok(_) => queue.threads += 1,
                Err(error) if queue.threads == 0 => {
                    queue.jobs.pop_back();
                    return Err(error);
                }
                // The threads that there are will come to it.
                Err(_) => self.shared.wake.notify_one(),
            }
        }
        Ok(())
    }
}

fn work(shared: &Shared) {
    let mut queue = shared.lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
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
    async fn a_panic_is_an_error_and_the_thread_lives() {
        let pool = Pool::new();
        pool.run(|| panic!("on purpose"))
            .await
            .expect_err("panicked");
        assert_eq!(pool.run(|| 1).await.expect("runs"), 1);
    }

    #[tokio::test]
    async fn threads_end_with_the_pool() {
        let pool = Pool::new();
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
