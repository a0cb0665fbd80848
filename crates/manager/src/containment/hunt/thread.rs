//! The thread that scans for all hunts of a manager.
//!
//! ```text
//!  hunt, signal ──► new ──due──► scan ──► a round for each ──► done: the waiter is told
//!                    ▲                          │
//!                    └──────── the others ◄─────┘
//! ```
//!
//! It is started when there is something to do and ends when it is idle. An urgent hunt is due at
//! once, and so is one that becomes urgent; the others wait until the thread has rested four times as
//! long as the last scan took, so that it uses a fifth of one processor at most. Whatever is there when it scans gets a round.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::{Hunt, extinguish, signal_all};
use crate::containment::scan::{Root, Scanner, Snapshot};
use crate::containment::{Group, Tag, Tree};

const IDLE: Duration = Duration::from_secs(5);
const MAX_REST: Duration = Duration::from_millis(200);

/// Hunts the trees of a manager. A cheap handle; the thread ends some time after the last one is
/// dropped, when its hunts are done.
#[derive(Debug, Clone)]
pub(crate) struct Hunter {
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

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

/// Jobs are as many as processes that are ending, and signals that are waited for.
#[derive(Debug, Default)]
struct State {
    new: Vec<Job>,
    running: bool,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
enum Job {
    Hunt {
        hunt: Hunt,
        urgent: bool,
        done: oneshot::Sender<u32>,
    },
    Signal {
        tag: Tag,
        root: Option<Root>,
        signal: Signal,
        done: oneshot::Sender<io::Result<u32>>,
    },
    /// From now on the hunt for this tree is urgent.
    Hurry { tag: Tag },
}

impl Job {
    fn urgent(&self) -> bool {
        match self {
            Self::Hunt { urgent, .. } => *urgent,
            Self::Signal { .. } | Self::Hurry { .. } => true,
        }
    }

    fn hurry(&mut self, wanted: Tag) {
        if let Self::Hunt { hunt, urgent, .. } = self {
            *urgent |= hunt.tag == wanted;
        }
    }

    /// Gives itself back if it is to go on.
    fn round(self, scan: &io::Result<Snapshot>) -> Option<Self> {
        match self {
            Self::Hunt {
                mut hunt,
                urgent,
                done,
            } => match hunt.round(scan.as_ref()) {
                None => Some(Self::Hunt { hunt, urgent, done }),
                Some(outcome) => {
                    let _ = done.send(outcome.killed);
                    None
                }
            },
            Self::Signal {
                tag,
                root,
                signal,
                done,
            } => {
                let _ = done.send(match scan {
                    Ok(snapshot) => signal_all(snapshot, tag, root.as_ref(), signal),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                });
                None
            }
            Self::Hurry { .. } => None,
        }
    }
}

impl Hunter {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        Self {
            _alive: Arc::new(Alive(Arc::clone(&shared))),
            shared,
        }
    }

    /// SIGKILLs the whole tree, and what is in its cgroup, until two scans in a row found nothing alive of it. Resolves with
    /// how many processes other than the root were killed.
    ///
    /// What was started while it looked is found by the next round. It gives up after about ten
    /// seconds in which nothing more was killed and nothing went, and warns of it; what may not be
    /// signalled is left alone. Without `urgent` a scan may wait for up to 200 ms.
    ///
    /// Cancel safe: once polled, the hunt goes on without its waiter.
    pub(crate) async fn hunt(&self, tree: Tree, group: Option<Arc<Group>>, urgent: bool) -> u32 {
        let (done, outcome) = oneshot::channel();
        let hunt = Hunt::new(tree.clone(), group.clone());
        match self.push(Job::Hunt { hunt, urgent, done }) {
            Ok(()) => outcome.await.unwrap_or(0),
            Err(error) => {
                // Better late than never: the runtime's thread has to do.
                tracing::warn!(%error, "no thread to hunt processes");
                extinguish(tree, group)
            }
        }
    }

    /// Sends `signal` once to each process of the tree, by one scan. Resolves with how many got it,
    /// the root among them; fails if there was something and none of it got the signal.
    ///
    /// Cancel safe: once polled, the signals are sent.
    pub(crate) async fn signal(&self, tree: Tree, signal: Signal) -> io::Result<u32> {
        let (done, outcome) = oneshot::channel();
        self.push(Job::Signal {
            tag: tree.tag,
            root: tree.root,
            signal,
            done,
        })?;
        let lost = |_| io::Error::other("the thread that sends signals panicked");
        outcome.await.map_err(lost)?
    }

    /// Makes the hunt for this tree urgent, if there is one.
    pub(crate) fn hurry(&self, tag: Tag) {
        // Without a thread there is no hunt.
        let _ = self.push(Job::Hurry { tag });
    }

    /// Gone when the thread and all handles are.
    #[cfg(test)]
    pub(super) fn shared(&self) -> std::sync::Weak<impl Sized + use<>> {
        Arc::downgrade(&self.shared)
    }

    /// Fails only if there is no thread and none can be started.
    fn push(&self, job: Job) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.new.push(job);
        if state.running {
            self.shared.wake.notify_one();
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("procession-hunt".into());
        match thread.spawn(move || Thread::new(shared).work()) {
            Ok(_) => state.running = true,
            Err(error) => {
                state.new.pop();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// While it is there, the thread runs.
struct Thread {
    shared: Arc<Shared>,
    scanner: Scanner,
    jobs: Vec<Job>,
    scanned: Instant,
    took: Duration,
}

impl Thread {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            scanner: Scanner::default(),
            jobs: Vec::new(),
            scanned: Instant::now(),
            took: Duration::ZERO,
        }
    }

    fn work(&mut self) {
        while self.wait() {
            let begun = Instant::now();
            let scan = self.scanner.scan();
            self.scanned = Instant::now();
            self.took = self.scanned - begun;
            let jobs = std::mem::take(&mut self.jobs);
            self.jobs = jobs
                .into_iter()
                .filter_map(|job| job.round(&scan))
                .collect();
        }
    }

    /// Waits until a scan is due. False when there was nothing to do for long; from then on the
    /// thread counts as ended.
    fn wait(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            let at_once = state.new.iter().any(Job::urgent);
            let to_do = !(state.new.is_empty() && self.jobs.is_empty());
            let rest = if to_do { self.rest() } else { IDLE };
            let rest = rest.saturating_sub(self.scanned.elapsed());
            if to_do && (at_once || rest.is_zero()) {
                for job in state.new.drain(..) {
                    if let Job::Hurry { tag } = job {
                        self.jobs.iter_mut().for_each(|job| job.hurry(tag));
                    } else {
                        self.jobs.push(job);
                    }
                }
                return true;
            }
            if !to_do && (state.closed || rest.is_zero()) {
                state.running = false;
                return false;
            }
            let woken = shared.wake.wait_timeout(state, rest);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How long to rest after the last scan.
    fn rest(&self) -> Duration {
        let slow = (4 * self.took).min(MAX_REST);
        let own = |job: &Job| match job {
            Job::Hunt { hunt, urgent, .. } => match (hunt.rest(), urgent) {
                (rest, false) => rest.max(slow),
                (Duration::ZERO, true) => Duration::ZERO,
                (rest, true) => rest.max(self.took),
            },
            Job::Signal { .. } | Job::Hurry { .. } => Duration::ZERO,
        };
        self.jobs.iter().map(own).min().unwrap_or(slow)
    }
}

impl Drop for Thread {
    /// Also after a panic: the next job then gets a new thread.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.lock().running = false;
        }
    }
}
