//! A keeper: the subreaper of one tree.
//!
//! ```text
//!               program runs              root ends            nothing left
//!  ──► Starting ─────────────► Running ────────────► Leftovers ─────────────► Gone, exit
//!        │ a step fails           │ Kill, or the host is gone │                  ▲
//!        ▼                        ▼                           ▼                  │
//!   root reaped: Failed, exit  Killing ◄──────────────────────┘                  │
//!                                 └──────────── nothing left ────────────────────┘
//! ```
//!
//! **What belongs to the tree** needs no look at other processes: whatever the root starts, and
//! whatever these start, is a descendant of this process, and comes to it as a child when its own
//! parent ends (`PR_SET_CHILD_SUBREAPER(2const)`). So the tree is gone when this process has no
//! child any more, which `waitid(2)` says with `ECHILD`.
//!
//! **Killing** goes by rounds: stop the root's group, kill every child, reap, kill again when one
//! more has ended, or after a while, since what may not be killed now may be later. A process whose
//! parent is killed becomes a child before its parent can be reaped, so the last round always sees
//! what is left. Only children are ever signalled by their number: it stays taken until this
//! process, and no other, has reaped it.
//!
//! **The host** is gone when the tree's socket ends, or the host's pidfd says so (a copy of the
//! host that it forked may hold the socket open).

use crate::setup;
use crate::sys::{self, Dead, Errno, Poll};
use crate::wire::{Command, CommandKind, Event, Exit, Left, MAX_NAMED, code};

/// Descriptors that the shim and all keepers share.
pub(crate) struct Shared {
    /// A pidfd of the host; -1 where there is none.
    pub(crate) host: i32,
    /// Readable when SIGCHLD is pending.
    pub(crate) signals: i32,
    /// The directory `/proc`; -1 where there is none.
    pub(crate) proc: i32,
}

/// The first wait between two rounds in which nothing has ended, in milliseconds; it doubles.
const FIRST_ROUND: u32 = 2;
const LAST_ROUND: u32 = 60_000;

/// Events that the socket had no room for. Commands wait while there are any, so that there is
/// never more than one answer beside what happens once.
struct Outbox {
    events: [Option<Event>; 4],
}

struct Keeper<'a> {
    /// -1 once the host is gone.
    socket: i32,
    shared: &'a Shared,
    outbox: Outbox,
    root: i32,
    /// The pipe that tells of the root's set-up; -1 once that is over.
    failures: i32,
    /// A failed step, which is told when the root is reaped.
    failure: Option<Event>,
    root_is_reaped: bool,
    /// The root is, or will be, the leader of its process group.
    leads_group: bool,
    /// When to kill again, in milliseconds, once it is being killed.
    next_round: Option<u32>,
    killed: u32,
}

/// Runs as the keeper of the tree whose host has the other end of `socket`.
pub(crate) fn run(socket: i32, leads_group: bool, shared: &Shared) -> ! {
    sys::set_name(b"procession-keep\0");
    match start(socket) {
        Ok((root, failures)) => Keeper {
            socket,
            shared,
            outbox: Outbox { events: [None; 4] },
            root,
            failures,
            failure: None,
            root_is_reaped: false,
            leads_group,
            next_round: None,
            killed: 0,
        }
        .keep(),
        Err((code, Errno(errno))) => {
            let _ = sys::send(socket, &Event::Failed { code, place: 0, errno }.write());
            sys::exit(0)
        }
    }
}

/// Forks the root. The number of it, and the end of the pipe that tells of its set-up.
fn start(socket: i32) -> Result<(i32, i32), (u16, Errno)> {
    sys::adopt_orphans().map_err(|error| (code::KEEPER, error))?;
    let (failures, tell) = sys::pipe().map_err(|error| (code::DESCRIPTORS, error))?;
    match sys::fork().map_err(|error| (code::FORK, error))? {
        0 => {
            sys::close(failures);
            setup::run(socket, tell)
        }
        root => {
            sys::close(tell);
            Ok((root, failures))
        }
    }
}

