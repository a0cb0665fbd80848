//! One look at all processes, by which any number of trees can be told apart.
//!
//! Of each process its `stat` is read, and its `environ` unless it is a zombie or a kernel thread. See
//! `proc_pid_stat(5)` and `proc_pid_environ(5)`. Where many have ended together and wait to be reaped, their
//! numbers mostly follow each other: after a zombie the next process is first asked by a pidfd whether it
//! has ended too, at a fifth of the cost, and nothing else of a zombie is of use (it has no children any more). A process that goes away meanwhile, or whose files
//! are not for us to read, has what could be read of it; only a lack of descriptors or memory makes
//! a scan fail, since it would look like a world without processes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use memchr::{memchr, memmem};
use procession_wire::env::PROCESSION_TREE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use uuid::Uuid;

use super::{Tag, guard};
use crate::id::ProcessId;
use crate::os;

/// Flags of a task, from the kernel's `include/linux/sched.h`.
const PF_EXITING: u32 = 0x4;
const PF_KTHREAD: u32 = 0x0020_0000;
/// The length of a UUID in its hyphenated form.
const UUID: usize = 36;

/// A process, as far as numbers tell it: they are used again, though hardly with the same start.
pub(super) type Identity = (Pid, u64);

/// A child of ours that a tree starts from.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(super) pid: Pid,
    pidfd: Arc<OwnedFd>,
}

impl Root {
    /// Of the child that `pidfd` refers to.
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd: Arc::new(pidfd),
        }
    }

    /// Whether it was not reaped yet. Its number is its own, and its group's, as long: also what a scan
    /// has shown before this look.
    pub(super) fn is_unreaped(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(self.pidfd.as_fd()), options).is_ok()
    }

    pub(super) fn send(&self, signal: Signal) -> Result<(), Errno> {
        pidfd_send_signal(&self.pidfd, signal)
    }

    /// To all of its process group.
    pub(super) fn send_to_group(&self, signal: Signal) -> io::Result<()> {
        os::signal_group(self.pidfd.as_fd(), signal.as_raw())
    }
}

/// What is known of one process. Of a zombie, nothing but its number can be relied on.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) pid: Pid,
    pub(super) start: u64,
    parent: i32,
    group: i32,
    alive: bool,
    guard: bool,
    /// Without an environment that can be read, and so without tags: what is ending has none, and newer
    /// kernels refuse to open it (`ESRCH`).
    bare: bool,
    pub(super) tags: Vec<Tag>,
}

impl Seen {
    fn zombie(pid: Pid) -> Self {
        Self {
            pid,
            start: 0,
            parent: 0,
            group: 0,
            alive: false,
            guard: false,
            bare: true,
            tags: Vec::new(),
        }
    }

    pub(super) fn identity(&self) -> Identity {
        (self.pid, self.start)
    }
}

/// All processes at about the same time.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    seen: Vec<Seen>,
    by_pid: HashMap<i32, usize>,
    by_parent: HashMap<i32, Vec<usize>>,
    by_group: HashMap<i32, Vec<usize>>,
    by_tag: HashMap<Tag, Vec<usize>>,
    /// A process was in the midst of `execve(2)`, where it has no environment for a moment.
    pub(super) unsettled: bool,
}

impl Snapshot {
    fn add(&mut self, seen: Seen) -> usize {
        let index = self.seen.len();
        self.by_pid.insert(seen.pid.as_raw_pid(), index);
        self.by_parent.entry(seen.parent).or_default().push(index);
        self.by_group.entry(seen.group).or_default().push(index);
        self.seen.push(seen);
        index
    }

    /// The root, if it is there and a child of ours.
    pub(super) fn root(&self, root: &Root) -> Option<&Seen> {
        let seen = &self.seen[*self.by_pid.get(&root.pid.as_raw_pid())?];
        root.is_unreaped().then_some(seen)
    }

    /// Whether this very process is there and no zombie. One that is ending has no environment any more.
    pub(super) fn lives(&self, known: &Seen) -> bool {
        let now = self
            .by_pid
            .get(&known.pid.as_raw_pid())
            .map(|&index| &self.seen[index]);
        now.is_some_and(|now| {
            now.alive
                && (now.start, now.group) == (known.start, known.group)
                && (now.bare || now.tags == known.tags)
        })
    }

    /// Whether a process of this number is there and no zombie.
    #[cfg(test)]
    pub(super) fn has(&self, pid: Pid) -> bool {
        let index = self.by_pid.get(&pid.as_raw_pid());
        index.is_some_and(|&index| self.seen[index].alive)
    }

