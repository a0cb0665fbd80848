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
        oom: false,
    }
}

fn by_code(code: i32) -> Input {
    Input::Exited {
        status: Some(ExitStatus::from_raw(code << 8)),
        usage: None,
        oom: false,
    }
}

const GRACE: Duration = Duration::from_secs(4);
const STARTED: Input = Input::Started {
    outputs: 1,
    frames: false,
};
const WITH_FRAMES: Input = Input::Started {
    outputs: 1,
    frames: true,
};
const STOP: Input = Input::Stop {
    grace: GRACE,
    cause: ExitCause::Stopped,
};
const KILL: Input = Input::Kill(ExitCause::Killed);
const ENDED: Input = Input::OutputEnded(OutputState::Complete);
const HUNTED: Input = Input::Hunted {
    killed: 2,
    left: false,
};
const LEFT: Input = Input::Hunted {
    killed: 2,
    left: true,
};
const SHUT_DOWN: Input = Input::ShutDown { grace: GRACE };

/// The inputs that lead to each state, where a tick comes late. While killing, stuck, draining and
/// drained, a hunt is under way.
fn states() -> [(&'static str, Vec<Input>); 9] {
    [
        ("spawning", vec![]),
        ("running", vec![STARTED]),
        ("stopping", vec![STARTED, STOP]),
        ("killing", vec![STARTED, KILL]),
        ("stuck", vec![STARTED, KILL, Input::Tick]),
        ("draining", vec![STARTED, by_code(0)]),
        ("drained", vec![STARTED, by_code(0), ENDED]),
        ("finished", vec![STARTED, by_code(0), ENDED, HUNTED]),
        ("removed", vec![Input::StartFailed]),
    ]
}

/// Writes the effects in few letters: the stop F(rame), E(nd of input), T(ERM), S(IGKILL to
/// itself), X (its input is closed), K(ill the tree), H(unt) or h if nobody waits, L(eft), G(o),
/// O(verdue start), P(ublish) and the state, Q(uickly), R(eport), D(rain), N(o removal), C(lean
/// up).
fn letters(effects: &[Effect]) -> String {
    let letters = effects.iter().map(|effect| match effect {
        Effect::SendStop => "F".to_owned(),
        Effect::EndInput => "E".to_owned(),
        Effect::TermTree => "T".to_owned(),
        Effect::Kill => "S".to_owned(),
        Effect::CloseInput => "X".to_owned(),
        Effect::KillTree => "K".to_owned(),
        Effect::TellLeft => "L".to_owned(),
        Effect::LetGo => "G".to_owned(),
        Effect::Hunt { urgent: false } => "h".to_owned(),
        Effect::Hunt { urgent: true } => "H".to_owned(),
        Effect::Hurry => "Q".to_owned(),
        Effect::StartOverdue => "O".to_owned(),
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
    let dead = "D R:Draining P:exited";
    let gone = "D R:Draining P:exited h";
    let exit = "D R:Draining P:exited H";
    let done = "R:Complete P:finished";
    let last = "R:Complete P:finished C";
    let stop = "P:stopping E T";
    let kill = "P:stopping S X K";
    let again = "P:stopping S X";
    // The columns: spawning, running, stopping, killing, stuck, draining, drained, finished,
    // removed.
    let table: [(Input, [&str; 9]); 16] = [
        (STARTED, ["P:running", "", "", "", "", "", "", "", ""]),
        (Input::StartFailed, ["C", "", "", "", "", "", "", "", ""]),
        (STOP, ["", stop, "", "", again, "Q", "Q", "", ""]),
        (KILL, ["", kill, "S X K", "S X", again, "Q", "Q", "", ""]),
        (Input::KillDenied, ["", "", "", "", "", "", "", "", ""]),
        (Input::Tick, ["", "", "", "", "", "", "", "", ""]),
        (Input::Begun, ["", "", "", "", "", "", "", "", ""]),
        (
            Input::StartBy(Instant::now()),
            ["", "", "", "", "", "", "", "", ""],
        ),
        (Input::StartBroken, ["", "", "", "", "", "", "", "", ""]),
        (Input::Unresponsive, ["", stop, "", "", "", "", "", "", ""]),
        (by_code(0), ["", gone, exit, dead, dead, "", "", "", ""]),
        (ENDED, ["", "", "", "", "", "R:Complete", "", "", ""]),
        (HUNTED, ["", "", "", "", "", "", done, "", ""]),
        (Input::Remove, ["N", "N", "N", "N", "N", "N", last, "C", ""]),
        (SHUT_DOWN, ["", stop, "", "", again, "Q", "Q", "C", ""]),
        (
            Input::Abandon,
            ["", kill, "S X K", "S X", again, "Q", "Q", "C", ""],
        ),
    ];
    for (input, row) in table {
        for ((state, path), expected) in states().into_iter().zip(row) {
            let mut now = Instant::now();
            let mut lifecycle = Lifecycle::new();
            lifecycle.plan(Plan {
                grace: GRACE,
                ..Plan::default()
            });
            for step in path {
                if step == Input::Tick {
                    now += KILL_BOUND;
                }
                lifecycle.step(step, now);
            }
            let effects = lifecycle.step(input, now);
            assert_eq!(letters(&effects), expected, "{input:?} while {state}");
        }
    }
}

/// What is done at each of the times, in seconds after the start.
fn course(plan: Plan, steps: &[(u64, Input)]) -> Vec<String> {
    let start = Instant::now();
    let mut lifecycle = Lifecycle::new();
    lifecycle.plan(plan);
    let steps = steps.iter().map(|(second, input)| {
        let now = start + Duration::from_secs(*second);
        letters(&lifecycle.step(*input, now))
    });
    steps.collect()
}

#[test]
fn a_stop_over_frames_asks_then_terms_then_kills() {
    let steps = [
        (0, WITH_FRAMES),
        (0, STOP),
        (1, Input::Tick),
        (2, Input::Tick),
        (3, Input::Tick),
        (4, Input::Tick),
        (5, Input::Tick),
    ];
    let done = course(Plan::default(), &steps);
    assert_eq!(done[1..], ["P:stopping F", "", "T", "", "S X K", ""]);
}

#[test]
fn a_stop_without_frames_terms_at_once() {
    let steps = [(0, STARTED), (0, STOP), (3, Input::Tick), (4, Input::Tick)];
    let done = course(Plan::default(), &steps);
    assert_eq!(done[1..], ["P:stopping E T", "", "S X K"]);
}

#[test]
fn a_second_stop_can_only_shorten() {
    let stop = |seconds| Input::Stop {
        grace: Duration::from_secs(seconds),
        cause: ExitCause::Stopped,
    };
    for (later, expected) in [
        (&[(1, stop(100)), (4, Input::Tick)][..], &["", "S X K"][..]),
        (&[(1, stop(1)), (2, Input::Tick)], &["", "S X K"]),
        (&[(1, stop(0))], &["S X K"]),
        (&[(1, stop(u64::MAX)), (4, Input::Tick)], &["", "S X K"]),
    ] {
        let steps: Vec<_> = [(0, STARTED), (0, STOP)]
            .into_iter()
            .chain(later.iter().copied())
            .collect();
        assert_eq!(course(Plan::default(), &steps)[2..], *expected, "{later:?}");
    }
}

#[test]
fn a_grace_without_end_is_no_fault_and_none_at_all_kills() {
    let stop = |grace| Input::Stop {
        grace,
        cause: ExitCause::Stopped,
    };
    let steps = [(0, STARTED), (0, stop(Duration::MAX)), (9, Input::Tick)];
    assert_eq!(course(Plan::default(), &steps)[1..], ["P:stopping E T", ""]);
    let steps = [(0, WITH_FRAMES), (0, stop(Duration::ZERO))];
    assert_eq!(course(Plan::default(), &steps)[1], "P:stopping F S X K");
}

#[test]
fn a_process_that_does_not_show_in_time_that_it_has_started_is_stopped() {
    let plan = Plan {
        grace: GRACE,
        start: Some(Duration::from_secs(10)),
        timeout: Some(Duration::from_secs(20)),
        ..Plan::default()
    };
    let overdue = [(0, WITH_FRAMES), (9, Input::Tick), (10, Input::Tick)];
    assert_eq!(course(plan, &overdue)[1..], ["", "O P:stopping F"]);
    let in_time = [
        (0, STARTED),
        (9, Input::Begun),
        (10, Input::Tick),
        (11, Input::StartBroken),
        (20, Input::Tick),
    ];
    assert_eq!(course(plan, &in_time)[1..], ["", "", "", "P:stopping E T"]);
    let start = Instant::now();
    let later = [
        (0, STARTED),
        (9, Input::StartBy(start + Duration::from_secs(15))),
        (10, Input::Tick),
        (16, Input::Tick),
    ];
    assert_eq!(course(plan, &later)[1..], ["", "", "O P:stopping E T"]);
}

/// What speaks another protocol is not asked in ours.
#[test]
fn a_process_that_cannot_be_understood_at_its_start_is_stopped_without_frames() {
    let plan = Plan {
        grace: GRACE,
        start: Some(Duration::MAX),
        ..Plan::default()
    };
    let steps = [
        (0, WITH_FRAMES),
        (1, Input::StartBroken),
        (2, Input::StartBroken),
        (5, Input::Tick),
    ];
    assert_eq!(course(plan, &steps)[1..], ["P:stopping E T", "", "S X K"]);
    let mut lifecycle = Lifecycle::new();
    lifecycle.plan(plan);
    let now = Instant::now();
    lifecycle.step(WITH_FRAMES, now);
    lifecycle.step(Input::StartBroken, now);
    assert_eq!(
        report_of(&mut lifecycle, now).cause(),
        ExitCause::StartFailed
    );
}

#[test]
fn a_process_that_no_longer_answers_is_asked_first() {
    let plan = Plan {
        grace: GRACE,
        ..Plan::default()
    };
    let steps = [
        (0, WITH_FRAMES),
        (1, Input::Unresponsive),
        (3, Input::Tick),
        (5, Input::Tick),
    ];
    assert_eq!(course(plan, &steps)[1..], ["P:stopping F", "T", "S X K"]);
}

fn report_of(lifecycle: &mut Lifecycle, now: Instant) -> ExitReport {
    let effects = lifecycle.step(by_code(0), now);
    let report = effects.into_iter().find_map(|effect| match effect {
        Effect::Report(report) => Some(report),
        _ => None,
    });
    report.expect("a report with the exit")
}

#[test]
fn a_process_whose_time_is_up_is_stopped() {
    let plan = Plan {
        grace: GRACE,
        timeout: Some(Duration::from_secs(10)),
        ..Plan::default()
    };
    let steps = [
        (0, STARTED),
        (9, Input::Tick),
        (10, Input::Tick),
        (14, Input::Tick),
    ];
    let done = course(plan, &steps);
    assert_eq!(done[1..], ["", "P:stopping E T", "S X K"]);
}

#[test]
fn a_hunt_that_is_over_before_the_exit_is_known_is_not_repeated() {
    let steps = [(0, STARTED), (0, KILL), (0, HUNTED), (0, by_signal(KILLED))];
    let done = course(Plan::default(), &steps);
    assert_eq!(done[2..], ["", "D R:Draining P:exited"]);
}

#[test]
fn what_was_killed_and_does_not_go_is_told_of_at_the_bound_and_its_exit_when_it_comes() {
    let bound = KILL_BOUND.as_secs();
    let steps = [
        (0, STARTED),
        (1, KILL),
        (bound, Input::Tick),
        (bound + 1, Input::Tick),
        (bound + 2, LEFT),
        (bound + 3, Input::Tick),
        (bound + 4, by_code(0)),
        (bound + 4, HUNTED),
        (bound + 4, ENDED),
    ];
    assert_eq!(
        course(Plan::default(), &steps)[1..],
        [
            "P:stopping S X K",
            "",
            "P:stuck L",
            "",
            "",
            // The hunt that is over had left something: the process itself, it may be.
            "D R:Draining P:exited H",
            "",
            "R:Complete P:finished"
        ]
    );
}

#[test]
fn another_try_has_the_whole_bound_and_a_kill_meanwhile_no_more_time() {
    let bound = KILL_BOUND.as_secs();
    let steps = [
        (0, STARTED),
        (0, STOP),
        (4, Input::Tick),
        (6, KILL),
        (4 + bound, Input::Tick),
        (20, LEFT),
        (20, STOP),
        (20 + bound, Input::Tick),
    ];
    assert_eq!(
        course(Plan::default(), &steps)[2..],
        [
            "S X K",
            "S X",
            "P:stuck L",
            "",
            "P:stopping S X K",
            "P:stuck L"
        ]
    );
}

#[test]
fn what_may_not_be_killed_is_told_of_soon() {
    let now = Instant::now();
    let mut lifecycle = Lifecycle::new();
    for input in [STARTED, KILL, Input::KillDenied] {
        lifecycle.step(input, now);
    }
    assert_eq!(lifecycle.deadline(), Some(now + DENIED_BOUND));
    let later = now + DENIED_BOUND / 2;
    lifecycle.step(Input::KillDenied, later);
    assert_eq!(lifecycle.deadline(), Some(now + DENIED_BOUND));
    let effects = lifecycle.step(Input::Tick, now + DENIED_BOUND);
    assert_eq!(letters(&effects), "P:stuck L");
    assert_eq!(lifecycle.deadline(), None);
}

#[test]
fn at_the_end_of_the_manager_what_does_not_go_is_let_go() {
    let bound = KILL_BOUND.as_secs();
    let steps = [
        (0, STARTED),
        (0, Input::ShutDown { grace: GRACE }),
        (4, Input::Tick),
        (4 + bound, Input::Tick),
        (20, by_code(0)),
    ];
    let done = course(Plan::default(), &steps);
    assert_eq!(done[2..], ["S X K", "P:stuck L G", ""]);
    // It was stuck before: it is killed once more.
    let steps = [
        (0, STARTED),
        (0, KILL),
        (bound, Input::Tick),
        (10, SHUT_DOWN),
        (10 + bound, Input::Tick),
    ];
    let done = course(Plan::default(), &steps);
    assert_eq!(done[2..], ["P:stuck L", "P:stopping S X", "P:stuck L G"]);
}

#[test]
fn what_it_has_started_and_does_not_go_is_told_of_with_its_end() {
    let steps = [(0, STARTED), (0, by_code(0)), (0, ENDED), (4, LEFT)];
    let done = course(Plan::default(), &steps);
    assert_eq!(done[3], "R:Complete L P:finished");
    // Nobody waits for the hunt of what is removed.
    let steps = [
        (0, STARTED),
        (0, by_code(0)),
        (0, ENDED),
        (1, Input::Remove),
    ];
    let done = course(Plan::default(), &steps);
    assert_eq!(done[3], "R:Complete P:finished C");
}

#[test]
fn leftovers_that_may_stay_are_hunted_only_when_the_process_was_ended() {
    let plan = Plan {
        leftovers: Leftovers::Leave,
        ..Plan::default()
    };
    let steps = [(0, STARTED), (0, by_code(0)), (0, ENDED)];
    let done = course(plan, &steps);
    assert_eq!(
        done[1..],
        ["D R:Draining P:exited", "R:Complete P:finished"]
    );
    let steps = [(0, STARTED), (0, STOP), (0, by_code(0))];
    assert_eq!(course(plan, &steps)[2], "D R:Draining P:exited H");
}

fn report_after(plan: Plan, inputs: &[Input]) -> ExitReport {
    let mut lifecycle = Lifecycle::new();
    lifecycle.plan(plan);
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
    const TERMED: i32 = 15;
    let timed_out = Input::Kill(ExitCause::TimedOut);
    let stop_timed_out = Input::Stop {
        grace: GRACE,
        cause: ExitCause::TimedOut,
    };
    let cases: [(&[Input], ExitCause); 13] = [
        (&[STARTED, by_code(3)], ExitCause::ByItself),
        (&[STARTED, by_signal(KILLED)], ExitCause::ByItself),
        (&[STARTED, KILL, by_signal(KILLED)], ExitCause::Killed),
        (
            &[STARTED, timed_out, KILL, by_signal(KILLED)],
            ExitCause::TimedOut,
        ),
        (
            &[STARTED, SHUT_DOWN, by_signal(TERMED)],
            ExitCause::ManagerShutDown,
        ),
        // The exit and the kill passed each other.
        (&[STARTED, KILL, by_code(0)], ExitCause::ByItself),
        (&[KILL, STARTED, by_signal(KILLED)], ExitCause::Killed),
        (&[STARTED, STOP, by_code(0)], ExitCause::Stopped),
        (&[STARTED, STOP, by_signal(TERMED)], ExitCause::Stopped),
        (&[STARTED, STOP, by_signal(KILLED)], ExitCause::Stopped),
        (&[STARTED, STOP, KILL, by_signal(KILLED)], ExitCause::Killed),
        (
            &[STARTED, stop_timed_out, STOP, KILL, by_signal(KILLED)],
            ExitCause::TimedOut,
        ),
        (&[STOP, STARTED, by_code(1)], ExitCause::Stopped),
    ];
    for (inputs, cause) in cases {
        assert_eq!(
            report_after(Plan::default(), inputs).cause(),
            cause,
            "{inputs:?}"
        );
    }
}

#[test]
fn a_limit_is_the_cause_only_where_there_is_one() {
    const SIGXCPU: i32 = 24;
    const SIGXFSZ: i32 = 25;
    let limited = Plan {
        cpu_limit: Some(Duration::from_secs(1)),
        file_limit: true,
        ..Plan::default()
    };
    let spent = |seconds| Input::Exited {
        status: Some(ExitStatus::from_raw(KILLED)),
        usage: Some(ResourceUsage {
            user_time: Duration::from_secs(seconds),
            ..ResourceUsage::default()
        }),
        oom: false,
    };
    let out_of_memory = |raw| Input::Exited {
        status: Some(ExitStatus::from_raw(raw)),
        usage: None,
        oom: true,
    };
    let (over, itself) = (ExitCause::LimitExceeded, ExitCause::ByItself);
    for (plan, exit, cause) in [
        (limited, by_signal(SIGXCPU), over),
        (limited, by_signal(SIGXFSZ), over),
        (limited, spent(1), over),
        (limited, spent(0), itself),
        (limited, by_code(1), itself),
        (Plan::default(), by_signal(SIGXCPU), itself),
        (Plan::default(), by_signal(SIGXFSZ), itself),
        (Plan::default(), spent(9), itself),
        (Plan::default(), out_of_memory(KILLED), over),
        (Plan::default(), out_of_memory(137 << 8), over),
        (Plan::default(), out_of_memory(0), itself),
    ] {
        assert_eq!(
            report_after(plan, &[STARTED, exit]).cause(),
            cause,
            "{exit:?}"
        );
    }
}

#[test]
fn what_was_asked_for_during_the_start_is_done_right_after_it() {
    let longer = Input::Stop {
        grace: 2 * GRACE,
        cause: ExitCause::TimedOut,
    };
    for (early, then) in [
        (&[KILL][..], "P:running P:stopping S X K"),
        (&[STOP], "P:running P:stopping E T"),
        (&[STOP, KILL], "P:running P:stopping S X K"),
        (&[KILL, STOP], "P:running P:stopping S X K"),
        (&[STOP, longer], "P:running P:stopping E T"),
    ] {
        let now = Instant::now();
        let mut lifecycle = Lifecycle::new();
        for input in early {
            assert_eq!(letters(&lifecycle.step(*input, now)), "");
        }
        assert_eq!(letters(&lifecycle.step(STARTED, now)), then, "{early:?}");
        if early.contains(&STOP) && !early.contains(&KILL) {
            assert_eq!(lifecycle.deadline(), Some(now + GRACE));
        }
    }
}

#[test]
fn outputs_that_ended_before_the_exit_are_not_waited_for() {
    let started = Input::Started {
        outputs: 2,
        frames: false,
    };
    let cut = Input::OutputEnded(OutputState::Cut);
    let steps = [
        (0, started),
        (0, ENDED),
        (0, by_code(0)),
        (0, cut),
        (0, HUNTED),
    ];
    let done = course(Plan::default(), &steps);
    assert_eq!(
        done[2..],
        ["D R:Draining P:exited h", "R:Cut", "R:Cut P:finished"]
    );
}

#[test]
fn without_outputs_the_exit_is_the_end_of_the_output() {
    let started = Input::Started {
        outputs: 0,
        frames: false,
    };
    let done = course(Plan::default(), &[(0, started), (0, by_code(0))]);
    assert_eq!(done[1], "D R:Draining P:exited h R:Complete");
}

#[test]
fn a_shutdown_cleans_up_when_output_and_hunt_have_ended() {
    for last_two in [[ENDED, HUNTED], [HUNTED, ENDED]] {
        let mut lifecycle = Lifecycle::new();
        for input in [STARTED, SHUT_DOWN, by_signal(KILLED), last_two[0]] {
            lifecycle.step(input, Instant::now());
        }
        assert!(!lifecycle.is_over());
        let effects = lifecycle.step(last_two[1], Instant::now());
        assert_eq!(letters(&effects), "R:Complete P:finished C");
        assert!(lifecycle.is_over());
    }
}

#[test]
fn the_report_counts_what_was_hunted() {
    let inputs = [STARTED, KILL, HUNTED, by_signal(KILLED), ENDED];
    assert_eq!(report_after(Plan::default(), &inputs).hunted(), Some(2));
    let inputs = [STARTED, by_code(0), ENDED];
    assert_eq!(report_after(Plan::default(), &inputs).hunted(), None);
    let inputs = [STARTED, by_code(0), ENDED, HUNTED];
    assert_eq!(report_after(Plan::default(), &inputs).hunted(), Some(2));
}

#[test]
fn the_run_time_is_from_start_to_exit() {
    let start = Instant::now();
    let mut lifecycle = Lifecycle::new();
    lifecycle.step(STARTED, start);
    let effects = lifecycle.step(by_code(0), start + Duration::from_millis(1500));
    assert!(
        matches!(&effects[1], Effect::Report(report) if report.run_time() == Duration::from_millis(1500))
    );
}

fn any_input() -> impl Strategy<Value = Input> {
    let grace = || (0..6u64).prop_map(Duration::from_secs);
    prop_oneof![
        (0..4usize, any::<bool>()).prop_map(|(outputs, frames)| Input::Started { outputs, frames }),
        Just(Input::StartFailed),
        grace().prop_map(|grace| Input::Stop {
            grace,
            cause: ExitCause::Stopped
        }),
        Just(KILL),
        Just(Input::Kill(ExitCause::TimedOut)),
        Just(Input::Tick),
        Just(by_code(0)),
        Just(by_signal(KILLED)),
        Just(ENDED),
        Just(Input::OutputEnded(OutputState::Cut)),
        Just(HUNTED),
        Just(LEFT),
        Just(Input::KillDenied),
        Just(Input::Remove),
        Just(Input::Begun),
        Just(Input::StartBroken),
        Just(Input::Unresponsive),
        grace().prop_map(|grace| Input::ShutDown { grace }),
        Just(Input::Abandon),
    ]
}

fn any_plan() -> impl Strategy<Value = Plan> {
    (any::<bool>(), prop::option::of(0..9u64)).prop_map(|(leave, timeout)| Plan {
        leftovers: if leave {
            Leftovers::Leave
        } else {
            Leftovers::Kill
        },
        grace: GRACE,
        start: timeout.map(|seconds| Duration::from_secs(seconds / 2)),
        timeout: timeout.map(Duration::from_secs),
        ..Plan::default()
    })
}

proptest! {
    /// One exit, one last report, no signal after the exit, one hunt at a time, clean-up once and
    /// last, and a process that is being stopped always has a deadline.
    #[test]
    fn random_sequences_keep_the_promises(
        plan in any_plan(),
        inputs in prop::collection::vec((any_input(), 0..3u64), 0..40),
    ) {
        let mut now = Instant::now();
        let mut lifecycle = Lifecycle::new();
        lifecycle.plan(plan);
        let (mut exits, mut finished, mut cleanups, mut hunts) = (0, 0, 0, 0i32);
        for (input, seconds) in inputs {
            now += Duration::from_secs(seconds);
            if [HUNTED, LEFT].contains(&input) {
                hunts = (hunts - 1).max(0);
            }
            for effect in lifecycle.step(input, now) {
                prop_assert_eq!(cleanups, 0, "nothing follows the clean-up");
                match effect {
                    Effect::SendStop
                    | Effect::EndInput
                    | Effect::TermTree
                    | Effect::Kill
                    | Effect::CloseInput => {
                        prop_assert_eq!(exits, 0, "no signal after the exit");
                    }
                    Effect::KillTree => {
                        prop_assert_eq!(exits, 0, "no signal after the exit");
                        hunts += 1;
                    }
                    Effect::Hunt { .. } => {
                        prop_assert_eq!(exits, 1, "what is left is hunted after the exit");
                        hunts += 1;
                    }
                    Effect::Hurry => prop_assert_eq!(hunts, 1, "only a hunt can be hurried"),
                    Effect::Report(report) if report.output() == OutputState::Draining => exits += 1,
                    Effect::Report(_) => prop_assert_eq!((exits, finished), (1, 0)),
                    Effect::Publish(ProcessState::Finished) => finished += 1,
                    Effect::CleanUp | Effect::LetGo => cleanups += 1,
                    Effect::Publish(_)
                    | Effect::TellLeft
                    | Effect::Drain
                    | Effect::RefuseRemoval
                    | Effect::StartOverdue => {}
                }
                prop_assert!(exits <= 1 && finished <= exits && hunts <= 1);
            }
            prop_assert_eq!(lifecycle.is_over(), cleanups == 1);
            prop_assert!(lifecycle.deadline().is_none_or(|at| at > now || input != Input::Tick));
            if let Phase::Killing { until: Some(until), .. } = lifecycle.phase {
                prop_assert!(until <= now + KILL_BOUND, "a kill has its bound");
            }
        }
    }
}