impl Keeper<'_> {
    fn keep(&mut self) -> ! {
        loop {
            // The root takes the first datagram, so until its set-up is over only the end counts.
            let wanted = match (self.failures >= 0, self.outbox.is_empty()) {
                (true, _) => 0,
                (false, true) => sys::POLLIN,
                (false, false) => sys::POLLOUT,
            };
            let host = if self.socket < 0 { -1 } else { self.shared.host };
            let mut polls = [
                Poll::new(self.socket, wanted),
                Poll::new(host, sys::POLLIN),
                Poll::new(self.shared.signals, sys::POLLIN),
                Poll::new(self.failures, sys::POLLIN),
            ];
            match sys::poll(&mut polls, self.next_round) {
                Ok(0) => self.kill_round(false),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                // Somebody has lowered our limit of descriptors (`prlimit(2)`): nothing can be
                // waited for but children.
                Err(_) => {
                    self.host_gone();
                    while sys::wait_for_any() {
                        self.reap();
                    }
                    sys::exit(0)
                }
            }
            if polls[3].found != 0 {
                self.read_failure();
            }
            if polls[2].found != 0 {
                drain_signals(self.shared.signals);
                self.reap();
            }
            if polls[1].found != 0 || polls[0].found & (sys::POLLHUP | sys::POLLERR) != 0 {
                self.host_gone();
            } else if polls[0].found != 0 {
                self.flush();
                self.take_commands();
            }
        }
    }

    /// The root has become its program (the pipe ends), or says which step has failed.
    fn read_failure(&mut self) {
        let mut bytes = [0; setup::FAILURE_LENGTH];
        let length = match sys::read(self.failures, &mut bytes) {
            Ok(length) => length,
            Err(Errno::INTR | Errno::AGAIN) => return,
            Err(_) => 0,
        };
        sys::close(self.failures);
        self.failures = -1;
        match setup::read_failure(bytes.get(..length).unwrap_or(&[])) {
            Some((code, place, errno)) => {
                // It ends by itself and has started nothing, but somebody may have stopped it.
                let _ = sys::kill(self.root, sys::SIGKILL);
                self.failure = Some(Event::Failed { code, place, errno });
            }
            None => self.tell(Event::Started { pid: self.root, keeper: sys::own_pid() }),
        }
    }

    /// Reaps all that have ended, and goes on killing where that is what it does.
    fn reap(&mut self) {
        let mut progress = false;
        loop {
            match sys::reap_any() {
                Ok(Some(dead)) => {
                    progress = true;
                    self.reaped(&dead);
                }
                Ok(None) => break,
                Err(_) => {
                    self.tell(self.failure.unwrap_or(Event::Gone { killed: self.killed }));
                    self.finish();
                }
            }
        }
        if progress && self.next_round.is_some() {
            self.kill_round(true);
        }
    }

    fn reaped(&mut self, dead: &Dead) {
        if dead.pid == self.root && !self.root_is_reaped {
            // What it wrote before its end counts first.
            if self.failures >= 0 {
                self.read_failure();
            }
            self.root_is_reaped = true;
            if self.failure.is_none() {
                self.tell(Event::Exited(Exit {
                    code: dead.code,
                    status: dead.status,
                    user_micros: dead.usage.user_micros(),
                    system_micros: dead.usage.system_micros(),
                    max_rss_kib: dead.usage.max_rss_kib as u64,
                }));
            }
        } else if self.next_round.is_some()
            && dead.code == sys::CLD_KILLED
            && dead.status == sys::SIGKILL
        {
            self.killed = self.killed.saturating_add(1);
        }
    }

    /// Kills every child. `progress` says that one has ended since the last round.
    fn kill_round(&mut self, progress: bool) {
        let is_first = self.next_round.is_none();
        if !self.root_is_reaped {
            if is_first && self.leads_group {
                // All of the group at once, so that none of it forks or reaps any more: then each
                // is killed and reaped here, and counted. SIGKILL ends what is stopped.
                let _ = sys::kill(-self.root, sys::SIGSTOP);
            }
            // Before anything is looked for.
            let _ = sys::kill(self.root, sys::SIGKILL);
        }
        each_child(self.shared.proc, self.root, is_first || !progress, |pid| {
            // What belongs to another user by now may be ours again in a later round.
            let _ = sys::kill(pid, sys::SIGKILL);
        });
        self.next_round = match self.next_round {
            Some(time) if !progress => Some((2 * time).min(LAST_ROUND)),
            _ => Some(FIRST_ROUND),
        };
    }

    fn kill(&mut self) {
        if self.next_round.is_none() {
            self.kill_round(true);
        }
    }

    fn host_gone(&mut self) {
        if self.socket >= 0 {
            sys::close(self.socket);
            self.socket = -1;
        }
        self.outbox.clear();
        self.kill();
    }

    fn take_commands(&mut self) {
        let mut bytes = [0; Command::LENGTH + 1];
        while self.socket >= 0 && self.outbox.is_empty() {
            let received = match sys::receive(self.socket, &mut bytes) {
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => return self.host_gone(),
            };
            for fd in &received.fds[..received.fd_count] {
                sys::close(*fd);
            }
            if received.length == 0 {
                return self.host_gone();
            }
            if let Some(command) = Command::read(bytes.get(..received.length).unwrap_or(&[])) {
                self.obey(command);
            }
        }
    }

    fn obey(&mut self, Command { number, kind }: Command) {
        let (count, errno) = match kind {
            CommandKind::SignalRoot(signal) => outcome(self.signal_root(signal)),
            CommandKind::SignalGroup(signal) => outcome(self.signal_group(signal)),
            CommandKind::SignalTree(signal) => outcome(self.signal_tree(signal)),
            CommandKind::Kill => {
                self.kill();
                (0, 0)
            }
            CommandKind::List => return self.list(number),
        };
        self.tell(Event::Answer { number, count, errno });
    }

    fn signal_root(&self, signal: i32) -> sys::Result<u32> {
        if self.root_is_reaped {
            return Err(Errno::SRCH);
        }
        sys::kill(self.root, signal).map(|()| 1)
    }

    /// While the root is not reaped its number is taken, and so is that of the group.
    fn signal_group(&self, signal: i32) -> sys::Result<u32> {
        if self.root_is_reaped {
            return Err(Errno::SRCH);
        }
        if !self.leads_group || sys::kill(-self.root, signal).is_err() {
            return self.signal_root(signal);
        }
        Ok(1)
    }

    fn signal_tree(&self, signal: i32) -> sys::Result<u32> {
        let group = self.signal_group(signal);
        let mut others = 0;
        each_child(self.shared.proc, self.root, true, |pid| {
            let in_group = self.leads_group && sys::group_of(pid) == Ok(self.root);
            if pid != self.root && !(in_group && group.is_ok()) && sys::kill(pid, signal).is_ok() {
                others += 1;
            }
        });
        match group {
            Err(error) if others == 0 => Err(error),
            group => Ok(group.unwrap_or(0) + others),
        }
    }

    fn list(&mut self, number: u32) {
        let mut left = Left { number, count: 0, named: [(0, 0); MAX_NAMED] };
        each_child(self.shared.proc, self.root, true, |pid| {
            if sys::is_living_child(pid) {
                if let Some(room) = left.named.get_mut(left.count as usize) {
                    let Errno(errno) = sys::kill(pid, 0).err().unwrap_or(Errno(0));
                    *room = (pid, errno);
                }
                left.count += 1;
            }
        });
        self.tell(Event::Left(left));
    }

    fn tell(&mut self, event: Event) {
        if self.socket >= 0 {
            self.outbox.push(event);
            self.flush();
        }
    }

    fn flush(&mut self) {
        while let Some(event) = self.outbox.first() {
            match sys::send(self.socket, &event.write()) {
                Ok(()) => self.outbox.remove_first(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.host_gone(),
            }
        }
    }

    /// Waits until the host has been told everything, or is gone, and ends.
    fn finish(&mut self) -> ! {
        while self.socket >= 0 && !self.outbox.is_empty() {
            let mut polls = [
                Poll::new(self.socket, sys::POLLOUT),
                Poll::new(self.shared.host, sys::POLLIN),
            ];
            if sys::poll(&mut polls, None).is_err() || polls[1].found != 0 {
                break;
            }
            self.flush();
        }
        if self.socket >= 0 {
            // Closed with a command unread, the socket would be reset, and the host could read that
            // before the last events.
            sys::stop_receiving(self.socket);
            let mut bytes = [0; Command::LENGTH];
            while sys::receive(self.socket, &mut bytes).is_ok_and(|one| one.length > 0) {}
        }
        sys::exit(0)
    }
}

