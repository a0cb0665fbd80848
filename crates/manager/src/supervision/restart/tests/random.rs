//! Random sequences, against a simple model of what there is.

use super::*;

struct Random(fastrand::Rng);

impl Random {
    fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0.u64(..end)
    }

    /// A time between 0 and `most`, both included.
    fn draw(&mut self, most: Duration) -> Duration {
        let millis = u64::try_from(most.as_millis()).expect("a short time");
        Duration::from_millis(self.below(millis + 1))
    }

    fn rules(&mut self) -> Supervision {
        let policies = [
            RestartPolicy::Never,
            RestartPolicy::OnFailure,
            RestartPolicy::Always,
            RestartPolicy::Always,
        ];
        let policy = policies[usize::try_from(self.below(4)).expect("small")];
        Supervision::new(policy)
            .backoff(
                Backoff::new(seconds(self.below(3)), seconds(self.below(9)))
                    .reset_after(seconds(self.below(9))),
            )
            .intensity(RestartIntensity::new(
                u32::try_from(self.below(6)).expect("small"),
                seconds(self.below(40)),
            ))
            .health(HealthRule::new(2, 2))
    }

    /// Mostly about the run `run`, and what ends it for ever seldom.
    fn input(&mut self, run: u64, now: Instant) -> Input {
        let run = match self.below(8) {
            0 => run.saturating_sub(1),
            1 => run + 1,
            _ => run,
        };
        let word = match self.below(40) {
            0 => STOP,
            1 => KILL,
            2 => SHUT_DOWN,
            3 => Exited(Requested),
            4 | 5 => RESTART,
            6..10 => Spawned,
            10..16 => Started,
            16..18 => Exited(Well),
            18..23 => Exited(Failed),
            23..26 => StartFailed,
            26..31 => Miss,
            31..33 => Success,
            33 => HOLD,
            34..36 => RELEASE,
            _ => TICK,
        };
        word.of(run, now)
    }
}

/// What there is, told by the inputs and effects alone.
#[derive(Default)]
struct Model {
    /// The run that was begun and is not over.
    alive: Option<u64>,
    spawned: bool,
    /// Runs begun so far, which is the number of the next.
    begun: u64,
    told: Option<u64>,
    /// Somebody asked for the end.
    to_end: bool,
    announced: u32,
    /// When there was a restart that nobody asked for.
    restarts: Vec<Instant>,
}

impl Model {
    fn input(&mut self, input: Input) {
        match input {
            Input::Spawned { run } | Input::Started { run } if self.alive == Some(run) => {
                self.spawned = true;
            }
            Input::Exited { run, .. } if self.alive == Some(run) => self.alive = None,
            Input::StartFailed { run } if self.alive == Some(run) && !self.spawned => {
                self.alive = None;
            }
            Input::Stop | Input::Kill | Input::ShutDown => self.to_end = true,
            _ => {}
        }
    }

    fn effect(&mut self, effect: Effect) {
        assert_eq!(self.announced, 0, "nothing follows the end");
        match effect {
            Effect::StartRun { run } => {
                assert_eq!(self.alive, None, "one run at a time");
                assert_eq!(run, self.begun, "runs are numbered in their order");
                assert!(!self.to_end, "no run after the end was asked for");
                self.alive = Some(run);
                self.spawned = false;
                self.begun += 1;
            }
            Effect::NewRun { run } => {
                assert_eq!(self.alive, Some(run), "what is told of is alive");
                assert!(self.spawned, "and exists");
                assert!(self.told < Some(run), "and is told of once");
                self.told = Some(run);
            }
            Effect::StopRun(_) | Effect::KillRun => {
                assert!(self.alive.is_some(), "what is stopped is alive");
            }
            Effect::Announce(_) => {
                assert_eq!(self.alive, None, "the end comes after the exit");
                self.announced += 1;
            }
        }
    }
}

