//! A million inputs through a pool, in memory that does not depend on their number.
//!
//! Serial: it measures the memory of the whole process.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use procession_manager::{Messaging, ProcessPool};
use procession_tests::workers::Worker;
use procession_tests::{Within as _, alone, checked_for, fixture, procfs, say};

const TIME: Duration = Duration::from_mins(4);
const WARM: u64 = 50_000;
const INPUTS: u64 = 1_000_000;
const MEBIBYTE: u64 = 1 << 20;

#[test]
fn a_million_inputs_take_no_more_memory_than_some() {
    let _alone = alone();
    let worker = Worker::compiled("Rust", fixture!("worker"));
    checked_for(TIME, async |test| {
        let pool = ProcessPool::builder(worker.cmd(Messaging::named_pipes()))
            .size(2..=2)
            .in_flight(32)
            .start(test.manager())
            .unwrap();
        let map = async |count: u64| {
            let inputs = stream::iter(0..count).map(|n| format!("echo {n}"));
            let mut results = pool.map(inputs);
            let monitor = results.monitor();
            let mut number = 0;
            while let Some(reply) = results.next().within("a result").await {
                assert_eq!(reply.unwrap(), number.to_string().as_str());
                number += 1;
            }
            assert_eq!(number, count);
            say(&format!("{}", monitor.progress()));
        };
        map(WARM).await;
        procfs::reset_peak_memory();
        let before = procfs::memory();
        map(INPUTS).await;
        let grown = procfs::peak_memory().saturating_sub(before);
        say(&format!("grown by {} KiB", grown / 1024));
        assert!(grown < 2 * MEBIBYTE, "grown by {grown} bytes");
        let stats = pool.stats();
        assert_eq!((stats.served, stats.failed), (WARM + INPUTS, 0));
        pool.drain().within("the end of the pool").await.unwrap();
    });
}
