//! The thread that scans for all hunts of a manager.
//!
//! ```text
//!  hunt, signal ──► new ──due──► scan ──► a round for each ──► done: the waiter is told
//!   ask ──► group ──►┘ ▲                        │
//!                      └──────── the others ◄───┘
//! ```
//!
//! It is started when there is something to do and ends when it is idle. What is urgent, or becomes so, waits
//! until the thread has rested as long as the last scan took: at once where there was none lately, and where
//! many processes end one after the other, their ends share a scan instead of competing with it. After
//! groups were told, that is over as soon as all their roots have ended. The
//! routine hunts wait for four times as long, so that these use a fifth of one processor at most. Whatever is there
//! when it scans gets a round.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::ask::Ask;
use super::{Hunt, Outcome, extinguish};
use crate::containment::scan::{Groups, Scanner, Snapshot};
use crate::containment::{Group, Tag, Tree};

const IDLE: Duration = Duration::from_secs(5);
const MAX_REST: Duration = Duration::from_millis(200);
/// A scan takes as long as so many looks at groups, about.
const LOOKS_A_SCAN: u32 = 8;
/// So often are groups told, as new ones come in meanwhile, before all else has its turn.
const PASSES: u32 = 8;

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
        hunt: Box<Hunt>,
        urgent: bool,
        done: oneshot::Sender<Outcome>,
    },
    Signal {
        ask: Ask,
        /// The group of the root is to be told before the scan.
        untold: bool,
        /// Who wants to know how many got it.
        done: Option<oneshot::Sender<io::Result<u32>>>,
    },
    /// From now on the hunt for this tree is urgent.
    Hurry { tag: Tag },
}

impl Job {
    fn hurry(&mut self, wanted: Tag) {
        if let Self::Hunt { hunt, urgent, .. } = self {
            *urgent |= hunt.tag == wanted;
        }
    }

    fn is_untold(&self) -> bool {
        matches!(self, Self::Signal { untold: true, .. })
    }

    /// Without a look nobody is told before the scan. Gives the tree whose group was told.
    fn tell_group(&mut self, now: Option<&Arc<Groups>>) -> Option<Tag> {
        let Self::Signal { ask, untold, .. } = self else {
            return None;
        };
        *untold = false;
        ask.tell_group(now?).then_some(ask.tag)
    }