fn alive_in(state: State) -> Option<u64> {
    match state {
        State::Starting { run } | State::Up { run, .. } | State::Stopping { run, .. } => Some(run),
        State::Waiting { .. } | State::Ended(_) => None,
    }
}

/// One life; how many runs it had and how it ended, if it did.
fn live(random: &mut Random) -> (u64, Option<PermanentEnd>) {
    let rules = random.rules();
    let mut now = Instant::now();
    let mut supervised = Supervised::new(rules, now);
    supervised.gated = random.below(2) == 0;
    let mut model = Model::default();
    for _ in 0..120 {
        now += Duration::from_millis(random.below(2_000));
        let input = random.input(model.alive.unwrap_or(model.begun), now);
        let before = supervised.state();
        let mut draws = 0;
        let effects = supervised.step(input, now, &mut |most| {
            draws += 1;
            assert!(most <= rules.backoff_rule().longest_wait());
            random.draw(most)
        });
        let state = supervised.state();
        if input.run().is_some_and(|run| model.alive != Some(run)) {
            assert_eq!(
                (effects.len(), state),
                (0, before),
                "{input:?} is of another run"
            );
        }
        model.input(input);
        for effect in effects {
            model.effect(effect);
        }
        assert_eq!(alive_in(state), model.alive, "{input:?} while {before:?}");
        let exists = model.alive.filter(|_| model.spawned);
        assert!(
            exists.is_none() || model.told == exists,
            "each run that exists is told of"
        );
        let ended = matches!(state, State::Ended(_));
        assert_eq!(ended, model.announced == 1, "each end is announced");
        assert!(!model.to_end || ended || matches!(state, State::Stopping { .. }));
        let waits = matches!(state, State::Waiting { .. });
        assert_eq!(
            supervised.deadline().is_some(),
            waits && !supervised.is_held(),
            "only a backoff that nobody holds has a deadline"
        );
        assert!(supervised.gated || !supervised.is_held());
        let due = supervised.deadline().is_some_and(|at| at <= now);
        assert!(!(input == Input::Tick && due), "a tick does what is due");
        let over = waits && alive_in(before).is_some();
        assert_eq!(
            supervised.is_held() && over,
            supervised.gated && over,
            "whatever follows a run waits at the gate"
        );
        // What a user asks for does not wait, but for the gate.
        let asked = matches!(
            before,
            State::Stopping {
                then: Then::Restart,
                ..
            }
        );
        let restarted = over && !asked;
        assert_eq!(draws, u32::from(restarted), "one draw for each backoff");
        if restarted {
            model.restarts.push(now);
            let intensity = rules.intensity_rule();
            let recent = model.restarts.iter().rev();
            let recent = recent.take_while(|at| now.duration_since(**at) <= intensity.period());
            assert!(
                recent.count() <= intensity.restarts() as usize,
                "{intensity}"
            );
            assert!(rules.restart_policy() != RestartPolicy::Never);
        }
        assert!(supervised.window.len() <= rules.intensity_rule().restarts() as usize);
    }
    let end = match supervised.state() {
        State::Ended(end) => Some(end),
        _ => None,
    };
    (model.begun, end)
}

/// One run at a time, numbered in order and told once; nothing after the end, which is announced once and
/// after the exit; a deadline in backoff and nowhere else; never more restarts than the intensity allows.
#[test]
fn random_sequences_keep_the_promises() {
    let mut random = Random::new(0x2545_F491_4F6C_DD1D);
    let mut most_runs = 0;
    let mut ends = std::collections::HashMap::new();
    for _ in 0..5_000 {
        let (runs, end) = live(&mut random);
        most_runs = most_runs.max(runs);
        *ends.entry(end.map(end_letter)).or_insert(0) += 1;
    }
    // The sequences are worth something: they are long, and end in every way.
    assert!(most_runs > 6, "{most_runs} runs at most");
    for end in ['B', 'R', 'S', 'T'] {
        assert!(ends.get(&Some(end)) > Some(&100), "{ends:?}");
    }
}
