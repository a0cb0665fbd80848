//! The two ends that a child without a library has, blocking or not.
//!
//! proc-heim gives its children non-blocking pipes as standard input and output, so that reading
//! and writing may fail with `EAGAIN`; such an end waits by poll(2) and tries again.

use std::{
    env, fs,
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, dup, read, write},
    stdio,
};

/// One end of a pipe.
pub(super) struct Pipe(OwnedFd);

impl Pipe {
    /// The named pipe that the environment tells, or else standard input.
    pub(super) fn input() -> io::Result<Self> {
        Ok(Self(match env::var_os("INPUT_PIPE") {
            Some(path) => fs::File::open(path)?.into(),
            None => dup(stdio::stdin())?,
        }))
    }

    /// The named pipe that the environment tells, or else standard output.
    pub(super) fn output() -> io::Result<Self> {
        Ok(Self(match env::var_os("OUTPUT_PIPE") {
            Some(path) => fs::OpenOptions::new().write(true).open(path)?.into(),
            None => dup(stdio::stdout())?,
        }))
    }

    /// Waits until one of `events`, or the other side's end.
    fn wait_for(&self, events: PollFlags) -> io::Result<()> {
        poll(&mut [PollFd::new(&self.0, events)], None)?;
        Ok(())
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match read(&self.0, &mut *buffer) {
                Err(Errno::AGAIN) => self.wait_for(PollFlags::IN)?,
                result => return Ok(result?),
            }
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match write(&self.0, bytes) {
                Err(Errno::AGAIN) => self.wait_for(PollFlags::OUT)?,
                result => return Ok(result?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
