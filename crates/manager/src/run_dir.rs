//! Directories: the working directory, a manager's own in it, and a run directory per process.
//!
//! ```text
//! <working directory>/.procession.lock          held while a manager uses the directory
//! <working directory>/<manager uuid>/           0700; all that this manager makes; 0711 from the
//!                                               first child of another user on
//! <working directory>/<manager uuid>/.procession   the marker of such a directory
//! <working directory>/<manager uuid>/.procession-cgroup   where its cgroup is, if it has one
//! <working directory>/<manager uuid>/<process uuid>/   0700; a run directory, of its child's user
//! <working directory>/<manager uuid>/n<8 hex digits>   0600; a notification socket, of its child's user
//! ```
//!
//! The modes hold whatever the umask; nobody else can use or replace any of it, so a working directory
//! in which others can is refused.
//!
//! Each of them is removed when its owner is dropped; before its own directory goes, the manager's
//! owner sees to it that no process is left that belongs to it.

mod lock;
mod private;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::geteuid;
use uuid::Uuid;

use crate::containment::{Group, Guard, LeftProcess, Swept, Tag, Tree, extinguish, sweep};
use crate::logs::LogStream;
use lock::Lock;
use private::private_dir;
pub(crate) use private::{create_fifo, create_new, open_own};

pub(crate) const LOCK_FILE: &str = ".procession.lock";
/// Holds the manager's UUID and a newline.
pub(crate) const MARKER: &str = ".procession";

/// Holds the path of the manager's cgroup and a newline.
pub(crate) const CGROUP: &str = ".procession-cgroup";

/// What we make in a run directory: FIFOs, given input, and logs.
pub(crate) const INPUT: &str = "input";
pub(crate) const OUTPUT: &str = "output";
pub(crate) const STDIN: &str = "stdin";
const STDOUT_LOG: &str = "stdout.log";
const STDERR_LOG: &str = "stderr.log";
const MERGED_LOG: &str = "merged.log";
const NAMES: [&str; 6] = [INPUT, OUTPUT, STDIN, STDOUT_LOG, STDERR_LOG, MERGED_LOG];
/// The file of a log, or of its first segment.
pub(crate) fn log_name(stream: LogStream) -> &'static str {
    match stream {
        LogStream::Stdout => STDOUT_LOG,
        LogStream::Stderr => STDERR_LOG,
        LogStream::Merged => MERGED_LOG,
    }
}

/// The child never opens these.
const OURS: [&str; 4] = [STDIN, STDOUT_LOG, STDERR_LOG, MERGED_LOG];

/// Others may pass through, and see nothing.
const PASSABLE: u32 = 0o711;

/// A manager's own directory; removed with all that is in it when the last owner goes.
#[derive(Debug)]
pub(crate) struct ManagerDir {
    path: PathBuf,
    id: Uuid,
    spare: Arc<Spare>,
    guard: Mutex<Option<Guard>>,
    group: Option<Arc<Group>>,
    /// Nothing is left to be done at its drop.
    has_ended: bool,
    // Dropped in this order: the lock goes before a private working directory does.
    _lock: Lock,
    private: Option<OwnedDir>,
}

impl ManagerDir {
    /// Takes `working_directory` for one manager.
    pub(crate) fn open(working_directory: &Path) -> io::Result<Self> {
        let named = |error: io::Error| naming("working directory", working_directory, &error);
        let root = working_directory.canonicalize().map_err(named)?;
        if !root.is_dir() {
            return Err(named(io::ErrorKind::NotADirectory.into()));
        }
        check_writers(&root)?;
        Self::create(&root, None)
    }

