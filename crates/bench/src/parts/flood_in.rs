//! Flood in: the child sends messages of 64 bytes as fast as it can, in writes of 64 KiB.

use std::time::Instant;

use bytes::Bytes;

use crate::{
    Failure,
    args::Scale,
    child::{Job, Order},
    machine::Cores,
    parts::receive_bytes,
    peers::{Heim, Ours, Peer, Raw, Setup, Transport},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample, work},
};

const SIZE: usize = 64;
const MESSAGES: usize = 1_000_000;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let count = scale.work(MESSAGES);
    vec![Race {
        part: "flood in",
        rounds: ROUNDS,
        limit: LIMIT,
        setting: "named pipes",
        measure: Measure::Rate,
        cores: Cores::All,
        contestants: vec![
            contestant::<Ours>(count, None, None),
            contestant::<Raw>(count, None, None),
            contestant::<Heim>(
                count,
                Some(Bound::AtLeast(1.0)),
                Some(
                    "a message of 63 bytes, so that its reads of 4 KiB cut none; \
                     a buffer for the whole round, so that it loses none",
                ),
            ),
        ],
    }]
}

fn contestant<P: Peer>(
    count: usize,
    bound: Option<Bound>,
    note: Option<&'static str>,
) -> Contestant {
    Contestant {
        name: P::NAME,
        bound,
        note,
        work: work(move || flood::<P>(count)),
    }
}

async fn flood<P: Peer>(count: usize) -> Result<Sample, Failure> {
    let setup = Setup {
        job: Job::Flood,
        transport: Transport::NamedPipes,
        backlog: count.next_power_of_two(),
    };
    let mut peer = P::start(setup).await?;
    let size = SIZE - P::DELIMITER;
    receive(&mut peer, count / 10, size).await?;
    let started = Instant::now();
    receive(&mut peer, count, size).await?;
    let elapsed = started.elapsed();
    peer.end().await?;
    Ok(Sample::took(count, elapsed))
}

/// Orders so many messages and takes them.
async fn receive(peer: &mut impl Peer, count: usize, size: usize) -> Result<(), Failure> {
    let order = Order { count, size }.to_message();
    peer.send(&Bytes::from(order)).await?;
    receive_bytes(peer, count * size).await
}
