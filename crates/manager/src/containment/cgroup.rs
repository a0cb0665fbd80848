//! Trees in cgroups of their own (cgroup v2), which no process can leave by what it does to itself.
//!
//! ```text
//! <delegated>/procession-<manager uuid>/                  of a manager; holds no process itself
//! <delegated>/procession-<manager uuid>/<process uuid>/   of one process and all that it starts
//!
//!  spawn:  shell starts ──► stops itself ──► the parent moves it ──► SIGCONT ──► becomes the program
//!  end:    `cgroup.kill` ──► `populated 0` in `cgroup.events` ──► rmdir, children first
//! ```
//!
//! The parent moves the child, with its own rights: a child of another user may not write
//! `cgroup.procs` of the common ancestor, which the kernel asks for, and a descriptor that was opened
//! before would have to go through the child. What fails is an error of the spawn, and the program does
//! not run.
//!
//! Sources: cgroups(7); the kernel's `Documentation/admin-guide/cgroup-v2.rst`, "Core Interface
//! Files", "Delegation" and "Memory Interface Files".

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use uuid::Uuid;

/// `CGROUP2_SUPER_MAGIC`, `statfs(2)`.
const MAGIC: i128 = 0x6367_7270;
/// Put before the script of the shell that becomes the program: it waits to be moved.
pub(crate) const WAIT_TO_BE_MOVED: &str = "command kill -STOP $$ || exit 126\n";

/// A cgroup that we have made. Removed when dropped, if nothing lives in it.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// The path of a manager's cgroup in `delegated`, if that is a cgroup v2 directory.
    pub(crate) fn path_in(delegated: &Path, manager: Uuid) -> io::Result<PathBuf> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cgroup directory {}: {error}", delegated.display()),
            )
        };
        let real = delegated.canonicalize().map_err(named)?;
        if !is_cgroup(&real).map_err(named)? {
            let text = format!(
                "cgroup directory {}: it is not in a cgroup v2 file system; `findmnt -t cgroup2` shows where that is mounted",
                delegated.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(real.join(name_of(manager)))
    }

    /// Makes a manager's cgroup at its [path](Self::path_in).
    pub(crate) fn of_manager(path: PathBuf) -> io::Result<Self> {
        let delegated = path.parent().unwrap_or(&path).display().to_string();
        fs::create_dir(&path).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!(
                    "cgroup directory {delegated}: cannot make a cgroup in it: {error}; it must be delegated to this user (`Delegate=yes` of a systemd unit, or `chown` of the directory, its cgroup.procs and its cgroup.subtree_control)"
                ),
            )
        })?;
        let group = Self { path };
        if !group.path.join("cgroup.kill").exists() {
            let text = format!(
                "cgroup directory {delegated}: its cgroups have no `cgroup.kill`; that needs Linux 5.14"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        group.account_for_memory();
        Ok(group)
    }

    /// Where the memory controller is passed on to us we pass it on to each process.
    fn account_for_memory(&self) {
        let controllers = self.read("cgroup.controllers").unwrap_or_default();
        if controllers.split_whitespace().any(|name| name == "memory")
            && let Err(error) = self.write("cgroup.subtree_control", "+memory")
        {
            tracing::debug!(cgroup = %self.path.display(), %error, "no memory figures from cgroups");
        }
    }

    /// Makes a cgroup in this one.
    pub(crate) fn child(&self, name: impl std::fmt::Display) -> io::Result<Self> {
        let path = self.path.join(name.to_string());
        match fs::create_dir(&path) {
            Ok(()) => Ok(Self { path }),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("cannot make the cgroup {}: {error}", path.display()),
            )),
        }
    }

    /// The cgroup that a dead manager has recorded as its own, if it is there.
    pub(super) fn left_by(manager: Uuid, recorded: &Path) -> Option<Self> {
        let named = recorded
            .file_name()
            .is_some_and(|name| name == &*name_of(manager));
        let real = recorded.canonicalize().ok()?;
        // Not made before it is known to be one: its drop removes.
        (named && real == recorded && is_cgroup(&real).ok()?).then(|| Self { path: real })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a child in that waits for it (see [`WAIT_TO_BE_MOVED`]), and lets it go on.
    ///
    /// Blocks until the child has stopped. On failure it is still stopped, or has ended.
    pub(crate) fn take_in(&self, pid: Pid, pidfd: BorrowedFd<'_>) -> io::Result<()> {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = loop {
            match waitid(WaitId::PidFd(pidfd), options) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        if !status.is_some_and(|status| status.stopped()) {
            return Err(io::Error::other(format!(
                "its shell has ended before it was in the cgroup {}",
                self.path.display()
            )));
        }
        let number = pid.as_raw_pid().to_string();
        self.write("cgroup.procs", &number).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!(
                    "cannot move it to the cgroup {}: {error}; the cgroup.procs of the closest cgroup above both must be writable (cgroups(7), delegation)",
                    self.path.display()
                ),
            )
        })?;
        Ok(pidfd_send_signal(pidfd, Signal::CONT)?)
    }

    /// SIGKILL to everything in it and below it, what is just being forked included.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match self.write("cgroup.kill", "1") {
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }

    /// Whether anything but zombies is in it or below it. Where that cannot be read it counts as so.
    pub(super) fn is_populated(&self) -> bool {
        match self.read("cgroup.events") {
            Ok(text) => count(&text, "populated") != Some(0),
            Err(error) => !is_gone(&error),
        }
    }

    /// What is in it and below it, without zombies, as far as it can be seen from here.
    pub(super) fn pids(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        let mut ahead = vec![self.path.clone()];
        while let Some(path) = ahead.pop() {
            let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            found.extend(pids_of(&text));
            ahead.extend(directories(&path));
        }
        found
    }

    /// The most memory that it has used at once, in bytes: `memory.peak`, Linux 5.19, where the
    /// controller is on.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        self.read("memory.peak").ok()?.trim().parse().ok()
    }

    /// Whether the kernel has killed something in it, or below it, for want of memory.
    pub(crate) fn had_oom_kill(&self) -> bool {
        let events = self.read("memory.events").unwrap_or_default();
        count(&events, "oom_kill").is_some_and(|times| times > 0)
    }

    /// Removes it, and what is below it first. Fails with `EBUSY` while something lives in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.path)
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.path.join(file))
    }

    /// In one `write(2)`; the file is never made.
    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        use std::io::Write as _;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .open(self.path.join(file))?;
        file.write_all(text.as_bytes())
    }
}

