//! System calls without a C library: numbers, registers, and a typed function for each call.
//!
//! Calls that only some architectures have (`fork`, `poll`, `dup2`, `open`) are left out; the calls
//! here exist on all of them. Every function answers with the kernel's own error number. Sources:
//! `syscall(2)` for the registers, each call's own page in section 2 for its arguments, and the
//! kernel's `include/uapi` for structures and flags.

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const READ: usize = 0;
    pub(super) const WRITE: usize = 1;
    pub(super) const CLOSE: usize = 3;
    pub(super) const LSEEK: usize = 8;
    pub(super) const MMAP: usize = 9;
    pub(super) const RT_SIGACTION: usize = 13;
    pub(super) const RT_SIGPROCMASK: usize = 14;
    pub(super) const IOCTL: usize = 16;
    pub(super) const GETPID: usize = 39;
    pub(super) const SENDMSG: usize = 46;
    pub(super) const RECVMSG: usize = 47;
    pub(super) const SHUTDOWN: usize = 48;
    pub(super) const CLONE: usize = 56;
    pub(super) const EXECVE: usize = 59;
    pub(super) const KILL: usize = 62;
    pub(super) const FCNTL: usize = 72;
    pub(super) const CHDIR: usize = 80;
    pub(super) const FCHDIR: usize = 81;
    pub(super) const FCHOWN: usize = 93;
    pub(super) const UMASK: usize = 95;
    pub(super) const SETPGID: usize = 109;
    pub(super) const GETPGID: usize = 121;
    pub(super) const CAPSET: usize = 126;
    pub(super) const SETSID: usize = 112;
    pub(super) const SETGROUPS: usize = 116;
    pub(super) const SETRESUID: usize = 117;
    pub(super) const SETRESGID: usize = 119;
    pub(super) const SETPRIORITY: usize = 141;
    pub(super) const PRCTL: usize = 157;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const WAITID: usize = 247;
    pub(super) const OPENAT: usize = 257;
    pub(super) const READLINKAT: usize = 267;
    pub(super) const PPOLL: usize = 271;
    pub(super) const SIGNALFD4: usize = 289;
    pub(super) const DUP3: usize = 292;
    pub(super) const PIPE2: usize = 293;
    pub(super) const PRLIMIT64: usize = 302;
    pub(super) const SECCOMP: usize = 317;
    pub(super) const EXECVEAT: usize = 322;
    pub(super) const CLOSE_RANGE: usize = 436;
    pub(super) const FSOPEN: usize = 430;
    pub(super) const FSCONFIG: usize = 431;
    pub(super) const FSMOUNT: usize = 432;
    pub(super) const LANDLOCK_RESTRICT_SELF: usize = 446;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const DUP3: usize = 24;
    pub(super) const FCNTL: usize = 25;
    pub(super) const IOCTL: usize = 29;
    pub(super) const CHDIR: usize = 49;
    pub(super) const FCHDIR: usize = 50;
    pub(super) const FCHOWN: usize = 55;
    pub(super) const OPENAT: usize = 56;
    pub(super) const CLOSE: usize = 57;
    pub(super) const PIPE2: usize = 59;
    pub(super) const LSEEK: usize = 62;
    pub(super) const READ: usize = 63;
    pub(super) const WRITE: usize = 64;
    pub(super) const PPOLL: usize = 73;
    pub(super) const READLINKAT: usize = 78;
    pub(super) const SIGNALFD4: usize = 74;
    pub(super) const CAPSET: usize = 91;
    pub(super) const EXIT_GROUP: usize = 94;
    pub(super) const WAITID: usize = 95;
    pub(super) const KILL: usize = 129;
    pub(super) const RT_SIGACTION: usize = 134;
    pub(super) const RT_SIGPROCMASK: usize = 135;
    pub(super) const SETPRIORITY: usize = 140;
    pub(super) const SETRESUID: usize = 147;
    pub(super) const SETRESGID: usize = 149;
    pub(super) const SETPGID: usize = 154;
    pub(super) const GETPGID: usize = 155;
    pub(super) const SETSID: usize = 157;
    pub(super) const SETGROUPS: usize = 159;
    pub(super) const UMASK: usize = 166;
    pub(super) const PRCTL: usize = 167;
    pub(super) const GETPID: usize = 172;
    pub(super) const SHUTDOWN: usize = 210;
    pub(super) const SENDMSG: usize = 211;
    pub(super) const RECVMSG: usize = 212;
    pub(super) const CLONE: usize = 220;
    pub(super) const EXECVE: usize = 221;
    pub(super) const MMAP: usize = 222;
    pub(super) const PRLIMIT64: usize = 261;
    pub(super) const SECCOMP: usize = 277;
    pub(super) const EXECVEAT: usize = 281;
    pub(super) const CLOSE_RANGE: usize = 436;
    pub(super) const FSOPEN: usize = 430;
    pub(super) const FSCONFIG: usize = 431;
    pub(super) const FSMOUNT: usize = 432;
    pub(super) const LANDLOCK_RESTRICT_SELF: usize = 446;
}

