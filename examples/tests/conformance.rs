//! The two children that serve and ask pass every check of the protocol.

use std::thread;

use procession_conformance::{Conformance, Outcome, Transport};

fn passes(program: &str) {
    let over = |transport| {
        let mut conformance = Conformance::new([program]);
        // Nobody waits for what goes well.
        conformance.timeout(std::time::Duration::from_mins(1));
        conformance.transports([transport]).run(|_| {})
    };
    let outcomes = thread::scope(|scope| {
        let other = scope.spawn(|| over(Transport::Pipes));
        let mut outcomes = over(Transport::Stdio);
        outcomes.extend(other.join().expect("the other half"));
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
fn the_worker_with_threads_passes() {
    passes(env!("CARGO_BIN_EXE_sdk_worker"));
}

#[test]
fn the_worker_on_tokio_passes() {
    passes(env!("CARGO_BIN_EXE_sdk_worker_async"));
}
