//! Signals to all of a tree, each process once.
//!
//! ```text
//!  who is in which group ──► the group of the root, at once ──► scan ──► those who were not in it, one by one
//! ```
//!
//! A scan takes long where there are many processes, and most trees stay in one group. So a stop tells
//! the group first, by the pidfd of its leader, which never means another group of the same number. What is
//! in which group is looked up just before that: the scan shows who has left the group, but not when. So
//! nobody gets the signal twice, and what was not there yet at that look does not get it at all.
//!
//! Before Linux 6.9 no group can be signalled so, and all of them get it one by one.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::Signal;

use super::{Sent, send};
use crate::containment::scan::{Groups, Root, Seen, Snapshot};
use crate::containment::{Tag, Tree};

/// A signal that all of a tree is to get.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) tag: Tag,
    root: Option<Root>,
    signal: Signal,
    /// Who was in which group just before that of the root got the signal, if it did.
    before: Option<Arc<Groups>>,
}

impl Ask {
    pub(super) fn new(tree: Tree, signal: Signal) -> Self {
        Self {
            tag: tree.tag,
            root: tree.root,
            signal,
            before: None,
        }
    }

    /// Sends it to the group of the root, if that can be done. `now` is who is in which group at this moment.
    pub(super) fn tell_group(&mut self, now: &Arc<Groups>) -> bool {
        let root = self.root.as_ref();
        let told = root.is_some_and(|root| root.send_to_group(self.signal).is_ok());
        if told {
            self.before = Some(Arc::clone(now));
        }
        told
    }

    /// Sends it to all others. Says how many got it by this, or why none did.
    pub(super) fn tell_others(&self, snapshot: &Snapshot) -> io::Result<u32> {
        let root = self.root.as_ref();
        let (mut count, mut refused) = (0, None);
        let members = snapshot.members(self.tag, root);
        for seen in members.into_iter().filter(|seen| self.is_due(seen)) {
            match send(snapshot, seen, root, self.signal) {
                Sent::Yes => count += 1,
                Sent::Gone => {}
                Sent::Denied => refused = Some(Errno::PERM.into()),
                Sent::Failed(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if count == 0 => Err(error),
            _ => Ok(count),
        }
    }

    /// Whether it was there and in another group when the group got the signal.
    fn is_due(&self, seen: &Seen) -> bool {
        match (&self.before, &self.root) {
            (Some(before), Some(root)) => before
                .of(seen.pid)
                .is_some_and(|group| group != root.pid.as_raw_pid()),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
