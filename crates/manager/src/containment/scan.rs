//! One look at all processes, by which any number of trees can be told apart.
//!
//! Of each process its `stat` is read, and its `environ` unless it is a zombie or a kernel thread.
//! See `proc_pid_stat(5)` and `proc_pid_environ(5)`. The second is whatever the process has made of
//! its memory (`PR_SET_MM_MAP(2const)` needs no rights), so it is [searched](tags) in pieces, 8 MiB
//! of it at most, by a [thread](reader) that is given up where it does not come: what follows is
//! not seen, and such a process counts by its group and its parents alone. Where many have ended
//! together and wait to be reaped, their numbers mostly follow each other: after a zombie the next
//! process is first asked by a pidfd whether it has ended too, at a fifth of the cost, and nothing
//! else of a zombie is of use (it has no children any more). A process that goes away meanwhile, or
//! whose files are not for us to read, has what could be read of it; only a lack of descriptors or
//! memory makes a scan fail, since it would look like a world without processes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::{Tag, guard};
use crate::os;

mod reader;
mod tags;

pub(super) use reader::Scanner;
use tags::TagSearch;
pub(super) use tags::tags_of;

/// Flags of a task, from the kernel's `include/linux/sched.h`.
const PF_EXITING: u32 = 0x4;
const PF_KTHREAD: u32 = 0x0020_0000;
/// As much of a file is read at once, and of all but an environment altogether, in bytes.
const BUFFER: usize = 16 * 1024;
/// As much of an environment is searched, in bytes. A program is started with 6 MiB at most,
/// arguments included (`_STK_LIM / 4 * 3` in the kernel's `fs/exec.c`).
const MAX_ENVIRON: usize = 8 * 1024 * 1024;
/// As often is one environment searched because it was cut by `execve(2)`.
const MAX_SEARCHES: usize = 4;
/// As many threads of a process whose first has ended are asked for its environment.
const MAX_THREADS: usize = 16;

