//! A group of processes that need each other, as a pure state machine.
//!
//! ```text
//!         all it needs                  Ready
//!          is ready
//!  ──► Idle ────────────► Starting ────────────────► Ready ◄───────┐
//!       ▲ │                  │ Down                    │ Down      │ Ready
//!       │ │                  ▼                         ▼           │
//!       │ │                Down ◄──────────────────────┘           │
//!       │ │                  │ ▲                                   │
//!       │ │                  │ └────────── Down ─────────┐          │
//!       │ │                  └───────────────────────► Restarting ─┘
//!       │ │                   all it needs is ready, and what is
//!       │ │                   restarted with it has stopped
//!       │ │
//!       │ │ Stop, or a need                             all that depends on
//!       │ ▼ is gone for good       Stopped, for good    it has stopped
//!       │ Stopped ◄──────────────────────── Stopping ◄──────── Starting, Ready, Down, Restarting
//!       │                                      │
//!       └──────────────────────────────────────┘
//!                Stopped, to start again
//!
//!  Starting, Ready, Down, Restarting, Stopping ── Ended ───► Ended
//!                                              └─ Failed ──► Failed
//! ```
//!
//! Each process has a supervisor of its own, which starts it, waits until it is ready, restarts it after a backoff
//! and gives up at some time. The task of the group turns what the supervisors tell into an [`Input`], asks
//! [`Group::step`] what to do, and passes the [`Effect`]s on in their order:
//!
//! ```text
//!  Start, Stop ──► ┌───────┐ ──► StartNode, StopNode, RestartNode ──► a node's supervisor ─┐
//!                  │ Group │ ──► NotStarted, GroupReady, GroupFailed, GroupStopped         │
//!            ┌───► └───────┘                                                               │
//!            └───────────────── Ready, Down, Ended, Failed, Stopped ◄──────────────────────┘
//! ```
//!
//! **Starting**: a node starts as soon as all that it needs is ready, for the first time or again; nobody waits
//! for a whole wave. A [oneshot](MemberKind::Oneshot) is ready when it has ended well, and for as long as all that
//! it needed itself is ready.
//!
//! **Stopping**: a node is stopped when all that depends on it, directly or not, has stopped.
//!
//! **Restarting**: a supervisor whose process is down waits for [`Effect::RestartNode`], while its backoff goes
//! on. The [`FailurePolicy`] says who is stopped before that, to be started again in order after it. What has ended
//! by itself is complete, and is not run again.
//!
//! **Giving up**: a node that needs one that is gone for good (failed, ended without being a oneshot, never
//! started) is not started any more, nor restarted. It goes on for as long as it runs.
//!
//! **The group** is ready when every node is ready or has ended, and has failed when that cannot come true any more,
//! or when a node fails of which the policy says that none goes without. It has stopped when nothing runs and
//! nothing will, asked for or not. Each of these is said once, and the last of them is the last effect. A group
//! starts once.
//!
//! **What it costs**: what happens to a node touches its neighbours, and theirs where it matters to them. Only a
//! run that ended badly looks for all that depends on the node, and only start and stop look at all nodes. Nothing
//! recurses.

mod input;
mod node;
mod policy;
#[cfg(test)]
mod tests;

pub(crate) use input::{Effect, Input};
pub use node::{MemberKind, MemberState};
pub use policy::FailurePolicy;

use crate::supervision::graph::Graph;
use node::{Leaving, Member, Tally};

/// Where the group is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody has asked for anything.
    New,
    /// It is to run.
    Live,
    /// All of it is to stop.
    Stopping,
    /// Nothing runs, and nothing will.
    Over,
}

/// What a group has said of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Ready,
    Failed,
}

/// The states of all nodes of a graph.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    graph: Graph,
    policy: FailurePolicy,
    phase: Phase,
    said: Said,
    members: Vec<Member>,
    tally: Tally,
    /// Nodes whose own state or whose counts have changed.
    touched: Vec<usize>,
    /// The states that nodes have come to, until they are taken.
    changes: Vec<(usize, MemberState)>,
    effects: Vec<Effect>,
}

impl Group {
    /// A group in which nothing has started.
    pub(crate) fn new(graph: Graph, policy: FailurePolicy) -> Self {
        let members = (0..graph.len()).map(|node| Member::new(graph.dependencies(node).len()));
        Self {
            policy,
            phase: Phase::New,
            said: Said::Nothing,
            members: members.collect(),
            tally: Tally::default(),
            touched: Vec::new(),
            changes: Vec::new(),
            effects: Vec::new(),
            graph,
        }
    }

    /// Says what sort of process a node is, which has to be known before the start. A node that there is not
    /// is ignored.
    pub(crate) fn with_kind(mut self, node: usize, kind: MemberKind) -> Self {
        if let Some(member) = self.members.get_mut(node) {
            member.kind = kind;
        }
        self
    }

