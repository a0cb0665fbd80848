//! Every state meets every input, and what each policy comes to.

mod policies;
mod random;

use super::*;
use crate::supervision::graph::Node;

/// What is done, in few letters: + start, - stop, ~ restart, ! the group failed, x not started and because of
/// whom, R(eady), S(topped).
fn letters(group: &Group, effects: &[Effect]) -> String {
    let name = |node: usize| group.graph().name(node).unwrap();
    let letters = effects.iter().map(|effect| match *effect {
        Effect::GroupFailed { node } => format!("!{}", name(node)),
        Effect::NotStarted { node, because_of } => format!("x{}:{}", name(node), name(because_of)),
        Effect::StopNode(node) => format!("-{}", name(node)),
        Effect::RestartNode(node) => format!("~{}", name(node)),
        Effect::StartNode(node) => format!("+{}", name(node)),
        Effect::GroupReady => "R".to_owned(),
        Effect::GroupStopped => "S".to_owned(),
    });
    letters.collect::<Vec<_>>().join(" ")
}

/// An input in words: `start`, `stop`, or a node and what it says.
fn input(group: &Group, words: &str) -> Input {
    let Some((name, said)) = words.split_once(' ') else {
        return match words {
            "start" => Input::Start,
            "stop" => Input::Stop,
            _ => panic!("{words}"),
        };
    };
    let node = group.graph().index(name).unwrap();
    match said {
        "ready" => Input::Ready(node),
        "down" => Input::Down(node),
        "ended" => Input::Ended(node),
        "failed" => Input::Failed(node),
        "stopped" => Input::Stopped(node),
        _ => panic!("{words}"),
    }
}

fn step(group: &mut Group, words: &str) -> String {
    let input = input(group, words);
    let effects = group.step(input);
    letters(group, &effects)
}

/// A group of nodes written as `web:db,cache`, of which oneshots have a star.
fn group(policy: FailurePolicy, nodes: &str) -> Group {
    let parts = nodes.split(' ').map(|node| {
        let (name, needs) = node.split_once(':').unwrap_or((node, ""));
        let needs = needs.split(',').filter(|need| !need.is_empty());
        (name, Node::new(name.trim_end_matches('*')).needs(needs))
    });
    let (names, nodes): (Vec<_>, Vec<_>) = parts.unzip();
    let group = Group::new(Graph::new(nodes).unwrap(), policy);
    let oneshots = (0..names.len()).filter(|&node| names[node].ends_with('*'));
    oneshots.fold(group, |group, node| {
        group.with_kind(node, MemberKind::Oneshot)
    })
}

/// Each input, and what is done about it.
fn course(policy: FailurePolicy, nodes: &str, steps: &[(&str, &str)]) -> Group {
    let mut group = group(policy, nodes);
    for (number, (input, expected)) in steps.iter().enumerate() {
        let done = step(&mut group, input);
        assert_eq!(done, *expected, "{input} at {number}, {policy:?}");
    }
    group
}

/// The state of the node `b` of a chain, the inputs that lead there, and whether the whole group is
/// being stopped.
const STATES: [(&str, &str); 10] = [
    ("new", ""),
    ("idle", "start"),
    ("starting", "start,a ready"),
    ("ready", "start,a ready,b ready"),
    ("down", "start,a ready,b ready,c ready,a down,b down"),
    ("restarting", "start,a ready,b down,a stopped,a ready"),
    ("renewed", "start,a ready,b ready,a down,c stopped"),
    ("stopping", "start,a ready,stop"),
    ("ended", "start,a ready,b ended"),
    ("failed", "start,a ready,b failed"),
];

/// The columns are those of [`STATES`].
type Row = (&'static str, [&'static str; 10]);

