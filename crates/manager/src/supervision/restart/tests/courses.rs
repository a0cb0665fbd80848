//! Courses of whole lives.

use super::*;

/// The words at their seconds, and what is done at the last of them.
fn course(policy: RestartPolicy, words: &[(u64, Word)]) -> (Bench, String) {
    let mut bench = Bench::new(rules(policy));
    let mut last = String::new();
    for (second, word) in words {
        last = bench.step(*second, *word);
    }
    (bench, last)
}

const UP: [(u64, Word); 3] = [(0, TICK), (0, Spawned), (0, Started)];

fn after_up(policy: RestartPolicy, words: &[(u64, Word)]) -> (Bench, String) {
    course(policy, &[&UP, words].concat())
}

#[test]
fn the_policy_decides_about_what_nobody_asked_for() {
    use RestartPolicy::{Always, Never, OnFailure};
    for (policy, how, expected) in [
        (Never, Well, "XB"),
        (Never, Failed, "XB"),
        (Never, Requested, "XR"),
        (OnFailure, Well, "XB"),
        (OnFailure, Failed, "W1"),
        (OnFailure, Requested, "XR"),
        (Always, Well, "W1"),
        (Always, Failed, "W1"),
        (Always, Requested, "XR"),
    ] {
        let (bench, _) = after_up(policy, &[(1, Exited(how))]);
        let found = place(bench.supervised.state());
        assert_eq!(found, expected, "{how:?} with {policy}");
    }
    let unhealthy = [(1, Miss), (2, Exited(Well))];
    let (bench, _) = after_up(Never, &unhealthy);
    assert_eq!(place(bench.supervised.state()), "XB");
    let (bench, _) = after_up(OnFailure, &unhealthy);
    assert_eq!(place(bench.supervised.state()), "W1");
    let (bench, _) = course(Never, &[(0, TICK), (0, StartFailed)]);
    assert_eq!(place(bench.supervised.state()), "XB");
}

#[test]
fn a_user_may_restart_what_the_policy_would_not() {
    let (_, done) = after_up(RestartPolicy::Never, &[(1, RESTART), (2, Exited(Well))]);
    assert_eq!(done, "b1");
}

/// A bench with as many restarts as it likes.
fn unlimited(words: &[(u64, Word)]) -> Bench {
    let rules = rules(RestartPolicy::OnFailure)
        .intensity(RestartIntensity::new(MAX_RESTARTS, Duration::MAX));
    let mut bench = Bench::new(rules);
    for (second, word) in words {
        bench.step(*second, *word);
    }
    bench
}

const FAIL: Word = Exited(Failed);

#[test]
fn the_backoff_doubles_until_a_run_was_stable() {
    let mut bench = unlimited(&[(0, TICK)]);
    let mut now = 0;
    for wait in [1, 2, 4, 8, 8] {
        bench.step(now, FAIL);
        assert_eq!(bench.due(), Some(now + wait));
        assert_eq!(bench.step(now + wait - 1, TICK), "", "not before it is due");
        now += wait;
        assert!(bench.step(now, TICK).starts_with('b'));
    }
    // (how long until it starts, how long it is up, and what it waits then)
    for (start, up, wait) in [(0, 59, 8), (0, 60, 1), (0, 1, 2), (99, 59, 4), (99, 60, 1)] {
        now += start;
        bench.step(now, Started);
        now += up;
        bench.step(now, FAIL);
        assert_eq!(bench.due(), Some(now + wait), "up for {up} s");
        now += wait;
        bench.step(now, TICK);
    }
    // However long it takes, what never started was not stable.
    bench.step(now + 1_000, FAIL);
    assert_eq!(bench.due(), Some(now + 1_002));
}

/// Its last moments, when it was asked to end, do not make it stable, nor does a late word of its exit.
#[test]
fn a_run_is_stable_by_the_time_it_was_up() {
    let failed_once = [(0, TICK), (0, FAIL), (1, TICK), (1, Started)];
    for (words, due) in [
        (&[(60, Miss), (70, FAIL)][..], 72),
        (&[(61, Miss), (70, FAIL)], 71),
        (&[(60, FAIL)], 62),
        (&[(61, FAIL)], 62),
    ] {
        let bench = unlimited(&[&failed_once, words].concat());
        assert_eq!(bench.due(), Some(due), "{words:?}");
    }
    let mut bench = unlimited(&failed_once);
    let at = bench.start + seconds(60);
    let now = bench.start + seconds(70);
    bench.supervised.step(FAIL.of(1, at), now, &mut |most| most);
    assert_eq!(bench.due(), Some(72), "it was up for 59 s");
}

