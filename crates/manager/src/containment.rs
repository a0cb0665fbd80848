//! Nothing outlives what it belongs to: which processes are a tree, and how a tree ends.
//!
//! ```text
//!             /proc ──► scan ──► Snapshot ──► Hunt: who of it is of the tree ──► SIGKILL by pidfd
//!                        ▲                      │ until two scans in a row found nothing alive
//!                        └───────rest───────────┘
//!
//!  Hunter   hunts of a living manager: one thread, one scan for all hunts that are due
//!  Guard    a shell that hunts, and removes the directories, when the manager's process dies
//!  sweep    the next manager in the same working directory takes away what a dead one left
//! ```
//!
//! A child that cannot have started anything needs no hunt, and `forks` knows of short-lived ones.
//!
//! A process belongs to a tree if it has the tree's entry in its `PROCESSION_TREE`; if it is in the
//! process group of the tree's root; or if its chain of parents leads to one of these. What erases its
//! environment, leaves the group *and* loses its parent is not found, unless the tree has a cgroup of its
//! own: then whatever is in that belongs to it too.

mod cgroup;
mod children;
mod forks;
mod guard;
mod hunt;
mod left;
mod scan;
mod sweep;
#[cfg(test)]
mod testing;

use uuid::Uuid;

use crate::id::ProcessId;

pub(crate) use cgroup::{Group, WAIT_TO_BE_MOVED};
pub(crate) use children::children;
pub(crate) use forks::{childless, started};
pub(crate) use guard::Guard;
pub(crate) use hunt::{Hunter, Outcome, extinguish};
pub(crate) use left::List;
pub use left::{LeftProcess, LeftReason};
pub(crate) use scan::{Identity, Root};
pub use sweep::Swept;
pub(crate) use sweep::{sweep, sweep_temporary};

/// What a tree is known by in the list of `PROCESSION_TREE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Tag {
    /// Everything that this manager has started.
    Manager(Uuid),
    /// Everything that this process of this manager has started, in any of its runs, and itself.
    Process(Uuid, ProcessId),
}

/// Which processes.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// Those that have this in their environment, and their descendants.
    pub(crate) tag: Tag,
    /// A child of ours. Its process group and its descendants count too, for as long as it is there;
    /// a zombie is.
    pub(crate) root: Option<Root>,
    /// Known to be descendants of the root, which may have gone meanwhile.
    pub(crate) known: Vec<Identity>,
}
