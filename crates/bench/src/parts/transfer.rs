//! Messages of one size in one direction: what the floods and bulk have in common.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::tally::{LAST, receive};
use crate::{
    Failure,
    child::{Job, Order},
    machine::Cores,
    peers::{
        BLOCKING, Blocking, BlockingSetup, Load, Peer, Setup, Shared, Task, Transport, scripts,
    },
    runner::{Contestant, Sample},
};

/// How the messages are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// All of them, then a flush.
    Fed,
    /// Each one awaited before the next.
    OneByOne,
}

/// So many messages of a size, over named pipes, wherever the scheduler puts the two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    pub(super) order: Order,
    /// What a message counts as: one operation, or its bytes.
    pub(super) unit: usize,
}

impl Transfer {
    /// From the child to a peer, of whose messages at most `backlog` may wait.
    pub(super) fn inward<P: Peer>(self, backlog: usize) -> Contestant {
        self.contestant(P::NAME, move || inward::<P>(self.order, backlog))
    }

    /// From a peer to the child.
    pub(super) fn outward<P: Peer>(self, style: Style) -> Contestant {
        self.contestant(P::NAME, move || outward::<P>(self.order, style))
    }

    /// From so many tasks of a peer to one child, each awaiting its own messages.
    pub(super) fn outward_by_tasks<P: Shared>(self, tasks: usize) -> Contestant {
        self.contestant(P::NAME, move || outward_by_tasks::<P>(self.order, tasks))
    }

    /// From the child to a thread with a buffer.
    pub(super) fn inward_blocking(self) -> Contestant {
        self.contestant(BLOCKING, move || {
            Blocking::run(setup(Job::Flood), move |ends| {
                take_blocking(ends, self.order.tenth())?;
                take_blocking(ends, self.order)
            })
        })
    }

    /// From a thread to the child: through a buffer, or with one write a message.
    pub(super) fn outward_blocking(self, style: Style) -> Contestant {
        self.contestant(BLOCKING, move || {
            Blocking::run(setup(Job::Drain), move |ends| {
                give_blocking(ends, self.order.tenth(), style)?;
                give_blocking(ends, self.order, style)
            })
        })
    }

    /// What other languages bring along.
    pub(super) fn scripts(self, task: Task) -> [Contestant; 2] {
        let load = Load {
            task,
            count: self.order.count,
            size: self.order.size,
            cores: Cores::All,
        };
        scripts(load, self.unit)
    }

    fn contestant<F>(
        self,
        name: &'static str,
        run: impl Fn() -> F + Copy + Send + 'static,
    ) -> Contestant
    where
        F: Future<Output = Result<Duration, Failure>> + Send + 'static,
    {
        let amount = self.order.count * self.unit;
        Contestant::new(name, move || async move {
            Ok(Sample::took(amount, run().await?))
        })
    }
}

fn setup(job: Job) -> BlockingSetup {
    BlockingSetup {
        job,
        transport: Transport::NamedPipes,
        cores: Cores::All,
    }
}

async fn inward<P: Peer>(order: Order, backlog: usize) -> Result<Duration, Failure> {
    let mut peer = start::<P>(Job::Flood, backlog).await?;
    take(&mut peer, order.tenth()).await?;
    let elapsed = take(&mut peer, order).await?;
    peer.end().await?;
    Ok(elapsed)
}

async fn outward<P: Peer>(order: Order, style: Style) -> Result<Duration, Failure> {
    let mut peer = start::<P>(Job::Drain, 16).await?;
    give(&mut peer, order.tenth(), style).await?;
    let elapsed = give(&mut peer, order, style).await?;
    peer.end().await?;
    Ok(elapsed)
}

async fn outward_by_tasks<P: Shared>(order: Order, tasks: usize) -> Result<Duration, Failure> {
    let mut peer = start::<P>(Job::Drain, 16).await?;
    give_by_tasks(&mut peer, order.tenth(), tasks).await?;
    let elapsed = give_by_tasks(&mut peer, order, tasks).await?;
    peer.end().await?;
    Ok(elapsed)
}

