//! Every state meets every input, courses for every rule, and random sequences keep the promises.

mod courses;
mod ends;
mod failures;
mod model;
mod random;

use super::*;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What to do after this input.
fn step(
    dispatch: &mut Dispatch,
    input: Input,
    now: Instant,
    mut draw: impl FnMut(Duration) -> Duration,
) -> Vec<Effect> {
    let mut effects = Vec::new();
    dispatch.step(input, now, &mut draw, &mut effects);
    effects
}

/// A pool on a clock of its own; each wait is as long as it can be.
struct Bench {
    start: Instant,
    dispatch: Dispatch,
}

impl Bench {
    fn new(rules: PoolRules) -> Self {
        Self {
            start: Instant::now(),
            dispatch: Dispatch::new(rules),
        }
    }

    /// One input, as a word and its numbers: `submit 1 x3 by500` may be tried 3 times until 500 ms.
    fn input(&self, text: &str) -> Input {
        let mut words = text.split_whitespace();
        let word = words.next().expect("a word");
        let rest: Vec<&str> = words.collect();
        let number = |index: usize| rest[index].parse::<u64>().expect("a number");
        let marked = |mark: &str| {
            let found = rest.iter().find_map(|word| word.strip_prefix(mark));
            found.map(|number| number.parse::<u64>().expect("a number"))
        };
        match word {
            "start" => Input::Start,
            "submit" => Input::Submit {
                request: number(0),
                tries: u32::try_from(marked("x").unwrap_or(1)).expect("small"),
                deadline: marked("by").map(|at| self.start + millis(at)),
            },
            "drop" => Input::Dropped { request: number(0) },
            "ready" => Input::WorkerReady { worker: number(0) },
            "no-start" => Input::WorkerStartFailed { worker: number(0) },
            "stuck" => Input::WorkerStuck { worker: number(0) },
            "end" => Input::WorkerEnded { worker: number(0) },
            "ok" | "bad" => Input::Answered {
                worker: number(0),
                request: number(1),
                ok: word == "ok",
            },
            "unsent" => Input::Unsent {
                worker: number(0),
                request: number(1),
            },
            "memory" => Input::OverMemory { worker: number(0) },
            "tick" => Input::Tick,
            "drain" => Input::Drain,
            "abort" => Input::Abort,
            _ => unreachable!("{word}"),
        }
    }

    fn step(&mut self, at: u64, text: &str) -> String {
        let input = self.input(text);
        let now = self.start + millis(at);
        letters(&step(&mut self.dispatch, input, now, |most| most))
    }

    /// At which millisecond it wants a tick.
    fn due(&self) -> Option<u128> {
        let due = self.dispatch.deadline();
        due.map(|at| at.duration_since(self.start).as_millis())
    }

    fn worker(&self, worker: u64) -> Option<WorkerStats> {
        self.dispatch.workers().find(|it| it.worker == worker)
    }

    fn state(&self, worker: u64) -> String {
        let found = self.worker(worker);
        found.map_or("gone".to_owned(), |found| found.state.to_string())
    }
}

/// What is done: `+0` started, `-0` stopped, `!0` killed, `s1>0` sent (`/2` for the second time), `c1>0`
/// cancelled, `d1` done (`d1x` badly), `f1T/1` failed, why, and after how many attempts, `r1D` refused, `F1` full.
fn letters(effects: &[Effect]) -> String {
    let letters = effects.iter().map(|effect| match *effect {
        Effect::StartWorker { worker } => format!("+{worker}"),
        Effect::StopWorker { worker } => format!("-{worker}"),
        Effect::KillWorker { worker } => format!("!{worker}"),
        Effect::Send {
            request,
            worker,
            attempt: 1,
        } => format!("s{request}>{worker}"),
        Effect::Send {
            request,
            worker,
            attempt,
        } => format!("s{request}>{worker}/{attempt}"),
        Effect::Cancel { request, worker } => format!("c{request}>{worker}"),
        Effect::Done { request, ok: true } => format!("d{request}"),
        Effect::Done { request, ok: false } => format!("d{request}x"),
        Effect::Fail {
            request,
            reason,
            attempts,
        } => {
            let reason = match reason {
                FailReason::WorkerEnded { worker } => format!("E{worker}"),
                FailReason::Poisonous { workers } => format!("P{workers}"),
                FailReason::NoWorkers => "N".to_owned(),
                FailReason::TimedOut => "T".to_owned(),
                FailReason::Aborted => "A".to_owned(),
            };
            format!("f{request}{reason}/{attempts}")
        }
        Effect::Refuse { request, reason } => match reason {
            Refusal::QueueFull => format!("r{request}F"),
            Refusal::Draining => format!("r{request}D"),
        },
        Effect::Full { request } => format!("F{request}"),
        Effect::Room => "R".to_owned(),
        Effect::Broken => "B".to_owned(),
        Effect::Recovered => "V".to_owned(),
        Effect::Drained => "D".to_owned(),
    });
    letters.collect::<Vec<_>>().join(" ")
}

/// A course: the millisecond, what happens, and what is done.
fn course(rules: PoolRules, script: &[(u64, &str, &str)]) -> Bench {
    let mut bench = Bench::new(rules);
    for (line, (at, input, expected)) in script.iter().enumerate() {
        let done = bench.step(*at, input);
        assert_eq!(done, *expected, "line {line}: {input} at {at} ms");
    }
    bench
}

