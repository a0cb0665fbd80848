//! Hunting trees: look, kill, look again, until two looks in a row found nothing alive.
//!
//! ```text
//!  Hunting ──found some──► killed, idle = 0 ─┐
//!     ▲ ▲──────────────────────────────────◄─┘
//!     │ └──found what was killed before, or cannot be──► idle + 1 ──at the limit──► given up
//!     └────found nothing──► quiet + 1 ──at two──► done
//! ```
//!
//! Signals go by `pidfd_send_signal(2)`, to a descriptor whose process was seen to have the scanned
//! start and tags: a number that was used again meanwhile is left alone. What may not be signalled counts as
//! not there, and is told by `tracing`.
//!
//! Where the tree has a cgroup, each round kills that first, by its `cgroup.kill`, and the hunt goes on
//! until it is empty too. What was in it counts once, whichever way it was found.

mod ask;
mod thread;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::scan::{Identity, Root, Scanner, Seen, Snapshot};
use super::{Group, Tag, Tree};

pub(crate) use thread::Hunter;

/// So many rounds in a row without one more killed or gone: about ten seconds.
const MAX_IDLE: u32 = 200;
/// So often is a scan looked at again only because something was in the midst of `execve(2)`.
const MAX_UNSETTLED: u32 = 10;
const MAX_REST: Duration = Duration::from_millis(50);

/// How a hunt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Processes that were killed, each once, without the root.
    pub(super) killed: u32,
    /// Processes that are there still: not to be signalled, or dead for SIGKILL too.
    pub(super) left: usize,
}

/// The hunt for one tree, from round to round.
#[derive(Debug)]
pub(super) struct Hunt {
    tag: Tag,
    root: Option<Root>,
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
    /// It has had a round.
    begun: bool,
}

impl Hunt {
    pub(super) fn new(tree: Tree, group: Option<Arc<Group>>) -> Self {
        Self {
            tag: tree.tag,
            root: tree.root,
            group,
            grouped: HashSet::new(),
            killed: 0,
            dying: HashMap::new(),
            denied: HashMap::new(),
            quiet: 0,
            idle: 0,
            unsettled: 0,
            begun: false,
        }
    }

    /// One round, over what a scan has shown or why there is none. Done when it says how it ended.
    pub(super) fn round(&mut self, scan: Result<&Snapshot, &io::Error>) -> Option<Outcome> {
        self.begun = true;
        let (grouped, mut progress) = self.kill_group(scan.ok());
        let snapshot = match scan {
            Ok(snapshot) => snapshot,
            Err(error) => return self.no_progress(&format_args!("cannot look: {error}")),
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
        for seen in snapshot.members(self.tag, self.root.as_ref()) {
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
                    tracing::warn!(
                        pid = seen.pid.as_raw_pid(),
                        "may not kill a process that belongs to one of ours: it is left alone"
                    );
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
            if progress {
                self.idle = 0;
                return None;
            }
            return self.no_progress(&"they do not go");
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
            self.outcome()
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

    fn outcome(&self) -> Outcome {
        Outcome {
            killed: self.killed,
            left: self.dying.len() + self.denied.len() + usize::from(self.has_group_left()),
        }
    }

    fn has_group_left(&self) -> bool {
        self.group
            .as_ref()
            .is_some_and(|group| group.is_populated())
    }

    /// The last resort is what needs no descriptor: the group of the root, while its number is its
    /// own.
    fn no_progress(&mut self, why: &dyn std::fmt::Display) -> Option<Outcome> {
        self.idle += 1;
        if self.idle < MAX_IDLE {
            return None;
        }
        tracing::warn!(tree = ?self.tag, killed = self.killed, left = self.dying.len(), reason = %why, "gave up hunting processes");
        if let Some(root) = &self.root
            && root.is_unreaped()
        {
            let _ = kill_process_group(root.pid, Signal::KILL);
        }
        Some(self.outcome())
    }

    /// Whether the last look found nothing.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet > 0
    }

    /// How long it is good to rest before the next round: there is nothing to be told by, and what
    /// was killed takes a moment to go. The first look may come at once, and so may the second where nothing
    /// was found.
    pub(super) fn rest(&self) -> Duration {
        if !self.begun || self.quiet > 0 {
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

/// SIGKILLs a whole tree, and what is in its cgroup, on the calling thread, without a runtime. Says how many processes other than
/// the root were killed.
///
/// Blocks for two scans at least, a few milliseconds; gives up after about ten seconds in which nothing
/// more was killed and nothing went.
pub(crate) fn extinguish(tree: Tree, group: Option<Arc<Group>>) -> u32 {
    let outcomes = extinguish_all([Hunt::new(tree, group)]);
    outcomes.first().map_or(0, |outcome| outcome.killed)
}

/// The same for many trees, by the same scans.
pub(super) fn extinguish_all(hunts: impl IntoIterator<Item = Hunt>) -> Vec<Outcome> {
    let mut hunts: Vec<_> = hunts.into_iter().map(|hunt| (hunt, None)).collect();
    let mut scanner = Scanner::default();
    loop {
        let snapshot = scanner.scan();
        let mut rest = None;
        for (hunt, outcome) in hunts.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            *outcome = hunt.round(snapshot.as_ref());
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
