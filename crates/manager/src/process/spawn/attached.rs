//! What a process task has charge of: a process, or what a test puts in its place.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::process::Pid;

use super::Child;
use crate::containment::{Group, Root};
use crate::os::Reaped;
use crate::run_dir::RunDir;
use crate::signal::Signal;
#[cfg(any(test, feature = "test-util"))]
use crate::test_util::Scripted;

#[derive(Debug)]
pub(crate) enum Attached {
    Process(Child),
    #[cfg(any(test, feature = "test-util"))]
    Scripted(Scripted),
}

impl Attached {
    /// The process, if it is one.
    #[cfg_attr(
        not(any(test, feature = "test-util")),
        expect(clippy::unnecessary_wraps, reason = "there is something else in tests")
    )]
    fn process(&self) -> Option<&Child> {
        match self {
            Self::Process(child) => Some(child),
            #[cfg(any(test, feature = "test-util"))]
            Self::Scripted(_) => None,
        }
    }

    #[cfg_attr(
        not(any(test, feature = "test-util")),
        expect(clippy::unnecessary_wraps, reason = "there is something else in tests")
    )]
    fn process_mut(&mut self) -> Option<&mut Child> {
        match self {
            Self::Process(child) => Some(child),
            #[cfg(any(test, feature = "test-util"))]
            Self::Scripted(_) => None,
        }
    }

    /// Whether there is something in the system to be hunted for.
    pub(crate) fn is_process(&self) -> bool {
        self.process().is_some()
    }

    /// See [`Child::is_childless`]; what is no process has none to be hunted for.
    pub(crate) fn is_childless(&self) -> bool {
        self.process().is_none_or(Child::is_childless)
    }

    /// Returns the number of the child, where it is a process.
    pub(crate) fn number(&self) -> Option<Pid> {
        self.process().map(Child::number)
    }

    /// Returns the number of the child; 0 where it is no process.
    pub(crate) fn pid(&self) -> u32 {
        self.process().map_or(0, Child::pid)
    }

    /// See [`Child::watch`].
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        self.process_mut().map_or(Ok(()), Child::watch)
    }

    /// See [`Child::poll_exited`].
    pub(crate) fn poll_exited(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reaped>> {
        match self {
            Self::Process(child) => child.poll_exited(cx),
            #[cfg(any(test, feature = "test-util"))]
            Self::Scripted(child) => child.poll_exited(cx).map(Some),
        }
    }

    /// See [`Child::signal`].
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        match self {
            Self::Process(child) => child.signal(signal),
            #[cfg(any(test, feature = "test-util"))]
            Self::Scripted(child) => Ok(child.signal(signal)),
        }
    }

    /// See [`Child::close`].
    pub(crate) fn close(&mut self) {
        if let Some(child) = self.process_mut() {
            child.close();
        }
    }

    /// See [`Child::group`].
    pub(crate) fn group(&self) -> Option<&Arc<Group>> {
        self.process().and_then(Child::group)
    }

    /// See [`Child::leave_group`].
    pub(crate) fn leave_group(&mut self) {
        if let Some(child) = self.process_mut() {
            child.leave_group();
        }
    }

    /// See [`Child::take_group_along`].
    pub(crate) fn take_group_along(&mut self) {
        if let Some(child) = self.process_mut() {
            child.take_group_along();
        }
    }

    /// See [`Child::root`].
    pub(crate) fn root(&self) -> Option<Root> {
        self.process().and_then(Child::root)
    }

    pub(super) fn give_run_dir(&mut self, run_dir: RunDir) {
        if let Some(child) = self.process_mut() {
            child.run_dir = Some(run_dir);
        }
    }

    /// Its run directory, where it has one.
    pub(crate) fn take_run_dir(&mut self) -> Option<RunDir> {
        self.process_mut().and_then(Child::take_run_dir)
    }
}