/// The courses to each state of worker 0, in a pool of one or two that serve one at a time; request 1 may be
/// tried twice.
const STATES: [(&str, &[&str]); 8] = [
    ("starting", &["start"]),
    ("ready", &["start", "ready 0"]),
    ("busy", &["start", "ready 0", "submit 1 x2"]),
    ("cancelled", &["start", "ready 0", "submit 1 x2", "drop 1"]),
    (
        "retiring",
        &["start", "ready 0", "submit 1 x2", "memory 0", "ready 1"],
    ),
    (
        "stopping",
        &[
            "start",
            "ready 0",
            "submit 1 x2",
            "memory 0",
            "ready 1",
            "ok 0 1",
        ],
    ),
    (
        "killing",
        &["start", "ready 0", "submit 1 x2", "drop 1", "wait", "tick"],
    ),
    (
        "gone",
        &["start", "ready 0", "submit 1 x2", "ok 0 1", "end 0"],
    ),
];

fn in_state(path: &[&str]) -> (Bench, u64) {
    let mut bench = Bench::new(PoolRules::new(1..=2));
    let mut at = 0;
    for word in path {
        if *word == "wait" {
            at = 1_000;
        } else {
            bench.step(at, word);
        }
    }
    (bench, at)
}

/// What is done, and where worker 0 is then unless it stays where it was.
fn meet(bench: &mut Bench, at: u64, input: &str) -> String {
    let before = bench.state(0);
    let done = bench.step(at, input);
    let after = bench.state(0);
    if after == before {
        done
    } else {
        format!("{done}:{after}")
    }
}

#[test]
fn every_state_of_a_worker_meets_every_input() {
    let table: [(&str, [&str; 8]); 15] = [
        // starting, ready, busy, cancelled, retiring, stopping, killing, gone
        ("start", ["", "", "", "", "", "", "", ""]),
        ("submit 2", ["", "s2>0", "+1", "+1", "s2>1", "s2>1", "", ""]),
        ("drop 1", ["", "", "c1>0", "", "c1>0", "", "", ""]),
        ("ready 0", [":ready", "", "", "", "", "", "", ""]),
        (
            "no-start 0",
            [":gone", "", "", "", "", ":gone", ":gone", ""],
        ),
        (
            "end 0",
            [
                ":gone",
                ":gone",
                ":gone",
                ":gone",
                "s1>1/2:gone",
                ":gone",
                ":gone",
                "",
            ],
        ),
        (
            "stuck 0",
            [
                ":stuck",
                ":stuck",
                ":stuck",
                ":stuck",
                "s1>1/2:stuck",
                ":stuck",
                ":stuck",
                "",
            ],
        ),
        ("ok 0 1", ["", "", "d1", "", "d1 -0:stopping", "", "", ""]),
        (
            "bad 0 1",
            ["", "", "d1x", "", "d1x -0:stopping", "", "", ""],
        ),
        ("ok 0 9", ["", "", "", "", "", "", "", ""]),
        (
            "unsent 0 1",
            ["", "", "+1", "", "s1>1 -0:stopping", "", "", ""],
        ),
        ("memory 0", ["", "+1", "+1", "+1", "", "", "", ""]),
        ("tick", ["", "", "", "", "", "", "", ""]),
        (
            "drain",
            [
                "-0:stopping",
                "-0:stopping",
                "",
                "-0:stopping",
                "",
                "-1",
                "-1",
                "-1",
            ],
        ),
        (
            "abort",
            [
                "!0:killing",
                "!0:killing",
                "f1A/1 !0:killing",
                "!0:killing",
                "f1A/1 !0 !1:killing",
                "!0 !1:killing",
                "!1",
                "!1",
            ],
        ),
    ];
    for (input, row) in table {
        for ((state, path), expected) in STATES.into_iter().zip(row) {
            let (mut bench, at) = in_state(path);
            let done = meet(&mut bench, at, input);
            assert_eq!(done, expected, "{input} while {state}");
        }
    }
}

#[test]
fn every_phase_meets_every_input() {
    /// With one request in flight, but in the first and the last phase.
    const PHASES: [(&str, &[&str]); 6] = [
        ("new", &[]),
        ("running", &["start", "ready 0", "submit 1"]),
        ("draining", &["start", "ready 0", "submit 1", "drain"]),
        ("ending", &["start", "ready 0", "drain"]),
        ("aborting", &["start", "ready 0", "abort"]),
        ("over", &["abort"]),
    ];
    let table: [(&str, [&str; 6]); 11] = [
        ("start", ["+0", "", "", "", "", ""]),
        ("submit 2", ["", "+1", "r2D", "r2D", "r2D", "r2D"]),
        ("drop 1", ["", "c1>0", "c1>0 -0", "", "", ""]),
        ("ready 0", ["", "", "", "", "", ""]),
        ("no-start 0", ["", "", "", "D", "D", ""]),
        ("end 0", ["", "f1E0/1", "f1E0/1 D", "D", "D", ""]),
        ("stuck 0", ["", "f1E0/1", "f1E0/1 D", "D", "D", ""]),
        ("ok 0 1", ["", "d1", "d1 -0", "", "", ""]),
        ("tick", ["", "", "", "", "", ""]),
        ("drain", ["D", "", "", "", "", ""]),
        ("abort", ["D", "f1A/1 !0", "f1A/1 !0", "!0", "", ""]),
    ];
    for (input, row) in table {
        for ((phase, path), expected) in PHASES.into_iter().zip(row) {
            let (mut bench, at) = in_state(path);
            assert_eq!(bench.step(at, input), expected, "{input} while {phase}");
            let is_over = expected.contains('D') && !expected.contains("r2D");
            assert_eq!(bench.dispatch.is_over(), is_over || phase == "over");
        }
    }
}
