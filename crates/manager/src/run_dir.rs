//! Directories: the working directory, a manager's own in it, and a run directory per process.
//!
//! ```text
//! <working directory>/.procession.lock          held while a manager uses the directory
//! <working directory>/<manager uuid>/           0700; all that this manager makes
//! <working directory>/<manager uuid>/.procession   the marker of such a directory
//! <working directory>/<manager uuid>/<process uuid>/   0700; a run directory
//! ```
//!
//! Each of them is removed when its owner is dropped.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

const LOCK_FILE: &str = ".procession.lock";
const MARKER: &str = ".procession";

/// What we make in a run directory: FIFOs, given input, and logs.
pub(crate) const INPUT: &str = "input";
pub(crate) const OUTPUT: &str = "output";
pub(crate) const STDIN: &str = "stdin";
pub(crate) const STDOUT_LOG: &str = "stdout.log";
pub(crate) const STDERR_LOG: &str = "stderr.log";
pub(crate) const MERGED_LOG: &str = "merged.log";
const NAMES: [&str; 6] = [INPUT, OUTPUT, STDIN, STDOUT_LOG, STDERR_LOG, MERGED_LOG];

/// A manager's own directory; removed with all that is in it when the last owner goes.
#[derive(Debug)]
pub(crate) struct ManagerDir {
    path: PathBuf,
    id: Uuid,
    spare: Arc<Spare>,
    // Dropped in this order: the lock goes before a private working directory does.
    _lock: Lock,
    _private: Option<OwnedDir>,
}

impl ManagerDir {
    /// Takes `working_directory` for one manager.
    pub(crate) fn open(working_directory: &Path) -> io::Result<Self> {
        let named = |error: io::Error| naming("working directory", working_directory, &error);
        let root = working_directory.canonicalize().map_err(named)?;
        if !root.is_dir() {
            return Err(named(io::ErrorKind::NotADirectory.into()));
        }
        Self::create(&root, None)
    }

    /// Makes a private working directory in the system's directory for temporary files.
    pub(crate) fn temporary() -> io::Result<Self> {
        let temporary = std::env::temp_dir();
        let named = |error: io::Error| naming("directory for temporary files", &temporary, &error);
        let root = temporary.canonicalize().map_err(named)?;
        let root = root.join(format!("procession-{}", Uuid::new_v4().simple()));
        private_dir(&root).map_err(|error| naming("working directory", &root, &error))?;
        Self::create(&root.clone(), Some(OwnedDir { path: root }))
    }

    fn create(root: &Path, private: Option<OwnedDir>) -> io::Result<Self> {
        let lock = Lock::take(root)?;
        let id = Uuid::new_v4();
        let path = root.join(id.to_string());
        private_dir(&path).map_err(|error| naming("working directory", root, &error))?;
        let dir = Self {
            path,
            id,
            spare: Arc::new(Spare::new()),
            _lock: lock,
            _private: private,
        };
        create_new(&dir.path.join(MARKER))
            .map_err(|error| naming("working directory", root, &error))?;
        Ok(dir)
    }

    /// The manager's identity, new for each manager.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// Makes the run directory of a process.
    pub(crate) fn run_dir(
        &self,
        process: impl std::fmt::Display,
    ) -> Result<RunDir, (PathBuf, io::Error)> {
        let path = self.path.join(process.to_string());
        match private_dir(&path) {
            Ok(()) => Ok(RunDir {
                dir: OwnedDir { path },
                spare: Arc::clone(&self.spare),
            }),
            Err(error) => Err((path, error)),
        }
    }
}

impl Drop for ManagerDir {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(directory = %self.path.display(), %error, "cannot remove the manager's directory");
        }
    }
}

/// The run directory of one process; removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct RunDir {
    dir: OwnedDir,
    spare: Arc<Spare>,
}

impl RunDir {
    pub(crate) fn path(&self) -> &Path {
        &self.dir.path
    }

    /// Removes it now and says how that went.
    pub(crate) fn remove(self) -> io::Result<()> {
        self.spare.remove(self.path())
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What fails is told, and tried again, by the drop of the directory itself.
        let _ = self.spare.remove(self.path());
    }
}

/// A descriptor that is held so that it can be given up: removing a directory needs one, also when
/// the process has used up all others.
#[derive(Debug)]
struct Spare(Mutex<Option<File>>);

