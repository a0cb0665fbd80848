//! Random sequences, against the model.

use std::collections::BTreeMap;

use super::model::Model;
use super::*;

struct Random(fastrand::Rng);

impl Random {
    fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0.u64(..end)
    }

    fn small(&mut self, end: u64) -> usize {
        usize::try_from(self.below(end)).expect("small")
    }

    fn pick<T>(&mut self, of: impl Iterator<Item = T>) -> Option<T> {
        let mut of: Vec<T> = of.collect();
        if of.is_empty() {
            return None;
        }
        let length = u64::try_from(of.len()).expect("small");
        let index = self.small(length);
        Some(of.swap_remove(index))
    }

    fn rules(&mut self) -> PoolRules {
        let min = self.small(4);
        let when_full = [WhenFull::Wait, WhenFull::Refuse][self.small(2)];
        let mut rules = PoolRules::new(min..=min + self.small(4))
            .in_flight(1 + self.small(3))
            .queue(1 + self.small(6), when_full)
            .poison_after(u32::try_from(1 + self.below(3)).expect("small"))
            .start_failures(u32::try_from(1 + self.below(4)).expect("small"))
            .backoff(millis(self.below(200)), millis(1 + self.below(2_000)))
            .cancel_grace(millis(self.below(1_500)))
            .idle_after(millis(1 + self.below(3_000)));
        if self.below(2) == 0 {
            rules = rules
                .recycle_after_requests(1 + self.below(9))
                .recycle_after_age(millis(500 + self.below(9_000)));
        }
        rules
    }
}

/// A pool with its callers and its workers, all played by random numbers.
struct World {
    random: Random,
    rules: PoolRules,
    dispatch: Dispatch,
    model: Model,
    now: Instant,
    submitted: u64,
    /// Whether it may run out of workers, get a word of what there is not, and recycle for memory.
    is_rough: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let rules = random.rules();
        let is_rough = random.below(2) == 0;
        Self {
            random,
            rules,
            dispatch: Dispatch::new(rules),
            model: Model::default(),
            now: Instant::now(),
            submitted: 0,
            is_rough,
        }
    }

    fn ready(&self) -> usize {
        let workers = self.dispatch.workers();
        workers.filter(|it| it.state == WorkerState::Ready).count()
    }

    fn step(&mut self, input: Input) {
        let ready = self.ready();
        let starting = self.dispatch.workers.starting();
        self.model.input(input);
        let random = &mut self.random;
        let effects = step(&mut self.dispatch, input, self.now, |most| {
            let most = u64::try_from(most.as_millis()).expect("a short time");
            millis(random.below(most + 1))
        });
        let has = |is: fn(&Effect) -> bool| effects.iter().any(is);
        let started = has(|it| matches!(it, Effect::StartWorker { .. }));
        let ends = has(|it| matches!(it, Effect::KillWorker { .. }))
            || matches!(input, Input::WorkerEnded { .. });
        for effect in &effects {
            self.model.effect(*effect, input, self.now, &self.rules);
        }
        self.model.check(&self.dispatch, self.now, &self.rules);
        if self.dispatch.phase == Phase::Running {
            let dips = self.ready() < ready && self.ready() < self.rules.min;
            assert!(ends || !dips, "none is stopped below the least: {input:?}");
        }
        if started {
            let stats = self.dispatch.stats();
            let load = stats.queued.div_ceil(self.rules.in_flight);
            let most = load.max(self.rules.min.max(starting)) + 1;
            let starting = self.dispatch.workers.starting();
            assert!(starting <= most, "{starting} for {load}, {}", self.rules);
        }
        if has(|it| matches!(it, Effect::Room)) {
            for request in std::mem::take(&mut self.model.outside) {
                self.submit(request);
            }
        }
    }

    fn submit(&mut self, request: u64) {
        let deadline =
            (self.random.below(3) == 0).then(|| self.now + millis(self.random.below(3_000)));
        let tries = u32::try_from(self.random.below(5)).expect("small");
        self.step(Input::Submit {
            request,
            tries,
            deadline,
        });
    }

    fn new_request(&mut self) {
        self.submitted += 1;
        // Whoever waits outside comes before.
        if self.model.outside.is_empty() {
            self.submit(self.submitted);
        } else {
            self.model.outside.push(self.submitted);
        }
    }

    /// Something of what may happen, the likelier the more a busy pool sees it.
    fn happen(&mut self) {
        self.now += millis(self.random.below(200));
        let workers = &self.model.workers;
        let input = match self.random.below(40) {
            0..12 => {
                self.new_request();
                return;
            }
            12..18 => {
                let starting = workers.iter().filter(|(_, seen)| !seen.ready);
                let worker = self.random.pick(starting.map(|(worker, _)| *worker));
                worker.map(|worker| Input::WorkerReady { worker })
            }
            18 | 19 if self.is_rough => {
                let starting = workers.iter().filter(|(_, seen)| !seen.ready);
                let worker = self.random.pick(starting.map(|(worker, _)| *worker));
                worker.map(|worker| Input::WorkerStartFailed { worker })
            }
            20 | 21 => {
                let worker = self.random.pick(workers.keys().copied());
                worker.map(|worker| Input::WorkerEnded { worker })
            }
            22..31 => self.some_answer(),
            31 => {
                let request = self.random.pick(self.model.open.keys().copied());
                request.map(|request| Input::Dropped { request })
            }
            32 if self.is_rough => {
                *self.model.counts.entry("over memory").or_default() += 1;
                let worker = self.random.pick(workers.keys().copied());
                worker.map(|worker| Input::OverMemory { worker })
            }
            37 => {
                let slots = workers.iter().flat_map(|(worker, seen)| {
                    seen.slots.keys().map(|request| (*worker, *request))
                });
                let slot = self.random.pick(slots.collect::<Vec<_>>().into_iter());
                slot.map(|(worker, request)| Input::Unsent { worker, request })
            }
            33 => Some(self.some_nonsense()),
            34 | 35 => {
                self.now = self.dispatch.deadline().unwrap_or(self.now).max(self.now);
                Some(Input::Tick)
            }
            36 => {
                self.now += millis(self.random.below(4_000));
                Some(Input::Tick)
            }
            _ => Some(Input::Tick),
        };
        if let Some(input) = input {
            self.step(input);
        }
    }

    fn some_answer(&mut self) -> Option<Input> {
        let workers = self.model.workers.iter();
        let slots = workers.flat_map(|(worker, seen)| {
            let requests = seen.slots.keys();
            requests.map(|request| (*worker, *request))
        });
        let (worker, request) = self.random.pick(slots.collect::<Vec<_>>().into_iter())?;
        let seen = self.model.workers.get_mut(&worker).expect("it is alive");
        seen.slots.remove(&request);
        Some(Input::Answered {
            worker,
            request,
            ok: self.random.below(4) > 0,
        })
    }

    /// A word of a worker or a request that there is not.
    fn some_nonsense(&mut self) -> Input {
        let worker = 1_000_000;
        let request = 1_000_000;
        match self.random.below(6) {
            0 => Input::WorkerReady { worker },
            1 => Input::WorkerEnded { worker },
            2 => Input::WorkerStartFailed { worker },
            3 => Input::OverMemory { worker },
            4 => Input::Dropped { request },
            _ => Input::Answered {
                worker: self.random.below(9),
                request,
                ok: true,
            },
        }
    }

    /// From here on everybody behaves; whether it ends.
    fn come_to_the_end(&mut self) {
        for _ in 0..1_000 {
            if self.model.over {
                return;
            }
            let workers = &self.model.workers;
            let dismissed = workers
                .iter()
                .find(|(_, seen)| seen.dismissed || seen.closed);
            let starting = workers.iter().find(|(_, seen)| !seen.ready);
            let input = if let Some((worker, _)) = dismissed {
                Input::WorkerEnded { worker: *worker }
            } else if let Some((worker, _)) = starting {
                Input::WorkerReady { worker: *worker }
            } else if let Some(answer) = self.some_answer() {
                answer
            } else {
                let due = self.dispatch.deadline();
                self.now = due.expect("something is to come").max(self.now);
                Input::Tick
            };
            self.step(input);
        }
        unreachable!("it does not end: {:?} {:?}", self.dispatch, self.model);
    }
}

