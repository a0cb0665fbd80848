//! Workers that die, hang, or cannot be started.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_death_takes_its_own_request_and_names_the_exit() {
    let manager = manager();
    let pool = scripted().size(2..=2).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let (dies, lives) = futures::join!(pool.request("exit 7"), pool.request("sleep 3000"));
    assert_eq!(lives.expect("a reply"), "slept");
    match dies.expect_err("its worker died") {
        PoolRequestError::WorkerEnded {
            attempts: 1,
            tries: 1,
            error,
            ..
        } => match *error {
            RequestError::ProcessExited { report, .. } => assert_eq!(report.code(), Some(7)),
            error => panic!("{error}"),
        },
        error => panic!("{error}"),
    }
    assert_eq!(pool.request("echo 1").await.expect("a reply"), "1");
    end(pool, manager).await;
}

/// A worker by which of all lives it is, that plays one of two parts.
fn by_life<F, Fut>(play: F) -> ProcessPoolBuilder
where
    F: Fn(u64, ChildSide) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = i32> + Send + 'static,
{
    ProcessPool::builder_with(move |worker| {
        let play = play.clone();
        ScriptedChild::new(frames(), move |child| play(worker, child))
    })
    .size(1..=1)
    .seed(1)
}

/// The first one says goodbye at its first request, and lives on.
fn silent_at_first() -> ProcessPoolBuilder {
    by_life(|life, mut child| async move {
        if life > 0 {
            return work(child).await;
        }
        while !matches!(child.next().await, ChildEvent::Request { .. }) {}
        child.bye(0).await;
        std::future::pending().await
    })
}

/// Dies of the first request.
async fn die(mut child: ChildSide) -> i32 {
    while !matches!(child.next().await, ChildEvent::Request { .. }) {}
    3
}

