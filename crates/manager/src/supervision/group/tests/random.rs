//! Random graphs, and random events in random orders: what must never happen, and what must in the end.

use super::*;
use crate::supervision::graph::random::Random;
use FailurePolicy::{OneForAll, OneForOne, RestForOne};
use std::fmt::Write as _;

/// What a supervisor knows of its node; the group is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Never started, or stopped.
    Off,
    Starting,
    Ready,
    Down,
    Restarting,
    Stopping,
    /// It is being stopped while it is down: nothing of it runs.
    Dismissed,
    Ended,
    Failed,
}

impl Seen {
    fn runs(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Ready | Self::Restarting | Self::Stopping
        )
    }
}

/// A group with its supervisors, all played by random numbers.
#[expect(
    clippy::struct_excessive_bools,
    reason = "what was said, each by itself"
)]
struct World {
    group: Group,
    random: Random,
    seen: Vec<Seen>,
    oneshot: Vec<bool>,
    given_up: Vec<bool>,
    stopping: bool,
    ready: bool,
    failed: bool,
    over: bool,
}

impl World {
    fn new(seed: u64, policy: FailurePolicy) -> Self {
        let mut random = Random::new(seed);
        let count = random.below(13);
        let mut group = Group::new(random.graph(count), policy);
        let oneshot: Vec<bool> = (0..count).map(|_| random.below(4) == 0).collect();
        for node in (0..count).filter(|&node| oneshot[node]) {
            group = group.with_kind(node, MemberKind::Oneshot);
        }
        Self {
            group,
            random,
            seen: vec![Seen::Off; count],
            oneshot,
            given_up: vec![false; count],
            stopping: false,
            ready: false,
            failed: false,
            over: false,
        }
    }

    fn policy(&self) -> FailurePolicy {
        self.group.policy
    }

    /// Ready, or a oneshot that has ended and whose own needs are met.
    fn is_met(&self, node: usize) -> bool {
        match self.seen[node] {
            Seen::Ready => true,
            Seen::Ended => self.oneshot[node] && self.needs_are_met(node),
            _ => false,
        }
    }

    fn needs_are_met(&self, node: usize) -> bool {
        let mut needs = self.group.graph().dependencies(node).iter();
        needs.all(|&need| self.is_met(need))
    }

    fn some_dependant_runs(&self, node: usize) -> bool {
        let dependants = self.group.graph().all_dependants(node);
        dependants.iter().any(|&other| self.seen[other].runs())
    }

    /// Some that runs, or waits for its restart in vain; but not one that was given up, since that needs no order.
    fn some_dependant_is_left(&self, node: usize) -> bool {
        let dependants = self.group.graph().all_dependants(node);
        let mut dependants = dependants.iter();
        dependants.any(|&other| match self.seen[other] {
            Seen::Down => self.stopping,
            Seen::Dismissed => !self.given_up[other],
            seen => seen.runs(),
        })
    }

    /// Tells the group what the supervisors have seen already, and obeys it.
    fn step(&mut self, input: Input) {
        let effects = self.group.step(input);
        assert!(effects.is_sorted(), "{input:?} {effects:?}");
        for effect in effects {
            assert!(!self.over, "{effect:?} after the end");
            self.obey(effect);
        }
        self.check_books();
        if self.policy() == OneForOne && !self.stopping {
            let waiting = |node: usize| matches!(self.seen[node], Seen::Off | Seen::Down);
            let mut waiting = (0..self.seen.len()).filter(|&node| waiting(node));
            let for_nothing = |node: usize| !self.given_up[node] && self.needs_are_met(node);
            assert!(!waiting.any(for_nothing), "somebody waits for nothing");
        }
    }

    fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::StartNode(node) => {
                assert_eq!(self.seen[node], Seen::Off, "started twice");
                self.check_start(node);
                self.seen[node] = Seen::Starting;
            }
            Effect::RestartNode(node) => {
                assert_eq!(self.seen[node], Seen::Down);
                self.check_start(node);
                let alone = self.policy() == OneForOne || !self.some_dependant_runs(node);
                assert!(alone, "{node} is restarted below what runs");
                self.seen[node] = Seen::Restarting;
            }
            Effect::StopNode(node) => {
                let gives_up = self.seen[node] == Seen::Down && self.given_up[node];
                assert!(gives_up || !self.some_dependant_is_left(node), "order");
                assert!(gives_up || self.stopping || self.policy() != OneForOne);
                self.seen[node] = match self.seen[node] {
                    Seen::Down => Seen::Dismissed,
                    Seen::Starting | Seen::Ready | Seen::Restarting => Seen::Stopping,
                    seen => panic!("stopped while {seen:?}"),
                };
            }
            Effect::NotStarted { node, because_of } => {
                assert!(matches!(self.seen[node], Seen::Off | Seen::Down));
                assert!(!std::mem::replace(&mut self.given_up[node], true), "twice");
                let needs = self.group.graph().all_dependencies(node);
                assert!(needs.contains(&because_of));
                let gone = match self.seen[because_of] {
                    Seen::Ended => !self.oneshot[because_of],
                    seen => seen == Seen::Failed,
                };
                assert!(gone && !self.stopping);
            }
            Effect::GroupReady => {
                assert!(!std::mem::replace(&mut self.ready, true) && !self.failed);
                let mut seen = self.seen.iter();
                assert!(
                    !self.stopping && seen.all(|seen| matches!(seen, Seen::Ready | Seen::Ended))
                );
            }
            Effect::GroupFailed { node } => {
                assert!(!std::mem::replace(&mut self.failed, true));
                assert!(!self.ready || self.policy() == OneForAll);
                assert!(matches!(self.seen[node], Seen::Ended | Seen::Failed));
            }
            Effect::GroupStopped => {
                assert!(!std::mem::replace(&mut self.over, true), "twice");
                let mut seen = self.seen.iter();
                assert!(seen.all(|seen| matches!(seen, Seen::Off | Seen::Ended | Seen::Failed)));
            }
        }
    }

    fn check_start(&self, node: usize) {
        assert!(!self.stopping && !self.given_up[node]);
        assert!(self.needs_are_met(node), "{node} before what it needs");
    }

    /// The counts are those that come out of the states, and nothing that is due is left undone.
    fn check_books(&self) {
        let members = &self.group.members;
        let mut tally = Tally::default();
        for (node, member) in members.iter().enumerate() {
            tally.add(member);
            let graph = self.group.graph();
            let count = |nodes: &[usize], of: fn(&Member) -> bool| {
                nodes.iter().filter(|&&node| of(&members[node])).count()
            };
            assert_eq!(
                member.unmet,
                count(graph.dependencies(node), |need| !need.is_met())
            );
            assert_eq!(
                member.blockers,
                count(graph.dependants(node), Member::is_present)
            );
        }
        assert_eq!(self.group.tally, tally);
        let mut again = self.group.clone();
        again.touched.extend(0..members.len());
        again.settle();
        again.announce();
        assert_eq!(again.effects, [], "left undone");
    }

    /// One node does something that its supervisor may say, or says what does not count.
    fn something_happens(&mut self, mishaps: bool) -> bool {
        let nodes = (0..self.seen.len()).filter(|&node| match self.seen[node] {
            Seen::Starting | Seen::Restarting | Seen::Stopping | Seen::Dismissed => true,
            Seen::Ready | Seen::Down => mishaps,
            Seen::Off | Seen::Ended | Seen::Failed => false,
        });
        let nodes: Vec<usize> = nodes.collect();
        if nodes.is_empty() {
            return false;
        }
        let node = nodes[self.random.below(nodes.len())];
        let well = match (self.seen[node], self.oneshot[node]) {
            (Seen::Stopping | Seen::Dismissed, _) => Input::Stopped(node),
            (_, true) => Input::Ended(node),
            (_, false) => Input::Ready(node),
        };
        let input = match self.random.below(24) {
            0 if mishaps => Input::Failed(node),
            1 if mishaps => Input::Ended(node),
            2..8 if mishaps => Input::Down(node),
            _ => well,
        };
        self.seen[node] = match (self.seen[node], input) {
            (_, Input::Failed(_)) => Seen::Failed,
            (_, Input::Ended(_)) => Seen::Ended,
            (_, Input::Stopped(_)) => Seen::Off,
            (Seen::Starting | Seen::Restarting, Input::Ready(_)) => Seen::Ready,
            (Seen::Starting | Seen::Ready | Seen::Restarting, Input::Down(_)) => Seen::Down,
            (seen, _) => seen,
        };
        self.stopping |= self.policy() == OneForAll && self.seen[node] == Seen::Failed;
        self.step(input);
        true
    }

    fn is_quiet(&self, node: usize) -> bool {
        !self.seen[node].runs() && self.seen[node] != Seen::Dismissed
    }

    /// What cannot be said of a node in its state is ignored.
    fn stray(&mut self) {
        let Some(node) = (0..self.seen.len()).find(|&node| self.is_quiet(node)) else {
            return;
        };
        let inputs = [Input::Ready(node), Input::Down(node), Input::Stopped(node)];
        let input = inputs[self.random.below(inputs.len())];
        assert_eq!(self.group.step(input), []);
    }

    /// Nothing goes wrong from now on, until nothing happens any more.
    fn settle(&mut self) {
        let mut steps = 0;
        while self.something_happens(false) {
            steps += 1;
            assert!(steps < 10_000, "it never comes to rest");
        }
    }

    /// When all goes well in the end, all that was not given up is up, and the group has said what it is.
    fn check_rest(&self) {
        assert!(self.ready || self.failed);
        for (node, seen) in self.seen.iter().enumerate() {
            let stopped_for_good = match self.policy() {
                OneForOne => false,
                RestForOne => {
                    let needs = self.group.graph().all_dependencies(node);
                    needs.iter().any(|&need| self.seen[need] == Seen::Failed)
                }
                OneForAll => self.stopping,
            };
            match seen {
                Seen::Ready => assert!(!stopped_for_good),
                Seen::Ended | Seen::Failed => {}
                Seen::Off => assert!(self.given_up[node] || stopped_for_good),
                _ => panic!("{node} hangs: {seen:?}"),
            }
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.step(Input::Stop);
        while self.something_happens(true) {}
        assert!(self.over && self.group.is_over(), "{:?}", self.seen);
    }
}

