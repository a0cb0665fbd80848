//! Runs races: one sample at a time, rounds interleaved, each bounded in time.
//!
//! ```text
//!  round 1: ours  raw   heim      each sample: a thread of its own, a fresh runtime,
//!  round 2: raw   heim  ours      the deadline, and the end of all that it started
//!  round 3: heim  ours  raw
//! ```

use std::{fmt, future::Future, pin::Pin, sync::mpsc, thread, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Failure, args::Scale, machine, machine::Cores, stats::Summary, table::Progress};

/// The usual number of rounds in a full run.
pub(crate) const ROUNDS: usize = 7;
/// The usual limit of a sample.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// What a runtime gets to end what a sample has left behind.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// One kind of work under one setting, done by us and by others.
pub(crate) struct Race {
    /// The part it belongs to, such as `round trip`.
    pub(crate) part: &'static str,
    /// Rounds of a full run; a quick one has fewer.
    pub(crate) rounds: usize,
    /// A sample that takes longer is a failure of that sample.
    pub(crate) limit: Duration,
    /// What sets it apart from the part's other races.
    pub(crate) setting: &'static str,
    /// What is compared.
    pub(crate) measure: Measure,
    /// Where parent and child run.
    pub(crate) cores: Cores,
    /// The first one is ours; the others are what it is compared with.
    pub(crate) contestants: Vec<Contestant>,
}

/// What is compared, and which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Seconds an operation: less is better.
    Time,
    /// Operations a second: more is better.
    Rate,
    /// Bytes a second: more is better.
    Bandwidth,
    /// Bytes for each, of memory or of a file: less is better.
    Memory,
    /// A number for each: less is better.
    Count,
}

/// One that does a race's work.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// What our ratio to this one has to be; `None` where it is only reported.
    pub(crate) bound: Option<Bound>,
    /// Something that a reader of the figures has to know.
    pub(crate) note: Option<&'static str>,
    /// Does the work once.
    pub(crate) work: Work,
}

impl Contestant {
    /// One whose figures are only reported.
    pub(crate) fn new<F>(name: &'static str, run: impl Fn() -> F + 'static) -> Self
    where
        F: Future<Output = Result<Sample, Failure>> + Send + 'static,
    {
        Self {
            name,
            bound: None,
            note: None,
            work: work(run),
        }
    }

    /// What our ratio to it has to be.
    pub(crate) fn bound(mut self, bound: impl Into<Option<Bound>>) -> Self {
        self.bound = bound.into();
        self
    }

    /// What a reader of its figures has to know.
    pub(crate) fn note(mut self, note: impl Into<Option<&'static str>>) -> Self {
        self.note = note.into();
        self
    }
}

/// Does a race's work once, and says how much it was and how long it took.
pub(crate) type Work =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Sample, Failure>> + Send>>>;

/// Boxes what does a race's work.
pub(crate) fn work<F>(work: impl Fn() -> F + 'static) -> Work
where
    F: Future<Output = Result<Sample, Failure>> + Send + 'static,
{
    Box::new(move || Box::pin(work()))
}

/// What one round of one contestant came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Operations, or bytes for [`Measure::Bandwidth`].
    amount: usize,
    /// What all of them took: seconds, bytes or a number, as the race measures.
    taken: f64,
}

impl Sample {
    /// So many operations, or bytes, in that time.
    pub(crate) fn took(amount: usize, elapsed: Duration) -> Self {
        Self {
            amount,
            taken: elapsed.as_secs_f64(),
        }
    }

    /// So many of something, or bytes of memory, for `amount` that share them.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn held(amount: usize, taken: u64) -> Self {
        Self {
            amount,
            taken: taken as f64,
        }
    }
}

/// A figure that ours is held against, in the place of somebody else's work.
pub(crate) fn limit(name: &'static str, sample: Sample) -> Contestant {
    Contestant {
        name,
        bound: Some(Bound::AtMost(1.0)),
        note: None,
        work: work(move || std::future::ready(Ok(sample))),
    }
}

/// What a ratio has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub(crate) fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(bound) => ratio <= bound,
            Self::AtLeast(bound) => ratio >= bound,
        }
    }

    /// Whether a ratio is so far off that no busy machine explains it: worse than twice the bound.
    pub(crate) fn is_grossly_missed(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(bound) => !Self::AtMost(2.0 * bound).is_met(ratio),
            Self::AtLeast(bound) => !Self::AtLeast(bound / 2.0).is_met(ratio),
        }
    }

    /// How many times better than the bound a ratio is: below 1 it is missed.
    pub(crate) fn margin(self, ratio: f64) -> f64 {
        match self {
            Self::AtMost(bound) => bound / ratio,
            Self::AtLeast(bound) => ratio / bound,
        }
    }
}

