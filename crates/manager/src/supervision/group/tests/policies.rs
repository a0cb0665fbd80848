//! Starts, stops and failures, from the first input to the last effect.

use super::*;
use FailurePolicy::{OneForAll, OneForOne, RestForOne};

const POLICIES: [FailurePolicy; 3] = [OneForOne, RestForOne, OneForAll];

fn started(effects: &[Effect]) -> Vec<usize> {
    let started = effects.iter().filter_map(|effect| match effect {
        Effect::StartNode(node) => Some(*node),
        _ => None,
    });
    started.collect()
}

fn stopped(effects: &[Effect]) -> Vec<usize> {
    let stopped = effects.iter().filter_map(|effect| match effect {
        Effect::StopNode(node) => Some(*node),
        _ => None,
    });
    stopped.collect()
}

/// Five layers of ten, each node needing two of the layer before; the indices go from the last layer to the first.
fn fifty() -> Graph {
    let name = |layer: usize, place: usize| format!("{layer}-{}", place % 10);
    let nodes = (0..50).map(|index| {
        let (layer, place) = (4 - index / 10, index % 10);
        let needs = match layer {
            0 => Vec::new(),
            _ => vec![name(layer - 1, place), name(layer - 1, place + 1)],
        };
        Node::new(name(layer, place)).needs(needs)
    });
    Graph::new(nodes).unwrap()
}

#[test]
fn fifty_nodes_start_in_the_fewest_waves_and_stop_in_the_reverse() {
    for policy in POLICIES {
        let mut group = Group::new(fifty(), policy);
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        let mut effects = group.step(Input::Start);
        while !effects.contains(&Effect::GroupReady) {
            let wave = started(&effects);
            let answers = wave.iter().map(|&node| group.step(Input::Ready(node)));
            effects = answers.flatten().collect();
            effects.sort();
            starts.push(wave);
        }
        let layer = |layer: usize| (40 - 10 * layer..50 - 10 * layer).collect::<Vec<_>>();
        assert_eq!(starts, (0..5).map(layer).collect::<Vec<_>>());
        assert_eq!(starts, group.graph().waves());
        effects = group.step(Input::Stop);
        while !effects.contains(&Effect::GroupStopped) {
            let wave = stopped(&effects);
            let answers = wave.iter().map(|&node| group.step(Input::Stopped(node)));
            effects = answers.flatten().collect();
            effects.sort();
            stops.push(wave);
        }
        starts.reverse();
        assert_eq!(stops, starts);
        assert!(group.is_over());
    }
}

#[test]
fn nobody_waits_for_a_whole_wave() {
    for policy in POLICIES {
        course(
            policy,
            "slow quick web:quick api:web,slow",
            &[
                ("start", "+slow +quick"),
                ("quick ready", "+web"),
                ("web ready", ""),
                ("slow ready", "+api"),
                ("api ready", "R"),
                ("stop", "-api"),
                ("api stopped", "-slow -web"),
                ("web stopped", "-quick"),
                ("quick stopped", ""),
                ("slow stopped", "S"),
            ],
        );
    }
}

#[test]
fn a_stop_during_the_start_stops_only_what_was_started() {
    for policy in POLICIES {
        let steps = [
            ("start", "+a +d"),
            ("a ready", "+b"),
            ("stop", "-b -d"),
            // These crossed the stop.
            ("b ready", ""),
            ("d down", ""),
            ("b stopped", "-a"),
            ("a stopped", ""),
            ("d stopped", "S"),
            ("stop", ""),
            ("start", ""),
        ];
        course(policy, "a b:a c:b d", &steps);
        course(
            policy,
            "a b:a",
            &[("stop", "S"), ("start", ""), ("stop", "")],
        );
    }
}

#[test]
fn a_group_ends_when_nothing_of_it_runs() {
    for policy in POLICIES {
        let steps = [("start", "+a"), ("a ended", "+b"), ("b ended", "R S")];
        let group = course(policy, "a* b*:a", &steps);
        assert!(group.is_over());
        let mut group = Group::new(Graph::new([]).unwrap(), policy);
        let effects = group.step(Input::Start);
        assert_eq!(effects, [Effect::GroupReady, Effect::GroupStopped]);
    }
}

