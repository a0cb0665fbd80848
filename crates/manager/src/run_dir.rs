//! Directories: the working directory, a manager's own in it, and a run directory per process.
//!
//! ```text
//! <working directory>/.procession.lock          held while a manager uses the directory
//! <working directory>/<manager uuid>/           0700, locked; all that this manager makes; 0711 from
//!                                               the first child of another user on
//! <working directory>/<manager uuid>/.procession   the marker of such a directory
//! <working directory>/<manager uuid>/.procession-cgroup   where its cgroup is, if it has one
//! <working directory>/<manager uuid>/<process uuid>/   0700; a run directory, of its child's user
//! <working directory>/<manager uuid>/n<8 hex digits>   0600; a notification socket, of its child's user
//! ```
//!
//! A private working directory is `procession-<manager uuid>` in the directory for temporary files,
//! with mode, lock and marker as the manager's own directory, and no lock file.
//!
//! The modes hold whatever the umask; nobody else can use or replace any of it, so a working directory
//! in which others can is refused.
//!
//! Each of them is removed when its owner is dropped; before its own directory goes, the manager's
//! owner sees to it that no process is left that belongs to it.

mod directory;
mod lock;
mod locked;
mod private;
mod remove;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, openat};
use rustix::process::geteuid;
use uuid::Uuid;

use crate::containment::{
    Group, Guard, LeftProcess, Swept, Tag, Tree, extinguish, sweep, sweep_temporary,
};
use crate::logs::LogStream;
pub(crate) use directory::{Deadline, Directory, REMOVAL};
use lock::Lock;
use locked::Home;
pub(crate) use locked::{LockedDir, remove_half_made};
use private::private_dir;
pub(crate) use private::{create_fifo, create_new, open_own};
use remove::Left;

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

/// The beginning of the name of a private working directory.
const PRIVATE: &str = "procession-";

/// Others may pass through, and see nothing.
const PASSABLE: u32 = 0o711;

