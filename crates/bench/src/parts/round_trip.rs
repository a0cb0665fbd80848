//! Round trip: a message of 64 bytes to the child and back, one at a time.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::check_cores;
use crate::{
    Failure,
    args::Scale,
    child::Job,
    machine::Cores,
    peers::{
        BLOCKING, Blocking, BlockingSetup, Heim, Load, Ours, Peer, Raw, Setup, Task, Transport,
        scripts,
    },
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample},
};

const SIZE: usize = 64;
const ROUND_TRIPS: usize = 4_000;
/// For Node and Python, which take longer than that for each.
const SCRIPTED: usize = 500;
/// The differences are of a few percent: many short rounds tell them better than few long ones.
const MORE_ROUNDS: usize = 3 * ROUNDS;

/// The messages differ, so that an echo that comes twice or too late is no echo of the next one.
const DIFFERENT: usize = 16;

/// How often, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trips {
    pub(super) count: usize,
    pub(super) transport: Transport,
    pub(super) cores: Cores,
}

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let settings = [
        ("named pipes, one core", Transport::NamedPipes, Cores::One),
        ("standard I/O, one core", Transport::StandardIo, Cores::One),
        ("named pipes, any core", Transport::NamedPipes, Cores::All),
        ("standard I/O, any core", Transport::StandardIo, Cores::All),
    ];
    let race = |(setting, transport, cores)| {
        // Across cores the time to wake the other one is most of it, and comes and goes.
        let is_judged = cores == Cores::One;
        let rounds = if is_judged { MORE_ROUNDS } else { ROUNDS };
        let count = scale.work(ROUND_TRIPS);
        let trips = Trips {
            count,
            transport,
            cores,
        };
        Race {
            part: "round trip",
            rounds,
            limit: LIMIT,
            setting,
            measure: Measure::Time,
            cores,
            contestants: contestants(trips, scale.work(SCRIPTED), is_judged),
        }
    };
    let wanted = settings.into_iter().filter(|it| scale.wants(it.2));
    wanted.map(race).collect()
}

fn contestants(trips: Trips, scripted: usize, is_judged: bool) -> Vec<Contestant> {
    let judged = |bound| is_judged.then_some(Bound::AtMost(bound));
    let load = Load {
        task: Task::RoundTrip,
        count: scripted,
        size: SIZE,
        cores: trips.cores,
    };
    let mut all = vec![
        trips.contestant::<Ours>(),
        trips.contestant::<Raw>().bound(judged(1.15)),
        trips.contestant::<Heim>().bound(judged(0.8)),
        trips.blocking(),
    ];
    all.extend(scripts(load, 1));
    all
}

impl Trips {
    pub(super) fn contestant<P: Peer>(self) -> Contestant {
        Contestant::new(P::NAME, move || round_trips::<P>(self))
    }

    fn blocking(self) -> Contestant {
        Contestant::new(BLOCKING, move || async move {
            let setup = BlockingSetup {
                job: Job::Echo,
                transport: self.transport,
                cores: self.cores,
            };
            let elapsed = Blocking::run(setup, move |ends| {
                exchange_blocking(ends, self.count.div_ceil(10))?;
                exchange_blocking(ends, self.count)
            });
            Ok(Sample::took(self.count, elapsed.await?))
        })
        .note("one write and one read a message, in a thread")
    }
}

async fn round_trips<P: Peer>(trips: Trips) -> Result<Sample, Failure> {
    let setup = Setup {
        job: Job::Echo,
        transport: trips.transport,
        backlog: 16,
    };
    let mut peer = P::start(setup).await?;
    check_cores(Some(peer.pid().await?), trips.cores)?;
    exchange(&mut peer, trips.count.div_ceil(10)).await?;
    let elapsed = exchange(&mut peer, trips.count).await?;
    peer.end().await?;
    Ok(Sample::took(trips.count, elapsed))
}

fn messages() -> [Bytes; DIFFERENT] {
    std::array::from_fn(|at| Bytes::from(vec![b"0123456789abcdef"[at]; SIZE]))
}

async fn exchange(peer: &mut impl Peer, count: usize) -> Result<Duration, Failure> {
    let messages = messages();
    let started = Instant::now();
    for message in messages.iter().cycle().take(count) {
        peer.send(message).await?;
        peer.receive().await?;
        check_echo(peer.message(), message)?;
    }
    Ok(started.elapsed())
}

fn exchange_blocking(ends: &mut Blocking, count: usize) -> Result<Duration, Failure> {
    let messages = messages();
    let started = Instant::now();
    for message in messages.iter().cycle().take(count) {
        ends.send(message)?;
        check_echo(ends.receive()?, message)?;
    }
    Ok(started.elapsed())
}

fn check_echo(echo: &[u8], message: &Bytes) -> Result<(), Failure> {
    if echo != message {
        return Err("an echo is not what was sent".into());
    }
    Ok(())
}
