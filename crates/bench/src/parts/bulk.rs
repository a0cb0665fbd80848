//! Bulk: messages of 1 MiB, each way.

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

const SIZE: usize = 1024 * 1024;
const MESSAGES: usize = 512;
/// For proc-heim, which keeps a place for each piece of the round.
const HEIM: usize = 64;
/// proc-heim makes a message of what a read brings, and that may be little.
const LEAST_READ: usize = 512;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let (count, heim) = (scale.work(MESSAGES), scale.work(HEIM));
    let bound = Some(Bound::AtLeast(1.0));
    let cut = Some("cuts messages at 4 KiB: bytes are counted, not messages");
    vec![
        Race {
            part: "bulk",
            rounds: ROUNDS,
            limit: LIMIT,
            setting: "1 MiB in, named pipes",
            measure: Measure::Bandwidth,
            cores: Cores::All,
            contestants: vec![
                contestant::<Ours, _>(None, None, move || bulk_in::<Ours>(count)),
                contestant::<Raw, _>(None, None, move || bulk_in::<Raw>(count)),
                contestant::<Heim, _>(bound, cut, move || bulk_in::<Heim>(heim)),
            ],
        },
        Race {
            part: "bulk",
            rounds: ROUNDS,
            limit: LIMIT,
            setting: "1 MiB out, named pipes",
            measure: Measure::Bandwidth,
            cores: Cores::All,
            contestants: vec![
                contestant::<Ours, _>(None, None, move || bulk_out::<Ours>(count)),
                contestant::<Raw, _>(None, None, move || bulk_out::<Raw>(count)),
                contestant::<Heim, _>(bound, None, move || bulk_out::<Heim>(heim)),
            ],
        },
    ]
}

fn contestant<P: Peer, F>(
    bound: Option<Bound>,
    note: Option<&'static str>,
    run: impl Fn() -> F + 'static,
) -> Contestant
where
    F: Future<Output = Result<Sample, Failure>> + Send + 'static,
{
    Contestant {
        name: P::NAME,
        bound,
        note,
        work: work(run),
    }
}

async fn bulk_in<P: Peer>(count: usize) -> Result<Sample, Failure> {
    let mut peer = start::<P>(Job::Flood, count * (SIZE / LEAST_READ)).await?;
    receive(&mut peer, count / 10).await?;
    let started = Instant::now();
    receive(&mut peer, count).await?;
    finish(peer, count, started).await
}

async fn bulk_out<P: Peer>(count: usize) -> Result<Sample, Failure> {
    let mut peer = start::<P>(Job::Drain, 16).await?;
    let message = Bytes::from(vec![b'x'; SIZE]);
    send(&mut peer, &message, count / 10).await?;
    let started = Instant::now();
    send(&mut peer, &message, count).await?;
    finish(peer, count, started).await
}

async fn start<P: Peer>(job: Job, backlog: usize) -> Result<P, Failure> {
    let setup = Setup {
        job,
        transport: Transport::NamedPipes,
        backlog: backlog.next_power_of_two(),
    };
    P::start(setup).await
}

async fn finish(peer: impl Peer, count: usize, started: Instant) -> Result<Sample, Failure> {
    let elapsed = started.elapsed();
    peer.end().await?;
    Ok(Sample::took(count * SIZE, elapsed))
}

/// Orders so many messages and takes them.
async fn receive(peer: &mut impl Peer, count: usize) -> Result<(), Failure> {
    let order = Order { count, size: SIZE };
    peer.send(&Bytes::from(order.to_message())).await?;
    receive_bytes(peer, count * SIZE).await
}

/// Sends so many messages and waits until the child has them all.
async fn send(peer: &mut impl Peer, message: &Bytes, count: usize) -> Result<(), Failure> {
    let order = Order { count, size: SIZE };
    peer.send(&Bytes::from(order.to_message())).await?;
    for _ in 0..count {
        peer.send(message).await?;
    }
    peer.receive().await?;
    if peer.message() != (count * SIZE).to_string().as_bytes() {
        return Err("the child did not receive what was sent".into());
    }
    Ok(())
}
