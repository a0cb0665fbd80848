//! Sweeping: what dead managers left in a working directory is killed and removed.
//!
//! For whoever holds the lock of the directory, so that no other manager in it is alive. A directory
//! is taken for a manager's only if its name is a UUID and it holds our marker, a plain file with that
//! same UUID; no link is followed on the way. What belongs to anybody else is left alone, and so is
//! what cannot be killed or removed, with a word about it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use procession_wire::env::PROCESSION_TREE;
use rustix::fs::{Mode, OFlags, open, openat};
use uuid::Uuid;

use super::hunt::{Outcome, extinguish_all};
use super::scan::tags_of;
use super::{Tag, Tree};
use crate::run_dir::MARKER;

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
        let directory = self.directory.display();
        write!(
            f,
            "what the dead manager {manager} had left in {directory} was swept, {killed} processes killed"
        )?;
        match &self.problem {
            Some(problem) => write!(f, "; something is left: {problem}"),
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
    let trees = left.iter().map(|&(manager, _)| Tree {
        tag: Tag::Manager(manager),
        root: None,
    });
    let outcomes = extinguish_all(trees);
    let gone = left.into_iter().zip(outcomes);
    gone.map(|((manager, directory), outcome)| Swept {
        manager,
        killed: outcome.killed,
        problem: remove(&directory, outcome),
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

fn is_marked(directory: &Path, manager: Uuid) -> bool {
    // A FIFO of the marker's name must not be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let marker = open(directory, flags | OFlags::DIRECTORY, Mode::empty())
        .and_then(|directory| openat(directory, MARKER, flags, Mode::empty()))
        .map(File::from);
    let Ok(marker) = marker else { return false };
    let mut text = String::new();
    marker.metadata().is_ok_and(|marker| marker.is_file())
        && marker.take(64).read_to_string(&mut text).is_ok()
        && text == format!("{manager}\n")
}

/// Removes the directory, following no link; says why it is still there. While something of it is
/// alive it stays, for the next manager to try again.
fn remove(directory: &Path, outcome: Outcome) -> Option<String> {
    if outcome.left > 0 {
        return Some(format!(
            "{} of its processes could not be killed",
            outcome.left
        ));
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some(error.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
