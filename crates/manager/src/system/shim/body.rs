//! The work of a tree's root before its program: steps, and the descriptors that they name.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::wire::Step;

/// Steps in the order in which the root takes them.
#[derive(Debug, Default)]
pub(crate) struct Body<'a> {
    steps: Vec<u8>,
    fds: Vec<BorrowedFd<'a>>,
    leads_group: bool,
}

impl<'a> Body<'a> {
    /// Adds a step behind the others.
    pub(crate) fn step(&mut self, step: &Step<'_>) -> &mut Self {
        self.leads_group |= matches!(step, Step::Session | Step::Group);
        step.write(&mut |part| self.steps.extend_from_slice(part));
        self
    }

    /// Adds a descriptor, and gives the index by which steps name it.
    pub(crate) fn descriptor(&mut self, fd: BorrowedFd<'a>) -> u16 {
        self.fds.push(fd);
        u16::try_from(self.fds.len() - 1).unwrap_or(u16::MAX)
    }

    pub(super) fn steps(&self) -> &[u8] {
        &self.steps
    }

    pub(super) fn fds(&self) -> &[BorrowedFd<'a>] {
        &self.fds
    }

    /// Whether the root begins a group or a session.
    pub(super) fn leads_group(&self) -> bool {
        self.leads_group
    }
}

/// A memory file of these bytes that nobody can change any more.
pub(super) fn sealed_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("procession-steps", flags)?);
    file.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(file.as_fd(), seals)?;
    Ok(file.into())
}