/// Starts a child of ours for this job, with room for so many messages.
pub(super) async fn start<P: Peer>(job: Job, backlog: usize) -> Result<P, Failure> {
    let setup = Setup {
        job,
        transport: Transport::NamedPipes,
        backlog: backlog.next_power_of_two(),
    };
    P::start(setup).await
}

/// Tells the child what to send, or what will come.
pub(super) async fn tell(peer: &mut impl Peer, order: Order) -> Result<(), Failure> {
    peer.send(&Bytes::from(order.to_message())).await
}

/// Orders messages and takes them; says how long that took.
async fn take<P: Peer>(peer: &mut P, order: Order) -> Result<Duration, Failure> {
    let started = Instant::now();
    tell(peer, order).await?;
    receive(peer, order).await?;
    let elapsed = started.elapsed();
    tell(peer, LAST).await?;
    receive(peer, LAST).await?;
    Ok(elapsed)
}

fn take_blocking(ends: &mut Blocking, order: Order) -> Result<Duration, Failure> {
    let started = Instant::now();
    receive_blocking(ends, order)?;
    let elapsed = started.elapsed();
    receive_blocking(ends, LAST)?;
    Ok(elapsed)
}

fn receive_blocking(ends: &mut Blocking, order: Order) -> Result<(), Failure> {
    ends.send(order.to_message().as_bytes())?;
    for _ in 0..order.count {
        if ends.receive()?.len() != order.size {
            return Err("a message is not as it was ordered".into());
        }
    }
    Ok(())
}

/// Sends messages, and waits until the child has them all; says how long that took.
async fn give(peer: &mut impl Peer, order: Order, style: Style) -> Result<Duration, Failure> {
    let message = Bytes::from(vec![b'x'; order.size]);
    let started = Instant::now();
    tell(peer, order).await?;
    for _ in 0..order.count {
        match style {
            Style::Fed => peer.feed(&message).await?,
            Style::OneByOne => peer.send(&message).await?,
        }
    }
    peer.flush().await?;
    peer.receive().await?;
    confirm(peer.message(), order)?;
    Ok(started.elapsed())
}

async fn give_by_tasks<P: Shared>(
    peer: &mut P,
    order: Order,
    tasks: usize,
) -> Result<Duration, Failure> {
    let message = Bytes::from(vec![b'x'; order.size]);
    let started = Instant::now();
    tell(peer, order).await?;
    let mut sending = JoinSet::new();
    for task in 0..tasks {
        // These shares come to the whole, whatever the remainder is.
        let share = (order.count + task) / tasks;
        sending.spawn(send_share::<P>(peer.sender(), message.clone(), share));
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    peer.receive().await?;
    confirm(peer.message(), order)?;
    Ok(started.elapsed())
}

async fn send_share<P: Shared>(
    sender: P::Sender,
    message: Bytes,
    share: usize,
) -> Result<(), Failure> {
    for _ in 0..share {
        P::send_by(&sender, &message).await?;
    }
    Ok(())
}

fn give_blocking(ends: &mut Blocking, order: Order, style: Style) -> Result<Duration, Failure> {
    let message = vec![b'x'; order.size];
    let started = Instant::now();
    ends.send(order.to_message().as_bytes())?;
    for _ in 0..order.count {
        match style {
            Style::Fed => ends.feed(&message)?,
            Style::OneByOne => ends.send(&message)?,
        }
    }
    ends.flush()?;
    confirm(ends.receive()?, order)?;
    Ok(started.elapsed())
}

/// The child says how many bytes it has received. It reads the next order in any message too many.
fn confirm(answer: &[u8], order: Order) -> Result<(), Failure> {
    if answer != order.bytes().to_string().as_bytes() {
        return Err("the child did not receive what was sent".into());
    }
    Ok(())
}
