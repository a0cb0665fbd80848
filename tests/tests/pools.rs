//! Pools of real workers, in several languages.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::Duration;

use futures::{StreamExt as _, stream};
use procession_manager::{
    Cmd, Messaging, PoolEvent, PoolEventStream, PoolRequestError, PoolRequestOptions, ProcessPool,
    RequestError, Signal, WorkerState,
};
use procession_tests::workers::Worker;
use procession_tests::{Within as _, checked, fixture, say, workers};

/// The next event in which this finds something.
async fn find<T>(events: &mut PoolEventStream, find: impl Fn(&PoolEvent) -> Option<T>) -> T {
    loop {
        let event = events.next().within("an event").await.unwrap();
        if let Some(found) = find(&event) {
            return found;
        }
    }
}

/// The number of a worker that has ended.
fn ended(event: &PoolEvent) -> Option<u64> {
    match event {
        PoolEvent::WorkerEnded { worker, .. } => Some(*worker),
        _ => None,
    }
}

#[test]
fn workers_of_all_languages_serve_are_killed_and_replaced() {
    for worker in workers!() {
        say(worker.name);
        for messaging in [Messaging::standard_io(), Messaging::named_pipes()] {
            checked(async |test| {
                let pool = ProcessPool::builder(worker.cmd(messaging.clone()))
                    .size(2..=2)
                    .in_flight(4)
                    .start(test.manager())
                    .unwrap();
                pool.ready().within("two workers").await.unwrap();
                let inputs = stream::iter(0..500).map(|n| format!("echo {n}"));
                let mut results = pool.map(inputs);
                for n in 0..500 {
                    let reply = results.next().within("a result").await.unwrap().unwrap();
                    assert_eq!(reply, n.to_string().as_str());
                }
                let failed = pool.request("fail so it goes").within("an answer").await;
                match failed.unwrap_err() {
                    PoolRequestError::Request(RequestError::Failed(text)) => {
                        assert!(text.contains("so it goes"), "{text}");
                    }
                    error => panic!("{error}"),
                }
                // It is cancelled, heeds that, and the worker lives.
                let late = PoolRequestOptions::new().deadline(Duration::from_millis(50));
                let late = pool.request_with("wait", late).within("its end").await;
                assert!(
                    matches!(late, Err(PoolRequestError::TimedOut { .. })),
                    "{late:?}"
                );

                let mut events = pool.events();
                let workers = pool.workers();
                let numbers: Vec<_> = workers.iter().map(|it| it.worker).collect();
                assert_eq!(numbers, [0, 1], "none was replaced so far");
                let victim = workers[0].process.unwrap();
                let manager = test.manager();
                manager.signal(victim, Signal::KILL).await.unwrap();
                assert_eq!(find(&mut events, ended).await, 0);
                let twice = PoolRequestOptions::new().tries(2);
                let reply = pool
                    .request_with("echo again", twice)
                    .within("a reply")
                    .await;
                assert_eq!(reply.unwrap(), "again");
                pool.ready().within("two workers").await.unwrap();
                assert_eq!(pool.stats().restarts, 1);

                pool.drain().within("the end of the pool").await.unwrap();
                assert!(manager.list().await.unwrap().is_empty());
                assert!(test.run_directories().is_empty());
            });
        }
    }
}

#[test]
fn a_worker_over_its_memory_is_replaced_without_a_loss() {
    checked(async |test| {
        // It keeps all that it is sent.
        let hoards = Cmd::new(fixture!("hoards"));
        let pool = ProcessPool::builder(hoards)
            .size(1..=1)
            .recycle_over_memory(64 << 20)
            .start(test.manager())
            .unwrap();
        let mut events = pool.events();
        let large = "x".repeat(8 << 20);
        for _ in 0..12 {
            let reply = pool
                .request(large.as_str())
                .within("a reply")
                .await
                .unwrap();
            assert_eq!(reply, "8388608");
        }
        assert_eq!(find(&mut events, ended).await, 0);
        let reply = pool.request("small").within("a reply").await.unwrap();
        assert_eq!(reply, "5");
        let stats = pool.stats();
        assert_eq!((stats.served, stats.failed, stats.restarts), (13, 0, 1));
        pool.drain().within("the end of the pool").await.unwrap();
    });
}

#[test]
fn a_worker_that_is_stopped_and_answers_nothing_is_replaced_after_the_time_out() {
    checked(async |test| {
        let pool = ProcessPool::builder(Worker::python().cmd(Messaging::named_pipes()))
            .size(1..=1)
            .cancel_grace(Duration::from_millis(100))
            .start(test.manager())
            .unwrap();
        pool.ready().within("a worker").await.unwrap();
        let process = pool.workers()[0].process.unwrap();
        test.manager().signal(process, Signal::STOP).await.unwrap();
        let options = PoolRequestOptions::new().deadline(Duration::from_millis(100));
        let late = pool.request_with("echo 1", options).within("its end").await;
        assert!(
            matches!(late, Err(PoolRequestError::TimedOut { .. })),
            "{late:?}"
        );
        let reply = pool.request("echo 2").within("a reply").await;
        assert_eq!(reply.unwrap(), "2");
        let workers = pool.workers();
        assert!(
            workers
                .iter()
                .any(|it| it.worker == 1 && it.state == WorkerState::Ready)
        );
        pool.drain().within("the end of the pool").await.unwrap();
    });
}

#[test]
fn a_program_that_is_no_worker_is_told_with_what_it_said() {
    checked(async |test| {
        let cmd = Cmd::new("sh")
            .args(["-c", "echo no such model >&2; exit 3"])
            .logging(procession_manager::Logging::stderr());
        let pool = ProcessPool::builder(cmd)
            .size(1..=2)
            .start_failures(2)
            .backoff(Duration::from_millis(1), Duration::from_millis(10))
            .start(test.manager())
            .unwrap();
        let error = pool.request("hello").within("its end").await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, PoolRequestError::NoWorkers { .. }),
            "{text}"
        );
        assert!(
            text.contains("code 3") && text.contains("no such model"),
            "{text}"
        );
        pool.abort().within("the end of the pool").await.unwrap();

        let pool = ProcessPool::builder(Cmd::new("/no/such/program"))
            .start_failures(1)
            .start(test.manager())
            .unwrap();
        let error = pool.ready().within("the reason").await.unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
        drop(pool);
    });
}