/// A manager's own directory; removed with all that is in it when the last owner goes.
#[derive(Debug)]
pub(crate) struct ManagerDir {
    id: Uuid,
    home: Home,
    spare: Arc<Spare>,
    guard: Mutex<Option<Guard>>,
    group: Option<Arc<Group>>,
    /// Nothing is left to be done at its drop.
    has_ended: bool,
    /// Of a working directory that is not private.
    _lock: Option<Lock>,
    private: Option<Home>,
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
        let lock = Lock::take(&root)?;
        Self::create(Uuid::new_v4(), &root, Some(lock), None)
    }

    /// Makes a private working directory in the system's directory for temporary files.
    pub(crate) fn temporary() -> io::Result<Self> {
        Self::temporary_in(&std::env::temp_dir())
    }

    fn temporary_in(temporary: &Path) -> io::Result<Self> {
        let named = |error: io::Error| naming("directory for temporary files", temporary, &error);
        let root = temporary.canonicalize().map_err(named)?;
        check_writers(&root)?;
        let id = Uuid::new_v4();
        let root = root.join(private_name(id));
        let private = Home::make(root.clone(), id)
            .map_err(|error| naming("working directory", &root, &error))?;
        Self::create(id, &root, None, Some(private))
    }

    fn create(
        id: Uuid,
        root: &Path,
        lock: Option<Lock>,
        private: Option<Home>,
    ) -> io::Result<Self> {
        let home = match Home::make(root.join(id.to_string()), id) {
            Ok(home) => home,
            Err(error) => {
                if let Some(private) = private {
                    private.remove();
                }
                return Err(naming("working directory", root, &error));
            }
        };
        Ok(Self {
            id,
            home,
            spare: Arc::new(Spare::new()),
            guard: Mutex::new(None),
            group: None,
            has_ended: false,
            _lock: lock,
            private,
        })
    }

    /// From now on each process has a cgroup of its own in this delegated cgroup v2 directory.
    pub(crate) fn contain(&mut self, delegated: &Path) -> io::Result<()> {
        let path = Group::path_in(delegated, self.id)?;
        // The record first, so that the next manager finds what this one makes.
        self.home
            .record(&path)
            .map_err(|error| naming("directory", self.home.path(), &error))?;
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
        match (&self.private, self.home.path().parent()) {
            (None, Some(root)) => sweep(root, self.id),
            _ => Vec::new(),
        }
    }

    /// Returns a function that takes away the private working directories that dead managers have
    /// left beside this one's. The function is blocking, for ten seconds at most, and needs nothing
    /// of this manager.
    pub(crate) fn sweep_beside(&self) -> Option<impl FnOnce() -> Vec<Swept> + Send + use<>> {
        let beside = self.private.as_ref()?.path().parent()?.to_owned();
        Some(move || sweep_temporary(&beside))
    }

    /// Starts the guard over this manager. Blocking.
    pub(crate) fn start_guard(&self) -> io::Result<Guard> {
        let private = self.private.as_ref().map(Home::path);
        let dirs: Vec<_> = [Some(self.home.path()), private]
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
        self.home.let_pass()?;
        self.private.as_ref().map_or(Ok(()), Home::let_pass)
    }

    /// Makes the run directory of a process, and what is missing of the directories above it.
    pub(crate) fn run_dir(
        &self,
        process: impl std::fmt::Display,
    ) -> Result<RunDir, (PathBuf, io::Error)> {
        let present = |home: &Home| {
            let at = |error| (home.path().to_owned(), error);
            home.present().map_err(at)
        };
        if let Some(private) = &self.private {
            present(private)?;
        }
        let parent = present(&self.home)?;
        let path = self.home.path().join(process.to_string());
        match private_dir(&path) {
            Ok(()) => Ok(RunDir {
                path: path.into(),
                parent,
                spare: Arc::clone(&self.spare),
                removed: false,
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
    /// Ends what is left of the manager, as the drop does, and says what of it does not end.
    /// Blocking: see [`extinguish`].
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
        let outcome = extinguish(tree, self.group.clone());
        let is_all_gone = outcome.left().is_none();
        let left = outcome.left;
        // Before the record of it.
        drop(self.group.take());
        if !is_all_gone && self.private.is_none() {
            tracing::warn!(directory = %self.home.path().display(), "something of the manager does not end: its directory stays for the next one");
            return left;
        }
        self.spare.give_up();
        self.home.remove();
        if let Some(private) = &self.private {
            private.remove();
        }
        left
    }
}

/// The name of the private working directory of a manager.
fn private_name(manager: Uuid) -> String {
    format!("{PRIVATE}{}", manager.simple())
}

/// The manager of a private working directory of this name.
pub(crate) fn manager_of_private(name: &str) -> Option<Uuid> {
    let manager = Uuid::try_parse(name.strip_prefix(PRIVATE)?).ok()?;
    (private_name(manager) == name).then_some(manager)
}

/// The run directory of one process; removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct RunDir {
    /// Without room to spare, since there is one for each process.
    path: Box<Path>,
    parent: Arc<LockedDir>,
    spare: Arc<Spare>,
    removed: bool,
}

impl RunDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it to the user that the child runs as. Gives whether there is anything in it that the
    /// child is to open.
    pub(crate) fn give_to(&self, user: u32, group: Option<u32>) -> io::Result<bool> {
        private::give(self.path(), user, group, &OURS)
    }

    /// Removes it now and says how that went. What is left goes with the manager's directory.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        self.remove_once()
    }

    fn remove_once(&mut self) -> io::Result<()> {
        self.removed = true;
        let Some(name) = self.path.file_name() else {
            return Ok(());
        };
        self.spare.remove(&self.parent, Path::new(name))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = self.remove_once()
        {
            tracing::warn!(directory = %self.path.display(), %error, "cannot remove a run directory");
        }
    }
}

/// Descriptors that are held so that they can be given up: removing a directory needs two, also
/// when the process has used up all others.
#[derive(Debug)]
struct Spare(Mutex<[Option<File>; 2]>);

impl Spare {
    fn new() -> Self {
        Self(Mutex::new(Self::open()))
    }

    fn open() -> [Option<File>; 2] {
        [(); 2].map(|()| File::open("/dev/null").ok())
    }

    fn give_up(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = [None, None];
    }

    fn remove(&self, parent: &LockedDir, name: &Path) -> io::Result<()> {
        let remove = || parent.directory.remove(name, Deadline::after(REMOVAL));
        match remove() {
            Err(left) if is_short_of_descriptors(&left) => {
                let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                *spare = [None, None];
                let result = remove().or_else(|left| {
                    remove_ours(&parent.path().join(name)).map_err(|_| left.into())
                });
                *spare = Self::open();
                result
            }
            result => Ok(result?),
        }
    }
}