    /// The nodes and what they need.
    #[cfg(test)]
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Where a node is in its life.
    pub(crate) fn state(&self, node: usize) -> Option<MemberState> {
        self.members.get(node).map(|member| member.state)
    }

    /// Whether a node that is being stopped is to be started again after that.
    pub(crate) fn starts_again(&self, node: usize) -> bool {
        let member = self.members.get(node);
        member.is_some_and(|member| member.leaving == Leaving::Again)
    }

    /// The nodes whose states have changed, in that order, since this was last asked.
    pub(crate) fn take_changes(&mut self) -> Vec<(usize, MemberState)> {
        std::mem::take(&mut self.changes)
    }

    /// Whether all of it is to stop, or has.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping | Phase::Over)
    }

    /// Whether nothing runs and nothing will.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Takes in what happened and says what to do.
    ///
    /// What a node cannot say in its state is ignored, so that a report and an order may cross each other: a
    /// node that is being stopped may still say that it is ready or down, and may end or fail instead of
    /// having stopped.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Start => self.start(),
            Input::Stop => self.stop(),
            Input::Ready(node)
            | Input::Down(node)
            | Input::Ended(node)
            | Input::Failed(node)
            | Input::Stopped(node)
                if node >= self.members.len() => {}
            Input::Ready(node) => self.ready(node),
            Input::Down(node) => self.down(node),
            Input::Ended(node) => self.ended(node),
            Input::Failed(node) => self.failed(node),
            Input::Stopped(node) => self.stopped(node),
        }
        self.settle();
        self.announce();
        let mut effects = std::mem::take(&mut self.effects);
        effects.sort_unstable();
        effects
    }

    fn start(&mut self) {
        if self.phase == Phase::New {
            self.phase = Phase::Live;
            self.touched.extend(0..self.members.len());
        }
    }

    fn stop(&mut self) {
        if !matches!(self.phase, Phase::New | Phase::Live) {
            return;
        }
        self.phase = Phase::Stopping;
        for node in 0..self.members.len() {
            match self.members[node].state {
                MemberState::Idle => self.change(node, MemberState::Stopped, Leaving::No),
                MemberState::Ended | MemberState::Failed | MemberState::Stopped => {}
                state => self.change(node, state, Leaving::ForGood),
            }
        }
    }

    fn ready(&mut self, node: usize) {
        let member = &self.members[node];
        // That a oneshot runs is no news to those that wait for its end.
        if member.kind == MemberKind::Service
            && matches!(
                member.state,
                MemberState::Starting | MemberState::Restarting
            )
        {
            self.change(node, MemberState::Ready, member.leaving);
        }
    }

    fn down(&mut self, node: usize) {
        let member = &self.members[node];
        if !member.state.is_run() {
            return;
        }
        // Who was to be stopped and started again is down already, and only has to be restarted.
        let leaving = match member.leaving {
            Leaving::ForGood => Leaving::ForGood,
            Leaving::No | Leaving::Again => Leaving::No,
        };
        self.change(node, MemberState::Down, leaving);
        if self.phase != Phase::Live {
            return;
        }
        for other in self.policy.affected(&self.graph, node) {
            let member = &self.members[other];
            if member.state.is_run() && member.leaving == Leaving::No {
                self.change(other, member.state, Leaving::Again);
            }
        }
    }

    fn ended(&mut self, node: usize) {
        if self.members[node].state.is_supervised() {
            self.change(node, MemberState::Ended, Leaving::No);
        }
    }

    fn failed(&mut self, node: usize) {
        if !self.members[node].state.is_supervised() {
            return;
        }
        self.change(node, MemberState::Failed, Leaving::No);
        if self.phase != Phase::Live {
            return;
        }
        if self.policy == FailurePolicy::OneForAll {
            self.fail(node);
            self.stop();
            return;
        }
        if self.said == Said::Nothing {
            self.fail(node);
        }
        for other in self.policy.affected(&self.graph, node) {
            let member = &mut self.members[other];
            member.doomed_by.get_or_insert(node);
            self.touched.push(other);
            if member.state.is_run() || member.state == MemberState::Stopping {
                let state = member.state;
                self.change(other, state, Leaving::ForGood);
            }
        }
    }

    fn stopped(&mut self, node: usize) {
        let member = &self.members[node];
        if member.state == MemberState::Stopping {
            let state = match member.leaving {
                Leaving::Again => MemberState::Idle,
                Leaving::No | Leaving::ForGood => MemberState::Stopped,
            };
            self.change(node, state, Leaving::No);
        }
    }

    /// The only place that changes a node's state.
    fn change(&mut self, node: usize, state: MemberState, leaving: Leaving) {
        let member = &mut self.members[node];
        let waited = self.tally.renewing > 0;
        self.tally.remove(member);
        if std::mem::replace(&mut member.state, state) != state {
            self.changes.push((node, state));
        }
        member.leaving = leaving;
        self.tally.add(member);
        self.touched.push(node);
        if waited && self.tally.renewing == 0 && self.policy == FailurePolicy::OneForAll {
            self.touched.extend(0..self.members.len());
        }
    }

    /// Does all that has become due. What is known of all nodes is put right before each thing that is done.
    fn settle(&mut self) {
        let mut candidates = Vec::new();
        loop {
            while let Some(node) = self.touched.pop() {
                self.put_right(node);
                candidates.push(node);
            }
            let Some(node) = candidates.pop() else {
                return;
            };
            self.act(node);
        }
    }

    /// Tells a node's neighbours what its state means to them.
    fn put_right(&mut self, node: usize) {
        let member = &mut self.members[node];
        let (is_met, is_present) = (member.is_met(), member.is_present());
        let was_met = std::mem::replace(&mut member.met, is_met);
        let was_present = std::mem::replace(&mut member.present, is_present);
        let cause = member.cause(node);
        let is_news = cause.is_some() && !std::mem::replace(&mut member.hopeless, cause.is_some());
        if was_met != is_met || is_news {
            for &dependant in self.graph.dependants(node) {
                let other = &mut self.members[dependant];
                match (was_met, is_met) {
                    (false, true) => other.unmet -= 1,
                    (true, false) => other.unmet += 1,
                    _ => {}
                }
                other.doomed_by = other.doomed_by.or(cause);
                self.touched.push(dependant);
            }
        }
        if was_present != is_present {
            for &needed in self.graph.dependencies(node) {
                let blockers = &mut self.members[needed].blockers;
                *blockers = if is_present {
                    *blockers + 1
                } else {
                    *blockers - 1
                };
                self.touched.push(needed);
            }
        }
    }

    /// Starts, restarts, stops or gives up a node, if that is due.
    fn act(&mut self, node: usize) {
        let member = &self.members[node];
        match (member.state, member.leaving, member.doomed_by) {
            _ if self.phase == Phase::New => {}
            (MemberState::Idle | MemberState::Down, Leaving::No, Some(because_of)) => {
                self.give_up(node, because_of);
            }
            (MemberState::Idle, Leaving::No, None) if self.may_start(node) => {
                self.effects.push(Effect::StartNode(node));
                self.change(node, MemberState::Starting, Leaving::No);
            }
            (MemberState::Down, Leaving::No, None) if self.may_start(node) => {
                self.effects.push(Effect::RestartNode(node));
                self.change(node, MemberState::Restarting, Leaving::No);
            }
            (state, Leaving::Again | Leaving::ForGood, _)
                if state != MemberState::Stopping && member.blockers == 0 =>
            {
                self.effects.push(Effect::StopNode(node));
                self.change(node, MemberState::Stopping, member.leaving);
            }
            _ => {}
        }
    }

    /// Whether a node has all that it needs, and whoever is restarted with it has stopped.
    fn may_start(&self, node: usize) -> bool {
        let member = &self.members[node];
        member.unmet == 0
            && match self.policy {
                FailurePolicy::OneForOne => true,
                FailurePolicy::RestForOne => member.blockers == 0,
                // They may share what they hold, so none of the new meets one of the old.
                FailurePolicy::OneForAll => member.blockers == 0 && self.tally.renewing == 0,
            }
    }

    /// A node's need is gone for good.
    fn give_up(&mut self, node: usize, because_of: usize) {
        self.effects.push(Effect::NotStarted { node, because_of });
        if self.said == Said::Nothing {
            self.fail(because_of);
        }
        if self.members[node].state == MemberState::Down {
            // Its supervisor waits for leave to restart it. Nothing of it runs, so this needs no order.
            self.effects.push(Effect::StopNode(node));
            self.change(node, MemberState::Stopping, Leaving::ForGood);
        } else {
            self.change(node, MemberState::Stopped, Leaving::No);
        }
    }

    fn fail(&mut self, node: usize) {
        if self.said != Said::Failed {
            self.said = Said::Failed;
            self.effects.push(Effect::GroupFailed { node });
        }
    }

    fn announce(&mut self) {
        let count = self.members.len();
        if self.phase == Phase::Live && self.said == Said::Nothing && self.tally.up == count {
            self.said = Said::Ready;
            self.effects.push(Effect::GroupReady);
        }
        if matches!(self.phase, Phase::Live | Phase::Stopping) && self.tally.over == count {
            self.phase = Phase::Over;
            self.effects.push(Effect::GroupStopped);
        }
    }
}
