//! [`ReadEnd`]: the input pipe and what was read of it. Whoever holds it has the reading role.

use std::{io, os::fd::OwnedFd};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, read},
};

use crate::core::{InputBuffer, Session};

#[derive(Debug)]
pub(super) struct ReadEnd {
    fd: OwnedFd,
    buffer: InputBuffer,
    missing: usize,
}

impl ReadEnd {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            buffer: InputBuffer::default(),
            missing: 1,
        }
    }

    /// Waits for bytes and reads them. 0 is the end of input.
    pub(super) fn read(&mut self) -> io::Result<usize> {
        let room = self.buffer.room(self.missing);
        loop {
            match read(&self.fd, &mut *room) {
                Ok(len) => return Ok(len),
                Err(Errno::INTR) => {}
                // Someone has made the shared file description non-blocking.
                Err(Errno::AGAIN) => wait_readable(&mut [PollFd::new(&self.fd, PollFlags::IN)])?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The same, but gives up with `None` once `interrupt` is readable.
    pub(super) fn read_unless(&mut self, interrupt: Option<&OwnedFd>) -> io::Result<Option<usize>> {
        if let Some(interrupt) = interrupt {
            let mut fds = [
                PollFd::new(&self.fd, PollFlags::IN),
                PollFd::new(interrupt, PollFlags::IN),
            ];
            wait_readable(&mut fds)?;
            if !fds[1].revents().is_empty() {
                return Ok(None);
            }
        }
        self.read().map(Some)
    }

    /// Hands what [`read`](Self::read) came to to the session.
    pub(super) fn deliver(&mut self, outcome: io::Result<usize>, session: &mut Session) {
        session.arrive(&mut self.buffer, outcome);
        self.missing = session.missing(&self.buffer);
    }

    /// Lets the session decode what it had no place for.
    pub(super) fn deliver_backlog(&mut self, session: &mut Session) {
        session.decode(&mut self.buffer);
        self.missing = session.missing(&self.buffer);
    }
}

fn wait_readable(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    loop {
        match poll(fds, None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
