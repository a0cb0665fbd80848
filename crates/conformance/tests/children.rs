//! The examples pass every check, and each fault fails the check that is about it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use procession_conformance::{Conformance, Outcome, Transport, Verdict};

const WORKER_PY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/children/worker.py"
);
const WORKER_MJS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/children/worker.mjs"
);
const FAULTY_PY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faulty.py");

/// For what goes well: nobody waits for it.
const LONG: Duration = Duration::from_mins(1);
/// For what never comes: it is waited for.
const SHORT: Duration = Duration::from_secs(10);

/// Which check fails of a child with this fault.
const FAULTS: &[(&str, &str)] = &[
    ("wrong-version", "hello"),
    ("no-credit-feature", "hello"),
    ("no-hello", "hello"),
    ("late-hello", "hello"),
    ("any-version", "major-version"),
    ("any-limit", "environment"),
    ("cut-frame", "message-sizes"),
    ("stray-output", "message-order"),
    ("stray-output", "only-frames"),
    ("over-limit", "reply-over-limit"),
    ("believes-anything", "lost-unknown-kind"),
    ("chokes-on-extensions", "extensions"),
    ("ignores-credit", "keeps-to-credit"),
    ("ignores-credit", "items-keep-to-credit"),
    ("ignores-credit", "ask-keeps-to-credit"),
    ("grants-once", "grants-again"),
    ("grants-once", "request-window"),
    ("grants-too-much", "grants-again"),
    ("grants-before-it-consumes", "back-pressure"),
    ("ends-without-credit", "more-than-granted"),
    ("reads-only-when-it-can-write", "full-pipe"),
    ("unknown-reply", "echo"),
    ("two-replies", "one-end"),
    ("late-item", "one-end"),
    ("drops-cancelled", "cancel"),
    ("drops-cancelled", "cancel-items"),
    ("cancels-in-turn", "cancel-queued"),
    ("one-at-a-time", "any-order"),
    ("same-ids", "ask-ids"),
    ("dies-of-a-panic", "panic"),
    ("no-pong-while-busy", "pong-busy"),
    ("no-bye", "stop"),
    ("no-bye", "end-of-input"),
    ("ignores-stop", "stop"),
    ("ignores-the-end", "end-of-input"),
    ("ignores-the-lease", "lease-over"),
];

fn passes(command: &[&str]) {
    let over = |transport| {
        let mut conformance = Conformance::new(command);
        conformance.timeout(LONG).transports([transport]);
        conformance.run(|_| {})
    };
    let outcomes = thread::scope(|scope| {
        let other = scope.spawn(|| over(Transport::Pipes));
        let mut outcomes = over(Transport::Stdio);
        outcomes.extend(other.join().unwrap());
        outcomes
    });
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| outcome.failed())
        .map(Outcome::to_string)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(outcomes.len(), 2 * Conformance::names().len());
}

#[test]
fn the_python_worker_passes() {
    passes(&["python3", WORKER_PY]);
}

#[test]
fn the_node_worker_passes() {
    let found =
        env::split_paths(&env::var_os("PATH").unwrap()).any(|folder| folder.join("node").is_file());
    if found {
        passes(&["node", WORKER_MJS]);
        return;
    }
    let under_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!under_ci, "under CI, node must be on PATH");
    writeln!(
        io::stderr(),
        "NOT RUN with node, which is not on PATH: the_node_worker_passes"
    )
    .unwrap();
}

#[test]
fn every_fault_fails_its_check() {
    // Most of the time they wait, for what does not come.
    thread::scope(|scope| {
        for some in FAULTS.chunks(FAULTS.len().div_ceil(4)) {
            scope.spawn(move || {
                for &(fault, check) in some {
                    let outcome = run(fault, check, SHORT);
                    assert!(outcome.failed(), "{fault} does not fail {check}: {outcome}");
                }
            });
        }
    });
}

/// The checks fail because of the fault, and not because of all that `faulty.py` is.
#[test]
fn no_fault_fails_what_it_has_nothing_to_do_with() {
    for (fault, check) in [
        ("any-version", "echo"),
        ("cut-frame", "echo"),
        ("over-limit", "stop"),
        ("ignores-credit", "stop"),
        ("grants-once", "pong-busy"),
        ("two-replies", "message-sizes"),
        ("drops-cancelled", "thousand"),
        ("no-bye", "items"),
        ("ignores-the-lease", "lease-kept"),
    ] {
        let outcome = run(fault, check, LONG);
        assert!(!outcome.failed(), "{fault}: {outcome}");
    }
}

#[test]
fn without_hello_nothing_else_is_tried() {
    let mut conformance = Conformance::new(["python3", FAULTY_PY, "no-hello"]);
    conformance
        .timeout(2 * SHORT)
        .transports([Transport::Pipes]);
    let outcomes = conformance.run(|_| {});
    for outcome in outcomes {
        let expected = match outcome.name {
            "major-version" | "environment" => matches!(outcome.verdict, Verdict::Ok),
            "hello" => outcome.failed(),
            _ => matches!(outcome.verdict, Verdict::Skipped(_)),
        };
        assert!(expected, "{outcome}");
    }
}

#[test]
fn what_cannot_be_started_fails() {
    let missing = Path::new(env!("CARGO_MANIFEST_DIR")).join("no/such/program");
    let outcomes = Conformance::new([missing]).only("hello").run(|_| {});
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let line = outcome.to_string();
        assert!(line.starts_with("FAIL §5 hello ("), "{line}");
        assert!(line.contains("cannot start the child"), "{line}");
    }
}

/// One check over standard input and output, which must not take longer than it may.
fn run(fault: &str, check: &str, timeout: Duration) -> Outcome {
    let mut conformance = Conformance::new(["python3", FAULTY_PY, fault]);
    conformance
        .timeout(timeout)
        .transports([Transport::Stdio])
        .only(check);
    let from = Instant::now();
    let mut outcomes = conformance.run(|_| {});
    assert_eq!(outcomes.len(), 1, "there is no check {check}");
    assert!(from.elapsed() < 2 * timeout, "{fault} holds up {check}");
    outcomes.remove(0)
}