    /// Gives itself back if it is to go on. It rests where its tree has just got a signal.
    fn round(self, scan: &io::Result<Snapshot>, signalled: &HashSet<Tag>) -> Option<Self> {
        let Self::Hunt {
            mut hunt,
            urgent,
            done,
        } = self
        else {
            return None;
        };
        if signalled.contains(&hunt.tag) {
            return Some(Self::Hunt { hunt, urgent, done });
        }
        match hunt.round(scan.as_ref(), Instant::now()) {
            None => Some(Self::Hunt { hunt, urgent, done }),
            Some(outcome) => {
                let _ = done.send(outcome);
                None
            }
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
    /// how many processes other than the root were killed, and what is left.
    ///
    /// The next round finds the processes that were started while a scan looked. The hunt gives up
    /// after 4 seconds in which nothing more was killed and nothing went, and after 30 seconds
    /// whatever went; it does not wait for processes that may not be signalled. Without `urgent` a
    /// scan may wait for up to 200 ms.
    ///
    /// Cancel safe: once polled, the hunt goes on without its waiter.
    pub(crate) async fn hunt(
        &self,
        tree: Tree,
        group: Option<Arc<Group>>,
        urgent: bool,
    ) -> Outcome {
        let (done, outcome) = oneshot::channel();
        let hunt = Box::new(Hunt::new(tree.clone(), group.clone()));
        match self.push(Job::Hunt { hunt, urgent, done }) {
            Ok(()) => outcome.await.unwrap_or_default(),
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
        let ask = Ask::new(tree, signal);
        self.push(Job::Signal {
            ask,
            untold: false,
            done: Some(done),
        })?;
        let lost = |_| io::Error::other("the thread that sends signals panicked");
        outcome.await.map_err(lost)?
    }

    /// Sends `signal` once to each process of the tree, and to the group of the root at once: without waiting
    /// for a scan, which takes long where there are many processes.
    pub(crate) fn ask(&self, tree: Tree, signal: Signal) {
        let job = Job::Signal {
            ask: Ask::new(tree, signal),
            untold: true,
            done: None,
        };
        if let Err(error) = self.push(job) {
            tracing::warn!(%error, "no thread to send a signal to a tree");
        }
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
    /// Groups were told since the last scan.
    has_told: bool,
    /// The trees of these whose roots are there still.
    told: HashSet<Tag>,
}

impl Thread {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            scanner: Scanner::default(),
            jobs: Vec::new(),
            scanned: Instant::now(),
            took: Duration::ZERO,
            has_told: false,
            told: HashSet::new(),
        }
    }

    fn work(&mut self) {
        while self.wait() {
            let begun = Instant::now();
            self.has_told = false;
            self.told.clear();
            let scan = self.scanner.scan();
            self.scanned = Instant::now();
            self.took = self.scanned - begun;
            self.round(&scan);
        }
    }

    /// All signals are sent before anything is hunted, and what got one has time to heed it.
    fn round(&mut self, scan: &io::Result<Snapshot>) {
        let mut signalled = HashSet::new();
        let mut hunts = Vec::with_capacity(self.jobs.len());
        for job in self.jobs.drain(..) {
            let Job::Signal { ask, done, .. } = job else {
                hunts.push(job);
                continue;
            };
            let sent = match scan {
                Ok(snapshot) => ask.tell_others(snapshot),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            if sent.as_ref().is_ok_and(|count| *count > 0) {
                signalled.insert(ask.tag);
            }
            if let Some(done) = done {
                let _ = done.send(sent);
            }
        }
        let rounds = hunts.into_iter();
        self.jobs = rounds
            .filter_map(|job| job.round(scan, &signalled))
            .collect();
    }

    /// Waits until a scan is due. False when there was nothing to do for long; from then on the
    /// thread counts as ended.
    fn wait(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let mut passes = 0;
        loop {
            self.take(&mut state.new);
            if passes < PASSES && self.jobs.iter().any(Job::is_untold) {
                passes += 1;
                drop(state);
                self.tell_groups();
                state = shared.lock();
                continue;
            }
            let to_do = !self.jobs.is_empty();
            let rest = if to_do { self.rest() } else { IDLE };
            let rest = rest.saturating_sub(self.scanned.elapsed());
            if to_do && rest.is_zero() {
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

    fn take(&mut self, new: &mut Vec<Job>) {
        for job in new.drain(..) {
            match &job {
                Job::Hurry { tag } => {
                    self.jobs.iter_mut().for_each(|job| job.hurry(*tag));
                    continue;
                }
                Job::Hunt { hunt, .. } => _ = self.told.remove(&hunt.tag),
                Job::Signal { .. } => {}
            }
            self.jobs.push(job);
        }
    }

    /// Most of what is told ends by that: it has about the time of a scan to do so, in which it would only
    /// be held up, and is not there to be looked at afterwards.
    fn tell_groups(&mut self) {
        let begun = Instant::now();
        let now = Groups::look().ok().map(Arc::new);
        self.took = self.took.max(LOOKS_A_SCAN * begun.elapsed());
        for job in self.jobs.iter_mut().filter(|job| job.is_untold()) {
            self.told.extend(job.tell_group(now.as_ref()));
        }
        self.has_told |= !self.told.is_empty();
        self.scanned = Instant::now();
    }

    /// How long to rest after the last scan.
    fn rest(&self) -> Duration {
        let soon = if self.has_told && self.told.is_empty() {
            Duration::ZERO
        } else {
            self.took.min(MAX_REST)
        };
        let slow = (4 * self.took).min(MAX_REST);
        let own = |job: &Job| match job {
            Job::Hunt { hunt, urgent, .. } => match urgent {
                false => hunt.rest().max(slow),
                true if hunt.is_quiet() => Duration::ZERO,
                true => hunt.rest().max(soon),
            },
            Job::Signal { .. } | Job::Hurry { .. } => soon,
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

#[cfg(test)]
mod tests;
