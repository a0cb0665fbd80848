//! Every state meets every input, courses of whole lives, and random sequences keep the promises.

mod courses;
mod random;

use std::time::{Duration, Instant};

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One second at first, eight at most, stable after a minute; two restarts in a hundred seconds; one miss
/// is enough.
fn rules(policy: RestartPolicy) -> Supervision {
    Supervision::new(policy)
        .backoff(Backoff::new(seconds(1), seconds(8)).reset_after(seconds(60)))
        .intensity(RestartIntensity::new(2, seconds(100)))
        .health(HealthRule::new(1, 1))
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Well,
    Failed,
    Requested,
}

/// An input whose run is the one that is alive, or the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Spawned,
    Started,
    Exited(How),
    StartFailed,
    Success,
    Miss,
    Just(Input),
}

use How::{Failed, Requested, Well};
use Word::{Exited, Miss, Spawned, StartFailed, Started, Success};

const STOP: Word = Word::Just(Input::Stop);
const KILL: Word = Word::Just(Input::Kill);
const RESTART: Word = Word::Just(Input::Restart);
const HOLD: Word = Word::Just(Input::Hold);
const RELEASE: Word = Word::Just(Input::Release);
const TICK: Word = Word::Just(Input::Tick);
const SHUT_DOWN: Word = Word::Just(Input::ShutDown);

impl Word {
    fn of(self, run: u64, at: Instant) -> Input {
        match self {
            Self::Spawned => Input::Spawned { run },
            Self::Started => Input::Started { run },
            Self::Exited(how) => Input::Exited {
                run,
                failed: how != Well,
                requested: how == Requested,
                at,
            },
            Self::StartFailed => Input::StartFailed { run },
            Self::Success => Input::Health {
                run,
                probe: Probe::Success,
            },
            Self::Miss => Input::Health {
                run,
                probe: Probe::Miss,
            },
            Self::Just(input) => input,
        }
    }
}

/// A supervised process on a clock of its own; each wait is as long as it can be.
struct Bench {
    start: Instant,
    supervised: Supervised,
}

impl Bench {
    fn new(rules: Supervision) -> Self {
        let start = Instant::now();
        let supervised = Supervised::new(rules, start);
        Self { start, supervised }
    }

    fn step(&mut self, second: u64, word: Word) -> String {
        let run = match self.supervised.state() {
            State::Starting { run } | State::Up { run, .. } | State::Stopping { run, .. } => run,
            State::Waiting { run, .. } => run.saturating_sub(1),
            State::Ended(_) => 0,
        };
        let now = self.start + seconds(second);
        letters(
            &self
                .supervised
                .step(word.of(run, now), now, &mut |most| most),
        )
    }

    /// In how many seconds after its start the backoff ends, if in one.
    fn due(&self) -> Option<u64> {
        let due = self.supervised.deadline();
        due.map(|at| at.duration_since(self.start).as_secs())
    }
}

/// The first letters of the end: B(y itself), R(equested), S(hut down), T(oo many).
fn end_letter(end: PermanentEnd) -> char {
    match end {
        PermanentEnd::ByItself => 'B',
        PermanentEnd::Requested => 'R',
        PermanentEnd::ShutDown => 'S',
        PermanentEnd::TooManyRestarts { .. } => 'T',
    }
}

/// What is done: a run of this number b(egun) or n(ew), s(topped) and why, k(illed), the end announced.
fn letters(effects: &[Effect]) -> String {
    let letters = effects.iter().map(|effect| match effect {
        Effect::StartRun { run } => format!("b{run}"),
        Effect::NewRun { run } => format!("n{run}"),
        Effect::StopRun(StopReason::Requested) => "sR".to_owned(),
        Effect::StopRun(StopReason::Restart) => "sA".to_owned(),
        Effect::StopRun(StopReason::Unhealthy) => "sU".to_owned(),
        Effect::StopRun(StopReason::ShutDown) => "sS".to_owned(),
        Effect::KillRun => "k".to_owned(),
        Effect::Announce(end) => end_letter(*end).to_string(),
    });
    letters.collect::<Vec<_>>().join(" ")
}

/// W(aiting) or H(eld), S(tarting), U(p), or what follows the stop: A(gain), P(olicy), E(nd) and which; or X and
/// which end. Then the number of the run.
fn place(state: State) -> String {
    match state {
        State::Waiting { run, held, .. } => format!("{}{run}", if held { 'H' } else { 'W' }),
        State::Starting { run } => format!("S{run}"),
        State::Up { run, .. } => format!("U{run}"),
        State::Stopping { run, then } => match then {
            Then::End(end) => format!("E{}{run}", end_letter(end)),
            Then::Restart => format!("A{run}"),
            Then::Policy => format!("P{run}"),
        },
        State::Ended(end) => format!("X{}", end_letter(end)),
    }
}

