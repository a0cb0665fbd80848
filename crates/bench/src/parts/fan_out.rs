//! Fan-out: one child sends messages of 64 bytes, and every one of 8 subscribers gets them all.

use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::task::JoinSet;

use super::{
    tally::{LAST, Tally, receive},
    transfer::{start, tell},
};
use crate::{
    Failure,
    args::Scale,
    child::{Job, Order},
    machine::Cores,
    peers::{Heim, Lengths, Ours, Shared},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample},
};

const SIZE: usize = 64;
const MESSAGES: usize = 150_000;
const SUBSCRIBERS: usize = 8;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let count = scale.work(MESSAGES);
    let heim = "a message of 63 bytes, so that its reads of 4 KiB cut none; \
                a buffer for the whole round, so that nobody loses any";
    vec![Race {
        part: "fan-out",
        rounds: ROUNDS,
        limit: LIMIT,
        setting: "8 subscribers, named pipes",
        measure: Measure::Rate,
        cores: Cores::All,
        contestants: vec![
            contestant::<Ours>(count),
            contestant::<Heim>(count)
                .bound(Bound::AtLeast(4.0))
                .note(heim),
        ],
    }]
}

fn contestant<P: Shared>(count: usize) -> Contestant {
    let size = SIZE - P::DELIMITER;
    Contestant::new(P::NAME, move || fan_out::<P>(Order { count, size }))
}

async fn fan_out<P: Shared>(order: Order) -> Result<Sample, Failure> {
    let mut peer: P = start(Job::Flood, order.count).await?;
    // A peer has subscribed once by itself, and this task drains that as the others drain theirs.
    let mut others = Vec::new();
    for _ in 1..SUBSCRIBERS {
        others.push(peer.subscribe().await?);
    }
    take(&mut peer, &mut others, order.tenth()).await?;
    let elapsed = take(&mut peer, &mut others, order).await?;
    peer.end().await?;
    Ok(Sample::took(order.count * SUBSCRIBERS, elapsed))
}

/// Orders messages that every subscriber takes; says how long that took.
async fn take<P: Shared>(
    peer: &mut P,
    others: &mut Vec<Lengths>,
    order: Order,
) -> Result<Duration, Failure> {
    let started = Instant::now();
    deliver(peer, others, order).await?;
    let elapsed = started.elapsed();
    deliver(peer, others, LAST).await?;
    Ok(elapsed)
}

async fn deliver<P: Shared>(
    peer: &mut P,
    others: &mut Vec<Lengths>,
    order: Order,
) -> Result<(), Failure> {
    tell(peer, order).await?;
    let mut tasks = JoinSet::new();
    for stream in others.drain(..) {
        tasks.spawn(drain(stream, Tally::new::<P>(order)));
    }
    receive(peer, order).await?;
    while let Some(stream) = tasks.join_next().await {
        others.push(stream??);
    }
    Ok(())
}

/// Takes an order from a subscription, and gives the subscription back.
async fn drain(mut stream: Lengths, mut tally: Tally) -> Result<Lengths, Failure> {
    while !tally.is_done() {
        let length = stream.next().await.ok_or("a stream ended early")?;
        tally.count(length?)?;
    }
    Ok(stream)
}
