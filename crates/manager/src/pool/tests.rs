//! Pools whose workers are scripts, in paused time.

mod failures;
mod mapping;
mod size;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use procession_wire::Framing;

use crate::test_util::{ChildEvent, ChildSide, ScriptedChild};
use crate::{
    Cmd, KILL_BOUND, KillProcessError, ManagerError, Messaging, PoolEvent, PoolEventStream,
    PoolNotReady, PoolRequestError, PoolRequestOptions, ProcessManager, ProcessManagerHandle,
    ProcessPool, ProcessPoolBuilder, RequestError, StartPoolError, Supervision, WhenFull,
    WorkerState,
};

const SECOND: Duration = Duration::from_secs(1);

fn manager() -> ProcessManagerHandle {
    ProcessManager::in_temp().expect("a manager")
}

fn frames() -> Cmd {
    Cmd::new("scripted").messaging(Messaging::named_pipes().framing(Framing::Frames))
}

/// What a request asks for is its first word: `echo`, `fail`, `last` before it exits, `exit` with a code, `sleep` for some milliseconds, `hang`
/// until it is cancelled, `stuck` for ever. One at a time, but what sleeps or hangs lets others pass.
async fn work(mut child: ChildSide) -> i32 {
    let mut waiting: Vec<(u64, Option<tokio::time::Instant>)> = Vec::new();
    loop {
        let due = waiting.iter().filter_map(|(_, due)| *due).min();
        let event = tokio::select! {
            event = child.next() => event,
            () = async { match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            } } => {
                let at = waiting.iter().position(|(_, at)| *at == due).expect("one is due");
                let (id, _) = waiting.remove(at);
                child.reply(id, "slept").await;
                continue;
            }
        };
        match event {
            ChildEvent::Request { id, message } => {
                let text = message.as_str().expect("text").to_owned();
                let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
                match verb {
                    "echo" => child.reply(id, rest).await,
                    "fail" => child.fail(id, rest).await,
                    "exit" => return rest.parse().expect("a code"),
                    "last" => {
                        child.reply(id, rest).await;
                        return 0;
                    }
                    "sleep" => {
                        let time = Duration::from_millis(rest.parse().expect("a time"));
                        waiting.push((id, Some(tokio::time::Instant::now() + time)));
                    }
                    "hang" => waiting.push((id, None)),
                    "stuck" => {}
                    _ => panic!("{text}"),
                }
            }
            ChildEvent::Cancel { id } => {
                if let Some(at) = waiting.iter().position(|(other, _)| *other == id) {
                    waiting.remove(at);
                    child.fail(id, "cancelled").await;
                }
            }
            ChildEvent::Stop | ChildEvent::InputEnded => return 0,
            _ => {}
        }
    }
}

/// A pool of such workers.
fn scripted() -> ProcessPoolBuilder {
    ProcessPool::builder_with(|_| ScriptedChild::new(frames(), work)).seed(7)
}

async fn next(events: &mut PoolEventStream) -> PoolEvent {
    events.next().await.expect("another event")
}

/// The next event that this finds something in.
async fn find<T>(events: &mut PoolEventStream, find: impl Fn(&PoolEvent) -> Option<T>) -> T {
    loop {
        if let Some(found) = find(&next(events).await) {
            return found;
        }
    }
}

fn is_over(event: &PoolEvent) -> Option<()> {
    (*event == PoolEvent::Ended).then_some(())
}

fn is_gone(event: &PoolEvent) -> Option<u64> {
    match event {
        PoolEvent::WorkerEnded { worker, .. } => Some(*worker),
        _ => None,
    }
}