    /// Whether the process of this number was a zombie, or about to be one.
    pub(super) fn is_ending(&self, pid: Pid) -> bool {
        let index = self.by_pid.get(&pid.as_raw_pid());
        index.is_some_and(|&index| !self.seen[index].alive)
    }

    /// Everything alive of a tree: never this process, process 1 or a guard, nor what is reached
    /// through them alone.
    pub(super) fn members(&self, tag: Tag, root: Option<&Root>) -> Vec<&Seen> {
        let own = rustix::process::getpid();
        let mut ahead = self.by_tag.get(&tag).cloned().unwrap_or_default();
        if let Some(root) = root.and_then(|root| self.root(root)) {
            let number = root.pid.as_raw_pid();
            ahead.extend(self.by_group.get(&number).into_iter().flatten());
            ahead.extend(self.by_pid.get(&number));
        }
        let mut reached = HashSet::new();
        let mut members = Vec::new();
        while let Some(index) = ahead.pop() {
            let seen = &self.seen[index];
            if seen.pid == own || seen.pid == Pid::INIT || seen.guard || !reached.insert(index) {
                continue;
            }
            if seen.alive {
                members.push(seen);
            }
            ahead.extend(
                self.by_parent
                    .get(&seen.pid.as_raw_pid())
                    .into_iter()
                    .flatten(),
            );
        }
        members
    }
}

/// Which process group each process was in at about the same time. Far cheaper than a [`Snapshot`].
#[derive(Debug)]
pub(super) struct Groups(HashMap<i32, i32>);

impl Groups {
    pub(super) fn look() -> io::Result<Self> {
        let mut groups = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let pid = number(&entry?.file_name()).map(Pid::as_raw_pid);
            groups.extend(pid.and_then(|pid| Some((pid, os::group_of(pid)?))));
        }
        Ok(Self(groups))
    }

    /// The group of a process, if that was there.
    pub(super) fn of(&self, pid: Pid) -> Option<i32> {
        self.0.get(&pid.as_raw_pid()).copied()
    }
}

/// The process that an entry of `/proc` is of.
fn number(name: &OsStr) -> Option<Pid> {
    Pid::from_raw(name.to_str()?.parse().ok()?)
}

/// Reads processes; keeps its memory from scan to scan, but no descriptor.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    path: String,
    buffer: Vec<u8>,
}

impl Scanner {
    /// Looks at every process. Blocking: about 15 µs for each.
    pub(super) fn scan(&mut self) -> io::Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let mut after_zombie = false;
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = number(&entry?.file_name()) else {
                continue;
            };
            if after_zombie && has_ended(pid) {
                snapshot.add(Seen::zombie(pid));
                continue;
            }
            self.look(pid, &mut snapshot)?;
            after_zombie = snapshot.is_ending(pid);
        }
        Ok(snapshot)
    }

    fn stat(&mut self, pid: Pid) -> io::Result<Option<Stat>> {
        Ok(self.read(pid, "stat")?.and_then(Stat::parse))
    }

    fn look(&mut self, pid: Pid, snapshot: &mut Snapshot) -> io::Result<()> {
        let Some(stat) = self.stat(pid)? else {
            return Ok(());
        };
        if stat.flags & PF_KTHREAD != 0 {
            return Ok(());
        }
        let (mut tags, mut empty, mut guard, mut bare) = (Vec::new(), false, false, true);
        if stat.alive() {
            if let Some(environ) = self.environ(pid, &stat)? {
                empty = environ.is_empty();
                bare = empty;
                tags = tags_of(environ);
            }
            if empty {
                let cmdline = self.read(pid, "cmdline")?.unwrap_or_default();
                guard = guard::is_one(cmdline);
                snapshot.unsettled |= cmdline.is_empty() && stat.flags & PF_EXITING == 0;
            }
        }
        let index = snapshot.add(Seen {
            pid,
            start: stat.start,
            parent: stat.parent,
            group: stat.group,
            alive: stat.alive(),
            guard,
            bare,
            tags,
        });
        for tag in snapshot.seen[index].tags.clone() {
            let known = snapshot.by_tag.entry(tag).or_default();
            // A list may name a manager twice.
            if known.last() != Some(&index) {
                known.push(index);
            }
        }
        Ok(())
    }

    /// Whether the number still is that of the process that was seen. Starts are told in ticks of a
    /// hundredth of a second, in which a number may have been used twice: so
    /// the group and the tags count as well. One that has just changed its group is found by the next scan.
    pub(super) fn is_still(&mut self, seen: &Seen) -> io::Result<bool> {
        let Some(stat) = self.stat(seen.pid)? else {
            return Ok(false);
        };
        if (stat.start, stat.group) != (seen.start, seen.group) {
            return Ok(false);
        }
        let environ = self.environ(seen.pid, &stat)?;
        Ok(environ.map(tags_of).unwrap_or_default() == seen.tags)
    }

    /// A process whose first thread has ended has its environment with the others only.
    fn environ(&mut self, pid: Pid, stat: &Stat) -> io::Result<Option<&[u8]>> {
        if !stat.leader_ended() {
            return self.read(pid, "environ");
        }
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return Ok(None);
        };
        for thread in threads.flatten() {
            let path = format!("task/{}/environ", thread.file_name().display());
            // Looked at twice, since a borrow cannot be returned out of a loop.
            if self
                .read(pid, &path)?
                .is_some_and(|bytes| !bytes.is_empty())
            {
                return self.read(pid, &path);
            }
        }
        Ok(None)
    }

    /// Reads a file of a process; `None` where it is gone or not for us.
    fn read(&mut self, pid: Pid, name: &str) -> io::Result<Option<&[u8]>> {
        self.path.clear();
        let _ = write!(self.path, "/proc/{pid}/{name}");
        match read(&self.path, &mut self.buffer) {
            Ok(length) => Ok(Some(&self.buffer[..length])),
            Err(error) if used_up(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }
}

/// Whether all threads of a process have ended, so that it only waits to be reaped: a pidfd can be read
/// then, see `pidfd_open(2)`. False where that cannot be told.
fn has_ended(pid: Pid) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
}

