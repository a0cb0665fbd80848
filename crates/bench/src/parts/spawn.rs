//! Spawn: start, run and reap `/bin/true`, with messaging and logging on.
//!
//! The time runs from asking for the first process to knowing that the last one has ended. One
//! process more is run before it, so that what is made once for all of them is there. What they leave
//! behind is taken away after it.

mod runs;

use std::hint::black_box;

use crate::{
    Failure,
    args::Scale,
    machine::{self, Cores},
    peers::{Heim, Ours, Peer},
    places::Place,
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample, Work, work},
};

const PROCESSES: usize = 100;
const AT_ONCE: usize = 16;
const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// How many processes, how many of them at a time, and where their files are.
#[derive(Debug, Clone, Copy)]
struct Job {
    count: usize,
    at_once: usize,
    place: Place,
}

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let alone = |place| Job {
        count: scale.work(PROCESSES),
        at_once: 1,
        place,
    };
    let together = |place| Job {
        count: scale.work(4 * PROCESSES),
        at_once: AT_ONCE,
        place,
    };
    vec![
        race("one at a time, on disk", alone(Place::Disk)),
        race("one at a time, on tmpfs", alone(Place::Tmpfs)),
        race("16 at once, on disk", together(Place::Disk)),
        race("16 at once, on tmpfs", together(Place::Tmpfs)),
        big_parent(scale, alone(Place::Disk)),
    ]
}

fn of_spawn(setting: &'static str, rounds: usize, contestants: Vec<Contestant>) -> Race {
    Race {
        part: "spawn",
        rounds,
        limit: LIMIT,
        setting,
        measure: Measure::Rate,
        cores: Cores::All,
        contestants,
    }
}

fn race(setting: &'static str, job: Job) -> Race {
    let contestant = |name, bound, note: Option<String>, work: Work| Contestant {
        name,
        bound,
        // Made once for a run of the benchmark, and needed until its end.
        note: note.map(|note| &*note.leak()),
        work,
    };
    let with_files = "tokio::process with a run directory, two named pipes that are open, two \
                      pipes, and log files that are made when there is something to log";
    let contestants = vec![
        contestant(
            Ours::NAME,
            None,
            Some(job.place.describe()),
            work(move || runs::ours(job)),
        ),
        contestant(
            "tokio with files",
            Some(Bound::AtLeast(0.9)),
            Some(with_files.to_owned()),
            work(move || runs::tokio_with_files(job)),
        ),
        contestant(
            Heim::NAME,
            Some(Bound::AtLeast(1.3)),
            Some("its wait looks every millisecond".to_owned()),
            work(move || runs::heim(job)),
        ),
        contestant(
            "bare tokio",
            None,
            Some("tokio::process with nothing around it".to_owned()),
            work(move || runs::tokio_bare(job)),
        ),
    ];
    of_spawn(setting, ROUNDS, contestants)
}

/// We in a parent that holds much memory, and in one that does not.
fn big_parent(scale: Scale, job: Job) -> Race {
    let wanted = match scale {
        Scale::Full => 4 * GIB,
        Scale::Quick => GIB / 2,
    };
    let available = machine::available_memory().unwrap_or(0);
    // As much again stays free, so that the machine does not begin to swap.
    let bytes = if available < wanted + wanted / 2 {
        available / 2
    } else {
        wanted
    };
    let note = format!(
        "{} MiB are touched in the parent, of {} MiB that were free",
        bytes / MIB,
        available / MIB,
    );
    let contestants = vec![
        Contestant {
            name: Ours::NAME,
            bound: None,
            note: Some(note.leak()),
            work: work(move || with_memory(bytes, job)),
        },
        Contestant {
            name: "our small parent",
            bound: Some(Bound::AtLeast(0.9)),
            note: None,
            work: work(move || runs::ours(job)),
        },
    ];
    let setting = match scale {
        Scale::Full => "one at a time, 4 GiB in the parent",
        Scale::Quick => "one at a time, 512 MiB in the parent",
    };
    of_spawn(setting, ROUNDS.min(5), contestants)
}

async fn with_memory(bytes: u64, job: Job) -> Result<Sample, Failure> {
    let bytes = usize::try_from(bytes)?;
    let memory = tokio::task::spawn_blocking(move || touched(bytes)).await?;
    let sample = runs::ours(job).await;
    // Until here it was needed, as far as the compiler can know.
    drop(black_box(memory));
    sample
}

/// Memory of which each page is really there.
fn touched(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    for page in memory.chunks_mut(rustix::param::page_size()) {
        page[0] = 1;
    }
    black_box(memory)
}
