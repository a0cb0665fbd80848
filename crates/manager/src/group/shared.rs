//! What the task of a group and its handles share.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, oneshot, watch};

use super::error::{GroupError, MemberFailure};
use super::events::GroupEvent;
use super::status::{GroupPhase, GroupStatus, MemberStatus};
use crate::containment::LeftProcess;
use crate::error::LastLines;
use crate::flag::Flag;
use crate::model::Runnable;
use crate::process::Process;
use crate::ring::RING;
use crate::supervision::graph::Graph;
use crate::supervision::{FailurePolicy, MemberKind, MemberState};

/// A process of a group that is to be.
pub(crate) struct Part {
    pub(super) kind: MemberKind,
    pub(super) runnable: Box<dyn Runnable>,
}

/// A group that is to be started, on its way to the manager, which runs its task.
pub(crate) struct StartGroup {
    pub(super) graph: Graph,
    pub(super) policy: FailurePolicy,
    /// One a node.
    pub(super) parts: Vec<Part>,
    pub(super) shared: Arc<Shared>,
    pub(super) view: watch::Sender<View>,
    pub(super) events: broadcast::Sender<GroupEvent>,
    /// Answered when the manager has it.
    pub(super) reply: oneshot::Sender<()>,
}

/// What handles have of a group.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) names: Vec<String>,
    pub(super) stop: Flag,
    pub(super) view: watch::Receiver<View>,
    /// Weak: a stream ends when the task does.
    events: broadcast::WeakSender<GroupEvent>,
    /// What has happened from the start on, for the first listener.
    early: Mutex<Option<broadcast::Receiver<GroupEvent>>>,
}

/// What the task tells of the group.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(super) members: Vec<Member>,
    pub(super) ready: bool,
    /// The node because of which it has failed, and why.
    pub(super) failed: Option<(usize, MemberFailure)>,
    pub(super) stopping: bool,
    pub(super) stopped: bool,
}

/// What the task tells of one process.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(super) state: MemberState,
    pub(super) process: Option<Arc<Process>>,
    /// Why it could not be started, or how it has failed.
    pub(super) error: Option<String>,
    /// What it said last before it failed.
    pub(super) words: LastLines,
    /// The processes of the member that do not end.
    pub(super) left: Vec<LeftProcess>,
}

impl StartGroup {
    pub(super) fn new(
        graph: Graph,
        policy: FailurePolicy,
        parts: Vec<Part>,
    ) -> (Self, Arc<Shared>, oneshot::Receiver<()>) {
        let idle = Member {
            state: MemberState::Idle,
            process: None,
            error: None,
            words: LastLines::default(),
            left: Vec::new(),
        };
        let (view, seen) = watch::channel(View {
            members: vec![idle; parts.len()],
            ready: false,
            failed: None,
            stopping: false,
            stopped: false,
        });
        let (events, early) = broadcast::channel(RING);
        let names = (0..parts.len()).filter_map(|node| graph.name(node).map(str::to_owned));
        let shared = Arc::new(Shared {
            names: names.collect(),
            stop: Flag::default(),
            view: seen,
            events: events.downgrade(),
            early: Mutex::new(Some(early)),
        });
        let (reply, answer) = oneshot::channel();
        let start = Self {
            graph,
            policy,
            parts,
            shared: Arc::clone(&shared),
            view,
            events,
            reply,
        };
        (start, shared, answer)
    }
}

impl Shared {
    /// All that happens from now on; for the first listener from the start on.
    pub(super) fn listen(&self) -> Option<broadcast::Receiver<GroupEvent>> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let first = early.take();
        first.or_else(|| Some(self.events.upgrade()?.subscribe()))
    }

    pub(super) fn status(&self) -> GroupStatus {
        let view = self.view.borrow();
        let members = self.names.iter().zip(&view.members);
        let members = members.map(|(name, member)| MemberStatus {
            name: name.clone(),
            state: member.state,
            process: member.process.as_ref().map(|process| process.id()),
            error: member.error.clone(),
        });
        GroupStatus {
            phase: view.phase(),
            members: members.collect(),
        }
    }
}

impl View {
    fn phase(&self) -> GroupPhase {
        match self {
            Self { stopped: true, .. } => GroupPhase::Stopped,
            Self { stopping: true, .. } => GroupPhase::Stopping,
            Self {
                failed: Some(_), ..
            } => GroupPhase::Failed,
            Self { ready: true, .. } => GroupPhase::Ready,
            _ => GroupPhase::Starting,
        }
    }

    /// Whether it has become ready, once that is known.
    pub(super) fn readiness(&self, names: &[String]) -> Option<Result<(), GroupError>> {
        if let Some((node, why)) = &self.failed {
            return Some(Err(GroupError::Failed {
                name: names.get(*node).cloned().unwrap_or_default(),
                why: why.clone(),
            }));
        }
        match self {
            Self { ready: true, .. } => Some(Ok(())),
            Self { stopping: true, .. } | Self { stopped: true, .. } => {
                Some(Err(GroupError::Stopped))
            }
            _ => None,
        }
    }
}