/// The words that lead to each state, all within the first second.
fn states() -> [(&'static str, Vec<Word>); 9] {
    let up = vec![TICK, Spawned, Started];
    let then = |word| [up.clone(), vec![word]].concat();
    [
        ("due", vec![]),
        ("spawning", vec![TICK]),
        ("starting", vec![TICK, Spawned]),
        ("up", up.clone()),
        ("stopping to end", then(STOP)),
        ("stopping to restart", then(RESTART)),
        ("stopping unhealthy", then(Miss)),
        ("waiting", then(Exited(Failed))),
        ("ended", then(Exited(Well))),
    ]
}

/// What is done, and after a colon where it is then, unless it stays where it was.
#[test]
fn every_state_meets_every_input() {
    // The columns: due, spawning, starting, up, stopping to end, to restart, unhealthy, waiting, ended.
    let table: [(Word, [&str; 9]); 13] = [
        (Spawned, ["", "n0", "", "", "", "", "", "", ""]),
        (Started, ["", "n0:U0", ":U0", "", "", "", "", "", ""]),
        (
            Exited(Well),
            ["", "B:XB", "B:XB", "B:XB", "R:XR", "b1:S1", ":W1", "", ""],
        ),
        (
            Exited(Failed),
            ["", ":W1", ":W1", ":W1", "R:XR", "b1:S1", ":W1", "", ""],
        ),
        (
            Exited(Requested),
            ["", "R:XR", "R:XR", "R:XR", "R:XR", "b1:S1", "R:XR", "", ""],
        ),
        (StartFailed, ["", ":W1", "", "", "", "", "", "", ""]),
        (Success, ["", "", "", "", "", "", "", "", ""]),
        (Miss, ["", "", "", "sU:P0", "", "", "", "", ""]),
        (
            STOP,
            [
                "R:XR", "sR:ER0", "sR:ER0", "sR:ER0", "sR", "sR:ER0", "sR:ER0", "R:XR", "",
            ],
        ),
        (
            KILL,
            [
                "R:XR", "k:ER0", "k:ER0", "k:ER0", "k", "k:ER0", "k:ER0", "R:XR", "",
            ],
        ),
        (
            RESTART,
            [
                "b0:S0", "sA:A0", "sA:A0", "sA:A0", "", "", ":A0", "b1:S1", "",
            ],
        ),
        (TICK, ["b0:S0", "", "", "", "", "", "", "", ""]),
        (
            SHUT_DOWN,
            [
                "S:XS", "sS:ES0", "sS:ES0", "sS:ES0", "sS", "sS:ES0", "sS:ES0", "S:XS", "",
            ],
        ),
    ];
    meet(false, &table);
}

/// Checks what each state makes of each word.
fn meet(gated: bool, table: &[(Word, [&str; 9])]) {
    for (word, row) in table {
        for ((state, path), expected) in states().into_iter().zip(row) {
            let mut bench = Bench::new(rules(RestartPolicy::OnFailure));
            bench.supervised.gated = gated;
            for before in path {
                bench.step(0, before);
            }
            let before = place(bench.supervised.state());
            let mut found = bench.step(0, *word);
            let after = place(bench.supervised.state());
            if after != before {
                found = format!("{found}:{after}");
            }
            assert_eq!(found, *expected, "{word:?} while {state}, gated: {gated}");
        }
    }
}

/// Where it is gated, all that would begin a run leads to the gate; the rest is as without.
#[test]
fn every_state_meets_every_input_behind_a_gate() {
    // The columns: due, spawning, starting, up, stopping to end, to restart, unhealthy, held, ended.
    let table: [(Word, [&str; 9]); 11] = [
        (
            Exited(Well),
            ["", "B:XB", "B:XB", "B:XB", "R:XR", ":H1", ":H1", "", ""],
        ),
        (
            Exited(Failed),
            ["", ":H1", ":H1", ":H1", "R:XR", ":H1", ":H1", "", ""],
        ),
        (
            Exited(Requested),
            ["", "R:XR", "R:XR", "R:XR", "R:XR", ":H1", "R:XR", "", ""],
        ),
        (StartFailed, ["", ":H1", "", "", "", "", "", "", ""]),
        (
            STOP,
            [
                "R:XR", "sR:ER0", "sR:ER0", "sR:ER0", "sR", "sR:ER0", "sR:ER0", "R:XR", "",
            ],
        ),
        (
            KILL,
            [
                "R:XR", "k:ER0", "k:ER0", "k:ER0", "k", "k:ER0", "k:ER0", "R:XR", "",
            ],
        ),
        (
            RESTART,
            ["b0:S0", "sA:A0", "sA:A0", "sA:A0", "", "", ":A0", "", ""],
        ),
        (
            HOLD,
            [":H0", "sA:A0", "sA:A0", "sA:A0", "", "", ":A0", "", ""],
        ),
        (RELEASE, ["b0:S0", "", "", "", "", "", "", ":W1", ""]),
        (TICK, ["b0:S0", "", "", "", "", "", "", "", ""]),
        (
            SHUT_DOWN,
            [
                "S:XS", "sS:ES0", "sS:ES0", "sS:ES0", "sS", "sS:ES0", "sS:ES0", "S:XS", "",
            ],
        ),
    ];
    meet(true, &table);
}

#[test]
fn a_hold_is_nothing_to_one_without_a_gate() {
    let row = |expected| [(HOLD, [expected; 9])];
    meet(false, &row(""));
}
