//! Sweeping: what dead managers left in a working directory is killed and removed.
//!
//! A directory is taken for a dead manager's only if its name is a UUID, it belongs to this user,
//! it holds our marker, a plain file with that same UUID, and its lock can be taken: a manager that
//! is alive has the lock, whatever became of the lock file of the working directory. No link is
//! followed on the way. What belongs to anybody else is left alone, and so is what cannot be killed
//! or removed, with a word about it.
//!
//! Private working directories are found by their names in the directory for temporary files, which
//! may be large and full of other users' files: in the background, and bounded in time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use procession_wire::{Escaped, env::PROCESSION_TREE};
use uuid::Uuid;

use super::hunt::{Hunt, Outcome, extinguish_all};
use super::scan::tags_of;
use super::{Group, Tag, Tree};
use crate::run_dir::{
    CGROUP, Deadline, Directory, LockedDir, REMOVAL, manager_of_private, read_own, remove_half_made,
};

/// `PATH_MAX`, and a newline.
const LONGEST_PATH: u64 = 4097;

/// How long taking away private working directories may take.
const TEMPORARY: Duration = Duration::from_secs(10);

/// How many directories are open at a time.
const FEW: usize = 32;

/// What a dead manager left, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    manager: Uuid,
    directory: PathBuf,
    killed: u32,
    problem: Option<String>,
}

impl Swept {
    /// The identity of the dead manager.
    pub fn manager(&self) -> Uuid {
        self.manager
    }

    /// Its directory: gone, unless there was a [problem](Self::problem).
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many of its processes were still alive, and were killed.
    pub fn killed(&self) -> u32 {
        self.killed
    }

    /// Why something was left, where it was.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

impl std::fmt::Display for Swept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            manager, killed, ..
        } = self;
        let directory = Escaped::new(&self.directory);
        write!(
            f,
            "what the dead manager {manager} had left in {directory} was swept, {killed} processes killed"
        )?;
        match &self.problem {
            Some(problem) => write!(f, "; something is left: {}", Escaped::new(problem)),
            None => Ok(()),
        }
    }
}

/// Takes away every directory directly in `root` that a dead manager left, but `own`, after killing
/// what carries that manager's tag.
///
/// Blocking; removing takes [`REMOVAL`] at most. A `root` that cannot be read has nothing in it.
pub(crate) fn sweep(root: &Path, own: Uuid) -> Vec<Swept> {
    sweep_all(root, Kind::Own, Some(own), Deadline::after(REMOVAL))
}

/// Takes away the private working directories that dead managers left in `temporary`, the directory
/// for temporary files, after killing what carries their tags.
///
/// Blocking, and begins nothing more after [`TEMPORARY`]. Opens nothing there but directories that
/// are named as such directories are.
pub(crate) fn sweep_temporary(temporary: &Path) -> Vec<Swept> {
    sweep_all(temporary, Kind::Private, None, Deadline::after(TEMPORARY))
}

fn sweep_all(place: &Path, kind: Kind, own: Option<Uuid>, deadline: Deadline) -> Vec<Swept> {
    let Ok(entries) = fs::read_dir(place) else {
        return Vec::new();
    };
    let entries = entries.flatten().take_while(|_| !deadline.is_past());
    let mut dead = entries.filter_map(|entry| {
        let name = entry.file_name();
        match kind.manager_of(name.to_str()?) {
            Some(manager) if Some(manager) != own => kind.dead(manager, entry.path()),
            Some(_) => None,
            None => {
                remove_half_made(&entry.path());
                None
            }
        }
    });
    let mut swept = Vec::new();
    loop {
        let few: Vec<_> = dead.by_ref().take(FEW).collect();
        if few.is_empty() {
            return swept;
        }
        swept.extend(take_away(few, deadline));
    }
}

/// The directories that a manager leaves.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The manager's own directory, in a working directory.
    Own,
    /// A private working directory, which has the manager's own directory in it.
    Private,
}

impl Kind {
    /// The manager of a directory of this name.
    fn manager_of(self, name: &str) -> Option<Uuid> {
        match self {
            Self::Own => {
                let manager = Uuid::try_parse(name).ok()?;
                (manager.to_string() == name).then_some(manager)
            }
            Self::Private => manager_of_private(name),
        }
    }

    fn dead(self, manager: Uuid, path: PathBuf) -> Option<Dead> {
        let dir = LockedDir::of_dead(path, manager)?;
        let group = match self {
            Self::Own => group_of(&dir.directory, manager),
            Self::Private if dir.has_locked() => return None,
            Self::Private => {
                let own = dir.directory.open_in(Path::new(&manager.to_string()));
                own.ok().and_then(|own| group_of(&own, manager))
            }
        };
        Some(Dead {
            manager,
            dir,
            group: group.map(Arc::new),
        })
    }
}

/// The directory that a dead manager left, locked, and the manager's cgroup.
struct Dead {
    manager: Uuid,
    dir: LockedDir,
    group: Option<Arc<Group>>,
}

/// Kills what is left of these managers, and removes their directories.
fn take_away(left: Vec<Dead>, deadline: Deadline) -> Vec<Swept> {
    // This program may itself be what a dead manager left.
    let tags = own_tags();
    let (ours, left): (Vec<_>, Vec<_>) = left
        .into_iter()
        .partition(|dead| tags.contains(&Tag::Manager(dead.manager)));
    let hunts = left.iter().map(|dead| {
        let tree = Tree {
            tag: Tag::Manager(dead.manager),
            root: None,
            known: Vec::new(),
        };
        Hunt::new(tree, dead.group.clone())
    });
    let outcomes = extinguish_all(hunts);
    let kept = ours.iter().map(|dead| {
        let problem = "this program belongs to that manager itself".to_owned();
        (dead, 0, Some(problem))
    });
    left.iter()
        .zip(outcomes)
        .map(|(dead, outcome)| (dead, outcome.killed, remove(dead, &outcome, deadline)))
        .chain(kept)
        .map(|(dead, killed, problem)| Swept {
            manager: dead.manager,
            directory: dead.dir.path().to_owned(),
            killed,
            problem,
        })
        .collect()
}

fn own_tags() -> Vec<Tag> {
    use std::os::unix::ffi::OsStrExt;
    let list = std::env::var_os(PROCESSION_TREE).unwrap_or_default();
    tags_of(&[PROCESSION_TREE.as_bytes(), b"=", list.as_bytes()].concat())
}

/// The cgroup that it has recorded in its directory. Only a record of our own user's counts.
fn group_of(directory: &Directory, manager: Uuid) -> Option<Group> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut text = read_own(directory, CGROUP, LONGEST_PATH)?;
    if text.pop() != Some(b'\n') {
        return None;
    }
    Group::left_by(manager, Path::new(&std::ffi::OsString::from_vec(text)))
}

/// Removes the directory; says why it is still there. While something of it is alive it stays, for
/// the next manager to try again.
fn remove(dead: &Dead, outcome: &Outcome, deadline: Deadline) -> Option<String> {
    if let Some(left) = outcome.left() {
        return Some(format!("not all of its processes end: {left}"));
    }
    // First, since the directory has the record of it.
    if let Some(group) = &dead.group
        && let Err(error) = group.remove()
    {
        return Some(format!("cgroup {}: {error}", group.path().display()));
    }
    let removed = dead.dir.remove(deadline);
    removed.err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests;
