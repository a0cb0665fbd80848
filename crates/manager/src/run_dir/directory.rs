//! Open directories, and the removal of one with all that is in it.

use std::ffi::{CStr, CString};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom, fstat, openat, renameat, seek, unlinkat};

use super::remove::{Errno, Left, Status, System, Terms, remove, remove_open};
use crate::os;

/// How long the removal of one directory may take, whatever is in it. What is left then is removed
/// with the manager's directory, or by the next manager.
pub(crate) const REMOVAL: Duration = Duration::from_secs(30);

/// A directory by its descriptor.
#[derive(Debug)]
pub(crate) enum Directory {
    Open(OwnedFd),
    /// Names in it are absolute paths.
    Root,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Open(fd) => fd.as_fd(),
            Self::Root => CWD,
        }
    }
}

impl Directory {
    /// Opens a directory for reading, never through a symbolic link of its name.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::Root.open_in(path)
    }

    /// Opens a directory in this one.
    pub(crate) fn open_in(&self, name: &Path) -> io::Result<Self> {
        let opened = openat(self, name, DIRECTORY, Mode::empty())?;
        Ok(Self::Open(opened))
    }

    /// Removes what `name` is here with all that is in it, until the deadline. Needs two
    /// descriptors.
    pub(crate) fn remove(&self, name: &Path, deadline: Deadline) -> Result<(), Left> {
        remove(&Linux, self, &c_name(name), deadline.terms(None))
    }

    /// Removes this directory, which has this path, with all that is in it, until the deadline;
    /// where an entry is `kept`, all but that and the directory itself. Needs one descriptor.
    pub(crate) fn remove_itself(
        &self,
        path: &Path,
        kept: Option<&CStr>,
        deadline: Deadline,
    ) -> Result<(), Left> {
        let place = (&Self::Root, &*c_name(path));
        remove_open(&Linux, self, place, deadline.terms(kept))
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A name that we made, or that the system has given, has no zero byte.
fn c_name(name: &Path) -> CString {
    CString::new(name.as_os_str().as_bytes()).unwrap_or_default()
}

/// When a removal ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(u64);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(Linux.now().saturating_add(time))
    }

    pub(crate) fn is_past(self) -> bool {
        Linux.now() >= self.0
    }

    fn terms(self, kept: Option<&CStr>) -> Terms<'_> {
        Terms {
            kept,
            deadline: self.0,
            salt: fastrand::u64(..),
        }
    }
}

impl From<Left> for io::Error {
    fn from(left: Left) -> Self {
        let error = Self::from_raw_os_error(left.error);
        let name = String::from_utf8_lossy(left.name());
        let text = match (left.error, left.entries) {
            (libc::ETIMEDOUT, _) => {
                format!("the time for removing it has run out, at {name:?}: the rest is left")
            }
            (_, 1) => format!("{name:?} is left: {error}"),
            (_, entries) => format!("{entries} entries are left, the first {name:?}: {error}"),
        };
        Self::new(error.kind(), text)
    }
}

/// The system calls themselves.
struct Linux;

impl System for Linux {
    type Directory = Directory;

    fn open(&self, parent: &Directory, name: &CStr) -> Result<Directory, Errno> {
        let opened = openat(parent, name, DIRECTORY, Mode::empty()).map_err(number)?;
        Ok(Directory::Open(opened))
    }

    fn status(&self, directory: &Directory) -> Result<Status, Errno> {
        let status = fstat(directory).map_err(number)?;
        Ok(Status {
            device: status.st_dev,
            mode: status.st_mode,
        })
    }

    fn read(&self, directory: &Directory, entries: &mut [u8]) -> Result<usize, Errno> {
        os::read_directory(directory.as_fd(), entries)
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
    }

    fn rewind(&self, directory: &Directory) -> Result<(), Errno> {
        seek(directory, SeekFrom::Start(0))
            .map(drop)
            .map_err(number)
    }

    fn unlink(&self, parent: &Directory, name: &CStr) -> Result<(), Errno> {
        unlinkat(parent, name, AtFlags::empty()).map_err(number)
    }