#[test]
fn the_end_of_a_oneshot_is_its_readiness() {
    for policy in POLICIES {
        let steps = [
            ("start", "+db"),
            ("db ready", "+migrate"),
            ("migrate ready", ""),
            ("migrate ended", "+web"),
            ("web ready", "R"),
            ("stop", "-web"),
            ("web stopped", "-db"),
            ("db stopped", "S"),
        ];
        course(policy, "db migrate*:db web:migrate", &steps);
    }
}

/// It has been done, but what it was done to is not there.
#[test]
fn a_oneshot_stands_for_what_it_needed() {
    let nodes = "db migrate*:db web:migrate";
    let begun = [("start", "+db"), ("db ready", "+migrate")];
    let down = [
        ("db down", "~db"),
        ("migrate ended", ""),
        ("db ready", "+web"),
    ];
    course(OneForOne, nodes, &[&begun[..], &down].concat());
    let failed = [("db failed", "!db"), ("migrate ended", "xweb:db S")];
    course(OneForOne, nodes, &[&begun[..], &failed].concat());
    let again = [
        ("migrate ended", "+web"),
        ("web ready", "R"),
        ("db down", "-web"),
        ("web stopped", "~db"),
        ("db ready", "+web"),
    ];
    for policy in [RestForOne, OneForAll] {
        course(policy, nodes, &[&begun[..], &again].concat());
    }
}

/// All of `a b:a c:b d` are ready.
const RUNNING: [(&str, &str); 5] = [
    ("start", "+a +d"),
    ("a ready", "+b"),
    ("d ready", ""),
    ("b ready", "+c"),
    ("c ready", "R"),
];

fn after_running(policy: FailurePolicy, steps: &[(&str, &str)]) {
    course(policy, "a b:a c:b d", &[&RUNNING, steps].concat());
}

#[test]
fn one_for_one_leaves_the_others() {
    let steps = [
        ("a down", "~a"),
        // What goes down meanwhile waits for what it needs, as in any start.
        ("c down", "~c"),
        ("b down", ""),
        ("c down", ""),
        ("a ready", "~b"),
        ("b ready", "~c"),
        ("c ready", ""),
        ("a failed", ""),
        ("c down", "~c"),
        ("c ready", ""),
        ("b down", "xb:a -b"),
        ("b stopped", ""),
        ("stop", "-c -d"),
        ("d stopped", ""),
        ("c stopped", "S"),
    ];
    after_running(OneForOne, &steps);
}

#[test]
fn rest_for_one_restarts_what_depends_on_it() {
    let steps = [
        ("a down", "-c"),
        ("c stopped", "-b"),
        ("b stopped", "~a"),
        // Its second attempt is no better.
        ("a down", "~a"),
        ("a ready", "+b"),
        ("b ready", "+c"),
        ("c ready", ""),
        ("b down", "-c"),
        ("c stopped", "~b"),
        // Under way to be restarted, and below it something goes down.
        ("a down", "-b"),
        ("b stopped", "~a"),
        ("a failed", "xb:a xc:a"),
        ("stop", "-d"),
        ("d stopped", "S"),
    ];
    after_running(RestForOne, &steps);
    let steps = [
        ("a failed", "-c"),
        ("c stopped", "-b"),
        ("b stopped", ""),
        ("d ended", "S"),
    ];
    after_running(RestForOne, &steps);
    let given_up_meanwhile = [
        ("a down", "-c"),
        ("a failed", ""),
        ("c stopped", "-b"),
        ("b stopped", ""),
        ("d failed", "S"),
    ];
    after_running(RestForOne, &given_up_meanwhile);
}

