//! Sweeping: what dead managers left in a working directory is killed and removed.
//!
//! For whoever holds the lock of the directory, so that no other manager in it is alive. A directory
//! is taken for a manager's only if its name is a UUID and it holds our marker, a plain file with that
//! same UUID; no link is followed on the way. What belongs to anybody else is left alone, and so is
//! what cannot be killed or removed, with a word about it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use procession_wire::{Escaped, env::PROCESSION_TREE};
use rustix::fs::{Mode, OFlags, open, openat};
use uuid::Uuid;

use super::hunt::{Hunt, Outcome, extinguish_all};
use super::scan::tags_of;
use super::{Group, Tag, Tree};
use crate::run_dir::{CGROUP, MARKER};

/// `PATH_MAX`, and a newline.
const LONGEST_PATH: u64 = 4097;

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
/// Blocking. A `root` that cannot be read has nothing in it.
pub(crate) fn sweep(root: &Path, own: Uuid) -> Vec<Swept> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let left: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((named(entry.file_name().to_str()?)?, entry.path())))
        .filter(|(manager, path)| *manager != own && is_marked(path, *manager))
        .collect();
    // This program may itself be what a dead manager left.
    let tags = own_tags();
    let (ours, left): (Vec<_>, Vec<_>) = left
        .into_iter()
        .partition(|(manager, _)| tags.contains(&Tag::Manager(*manager)));
    let kept = ours.into_iter().map(|(manager, directory)| Swept {
        manager,
        directory,
        killed: 0,
        problem: Some("this program belongs to that manager itself".to_owned()),
    });
    let groups: Vec<_> = left
        .iter()
        .map(|(manager, path)| group_of(path, *manager).map(Arc::new))
        .collect();
    let hunts = left.iter().zip(&groups).map(|(&(manager, _), group)| {
        let tree = Tree {
            tag: Tag::Manager(manager),
            root: None,
            known: Vec::new(),
        };
        Hunt::new(tree, group.clone())
    });
    let outcomes = extinguish_all(hunts);
    let gone = left.into_iter().zip(outcomes).zip(groups);
    gone.map(|(((manager, directory), outcome), group)| Swept {
        manager,
        killed: outcome.killed,
        problem: remove(&directory, group.as_deref(), &outcome),
        directory,
    })
    .chain(kept)
    .collect()
}

fn own_tags() -> Vec<Tag> {
    use std::os::unix::ffi::OsStrExt;
    let list = std::env::var_os(PROCESSION_TREE).unwrap_or_default();
    tags_of(&[PROCESSION_TREE.as_bytes(), b"=", list.as_bytes()].concat())
}

/// The manager of a directory of this name.
fn named(name: &str) -> Option<Uuid> {
    let manager = Uuid::try_parse(name).ok()?;
    (manager.to_string() == name).then_some(manager)
}

/// Where the sticky bit keeps users apart, somebody else's directory is none of ours.
fn is_marked(directory: &Path, manager: Uuid) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let marked = format!("{manager}\n");
    read(directory, MARKER, 64)
        .is_some_and(|(owner, text)| owner == own && text == marked.as_bytes())
}

/// The cgroup that it has recorded in its directory. Only a record of our own user's counts.
fn group_of(directory: &Path, manager: Uuid) -> Option<Group> {
    use std::os::unix::ffi::OsStringExt as _;
    let (owner, mut text) = read(directory, CGROUP, LONGEST_PATH)?;
    if owner != rustix::process::geteuid().as_raw() || text.pop() != Some(b'\n') {
        return None;
    }
    Group::left_by(manager, Path::new(&std::ffi::OsString::from_vec(text)))
}

/// The owner and the start of a plain file, reached without following a link.
fn read(directory: &Path, name: &str, limit: u64) -> Option<(u32, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt as _;
    // A FIFO of this name must not be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = open(directory, flags | OFlags::DIRECTORY, Mode::empty())
        .and_then(|directory| openat(directory, name, flags, Mode::empty()))
        .map(File::from)
        .ok()?;
    let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
    let mut text = Vec::new();
    file.take(limit).read_to_end(&mut text).ok()?;
    Some((metadata.uid(), text))
}

/// Removes the directory, following no link; says why it is still there. While something of it is
/// alive it stays, for the next manager to try again.
fn remove(directory: &Path, group: Option<&Group>, outcome: &Outcome) -> Option<String> {
    if let Some(left) = outcome.left() {
        return Some(format!("not all of its processes end: {left}"));
    }
    // First, since the directory has the record of it.
    if let Some(group) = group
        && let Err(error) = group.remove()
    {
        return Some(format!("cgroup {}: {error}", group.path().display()));
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some(error.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
