//! How many workers there are.

use std::sync::Mutex;

use super::*;

#[tokio::test(start_paused = true)]
async fn workers_come_under_load_and_go_when_they_are_idle() {
    let manager = manager();
    let pool = scripted().size(1..=3).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    assert_eq!(pool.workers().len(), 1);
    let mut events = pool.events();
    let load = (0..6).map(|_| pool.request("sleep 5000"));
    let began = tokio::time::Instant::now();
    for reply in futures::future::join_all(load).await {
        reply.expect("a reply");
    }
    let took = began.elapsed();
    assert!(took < 11 * SECOND, "three at a time, not {took:?}");
    assert_eq!(pool.workers().len(), 3);
    let began = tokio::time::Instant::now();
    find(&mut events, is_gone).await;
    find(&mut events, is_gone).await;
    let idle = began.elapsed();
    assert!(idle >= 29 * SECOND && idle < 32 * SECOND, "{idle:?}");
    assert_eq!(pool.workers().len(), 1);
    assert_eq!(pool.stats().restarts, 0);
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_may_begin_with_nobody() {
    let manager = manager();
    let pool = scripted().size(0..=1).start(&manager).expect("a pool");
    pool.ready().await.expect("nobody is enough");
    assert!(pool.workers().is_empty());
    assert_eq!(pool.request("echo 1").await.expect("a reply"), "1");
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn worn_workers_are_replaced_without_a_loss() {
    let manager = manager();
    let builder = scripted().size(2..=2).recycle_after_requests(10);
    let pool = builder.start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let mut fewest = usize::MAX;
    for round in 0..30 {
        let echoes = (0..10).map(|n| pool.request(format!("echo {n}")));
        for reply in futures::future::join_all(echoes).await {
            reply.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        let workers = pool.workers().into_iter();
        let ready = workers.filter(|it| it.state == WorkerState::Ready);
        fewest = fewest.min(ready.count());
    }
    assert_eq!(fewest, 2, "never under the least");
    let stats = pool.stats();
    assert_eq!((stats.served, stats.failed, stats.retried), (300, 0, 0));
    assert!(stats.restarts > 10, "{stats:?}");
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn old_workers_are_replaced() {
    let manager = manager();
    let builder = scripted().size(1..=1).recycle_after_age(60 * SECOND);
    let pool = builder.start(&manager).expect("a pool");
    let mut events = pool.events();
    let began = tokio::time::Instant::now();
    for worker in 0..3 {
        assert_eq!(find(&mut events, is_gone).await, worker);
    }
    let took = began.elapsed();
    assert!(took >= 180 * SECOND && took < 190 * SECOND, "{took:?}");
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_there_is_and_refuses_the_rest() {
    let manager = manager();
    let pool = scripted().size(1..=1).start(&manager).expect("a pool");
    // The first one has all that ever happened.
    drop(pool.events());
    let mut open: Vec<_> = (0..3)
        .map(|_| Box::pin(pool.request("sleep 1000")))
        .collect();
    for request in &mut open {
        assert!(futures::poll!(request).is_pending());
    }
    let mut drain = Box::pin(pool.drain());
    assert!(futures::poll!(&mut drain).is_pending());
    let refused = pool.request("echo 1").await;
    assert!(matches!(refused, Err(PoolRequestError::Ended)));
    assert_eq!(pool.ready().await, Err(PoolNotReady::Ended));
    for reply in futures::future::join_all(open).await {
        assert_eq!(reply.expect("a reply"), "slept");
    }
    drain.await.expect("all end");
    pool.drain().await.expect("all end");
    let more = pool.events().next().await;
    assert!(more.is_none(), "nothing happens any more");
    assert!(manager.list().await.expect("there").is_empty());
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn an_abort_and_the_last_drop_end_it_now() {
    let manager = manager();
    let pool = scripted().size(2..=2).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let mut open = Box::pin(pool.request("stuck"));
    assert!(futures::poll!(&mut open).is_pending());
    pool.abort().await.expect("all end");
    let error = open.await.expect_err("aborted");
    assert!(matches!(error, PoolRequestError::Aborted { .. }), "{error}");
    assert!(manager.list().await.expect("there").is_empty());

    let pool = scripted().size(2..=2).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    drop(pool.events());
    let mut events = pool.events();
    drop(pool.clone());
    let told = events.next().now_or_never();
    assert!(told.is_none(), "there is another clone");
    drop(pool);
    find(&mut events, is_over).await;
    assert!(events.next().await.is_none());
    assert!(manager.list().await.expect("there").is_empty());
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_being_started_ends_with_it() {
    let manager = manager();
    for aborts in [true, false] {
        let ender = Arc::new(Mutex::new(None::<ProcessPool>));
        let taken = Arc::clone(&ender);
        let pool = ProcessPool::builder_with(move |_| {
            // There is no process yet that could be told to stop.
            let pool = taken.lock().expect("whole").take().expect("there is one");
            assert!(pool.workers()[0].process.is_none());
            let begun = if aborts {
                pool.abort().now_or_never()
            } else {
                pool.drain().now_or_never()
            };
            assert!(begun.is_none(), "its worker is still to come");
            ScriptedChild::new(frames(), work)
        });
        let pool = pool.size(1..=1).start(&manager).expect("a pool");
        *ender.lock().expect("whole") = Some(pool.clone());
        let mut events = pool.events();
        find(&mut events, is_over).await;
        assert!(manager.list().await.expect("there").is_empty());
    }
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_the_queue_ends_with_the_manager() {
    let manager = manager();
    let pool = scripted().size(1..=1).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let mut at_work = Box::pin(pool.request("stuck"));
    let mut queued = Box::pin(pool.request("echo 1"));
    assert!(futures::poll!(&mut at_work).is_pending());
    assert!(futures::poll!(&mut queued).is_pending());
    assert_eq!(pool.stats().queued, 1);
    manager.shutdown().await.expect("the end");
    let error = queued.await.expect_err("nobody is left to answer");
    assert!(matches!(error, PoolRequestError::Aborted { .. }), "{error}");
    at_work.await.expect_err("its worker is gone");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_manager_is_its_end() {
    let manager = manager();
    let pool = scripted().size(2..=4).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let mut events = pool.events();
    let mut open = Box::pin(pool.request("stuck"));
    assert!(futures::poll!(&mut open).is_pending());
    manager.shutdown().await.expect("the end");
    open.await.expect_err("it is gone");
    find(&mut events, is_over).await;
    let refused = pool.request("echo 1").await;
    assert!(matches!(refused, Err(PoolRequestError::Ended)));
    let late = scripted().start(&manager);
    assert!(matches!(
        late,
        Err(StartPoolError::ManagerCommunicationError)
    ));
}

#[tokio::test(start_paused = true)]
async fn workers_finish_what_they_have_when_the_manager_ends() {
    let manager = manager();
    let pool = ProcessPool::builder_with(|_| ScriptedChild::new(frames(), finishes));
    let pool = pool.size(2..=2).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    let mut events = pool.events();
    let mut at_work = Box::pin(pool.request("sleep 2000"));
    assert!(futures::poll!(&mut at_work).is_pending());
    // The other has nothing to do, and ends at once.
    let (reply, end) = futures::join!(at_work, manager.shutdown_with(10 * SECOND));
    assert_eq!(reply.expect("a reply"), "slept");
    end.expect("the end");
    let mut started = 0;
    while let Some(event) = events.next().await {
        started += u32::from(matches!(event, PoolEvent::WorkerStarting { .. }));
    }
    assert_eq!(started, 2, "the first listener has all of it");
    let late = pool.request("echo 1").await;
    assert!(matches!(late, Err(PoolRequestError::Ended)));
    let gone = scripted().start(&manager);
    assert!(matches!(
        gone,
        Err(StartPoolError::ManagerCommunicationError)
    ));
}

/// Answers what it has before it stops.
async fn finishes(mut child: ChildSide) -> i32 {
    loop {
        match child.next().await {
            ChildEvent::Request { id, .. } => {
                tokio::time::sleep(2 * SECOND).await;
                child.reply(id, "slept").await;
            }
            ChildEvent::Stop => {
                child.bye(0).await;
                return 0;
            }
            ChildEvent::InputEnded => return 0,
            _ => {}
        }
    }
}

/// A worker that cannot be killed is not replaced before it ends, and nobody waits for it: neither
/// its callers nor the end of the pool.
#[tokio::test(start_paused = true)]
async fn workers_that_cannot_be_killed_do_not_pile_up() {
    let manager = manager();
    let end = Arc::new(tokio::sync::Notify::new());
    let ends = Arc::clone(&end);
    let make = move |_| {
        let end = Arc::clone(&end);
        let play = move |mut child: ChildSide| {
            let end = Arc::clone(&end);
            async move {
                while !matches!(child.next().await, ChildEvent::InputEnded) {}
                end.notified().await;
                0
            }
        };
        ScriptedChild::new(frames(), play).outlives_kill()
    };
    let pool = ProcessPool::builder_with(make).size(1..=1).seed(7);
    let pool = pool.start(&manager).expect("it starts");
    pool.ready().await.expect("ready");
    let mut events = pool.events();
    let worker = || pool.workers()[0];

    let killed = worker().process.expect("there");
    let asked = pool.request("anything");
    let (reply, kill) = tokio::join!(asked, manager.kill(killed));
    assert!(matches!(reply, Err(PoolRequestError::WorkerEnded { .. })));
    assert!(matches!(kill, Err(KillProcessError::NotEnded { .. })));
    assert_eq!((worker().worker, worker().state), (0, WorkerState::Stuck));
    let mut waits = Box::pin(pool.request("anything"));
    assert!(futures::poll!(&mut waits).is_pending());
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(pool.workers().len(), 1);

    ends.notify_one();
    let is_ready = |event: &PoolEvent| match event {
        PoolEvent::WorkerReady { worker, .. } => (*worker > 0).then_some(*worker),
        _ => None,
    };
    assert_eq!(find(&mut events, is_ready).await, 1);
    drop(waits);
    let begun = tokio::time::Instant::now();
    let aborted = pool.abort().await;
    assert_eq!(begun.elapsed(), KILL_BOUND);
    assert!(matches!(aborted, Err(ManagerError::NotEnded { left }) if left.len() == 1));
    find(&mut events, is_over).await;
    manager
        .shutdown_with(Duration::ZERO)
        .await
        .expect_err("it does not end");
}