/// Whether there are no descriptors, or no memory.
pub(super) fn used_up(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// The kernel fills what room there is, so that a short read is the last.
fn read(path: &str, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut file = File::open(path)?;
    let mut length = 0;
    loop {
        if length == buffer.len() {
            buffer.resize((2 * length).max(16 * 1024), 0);
        }
        match file.read(&mut buffer[length..]) {
            Ok(count) => {
                length += count;
                if length < buffer.len() {
                    return Ok(length);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What is used of `/proc/<pid>/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    state: u8,
    parent: i32,
    group: i32,
    flags: u32,
    threads: u32,
    start: u64,
}

impl Stat {
    /// The second field is the name of the program, which may hold anything.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let name_end = bytes.iter().rposition(|&byte| byte == b')')?;
        let text = str::from_utf8(&bytes[name_end + 1..]).ok()?;
        let mut fields = text.split_ascii_whitespace();
        Some(Self {
            state: *fields.next()?.as_bytes().first()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            flags: fields.nth(3)?.parse().ok()?,
            threads: fields.nth(10)?.parse().ok()?,
            start: fields.nth(1)?.parse().ok()?,
        })
    }

    /// The first thread may be a zombie while others run on.
    fn leader_ended(&self) -> bool {
        self.state == b'Z' && self.threads > 1
    }

    fn alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x') || self.leader_ended()
    }
}

/// All that a process is tagged with: the entries of the list in its environment, which is separated
/// by NUL bytes. Most processes have none, and this is where a scan would spend its own time.
pub(super) fn tags_of(environ: &[u8]) -> Vec<Tag> {
    let name = PROCESSION_TREE.as_bytes();
    memmem::find_iter(environ, name)
        .filter(|&at| at == 0 || environ[at - 1] == 0)
        .filter_map(|at| environ[at + name.len()..].strip_prefix(b"="))
        .map(|value| &value[..memchr(0, value).unwrap_or(value.len())])
        .flat_map(|list| list.split(|&byte| byte == b':'))
        .flat_map(tags_of_entry)
        .collect()
}

/// `<manager>/<process>.<run>`
fn tags_of_entry(entry: &[u8]) -> impl Iterator<Item = Tag> {
    let cut = |bytes: &[u8], end: u8| {
        let (id, rest) = bytes.split_at_checked(UUID)?;
        let id = Uuid::try_parse_ascii(id).ok()?;
        (rest.first() == Some(&end)).then_some(id)
    };
    let manager = cut(entry, b'/');
    let process = manager.and_then(|_| cut(&entry[UUID + 1..], b'.'));
    let both = manager.zip(process);
    let process = both.map(|(manager, process)| Tag::Process(manager, ProcessId::from(process)));
    manager.map(Tag::Manager).into_iter().chain(process)
}

#[cfg(test)]
mod tests;
