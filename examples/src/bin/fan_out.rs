//! Work fanned out to 100 children and collected: `cargo run --bin fan_out`.
//!
//! The primes below a million are counted in 1,000 slices. Each child gets its next slice when it
//! has answered the last, so a quick one does more than a slow one and no queue builds up.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::{
    env,
    error::Error,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use futures::TryStreamExt;
use procession_manager::{
    Cmd, Framing, Message, MessageFormat::Json, Messaging, ProcessHandle, ProcessManager,
};
use tokio::task::JoinSet;

const CHILDREN: u32 = 100;
const SLICES: u32 = 1_000;
const NUMBERS: u32 = 1_000_000;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    match env::args().nth(1).as_deref() {
        Some("worker") => worker(),
        _ => parent(),
    }
}

/// The child: a slice in, the number of primes in it out.
fn worker() -> Result<(), Box<dyn Error + Send + Sync>> {
    let parent = procession_child::connect()?;
    while let Some(mut slice) = parent.receive_as::<Range<u32>>(&Json)? {
        let is_prime = |n: &u32| *n > 1 && (2..=n.isqrt()).all(|d| !n.is_multiple_of(d));
        parent.send_as(&slice.by_ref().filter(is_prime).count(), &Json)?;
    }
    Ok(())
}

#[tokio::main]
async fn parent() -> Result<(), Box<dyn Error + Send + Sync>> {
    let started = Instant::now();
    let manager = ProcessManager::in_temp()?;
    let exe = env::current_exe()?;
    let mut children = Vec::new();
    for _ in 0..CHILDREN {
        let worker = Cmd::new(&exe)
            .arg("worker")
            .messaging(Messaging::standard_io().framing(Framing::Frames));
        children.push(manager.spawn_with_handle(worker).await?);
    }
    println!("{CHILDREN} children started in {:.1?}", started.elapsed());

    let started = Instant::now();
    let next = Arc::new(AtomicU32::new(0));
    let mut conversations = JoinSet::new();
    for child in children {
        conversations.spawn(converse(child, Arc::clone(&next)));
    }
    let mut primes = 0;
    let mut shares = Vec::new();
    while let Some(done) = conversations.join_next().await {
        let (found, slices) = done??;
        primes += found;
        shares.push(slices);
    }
    shares.sort_unstable();
    println!("{SLICES} slices done in {:.1?}", started.elapsed());
    println!(
        "a child did {} to {} of them",
        shares[0],
        shares[shares.len() - 1]
    );
    println!("there are {primes} primes below {NUMBERS}");
    manager.shutdown().await?;
    Ok(())
}

/// Gives one child slices until none is left, then ends it. Returns what it found in how many.
async fn converse(
    child: ProcessHandle,
    next: Arc<AtomicU32>,
) -> Result<(usize, u32), Box<dyn Error + Send + Sync>> {
    let mut answers = child.subscribe_message_stream().await?;
    let (mut primes, mut slices) = (0, 0);
    loop {
        let first = next.fetch_add(1, Relaxed) * (NUMBERS / SLICES);
        if first >= NUMBERS {
            break;
        }
        let slice = first..first + NUMBERS / SLICES;
        child
            .send_message(Message::from_serializable(&slice, &Json)?)
            .await?;
        let answer = answers.try_next().await?.ok_or("a child ended early")?;
        primes += answer.deserialize::<usize>(&Json)?;
        slices += 1;
    }
    child.close_input().await?;
    let report = child.wait().await?;
    if !report.success() {
        return Err(format!("a child {report}").into());
    }
    Ok((primes, slices))
}