#[test]
fn a_restart_by_a_user_lets_the_backoff_begin_anew_and_is_not_counted() {
    let failures = [(0, TICK), (0, FAIL), (1, TICK), (1, FAIL)];
    let asked: [&[(u64, Word)]; 4] = [
        &[(2, RESTART)],
        &[(3, TICK), (3, RESTART), (3, Exited(Well))],
        &[(3, TICK), (3, Started), (3, RESTART), (3, FAIL)],
        &[(3, TICK), (3, Started), (3, Miss), (3, RESTART), (3, FAIL)],
    ];
    for words in asked {
        let mut bench = unlimited(&[&failures, words].concat());
        bench.step(4, FAIL);
        assert_eq!(bench.due(), Some(5), "{words:?}");
    }
    let mut bench = Bench::new(rules(RestartPolicy::OnFailure));
    bench.step(0, TICK);
    for _ in 0..9 {
        bench.step(0, RESTART);
        assert!(bench.step(0, Exited(Well)).starts_with('b'));
    }
    for _ in 0..2 {
        bench.step(0, FAIL);
        assert!(bench.step(8, TICK).starts_with('b'));
    }
    assert_eq!(bench.step(8, FAIL), "T");
}

#[test]
fn too_many_restarts_are_the_end_and_its_text_names_the_remedy() {
    let crash = [(0, TICK), (0, FAIL), (1, TICK), (1, StartFailed), (3, TICK)];
    let too_many = |second| {
        course(
            RestartPolicy::Always,
            &[&crash[..], &[(second, FAIL)]].concat(),
        )
    };
    assert_eq!(too_many(100).1, "T");
    let (bench, _) = too_many(101);
    assert_eq!(place(bench.supervised.state()), "W3");
    let State::Ended(end) = too_many(3).0.supervised.state() else {
        panic!("it has ended");
    };
    let (restarts, period) = (2, seconds(100));
    assert_eq!(end, PermanentEnd::TooManyRestarts { restarts, period });
    let text = end.to_string();
    for part in [
        "more than 2 restarts",
        "100s",
        "logs",
        "RestartIntensity",
        "Backoff",
    ] {
        assert!(text.contains(part), "{part} in {text:?}");
    }
}

/// What the documentation of the defaults promises.
#[test]
fn by_default_what_always_fails_is_given_up_in_seconds() {
    let mut bench = Bench::new(Supervision::default());
    let mut now = bench.start;
    let mut runs = 0;
    while let Some(due) = bench.supervised.deadline() {
        now = due;
        let step =
            |supervised: &mut Supervised, input| supervised.step(input, now, &mut |most| most);
        step(&mut bench.supervised, Input::Tick);
        step(&mut bench.supervised, FAIL.of(runs, now));
        runs += 1;
        assert!(runs < 100, "it has an end");
    }
    assert_eq!(runs, 6);
    assert_eq!(now - bench.start, Duration::from_millis(7_750));
}

#[test]
fn one_hiccup_restarts_nothing_and_a_new_run_has_a_new_health() {
    let rules = rules(RestartPolicy::OnFailure).health(HealthRule::new(2, 2));
    let mut bench = Bench::new(rules);
    for word in [TICK, Started, Miss, Success, Miss] {
        bench.step(0, word);
        let failing = bench.supervised.health() == HealthState::Failing;
        assert_eq!(failing, !matches!(word, TICK | Started), "{word:?}");
    }
    assert_eq!(bench.step(0, Miss), "sU");
    assert_eq!(bench.supervised.health(), HealthState::Unhealthy);
    bench.step(0, FAIL);
    bench.step(1, TICK);
    assert_eq!(bench.supervised.health(), HealthState::Unknown);
    bench.step(1, Miss);
    bench.step(1, Started);
    assert_eq!(
        bench.step(1, Miss),
        "",
        "what came before it was up is not counted"
    );
}

