//! Signals and hunts: for the process and all that it has started, or for what is no process.

use std::io;

use super::super::spawn::Attached;
use super::Task;
use crate::containment::{Tag, Tree};
use crate::error::SignalProcessError;
use crate::signal::Signal;

impl Task {
    /// The answer to a request for a signal, by whether there was a process to send it to.
    pub(super) fn answer(&self, sent: io::Result<bool>) -> Result<(), SignalProcessError> {
        match sent {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.process.signal_error()),
            Err(error) => Err(SignalProcessError::IoError(error)),
        }
    }

    /// The process and all that it has started.
    pub(super) fn tree(&self) -> Tree {
        Tree {
            tag: Tag::Process(self.context.dir.id(), self.process.id()),
            root: self.run.child.as_ref().and_then(Attached::root),
        }
    }

    pub(super) fn is_process(&self) -> bool {
        self.run.child.as_ref().is_some_and(Attached::is_process)
    }

    pub(super) fn hunt(&mut self, urgent: bool) {
        let childless = self.run.child.as_ref().is_none_or(Attached::is_childless);
        if childless {
            self.run.hunts.spawn(async { 0 });
            return;
        }
        let (hunter, tree) = (self.context.hunter.clone(), self.tree());
        let group = self.run.child.as_ref().and_then(Attached::group).cloned();
        self.run
            .hunts
            .spawn(async move { hunter.hunt(tree, group, urgent).await });
    }

    /// Whoever asks it to end means all of it, also what it was to leave.
    pub(super) fn ends_with_its_group(&mut self) {
        if let Some(child) = &mut self.run.child {
            child.take_group_along();
        }
    }

    /// To something that is no process, and has no tree.
    pub(super) fn signal_alone(&self, signal: Signal) {
        if let Some(child) = &self.run.child {
            let _ = child.signal(signal);
        }
    }
}
