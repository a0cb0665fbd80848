//! Hunting trees: look, kill, look again, until two looks in a row found nothing alive.
//!
//! ```text
//!  Hunting ──found some──► killed, idle = 0 ─┐
//!     ▲ ▲──────────────────────────────────◄─┘
//!     │ └──found what was killed before──► idle + 1 ──after PATIENCE──► given up
//!     └────found nothing──► quiet + 1 ──at two──► done
//! ```
//!
//! Signals go by `pidfd_send_signal(2)`, to a descriptor whose process was seen to have the scanned
//! start and tags: a number that was used again meanwhile is left alone. What may not be signalled
//! counts as not there, and is told of at the end as what does not go is: by its number, its name
//! and the reason.
//!
//! A hunt without progress is given up after 4 seconds, and any after 30: a tree that starts
//! processes faster than they are found is told of as left, too.
//!
//! Where the tree has a cgroup, each round kills that first, by its `cgroup.kill`, and the hunt goes on
//! until it is empty too. What was in it counts once, whichever way it was found.

mod ask;
mod thread;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::scan::{Identity, Root, Scanner, Seen, Snapshot};
use super::{Group, LeftProcess, List, Tag, Tree};

pub(crate) use thread::Hunter;

/// How long a hunt goes on without one more killed or gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// How long it goes on at all.
const LONGEST: Duration = Duration::from_secs(30);
/// So often is a scan looked at again only because something was in the midst of `execve(2)`.
const MAX_UNSETTLED: u32 = 10;
const MAX_REST: Duration = Duration::from_millis(50);

/// How a hunt ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Processes that were killed, each once, without the root.
    pub(crate) killed: u32,
    /// Processes that are there still: not to be signalled, or dead for SIGKILL too.
    pub(crate) left: Vec<LeftProcess>,
    /// Something else may be left: nobody could look, or the cgroup is not empty.
    pub(crate) unseen: Option<String>,
}

impl Outcome {
    /// Returns a text that names the processes left, and says why more may be left; `None` where
    /// nothing is left.
    pub(crate) fn left(&self) -> Option<String> {
        match (&self.unseen, self.left.as_slice()) {
            (None, []) => None,
            (None, left) => Some(List(left).to_string()),
            (Some(unseen), []) => Some(unseen.clone()),
            (Some(unseen), left) => Some(format!("{}; {unseen}", List(left))),
        }
    }
}

/// The hunt for one tree, from round to round.
#[derive(Debug)]
pub(super) struct Hunt {
    tag: Tag,
    root: Option<Root>,
    known: Vec<Identity>,
    group: Option<Arc<Group>>,
    /// What was seen in its cgroup.
    grouped: HashSet<Pid>,
    killed: u32,
    /// Killed, and not seen gone yet.
    dying: HashMap<Identity, Seen>,
    denied: HashMap<Identity, Seen>,
    quiet: u32,
    idle: u32,
    unsettled: u32,
    /// The time of the hunt's first round.
    begun: Option<Instant>,
    /// When something was last killed or went.
    progress: Instant,
}

impl Hunt {
    pub(super) fn new(tree: Tree, group: Option<Arc<Group>>) -> Self {
        Self {
            tag: tree.tag,
            root: tree.root,
            known: tree.known,
            group,
            grouped: HashSet::new(),
            killed: 0,
            dying: HashMap::new(),
            denied: HashMap::new(),
            quiet: 0,
            idle: 0,
            unsettled: 0,
            begun: None,
            progress: Instant::now(),
        }
    }