/// A process, as far as numbers tell it: they are used again, though hardly with the same start.
pub(crate) type Identity = (Pid, u64);

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
    pub(crate) fn is_unreaped(&self) -> bool {
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
    /// A process was in the midst of `execve(2)`, where it has no environment for a moment, or its
    /// environment did not come.
    pub(super) unsettled: bool,
    /// The reader that has made the snapshot.
    reader: Option<reader::Reader>,
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

    /// Whether the number now still is that of the process that was seen.
    pub(super) fn is_still(&self, seen: &Seen) -> io::Result<bool> {
        match &self.reader {
            Some(reader) => reader.is_still(seen),
            None => ProcReader::default().is_still(seen),
        }
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

    /// All that was seen.
    #[cfg(test)]
    pub(super) fn identities(&self) -> impl Iterator<Item = Identity> {
        self.seen.iter().map(Seen::identity)
    }

    /// [`members_of`](Self::members_of) a tree of which nothing else is known.
    pub(super) fn members(&self, tag: Tag, root: Option<&Root>) -> Vec<&Seen> {
        self.members_of(tag, root, &[])
    }

    /// Everything alive of a tree: never this process, process 1 or a guard, nor what is reached
    /// through them alone.
    pub(super) fn members_of(
        &self,
        tag: Tag,
        root: Option<&Root>,
        known: &[Identity],
    ) -> Vec<&Seen> {
        let own = rustix::process::getpid();
        let mut ahead = self.by_tag.get(&tag).cloned().unwrap_or_default();
        ahead.extend(known.iter().filter_map(|identity| {
            let index = *self.by_pid.get(&identity.0.as_raw_pid())?;
            (self.seen[index].identity() == *identity).then_some(index)
        }));
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

/// Reads processes on the calling thread; keeps its memory from scan to scan, but no descriptor.
#[derive(Debug)]
struct ProcReader {
    root: PathBuf,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Tells which process it is at.
    shared: Arc<reader::Shared>,
    reads: u64,
    /// The memory of these is not read.
    passed_over: Vec<Identity>,
}

impl Default for ProcReader {
    fn default() -> Self {
        Self::of(Path::new("/proc"))
    }
}

impl ProcReader {
    fn of(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            path: PathBuf::new(),
            buffer: Vec::new(),
            shared: Arc::default(),
            reads: 0,
            passed_over: Vec::new(),
        }
    }

    fn scan(&mut self) -> io::Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let mut after_zombie = false;
        for entry in fs::read_dir(&self.root)? {
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
        let mut memory = Memory::default();
        if stat.alive() {
            memory = self.memory(pid, &stat)?;
            snapshot.unsettled |= memory.unsettled;
        }
        let index = snapshot.add(Seen {
            pid,
            start: stat.start,
            parent: stat.parent,
            group: stat.group,
            alive: stat.alive(),
            guard: memory.guard,
            bare: memory.environ_len == 0,
            tags: memory.tags,
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
    fn is_still(&mut self, seen: &Seen) -> io::Result<bool> {
        let Some(stat) = self.stat(seen.pid)? else {
            return Ok(false);
        };
        if (stat.start, stat.group) != (seen.start, seen.group) {
            return Ok(false);
        }
        Ok(self.memory(seen.pid, &stat)?.tags == seen.tags)
    }

    /// Reads the memory of a process, unless the process is passed over.
    fn memory(&mut self, pid: Pid, stat: &Stat) -> io::Result<Memory> {
        let identity = (pid, stat.start);
        if self.passed_over.contains(&identity) {
            return Ok(Memory {
                unsettled: true,
                ..Memory::default()
            });
        }
        self.reads += 1;
        self.shared.reads(Some((self.reads, identity)));
        let memory = self.read_memory(pid, stat);
        self.shared.reads(None);
        memory
    }

    fn read_memory(&mut self, pid: Pid, stat: &Stat) -> io::Result<Memory> {
        let mut memory = Memory::default();
        let Some(environ_len) = self.environ(pid, stat, &mut memory.tags)? else {
            return Ok(memory);
        };
        memory.environ_len = environ_len;
        if environ_len == 0 {
            let cmdline = self.read(pid, "cmdline")?.unwrap_or_default();
            memory.guard = guard::is_one(cmdline);
            memory.unsettled = cmdline.is_empty() && stat.flags & PF_EXITING == 0;
        }
        Ok(memory)
    }

    /// Searches the environment of a process for its tags, and gives the bytes that were there;
    /// `None` where it cannot be read. A process whose first thread has ended has its environment
    /// with the others only.
    fn environ(&mut self, pid: Pid, stat: &Stat, tags: &mut Vec<Tag>) -> io::Result<Option<usize>> {
        if !stat.leader_ended() {
            return self.search(pid, "environ", tags);
        }
        let threads = self.root.join(pid.as_raw_pid().to_string()).join("task");
        let Ok(threads) = fs::read_dir(threads) else {
            return Ok(None);
        };
        for thread in threads.flatten().take(MAX_THREADS) {
            let path = format!("task/{}/environ", thread.file_name().display());
            let found = self.search(pid, &path, tags)?;
            if found.is_some_and(|length| length > 0) {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Searches one file, again where the memory has gone between two pieces of it: `execve(2)` has
    /// put another in its place, which has the environment whole.
    fn search(&mut self, pid: Pid, name: &str, tags: &mut Vec<Tag>) -> io::Result<Option<usize>> {
        for _ in 1..MAX_SEARCHES {
            let (found, is_cut) = self.search_once(pid, name, tags)?;
            if !is_cut {
                return Ok(found);
            }
        }
        Ok(self.search_once(pid, name, tags)?.0)
    }

    /// Returns the bytes that were there, and whether more were there before.
    fn search_once(
        &mut self,
        pid: Pid,
        name: &str,
        tags: &mut Vec<Tag>,
    ) -> io::Result<(Option<usize>, bool)> {
        let Some(mut file) = self.open(pid, name)? else {
            return Ok((None, false));
        };
        let mut search = TagSearch::new();
        let mut length = 0;
        while length < MAX_ENVIRON && !search.is_full() {
            let Some(count) = readable(fill(&mut file, &mut self.buffer))? else {
                return Ok((None, false));
            };
            search.feed(&self.buffer[..count]);
            length += count;
            if count < BUFFER {
                break;
            }
        }
        *tags = search.finish();
        // A single piece is read from one memory; without memory nothing is there any more.
        let is_cut = length > BUFFER && file.read_at(&mut [0], 0).is_ok_and(|count| count == 0);
        Ok((Some(length), is_cut))
    }

    /// Reads a file of a process, 16 KiB of it at most; `None` where it is gone or not for us.
    fn read(&mut self, pid: Pid, name: &str) -> io::Result<Option<&[u8]>> {
        let Some(mut file) = self.open(pid, name)? else {
            return Ok(None);
        };
        let count = readable(fill(&mut file, &mut self.buffer))?;
        Ok(count.map(|count| &self.buffer[..count]))
    }

    fn open(&mut self, pid: Pid, name: &str) -> io::Result<Option<File>> {
        self.path.clear();
        self.path.push(&self.root);
        let _ = write!(self.path.as_mut_os_string(), "/{pid}/{name}");
        readable(File::open(&self.path))
    }
}

/// Facts about a process, read from its memory.
#[derive(Debug, Default)]
struct Memory {
    tags: Vec<Tag>,
    environ_len: usize,
    guard: bool,
    /// The process is worth another look.
    unsettled: bool,
}

/// `None` where it is gone or not for us.
fn readable<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if used_up(&error) => Err(error),
        Err(_) => Ok(None),
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

/// Reads as much as there is room for. The kernel fills what room there is, so that a short read is
/// the last.
fn fill(file: &mut File, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.resize(BUFFER, 0);
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
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

#[cfg(test)]
mod tests;