fn is_short_of_descriptors(left: &Left) -> bool {
    [libc::EMFILE, libc::ENFILE].contains(&left.error)
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

/// The start of a plain file that belongs to this user, reached without following a link.
pub(crate) fn read_own(directory: &Directory, name: &str, limit: u64) -> Option<Vec<u8>> {
    // A FIFO of this name must not be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(openat(directory, name, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.uid() != geteuid().as_raw() {
        return None;
    }
    let mut text = Vec::new();
    file.take(limit).read_to_end(&mut text).ok()?;
    Some(text)
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
        assert_eq!(mode(manager.home.path()), 0o700);
        assert_eq!(mode(run.path()), 0o700);
        assert_eq!(mode(&manager.home.path().join(MARKER)), 0o600);
        assert_eq!(mode(&root.path().join(LOCK_FILE)), 0o600);
        let marker = fs::read_to_string(manager.home.path().join(MARKER)).expect("text");
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
        assert!(first.home.path().join(MARKER).exists());
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
        let root = manager.home.path().parent().expect("in one").to_owned();
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&root), mode(manager.home.path())), (0o700, 0o700));
        manager.let_users_pass().expect("allowed");
        assert_eq!((mode(&root), mode(manager.home.path())), (0o711, 0o711));
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

    /// Says that the lock file is refused, why, and what helps.
    #[track_caller]
    fn refused(root: &Path, why: &str) {
        let error = ManagerDir::open(root).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let lock = root.join(LOCK_FILE).display().to_string();
        for words in [why, &lock, "remove it, or use a directory of your own"] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_lock_file_that_is_not_ours_alone_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        let lock = root.path().join(LOCK_FILE);
        create_fifo(&lock).expect("made");
        refused(root.path(), "no regular file");
        fs::remove_file(&lock).expect("there");
        fs::create_dir(&lock).expect("made");
        refused(root.path(), "no regular file");
        fs::remove_dir(&lock).expect("there");
        create_new(&lock).expect("made");
        fs::hard_link(&lock, root.path().join("other")).expect("linked");
        refused(root.path(), "has another name");
        assert_eq!(fs::read_dir(root.path()).expect("there").count(), 2);
        fs::remove_file(root.path().join("other")).expect("there");
        // A dead manager's is taken.
        drop(ManagerDir::open(root.path()).expect("ours alone"));
        assert!(!lock.exists());
    }

    #[test]
    fn as_root_another_users_lock_file_is_refused_on_both_sides() {
        if !geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().expect("a directory");
        fs::set_permissions(root.path(), Permissions::from_mode(0o1777)).expect("set");
        let lock = root.path().join(LOCK_FILE);
        create_new(&lock).expect("made");
        // Open to all, so that it is its owner that counts.
        fs::set_permissions(&lock, Permissions::from_mode(0o666)).expect("set");
        for mode in [0o600, 0o666] {
            fs::set_permissions(&lock, Permissions::from_mode(mode)).expect("set");
            let path = root.path().to_owned();
            testing::as_nobody(move || refused(&path, "belongs to user 0"));
        }
        std::os::unix::fs::chown(&lock, Some(65_534), None).expect("allowed");
        refused(root.path(), "belongs to user 65534");
        assert!(lock.exists());
    }

    #[test]
    fn a_second_manager_after_the_lock_file_was_removed_leaves_the_first_alone() {
        let root = tempfile::tempdir().expect("a directory");
        let first = ManagerDir::open(root.path()).expect("taken");
        let run = first.run_dir("a-process").expect("made");
        fs::remove_file(root.path().join(LOCK_FILE)).expect("there");
        let second = ManagerDir::open(root.path()).expect("nothing keeps it out");
        assert_eq!(second.sweep(), []);
        assert!(run.path().exists());
        // Nor does the end of one take the other's lock.
        drop((run, first));
        let error = ManagerDir::open(root.path()).expect_err("the second has it");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(second);
        assert_eq!(fs::read_dir(root.path()).expect("there").count(), 0);
    }

    /// By any of the ways of a cleaner: all of it, its content, its marker, all of a private
    /// directory.
    #[test]
    fn what_was_removed_of_the_managers_directory_is_made_again() {
        let temporary = tempfile::tempdir().expect("a directory");
        let manager = ManagerDir::temporary_in(temporary.path()).expect("made");
        manager.let_users_pass().expect("allowed");
        manager
            .home
            .record(Path::new("/no/such/cgroup"))
            .expect("recorded");
        let home = manager.home.path().to_owned();
        let private = home.parent().expect("in one").to_owned();
        let old = manager.run_dir("old").expect("made");
        for (round, lost) in [
            home.clone(),
            home.join(MARKER),
            home.join(CGROUP),
            private.join(MARKER),
            private.clone(),
        ]
        .into_iter()
        .enumerate()
        {
            if lost.is_dir() {
                fs::remove_dir_all(&lost).expect("there");
            } else {
                fs::remove_file(&lost).expect("there");
            }
            let run = manager.run_dir(round).expect("made again");
            assert!(run.path().is_dir());
            for dir in [&private, &home] {
                let mode = fs::metadata(dir).expect("there").permissions().mode();
                assert_eq!(mode & 0o777, 0o711);
                let marker = fs::read_to_string(dir.join(MARKER)).expect("there");
                assert_eq!(marker, format!("{}\n", manager.id()));
                assert!(LockedDir::of_dead(dir.clone(), manager.id()).is_none());
            }
            let record = fs::read_to_string(home.join(CGROUP)).expect("there");
            assert_eq!(record, "/no/such/cgroup\n");
            run.remove().expect("removed");
        }
        old.remove().expect("gone is as good");
        drop(manager);
        assert_eq!(fs::read_dir(temporary.path()).expect("there").count(), 0);
    }

    #[test]
    fn what_is_made_again_by_many_threads_at_once_is_made_once() {
        let root = tempfile::tempdir().expect("a directory");
        let manager = ManagerDir::open(root.path()).expect("taken");
        for round in 0..20 {
            fs::remove_dir_all(manager.home.path()).expect("there");
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let manager = &manager;
                    scope.spawn(move || {
                        let run = manager.run_dir(format!("{round}-{thread}")).expect("made");
                        assert!(run.path().is_dir());
                    });
                }
            });
            let home = manager.home.path().to_owned();
            assert!(LockedDir::of_dead(home, manager.id()).is_none());
        }
    }

    #[test]
    fn something_else_in_the_place_of_the_managers_directory_is_told() {
        let root = tempfile::tempdir().expect("a directory");
        let manager = ManagerDir::open(root.path()).expect("taken");
        let home = manager.home.path().to_owned();
        fs::rename(&home, root.path().join("moved")).expect("there");
        fs::create_dir(&home).expect("made");
        let (path, error) = manager.run_dir("a-process").expect_err("not ours");
        assert_eq!(path, home);
        assert!(error.to_string().contains("something else"), "{error}");
        fs::remove_dir(&home).expect("there");
        fs::rename(root.path().join("moved"), &home).expect("there");
        manager.run_dir("a-process").expect("as it was");
    }

    #[test]
    fn a_temporary_directory_is_removed_whole() {
        let manager = ManagerDir::temporary().expect("made");
        let root = manager.home.path().parent().expect("in one").to_owned();
        assert!(root.exists());
        drop(manager);
        assert!(!root.exists());
    }

    /// The next manager finds what a manager leaves that was killed, whenever that was.
    #[test]
    fn a_manager_killed_at_any_moment_of_its_start_or_end_leaves_what_is_swept() {
        let temporary = tempfile::tempdir().expect("a directory");
        let left = || fs::read_dir(temporary.path()).expect("there").count();
        let mut steps = 0;
        loop {
            let end = locked::killed_after(steps, || ManagerDir::temporary_in(temporary.path()));
            let Some(manager) = end else {
                assert_eq!(left(), 1, "after {steps} steps");
                sweep_temporary(temporary.path());
                assert_eq!(left(), 0, "after {steps} steps");
                steps += 1;
                continue;
            };
            // Nothing of one that lives is taken away.
            let manager = manager.expect("made");
            assert_eq!(sweep_temporary(temporary.path()), []);
            manager.run_dir("a-process").expect("made");
            break;
        }
        assert_eq!(steps, 10, "five for each directory");
        assert_eq!(left(), 0);
        // Of its end.
        for steps in 0..=4 {
            let manager = ManagerDir::temporary_in(temporary.path()).expect("made");
            let end = locked::killed_after(steps, || drop(manager));
            assert_eq!(
                (end.is_some(), left()),
                (steps == 4, usize::from(steps < 4))
            );
            sweep_temporary(temporary.path());
            assert_eq!(left(), 0, "after {steps} steps");
        }
        // In a working directory that is not private.
        for steps in 0..5 {
            let end = locked::killed_after(steps, || ManagerDir::open(temporary.path()));
            assert!(end.is_none());
            let next = ManagerDir::open(temporary.path()).expect("free");
            next.sweep();
            assert_eq!(left(), 2, "after {steps} steps: the lock and its own");
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
