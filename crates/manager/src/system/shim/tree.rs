//! One tree, from the host's side of its socket.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::wire::{Command, CommandKind, Event};
use super::{ANSWER_DEADLINE, receive};

/// The host's end of a tree's socket. Dropped, it has the keeper kill the tree.
#[derive(Debug)]
pub(crate) struct Tree {
    socket: OwnedFd,
}

/// A root that runs its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Started {
    pub(crate) pid: i32,
    pub(crate) keeper: i32,
}

/// Why there is no tree.
#[derive(Debug)]
pub(crate) enum SpawnFailure {
    /// A step failed: its code and place, and why.
    Step {
        code: u16,
        place: u16,
        error: io::Error,
    },
    /// The shim or the keeper ended, or did not answer in time.
    Lost(#[expect(dead_code, reason = "shown by tests")] io::Error),
}

impl Tree {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Waits until the root runs its program, at most [`ANSWER_DEADLINE`]. Blocking.
    pub(crate) fn started(&self) -> Result<Started, SpawnFailure> {
        match self
            .next(Some(ANSWER_DEADLINE))
            .map_err(SpawnFailure::Lost)?
        {
            Some(Event::Started { pid, keeper }) => Ok(Started { pid, keeper }),
            Some(Event::Failed { code, place, errno }) => Err(SpawnFailure::Step {
                code,
                place,
                error: io::Error::from_raw_os_error(errno),
            }),
            Some(_) => Err(SpawnFailure::Lost(io::ErrorKind::InvalidData.into())),
            None => Err(SpawnFailure::Lost(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Waits for the next event; `None` at the end. Blocking.
    pub(crate) fn next(&self, time: Option<Duration>) -> io::Result<Option<Event>> {
        receive(self.socket.as_fd(), time)
    }

    /// Sends a command; the answer has its number.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` where the tree is gone; `WouldBlock` where the keeper has not taken many
    /// commands.
    pub(crate) fn command(&self, number: u32, kind: CommandKind) -> io::Result<()> {
        let bytes = Command { number, kind }.write();
        loop {
            match send(
                &self.socket,
                &bytes,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