impl Measure {
    /// The figure that a sample shows.
    #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52")]
    fn figure(self, sample: Sample) -> f64 {
        let amount = sample.amount as f64;
        match self {
            Self::Time | Self::Memory | Self::Count => sample.taken / amount,
            Self::Rate | Self::Bandwidth => amount / sample.taken,
        }
    }

    /// Whether less of it is better.
    pub(crate) fn less_is_better(self) -> bool {
        match self {
            Self::Time | Self::Memory | Self::Count => true,
            Self::Rate | Self::Bandwidth => false,
        }
    }

    /// Whether a ratio of ours to another's is in our favour.
    pub(crate) fn is_ahead(self, ratio: f64) -> bool {
        if self.less_is_better() {
            ratio < 1.0
        } else {
            ratio > 1.0
        }
    }
}

/// Something that a contestant needs is not on this machine, such as an interpreter: its work cannot
/// be done here, which is no failure of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotHere(pub(crate) String);

impl fmt::Display for NotHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotHere {}

/// What a race came to.
pub(crate) struct Outcome {
    pub(crate) race: Race,
    /// One for each contestant, in their order.
    pub(crate) results: Vec<Result<Standing, Failure>>,
    /// Whose bound was missed by more than twice, in every try that there was.
    pub(crate) gross: Vec<bool>,
}

/// What a contestant's rounds came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Seconds, operations a second or bytes a second, as the race measures.
    pub(crate) figure: Summary,
    /// Our figure divided by this one's, round by round.
    pub(crate) ratio: Option<Summary>,
    /// How many rounds it has done.
    pub(crate) rounds: usize,
}

/// Runs all races, one after the other.
pub(crate) fn run(races: Vec<Race>, scale: Scale) -> Vec<Outcome> {
    let mut progress = Progress::new(races.len());
    races
        .into_iter()
        .map(|race| {
            progress.race(&race);
            outcome(race, scale, &mut progress)
        })
        .collect()
}

/// So often is a race run once more in a quick run, where it looks like a gross loss.
const MORE_TRIES: usize = 2;

/// Runs a race; in a quick run again where it looks like a gross loss.
fn outcome(race: Race, scale: Scale, progress: &mut Progress) -> Outcome {
    let rounds = scale.rounds(race.rounds);
    let mut results = run_race(&race, rounds, progress);
    let mut gross = grossly_missed(&race, &results);
    let tries = if scale == Scale::Quick { MORE_TRIES } else { 0 };
    for _ in 0..tries {
        if !gross.contains(&true) {
            break;
        }
        progress.once_more();
        let again = run_race(&race, rounds, progress);
        // What failed once has failed.
        for (result, again) in results.iter_mut().zip(again) {
            if result.is_ok() {
                *result = again;
            }
        }
        let still = grossly_missed(&race, &results);
        for (gross, still) in gross.iter_mut().zip(still) {
            *gross &= still;
        }
    }
    Outcome {
        race,
        results,
        gross,
    }
}

fn grossly_missed(race: &Race, results: &[Result<Standing, Failure>]) -> Vec<bool> {
    let contestants = race.contestants.iter().zip(results);
    contestants
        .map(|(one, result)| {
            let ratio = result.as_ref().ok().and_then(|standing| standing.ratio);
            one.bound
                .zip(ratio)
                .is_some_and(|(bound, ratio)| bound.is_grossly_missed(ratio.median))
        })
        .collect()
}

/// Every contestant once a round, each round beginning with another one.
fn run_race(race: &Race, rounds: usize, progress: &mut Progress) -> Vec<Result<Standing, Failure>> {
    let count = race.contestants.len();
    let mut figures: Vec<Result<Vec<f64>, Failure>> = (0..count).map(|_| Ok(vec![])).collect();
    for round in 0..rounds {
        for turn in 0..count {
            let at = (round + turn) % count;
            // One that has failed once is out: its time limit would be waited for again and again.
            let Ok(so_far) = &mut figures[at] else {
                continue;
            };
            let contestant = &race.contestants[at];
            progress.sample(round + 1, rounds, contestant.name);
            match sample(contestant, race.cores, race.limit) {
                Ok(sample) => so_far.push(race.measure.figure(sample)),
                Err(failure) => figures[at] = Err(failure),
            }
        }
    }
    let ours = figures[0].as_ref().cloned().unwrap_or_default();
    figures
        .into_iter()
        .map(|figures| {
            let figures = figures?;
            let ratios = ours.iter().zip(&figures).map(|(ours, other)| ours / other);
            Ok(Standing {
                rounds: figures.len(),
                ratio: Summary::of(ratios),
                figure: Summary::of(figures).ok_or("no round was run")?,
            })
        })
        .collect()
}

