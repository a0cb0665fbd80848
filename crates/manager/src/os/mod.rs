//! System calls that no safe crate offers. The only `unsafe` code of this crate.

#![expect(
    unsafe_code,
    reason = "raw system calls and reads into uninitialised memory; each block says why it is sound"
)]

pub(crate) mod identity;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What the kernel said of a child that it let go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    pub(crate) status: ExitStatus,
    pub(crate) user_time: Duration,
    pub(crate) system_time: Duration,
    /// `ru_maxrss` in bytes; inherited from the parent, so to be judged by the caller.
    pub(crate) max_rss: u64,
}

/// Sends a signal to all of the process group that the process of `pidfd` has begun, and never to
/// another group that has its number by now.
///
/// `PIDFD_SIGNAL_PROCESS_GROUP` of `pidfd_send_signal(2)` is there since Linux 6.9, and before it fails
/// with `EINVAL`. `ESRCH` means that there is nobody in that group.
pub(crate) fn signal_group(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    let no_information = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: only numbers go in, and a null pointer that the system call takes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            no_information,
            PIDFD_SIGNAL_PROCESS_GROUP,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The number of the process group of a process, if that is there; 0 for one of the kernel's.
pub(crate) fn group_of(pid: libc::pid_t) -> Option<libc::pid_t> {
    // SAFETY: a number goes in and a number comes out.
    let group = unsafe { libc::getpgid(pid) };
    (group >= 0).then_some(group)
}

/// Reaps the child that `pidfd` refers to, with its resource usage.
///
/// `None` while it still runs. Unless `block` is set this never waits. `ECHILD` means that
/// something else has reaped it.
///
/// `waitid(2)`: the raw system call takes a fifth argument, `struct rusage *`, that the C library's
/// wrapper leaves out; `P_PIDFD` is there since Linux 5.4.
pub(crate) fn reap(pidfd: BorrowedFd<'_>, block: bool) -> io::Result<Option<Reaped>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let options = libc::WEXITED | if block { 0 } else { libc::WNOHANG };
    // SAFETY: both pointers are to memory of the right type that lives across the call, and the
    // descriptor is borrowed for at least as long.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_raw_fd(),
            info.as_mut_ptr(),
            options,
            usage.as_mut_ptr(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero bytes are valid for both types, and the kernel has written over them.
    let (info, usage) = unsafe { (info.assume_init(), usage.assume_init()) };
    // SAFETY: a siginfo filled by waitid is of the SIGCHLD kind, which has these fields; where
    // nothing was to be reaped they are the zeros from above.
    let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let raw = match info.si_code {
        libc::CLD_EXITED => (value & 0xff) << 8,
        libc::CLD_DUMPED => value | 0x80,
        _ => value,
    };
    Ok(Some(Reaped {
        status: ExitStatus::from_raw(raw),
        user_time: duration(usage.ru_utime),
        system_time: duration(usage.ru_stime),
        max_rss: kibibytes(usage.ru_maxrss),
    }))
}

/// Reads the next entries of a directory as the kernel's records, `getdents64(2)`; 0 bytes at the
/// end.
pub(crate) fn read_directory(directory: BorrowedFd<'_>, entries: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of the slice, which is borrowed for writing across the
    // call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            directory.as_raw_fd(),
            entries.as_mut_ptr(),
            entries.len(),
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The high-water mark of this process's own resident memory, in bytes, and what the kernel may be wrong
/// by: each processor keeps up to a batch of pages of each of four kinds uncounted
/// (`percpu_counter_batch`). A child that starts with our mark may so be told to have a little more.
pub(crate) fn own_max_rss() -> u64 {
    const KINDS: u64 = 4;
    const PAGE: u64 = 4096;
    // Asking reads files of cgroups each time, and that would be a tenth of what a spawn costs.
    static PROCESSORS: OnceLock<u64> = OnceLock::new();
    let processors = *PROCESSORS.get_or_init(|| {
        std::thread::available_parallelism().map_or(64, |count| count.get() as u64)
    });
    let batch = (2 * processors).max(32);
    max_rss() + KINDS * processors * batch * PAGE
}

fn max_rss() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the right type; getrusage(2) writes it whole.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    kibibytes(usage.ru_maxrss)
}

fn kibibytes(value: libc::c_long) -> u64 {
    u64::try_from(value).unwrap_or(0).saturating_mul(1024)
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u32::try_from(time.tv_usec).unwrap_or(0);
    Duration::new(seconds, micros.saturating_mul(1000))
}

/// One `read(2)` into the spare room of `buffer`, which must have some.
pub(crate) fn read(fd: impl AsFd, buffer: &mut BytesMut) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    debug_assert!(
        !spare.is_empty(),
        "a read without room looks like the end of the file"
    );
    let fd = fd.as_fd();
    // SAFETY: pointer and length are those of memory that `buffer` owns and that nothing else
    // refers to; the kernel writes at most that many bytes.
    let result = unsafe { libc::read(fd.as_raw_fd(), spare.as_mut_ptr().cast(), spare.len()) };
    let Ok(count) = usize::try_from(result) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has initialised this many bytes of the spare room.
    unsafe { buffer.advance_mut(count) };
    Ok(count)
}

/// What keeps one descriptor open, and the same one, for as long as it is there.
pub(crate) trait Keeps: AsRawFd {}

impl Keeps for OwnedFd {}
impl Keeps for Arc<OwnedFd> {}

/// Watches a descriptor by the runtime. On failure the descriptor comes back with the reason.
pub(crate) fn watch<T: Keeps>(fd: T, interest: Interest) -> Result<AsyncFd<T>, (T, io::Error)> {
    // SAFETY: an `OwnedFd`, shared or not, is open, and stays the same descriptor of the same description until
    // it is dropped; the `AsyncFd` has a hold of it and nothing in this crate replaces a descriptor in place.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(tokio::io::unix::AsyncFdRegisterError::into_parts)
}

/// Whether anybody has the file open for writing; `file` must be open for reading only, and the file be
/// this user's.
///
/// A read lease can be had only where nobody has (`F_SETLEASE` in fcntl(2)), and is given back at once. Who
/// opens the file for writing just then waits for that moment, and the signal that tells us of it is one
/// that is ignored unless somebody asked for it.
pub(crate) fn has_writers(file: impl AsFd) -> io::Result<bool> {
    /// From the kernel's `include/uapi/asm-generic/fcntl.h`.
    const F_SETSIG: libc::c_int = 10;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open while `file` is borrowed; none of these commands takes a pointer.
    let result = unsafe {
        libc::fcntl(fd, F_SETSIG, libc::SIGURG);
        libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK)
    };
    if result == -1 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(true),
            _ => Err(error),
        };
    }
    // SAFETY: as above.
    unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::process::Command;

    #[expect(clippy::zombie_processes, reason = "reaping it is what is tested")]
    fn started(script: &str) -> OwnedFd {
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .spawn()
            .expect("sh starts");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("not zero");
        pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd")
    }

    #[test]
    fn reaps_codes_and_signals_with_their_usage() {
        for (script, code, signal) in [("exit 7", Some(7), None), ("kill -9 $$", None, Some(9))] {
            let fd = started(script);
            let reaped = reap(fd.as_fd(), true).expect("waits").expect("has ended");
            assert_eq!(
                (reaped.status.code(), reaped.status.signal()),
                (code, signal)
            );
            assert!(reaped.max_rss > 0);
            let error = reap(fd.as_fd(), false).expect_err("reaped once only");
            assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
        }
    }

    #[test]
    fn a_running_child_is_not_waited_for() {
        let fd = started("exec sleep 1000");
        assert!(reap(fd.as_fd(), false).expect("no error").is_none());
        rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL).expect("killed");
        let reaped = reap(fd.as_fd(), true).expect("waits").expect("has ended");
        assert_eq!(reaped.status.signal(), Some(9));
    }

    #[test]
    fn a_file_has_writers_while_it_is_open_for_writing() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("file");
        let writer = std::fs::File::create(&path).expect("made");
        let reader = std::fs::File::open(&path).expect("there");
        let other = writer.try_clone().expect("a copy");
        assert!(has_writers(&reader).expect("told"));
        drop(writer);
        assert!(has_writers(&reader).expect("told"));
        drop(other);
        for _ in 0..2 {
            assert!(!has_writers(&reader).expect("told"));
        }
        let again = std::fs::OpenOptions::new().append(true).open(&path);
        assert!(has_writers(&reader).expect("told"));
        drop(again);
    }

    #[test]
    fn reads_into_spare_room_only() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        io::Write::write_all(&mut writer, b"hello").expect("written");
        let mut buffer = BytesMut::with_capacity(8);
        buffer.extend_from_slice(b">");
        assert_eq!(read(&reader, &mut buffer).expect("read"), 5);
        assert_eq!(&buffer[..], b">hello");
    }
}