#[tokio::test(start_paused = true)]
async fn what_may_be_tried_again_is() {
    let manager = manager();
    let pool = by_life(|life, child| async move {
        if life < 2 {
            die(child).await
        } else {
            work(child).await
        }
    });
    let pool = pool.start(&manager).expect("a pool");
    let options = PoolRequestOptions::new().tries(3);
    let reply = pool.request_with("echo 1", options).await;
    assert_eq!(reply.expect("the third time"), "1");
    assert_eq!(pool.stats().retried, 2);
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_request_is_given_up_and_named_and_takes_nobody_with_it() {
    let manager = manager();
    let builder = scripted().size(2..=2).in_flight(4);
    let pool = builder.start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let mut events = pool.events();
    let tries = PoolRequestOptions::new().tries(50);
    let poison = pool.request_with("exit 9", tries.clone().label("the bad one"));
    let others = (0..40).map(|_| pool.request_with("sleep 100", tries.clone()));
    let (poison, others) = futures::join!(poison, futures::future::join_all(others));
    let text = match poison.expect_err("it kills") {
        error @ PoolRequestError::Poisonous { workers: 3, .. } => error.to_string(),
        error => panic!("{error}"),
    };
    assert!(
        text.contains("(the bad one)") && text.contains('9'),
        "{text}"
    );
    for reply in others {
        assert_eq!(reply.expect("innocent"), "slept");
    }
    let named = find(&mut events, |event| match event {
        PoolEvent::Poisonous {
            request,
            workers: 3,
        } => Some(request.clone()),
        _ => None,
    });
    assert_eq!(named.await.label(), Some("the bad one"));
    assert_eq!(pool.request("echo 1").await.expect("a reply"), "1");
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_heed_a_cancel_is_replaced() {
    let manager = manager();
    let builder = scripted().size(1..=1).in_flight(2);
    let pool = builder
        .cancel_grace(5 * SECOND)
        .start(&manager)
        .expect("a pool");
    pool.ready().await.expect("ready");
    let mut events = pool.events();
    let options = PoolRequestOptions::new();
    let stuck = pool.request_with("stuck", options.clone().deadline(SECOND));
    // Innocent, and sent again without a try of its own being used up.
    let beside = pool.request_with("sleep 8000", options.clone().tries(2));
    let (stuck, beside) = futures::join!(stuck, beside);
    assert!(
        matches!(stuck, Err(PoolRequestError::TimedOut { .. })),
        "{stuck:?}"
    );
    assert_eq!(beside.expect("a reply"), "slept");
    assert_eq!(find(&mut events, is_gone).await, 0);
    // This one may not be, and is told how its worker ended.
    let once = pool.request_with("sleep 20000", options.clone());
    let stuck = pool.request_with("stuck", options.deadline(SECOND));
    let (once, stuck) = futures::join!(once, stuck);
    assert!(
        matches!(stuck, Err(PoolRequestError::TimedOut { .. })),
        "{stuck:?}"
    );
    match once.expect_err("it may not be done twice") {
        PoolRequestError::WorkerEnded { error, .. } => match *error {
            RequestError::ProcessExited { report, .. } => {
                assert_eq!(report.cause(), crate::ExitCause::Killed);
            }
            error => panic!("{error}"),
        },
        error => panic!("{error}"),
    }
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_is_cancelled_and_its_worker_serves_the_next() {
    let manager = manager();
    let pool = scripted().size(1..=1).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let mut dropped = Box::pin(pool.request("hang"));
    assert!(futures::poll!(&mut dropped).is_pending());
    assert_eq!(pool.workers()[0].in_flight, 1);
    drop(dropped);
    assert_eq!(pool.request("echo 1").await.expect("a reply"), "1");
    let workers = pool.workers();
    assert_eq!((workers[0].worker, workers[0].in_flight), (0, 0));
    // One that was given a worker and whose caller has not looked yet gives it back as well.
    let mut at_work = Box::pin(pool.request("sleep 1000"));
    let mut queued = Box::pin(pool.request("echo 2"));
    assert!(futures::poll!(&mut at_work).is_pending());
    assert!(futures::poll!(&mut queued).is_pending());
    assert_eq!(at_work.await.expect("a reply"), "slept");
    assert_eq!(pool.workers()[0].in_flight, 1, "it has the queued one");
    drop(queued);
    assert_eq!(pool.workers()[0].in_flight, 0);
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn workers_that_cannot_be_started_fail_all_requests_until_one_can() {
    let manager = manager();
    let pool = ProcessPool::builder_with(move |worker| {
        let cmd = frames().ready_when(crate::Readiness::Frame);
        ScriptedChild::new(cmd, move |mut child| async move {
            if worker < 4 {
                return 5;
            }
            child.ready("").await;
            work(child).await
        })
    });
    let builder = pool.size(1..=1).start_failures(3).seed(3);
    let pool = builder.start(&manager).expect("a pool");
    let mut events = pool.events();
    let error = pool.request("echo 1").await.expect_err("nobody is there");
    assert!(
        matches!(error, PoolRequestError::NoWorkers { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("code 5"), "{error}");
    let not_ready = pool.ready().await.expect_err("nobody");
    assert!(not_ready.to_string().contains("code 5"), "{not_ready}");
    find(&mut events, |event| {
        matches!(event, PoolEvent::Broken { .. }).then_some(())
    })
    .await;
    let error = pool.request("echo 1").await;
    assert!(matches!(error, Err(PoolRequestError::NoWorkers { .. })));
    find(&mut events, |event| {
        (*event == PoolEvent::Recovered).then_some(())
    })
    .await;
    assert_eq!(pool.request("echo 1").await.expect("a reply"), "1");
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_its_output_and_lives_is_replaced() {
    let manager = manager();
    let pool = silent_at_first();
    let pool = pool.start(&manager).expect("a pool");
    let options = PoolRequestOptions::new().tries(2);
    let reply = pool.request_with("echo 1", options).await;
    assert_eq!(reply.expect("a reply"), "1");
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_get_to_a_worker_any_more_is_sent_to_another() {
    let manager = manager();
    let pool = silent_at_first();
    let pool = pool.in_flight(2).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let mut lost = Box::pin(pool.request("echo 1"));
    // Until what it asks is under way, and its worker says no more.
    let later = tokio::time::timeout(SECOND / 10, &mut lost).await;
    assert!(later.is_err(), "its worker lives");
    // It has one try, and needs none of it for a worker that cannot be asked.
    assert_eq!(pool.request("echo 2").await.expect("a reply"), "2");
    let lost = lost.await.expect_err("it had its one try");
    assert!(
        matches!(lost, PoolRequestError::WorkerEnded { .. }),
        "{lost}"
    );
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_maker_that_panics_is_a_start_that_failed() {
    let manager = manager();
    let pool = ProcessPool::builder_with(|worker| {
        assert!(worker > 0, "not the first");
        ScriptedChild::new(frames(), work)
    });
    let pool = pool.size(1..=1).start(&manager).expect("a pool");
    assert_eq!(pool.request("echo 1").await.expect("a reply"), "1");
    assert_eq!(pool.workers()[0].worker, 1);
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_said_before_its_end_counts_however_late_it_is_looked_at() {
    for tries in [1, 2] {
        let manager = manager();
        let pool = scripted().size(1..=1).start(&manager).expect("a pool");
        pool.ready().await.expect("ready");
        let mut events = pool.events();
        let options = PoolRequestOptions::new().tries(tries);
        let mut last = Box::pin(pool.request_with("last word", options));
        assert!(futures::poll!(&mut last).is_pending());
        find(&mut events, is_gone).await;
        // By now it has failed for the pool, or is to go to the next worker.
        pool.ready().await.expect("ready");
        assert_eq!(last.await.expect("a reply"), "word");
        let stats = pool.stats();
        assert_eq!((stats.queued, stats.in_flight), (0, 0), "{tries} tries");
        assert_eq!(pool.request("echo 1").await.expect("a reply"), "1");
        end(pool, manager).await;
    }
}
