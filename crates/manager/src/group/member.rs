//! One process of a group: what its published status means to the group.

use std::sync::Arc;

use crate::containment::LeftProcess;
use crate::lifecycle::{ExitCause, ExitReport};
use crate::model::Runnable;
use crate::process::{Process, StartState, Status};
use crate::supervision::{MemberKind, PermanentEnd, RestartPolicy};

/// One process of a group, as its task knows it.
pub(super) struct Member {
    pub(super) kind: MemberKind,
    pub(super) place: Place,
    /// It has been asked to end for ever.
    pub(super) told_to_end: bool,
    /// The process was killed, and does not end.
    pub(super) is_stuck: bool,
}

/// Where its process is.
pub(super) enum Place {
    /// Not there yet.
    Unborn(Box<dyn Runnable>),
    /// Being spawned.
    Spawning,
    There(Arc<Process>),
    /// It has ended for ever, or could not be spawned.
    Over(End),
}

/// What has become of it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Well, or as a user asked.
    Ended,
    Failed,
    /// The process was to stop, was killed, and does not end.
    NotEnded,
    /// With the manager.
    ShutDown,
}

/// Something that has happened to a process, of what the group wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edge {
    /// Its run is ready.
    Ready,
    /// Nothing of it runs until it is released.
    Held,
    /// The run of the process was killed, and these processes of the run do not end.
    NotEnded(Arc<[LeftProcess]>),
    /// It has ended for ever.
    Over(PermanentEnd, Option<Arc<ExitReport>>),
}

/// What was made of a process's status so far.
///
/// A status says how things are, and may be looked at late. So a run is ready once, and what has become of it since
/// counts for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The last run of which something was told.
    run: Option<u64>,
    /// How often it was held back.
    held: u64,
    /// How often it was told that it does not end.
    unended: u32,
}

impl Seen {
    /// What the status tells that was not told, and what has been seen then.
    pub(super) fn edge(self, status: &Status) -> Option<(Edge, Self)> {
        let service = status.service.as_ref()?;
        let now = Self {
            run: Some(service.run),
            held: service.held.unwrap_or(self.held),
            unended: status.unended.as_ref().map_or(0, |unended| unended.times),
        };
        if let Some(end) = service.end {
            return Some((Edge::Over(end, status.report.clone()), now));
        }
        if now.held > self.held {
            return Some((Edge::Held, now));
        }
        let left = status.unended.as_ref().map(|unended| &unended.left);
        if let Some(left) = left.filter(|left| !left.is_empty())
            && now.unended > self.unended
            && status.report.is_none()
        {
            // Whether its run was ready is told by another look.
            let run = self.run;
            return Some((Edge::NotEnded(Arc::clone(left)), Self { run, ..now }));
        }
        // Until the next run is there, the status is of the last one.
        let is_new = self.run.is_none_or(|seen| service.run > seen);
        let is_ready = status.start == StartState::Ready && status.report.is_none();
        (is_new && is_ready).then_some((Edge::Ready, now))
    }
}

/// What the end of a process comes to.
///
/// A service that a user ends by its own handle has ended as it was to: that is nobody's failure. A oneshot has not
/// done then what it is there for.
pub(super) fn end_of(kind: MemberKind, end: PermanentEnd, report: Option<&ExitReport>) -> End {
    let ended_well = report.is_some_and(|report| {
        let by_itself = report.cause() == ExitCause::ByItself;
        !RestartPolicy::is_failure(report.code(), by_itself)
    });
    match (end, kind) {
        (PermanentEnd::ShutDown, _) => End::ShutDown,
        (PermanentEnd::Requested, MemberKind::Service) => End::Ended,
        (PermanentEnd::ByItself | PermanentEnd::Requested, _) if ended_well => End::Ended,
        _ => End::Failed,
    }
}