    /// One round, over what a scan has shown or why there is none. Done when it says how it ended.
    pub(super) fn round(
        &mut self,
        scan: Result<&Snapshot, &io::Error>,
        now: Instant,
    ) -> Option<Outcome> {
        if self.begun.is_none() {
            self.begun = Some(now);
            self.progress = now;
        }
        let (grouped, mut progress) = self.kill_group(scan.ok());
        let snapshot = match scan {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.kill_by_number();
                return self
                    .no_progress(now, Some(format!("cannot look at all processes: {error}")));
            }
        };
        let before = self.dying.len();
        let own_root = self.root.as_ref();
        // A number that was given back may be somebody else's by now, with the same start.
        let reaped = own_root
            .filter(|root| !root.is_unreaped())
            .map(|root| root.pid);
        self.dying
            .retain(|_, seen| Some(seen.pid) != reaped && snapshot.lives(seen));
        progress |= self.dying.len() < before;
        let mut found = self.dying.len() + usize::from(grouped);
        let root = self.root.as_ref().and_then(|root| snapshot.root(root));
        let root = root.map(Seen::identity);
        for seen in snapshot.members_of(self.tag, self.root.as_ref(), &self.known) {
            let identity = seen.identity();
            if self.denied.contains_key(&identity) {
                continue;
            }
            if self.dying.contains_key(&identity) {
                // It takes long: it may be another one, with the number of the one that was killed.
                if self.idle > 0 {
                    let _ = send(snapshot, seen, self.root.as_ref(), Signal::KILL);
                }
                continue;
            }
            match send(snapshot, seen, self.root.as_ref(), Signal::KILL) {
                Sent::Yes => {
                    self.dying.insert(identity, seen.clone());
                    let new = root != Some(identity) && !self.grouped.contains(&seen.pid);
                    self.killed += u32::from(new);
                    progress = true;
                }
                Sent::Gone => {}
                Sent::Denied => {
                    self.denied.insert(identity, seen.clone());
                    continue;
                }
                Sent::Failed(error) => {
                    tracing::debug!(pid = seen.pid.as_raw_pid(), %error, "cannot kill a process yet");
                }
            }
            found += 1;
        }
        if found > 0 {
            self.quiet = 0;
            let begun = self.begun.unwrap_or(now);
            if progress && now.saturating_duration_since(begun) < LONGEST {
                self.idle = 0;
                self.progress = now;
                return None;
            }
            let unseen =
                progress.then(|| "it starts processes faster than they are killed".to_owned());
            return self.no_progress(now, unseen);
        }
        self.idle = 0;
        if snapshot.unsettled && self.unsettled < MAX_UNSETTLED {
            self.unsettled += 1;
            self.quiet = 0;
            return None;
        }
        self.quiet += 1;
        (self.quiet == 2).then(|| {
            self.denied.retain(|_, seen| snapshot.lives(seen));
            self.outcome(None)
        })
    }

    /// Kills and counts what is in the cgroup, but not what was ending by itself. Gives whether there was
    /// anything, and anything new.
    fn kill_group(&mut self, snapshot: Option<&Snapshot>) -> (bool, bool) {
        let Some(group) = &self.group else {
            return (false, false);
        };
        if !group.is_populated() {
            return (false, false);
        }
        let mut new = false;
        for pid in group.pids() {
            if self.grouped.insert(pid) {
                new = true;
                let is_root = self.root.as_ref().is_some_and(|root| root.pid == pid);
                let ending = snapshot.is_some_and(|snapshot| snapshot.is_ending(pid));
                self.killed += u32::from(!is_root && !ending);
            }
        }
        if let Err(error) = group.kill() {
            tracing::debug!(cgroup = %group.path().display(), %error, "cannot kill a cgroup yet");
        }
        (true, new)
    }

    fn outcome(&self, unseen: Option<String>) -> Outcome {
        let denied = self.denied.values().map(|seen| (seen, true));
        let dying = self.dying.values().map(|seen| (seen, false));
        let left = denied.chain(dying);
        let mut left: Vec<_> = left
            .filter_map(|(seen, denied)| LeftProcess::look(seen.pid, denied))
            .collect();
        if self.has_group_left() {
            let pids = self.group.iter().flat_map(|group| group.pids());
            left.extend(pids.filter_map(|pid| LeftProcess::look(pid, false)));
        }
        left.sort_unstable_by_key(LeftProcess::pid);
        left.dedup_by_key(|left| left.pid());
        let crowd = || {
            let path = self.group.as_ref()?.path().display();
            let is_hidden = left.is_empty() && self.has_group_left();
            is_hidden.then(|| format!("the cgroup {path} is not empty"))
        };
        let unseen = unseen.or_else(crowd);
        let outcome = Outcome {
            killed: self.killed,
            left,
            unseen,
        };
        if let Some(left) = outcome.left() {
            tracing::warn!(tree = ?self.tag, killed = self.killed, left, "gave up hunting processes");
        }
        outcome
    }

    fn has_group_left(&self) -> bool {
        self.group
            .as_ref()
            .is_some_and(|group| group.is_populated())
    }

    /// Kills what needs no descriptor: the group of the root, while its number is its own.
    fn kill_by_number(&self) {
        if let Some(root) = &self.root
            && root.is_unreaped()
        {
            let _ = kill_process_group(root.pid, Signal::KILL);
        }
    }

    /// Goes on for as long as it has patience. `unseen`: why more may be left than is known.
    fn no_progress(&mut self, now: Instant, unseen: Option<String>) -> Option<Outcome> {
        self.idle += 1;
        let begun = self.begun.unwrap_or(now);
        let is_over = now.saturating_duration_since(self.progress) >= PATIENCE
            || now.saturating_duration_since(begun) >= LONGEST;
        is_over.then(|| self.outcome(unseen))
    }

    /// Whether the last look found nothing.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet > 0
    }

    /// How long it is good to rest before the next round: there is nothing to be told by, and what
    /// was killed takes a moment to go. The first look may come at once, and so may the second where nothing
    /// was found.
    pub(super) fn rest(&self) -> Duration {
        if self.begun.is_none() || self.quiet > 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(1 << self.idle.min(6)).min(MAX_REST)
    }
}

