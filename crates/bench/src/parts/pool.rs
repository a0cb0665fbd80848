//! Pool: requests to two workers, of a millisecond of work each and of none.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use procession_manager::{Cmd, Framing, Messaging, ProcessHandle, ProcessManager, ProcessPool};

use crate::{
    Failure,
    args::Scale,
    child::{Job, Kind, arguments, use_processor},
    machine::Cores,
    peers::{Load, Ours, Peer, Task, executors},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample},
};

const WORKERS: usize = 2;
/// Of each request that works.
const WORK: Duration = Duration::from_millis(1);
const REQUESTS: usize = 2_000;
/// One is at work and one waits beside it, as the executors of Python do it.
const AT_WORK: usize = 2;
const EMPTY: usize = 60_000;
/// For Python, which takes longer than that for each.
const EMPTY_SCRIPTED: usize = 6_000;
/// Requests under way at once to one worker.
const PIPELINED: usize = 64;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let race = |setting, contestants| Race {
        part: "pool",
        rounds: ROUNDS,
        limit: LIMIT,
        setting,
        measure: Measure::Rate,
        cores: Cores::All,
        contestants,
    };
    vec![
        race("1 ms of work each, two workers", working(scale)),
        race("empty requests, two workers", empty(scale)),
    ]
}

fn working(scale: Scale) -> Vec<Contestant> {
    let count = scale.work(REQUESTS);
    let mut all = vec![
        Contestant::new(Ours::NAME, move || pool(count, WORK, AT_WORK)),
        Contestant::new("the work alone, in two threads", move || alone(count))
            .bound(Bound::AtLeast(0.9)),
    ];
    all.extend(executors(load(count, WORK)));
    all
}

fn empty(scale: Scale) -> Vec<Contestant> {
    let count = scale.work(EMPTY);
    let scripted = scale.work(EMPTY_SCRIPTED);
    let mut all = vec![
        Contestant::new(Ours::NAME, move || pool(count, Duration::ZERO, PIPELINED)),
        Contestant::new("one worker, asked without a pool", move || one(count))
            .bound(Bound::AtLeast(0.7)),
    ];
    all.extend(executors(load(scripted, Duration::ZERO)));
    all
}

fn load(count: usize, work: Duration) -> Load {
    Load {
        task: Task::Work,
        count,
        size: usize::try_from(work.as_micros()).unwrap_or_default(),
        cores: Cores::All,
    }
}

fn worker() -> std::io::Result<Cmd> {
    Ok(Cmd::new(std::env::current_exe()?)
        .args(arguments(Kind::Sdk, Job::Work))
        .messaging(Messaging::named_pipes().framing(Framing::Frames)))
}

fn request(work: Duration) -> String {
    match work.as_micros() {
        0 => String::new(),
        micros => micros.to_string(),
    }
}

async fn pool(count: usize, work: Duration, in_flight: usize) -> Result<Sample, Failure> {
    let manager = ProcessManager::in_temp()?;
    let pool = ProcessPool::builder(worker()?)
        .size(WORKERS..=WORKERS)
        .in_flight(in_flight)
        .start(&manager)?;
    pool.ready().await?;
    map(&pool, count.div_ceil(10), work).await?;
    let started = Instant::now();
    map(&pool, count, work).await?;
    let elapsed = started.elapsed();
    pool.drain().await?;
    manager.shutdown().await?;
    Ok(Sample::took(count, elapsed))
}

async fn map(pool: &ProcessPool, count: usize, work: Duration) -> Result<(), Failure> {
    let request = request(work);
    let mut replies = pool.map_unordered(stream::repeat(request).take(count));
    let mut done = 0;
    while let Some((_, reply)) = replies.next().await {
        done += usize::from(reply?.is_empty());
    }
    all_done(done, count)
}

fn all_done(done: usize, count: usize) -> Result<(), Failure> {
    if done == count {
        return Ok(());
    }
    Err(format!("{done} were done and {count} were asked for").into())
}

/// Each thread does its half, and nothing else.
async fn alone(count: usize) -> Result<Sample, Failure> {
    let started = Instant::now();
    let half = count / WORKERS;
    let work = move || (0..half).for_each(|_| use_processor(WORK));
    let halves = (0..WORKERS).map(|_| tokio::task::spawn_blocking(work));
    for half in futures::future::join_all(halves).await {
        half?;
    }
    Ok(Sample::took(half * WORKERS, started.elapsed()))
}

/// The same requests to one worker, as many at once as to a worker of the pool.
async fn one(count: usize) -> Result<Sample, Failure> {
    let manager = ProcessManager::in_temp()?;
    let process = manager.spawn_with_handle(worker()?).await?;
    ask(&process, count.div_ceil(10)).await?;
    let started = Instant::now();
    ask(&process, count).await?;
    let elapsed = started.elapsed();
    manager.shutdown().await?;
    Ok(Sample::took(count, elapsed))
}

async fn ask(process: &ProcessHandle, count: usize) -> Result<(), Failure> {
    let requests = stream::repeat(process.clone()).take(count);
    let mut replies = requests
        .map(|process| async move { process.request("").await })
        .buffer_unordered(PIPELINED);
    let mut done = 0;
    while let Some(reply) = replies.next().await {
        done += usize::from(reply?.is_empty());
    }
    all_done(done, count)
}