#[test]
fn what_is_stopped_for_good_is_not_started_again_by_another_restart() {
    let steps = [
        ("start", "+f +d"),
        ("f ready", ""),
        ("d ready", "+x"),
        ("x ready", "+y"),
        ("y ready", "R"),
        ("f failed", "-y"),
        ("d down", ""),
        ("y stopped", "-x"),
        ("x stopped", "~d"),
        ("d ready", ""),
    ];
    course(RestForOne, "f d x:f,d y:x", &steps);
}

#[test]
fn one_for_all_restarts_all_when_all_have_stopped() {
    let steps = [
        ("b down", "-c -d"),
        ("c stopped", "-a"),
        ("a stopped", ""),
        ("d stopped", "+a +d"),
        ("d ready", ""),
        ("a ready", "~b"),
        ("b ready", "+c"),
        ("c ready", ""),
        ("d failed", "!d -c"),
        ("c stopped", "-b"),
        // It was being stopped, and went by itself.
        ("b failed", "-a"),
        ("a stopped", "S"),
    ];
    after_running(OneForAll, &steps);
}

#[test]
fn what_is_to_be_stopped_for_a_restart_may_go_down_or_end_by_itself() {
    let steps = [
        ("c down", "-b -d"),
        ("a down", ""),
        ("d ended", ""),
        ("b stopped", "~a"),
        ("a ready", "+b"),
        ("b ready", "~c"),
        ("c ready", ""),
        ("stop", "-c"),
    ];
    after_running(OneForAll, &steps);
}

#[test]
fn a_failure_during_the_start_is_said_with_what_never_starts() {
    let nodes = "a b:a c:b d e:d,c";
    let steps = [
        ("start", "+a +d"),
        ("a failed", "!a xb:a xc:a xe:a"),
        ("d ready", ""),
        ("stop", "-d"),
        ("d stopped", "S"),
    ];
    course(OneForOne, nodes, &steps);
    course(RestForOne, nodes, &steps);
    let steps = [
        ("start", "+a +d"),
        ("a failed", "!a -d"),
        ("d ready", ""),
        ("d stopped", "S"),
    ];
    course(OneForAll, nodes, &steps);
}

#[test]
fn a_service_that_ends_is_complete_but_starts_nobody() {
    for policy in POLICIES {
        let steps = [("start", "+a +b"), ("a ended", ""), ("b ready", "R")];
        course(policy, "a b", &steps);
        let steps = [("start", "+a"), ("a ended", "!a xb:a xc:a S")];
        course(policy, "a b:a c:b", &steps);
    }
}

#[test]
fn whom_a_policy_affects() {
    let graph = group(OneForOne, "c:b b:a a d").graph().clone();
    assert_eq!(OneForOne.affected(&graph, 2), [0; 0]);
    assert_eq!(RestForOne.affected(&graph, 2), [0, 1]);
    assert_eq!(RestForOne.affected(&graph, 0), [0; 0]);
    assert_eq!(OneForAll.affected(&graph, 2), [0, 1, 3]);
    assert_eq!(FailurePolicy::default(), OneForOne);
}

#[test]
fn a_long_chain_needs_no_deep_stack() {
    const LONG: usize = 100_000;
    let chain = (0..LONG).map(|at| match at {
        0 => Node::new("0"),
        _ => Node::new(at.to_string()).needs([(at - 1).to_string()]),
    });
    let graph = Graph::new(chain).unwrap();
    let mut group = Group::new(graph.clone(), OneForOne);
    group.step(Input::Start);
    let effects = group.step(Input::Failed(0));
    assert_eq!(effects.len(), 1 + (LONG - 1) + 1);
    let mut group = Group::new(graph, RestForOne);
    group.step(Input::Start);
    for node in 0..LONG - 1 {
        assert_eq!(
            group.step(Input::Ready(node)),
            [Effect::StartNode(node + 1)]
        );
    }
    assert_eq!(group.step(Input::Down(0)), [Effect::StopNode(LONG - 1)]);
    for node in (2..LONG).rev() {
        assert_eq!(
            group.step(Input::Stopped(node)),
            [Effect::StopNode(node - 1)]
        );
    }
    assert_eq!(group.step(Input::Stopped(1)), [Effect::RestartNode(0)]);
}
