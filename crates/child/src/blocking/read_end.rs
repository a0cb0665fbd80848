//! [`ReadEnd`]: the input pipe and what was read of it. Whoever holds it has the reading role.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read},
};

use super::endpoint::Patience;
use crate::{
    core::{InputBuffer, Session},
    lease::Lease,
};

#[derive(Debug)]
pub(super) struct ReadEnd {
    fd: OwnedFd,
    buffer: InputBuffer,
    missing: usize,
    lease: Option<Lease>,
}

/// What an attempt to read came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// So many bytes; 0 at the end of input.
    Read(io::Result<usize>),
    /// It was interrupted, or it is too late.
    Quiet,
    /// The parent has been silent for too long.
    Expired,
}

impl ReadEnd {
    pub(super) fn new(fd: OwnedFd, lease: Option<Duration>) -> Self {
        Self {
            fd,
            buffer: InputBuffer::default(),
            missing: 1,
            lease: lease.map(Lease::new),
        }
    }

    /// Waits for bytes and reads them. `interrupt`, once readable, ends the wait of a reader who can be
    /// interrupted.
    pub(super) fn read(&mut self, patience: Patience, interrupt: Option<&OwnedFd>) -> Outcome {
        let interrupt = interrupt.filter(|_| !matches!(patience, Patience::Deaf));
        if interrupt.is_none() && self.lease.is_none() && patience.left().is_none() {
            return Outcome::Read(self.read_now());
        }
        match self.wait(patience, interrupt) {
            Ok(None) => Outcome::Read(self.read_now()),
            Ok(Some(outcome)) => outcome,
            Err(error) => Outcome::Read(Err(error)),
        }
    }

    /// Hands what [`read`](Self::read) came to to the session.
    pub(super) fn deliver(&mut self, outcome: Outcome, session: &mut Session) {
        match outcome {
            Outcome::Read(outcome) => session.arrive(&mut self.buffer, outcome),
            Outcome::Expired => session.expire(),
            Outcome::Quiet => {}
        }
        self.missing = session.missing(&self.buffer);
    }

    /// Lets the session decode what it had no place for.
    pub(super) fn deliver_backlog(&mut self, session: &mut Session) {
        session.decode(&mut self.buffer);
        self.missing = session.missing(&self.buffer);
    }

    fn read_now(&mut self) -> io::Result<usize> {
        let room = self.buffer.room(self.missing);
        loop {
            match read(&self.fd, &mut *room) {
                Ok(len) => {
                    if let Some(lease) = &mut self.lease {
                        lease.renew();
                    }
                    return Ok(len);
                }
                Err(Errno::INTR) => {}
                // Someone has made the shared file description non-blocking.
                Err(Errno::AGAIN) => {
                    poll_for(&mut [PollFd::new(&self.fd, PollFlags::IN)], None)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits until there is something to read: `None`. The lease is waited for in pieces, so that of a
    /// time in which this process did not run only one piece counts.
    fn wait(
        &mut self,
        patience: Patience,
        interrupt: Option<&OwnedFd>,
    ) -> io::Result<Option<Outcome>> {
        loop {
            let piece = self.lease.as_ref().map(Lease::piece);
            let left = patience.left();
            let timeout = piece.into_iter().chain(left).min();
            let input = PollFd::new(&self.fd, PollFlags::IN);
            let start = Instant::now();
            let is_readable = if let Some(interrupt) = interrupt {
                let mut fds = [input, PollFd::new(interrupt, PollFlags::IN)];
                poll_for(&mut fds, timeout)?;
                if !fds[1].revents().is_empty() {
                    return Ok(Some(Outcome::Quiet));
                }
                !fds[0].revents().is_empty()
            } else {
                let mut fds = [input];
                poll_for(&mut fds, timeout)?;
                !fds[0].revents().is_empty()
            };
            if is_readable {
                return Ok(None);
            }
            if let Some(lease) = &mut self.lease
                && lease.spend(start.elapsed())
            {
                return Ok(Some(Outcome::Expired));
            }
            if patience.left() == Some(Duration::ZERO) {
                return Ok(Some(Outcome::Quiet));
            }
        }
    }
}

/// Waits until one of them is ready, the time is over or a signal has come.
fn poll_for(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    // A time too long to be told is for ever.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