#[test]
fn random_sequences_keep_the_promises() {
    let mut ends = [0; 4];
    for seed in 1..=2_000 {
        for policy in [OneForOne, RestForOne, OneForAll] {
            let mut world = World::new(seed, policy);
            world.stray();
            world.step(Input::Start);
            for _ in 0..world.random.below(60) {
                if world.random.below(10) == 0 {
                    world.stray();
                }
                world.something_happens(true);
            }
            if world.random.below(2) == 0 {
                world.settle();
                world.check_rest();
                ends[0] += usize::from(world.over);
                ends[1] += usize::from(world.ready);
                ends[2] += usize::from(world.failed);
                ends[3] += usize::from(world.ready && world.failed);
            }
            world.stop();
        }
    }
    assert!(ends.iter().all(|&count| count > 30), "{ends:?}");
}

#[test]
fn the_same_course_has_the_same_effects() {
    let said = |seed| {
        let mut world = World::new(seed, RestForOne);
        let mut said = format!("{:?}", world.group.step(Input::Start));
        for _ in 0..50 {
            let node = world.random.below(13);
            let input = match world.random.below(3) {
                0 => Input::Down(node),
                1 => Input::Stopped(node),
                _ => Input::Ready(node),
            };
            write!(said, "{:?}", world.group.step(input)).expect("room");
        }
        said
    };
    for seed in 1..200 {
        assert_eq!(said(seed), said(seed));
    }
}