/// Otherwise a late word of an old run would end the new one.
#[test]
fn words_of_other_runs_are_ignored() {
    for (state, path) in states() {
        for run in [1, 7, u64::MAX] {
            for word in [
                Spawned,
                Started,
                Exited(Well),
                FAIL,
                Exited(Requested),
                StartFailed,
                Miss,
            ] {
                // After this run 0 is over, and run 1 is where run 0 of the table is.
                let first = [TICK, Started, RESTART, Exited(Well)];
                let path = path.iter().filter(|before| **before != TICK);
                let mut bench = Bench::new(rules(RestartPolicy::OnFailure));
                for before in first.iter().chain(path) {
                    bench.step(0, *before);
                }
                let before = bench.supervised.state();
                let other = if run == 1 { 0 } else { run };
                let input = word.of(other, bench.start);
                let effects = bench.supervised.step(input, bench.start, &mut |most| most);
                assert_eq!(letters(&effects), "", "{input:?} while {state}");
                assert_eq!(bench.supervised.state(), before, "{input:?} while {state}");
            }
        }
    }
}

#[test]
fn a_run_that_is_stopped_while_it_is_spawned_is_told_all_the_same() {
    for word in [Spawned, Started] {
        for (asked, then) in [(STOP, "R"), (RESTART, "b1"), (SHUT_DOWN, "S")] {
            let mut bench = Bench::new(rules(RestartPolicy::Always));
            bench.step(0, TICK);
            bench.step(0, asked);
            assert_eq!(bench.step(0, word), "n0");
            assert_eq!(bench.step(0, StartFailed), "", "it exists");
            assert_eq!(bench.step(0, Exited(Requested)), then);
            let mut bench = Bench::new(rules(RestartPolicy::Always));
            bench.step(0, TICK);
            bench.step(0, asked);
            assert_eq!(bench.step(0, StartFailed), then, "never told");
        }
    }
}

#[test]
fn the_first_reason_to_end_stays() {
    for (first, second, end) in [
        (STOP, SHUT_DOWN, "R"),
        (SHUT_DOWN, STOP, "S"),
        (SHUT_DOWN, KILL, "S"),
        (RESTART, SHUT_DOWN, "S"),
        (STOP, RESTART, "R"),
        (Miss, KILL, "R"),
    ] {
        let words = [(1, first), (1, second), (2, Exited(Requested))];
        let (_, done) = after_up(RestartPolicy::Always, &words);
        assert_eq!(done, end, "{first:?}, then {second:?}");
    }
}

#[test]
fn a_wait_without_end_is_no_fault() {
    let rules = rules(RestartPolicy::Always).backoff(Backoff::new(Duration::MAX, Duration::MAX));
    let mut bench = Bench::new(rules);
    bench.step(0, TICK);
    bench.step(0, FAIL);
    assert!(bench.due().is_some_and(|due| due > 99 * 365 * 24 * 3_600));
    assert_eq!(bench.step(9, TICK), "");
    assert_eq!(bench.step(9, RESTART), "b1");
}

#[test]
fn each_end_reads_as_a_sentence() {
    for (end, text) in [
        (
            PermanentEnd::ByItself,
            "it ended, and its policy does not restart it",
        ),
        (PermanentEnd::Requested, "it was asked to end"),
        (PermanentEnd::ShutDown, "the manager was shut down"),
    ] {
        assert_eq!(end.to_string(), text);
    }
}

#[test]
fn behind_a_gate_the_backoff_goes_on_and_the_release_may_come_before_or_after_its_end() {
    // (when it is released, when it begins: its backoff ends at 2)
    for (released, begins) in [(1, 2), (2, 2), (9, 9)] {
        let mut bench = Bench::new(rules(RestartPolicy::OnFailure));
        bench.supervised = bench.supervised.gated();
        for (second, word) in UP {
            bench.step(second, word);
        }
        bench.step(1, FAIL);
        assert!(bench.supervised.is_held());
        assert_eq!(bench.due(), None, "nobody comes back for what is held");
        assert_eq!(bench.step(50, TICK), "", "and it does not begin");
        let done = bench.step(released, RELEASE);
        assert_eq!(bench.due(), (released < begins).then_some(begins));
        let done = if released < begins {
            bench.step(begins, TICK)
        } else {
            done
        };
        assert_eq!(done, "b1", "released at {released}");
    }
}

#[test]
fn what_was_released_can_be_held_again() {
    let mut bench = Bench::new(rules(RestartPolicy::OnFailure));
    bench.supervised = bench.supervised.gated();
    for (second, word) in [&UP[..], &[(1, FAIL), (1, RELEASE), (1, HOLD)]].concat() {
        bench.step(second, word);
    }
    assert!(bench.supervised.is_held());
    assert_eq!(bench.step(9, TICK), "");
    // A user who wants a restart need not wait for the backoff, but for the gate.
    assert_eq!(bench.step(1, RESTART), "");
    assert_eq!(bench.step(1, RELEASE), "b1");
}
