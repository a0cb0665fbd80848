//! Streams through a pool.

use futures::stream;

use super::*;

#[tokio::test(start_paused = true)]
async fn results_come_in_order_or_as_they_are_there() {
    let manager = manager();
    let pool = scripted().size(2..=2).start(&manager).expect("a pool");
    pool.ready().await.expect("ready");
    // The first one takes longest.
    let inputs = || stream::iter(["sleep 5000", "echo 1", "fail two", "echo 3"]);
    let ordered: Vec<_> = pool.map(inputs()).collect().await;
    let shown: Vec<_> = ordered
        .iter()
        .map(|it| {
            it.as_ref()
                .map_or("failed", |it| it.as_str().expect("text"))
        })
        .collect();
    assert_eq!(shown, ["slept", "1", "failed", "3"]);
    let unordered = pool.map_unordered(inputs());
    let monitor = unordered.monitor();
    let unordered: Vec<_> = unordered.collect().await;
    let numbers: Vec<_> = unordered.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 0]);
    let progress = monitor.progress();
    let counts = (progress.done, progress.failed, progress.in_flight);
    assert_eq!(counts, (4, 1, 0));
    assert!((progress.rate() - 0.8).abs() < 0.01, "{progress}");
    let shown = progress.to_string();
    assert_eq!(shown, "4 done, 1 of them failed, 0 in flight, 0.8/s");
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn inputs_are_taken_no_faster_than_results() {
    let manager = manager();
    let pool = scripted().size(2..=2).start(&manager).expect("a pool");
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&taken);
    let inputs = stream::iter(0..1000).map(move |n| {
        counted.fetch_add(1, Ordering::Relaxed);
        format!("echo {n}")
    });
    let mut results = pool.map(inputs).limit(5);
    let monitor = results.monitor();
    for n in 0..300_u64 {
        let reply = results.next().await.expect("another").expect("a reply");
        assert_eq!(reply, n.to_string().as_str());
        assert!(taken.load(Ordering::Relaxed) <= n + 5);
    }
    let progress = monitor.progress();
    assert_eq!((progress.done, progress.in_flight), (300, 4));
    // Dropped, it takes no more, and what was under way is given up.
    drop(results);
    assert_eq!(taken.load(Ordering::Relaxed), 304);
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.in_flight), (0, 0));
    end(pool, manager).await;
}

#[tokio::test(start_paused = true)]
async fn inputs_may_come_later() {
    let manager = manager();
    let pool = scripted().size(1..=1).start(&manager).expect("a pool");
    let (mut tell, inputs) = futures::channel::mpsc::channel::<String>(1);
    let mut results = pool.map_unordered(inputs);
    for n in 0..5_u64 {
        assert!(results.next().now_or_never().is_none());
        tell.try_send(format!("echo {n}")).expect("room");
        let (number, reply) = results.next().await.expect("another");
        assert_eq!(number, n);
        assert_eq!(reply.expect("a reply"), n.to_string().as_str());
    }
    drop(tell);
    assert!(results.next().await.is_none());
    drop(results);
    end(pool, manager).await;
}
