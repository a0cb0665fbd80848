//! The shim: takes requests, forks keepers, reaps them.
//!
//! ```text
//!             request: fork a keeper ─┐
//!                                     ▼
//!  ──► (set up) ──► Serving ──────────┴──► Ending ──no child left──► exit
//!                     │ the host's socket ends, or the host does        ▲
//!                     └─────────────────────────────────────────────────┘
//! ```
//!
//! A keeper watches the host itself, so the shim's end stops nothing that runs. Children of the
//! shim that are no keepers were left by a keeper that was killed: they are killed and reaped, and
//! so are theirs. A keeper that somebody stops is continued.

use crate::keeper::{self, Shared};
use crate::sys::{self, Errno, Poll};
use crate::wire::{Event, Request, code};

/// Beyond the highest process number, `proc_sys_kernel(5)`: 2^22.
const MAX_PID: usize = 1 << 22;
/// The longest wait between two looks at what is left, in milliseconds.
const LAST_LOOK: u32 = 60_000;

struct Shim {
    /// The host's socket; -1 once it has ended.
    socket: i32,
    shared: Shared,
    /// Which children are keepers: one bit for each process number, in pages that exist once they
    /// are written to.
    keepers: &'static mut [u8],
    /// There may be children that no keeper has: when to look again, in milliseconds.
    orphans: Option<u32>,
}

/// Runs as the shim, whose host has the other end of `socket`.
pub(crate) fn run(socket: i32) -> ! {
    match set_up(socket) {
        Ok(mut shim) => shim.serve(),
        Err(Errno(errno)) => sys::exit(errno.clamp(1, 99)),
    }
}

/// Sets up the conditions of everything else: nothing of the host is held, no signal but SIGKILL
/// and SIGSTOP touches this process, and processes of the same user cannot look into it.
fn set_up(socket: i32) -> sys::Result<Shim> {
    sys::set_dumpable(false);
    sys::block_signals(!0);
    sys::reset_signals();
    sys::close_range(3, i32::MAX);
    let socket = sys::duplicate_from(socket, 3)?;
    let has_null = replace_standard_streams()?;
    // A group of its own: what is sent to the host's group, by a terminal say, is not for this one.
    sys::new_session()?;
    sys::enter_path(b"/\0")?;
    sys::set_name(b"procession-shim\0");
    sys::adopt_orphans()?;
    let signals = sys::signal_descriptor(sys::signal_bit(sys::SIGCHLD))?;
    let proc = own_proc().or_else(|_| sys::mount_proc()).unwrap_or(-1);
    let shared = Shared { host: -1, signals, proc };
    let keepers = sys::allocate(MAX_PID / 8)?;
    let pid = sys::own_pid();
    sys::send(socket, &Event::Ready { pid, has_null }.write())?;
    Ok(Shim { socket, shared, keepers, orphans: None })
}

/// `/proc`, if it is there and counts processes as this one does: one of another PID namespace has
/// other numbers.
fn own_proc() -> sys::Result<i32> {
    let proc = sys::open(sys::AT_FDCWD, b"/proc\0", sys::O_RDONLY | sys::O_CLOEXEC)?;
    let mut text = [0; 12];
    let length = sys::read_link(proc, b"self\0", &mut text).unwrap_or(0);
    let digits = text.get(..length).unwrap_or(&[]);
    let number = digits.iter().fold(0_i32, |number, digit| {
        number.wrapping_mul(10).wrapping_add(i32::from(digit.wrapping_sub(b'0')))
    });
    if number == sys::own_pid() {
        return Ok(proc);
    }
    sys::close(proc);
    Err(Errno::NOENT)
}

/// Puts `/dev/null` on descriptors 0 to 2, or where there is none the ends of pipes that are closed
/// on their other side. Whether it was `/dev/null`.
///
/// A descriptor that is opened here may get one of these numbers itself, where the host had that
/// number closed.
fn replace_standard_streams() -> sys::Result<bool> {
    if let Ok(null) = sys::open(sys::AT_FDCWD, b"/dev/null\0", sys::O_RDWR | sys::O_CLOEXEC) {
        let high = sys::duplicate_from(null, 3)?;
        for stream in 0..3 {
            sys::duplicate_to(high, stream)?;
        }
        close_high(&[null, high]);
        return Ok(true);
    }
    let (reader, to_nobody) = sys::pipe()?;
    let (from_nobody, writer) = sys::pipe()?;
    let high = [sys::duplicate_from(reader, 3)?, sys::duplicate_from(writer, 3)?];
    for (stream, end) in [(0, high[0]), (1, high[1]), (2, high[1])] {
        sys::duplicate_to(end, stream)?;
    }
    close_high(&[reader, to_nobody, from_nobody, writer]);
    close_high(&high);
    Ok(false)
}

/// Closes those that are not among the standard streams, which were replaced.
fn close_high(fds: &[i32]) {
    for fd in fds {
        if *fd > 2 {
            sys::close(*fd);
        }
    }
}

