//! Real processes for tests, which kill and reap what they have started.

use std::io::{BufRead, BufReader, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};

use procession_wire::TreeTag;
use procession_wire::env::PROCESSION_TREE;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use uuid::Uuid;

use super::scan::{Root, Scanner, Snapshot};
use super::{Tag, Tree};
use crate::id::ProcessId;
use crate::os;

/// Points its environment to memory that it never touches, `PR_SET_MM_MAP(2const)`.
const HAS_A_LARGE_ENVIRON: &str = r#"
import ctypes, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.sbrk.restype = ctypes.c_void_p
size = int(sys.argv[1])
PRIVATE_ANONYMOUS_NORESERVE = 0x4022
at = libc.mmap(None, ctypes.c_size_t(size), 3, PRIVATE_ANONYMOUS_NORESERVE, -1, ctypes.c_long(0))
fields = [None, None] + open("/proc/self/stat").read().rsplit(")", 1)[1].split()
field = lambda number: int(fields[number - 1])
PR_SET_MM, PR_SET_MM_MAP = 35, 14
map = struct.pack("12QIi", field(26), field(27), field(45), field(46), field(47), libc.sbrk(0),
                  field(28), field(48), field(49), at, at + size, 0, 0, -1)
print("done" if libc.prctl(PR_SET_MM, PR_SET_MM_MAP, map, len(map), 0) == 0 else "refused", flush=True)
time.sleep(1000)
"#;

/// A process of a manager, as a tag names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) manager: Uuid,
    pub(super) process: ProcessId,
}

impl Name {
    pub(super) fn new() -> Self {
        Self {
            manager: Uuid::new_v4(),
            process: ProcessId::random(),
        }
    }

    pub(super) fn list(&self) -> String {
        TreeTag::new(self.manager, self.process, 0).to_string()
    }

    pub(super) fn tag(&self) -> Tag {
        Tag::Process(self.manager, self.process)
    }

    pub(super) fn tree(&self, root: Option<Pid>) -> Tree {
        Tree {
            tag: self.tag(),
            root: root.map(root_of),
            known: Vec::new(),
        }
    }
}

/// A child in a group of its own, killed and reaped when dropped.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: Pid,
    pidfd: OwnedFd,
    lines: BufReader<ChildStdout>,
    reaped: bool,
}

impl Started {
    /// Runs a script with these variables and no others but `PATH`.
    pub(super) fn script(script: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command.env_clear().envs(variables.iter().copied());
        command.env("PATH", "/usr/bin:/bin");
        Self::command(command)
    }

    /// The same with a tree tag.
    pub(super) fn tagged(script: &str, name: &Name) -> Self {
        Self::script(script, &[(PROCESSION_TREE, &name.list())])
    }

    #[expect(clippy::zombie_processes, reason = "reaped by the pidfd")]
    pub(super) fn command(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.process_group(0).spawn().expect("starts");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("not zero");
        let stdout = child.stdout.take().expect("piped");
        Self {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd"),
            lines: BufReader::new(stdout),
            reaped: false,
        }
    }

    /// A program that has given itself an environment of so many zeros, once it has written a line;
    /// `None` without Python, or where the kernel does not let it.
    pub(super) fn with_environ(bytes: u64) -> Option<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", HAS_A_LARGE_ENVIRON, &bytes.to_string()]);
        command.stderr(Stdio::null());
        let there = Command::new("python3").arg("--version").output().is_ok();
        let mut started = there.then(|| Self::command(command))?;
        (started.line() == "done\n").then_some(started)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("readable");
        line
    }

    /// The next line of its output, as a process number.
    pub(super) fn pid_line(&mut self) -> Pid {
        let line = self.line();
        Pid::from_raw(line.trim().parse().expect("a number")).expect("not zero")
    }

    /// Waits until all that hold its output are gone, which need not be reaped by then.
    pub(super) fn output_ends(&mut self) {
        let mut rest = Vec::new();
        self.lines.read_to_end(&mut rest).expect("readable");
    }

    /// Waits for its end and says which signal it was.
    pub(super) fn signal(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        self.reaped = true;
        let reaped = os::reap(self.pidfd.as_fd(), true).expect("ours");
        reaped.expect("has ended").status.signal()
    }

    /// Waits for its end and leaves it a zombie.
    pub(super) fn exited(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(self.pidfd.as_fd()), options).expect("ours");
    }

    pub(super) fn is_running(&self) -> bool {
        lives(self.pid)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = os::reap(self.pidfd.as_fd(), true);
        }
    }
}

pub(super) fn snapshot() -> Snapshot {
    Scanner::default().scan().expect("a scan")
}

/// Whether a process of this number is there, and no zombie.
pub(super) fn lives(pid: Pid) -> bool {
    snapshot().has(pid)
}

/// Scans again while a process was in the midst of `execve(2)`: it may be one of the tree.
pub(super) fn members(tree: &Tree) -> Vec<Pid> {
    const MOST: usize = 100;
    let mut scans = std::iter::repeat_with(snapshot).take(MOST);
    let snapshot = scans.find(|scan| !scan.unsettled).unwrap_or_else(snapshot);
    let members = snapshot.members(tree.tag, tree.root.as_ref());
    members.into_iter().map(|seen| seen.pid).collect()
}

/// Kills a process that is not a child of ours.
pub(super) fn end(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

pub(super) fn root_of(pid: Pid) -> Root {
    let pidfd = pidfd_open(pid, PidfdFlags::empty());
    Root::new(pid, pidfd.expect("there"))
}
