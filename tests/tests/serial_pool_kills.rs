//! A pool of which a worker is killed every tenth of a second: every request ends once, in the reply that belongs to
//! it, or, where it may not be tried again, in an error that names the exit.
//!
//! Serial: it is to be busy.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::Duration;

use futures::{StreamExt as _, stream};
use procession_manager::{
    Messaging, PoolRequestError, PoolRequestOptions, ProcessManagerHandle, ProcessPool,
    RequestError, Signal, UnorderedPoolMap, WorkerState,
};
use procession_tests::payload::Random;
use procession_tests::workers::Worker;
use procession_tests::{Within as _, alone, checked_for, fixture, say};

/// Of each of two sorts.
const REQUESTS: u64 = 50_000;
const PAUSE: Duration = Duration::from_millis(100);
const TIME: Duration = Duration::from_mins(3);

/// How many were answered, and how many were lost with their worker.
async fn count<S>(mut results: UnorderedPoolMap<S>) -> (u64, u64)
where
    S: stream::Stream<Item = String>,
{
    let count = usize::try_from(REQUESTS).unwrap();
    let mut seen = vec![false; count];
    let (mut answered, mut lost) = (0, 0);
    while let Some((number, result)) = results.next().within("a result").await {
        let seen = &mut seen[usize::try_from(number).unwrap()];
        assert!(!std::mem::replace(seen, true), "{number} has ended twice");
        match result {
            Ok(reply) => {
                assert_eq!(reply, number.to_string().as_str(), "another's reply");
                answered += 1;
            }
            Err(PoolRequestError::WorkerEnded { error, .. }) => {
                match *error {
                    RequestError::ProcessExited { report, .. } => {
                        assert_eq!(report.signal(), Some(9));
                    }
                    error => panic!("{error}"),
                }
                lost += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(seen.iter().all(|seen| *seen), "one has no end");
    (answered, lost)
}

/// Kills a worker that is ready every now and then, for ever; counts how many.
async fn kill(pool: &ProcessPool, manager: &ProcessManagerHandle, killed: &mut u64) {
    let mut random = Random::new(0x5EED);
    // Not to wait for anything: this is how often one is killed.
    let mut pauses = tokio::time::interval(PAUSE);
    loop {
        pauses.tick().await;
        let workers = pool.workers().into_iter();
        let ready: Vec<_> = workers
            .filter(|it| it.state == WorkerState::Ready)
            .collect();
        if ready.is_empty() {
            continue;
        }
        let victim = ready[random.below(ready.len())].process.unwrap();
        // It may have ended and been removed meanwhile.
        *killed += u64::from(manager.signal(victim, Signal::KILL).await.is_ok());
    }
}

#[test]
fn a_hundred_thousand_requests_outlive_the_workers() {
    let _alone = alone();
    let worker = Worker::compiled("Rust", fixture!("worker"));
    checked_for(TIME, async |test| {
        let pool = ProcessPool::builder(worker.cmd(Messaging::named_pipes()))
            .size(4..=4)
            .in_flight(8)
            .poison_after(50)
            .backoff(Duration::from_millis(10), Duration::from_millis(100))
            .start(test.manager())
            .unwrap();
        pool.ready().within("four workers").await.unwrap();
        let inputs = || stream::iter(0..REQUESTS).map(|n| format!("echo {n}"));
        let idempotent = PoolRequestOptions::new().tries(50);
        let many = count(pool.map_unordered(inputs()).options(idempotent));
        let once = count(pool.map_unordered(inputs()));
        let mut killed = 0;
        let (many, once) = tokio::select! {
            both = async { futures::join!(many, once) } => both,
            () = kill(&pool, test.manager(), &mut killed) => unreachable!("it kills for ever"),
        };
        let stats = pool.stats();
        say(&format!(
            "{killed} killed; {} lost of those with one try; {stats:?}",
            once.1
        ));
        assert_eq!(many, (REQUESTS, 0), "all of them are answered");
        assert_eq!(once.0 + once.1, REQUESTS);
        // How many that is depends on how fast this machine is.
        assert!(killed > 0, "it was over before the first kill");
        assert!(stats.retried + once.1 > 0, "a kill costs something");
        pool.ready().within("four workers").await.unwrap();
        pool.drain().within("the end of the pool").await.unwrap();
    });
}
