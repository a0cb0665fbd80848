//! Ends that a runtime can wait for.
//!
//! Non-blocking is a property of the file description, which an inherited stream shares with whoever
//! gave it. A pipe is therefore opened anew by `/proc/self/fd` (`man 5 proc`), which makes a
//! description of our own. What that is impossible for (a socket, a file, a terminal, a pipe of
//! another user) is served by a thread that copies between it and a pipe of ours.

use std::{
    fs::File,
    io::{self, PipeWriter, pipe},
    os::fd::{AsRawFd, OwnedFd},
    thread::{Builder, JoinHandle},
};

use rustix::fs::{FileType, Mode, OFlags, fstat};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::{ConnectError, open::End};

/// The output, and the thread that copies from it, if there is one.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) sender: Sender,
    pub(super) relay: Option<JoinHandle<()>>,
}

pub(super) fn receiver(end: End) -> Result<Receiver, ConnectError> {
    let End {
        fd,
        variable,
        shared,
    } = end;
    let receiver = match own_description(fd, shared, OFlags::RDONLY) {
        Ok(own) => Receiver::from_owned_fd(own),
        Err(shared) => relayed_input(shared).and_then(Receiver::from_owned_fd),
    };
    receiver.map_err(|error| ConnectError::io(variable, "wait for its input", error))
}

pub(super) fn writer(end: End) -> Result<Writer, ConnectError> {
    let End {
        fd,
        variable,
        shared,
    } = end;
    let opened = match own_description(fd, shared, OFlags::WRONLY) {
        Ok(own) => Sender::from_owned_fd(own).map(|sender| (sender, None)),
        Err(shared) => relayed_output(shared),
    };
    match opened {
        Ok((sender, relay)) => Ok(Writer { sender, relay }),
        Err(error) => Err(ConnectError::io(variable, "wait for its output", error)),
    }
}

/// A description of our own for the same pipe, or else the descriptor as it was.
fn own_description(fd: OwnedFd, shared: bool, access: OFlags) -> Result<OwnedFd, OwnedFd> {
    if !shared {
        return Ok(fd);
    }
    if !fstat(&fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo) {
        return Err(fd);
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|_| fd)
}

fn relayed_input(shared: OwnedFd) -> io::Result<OwnedFd> {
    let (ours, relay) = pipe()?;
    spawn("procession-input", shared.into(), move |mut from: File| {
        copy(&mut from, &mut { relay });
    })?;
    Ok(ours.into())
}

fn relayed_output(shared: OwnedFd) -> io::Result<(Sender, Option<JoinHandle<()>>)> {
    let (mut relay, ours): (_, PipeWriter) = pipe()?;
    let thread = spawn("procession-output", shared.into(), move |mut to: File| {
        copy(&mut relay, &mut to);
    })?;
    Ok((Sender::from_owned_fd(ours.into())?, Some(thread)))
}

/// Copies to the end. An error on one side closes the other, which is how we learn of it.
///
/// Not by `io::copy`: it splices, and a splice that waits for a socket keeps its pipe locked, so that
/// even a non-blocking read of that pipe waits with it.
pub(super) fn copy(from: &mut impl io::Read, to: &mut impl io::Write) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let copied = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => to.write_all(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        };
        if copied.is_err() {
            return;
        }
    }
}

fn spawn(
    name: &str,
    file: File,
    work: impl FnOnce(File) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.into()).spawn(move || work(file))
}
