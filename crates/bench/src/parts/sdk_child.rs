//! Child: what the child's side costs by itself, in crates, bytes and time to the first frame.
//!
//! The smallest child, which sends each message back, and a program that does nothing are a package of
//! their own (`children/`), which cargo builds here once: with default features, as a release, stripped.

mod built;
mod starts;

use std::{path::Path, sync::Arc, time::Duration};

use built::Built;

use crate::{
    Failure,
    args::Scale,
    machine::Cores,
    peers::{Ours, Peer},
    runner::{Bound, Contestant, Measure, ROUNDS, Race, Sample, limit, work},
};

/// The first sample waits for cargo.
const LIMIT: Duration = Duration::from_mins(3);
const PROCESSES: usize = 200;
const CRATES: u64 = 7;
const SIZE: u64 = 600 * 1024;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let built = Arc::new(Built::default());
    let count = scale.work(PROCESSES);
    let of = |name, bound, sample| contestant(name, bound, &built, count, sample);
    let crates = |built: &Built, _| Ok(Sample::held(1, built.foreign_crates()?));
    let echo_size = |built: &Built, _| size(&built.programs()?.echo);
    let empty_size = |built: &Built, _| size(&built.programs()?.empty);
    vec![
        race(
            "foreign crates of an echo",
            1,
            Measure::Count,
            vec![
                of(Ours::NAME, None, crates),
                limit("limit of 7", Sample::held(1, CRATES)),
            ],
        ),
        race(
            "stripped release of an echo",
            1,
            Measure::Memory,
            vec![
                of(Ours::NAME, None, echo_size),
                limit("limit of 600 KiB", Sample::held(1, SIZE)),
                of("empty program", None, empty_size),
            ],
        ),
        race(
            "start to hello of an echo",
            ROUNDS,
            Measure::Time,
            vec![
                of(Ours::NAME, None, |built, count| {
                    starts::hello(&built.programs()?.echo, count)
                }),
                of(
                    "1.2 x empty + 0.5 ms",
                    Some(Bound::AtMost(1.0)),
                    |built, count| starts::allowance(&built.programs()?.empty, count),
                ),
                of("empty program", None, |built, count| {
                    starts::empty(&built.programs()?.empty, count)
                }),
            ],
        ),
    ]
}

fn race(
    setting: &'static str,
    rounds: usize,
    measure: Measure,
    contestants: Vec<Contestant>,
) -> Race {
    Race {
        part: "child",
        rounds,
        limit: LIMIT,
        setting,
        measure,
        cores: Cores::All,
        contestants,
    }
}

/// Nothing here is asynchronous: programs are started and read by blocking calls.
fn contestant(
    name: &'static str,
    bound: Option<Bound>,
    built: &Arc<Built>,
    count: usize,
    sample: fn(&Built, usize) -> Result<Sample, Failure>,
) -> Contestant {
    let built = Arc::clone(built);
    Contestant {
        name,
        bound,
        note: None,
        work: work(move || {
            let built = Arc::clone(&built);
            async move { tokio::task::spawn_blocking(move || sample(&built, count)).await? }
        }),
    }
}

fn size(program: &Path) -> Result<Sample, Failure> {
    Ok(Sample::held(1, std::fs::metadata(program)?.len()))
}