// The kernel starts a program with its arguments on the stack and nothing set up. Neither is used;
// the stack is aligned as a function expects it.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym crate::main,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "bl {main}",
    "brk #1",
    main = sym crate::main,
);

/// An error number of the kernel, `errno(3)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const SRCH: Self = Self(3);
    pub(crate) const INTR: Self = Self(4);
    pub(crate) const CHILD: Self = Self(10);
    pub(crate) const AGAIN: Self = Self(11);
    pub(crate) const NOENT: Self = Self(2);
    pub(crate) const INVAL: Self = Self(22);
    pub(crate) const MFILE: Self = Self(24);
    pub(crate) const TXTBSY: Self = Self(26);
}

pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// Makes a system call with six arguments.
///
/// # Safety
///
/// The arguments must be valid for the call: pointers point to memory that the kernel may read or
/// write as the call says, for as long as the call lasts.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize> {
    let result: isize;
    // SAFETY: these are the registers of a system call, `syscall(2)`; rcx and r11 are lost, flags
    // and memory may change, and the stack is not touched. The caller vouches for the arguments.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    checked(result)
}

/// Makes a system call with six arguments.
///
/// # Safety
///
/// The arguments must be valid for the call: pointers point to memory that the kernel may read or
/// write as the call says, for as long as the call lasts.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize> {
    let result: isize;
    // SAFETY: these are the registers of a system call, `syscall(2)`; memory may change, and the
    // stack is not touched. The caller vouches for the arguments.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") arguments[0] => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            in("x4") arguments[4],
            in("x5") arguments[5],
            options(nostack),
        );
    }
    checked(result)
}

fn checked(result: isize) -> Result<usize> {
    // The kernel's errors are -4095 to -1.
    if (-4095..0).contains(&result) {
        return Err(Errno(-result as i32));
    }
    Ok(result as usize)
}

/// A call whose arguments are numbers only, so that nothing can be invalid about them.
fn numbers(number: usize, arguments: [usize; 6]) -> Result<usize> {
    // SAFETY: no argument is a pointer.
    unsafe { call(number, arguments) }
}

fn widened(number: i32) -> usize {
    number as isize as usize
}

pub(crate) const SIGCHLD: i32 = 17;
pub(crate) const SIGKILL: i32 = 9;
pub(crate) const SIGSTOP: i32 = 19;
pub(crate) const SIGCONT: i32 = 18;
const SIGNALS: i32 = 64;

/// Ends this process.
pub(crate) fn exit(code: i32) -> ! {
    let _ = numbers(number::EXIT_GROUP, [widened(code), 0, 0, 0, 0, 0]);
    // The call does not come back; a compiler cannot know.
    loop {
        core::hint::spin_loop();
    }
}

pub(crate) fn close(fd: i32) {
    let _ = numbers(number::CLOSE, [widened(fd), 0, 0, 0, 0, 0]);
}

/// Closes all descriptors from `first` to `last`, both included. Without `close_range(2)`, which is
/// there since Linux 5.9, each number below the limit of open files is closed by itself.
pub(crate) fn close_range(first: i32, last: i32) {
    if first > last {
        return;
    }
    let all = [first as usize, last as usize, 0, 0, 0, 0];
    if numbers(number::CLOSE_RANGE, all).is_ok() {
        return;
    }
    let most = limit(RLIMIT_NOFILE).map_or(1 << 20, |(_, hard)| hard.min(1 << 20)) as i32;
    for fd in first..=last.min(most) {
        close(fd);
    }
}

