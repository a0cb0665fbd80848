//! Flood out: messages of 64 bytes to the child, until it has confirmed that it has them all.

use std::time::Instant;

use bytes::Bytes;

use crate::{
    Failure,
    args::Scale,
    child::{Job, Order},
    machine::Cores,
    peers::{Heim, Ours, Peer, Raw, Setup, Transport},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample, work},
};

const SIZE: usize = 64;
/// How many, for each style: a round is to take about a quarter of a second, or less.
const FED: usize = 500_000;
const ONE_BY_ONE: usize = 100_000;
/// For proc-heim, which takes longer than that for each.
const HEIM: usize = 25_000;

/// How the messages are handed over.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// All of them, then a flush.
    Fed,
    /// Each one awaited before the next.
    OneByOne,
}

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let no_sink = Some("has no sink: one by one here too");
    let race = |setting, style, count, note| {
        let (count, heim) = (scale.work(count), scale.work(HEIM));
        Race {
            part: "flood out",
            rounds: ROUNDS,
            limit: LIMIT,
            setting,
            measure: Measure::Rate,
            cores: Cores::All,
            contestants: vec![
                contestant::<Ours>(count, style, None, None),
                contestant::<Raw>(count, style, None, None),
                contestant::<Heim>(heim, style, Some(Bound::AtLeast(1.0)), note),
            ],
        }
    };
    vec![
        race("named pipes, sink", Style::Fed, FED, no_sink),
        race("named pipes, one by one", Style::OneByOne, ONE_BY_ONE, None),
    ]
}

fn contestant<P: Peer>(
    count: usize,
    style: Style,
    bound: Option<Bound>,
    note: Option<&'static str>,
) -> Contestant {
    Contestant {
        name: P::NAME,
        bound,
        note,
        work: work(move || flood::<P>(count, style)),
    }
}

async fn flood<P: Peer>(count: usize, style: Style) -> Result<Sample, Failure> {
    let setup = Setup {
        job: Job::Drain,
        transport: Transport::NamedPipes,
        backlog: 16,
    };
    let mut peer = P::start(setup).await?;
    let message = Bytes::from(vec![b'x'; SIZE]);
    send(&mut peer, &message, count / 10, style).await?;
    let started = Instant::now();
    send(&mut peer, &message, count, style).await?;
    let elapsed = started.elapsed();
    peer.end().await?;
    Ok(Sample::took(count, elapsed))
}

/// Sends so many messages and waits until the child has them all.
async fn send(
    peer: &mut impl Peer,
    message: &Bytes,
    count: usize,
    style: Style,
) -> Result<(), Failure> {
    let size = message.len();
    peer.send(&Bytes::from(Order { count, size }.to_message()))
        .await?;
    for _ in 0..count {
        match style {
            Style::Fed => peer.feed(message).await?,
            Style::OneByOne => peer.send(message).await?,
        }
    }
    peer.flush().await?;
    peer.receive().await?;
    if peer.message() != (count * size).to_string().as_bytes() {
        return Err("the child did not receive what was sent".into());
    }
    Ok(())
}