    /// Makes a private working directory in the system's directory for temporary files.
    pub(crate) fn temporary() -> io::Result<Self> {
        let temporary = std::env::temp_dir();
        let named = |error: io::Error| naming("directory for temporary files", &temporary, &error);
        let root = temporary.canonicalize().map_err(named)?;
        check_writers(&root)?;
        let root = root.join(format!("procession-{}", Uuid::new_v4().simple()));
        private_dir(&root).map_err(|error| naming("working directory", &root, &error))?;
        Self::create(&root.clone(), Some(OwnedDir { path: root.into() }))
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
            guard: Mutex::new(None),
            group: None,
            has_ended: false,
            _lock: lock,
            private,
        };
        create_new(&dir.path.join(MARKER))
            .and_then(|mut marker| writeln!(marker, "{id}"))
            .map_err(|error| naming("working directory", root, &error))?;
        Ok(dir)
    }

    /// From now on each process has a cgroup of its own in this delegated cgroup v2 directory.
    pub(crate) fn contain(&mut self, delegated: &Path) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt as _;
        let path = Group::path_in(delegated, self.id)?;
        // The record first, so that the next manager finds what this one makes.
        let record = self.path.join(CGROUP);
        create_new(&record)
            .and_then(|mut file| file.write_all(&[path.as_os_str().as_bytes(), b"\n"].concat()))
            .map_err(|error| naming("file", &record, &error))?;
        self.group = Some(Arc::new(Group::of_manager(path)?));
        Ok(())
    }

    /// Makes the cgroup of a process, where there are any.
    pub(crate) fn group(&self, process: impl std::fmt::Display) -> io::Result<Option<Arc<Group>>> {
        let child = self.group.as_ref().map(|group| group.child(process));
        Ok(child.transpose()?.map(Arc::new))
    }

    /// Takes away what dead managers have left in the working directory. Blocking.
    pub(crate) fn sweep(&self) -> Vec<Swept> {
        match (&self.private, self.path.parent()) {
            (None, Some(root)) => sweep(root, self.id),
            _ => Vec::new(),
        }
    }

    /// Starts the guard over this manager. Blocking.
    pub(crate) fn start_guard(&self) -> io::Result<Guard> {
        let private = self.private.as_ref().map(|dir| &*dir.path);
        let dirs: Vec<_> = [Some(self.path.as_path()), private]
            .into_iter()
            .flatten()
            .collect();
        let group = self.group.as_ref().map(|group| group.path());
        Guard::start(self.id, group, &dirs)
    }

    /// Keeps the guard until everything is gone that it guards.
    pub(crate) fn keep_guard(&self, guard: Guard) {
        let mut kept = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(guard);
    }

    /// The manager's identity, new for each manager.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// Lets other users pass through to the run directories that are theirs.
    pub(crate) fn let_users_pass(&self) -> io::Result<()> {
        private::set_mode(&self.path, PASSABLE)?;
        match &self.private {
            Some(root) => private::set_mode(&root.path, PASSABLE),
            None => Ok(()),
        }
    }

    /// Makes the run directory of a process.
    pub(crate) fn run_dir(
        &self,
        process: impl std::fmt::Display,
    ) -> Result<RunDir, (PathBuf, io::Error)> {
        let path = self.path.join(process.to_string());
        match private_dir(&path) {
            Ok(()) => Ok(RunDir {
                dir: OwnedDir { path: path.into() },
                spare: Arc::clone(&self.spare),
            }),
            Err(error) => Err((path, error)),
        }
    }
}

/// The end of a manager takes everything that it has started with it, also where there was no time for
/// a shutdown.
impl Drop for ManagerDir {
    fn drop(&mut self) {
        self.end_once();
    }
}

impl ManagerDir {
    /// Ends what is left of the manager, as the drop does, and says what of it does not end. Blocking: see
    /// [`extinguish`].
    pub(crate) fn end(mut self) -> Vec<LeftProcess> {
        self.end_once()
    }

    fn end_once(&mut self) -> Vec<LeftProcess> {
        if std::mem::replace(&mut self.has_ended, true) {
            return Vec::new();
        }
        let tree = Tree {
            tag: Tag::Manager(self.id),
            root: None,
            known: Vec::new(),
        };
        let left = extinguish(tree, self.group.clone()).left;
        // Before the record of it.
        drop(self.group.take());
        if !left.is_empty() && self.private.is_none() {
            tracing::warn!(directory = %self.path.display(), "something of the manager does not end: its directory stays for the next one");
            return left;
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(directory = %self.path.display(), %error, "cannot remove the manager's directory");
        }
        left
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

    /// Gives it to the user that the child runs as. Gives whether there is anything in it that the
    /// child is to open.
    pub(crate) fn give_to(&self, user: u32, group: Option<u32>) -> io::Result<bool> {
        private::give(self.path(), user, group, &OURS)
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
    /// Without room to spare, since there is one for each process.
    path: Box<Path>,
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

/// Refuses a directory in which others can replace what is ours. With the sticky bit only the owner of
/// the directory can, besides us: inode(7).
fn check_writers(root: &Path) -> io::Result<()> {
    let metadata = fs::metadata(root).map_err(|error| naming("directory", root, &error))?;
    let others_write = metadata.mode() & 0o022 != 0;
    let sticky = metadata.mode() & 0o1000 != 0;
    let trusted = [0, geteuid().as_raw()].contains(&metadata.uid());
    if !others_write || (sticky && trusted) {
        return Ok(());
    }
    let text = format!(
        "working directory {0}: others can write in it (mode {1:04o}) and replace what is kept there; use `chmod go-w {0}` or a directory of your own",
        root.display(),
        metadata.mode() & 0o7777
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn naming(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

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
        let marker = fs::read_to_string(manager.path.join(MARKER)).expect("text");
        assert_eq!(marker, format!("{}\n", manager.id()));
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
    fn a_working_directory_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        for (mode, taken) in [
            (0o700, true),
            (0o755, true),
            (0o720, false),
            (0o702, false),
            (0o777, false),
            (0o1777, true),
        ] {
            fs::set_permissions(root.path(), Permissions::from_mode(mode)).expect("set");
            match ManagerDir::open(root.path()) {
                Ok(_) => assert!(taken, "{mode:o}"),
                Err(error) => {
                    assert!(!taken, "{mode:o}: {error}");
                    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                    let remedy = format!("chmod go-w {}", root.path().display());
                    assert!(error.to_string().contains(&remedy), "{error}");
                }
            }
            assert_eq!(fs::read_dir(root.path()).expect("there").count(), 0);
        }
    }

    #[test]
    fn other_users_pass_once_they_are_let() {
        let manager = ManagerDir::temporary().expect("made");
        let root = manager.path.parent().expect("in one").to_owned();
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&root), mode(&manager.path)), (0o700, 0o700));
        manager.let_users_pass().expect("allowed");
        assert_eq!((mode(&root), mode(&manager.path)), (0o711, 0o711));
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