fn outcome(result: sys::Result<u32>) -> (u32, i32) {
    match result {
        Ok(count) => (count, 0),
        Err(Errno(errno)) => (0, errno),
    }
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.events[0].is_none()
    }

    fn first(&self) -> Option<Event> {
        self.events[0]
    }

    fn remove_first(&mut self) {
        self.events.rotate_left(1);
        self.events[3] = None;
    }

    fn push(&mut self, event: Event) {
        if let Some(room) = self.events.iter_mut().find(|room| room.is_none()) {
            *room = Some(event);
        }
    }

    fn clear(&mut self) {
        self.events = [None; 4];
    }
}

/// Takes the pending SIGCHLD, of which there is one at most, so that the descriptor is readable
/// again with the next.
pub(crate) fn drain_signals(signals: i32) {
    let mut information = [0; 128];
    let _ = sys::read(signals, &mut information);
}

/// Calls `found` with every child of this process. Each number is that of a child for certain, so
/// it may be signalled.
///
/// The kernel lists them in `/proc/thread-self/children`, `proc_pid_task_children(5)`. Where that
/// is not to be had (no `/proc`, or one of another namespace), numbers are asked for one by one:
/// from `oldest` to the newest process, and with `all` every number there is, since numbers begin
/// again at the highest. The latter takes half a second.
pub(crate) fn each_child(proc: i32, oldest: i32, all: bool, mut found: impl FnMut(i32)) {
    let mut checked = |pid: i32| {
        if sys::is_child(pid) {
            found(pid);
        }
    };
    if list_children(proc, &mut checked).is_err() {
        each_child_by_number(oldest, all, &mut checked);
    }
}