pub(crate) fn read(fd: i32, buffer: &mut [u8]) -> Result<usize> {
    let arguments = [widened(fd), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
    // SAFETY: pointer and length are those of a slice that is borrowed for writing.
    unsafe { call(number::READ, arguments) }
}

pub(crate) fn write(fd: i32, bytes: &[u8]) -> Result<usize> {
    let arguments = [widened(fd), bytes.as_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: pointer and length are those of a slice.
    unsafe { call(number::WRITE, arguments) }
}

pub(crate) const O_RDONLY: i32 = 0;
pub(crate) const O_WRONLY: i32 = 1;
pub(crate) const O_RDWR: i32 = 2;
pub(crate) const O_CLOEXEC: i32 = 0o2_000_000;
pub(crate) const O_NONBLOCK: i32 = 0o4000;
pub(crate) const AT_FDCWD: i32 = -100;

/// Opens a path that ends with a NUL byte.
pub(crate) fn open(directory: i32, path: &[u8], flags: i32) -> Result<i32> {
    if path.last() != Some(&0) {
        return Err(Errno::INVAL);
    }
    let arguments = [widened(directory), path.as_ptr() as usize, widened(flags), 0, 0, 0];
    // SAFETY: the path ends with the NUL byte that was looked for.
    let fd = unsafe { call(number::OPENAT, arguments) }?;
    Ok(fd as i32)
}

/// Reads a symbolic link, whose path ends with a NUL byte: the length of what was read.
pub(crate) fn read_link(directory: i32, path: &[u8], buffer: &mut [u8]) -> Result<usize> {
    if path.last() != Some(&0) {
        return Err(Errno::INVAL);
    }
    let to = buffer.as_mut_ptr() as usize;
    let arguments = [widened(directory), path.as_ptr() as usize, to, buffer.len(), 0, 0];
    // SAFETY: the path ends with the NUL byte that was looked for; pointer and length of the buffer
    // are those of a slice that is borrowed for writing.
    unsafe { call(number::READLINKAT, arguments) }
}

/// Makes a pipe whose ends are close-on-exec: the end to read, and the end to write.
pub(crate) fn pipe() -> Result<(i32, i32)> {
    let mut ends = [0_i32; 2];
    let arguments = [ends.as_mut_ptr() as usize, widened(O_CLOEXEC), 0, 0, 0, 0];
    // SAFETY: the kernel writes two numbers, for which there is room.
    unsafe { call(number::PIPE2, arguments) }?;
    Ok((ends[0], ends[1]))
}

/// Makes `to` the same as `from`, without close-on-exec.
pub(crate) fn duplicate_to(from: i32, to: i32) -> Result<()> {
    numbers(number::DUP3, [widened(from), widened(to), 0, 0, 0, 0]).map(drop)
}

/// Makes a close-on-exec copy with a number of `least` or more.
pub(crate) fn duplicate_from(fd: i32, least: i32) -> Result<i32> {
    const F_DUPFD_CLOEXEC: usize = 1030;
    let arguments = [widened(fd), F_DUPFD_CLOEXEC, widened(least), 0, 0, 0];
    numbers(number::FCNTL, arguments).map(|fd| fd as i32)
}

/// Makes a copy of this process; 0 in the copy, whose memory is its own.
pub(crate) fn fork() -> Result<i32> {
    let arguments = [widened(SIGCHLD), 0, 0, 0, 0, 0];
    // SAFETY: without a stack and without `CLONE_VM` the copy goes on where this process is, with
    // memory of its own. There is one thread, and no lock that another could hold.
    let pid = unsafe { call(number::CLONE, arguments) }?;
    Ok(pid as i32)
}

/// The newest process number, as far as one process can know it: that of a copy of this one, which
/// is killed and reaped at once, and tells of its end by no signal.
pub(crate) fn newest_pid() -> Result<i32> {
    const P_PID: usize = 1;
    // SAFETY: as in `fork`.
    let pid = unsafe { call(number::CLONE, [0; 6]) }? as i32;
    if pid == 0 {
        exit(0);
    }
    let _ = kill(pid, SIGKILL);
    while matches!(waitid(P_PID, pid, WEXITED), Err(Errno::INTR)) {}
    Ok(pid)
}

/// Mounts a `/proc` of its own nowhere, for a process that may mount and has none: `fsopen(2)`;
/// there since Linux 5.2.
pub(crate) fn mount_proc() -> Result<i32> {
    const FSOPEN_CLOEXEC: usize = 1;
    const FSCONFIG_CMD_CREATE: usize = 6;
    const FSMOUNT_CLOEXEC: usize = 1;
    const READ_ONLY_NO_SUID_NO_DEVICES_NO_PROGRAMS: usize = 1 | 2 | 4 | 8;
    let name = b"proc\0";
    // SAFETY: the name ends with a NUL byte.
    let made = unsafe { call(number::FSOPEN, [name.as_ptr() as usize, FSOPEN_CLOEXEC, 0, 0, 0, 0]) }?;
    let mounted = numbers(number::FSCONFIG, [made, FSCONFIG_CMD_CREATE, 0, 0, 0, 0]).and_then(|_| {
        let attributes = READ_ONLY_NO_SUID_NO_DEVICES_NO_PROGRAMS;
        numbers(number::FSMOUNT, [made, FSMOUNT_CLOEXEC, attributes, 0, 0, 0])
    });
    close(made as i32);
    mounted.map(|fd| fd as i32)
}

pub(crate) fn own_pid() -> i32 {
    numbers(number::GETPID, [0; 6]).map_or(0, |pid| pid as i32)
}

/// The number of the process group of a process.
pub(crate) fn group_of(pid: i32) -> Result<i32> {
    numbers(number::GETPGID, [widened(pid), 0, 0, 0, 0, 0]).map(|group| group as i32)
}

/// Sends a signal to a process, or with a negative number to a group.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    numbers(number::KILL, [widened(pid), widened(signal), 0, 0, 0, 0]).map(drop)
}

/// `struct kernel_sigaction` of x86-64 and aarch64: no handler of ours is ever installed.
#[repr(C)]
struct SignalAction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// Sets all signals to their default action. `execve(2)` keeps ignored signals ignored, so what the
/// host ignores would stay ignored in every child.
pub(crate) fn reset_signals() {
    let action = SignalAction { handler: 0, flags: 0, restorer: 0, mask: 0 };
    for signal in 1..=SIGNALS {
        let arguments =
            [widened(signal), &raw const action as usize, 0, size_of::<u64>(), 0, 0];
        // SAFETY: the kernel reads one action of its own layout, and writes nothing.
        let _ = unsafe { call(number::RT_SIGACTION, arguments) };
    }
}

/// Blocks exactly the signals of `mask`, of which bit 0 stands for signal 1.
pub(crate) fn block_signals(mask: u64) {
    const SIG_SETMASK: usize = 2;
    let arguments = [SIG_SETMASK, &raw const mask as usize, 0, size_of::<u64>(), 0, 0];
    // SAFETY: the kernel reads one mask of 64 bits, and writes nothing.
    let _ = unsafe { call(number::RT_SIGPROCMASK, arguments) };
}

pub(crate) const fn signal_bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Makes a descriptor that can be read when one of these signals is pending, `signalfd(2)`. A fork
/// that has it learns of its own signals by it, not of ours.
pub(crate) fn signal_descriptor(mask: u64) -> Result<i32> {
    let flags = widened(O_CLOEXEC | O_NONBLOCK);
    let arguments =
        [widened(-1), &raw const mask as usize, size_of::<u64>(), flags, 0, 0];
    // SAFETY: the kernel reads one mask of 64 bits.
    let fd = unsafe { call(number::SIGNALFD4, arguments) }?;
    Ok(fd as i32)
}

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Poll {
    pub(crate) fd: i32,
    pub(crate) wanted: i16,
    pub(crate) found: i16,
}

pub(crate) const POLLIN: i16 = 1;
pub(crate) const POLLOUT: i16 = 4;
pub(crate) const POLLERR: i16 = 8;
pub(crate) const POLLHUP: i16 = 16;

impl Poll {
    /// A negative descriptor is passed over.
    pub(crate) const fn new(fd: i32, wanted: i16) -> Self {
        Self { fd, wanted, found: 0 }
    }
}

/// Waits until one of `polls` has something, or for so many milliseconds.
pub(crate) fn poll(polls: &mut [Poll], milliseconds: Option<u32>) -> Result<usize> {
    let mut time = milliseconds.map(|time| [i64::from(time / 1000), i64::from(time % 1000) * 1_000_000]);
    let time_at = time.as_mut().map_or(0, |time| time.as_mut_ptr() as usize);
    let arguments = [polls.as_mut_ptr() as usize, polls.len(), time_at, 0, 0, 0];
    // SAFETY: pointer and length are those of a slice that is borrowed for writing; the time is
    // either none or two numbers that the kernel may write back to what is a copy of our own.
    unsafe { call(number::PPOLL, arguments) }
}

/// The kernel's `struct rusage`, of which three fields are read.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    user: [i64; 2],
    system: [i64; 2],
    pub(crate) max_rss_kib: i64,
    rest: [i64; 13],
}

