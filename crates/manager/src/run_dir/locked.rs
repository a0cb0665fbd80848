//! Directories that are locked while their manager lives: its own, and a private working directory.
//!
//! ```text
//!  mkdir `.procession-<uuid>.new` ──► open ──► lock ──► marker ──► rename to its name
//! ```
//!
//! So a directory of the final name has its marker, and is locked from its first moment until its
//! manager is gone: who gets the lock has a dead manager's. A directory of the first name that is
//! not locked is one whose manager died in that moment; where it was alive, it makes another. One
//! that is removed has such a name again before it loses its marker.
//!
//! The lock is `flock(2)` on the directory itself, so it has no name that could be removed or
//! taken, and systemd-tmpfiles leaves what is in the directory alone, tmpfiles.d(5). It ends with
//! the last copy of the descriptor, which is close-on-exec: a child that is being started has a
//! copy until its program runs.

use std::ffi::CStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, CWD, FlockOperation, Stat, flock, fstat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;
use uuid::Uuid;

use super::directory::{Deadline, Directory, REMOVAL};
use super::private::{create_new, private_dir, set_mode};
use super::{CGROUP, MARKER, PASSABLE};

/// The beginning and the end of the name of a directory that is not locked yet.
const HALF_MADE: (&str, &str) = (".procession-", ".new");
/// How often one is made again that a sweep has taken away before it was locked.
const ATTEMPTS: usize = 8;
const LAST: &CStr = c".procession";

/// An open directory of ours, locked as long as this is there.
#[derive(Debug)]
pub(crate) struct LockedDir {
    pub(crate) directory: Directory,
    path: PathBuf,
}

impl LockedDir {
    /// Makes a directory of mode 0700 with the marker of this manager.
    fn make(path: &Path, id: Uuid) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
        for _ in 0..ATTEMPTS {
            let half = path.with_file_name(half_made());
            match Self::make_as(&half, path, id) {
                Ok(made) => return Ok(made),
                Err(error) => {
                    let _ = fs::remove_file(half.join(MARKER));
                    let _ = fs::remove_dir(&half);
                    match error.kind() {
                        // A sweep was quicker than the lock.
                        io::ErrorKind::NotFound | io::ErrorKind::WouldBlock => last = error,
                        _ => return Err(error),
                    }
                }
            }
        }
        Err(last)
    }

    fn make_as(half: &Path, path: &Path, id: Uuid) -> io::Result<Self> {
        private_dir(half)?;
        seam::step();
        let directory = Directory::open(half)?;
        seam::step();
        flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        seam::step();
        writeln!(create_new(&half.join(MARKER))?, "{id}")?;
        seam::step();
        fs::rename(half, path)?;
        seam::step();
        Ok(Self {
            directory,
            path: path.to_owned(),
        })
    }

    /// Opens a directory of this manager that is there already, and says whether it got the lock:
    /// another thread that has just made it has the lock otherwise.
    fn find(path: &Path, id: Uuid) -> io::Result<(Self, bool)> {
        let directory = Directory::open(path)?;
        if !is_ours(&directory) || !is_marked(&directory, id) {
            let text = "something else is in the place of the manager's directory: remove it";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let locked = flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok();
        let path = path.to_owned();
        Ok((Self { directory, path }, locked))
    }

    /// Locks a directory that a dead manager has left; `None` if it is somebody else's, or its
    /// manager is alive.
    pub(crate) fn of_dead(path: PathBuf, id: Uuid) -> Option<Self> {
        let directory = Directory::open(&path).ok()?;
        let dead = is_ours(&directory)
            && is_marked(&directory, id)
            && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok();
        dead.then_some(Self { directory, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a directory in it that is locked: a living manager's.
    pub(crate) fn has_locked(&self) -> bool {
        let is_locked = |path: PathBuf| {
            let lock = FlockOperation::NonBlockingLockExclusive;
            Directory::open(&path)
                .is_ok_and(|directory| matches!(flock(&directory, lock), Err(Errno::WOULDBLOCK)))
        };
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(is_locked)
    }

    /// Whether the directory has its name still.
    fn place(&self) -> io::Result<Place> {
        let there = match statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Place::Gone),
            other => other?,
        };
        let ours = fstat(&self.directory)?;
        let identity = |stat: &Stat| (stat.st_dev, stat.st_ino);
        Ok(if identity(&there) == identity(&ours) {
            Place::There
        } else {
            Place::Taken
        })
    }

    /// Removes it with all that is in it. Until nothing but the marker is left in it, it is known
    /// as a manager's; then it has the name of one that is not finished, and so is known by that.
    pub(crate) fn remove(&self, deadline: Deadline) -> io::Result<()> {
        let marker = Some(LAST);
        self.directory.remove_itself(&self.path, marker, deadline)?;
        seam::step();
        if !matches!(self.place()?, Place::There) {
            // Somebody has taken it away, or put something else in its place.
            return Ok(());
        }
        let half = self.path.with_file_name(half_made());
        match fs::rename(&self.path, &half) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        seam::step();
        Ok(self.directory.remove_itself(&half, None, deadline)?)
    }
}

enum Place {
    There,
    Gone,
    Taken,
}

/// The place of a directory that belongs to a living manager, and the directory that is there now.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    id: Uuid,
    now: Mutex<Arc<LockedDir>>,
    /// Whether other users may pass through.
    passable: AtomicBool,
    /// Where the manager's cgroup is.
    cgroup: OnceLock<PathBuf>,
}

