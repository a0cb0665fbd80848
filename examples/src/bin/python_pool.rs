//! A pool of Python workers with a progress bar: `cargo run --bin python_pool [UP_TO]`.
//!
//! Counts the primes below a number, 20 million unless given, in slices. The pool (`children/primes.py`) has as many
//! workers as there are processors. One of them is killed in the middle of it: its slice is done by another, and the
//! count is right all the same.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::error::Error;

use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use procession_manager::{
    Cmd, Logging, PoolEvent, PoolNotReady, PoolRequestOptions, ProcessManager, ProcessPool, Signal,
};

const WORKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/children/primes.py");
const SLICE: u64 = 50_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let up_to = match std::env::args().nth(1) {
        Some(number) => number.parse()?,
        None => 20_000_000,
    };
    let manager = ProcessManager::in_temp()?;
    let worker = Cmd::new("python3").arg(WORKER).logging(Logging::stderr());
    let processors = std::thread::available_parallelism()?.get();
    let pool = ProcessPool::builder(worker)
        .size(1..=processors.max(2))
        // One at work, and the next beside it, so that no worker waits for us.
        .in_flight(2)
        .start_failures(1)
        .start(&manager)?;
    if let Err(error @ PoolNotReady::NoWorkers { .. }) = pool.ready().await {
        println!("no Python here: {error}");
        pool.drain().await?;
        return Ok(manager.shutdown().await?);
    }

    let slices = stream::iter((0..up_to).step_by(usize::try_from(SLICE)?))
        .map(move |first| format!("{first} {}", up_to.min(first + SLICE)));
    let mut counts = pool
        .map_unordered(slices)
        // To count twice does no harm.
        .options(PoolRequestOptions::new().tries(3));
    let monitor = counts.monitor();
    let mut events = pool.events();

    let bar = ProgressBar::new(up_to.div_ceil(SLICE)).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} slices, {eta} left, {msg}",
    )?);
    let victim = pool.workers()[0].process;
    let mut primes: u64 = 0;
    let mut killed = false;
    loop {
        tokio::select! {
            biased;
            Some(event) = events.next() => {
                if let PoolEvent::WorkerEnded { .. } = &event {
                    bar.suspend(|| println!("{event}"));
                }
            }
            count = counts.next() => {
                let Some((_, count)) = count else {
                    break;
                };
                primes += count?.as_str()?.parse::<u64>()?;
                let progress = monitor.progress();
                bar.set_position(progress.done);
                bar.set_message(format!("{:.0}/s, {} workers", progress.rate(), pool.workers().len()));
                if let Some(victim) = victim.filter(|_| !killed && progress.done >= 10) {
                    killed = true;
                    manager.signal(victim, Signal::KILL).await?;
                }
            }
        }
    }
    bar.finish();
    println!("there are {primes} primes below {up_to}");
    let stats = pool.stats();
    println!(
        "{} slices, {} of them done again",
        stats.served, stats.retried
    );
    pool.drain().await?;
    manager.shutdown().await?;
    Ok(())
}