/// One sample, in a thread and a runtime of its own.
///
/// The runtime is the default one, as `#[tokio::main]` would build it, made after the cores are
/// set: on one core it has one worker. The work runs on a worker, as tasks of a program do.
fn sample(contestant: &Contestant, cores: Cores, limit: Duration) -> Result<Sample, Failure> {
    let at_first = machine::allowed()?;
    machine::use_cores(cores, &at_first)?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = (contestant.work)();
    thread::spawn(move || {
        let _ = sender.send(in_runtime(work, limit));
    });
    let result = receiver.recv_timeout(limit + 2 * SHUTDOWN_LIMIT);
    machine::use_cores(Cores::All, &at_first)?;
    result.unwrap_or_else(|_| Err("blocked its thread beyond the time limit".into()))
}

fn in_runtime(
    work: impl Future<Output = Result<Sample, Failure>> + Send + 'static,
    limit: Duration,
) -> Result<Sample, Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(async { tokio::spawn(tokio::time::timeout(limit, work)).await });
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    result?.unwrap_or_else(|_| Err(format!("took longer than {limit:?}").into()))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn a_gross_miss_is_worse_than_twice_the_bound() {
        let (most, least) = (Bound::AtMost(1.2), Bound::AtLeast(0.9));
        assert!(!most.is_grossly_missed(2.4) && most.is_grossly_missed(2.41));
        assert!(!least.is_grossly_missed(0.45) && least.is_grossly_missed(0.44));
        assert!(most.is_grossly_missed(f64::NAN), "no figure is no success");
    }

    #[test]
    fn a_margin_says_how_far_on_the_right_side_a_ratio_is() {
        assert!((Bound::AtMost(1.0).margin(0.5) - 2.0).abs() < 1e-9);
        assert!((Bound::AtLeast(2.0).margin(1.0) - 0.5).abs() < 1e-9);
    }

    /// A race against somebody who takes a second, in which our samples take so many each in turn.
    fn race(ours: &'static [u64]) -> Race {
        let turn = Arc::new(AtomicUsize::new(0));
        let sample = work(move || {
            let at = turn.fetch_add(1, Ordering::Relaxed).min(ours.len() - 1);
            std::future::ready(Ok(Sample::held(1, ours[at])))
        });
        let mut other = limit("one", Sample::held(1, 1));
        other.note = Some("always one");
        let own = Contestant {
            name: "procession",
            bound: None,
            note: None,
            work: sample,
        };
        Race {
            part: "test",
            rounds: 1,
            limit: LIMIT,
            setting: "made up",
            measure: Measure::Count,
            cores: Cores::All,
            contestants: vec![own, other],
        }
    }

    fn gross_in(ours: &'static [u64], scale: Scale) -> (Vec<bool>, f64) {
        let outcome = outcome(race(ours), scale, &mut Progress::new(1));
        let figure = outcome.results[0].as_ref().unwrap().figure.median;
        (outcome.gross, figure)
    }

    #[test]
    fn a_quick_run_believes_a_gross_miss_when_it_comes_each_time() {
        assert_eq!(gross_in(&[3, 1], Scale::Quick), (vec![false, false], 1.0));
        assert_eq!(gross_in(&[3, 4, 1], Scale::Quick).0, [false, false]);
        assert_eq!(gross_in(&[3, 4], Scale::Quick), (vec![false, true], 4.0));
        assert_eq!(gross_in(&[2, 9], Scale::Quick), (vec![false, false], 2.0));
        assert_eq!(gross_in(&[3, 1], Scale::Full), (vec![false, true], 3.0));
    }

    #[test]
    fn what_is_not_here_is_known_after_its_way_through_the_runner() {
        let mut race = race(&[1]);
        race.contestants[1].work =
            work(|| async { Err(NotHere("node is not here".to_owned()).into()) });
        let outcome = outcome(race, Scale::Full, &mut Progress::new(1));
        let failure = outcome.results[1].as_ref().unwrap_err();
        let missing = failure.downcast_ref::<NotHere>();
        assert_eq!(missing, Some(&NotHere("node is not here".to_owned())));
        assert_eq!(failure.to_string(), "node is not here");
    }
}
