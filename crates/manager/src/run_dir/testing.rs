//! The files and directories that a hostile child makes, for tests.
#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use tempfile::TempDir;

use super::Deadline;
use crate::os::identity::{
    leave_mount_namespace, set_dumpable, set_thread_group, set_thread_groups, set_thread_user,
};

/// An empty directory, in memory where there is one: tens of thousands of directories take long on
/// a busy disk.
pub(crate) fn fast_directory() -> TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

/// Longer than any test takes.
pub(crate) fn no_deadline() -> Deadline {
    Deadline::after(Duration::from_mins(10))
}

/// Makes directories in each other, so many levels.
pub(crate) fn make_levels(directory: &Path, levels: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, directory, flags, Mode::empty()).expect("there");
    for _ in 0..levels {
        mkdirat(&at, "level", Mode::RWXU).expect("made");
        at = openat(&at, "level", flags, Mode::empty()).expect("there");
    }
}

/// Runs this on a thread that belongs to the user nobody. For root.
pub(crate) fn as_nobody(run: impl FnOnce() + Send + 'static) {
    const NOBODY: u32 = 65_534;
    let thread = std::thread::spawn(move || {
        set_thread_groups(&[]).expect("allowed");
        set_thread_group(NOBODY).expect("allowed");
        set_thread_user(NOBODY).expect("allowed");
        set_dumpable().expect("allowed");
        run();
    });
    thread.join().expect("no panic");
}

/// Mounts one directory on another, for this thread and what it starts alone. False, with a word
/// about it, where that is not allowed.
pub(crate) fn mount(what: &Path, on: &Path) -> bool {
    if let Err(error) = leave_mount_namespace() {
        eprintln!("NOT RUN without a mount namespace: {error}");
        return false;
    }
    let script = r#"mount --make-rprivate / && mount --bind "$1" "$2""#;
    let mut mount = Command::new("/bin/sh");
    mount.args(["-c", script, "sh"]).args([what, on]);
    assert!(mount.status().expect("starts").success());
    true
}
