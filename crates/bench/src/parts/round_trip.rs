//! Round trip: a message of 64 bytes to the child and back, one at a time.

use std::time::Instant;

use bytes::Bytes;

use crate::{
    Failure,
    args::Scale,
    child::Job,
    machine::Cores,
    parts::check_cores,
    peers::{Heim, Ours, Peer, Raw, Setup, Transport},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample, work},
};

const SIZE: usize = 64;
const ROUND_TRIPS: usize = 4_000;
/// The differences are of a few percent: many short rounds tell them better than few long ones.
const MORE_ROUNDS: usize = 3 * ROUNDS;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let settings = [
        ("named pipes, one core", Transport::NamedPipes, Cores::One),
        ("standard I/O, one core", Transport::StandardIo, Cores::One),
        ("named pipes, any core", Transport::NamedPipes, Cores::All),
        ("standard I/O, any core", Transport::StandardIo, Cores::All),
    ];
    let count = scale.work(ROUND_TRIPS);
    settings
        .into_iter()
        .map(|(setting, transport, cores)| {
            // Across cores the time to wake the other one is most of it, and comes and goes.
            let to_raw = (cores == Cores::One).then_some(Bound::AtMost(1.3));
            Race {
                part: "round trip",
                rounds: MORE_ROUNDS,
                limit: LIMIT,
                setting,
                measure: Measure::Time,
                cores,
                contestants: vec![
                    contestant::<Ours>(count, transport, cores, None),
                    contestant::<Raw>(count, transport, cores, to_raw),
                    contestant::<Heim>(count, transport, cores, Some(Bound::AtMost(1.0))),
                ],
            }
        })
        .collect()
}

fn contestant<P: Peer>(
    count: usize,
    transport: Transport,
    cores: Cores,
    bound: Option<Bound>,
) -> Contestant {
    Contestant {
        name: P::NAME,
        bound,
        note: None,
        work: work(move || round_trips::<P>(count, transport, cores)),
    }
}

async fn round_trips<P: Peer>(
    count: usize,
    transport: Transport,
    cores: Cores,
) -> Result<Sample, Failure> {
    let setup = Setup {
        job: Job::Echo,
        transport,
        backlog: 16,
    };
    let mut peer = P::start(setup).await?;
    check_cores(&mut peer, cores).await?;
    let message = Bytes::from(vec![b'x'; SIZE]);
    exchange(&mut peer, &message, count / 10).await?;
    let started = Instant::now();
    exchange(&mut peer, &message, count).await?;
    let elapsed = started.elapsed();
    peer.end().await?;
    Ok(Sample::took(count, elapsed))
}

async fn exchange(peer: &mut impl Peer, message: &Bytes, count: usize) -> Result<(), Failure> {
    for _ in 0..count {
        peer.send(message).await?;
        let length = peer.receive().await?;
        if length != message.len() {
            return Err(format!("an echo has {length} bytes").into());
        }
    }
    Ok(())
}
