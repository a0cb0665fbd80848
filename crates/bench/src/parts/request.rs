//! Request: some numbers to the child as JSON and their sum back, one request at a time.

use std::time::{Duration, Instant};

use super::{check_cores, round_trip::Trips};
use crate::{
    Failure,
    args::Scale,
    child::Job,
    machine::Cores,
    peers::{Load, Ours, Peer, Setup, Task, Transport, scripts},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample},
};

/// With them a request is about as long as the message of a round trip.
const NUMBERS: usize = 16;
const NUMBER: f64 = 1.5;
const REQUESTS: usize = 4_000;
/// For Node and Python, which take longer than that for each.
const SCRIPTED: usize = 500;
const MORE_ROUNDS: usize = 2 * ROUNDS;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let settings = [
        ("JSON, named pipes, one core", Cores::One, MORE_ROUNDS),
        ("JSON, named pipes, any core", Cores::All, ROUNDS),
    ];
    let race = |(setting, cores, rounds)| Race {
        part: "request",
        rounds,
        limit: LIMIT,
        setting,
        measure: Measure::Time,
        cores,
        contestants: contestants(scale, cores),
    };
    let wanted = settings.into_iter().filter(|it| scale.wants(it.1));
    wanted.map(race).collect()
}

fn contestants(scale: Scale, cores: Cores) -> Vec<Contestant> {
    let judged = |bound| (cores == Cores::One).then_some(Bound::AtMost(bound));
    let count = scale.work(REQUESTS);
    let trips = Trips {
        count,
        transport: Transport::NamedPipes,
        cores,
    };
    let load = Load {
        task: Task::Request,
        count: scale.work(SCRIPTED),
        size: NUMBERS,
        cores,
    };
    let mut all = vec![
        Contestant::new(Ours::NAME, move || requests(count, cores)),
        Contestant {
            name: "our own round trip",
            ..trips.contestant::<Ours>().bound(judged(1.4))
        },
    ];
    all.extend(scripts(load, 1).map(|script| script.bound(judged(1.0))));
    all
}

async fn requests(count: usize, cores: Cores) -> Result<Sample, Failure> {
    let setup = Setup {
        job: Job::Serve,
        transport: Transport::NamedPipes,
        backlog: 16,
    };
    let mut peer = Ours::start(setup).await?;
    check_cores(Some(peer.pid().await?), cores)?;
    ask(&mut peer, count.div_ceil(10)).await?;
    let elapsed = ask(&mut peer, count).await?;
    peer.end().await?;
    Ok(Sample::took(count, elapsed))
}

/// Each request has another sum, so that a reply to another one is found out.
async fn ask(peer: &mut Ours, count: usize) -> Result<Duration, Failure> {
    let mut numbers = [NUMBER; NUMBERS];
    let started = Instant::now();
    for _ in 0..count {
        numbers[0] += 1.0;
        let sum = peer.sum(&numbers).await?;
        // Halves are exact, and so are their sums.
        if sum.to_bits() != numbers.iter().sum::<f64>().to_bits() {
            return Err("a sum is wrong".into());
        }
    }
    Ok(started.elapsed())
}
