//! Who the calling thread is.
//!
//! In the kernel every thread has credentials, a umask and a niceness of its own; it is the C library
//! that keeps the threads of a process alike (`nptl(7)`). These are the raw system calls, which
//! change the calling thread alone, and the children that it starts from then on. A thread that has
//! called one of them must be thrown away.

use std::io;

/// A `prctl(2)` without arguments, or with one.
fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<libc::c_int> {
    // SAFETY: the options used here take numbers only, no pointer.
    let result = unsafe { libc::prctl(option, argument, 0, 0, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Whether other processes of its user may look into this process (`PR_GET_DUMPABLE(2const)`).
pub(crate) fn is_dumpable() -> bool {
    prctl(libc::PR_GET_DUMPABLE, 0).is_ok_and(|value| value == 1)
}

pub(crate) fn set_dumpable() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 1).map(drop)
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The calling thread's own number.
pub(crate) fn thread_id() -> libc::pid_t {
    // SAFETY: gettid(2) takes nothing and always succeeds.
    unsafe { libc::gettid() }
}

/// Whether a thread of this process is still there, also one that is just ending.
pub(crate) fn thread_is_there(thread: libc::pid_t) -> bool {
    // SAFETY: numbers only; signal 0 is sent to nobody, tgkill(2).
    let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

pub(crate) fn set_thread_umask(umask: u32) -> io::Result<()> {
    // SAFETY: numbers only. The thread gets a umask, a root and a current directory of its own,
    // unshare(2).
    check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FS) })?;
    // SAFETY: umask(2) takes a number and always succeeds; by the line above it is this thread's.
    unsafe { libc::umask(umask) };
    Ok(())
}

/// Hides the mounts that the calling thread makes from now on from all but the thread and the
/// processes that it starts.
#[cfg(test)]
pub(crate) fn leave_mount_namespace() -> io::Result<()> {
    // SAFETY: numbers only. The thread gets a namespace of its own, unshare(2).
    check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNS) })
}

pub(crate) fn set_thread_nice(nice: i32) -> io::Result<()> {
    // SAFETY: numbers only; 0 is the calling thread, setpriority(2).
    check(unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice) })
}

pub(crate) fn set_thread_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length are those of the slice, which is only read; a gid is a u32.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
}

pub(crate) fn set_thread_group(group: u32) -> io::Result<()> {
    // SAFETY: numbers only, setresgid(2).
    check(unsafe { libc::syscall(libc::SYS_setresgid, group, group, group) })
}

pub(crate) fn set_thread_user(user: u32) -> io::Result<()> {
    // SAFETY: numbers only, setresuid(2).
    check(unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_changes_itself_alone() {
        let umask_of = |path: &str| {
            let status = std::fs::read_to_string(path).expect("readable");
            let line = status.lines().find(|line| line.starts_with("Umask:"));
            line.expect("since Linux 4.7").to_owned()
        };
        let before = umask_of("/proc/thread-self/status");
        let other = std::thread::spawn(move || {
            set_thread_umask(0o123).expect("allowed");
            set_thread_nice(19).expect("allowed");
            (umask_of("/proc/thread-self/status"), thread_id())
        });
        let (inside, thread) = other.join().expect("no panic");
        assert!(inside.ends_with("0123"), "{inside}");
        assert_eq!(umask_of("/proc/thread-self/status"), before);
        assert!(thread_is_there(thread_id()));
        while thread_is_there(thread) {
            std::thread::yield_now();
        }
    }
}
