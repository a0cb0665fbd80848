//! What a status tells, however late it is looked at.

use std::sync::Arc;

use super::super::member::{Edge, Seen};
use crate::process::{Process, Service, StartState, Status};
use crate::supervision::{HealthState, PermanentEnd};
use crate::{ProcessId, ProcessState};

/// Of a process that has been launched.
fn status() -> Status {
    let (process, _asked) = Process::new(ProcessId::random());
    let mut found = None;
    process.publish(|status| {
        status.service = Some(Box::new(Service {
            run: 0,
            health: HealthState::Unknown,
            end: None,
            held: None,
        }));
        status.state = ProcessState::Running;
        found = Some(status.clone());
    });
    found.expect("published")
}

fn service(status: &mut Status) -> &mut Service {
    status.service.as_mut().expect("it is supervised")
}

#[track_caller]
fn expect(seen: &mut Seen, status: &Status, expected: Option<&Edge>) {
    let edge = seen.edge(status);
    assert_eq!(edge.as_ref().map(|(edge, _)| edge), expected);
    if let Some((_, now)) = edge {
        *seen = now;
        assert_eq!(seen.edge(status), None, "told once");
    }
}

#[test]
fn a_run_is_ready_once_and_held_once() {
    let (mut status, mut seen) = (status(), Seen::default());
    expect(&mut seen, &status, None);
    status.start = StartState::Ready;
    expect(&mut seen, &status, Some(&Edge::Ready));
    service(&mut status).held = Some(1);
    expect(&mut seen, &status, Some(&Edge::Held));
    // Released: what is published is still of the run before.
    service(&mut status).held = None;
    expect(&mut seen, &status, None);
    service(&mut status).run = 1;
    status.start = StartState::Pending;
    expect(&mut seen, &status, None);
    status.start = StartState::Ready;
    expect(&mut seen, &status, Some(&Edge::Ready));
}

#[test]
fn what_has_become_of_a_run_since_counts_for_more() {
    let (mut status, mut seen) = (status(), Seen::default());
    status.start = StartState::Ready;
    service(&mut status).held = Some(1);
    expect(&mut seen, &status, Some(&Edge::Held));
    service(&mut status).held = None;
    expect(&mut seen, &status, None);
    // Released, ended and held again, all unseen.
    service(&mut status).held = Some(2);
    service(&mut status).run = 1;
    expect(&mut seen, &status, Some(&Edge::Held));
    service(&mut status).end = Some(PermanentEnd::ByItself);
    let edge = seen.edge(&status).map(|(edge, _)| edge);
    assert_eq!(edge, Some(Edge::Over(PermanentEnd::ByItself, None)));
}

#[test]
fn a_run_that_has_exited_is_not_ready() {
    let (mut status, mut seen) = (status(), Seen::default());
    status.start = StartState::Ready;
    let report = crate::lifecycle::ExitReport {
        status: None,
        cause: crate::ExitCause::ByItself,
        run_time: std::time::Duration::ZERO,
        usage: None,
        output: crate::OutputState::Draining,
        hunted: None,
        left: Vec::new(),
    };
    status.report = Some(Arc::new(report));
    expect(&mut seen, &status, None);
}
