//! One node, and what its neighbours make of it.

use std::fmt;

/// What sort of process a member of a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum MemberKind {
    /// It runs on, and what needs it needs it to run.
    #[default]
    Service,
    /// It does something and ends, and what needs it waits for that end (systemd's `Type=oneshot`).
    Oneshot,
}

/// Where a member of a group is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberState {
    /// It waits for what it needs.
    Idle,
    /// It is being started.
    Starting,
    /// It is ready.
    Ready,
    /// Its run has ended; it waits for what it needs and for the end of what is restarted with it.
    Down,
    /// It is being started again by its supervisor, or waits for the end of its backoff.
    Restarting,
    /// It is being stopped.
    Stopping,
    /// It has ended by itself, and well.
    Ended,
    /// It has failed for good.
    Failed,
    /// It was stopped for good, or will never start.
    Stopped,
}

impl MemberState {
    /// Whether it runs, or is about to.
    pub(super) fn is_run(self) -> bool {
        matches!(self, Self::Starting | Self::Ready | Self::Restarting)
    }

    /// Whether its supervisor has charge of it, and may say how it ended.
    pub(super) fn is_supervised(self) -> bool {
        self.is_run() || matches!(self, Self::Down | Self::Stopping)
    }

    /// Whether nothing can happen to it any more.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Failed | Self::Stopped)
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Down => "down",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

/// Whether a node is to be stopped. It is so before it is being stopped, since what depends on it goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// And started again.
    Again,
    ForGood,
}

/// One node's state, and what is known of its neighbours'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) kind: MemberKind,
    pub(super) state: MemberState,
    pub(super) leaving: Leaving,
    /// How many of the nodes that it needs itself are not met.
    pub(super) unmet: usize,
    /// How many of the nodes that need it themselves are present.
    pub(super) blockers: usize,
    /// The node because of which it can never start (again).
    pub(super) doomed_by: Option<usize>,
    /// That it is met, as its dependants count it.
    pub(super) met: bool,
    /// That it is present, as what it needs counts it.
    pub(super) present: bool,
    /// That it will never be met again, as its dependants know.
    pub(super) hopeless: bool,
}

impl Member {
    pub(super) fn new(needs: usize) -> Self {
        Self {
            kind: MemberKind::Service,
            state: MemberState::Idle,
            leaving: Leaving::No,
            unmet: needs,
            blockers: 0,
            doomed_by: None,
            met: false,
            present: false,
            hopeless: false,
        }
    }

    /// Whether it is what its dependants need. A oneshot that has ended stands for what it needed itself.
    pub(super) fn is_met(&self) -> bool {
        match self.state {
            MemberState::Ready => self.leaving == Leaving::No,
            MemberState::Ended => self.kind == MemberKind::Oneshot && self.unmet == 0,
            _ => false,
        }
    }

    /// Whether it has to stop before what it needs does, or something that depends on it has.
    pub(super) fn is_present(&self) -> bool {
        let waits_to_be_stopped =
            self.state == MemberState::Down && self.leaving == Leaving::ForGood;
        self.state.is_run()
            || self.state == MemberState::Stopping
            || waits_to_be_stopped
            || self.blockers > 0
    }

    /// The node because of which this one, which is `node`, will never be met again.
    pub(super) fn cause(&self, node: usize) -> Option<usize> {
        match (self.state, self.kind) {
            (MemberState::Failed, _) | (MemberState::Ended, MemberKind::Service) => Some(node),
            (MemberState::Ended, MemberKind::Oneshot) => self.doomed_by,
            (MemberState::Stopped, _) => Some(self.doomed_by.unwrap_or(node)),
            _ => None,
        }
    }
}

/// How many nodes are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// Ready to stay, or ended.
    pub(super) up: usize,
    /// Nothing can happen to them.
    pub(super) over: usize,
    /// To be stopped and started again, and not stopped yet.
    pub(super) renewing: usize,
}

impl Tally {
    pub(super) fn add(&mut self, member: &Member) {
        let [up, over, renewing] = Self::parts(member);
        self.up += up;
        self.over += over;
        self.renewing += renewing;
    }

    pub(super) fn remove(&mut self, member: &Member) {
        let [up, over, renewing] = Self::parts(member);
        self.up -= up;
        self.over -= over;
        self.renewing -= renewing;
    }

    fn parts(member: &Member) -> [usize; 3] {
        let up = match member.state {
            MemberState::Ready => member.leaving == Leaving::No,
            state => state == MemberState::Ended,
        };
        let renewing = member.leaving == Leaving::Again;
        [up, member.state.is_over(), renewing].map(usize::from)
    }
}