    fn remove_directory(&self, parent: &Directory, name: &CStr) -> Result<(), Errno> {
        unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(number)
    }

    fn rename(&self, from: (&Directory, &CStr), to: (&Directory, &CStr)) -> Result<(), Errno> {
        renameat(from.0, from.1, to.0, to.1).map_err(number)
    }

    fn make_accessible(&self, parent: &Directory, name: &CStr) -> Result<(), Errno> {
        let flags = DIRECTORY.union(OFlags::PATH);
        let held = openat(parent, name, flags, Mode::empty()).map_err(number)?;
        // fchmod(2) refuses such a descriptor; its name in /proc is the thing itself,
        // proc_pid_fd(5).
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
    }

    fn now(&self) -> u64 {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let since = START.get_or_init(Instant::now).elapsed();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

fn number(error: rustix::io::Errno) -> Errno {
    error.raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_nobody, fast_directory, make_levels, mount, no_deadline};
    use super::*;

    fn remove(root: &Path) -> Result<(), Left> {
        let root = Directory::open(root).expect("there");
        root.remove(Path::new("top"), no_deadline())
    }

    /// On a thread whose stack would hold no recursion.
    #[test]
    fn any_depth_and_length_of_names_is_removed() {
        let root = fast_directory();
        let top = root.path().join("top");
        let outside = root.path().join("outside");
        fs::write(&outside, "text").expect("written");
        let long = top.join("x".repeat(255)).join("y".repeat(255));
        fs::create_dir_all(&long).expect("made");
        fs::write(long.join("z".repeat(255)), "text").expect("written");
        std::os::unix::fs::symlink(&outside, long.join("link")).expect("linked");
        std::os::unix::fs::symlink(root.path(), top.join("link")).expect("linked");
        make_levels(&long, 15_000);
        make_levels(&top, 100);
        let path = root.path().to_owned();
        let thread = std::thread::Builder::new().stack_size(64 * 1024);
        let removed = thread.spawn(move || remove(&path)).expect("a thread");
        assert_eq!(removed.join().expect("no overflow"), Ok(()));
        assert!(!top.exists() && outside.exists());
    }

    #[test]
    fn an_ordinary_user_removes_what_has_no_rights() {
        let hostile = |root: &Path| {
            for (name, mode) in [("a", 0), ("b", 0o555), ("c", 0o100), ("d", 0o444)] {
                let dir = root.join("top").join(name);
                fs::create_dir_all(dir.join("inner")).expect("made");
                fs::write(dir.join("inner/file"), "text").expect("written");
                for dir in [dir.join("inner"), dir] {
                    fs::set_permissions(dir, Permissions::from_mode(mode)).expect("set");
                }
            }
            fs::set_permissions(root.join("top"), Permissions::from_mode(0o000)).expect("set");
            assert_eq!(remove(root), Ok(()));
            assert!(!root.join("top").exists());
        };
        let root = tempfile::tempdir().expect("a directory");
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(root.path(), Permissions::from_mode(0o777)).expect("set");
            let root = root.path().to_owned();
            as_nobody(move || hostile(&root));
        } else {
            hostile(root.path());
        }
    }

    /// In a mount namespace of one thread.
    #[test]
    fn as_root_what_is_mounted_is_left() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().expect("a directory");
        let mounted = root.path().join("top/inner/mounted");
        let outside = root.path().join("outside");
        fs::create_dir_all(&mounted).expect("made");
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("precious"), "text").expect("written");
        let path = root.path().to_owned();
        let thread = std::thread::spawn(move || {
            if !mount(&outside, &mounted) {
                return;
            }
            let left = remove(&path).expect_err("mounted");
            assert_eq!((left.entries, left.error), (1, libc::EBUSY));
            assert!(outside.join("precious").exists());
            let text = io::Error::from(left).to_string();
            assert!(text.contains(r#""mounted" is left"#), "{text}");
        });
        thread.join().expect("no panic");
        // Without the mount it goes.
        let _ = remove(root.path());
    }
}