impl Shim {
    fn serve(&mut self) -> ! {
        loop {
            let host = if self.socket < 0 { -1 } else { self.shared.host };
            let mut polls = [
                Poll::new(self.socket, sys::POLLIN),
                Poll::new(host, sys::POLLIN),
                Poll::new(self.shared.signals, sys::POLLIN),
            ];
            match sys::poll(&mut polls, self.orphans) {
                Ok(_) => {
                    if polls[0].found != 0 {
                        self.take_requests();
                    }
                    if polls[1].found != 0 {
                        self.end_serving();
                    }
                    if polls[2].found != 0 {
                        keeper::drain_signals(self.shared.signals);
                    }
                }
                Err(Errno::INTR) => {}
                // Somebody has lowered our limit of descriptors (`prlimit(2)`): nothing can be
                // waited for but children. The host starts another shim.
                Err(_) => {
                    self.end_serving();
                    sys::wait_for_any();
                }
            }
            self.reap();
        }
    }

    /// Reaps all children that have ended, and kills those that are no keepers.
    fn reap(&mut self) {
        let mut any_left = false;
        loop {
            match sys::reap_or_see_stopped() {
                Ok(Some(dead)) if dead.code == sys::CLD_STOPPED => {
                    let _ = sys::kill(dead.pid, sys::SIGCONT);
                }
                Ok(Some(dead)) => {
                    let is_clean = dead.code == sys::CLD_EXITED && dead.status == 0;
                    // A keeper that was killed leaves a tree; one that was left may leave more.
                    any_left |= !(is_clean && self.is_keeper(dead.pid));
                    self.set_keeper(dead.pid, false);
                }
                Ok(None) => break,
                Err(_) => {
                    if self.socket < 0 {
                        sys::exit(0);
                    }
                    self.orphans = None;
                    return;
                }
            }
        }
        if any_left || self.orphans.is_some() {
            self.kill_orphans(any_left);
        }
    }

    fn kill_orphans(&mut self, progress: bool) {
        let mut found = false;
        keeper::each_child(self.shared.proc, 1, !progress, |pid| {
            if !self.is_keeper(pid) {
                let _ = sys::kill(pid, sys::SIGKILL);
                found |= sys::is_living_child(pid);
            }
        });
        let wait = match self.orphans {
            Some(wait) if !progress => (2 * wait).min(LAST_LOOK),
            _ => 1,
        };
        self.orphans = found.then_some(wait);
    }

    fn take_requests(&mut self) {
        let mut bytes = [0; Request::LENGTH + 1];
        while self.socket >= 0 {
            let received = match sys::receive(self.socket, &mut bytes) {
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => return self.end_serving(),
            };
            if received.length == 0 {
                return self.end_serving();
            }
            let request = Request::read(bytes.get(..received.length).unwrap_or(&[]));
            let fds = &received.fds[..received.fd_count];
            match (request, fds) {
                (Some(Request::Host), [host]) => {
                    sys::close(self.shared.host);
                    self.shared.host = *host;
                }
                (Some(Request::Tree { leads_group }), [socket]) => {
                    self.fork_keeper(*socket, leads_group);
                    sys::close(*socket);
                }
                _ => {
                    let errno = if received.is_cut { Errno::MFILE } else { Errno::INVAL };
                    for fd in fds {
                        refuse(*fd, code::REQUEST, errno);
                        sys::close(*fd);
                    }
                }
            }
        }
    }

    /// Forks the keeper of one tree. All else is the keeper's, which also tells of its failures.
    fn fork_keeper(&mut self, socket: i32, leads_group: bool) {
        match sys::fork() {
            Ok(0) => {
                sys::close(self.socket);
                keeper::run(socket, leads_group, &self.shared)
            }
            Ok(pid) => self.set_keeper(pid, true),
            Err(error) => refuse(socket, code::KEEPER, error),
        }
    }

    fn set_keeper(&mut self, pid: i32, is_keeper: bool) {
        let bit = 1 << (pid & 7);
        if let Some(byte) = self.keepers.get_mut(pid as usize / 8) {
            *byte = if is_keeper { *byte | bit } else { *byte & !bit };
        }
    }

    fn is_keeper(&self, pid: i32) -> bool {
        let byte = self.keepers.get(pid as usize / 8);
        byte.is_some_and(|byte| byte & (1 << (pid & 7)) != 0)
    }

    /// The host is gone, or has let go of this shim: nothing is started any more.
    fn end_serving(&mut self) {
        if self.socket >= 0 {
            sys::close(self.socket);
            self.socket = -1;
        }
    }
}

/// Tells a tree's socket that there will be no tree.
fn refuse(socket: i32, code: u16, Errno(errno): Errno) {
    let _ = sys::send(socket, &Event::Failed { code, place: 0, errno }.write());
}