impl Drop for Group {
    /// What still lives in it was to be left; the manager's end takes it.
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::debug!(cgroup = %self.path.display(), %error, "a cgroup stays for now");
        }
    }
}

fn name_of(manager: Uuid) -> String {
    format!("procession-{manager}")
}

fn is_cgroup(path: &Path) -> io::Result<bool> {
    Ok(i128::from(statfs(path)?.f_type) == MAGIC)
}

/// The directory is gone, or it went while its file was open.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// The numbers of `cgroup.procs`; 0 stands for what this PID namespace does not see.
fn pids_of(text: &str) -> impl Iterator<Item = Pid> {
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|number| *number > 0)
        .filter_map(Pid::from_raw)
}

/// The value of `key` in a flat-keyed file.
fn count(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(name, value)| (name == key).then(|| value.trim().parse().ok())?)
}

/// Follows no link: there is none in this file system.
fn directories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove(path: &Path) -> io::Result<()> {
    let mut all = vec![path.to_owned()];
    let mut next = 0;
    while let Some(path) = all.get(next) {
        all.extend(directories(path));
        next += 1;
    }
    // Each comes after the one that it is in.
    for path in all.iter().rev() {
        match fs::remove_dir(path) {
            Err(error) if !is_gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_keyed_files_are_read_by_whole_names() {
        let events = "low 0\nhigh 3\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(count(events, "oom_kill"), Some(1));
        assert_eq!(count(events, "oom"), Some(2));
        assert_eq!(count(events, "kill"), None);
        assert_eq!(count("populated 0\nfrozen 0\n", "populated"), Some(0));
        assert_eq!(count("populated x\n", "populated"), None);
        assert_eq!(count("", "populated"), None);
    }

    #[test]
    fn numbers_of_other_namespaces_are_passed_over() {
        let pids: Vec<_> = pids_of("12\n0\n-3\n\nx\n7\n")
            .map(Pid::as_raw_pid)
            .collect();
        assert_eq!(pids, [12, 7]);
    }

    #[test]
    fn what_is_no_cgroup_is_named_with_the_remedy() {
        let root = tempfile::tempdir().expect("a directory");
        let manager = Uuid::new_v4();
        let error = Group::path_in(root.path(), manager).expect_err("an ordinary directory");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let text = error.to_string();
        let path = root.path().display().to_string();
        assert!(text.contains(&path) && text.contains("findmnt"), "{text}");
        let missing = root.path().join("missing");
        let error = Group::path_in(&missing, manager).expect_err("not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("missing"), "{error}");
    }

    #[test]
    fn a_recorded_path_that_is_no_cgroup_of_that_manager_is_left_alone() {
        let root = tempfile::tempdir().expect("a directory");
        let manager = Uuid::new_v4();
        let path = root.path().join(name_of(manager));
        fs::create_dir(&path).expect("made");
        assert!(Group::left_by(manager, &path).is_none());
        assert!(Group::left_by(Uuid::new_v4(), &path).is_none());
        assert!(path.exists());
    }

    #[test]
    fn directories_go_children_first_and_files_stay() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("group");
        fs::create_dir_all(path.join("a/b")).expect("made");
        fs::create_dir_all(path.join("c")).expect("made");
        remove(&path).expect("removed");
        assert!(!path.exists());
        remove(&path).expect("as good");
        fs::create_dir_all(path.join("a")).expect("made");
        fs::write(path.join("a/file"), "").expect("written");
        remove(&path).expect_err("not empty");
    }
}