impl Usage {
    pub(crate) fn user_micros(&self) -> u64 {
        micros(self.user)
    }

    pub(crate) fn system_micros(&self) -> u64 {
        micros(self.system)
    }
}

fn micros([seconds, micros]: [i64; 2]) -> u64 {
    (seconds as u64).wrapping_mul(1_000_000).wrapping_add(micros as u64)
}

/// A child that was found dead, or reaped.
#[derive(Clone, Copy)]
pub(crate) struct Dead {
    pub(crate) pid: i32,
    /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED`, `waitid(2)`.
    pub(crate) code: i32,
    pub(crate) status: i32,
    pub(crate) usage: Usage,
}

pub(crate) const CLD_KILLED: i32 = 2;

/// `siginfo_t` as `waitid` fills it: 128 bytes, of which these are read.
#[repr(C)]
struct SignalInfo {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    pid: i32,
    uid: u32,
    status: i32,
    rest: [u32; 25],
}

const WNOHANG: usize = 1;
const WEXITED: usize = 4;
const WNOWAIT: usize = 0x0100_0000;
/// Also children that do not tell of their end by SIGCHLD.
const WALL: usize = 0x4000_0000;

fn waitid(kind: usize, pid: i32, options: usize) -> Result<Option<Dead>> {
    let mut info = SignalInfo {
        signal: 0,
        errno: 0,
        code: 0,
        padding: 0,
        pid: 0,
        uid: 0,
        status: 0,
        rest: [0; 25],
    };
    let mut usage = Usage { user: [0; 2], system: [0; 2], max_rss_kib: 0, rest: [0; 13] };
    let arguments = [
        kind,
        widened(pid),
        &raw mut info as usize,
        options | WALL,
        &raw mut usage as usize,
        0,
    ];
    // SAFETY: the kernel writes one structure to each of the two places, which have its layout and
    // size.
    unsafe { call(number::WAITID, arguments) }?;
    Ok((info.pid != 0).then_some(Dead {
        pid: info.pid,
        code: info.code,
        status: info.status,
        usage,
    }))
}

/// Reaps one child that has ended; `None` where all of them live. `ECHILD` means that there is
/// none.
pub(crate) fn reap_any() -> Result<Option<Dead>> {
    const P_ALL: usize = 0;
    waitid(P_ALL, 0, WEXITED | WNOHANG)
}

pub(crate) const CLD_EXITED: i32 = 1;
pub(crate) const CLD_STOPPED: i32 = 5;

/// As [`reap_any`], and also finds a child that was stopped, once for each time.
pub(crate) fn reap_or_see_stopped() -> Result<Option<Dead>> {
    const P_ALL: usize = 0;
    const WSTOPPED: usize = 2;
    waitid(P_ALL, 0, WEXITED | WSTOPPED | WNOHANG)
}

/// Waits until a child has ended, and does not reap it; `false` where there is no child.
pub(crate) fn wait_for_any() -> bool {
    const P_ALL: usize = 0;
    !matches!(waitid(P_ALL, 0, WEXITED | WNOWAIT), Err(Errno::CHILD))
}

/// Whether `pid` is a child of ours that was not reaped, alive or not.
pub(crate) fn is_child(pid: i32) -> bool {
    const P_PID: usize = 1;
    waitid(P_PID, pid, WEXITED | WNOHANG | WNOWAIT).is_ok()
}

/// Whether `pid` is a child of ours that lives.
pub(crate) fn is_living_child(pid: i32) -> bool {
    const P_PID: usize = 1;
    matches!(waitid(P_PID, pid, WEXITED | WNOHANG | WNOWAIT), Ok(None))
}

#[repr(C)]
struct Part {
    base: usize,
    length: usize,
}

/// `struct msghdr` of the kernel.
#[repr(C)]
struct MessageHead {
    name: usize,
    name_length: u32,
    padding: u32,
    parts: usize,
    part_count: usize,
    control: usize,
    control_length: usize,
    flags: i32,
    padding_2: i32,
}

/// The most descriptors that are taken from one message.
pub(crate) const MAX_DESCRIPTORS: usize = 32;

#[repr(C, align(8))]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    fds: [i32; MAX_DESCRIPTORS],
}

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const CONTROL_HEAD: usize = 16;
const MSG_CTRUNC: i32 = 8;
const MSG_TRUNC: i32 = 0x20;
const MSG_DONTWAIT: usize = 0x40;
const MSG_NOSIGNAL: usize = 0x4000;
const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;

/// One message, as it was received.
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) fds: [i32; MAX_DESCRIPTORS],
    pub(crate) fd_count: usize,
    /// Bytes or descriptors are missing: it was longer than there was room for.
    pub(crate) is_cut: bool,
}

/// Takes one message from a socket, without waiting. A length of 0 is the end.
pub(crate) fn receive(fd: i32, buffer: &mut [u8]) -> Result<Received> {
    let part = Part { base: buffer.as_mut_ptr() as usize, length: buffer.len() };
    let mut control = Control { length: 0, level: 0, kind: 0, fds: [-1; MAX_DESCRIPTORS] };
    let mut head = MessageHead {
        name: 0,
        name_length: 0,
        padding: 0,
        parts: &raw const part as usize,
        part_count: 1,
        control: &raw mut control as usize,
        control_length: size_of::<Control>(),
        flags: 0,
        padding_2: 0,
    };
    let arguments =
        [widened(fd), &raw mut head as usize, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, 0, 0, 0];
    // SAFETY: head, part, control and buffer live across the call, and the lengths are theirs.
    let length = unsafe { call(number::RECVMSG, arguments) }?;
    let has_fds = head.control_length >= CONTROL_HEAD
        && control.level == SOL_SOCKET
        && control.kind == SCM_RIGHTS;
    let fd_count = if has_fds {
        (control.length.saturating_sub(CONTROL_HEAD) / size_of::<i32>()).min(MAX_DESCRIPTORS)
    } else {
        0
    };
    let is_cut = head.flags & (MSG_CTRUNC | MSG_TRUNC) != 0;
    Ok(Received { length, fds: control.fds, fd_count, is_cut })
}

/// Sends one message to a socket, without waiting and without SIGPIPE.
pub(crate) fn send(fd: i32, bytes: &[u8]) -> Result<()> {
    let part = Part { base: bytes.as_ptr() as usize, length: bytes.len() };
    let head = MessageHead {
        name: 0,
        name_length: 0,
        padding: 0,
        parts: &raw const part as usize,
        part_count: 1,
        control: 0,
        control_length: 0,
        flags: 0,
        padding_2: 0,
    };
    let arguments = [widened(fd), &raw const head as usize, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0, 0];
    // SAFETY: head, part and bytes live across the call, and the lengths are theirs.
    unsafe { call(number::SENDMSG, arguments) }.map(drop)
}

/// Takes no message any more from a socket.
pub(crate) fn stop_receiving(fd: i32) {
    const SHUT_RD: usize = 0;
    let _ = numbers(number::SHUTDOWN, [widened(fd), SHUT_RD, 0, 0, 0, 0]);
}

const PROT_READ: usize = 1;
const PROT_WRITE: usize = 2;
const MAP_PRIVATE: usize = 2;
const MAP_ANONYMOUS: usize = 0x20;

/// Fresh memory of so many bytes, all zero, kept until this process ends.
pub(crate) fn allocate(length: usize) -> Result<&'static mut [u8]> {
    let arguments =
        [0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, widened(-1), 0];
    // SAFETY: the kernel chooses the place, so no other memory is replaced.
    let address = unsafe { call(number::MMAP, arguments) }?;
    // SAFETY: the mapping is new, of this length, readable and writable, and is never taken away.
    Ok(unsafe { core::slice::from_raw_parts_mut(address as *mut u8, length) })
}

/// The first `length` bytes of a file, as a copy of our own.
pub(crate) fn map(fd: i32, length: usize) -> Result<&'static [u8]> {
    let arguments = [0, length, PROT_READ, MAP_PRIVATE, widened(fd), 0];
    // SAFETY: the kernel chooses the place, so no other memory is replaced.
    let address = unsafe { call(number::MMAP, arguments) }?;
    // SAFETY: the mapping is new, of this length and readable, and is never taken away. The file is
    // sealed, so that nobody can shorten or change it: the caller has checked that.
    Ok(unsafe { core::slice::from_raw_parts(address as *const u8, length) })
}

/// Whether a memory file has the seals that keep it as it is: against writing, shrinking, growing.
pub(crate) fn is_sealed(fd: i32) -> bool {
    const F_GET_SEALS: usize = 1034;
    const WRITE_SHRINK_GROW: usize = 8 | 2 | 4;
    let seals = numbers(number::FCNTL, [widened(fd), F_GET_SEALS, 0, 0, 0, 0]);
    seals.is_ok_and(|seals| seals & WRITE_SHRINK_GROW == WRITE_SHRINK_GROW)
}

/// The length of a file.
pub(crate) fn length(fd: i32) -> Result<usize> {
    const SEEK_END: usize = 2;
    numbers(number::LSEEK, [widened(fd), 0, SEEK_END, 0, 0, 0])
}

fn prctl(option: usize, argument: usize) -> Result<()> {
    numbers(number::PRCTL, [option, argument, 0, 0, 0, 0]).map(drop)
}

/// Makes this process the parent of every descendant whose own parent ends.
pub(crate) fn adopt_orphans() -> Result<()> {
    const PR_SET_CHILD_SUBREAPER: usize = 36;
    prctl(PR_SET_CHILD_SUBREAPER, 1)
}

/// Sets whether processes of the same user may look into this one.
pub(crate) fn set_dumpable(dumpable: bool) {
    const PR_SET_DUMPABLE: usize = 4;
    let _ = prctl(PR_SET_DUMPABLE, usize::from(dumpable));
}

/// Sets the name that `ps` shows: 15 bytes at most, and a NUL byte.
pub(crate) fn set_name(name: &[u8; 16]) {
    const PR_SET_NAME: usize = 15;
    let arguments = [PR_SET_NAME, name.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel reads at most 16 bytes, which are there.
    let _ = unsafe { call(number::PRCTL, arguments) };
}

pub(crate) fn set_no_new_privileges() -> Result<()> {
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    prctl(PR_SET_NO_NEW_PRIVS, 1)
}

pub(crate) fn new_session() -> Result<()> {
    numbers(number::SETSID, [0; 6]).map(drop)
}

pub(crate) fn new_group() -> Result<()> {
    numbers(number::SETPGID, [0; 6]).map(drop)
}

/// Makes the terminal of `fd` that of this session.
pub(crate) fn take_terminal(fd: i32) -> Result<()> {
    const TIOCSCTTY: usize = 0x540e;
    numbers(number::IOCTL, [widened(fd), TIOCSCTTY, 0, 0, 0, 0]).map(drop)
}

/// Sets the niceness itself, not what is added to it.
pub(crate) fn set_nice(nice: i32) -> Result<()> {
    const PRIO_PROCESS: usize = 0;
    numbers(number::SETPRIORITY, [PRIO_PROCESS, 0, widened(nice), 0, 0, 0]).map(drop)
}

pub(crate) fn set_umask(umask: u32) {
    let _ = numbers(number::UMASK, [umask as usize, 0, 0, 0, 0, 0]);
}

const RLIMIT_NOFILE: u32 = 7;

/// The soft and the hard limit of a resource.
fn limit(resource: u32) -> Result<(u64, u64)> {
    let mut old = [0_u64; 2];
    let arguments = [0, resource as usize, 0, old.as_mut_ptr() as usize, 0, 0];
    // SAFETY: the kernel writes two numbers, for which there is room.
    unsafe { call(number::PRLIMIT64, arguments) }?;
    Ok((old[0], old[1]))
}

pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let new = [soft, hard];
    let arguments = [0, resource as usize, new.as_ptr() as usize, 0, 0, 0];
    // SAFETY: the kernel reads two numbers, and writes nothing.
    unsafe { call(number::PRLIMIT64, arguments) }.map(drop)
}

pub(crate) fn set_owner(fd: i32, user: u32, group: u32) -> Result<()> {
    let arguments = [widened(fd), user as usize, group as usize, 0, 0, 0];
    numbers(number::FCHOWN, arguments).map(drop)
}

/// Sets the supplementary groups: numbers of four bytes each, in this machine's order.
pub(crate) fn set_groups(groups: &[u8]) -> Result<()> {
    let arguments = [groups.len() / 4, groups.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel reads as many numbers as the slice has room for, byte by byte.
    unsafe { call(number::SETGROUPS, arguments) }.map(drop)
}

/// Sets the real, effective and saved group.
pub(crate) fn set_group(group: u32) -> Result<()> {
    let group = group as usize;
    numbers(number::SETRESGID, [group, group, group, 0, 0, 0]).map(drop)
}

/// Sets the real, effective and saved user. Any but root has no capability afterwards: the kernel
/// takes them away only from a process that was root, and not even then if a secure bit says so,
/// `capabilities(7)`.
pub(crate) fn set_user(user: u32) -> Result<()> {
    const PR_CAP_AMBIENT: usize = 47;
    const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
    const VERSION_3: u32 = 0x2008_0522;
    let id = user as usize;
    numbers(number::SETRESUID, [id, id, id, 0, 0, 0])?;
    if user == 0 {
        return Ok(());
    }
    // There since Linux 4.3, and so are the capabilities that it takes.
    let _ = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL);
    let head = [VERSION_3, 0];
    let none = [0_u32; 6];
    let arguments = [head.as_ptr() as usize, none.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel reads the head, and for this version two groups of three numbers.
    unsafe { call(number::CAPSET, arguments) }.map(drop)
}

/// Has this process killed when its parent ends, `PR_SET_PDEATHSIG(2const)`.
pub(crate) fn die_with_parent() {
    const PR_SET_PDEATHSIG: usize = 1;
    let _ = prctl(PR_SET_PDEATHSIG, SIGKILL as usize);
}

pub(crate) fn enter(directory: i32) -> Result<()> {
    numbers(number::FCHDIR, [widened(directory), 0, 0, 0, 0, 0]).map(drop)
}

/// Enters the directory of a path that ends with a NUL byte.
pub(crate) fn enter_path(path: &[u8]) -> Result<()> {
    if path.last() != Some(&0) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the path ends with the NUL byte that was looked for.
    unsafe { call(number::CHDIR, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// Enters the Landlock domain of a rule set, `landlock_restrict_self(2)`; there since Linux 5.13.
pub(crate) fn restrict_self(rules: i32) -> Result<()> {
    numbers(number::LANDLOCK_RESTRICT_SELF, [widened(rules), 0, 0, 0, 0, 0]).map(drop)
}

/// Loads a seccomp filter: instructions of eight bytes each, `struct sock_filter`.
pub(crate) fn filter_calls(filter: &[u8]) -> Result<()> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: usize,
    }
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    let length = u16::try_from(filter.len() / 8).map_err(|_| Errno::INVAL)?;
    let program = Program { length, filter: filter.as_ptr() as usize };
    let arguments = [SECCOMP_SET_MODE_FILTER, 0, &raw const program as usize, 0, 0, 0];
    // SAFETY: the kernel reads as many instructions as the slice has, byte by byte.
    unsafe { call(number::SECCOMP, arguments) }.map(drop)
}

/// Becomes the program of a path; comes back only with an error.
///
/// # Safety
///
/// `path` must end with a NUL byte. `arguments` and `environment` must be the addresses of strings
/// that end with a NUL byte, with a 0 behind the last.
pub(crate) unsafe fn execute(path: &[u8], arguments: &[usize], environment: &[usize]) -> Errno {
    let (arguments, environment) = (arguments.as_ptr() as usize, environment.as_ptr() as usize);
    let all = [path.as_ptr() as usize, arguments, environment, 0, 0, 0];
    // SAFETY: the caller vouches for path and strings, which live until the call comes back.
    unsafe { call(number::EXECVE, all) }.err().unwrap_or(Errno::INVAL)
}

/// Becomes the program that `fd` refers to, `execveat(2)`; comes back only with an error.
///
/// # Safety
///
/// `arguments` and `environment` are those of [`execute`].
pub(crate) unsafe fn execute_fd(fd: i32, arguments: &[usize], environment: &[usize]) -> Errno {
    const AT_EMPTY_PATH: usize = 0x1000;
    let empty = [0_u8];
    let (arguments, environment) = (arguments.as_ptr() as usize, environment.as_ptr() as usize);
    let all = [widened(fd), empty.as_ptr() as usize, arguments, environment, AT_EMPTY_PATH, 0];
    // SAFETY: the caller vouches for the strings, which live until the call comes back.
    unsafe { call(number::EXECVEAT, all) }.err().unwrap_or(Errno::INVAL)
}
