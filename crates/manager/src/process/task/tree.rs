//! Signals and hunts: for the process and all that it has started, or for what is no process.

use std::io;
use std::sync::Arc;

use super::super::StartState;
use super::super::spawn::Attached;
use super::Task;
use crate::clock;
use crate::containment::{self, Identity, LeftProcess, Outcome, Tag, Tree};
use crate::error::SignalProcessError;
use crate::events::Event;
use crate::lifecycle::Input;
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
            known: self.children().to_vec(),
        }
    }

    pub(super) fn is_process(&self) -> bool {
        self.run.child.as_ref().is_some_and(Attached::is_process)
    }

    pub(super) fn hunt(&mut self, urgent: bool) {
        let childless = self.run.child.as_ref().is_none_or(Attached::is_childless);
        if childless {
            self.run.hunts.spawn(async { Outcome::default() });
            return;
        }
        let (hunter, tree) = (self.context.hunter.clone(), self.tree());
        let group = self.run.child.as_ref().and_then(Attached::group).cloned();
        self.run
            .hunts
            .spawn(async move { hunter.hunt(tree, group, urgent).await });
    }

    /// Notes the outcome of a hunt, and returns it as an input of the lifecycle.
    pub(super) fn hunted(&mut self, outcome: Outcome) -> Input {
        let left = !outcome.left.is_empty();
        if left || self.run.ending.is_some() {
            self.run.ending.get_or_insert_default().left = outcome.left;
        }
        Input::Hunted {
            killed: outcome.killed,
            left,
        }
    }

    fn children(&self) -> &[Identity] {
        let ending = self.run.ending.as_ref();
        ending.map_or(&[], |ending| &ending.children)
    }

    /// Looks who its children are, before they are nobody's.
    pub(super) fn note_children(&mut self) {
        let Some(root) = self.run.child.as_ref().and_then(Attached::number) else {
            return;
        };
        let children = containment::children(root);
        // The number was its own until now only if it is not reaped yet.
        let root = self.run.child.as_ref().and_then(Attached::root);
        if !root.is_some_and(|root| root.is_unreaped()) {
            return;
        }
        let known = &mut self.run.ending.get_or_insert_default().children;
        for child in children {
            if !known.contains(&child) {
                known.push(child);
            }
        }
    }

    /// SIGKILL to the process itself, by its own descriptor, whatever else can be done: no scan
    /// comes before.
    pub(super) fn kill(&mut self) {
        self.ends_with_its_group();
        self.note_children();
        let Some(child) = &self.run.child else {
            return;
        };
        let denied = child
            .signal(Signal::KILL)
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        self.run.ending.get_or_insert_default().denied = denied;
        if denied {
            self.run.lifecycle.step(Input::KillDenied, clock::now());
        }
    }

    /// Returns the processes that do not end: the process itself first, where it is there.
    pub(super) fn left(&self) -> Vec<LeftProcess> {
        let Some(ending) = &self.run.ending else {
            return Vec::new();
        };
        let child = self.run.child.as_ref();
        let Some(child) = child.filter(|_| !self.run.exit.is_set()) else {
            return ending.left.clone();
        };
        let seen = child.number();
        let root = seen.and_then(|pid| LeftProcess::look(pid, ending.denied));
        let unseen = || LeftProcess::unseen(child.pid(), self.process.program(), ending.denied);
        let root = root.unwrap_or_else(unseen);
        let others = ending.left.iter().filter(|left| left.pid() != root.pid());
        std::iter::once(root.clone())
            .chain(others.cloned())
            .collect()
    }

    /// Tells what does not end. Whoever asked it for something is not answered any more.
    pub(super) fn tell_left(&mut self) {
        let left: Arc<[LeftProcess]> = self.left().into();
        if let Some(channels) = self.process.channels()
            && let Some(conversation) = &channels.run().conversation
        {
            conversation.end();
        }
        self.process.publish(|status| {
            // A start deadline does not come any more.
            if status.report.is_none() && status.start == StartState::Pending {
                let reason = "it was killed before it was ready, and does not end";
                status.start = StartState::Failed(reason.into());
            }
            let unended = status.unended.get_or_insert_default();
            unended.left = Arc::clone(&left);
            unended.times += 1;
        });
        self.context.note_left(&left);
        let id = self.process.id();
        tracing::error!(process = %id, left = %containment::List(&left), "does not end");
        self.context.events.tell(Event::NotEnded { id, left });
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