const ONE_FOR_ONE: [Row; 7] = [
    ("start", ["+a", "", "", "", "", "", "", "", "", ""]),
    (
        "stop",
        ["S", "-a", "-b", "-c", "-c", "-b", "-c", "", "-a", "-a"],
    ),
    ("b ready", ["", "", "+c", "", "", "+c", "", "", "", ""]),
    ("b down", ["", "", "~b", "~b", "", "~b", "", "", "", ""]),
    (
        "b ended",
        ["", "", "!b xc:b", "", "", "!b xc:b", "", "-a", "", ""],
    ),
    (
        "b failed",
        ["", "", "!b xc:b", "!b", "", "!b xc:b", "!b", "-a", "", ""],
    ),
    ("b stopped", ["", "", "", "", "", "", "", "-a", "", ""]),
];

const REST_FOR_ONE: [Row; 7] = [
    ("start", ["+a", "", "", "", "", "", "", "", "", ""]),
    (
        "stop",
        ["S", "-a", "-b", "-c", "", "-b", "", "", "-a", "-a"],
    ),
    ("b ready", ["", "", "+c", "", "", "+c", "", "", "", ""]),
    ("b down", ["", "", "~b", "-c", "", "~b", "", "", "", ""]),
    (
        "b ended",
        [
            "",
            "",
            "!b xc:b",
            "",
            "",
            "!b xc:b",
            "!b xc:b ~a",
            "-a",
            "",
            "",
        ],
    ),
    (
        "b failed",
        [
            "",
            "",
            "!b xc:b",
            "!b -c",
            "",
            "!b xc:b",
            "!b xc:b ~a",
            "-a",
            "",
            "",
        ],
    ),
    ("b stopped", ["", "", "", "", "", "", "~a", "-a", "", ""]),
];

const ONE_FOR_ALL: [Row; 7] = [
    ("start", ["+a", "", "", "", "", "", "", "", "", ""]),
    ("stop", ["S", "-a", "-b", "-c", "", "-b", "", "", "-a", ""]),
    ("b ready", ["", "", "+c", "", "", "+c", "", "", "", ""]),
    ("b down", ["", "", "-a", "-c", "", "-a", "", "", "", ""]),
    (
        "b ended",
        [
            "",
            "",
            "!b xc:b",
            "",
            "",
            "!b xc:b",
            "!b xc:b ~a",
            "-a",
            "",
            "",
        ],
    ),
    (
        "b failed",
        [
            "", "", "!b -a", "!b -c", "!b", "!b -a", "!b -a", "-a", "", "",
        ],
    ),
    ("b stopped", ["", "", "", "", "", "", "~a", "-a", "", ""]),
];

#[test]
fn every_state_meets_every_input() {
    for (policy, table) in [
        (FailurePolicy::OneForOne, ONE_FOR_ONE),
        (FailurePolicy::RestForOne, REST_FOR_ONE),
        (FailurePolicy::OneForAll, ONE_FOR_ALL),
    ] {
        for (input, row) in table {
            for ((state, path), expected) in STATES.into_iter().zip(row) {
                let mut group = group(policy, "a b:a c:b");
                for words in path.split(',').filter(|words| !words.is_empty()) {
                    step(&mut group, words);
                }
                let done = step(&mut group, input);
                assert_eq!(done, expected, "{input} while {state}, {policy:?}");
            }
        }
    }
}

#[test]
fn the_states_of_the_table_are_what_they_are_named() {
    for (name, path) in STATES {
        let mut group = group(FailurePolicy::RestForOne, "a b:a c:b");
        for words in path.split(',').filter(|words| !words.is_empty()) {
            step(&mut group, words);
        }
        let expected = match name {
            "new" => "idle",
            "renewed" => "stopping",
            name => name,
        };
        assert_eq!(group.state(1).unwrap().to_string(), expected);
    }
}

#[test]
fn a_node_that_there_is_not_is_ignored() {
    let mut group = group(FailurePolicy::OneForAll, "a");
    group.step(Input::Start);
    for input in [
        Input::Ready(1),
        Input::Down(1),
        Input::Ended(1),
        Input::Failed(1),
        Input::Stopped(usize::MAX),
    ] {
        assert_eq!(group.step(input), []);
    }
    assert_eq!(group.state(1), None);
    assert_eq!(
        group.with_kind(1, MemberKind::Oneshot).state(0),
        Some(MemberState::Starting)
    );
}