/// Drains it; then nothing of it is left in its manager.
async fn end(pool: ProcessPool, manager: ProcessManagerHandle) {
    pool.drain().await.expect("all end");
    assert!(pool.workers().is_empty());
    let left = manager.list().await.expect("there");
    assert!(left.is_empty(), "{left:?}");
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn requests_go_to_workers_and_come_back() {
    let manager = manager();
    let pool = scripted().size(2..=2).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let numbers: Vec<_> = (0..100).map(|n| format!("echo {n}")).collect();
    let replies = numbers.iter().map(|text| pool.request(text.as_str()));
    let replies = futures::future::join_all(replies).await;
    for (number, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.expect("a reply"), number.to_string().as_str());
    }
    let stats = pool.stats();
    assert_eq!((stats.served, stats.failed, stats.queued), (100, 0, 0));
    let workers = pool.workers();
    let served: u64 = workers.iter().map(|worker| worker.served).sum();
    assert_eq!((workers.len(), served), (2, 100));
    assert!(
        workers
            .iter()
            .all(|it| it.state == WorkerState::Ready && it.process.is_some())
    );
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_an_answer_and_is_not_tried_again() {
    let manager = manager();
    let pool = scripted().size(1..=1).start(&manager).expect("a pool");
    let options = PoolRequestOptions::new().tries(5);
    let error = pool.request_with("fail so it goes", options).await;
    match error.expect_err("it failed") {
        PoolRequestError::Request(RequestError::Failed(text)) => assert_eq!(text, "so it goes"),
        error => panic!("{error}"),
    }
    let large = vec![0; 1 << 25];
    let error = pool.request(large).await.expect_err("too large");
    assert!(
        matches!(
            error,
            PoolRequestError::Request(RequestError::TooLarge { .. })
        ),
        "{error}"
    );
    // Neither cost the worker anything.
    assert_eq!(pool.request("echo 1").await.expect("a reply"), "1");
    assert_eq!(pool.stats().retried, 0);
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_or_lets_callers_wait_in_their_order() {
    let manager = manager();
    let builder = || scripted().size(1..=1);
    let pool = builder()
        .queue(1, WhenFull::Refuse)
        .start(&manager)
        .expect("a pool");
    pool.ready().await.expect("ready");
    let mut first = Box::pin(pool.request("sleep 1000"));
    let mut second = Box::pin(pool.request("echo 2"));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    let third = pool.request("echo 3").await;
    assert!(
        matches!(third, Err(PoolRequestError::QueueFull)),
        "{third:?}"
    );
    assert_eq!(first.await.expect("a reply"), "slept");
    assert_eq!(second.await.expect("a reply"), "2");
    pool.drain().await.expect("all end");

    let pool = builder()
        .queue(2, WhenFull::Wait)
        .start(&manager)
        .expect("a pool");
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut callers: Vec<_> = (0..20)
        .map(|n| {
            let (order, pool) = (Arc::clone(&order), &pool);
            Box::pin(async move {
                let reply = pool.request(format!("echo {n}")).await;
                order.lock().expect("whole").push(n);
                reply
            })
        })
        .collect();
    for caller in &mut callers {
        assert!(futures::poll!(caller).is_pending());
    }
    assert_eq!(pool.stats().queued, 2);
    // One of those outside goes away, and is not missed.
    drop(callers.remove(10));
    for reply in futures::future::join_all(callers).await {
        reply.expect("a reply");
    }
    let expected: Vec<_> = (0..20).filter(|n| *n != 10).collect();
    assert_eq!(*order.lock().expect("whole"), expected);
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_outside_in_the_queue_and_at_the_worker() {
    let manager = manager();
    let pool = scripted()
        .size(1..=1)
        .queue(1, WhenFull::Wait)
        .start(&manager)
        .expect("a pool");
    pool.ready().await.expect("ready");
    let limited = |time| PoolRequestOptions::new().deadline(time).label("mine");
    let at_work = pool.request_with("hang", limited(3 * SECOND));
    let queued = pool.request_with("echo 1", limited(2 * SECOND));
    let outside = pool.request_with("echo 2", limited(SECOND));
    let (at_work, queued, outside) = futures::join!(at_work, queued, outside);
    for (result, sent, limit) in [(at_work, 1, 3), (queued, 0, 2), (outside, 0, 1)] {
        match result.expect_err("it took too long") {
            PoolRequestError::TimedOut {
                request,
                deadline,
                attempts,
            } => {
                assert_eq!((deadline, attempts), (limit * SECOND, sent));
                assert_eq!(request.label(), Some("mine"));
            }
            error => panic!("{error}"),
        }
    }
    // It heeded the cancel, and is the same as before.
    assert_eq!(pool.request("echo 1").await.expect("a reply"), "1");
    assert_eq!(pool.workers()[0].worker, 0);
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_pool_is_refused() {
    let manager = manager();
    let plain = Cmd::new("worker");
    let pool = ProcessPool::builder(plain.clone())
        .size(0..=0)
        .start(&manager);
    assert!(matches!(
        pool,
        Err(StartPoolError::InvalidSize { min: 0, max: 0 })
    ));
    let lines = plain.clone().messaging(Messaging::standard_io());
    let error = ProcessPool::builder(lines)
        .start(&manager)
        .expect_err("lines");
    assert!(error.to_string().contains("Framing::Frames"), "{error}");
    let supervised = plain.supervised(Supervision::default());
    let error = ProcessPool::builder(supervised)
        .start(&manager)
        .expect_err("supervised");
    assert!(
        error.to_string().contains("leave `supervised` out"),
        "{error}"
    );
    let error = ProcessPool::builder(Cmd::new(""))
        .start(&manager)
        .expect_err("no name");
    assert!(
        error.to_string().contains("the program is an empty string"),
        "{error}"
    );
    assert!(manager.list().await.expect("there").is_empty());
    manager.shutdown().await.expect("the end");
}
