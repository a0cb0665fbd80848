//! The host's side of the helper: starting it, asking it for trees, and hearing of them.
//!
//! ```text
//!  Shim::start ──► HelperProgram runs ──► Ready
//!  Shim::spawn ── the tree's socket, with the body in it ──► shim ──► keeper
//!       └─► Tree ◄── Started or Failed, Exited, Gone ──────────────────┘
//!  Tree dropped: the tree is killed
//! ```
//!
//! `docs/internals/helper.md` says what the helper does, and `helper/wire.rs` how both sides speak.
//! This module blocks where it says so; what waits for a tree for long does that by the runtime.

mod body;
mod program;
mod tree;
#[path = "../helper/wire.rs"]
#[expect(
    dead_code,
    clippy::copy_iterator,
    reason = "the helper uses the other half, and is compiled without these lints"
)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a step is shorter than `MAX_BODY`"
)]
pub(crate) mod wire;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, waitpid};

pub(crate) use body::Body;
pub(crate) use program::HelperProgram;
pub(crate) use tree::{SpawnFailure, Started, Tree};
use wire::{BodyHead, Event, MAX_BODY, MAX_INLINE, Request};

/// How long the helper may take to say that it is there, and to say of a tree that it runs.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The name in the list of processes, before the helper gives itself the same.
const NAME: &str = "procession-shim";

/// One running shim. Dropped, it takes no request any more, and ends when its trees have ended.
#[derive(Debug)]
pub(crate) struct Shim {
    socket: OwnedFd,
    pid: Pid,
    has_null: bool,
}

impl Shim {
    /// Starts the helper and waits until it is there, at most [`ANSWER_DEADLINE`]. Blocking.
    ///
    /// # Errors
    ///
    /// The program cannot be run in any of its ways; the error names each way and what was said.
    pub(crate) fn start(program: &HelperProgram) -> io::Result<Self> {
        let (socket, theirs) = pair()?;
        program.run(|path| {
            let theirs = theirs.try_clone()?;
            let mut command = Command::new(path);
            std::os::unix::process::CommandExt::arg0(&mut command, NAME);
            // Its own copies, so that it depends on no `/dev/null`.
            let others = [theirs.try_clone()?, theirs.try_clone()?];
            let [stdout, stderr] = others.map(Stdio::from);
            command
                .env_clear()
                .stdin(Stdio::from(theirs))
                .stdout(stdout)
                .stderr(stderr);
            command.current_dir("/");
            command.spawn().map(drop)
        })?;
        drop(theirs);
        let Some(Event::Ready { pid, has_null }) = receive(socket.as_fd(), Some(ANSWER_DEADLINE))?
        else {
            return Err(io::Error::other("the helper ended before it was ready"));
        };
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
        let shim = Self {
            socket,
            pid,
            has_null,
        };
        // Without pidfds the end of its socket alone tells a helper of our end.
        if let Ok(host) = pidfd_open(getpid(), PidfdFlags::empty()) {
            send(&shim.socket, &[&Request::Host.write()], &[host.as_fd()])?;
        }
        Ok(shim)
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether a standard stream that a request does not give is `/dev/null`.
    pub(crate) fn has_null(&self) -> bool {
        self.has_null
    }

    /// Asks for a tree. Blocks at most [`ANSWER_DEADLINE`], while the shim takes earlier requests.
    ///
    /// # Errors
    ///
    /// The shim is gone (`EPIPE`) or does not take the request in time; the steps are longer than
    /// [`MAX_BODY`] (`E2BIG`); there are no descriptors (`EMFILE`), or too many are on their way to
    /// other processes (`ETOOMANYREFS`).
    pub(crate) fn spawn(&self, body: &Body<'_>) -> io::Result<Tree> {
        let (ours, theirs) = pair()?;
        let steps = body.steps();
        if steps.len() > MAX_BODY {
            return Err(Errno::TOOBIG.into());
        }
        let length = u32::try_from(steps.len()).map_err(|_| Errno::TOOBIG)?;
        if steps.len() > MAX_INLINE {
            let file = body::sealed_file(steps)?;
            let fds: Vec<_> = [file.as_fd()]
                .into_iter()
                .chain(body.fds().iter().copied())
                .collect();
            send(
                &ours,
                &[&BodyHead {
                    is_in_file: true,
                    length,
                }
                .write()],
                &fds,
            )?;
        } else {
            let head = BodyHead {
                is_in_file: false,
                length,
            };
            send(&ours, &[&head.write(), steps], body.fds())?;
        }
        let request = Request::Tree {
            leads_group: body.leads_group(),
        };
        send(&self.socket, &[&request.write()], &[theirs.as_fd()])?;
        Ok(Tree::new(ours))
    }
}

fn send(socket: &OwnedFd, parts: &[&[u8]], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    loop {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(socket, &parts, &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(socket.as_fd(), PollFlags::OUT, Some(ANSWER_DEADLINE))?,
            Err(error) => return Err(error.into()),
        }
    }
}

impl Drop for Shim {
    /// The shim is our child unless somebody else reaps all children, or SIGCHLD is ignored; either
    /// is as good. It may outlive this, for as long as it has trees.
    fn drop(&mut self) {
        let _ = waitpid(Some(self.pid), WaitOptions::NOHANG);
    }
}

/// The most descriptors of one body: those that the steps name, and a memory file.
pub(crate) const MAX_FDS: usize = 32;

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Waits until the descriptor has something of `events`.
fn wait(fd: BorrowedFd<'_>, events: PollFlags, time: Option<Duration>) -> io::Result<()> {
    let time = time.map(Timespec::try_from).transpose().unwrap_or_default();
    let mut polls = [PollFd::from_borrowed_fd(fd, events)];
    loop {
        match poll(&mut polls, time.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next event; `None` at the end of the socket.
fn receive(socket: BorrowedFd<'_>, time: Option<Duration>) -> io::Result<Option<Event>> {
    loop {
        match try_receive(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(socket, PollFlags::IN, time)?;
            }
            other => return other,
        }
    }
}

/// The next event, if it is there; `None` at the end of the socket.
fn try_receive(socket: BorrowedFd<'_>) -> io::Result<Option<Event>> {
    let mut bytes = [0; Event::LENGTH + 1];
    let length = loop {
        match recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => break length,
            // Told once, where the other side ended with something of ours unread; its events come
            // after it.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    let event = bytes.get(..length).and_then(Event::read);
    event
        .map(Some)
        .ok_or_else(|| io::Error::other("the helper speaks another version"))
}