impl Spare {
    fn new() -> Self {
        Self(Mutex::new(File::open("/dev/null").ok()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        const USED_UP: [i32; 2] = [libc::EMFILE, libc::ENFILE];
        match remove(path) {
            Err(error)
                if error
                    .raw_os_error()
                    .is_some_and(|code| USED_UP.contains(&code)) =>
            {
                let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                drop(spare.take());
                let result = remove(path).or_else(|error| remove_ours(path).map_err(|_| error));
                *spare = File::open("/dev/null").ok();
                result
            }
            other => other,
        }
    }
}

#[derive(Debug)]
struct OwnedDir {
    path: PathBuf,
}

impl Drop for OwnedDir {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(directory = %self.path.display(), %error, "cannot remove a directory");
        }
    }
}

/// `remove_dir_all` follows no symbolic link. A directory that is gone already is as good.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a directory that holds nothing but what we make in it, without opening it: where even
/// the spare descriptor is over a limit that was lowered meanwhile.
fn remove_ours(path: &Path) -> io::Result<()> {
    for name in NAMES {
        match fs::remove_file(path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir(path)
}

/// Makes a directory that is ours alone: it must not be there yet.
fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes a file of mode 0600 that must not be there yet, open for writing.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn naming(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

/// The lock on a working directory: an open file with `flock(2)`.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(root: &Path) -> io::Result<Self> {
        let path = root.join(LOCK_FILE);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
                .map_err(|error| naming("working directory", root, &error))?;
            if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                return Err(if error == rustix::io::Errno::WOULDBLOCK {
                    io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        format!(
                            "working directory {}: another process manager is using it; give each manager a directory of its own",
                            root.display()
                        ),
                    )
                } else {
                    naming("working directory", root, &error.into())
                });
            }
            // The manager before us removes the file while it holds the lock: what we have locked
            // counts only if it is still the file of that name.
            let locked = file.metadata()?;
            match fs::symlink_metadata(&path) {
                Ok(named) if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) => {
                    return Ok(Self { path, _file: file });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(naming("working directory", root, &error)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is held; the file closes after this.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(file = %self.path.display(), %error, "cannot remove the lock file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn everything_is_private_and_goes_with_its_owner() {
        let root = tempfile::tempdir().expect("a directory");
        let manager = ManagerDir::open(root.path()).expect("taken");
        let run = manager.run_dir("a-process").expect("made");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&manager.path), 0o700);
        assert_eq!(mode(run.path()), 0o700);
        assert_eq!(mode(&manager.path.join(MARKER)), 0o600);
        assert_eq!(mode(&root.path().join(LOCK_FILE)), 0o600);
        fs::write(run.path().join("left"), "behind").expect("written");
        let path = run.path().to_owned();
        run.remove().expect("removed");
        assert!(!path.exists());
        drop(manager);
        assert_eq!(fs::read_dir(root.path()).expect("there").count(), 0);
    }

    #[test]
    fn what_is_ours_goes_without_being_opened_and_nothing_else_does() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("run");
        for (names, gone) in [
            (&[INPUT, STDERR_LOG][..], true),
            (&[OUTPUT, "foreign"], false),
        ] {
            private_dir(&dir).expect("made");
            for name in names {
                create_new(&dir.join(name)).expect("made");
            }
            assert_eq!(remove_ours(&dir).is_ok(), gone);
            assert_eq!(dir.exists(), !gone);
        }
    }

    #[test]
    fn a_second_manager_is_refused_and_the_first_not_disturbed() {
        let root = tempfile::tempdir().expect("a directory");
        let first = ManagerDir::open(root.path()).expect("taken");
        let error = ManagerDir::open(root.path()).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(
            error.to_string().contains("another process manager"),
            "{error}"
        );
        assert!(first.path.join(MARKER).exists());
        drop(first);
        ManagerDir::open(root.path()).expect("free again");
    }

    #[test]
    fn a_bad_working_directory_is_named() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("file");
        fs::write(&file, "").expect("written");
        for (path, kind) in [
            (root.path().join("missing"), io::ErrorKind::NotFound),
            (file, io::ErrorKind::NotADirectory),
        ] {
            let error = ManagerDir::open(&path).expect_err("refused");
            assert_eq!(error.kind(), kind);
            assert!(
                error.to_string().contains(&path.display().to_string()),
                "{error}"
            );
        }
    }

    #[test]
    fn a_lock_file_that_is_a_link_is_not_followed() {
        let root = tempfile::tempdir().expect("a directory");
        let other = tempfile::tempdir().expect("a directory");
        let target = other.path().join("target");
        std::os::unix::fs::symlink(&target, root.path().join(LOCK_FILE)).expect("linked");
        ManagerDir::open(root.path()).expect_err("refused");
        assert!(!target.exists());
    }

    #[test]
    fn a_temporary_directory_is_removed_whole() {
        let manager = ManagerDir::temporary().expect("made");
        let root = manager.path.parent().expect("in one").to_owned();
        assert!(root.exists());
        drop(manager);
        assert!(!root.exists());
    }
}