/// What came of a signal.
#[derive(Debug)]
pub(super) enum Sent {
    Yes,
    Gone,
    Denied,
    Failed(io::Error),
}

/// Sends a signal to the process that was seen, and to no other of its number; to the root only by the
/// descriptor that has always been its own.
pub(super) fn send(snapshot: &Snapshot, seen: &Seen, root: Option<&Root>, signal: Signal) -> Sent {
    if let Some(root) = root.filter(|root| root.pid == seen.pid) {
        return sent(root.send(signal));
    }
    let pidfd = match pidfd_open(seen.pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Sent::Gone,
        Err(error) => return Sent::Failed(error.into()),
    };
    match snapshot.is_still(seen) {
        Ok(true) => {}
        Ok(false) => return Sent::Gone,
        Err(error) => return Sent::Failed(error),
    }
    sent(pidfd_send_signal(pidfd, signal))
}

fn sent(result: Result<(), Errno>) -> Sent {
    match result {
        Ok(()) => Sent::Yes,
        Err(Errno::SRCH) => Sent::Gone,
        Err(Errno::PERM) => Sent::Denied,
        Err(error) => Sent::Failed(error.into()),
    }
}

/// SIGKILLs a whole tree, and what is in its cgroup, on the calling thread, without a runtime.
///
/// Blocks for two scans at least, a few milliseconds; gives up after 4 seconds in which nothing
/// more was killed and nothing went, and after 30 seconds whatever went.
pub(crate) fn extinguish(tree: Tree, group: Option<Arc<Group>>) -> Outcome {
    let outcomes = extinguish_all([Hunt::new(tree, group)]);
    outcomes.into_iter().next().unwrap_or_default()
}

/// The same for many trees, by the same scans.
pub(super) fn extinguish_all(hunts: impl IntoIterator<Item = Hunt>) -> Vec<Outcome> {
    let mut hunts: Vec<_> = hunts.into_iter().map(|hunt| (hunt, None)).collect();
    let mut scanner = Scanner::default();
    loop {
        let snapshot = scanner.scan();
        let mut rest = None;
        for (hunt, outcome) in hunts.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            *outcome = hunt.round(snapshot.as_ref(), Instant::now());
            if outcome.is_none() {
                rest = rest.into_iter().chain([hunt.rest()]).min();
            }
        }
        let Some(rest) = rest else { break };
        std::thread::sleep(rest);
    }
    hunts
        .into_iter()
        .filter_map(|(_, outcome)| outcome)
        .collect()
}

#[cfg(test)]
mod tests;