/// One life; what there was in it.
fn live(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(seed);
    let steps = world.random.below(300);
    for _ in 0..world.random.below(3) {
        world.new_request();
    }
    world.step(Input::Start);
    for _ in 0..steps {
        world.happen();
    }
    let aborts = world.random.below(4) == 0;
    if !aborts || world.random.below(2) == 0 {
        world.step(Input::Drain);
        for _ in 0..world.random.below(9) {
            world.happen();
        }
    }
    if aborts {
        world.step(Input::Abort);
    }
    world.come_to_the_end();
    world.new_request();
    assert_eq!(world.dispatch.deadline(), None);
    let counts = world.model.counts;
    let ends = [
        "served",
        "answered badly",
        "dropped",
        "refused",
        "lost",
        "poisonous",
        "without workers",
        "timed out",
        "aborted",
    ];
    let of = |how: &str| counts.get(how).copied().unwrap_or_default();
    let ended = ends.into_iter().map(of).sum::<u64>();
    assert_eq!(ended, world.submitted, "each request has one end");
    counts
}

/// Each request ends once; no worker has more than its limit, nor a suspect with others; the pool and its
/// queue keep their bounds; the queue is first in first out; nothing that is due is left undone; a drain ends
/// when all workers answer, and nothing is due after it.
#[test]
fn random_sequences_keep_the_promises() {
    let mut random = Random::new(0x2545_F491_4F6C_DD1D);
    let mut counts = BTreeMap::new();
    for _ in 0..1_000 {
        for (what, count) in live(random.0.u64(..)) {
            *counts.entry(what).or_insert(0) += count;
        }
    }
    // The sequences are worth something: all there is happens often.
    assert_eq!(counts.len(), 20, "{counts:?}");
    for (what, count) in &counts {
        assert!(*count > 50, "{what}: {counts:?}");
    }
}