impl Home {
    pub(super) fn make(path: PathBuf, id: Uuid) -> io::Result<Self> {
        let made = LockedDir::make(&path, id)?;
        Ok(Self {
            path,
            id,
            now: Mutex::new(Arc::new(made)),
            passable: AtomicBool::new(false),
            cgroup: OnceLock::new(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn now(&self) -> Arc<LockedDir> {
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the directory, after making again what something has removed of it: the directory
    /// itself, its marker, the record of the cgroup.
    pub(super) fn present(&self) -> io::Result<Arc<LockedDir>> {
        let now = self.now();
        let now = match now.place()? {
            Place::There => now,
            Place::Gone => match LockedDir::make(&self.path, self.id) {
                Ok(made) => self.replace(made),
                // Another thread was quicker.
                Err(error) if is_there_already(&error) => self.find()?,
                Err(error) => return Err(error),
            },
            Place::Taken => self.find()?,
        };
        match statat(&now.directory, MARKER, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => self.write(MARKER, format!("{}\n", self.id).as_bytes())?,
            other => drop(other?),
        }
        if self.cgroup.get().is_some()
            && let Err(Errno::NOENT) = statat(&now.directory, CGROUP, AtFlags::SYMLINK_NOFOLLOW)
        {
            self.record_cgroup()?;
        }
        if self.passable.load(Ordering::Acquire) {
            set_mode(&self.path, PASSABLE)?;
        }
        Ok(now)
    }

    fn find(&self) -> io::Result<Arc<LockedDir>> {
        let (found, locked) = LockedDir::find(&self.path, self.id)?;
        Ok(if locked {
            self.replace(found)
        } else {
            Arc::new(found)
        })
    }

    fn replace(&self, made: LockedDir) -> Arc<LockedDir> {
        tracing::warn!(directory = %self.path.display(), "something had removed the manager's directory: it is made again");
        let made = Arc::new(made);
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&made);
        made
    }

    /// Lets other users pass through.
    pub(super) fn let_pass(&self) -> io::Result<()> {
        self.passable.store(true, Ordering::Release);
        set_mode(&self.path, PASSABLE)
    }

    /// Records where the manager's cgroup is, so that the next manager finds it.
    pub(super) fn record(&self, cgroup: &Path) -> io::Result<()> {
        let _ = self.cgroup.set(cgroup.to_owned());
        self.record_cgroup()
    }

    fn record_cgroup(&self) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt as _;
        match self.cgroup.get() {
            Some(path) => self.write(CGROUP, &[path.as_os_str().as_bytes(), b"\n"].concat()),
            None => Ok(()),
        }
    }

    /// Makes a file in it. One that another thread has just made is as good.
    fn write(&self, name: &str, text: &[u8]) -> io::Result<()> {
        match create_new(&self.path.join(name)) {
            Ok(mut file) => file.write_all(text),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove(&self) {
        if let Err(error) = self.now().remove(Deadline::after(REMOVAL)) {
            tracing::warn!(directory = %self.path.display(), %error, "cannot remove a directory");
        }
    }
}

fn is_there_already(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty};
    [AlreadyExists, DirectoryNotEmpty].contains(&error.kind())
}

fn half_made() -> String {
    let (prefix, suffix) = HALF_MADE;
    format!("{prefix}{}{suffix}", Uuid::new_v4().simple())
}

/// Whether this is the name of a directory that is not locked yet.
fn is_half_made(name: &str) -> bool {
    let (prefix, suffix) = HALF_MADE;
    let id = name.strip_prefix(prefix);
    id.and_then(|id| id.strip_suffix(suffix))
        .is_some_and(|id| Uuid::try_parse(id).is_ok_and(|uuid| uuid.simple().to_string() == id))
}

/// Removes a directory whose manager died before it was finished, if the name says that it is one.
pub(crate) fn remove_half_made(path: &Path) {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    if !name.is_some_and(is_half_made) {
        return;
    }
    if let Ok(directory) = Directory::open(path)
        && is_ours(&directory)
        && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok()
    {
        // Nothing else was ever in it.
        let _ = fs::remove_file(path.join(MARKER));
        let _ = fs::remove_dir(path);
    }
}

/// Whether the directory belongs to this user.
fn is_ours(directory: &Directory) -> bool {
    fstat(directory).is_ok_and(|stat| stat.st_uid == geteuid().as_raw())
}

/// Whether the directory has the marker of this manager, a file of our own user. Where the sticky
/// bit keeps users apart, somebody else's directory is none of ours.
fn is_marked(directory: &Directory, manager: Uuid) -> bool {
    let marked = format!("{manager}\n");
    super::read_own(directory, MARKER, 64).is_some_and(|text| text == marked.as_bytes())
}

/// Where a test ends the making of a directory, as a signal would that kills the program.
mod seam {
    #[cfg(not(test))]
    pub(super) fn step() {}

    #[cfg(test)]
    thread_local! {
        pub(super) static STEPS: std::cell::Cell<Option<u32>> =
            const { std::cell::Cell::new(None) };
    }

    /// Panics when the steps of this thread are used up. Nothing is cleaned up then, but
    /// descriptors are closed.
    #[cfg(test)]
    pub(super) fn step() {
        if let Some(left) = STEPS.get() {
            assert!(left > 0, "killed");
            STEPS.set(Some(left - 1));
        }
    }
}

/// Runs this until it has taken so many steps; `None` if it was ended there.
#[cfg(test)]
pub(super) fn killed_after<T>(steps: u32, run: impl FnOnce() -> T) -> Option<T> {
    seam::STEPS.set(Some(steps));
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    seam::STEPS.set(None);
    end.ok()
}
