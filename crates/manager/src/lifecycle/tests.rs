//! Every state meets every input, and random sequences keep the promises.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const KILLED: i32 = 9;

fn by_signal(signal: i32) -> Input {
    Input::Exited {
        status: Some(ExitStatus::from_raw(signal)),
        usage: None,
    }
}

fn by_code(code: i32) -> Input {
    Input::Exited {
        status: Some(ExitStatus::from_raw(code << 8)),
        usage: None,
    }
}

const STARTED: Input = Input::Started { outputs: 1 };
const KILL: Input = Input::Kill(ExitCause::Killed);
const ENDED: Input = Input::OutputEnded(OutputState::Complete);

/// The inputs that lead to each state.
fn states() -> [(&'static str, Vec<Input>); 6] {
    [
        ("spawning", vec![]),
        ("running", vec![STARTED]),
        ("killing", vec![STARTED, KILL]),
        ("draining", vec![STARTED, by_code(0)]),
        ("finished", vec![STARTED, by_code(0), ENDED]),
        ("removed", vec![Input::StartFailed]),
    ]
}

/// What is done, in few letters: K(ill), P(ublish) and the state, R(eport), D(rain), N(o removal),
/// C(lean up).
fn letters(effects: &[Effect]) -> String {
    let letters = effects.iter().map(|effect| match effect {
        Effect::KillTree => "K".to_owned(),
        Effect::Publish(state) => format!("P:{state}"),
        Effect::Report(report) => format!("R:{:?}", report.output()),
        Effect::Drain => "D".to_owned(),
        Effect::RefuseRemoval => "N".to_owned(),
        Effect::CleanUp => "C".to_owned(),
    });
    letters.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_state_meets_every_input() {
    let exit = "R:Draining P:exited D";
    let last = "R:Complete P:finished";
    let kill = "P:stopping K";
    // The columns: spawning, running, killing, draining, finished, removed.
    let table: [(Input, [&str; 6]); 8] = [
        (STARTED, ["P:running", "", "", "", "", ""]),
        (Input::StartFailed, ["C", "", "", "", "", ""]),
        (KILL, ["", kill, "K", "", "", ""]),
        (by_code(0), ["", exit, exit, "", "", ""]),
        (ENDED, ["", "", "", last, "", ""]),
        (Input::Remove, ["N", "N", "N", "N", "C", ""]),
        (Input::ShutDown, ["", kill, "K", "", "C", ""]),
        (Input::Abandon, ["", kill, "K", "", "C", ""]),
    ];
    for (input, row) in table {
        for ((state, path), expected) in states().into_iter().zip(row) {
            let mut lifecycle = Lifecycle::new();
            for step in path {
                lifecycle.step(step, Instant::now());
            }
            let effects = lifecycle.step(input, Instant::now());
            assert_eq!(letters(&effects), expected, "{input:?} while {state}");
        }
    }
}

fn report_after(inputs: &[Input]) -> ExitReport {
    let mut lifecycle = Lifecycle::new();
    let effects = inputs
        .iter()
        .flat_map(|input| lifecycle.step(*input, Instant::now()));
    let reports = effects.filter_map(|effect| match effect {
        Effect::Report(report) => Some(report),
        _ => None,
    });
    reports.last().expect("a report")
}

#[test]
fn the_cause_is_the_first_reason_unless_it_ended_by_itself() {
    let timed_out = Input::Kill(ExitCause::TimedOut);
    let cases: [(&[Input], ExitCause); 7] = [
        (&[STARTED, by_code(3), ENDED], ExitCause::ByItself),
        (&[STARTED, by_signal(KILLED), ENDED], ExitCause::ByItself),
        (
            &[STARTED, KILL, by_signal(KILLED), ENDED],
            ExitCause::Killed,
        ),
        (
            &[STARTED, timed_out, KILL, by_signal(KILLED), ENDED],
            ExitCause::TimedOut,
        ),
        (
            &[STARTED, Input::ShutDown, by_signal(KILLED), ENDED],
            ExitCause::ManagerShutDown,
        ),
        // The exit and the kill passed each other.
        (&[STARTED, KILL, by_code(0), ENDED], ExitCause::ByItself),
        (
            &[KILL, STARTED, by_signal(KILLED), ENDED],
            ExitCause::Killed,
        ),
    ];
    for (inputs, cause) in cases {
        assert_eq!(report_after(inputs).cause(), cause, "{inputs:?}");
    }
}

#[test]
fn a_kill_during_the_start_is_done_right_after_it() {
    let mut lifecycle = Lifecycle::new();
    assert_eq!(letters(&lifecycle.step(KILL, Instant::now())), "");
    let effects = lifecycle.step(STARTED, Instant::now());
    assert_eq!(letters(&effects), "P:running P:stopping K");
}

#[test]
fn outputs_that_ended_before_the_exit_are_not_waited_for() {
    let mut lifecycle = Lifecycle::new();
    lifecycle.step(Input::Started { outputs: 2 }, Instant::now());
    lifecycle.step(ENDED, Instant::now());
    let effects = lifecycle.step(by_code(0), Instant::now());
    assert_eq!(letters(&effects), "R:Draining P:exited D");
    let effects = lifecycle.step(Input::OutputEnded(OutputState::Cut), Instant::now());
    assert_eq!(letters(&effects), "R:Cut P:finished");
}

#[test]
fn without_outputs_the_exit_is_the_end() {
    let mut lifecycle = Lifecycle::new();
    lifecycle.step(Input::Started { outputs: 0 }, Instant::now());
    let effects = lifecycle.step(by_code(0), Instant::now());
    assert_eq!(
        letters(&effects),
        "R:Draining P:exited D R:Complete P:finished"
    );
}

#[test]
fn a_shutdown_cleans_up_when_the_output_has_ended() {
    let mut lifecycle = Lifecycle::new();
    for input in [STARTED, Input::ShutDown, by_signal(KILLED)] {
        lifecycle.step(input, Instant::now());
    }
    let effects = lifecycle.step(ENDED, Instant::now());
    assert_eq!(letters(&effects), "R:Complete P:finished C");
    assert!(lifecycle.is_over());
}

#[test]
fn the_run_time_is_from_start_to_exit() {
    let start = Instant::now();
    let mut lifecycle = Lifecycle::new();
    lifecycle.step(STARTED, start);
    let effects = lifecycle.step(by_code(0), start + Duration::from_millis(1500));
    assert!(
        matches!(&effects[0], Effect::Report(report) if report.run_time() == Duration::from_millis(1500))
    );
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        (0..4usize).prop_map(|outputs| Input::Started { outputs }),
        Just(Input::StartFailed),
        Just(KILL),
        Just(Input::Kill(ExitCause::TimedOut)),
        Just(by_code(0)),
        Just(by_signal(KILLED)),
        Just(ENDED),
        Just(Input::OutputEnded(OutputState::Cut)),
        Just(Input::Remove),
        Just(Input::ShutDown),
        Just(Input::Abandon),
    ]
}

proptest! {
    /// One exit, one final report, no signal after the exit, clean-up once and last.
    #[test]
    fn random_sequences_keep_the_promises(inputs in prop::collection::vec(any_input(), 0..40)) {
        let mut lifecycle = Lifecycle::new();
        let (mut exits, mut finals, mut cleanups) = (0, 0, 0);
        for input in inputs {
            for effect in lifecycle.step(input, Instant::now()) {
                prop_assert_eq!(cleanups, 0, "nothing follows the clean-up");
                match effect {
                    Effect::KillTree => prop_assert_eq!(exits, 0, "no signal after the exit"),
                    Effect::Report(report) if report.output() == OutputState::Draining => exits += 1,
                    Effect::Report(_) => finals += 1,
                    Effect::CleanUp => cleanups += 1,
                    Effect::Publish(_) | Effect::Drain | Effect::RefuseRemoval => {}
                }
                prop_assert!(exits <= 1 && finals <= exits);
            }
            prop_assert_eq!(lifecycle.is_over(), cleanups == 1);
        }
    }
}