fn list_children(proc: i32, found: &mut impl FnMut(i32)) -> sys::Result<()> {
    if proc < 0 {
        return Err(Errno::NOENT);
    }
    let flags = sys::O_RDONLY | sys::O_CLOEXEC;
    let file = sys::open(proc, b"thread-self/children\0", flags)?;
    let mut buffer = [0; 1024];
    let mut number = 0_i32;
    let result = loop {
        match sys::read(file, &mut buffer) {
            Ok(0) => break Ok(()),
            Ok(length) => {
                for byte in buffer.get(..length).unwrap_or(&[]) {
                    if byte.is_ascii_digit() {
                        number = number.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
                    } else if number > 0 {
                        found(core::mem::take(&mut number));
                    }
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => break Err(error),
        }
    };
    if number > 0 {
        found(number);
    }
    sys::close(file);
    result
}

fn each_child_by_number(oldest: i32, all: bool, found: &mut impl FnMut(i32)) {
    const HIGHEST: i32 = 1 << 22;
    let newest = sys::newest_pid().unwrap_or(HIGHEST);
    let (first, last) = if newest < oldest { (newest, oldest) } else { (oldest, newest) };
    let has_wrapped = newest < oldest;
    if !has_wrapped || all {
        for pid in first..=last {
            found(pid);
        }
    }
    if has_wrapped || all {
        for pid in (1..first).chain(last + 1..=HIGHEST) {
            found(pid);
        }
    }
}
