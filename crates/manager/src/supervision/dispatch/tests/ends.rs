//! Courses about deadlines, callers that go, and the end of the pool.

use super::*;

#[test]
fn a_deadline_holds_in_the_queue_and_at_the_worker() {
    let mut bench = Bench::new(PoolRules::new(1..=1));
    bench.step(0, "submit 9 by5");
    assert_eq!(bench.due(), Some(5), "also before the start");
    let mut bench = course(
        PoolRules::new(1..=1),
        &[
            (0, "submit 9 by5", ""),
            (5, "start", "f9T/0 +0"),
            (5, "ready 0", ""),
            (5, "submit 1 by5", "f1T/0"),
            (5, "submit 2 by50 x3", "s2>0"),
            (5, "submit 3 by40", ""),
        ],
    );
    assert_eq!(bench.due(), Some(40));
    assert_eq!(bench.step(40, "tick"), "f3T/0");
    assert_eq!(bench.due(), Some(50));
    assert_eq!(bench.step(50, "tick"), "c2>0 f2T/1");
    assert_eq!(bench.step(51, "submit 4"), "", "the slot is occupied");
    assert_eq!(bench.due(), Some(1_050));
    assert_eq!(bench.step(1_049, "ok 0 2"), "s4>0", "nobody waits for it");
    assert_eq!(bench.due(), None);
    let stats = bench.dispatch.stats();
    assert_eq!((stats.timed_out, stats.served, stats.failed), (4, 0, 0));
    // An answer that comes before the tick is in time.
    assert_eq!(bench.step(1_050, "submit 5 by2000"), "");
    assert_eq!(bench.step(1_060, "ok 0 4"), "d4 s5>0");
    assert_eq!(bench.step(2_010, "ok 0 5"), "d5");
}

#[test]
fn a_cancel_that_is_not_heeded_costs_the_worker_and_not_its_neighbours() {
    let bench = course(
        PoolRules::new(1..=2).in_flight(3).poison_after(1),
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1 by100", "s1>0"),
            (0, "submit 2 x2", "s2>0"),
            (0, "submit 3", "s3>0"),
            (100, "tick", "c1>0 f1T/1"),
            (200, "drop 9", ""),
            // It gets nothing new, so there is load.
            (300, "submit 4", "+1"),
            (400, "ready 1", "s4>1"),
            (1_099, "tick", ""),
            // Request 2 goes on as if it had not been sent, and not alone.
            (1_100, "tick", "!0 f3E0/1 s2>1"),
            (1_101, "ok 0 2", ""),
            (1_102, "ok 1 2", "d2"),
            (1_103, "end 0", ""),
        ],
    );
    assert_eq!(bench.dispatch.stats().retried, 1);
}

#[test]
fn the_first_of_several_graces_counts() {
    let mut bench = course(
        PoolRules::new(1..=1).in_flight(2),
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "submit 2", "s2>0"),
            (10, "drop 2", "c2>0"),
            (20, "drop 1", "c1>0"),
        ],
    );
    assert_eq!(bench.due(), Some(1_010));
    assert_eq!(bench.step(30, "ok 0 2"), "");
    assert_eq!(bench.due(), Some(1_020));
    assert_eq!(bench.step(1_020, "tick"), "!0");
    // It is one of the most until it has ended.
    assert_eq!(bench.step(1_021, "submit 3"), "");
    assert_eq!(bench.step(1_022, "end 0"), "+1");
    assert_eq!(bench.dispatch.stats().restarts, 1);
}

#[test]
fn an_id_may_be_used_again_while_its_first_use_is_cancelled() {
    course(
        PoolRules::new(2..=2),
        &[
            (0, "start", "+0 +1"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "drop 1", "c1>0"),
            (0, "ready 1", ""),
            (0, "submit 1", "s1>1"),
            (0, "ok 0 1", ""),
            (0, "ok 1 1", "d1"),
        ],
    );
}

#[test]
fn a_drain_finishes_what_there_is_and_stops_all() {
    let bench = course(
        PoolRules::new(2..=3).recycle_after_age(millis(500)),
        &[
            (0, "start", "+0 +1"),
            (0, "ready 0", ""),
            (0, "submit 1 x3", "s1>0"),
            (0, "submit 2", ""),
            (0, "submit 3", "+2"),
            (1, "drain", ""),
            (1, "submit 4", "r4D"),
            (2, "end 0", ""),
            (3, "ready 1", "s1>1/2"),
            (4, "no-start 2", ""),
            // None is started for its own sake, only for what waits.
            (102, "tick", "+3"),
            (103, "ready 3", "s2>3 +4"),
            (104, "ok 3 2", "d2 s3>3"),
            (105, "end 1", ""),
            (106, "ok 3 3", "d3 s1>3/3"),
            (107, "ready 4", ""),
            (50_000, "tick", ""),
            (50_001, "memory 3", ""),
            (50_002, "bad 3 1", "d1x -3 -4"),
            (50_003, "start", ""),
            (50_004, "end 3", ""),
            (50_004, "end 4", "D"),
            (50_005, "end 4", ""),
            (50_006, "submit 9", "r9D"),
            (50_007, "abort", ""),
            (50_008, "drain", ""),
        ],
    );
    assert_eq!(bench.due(), None);
    assert!(bench.dispatch.is_over());
}

#[test]
fn a_drain_before_the_start_serves_what_was_submitted() {
    course(
        PoolRules::new(2..=2),
        &[
            (0, "submit 1", ""),
            (0, "drain", "+0"),
            (0, "start", ""),
            (1, "ready 0", "s1>0"),
            (2, "ok 0 1", "d1 -0"),
            (3, "end 0", "D"),
        ],
    );
}

#[test]
fn an_abort_fails_all_in_their_order_and_kills_all() {
    let mut bench = course(
        PoolRules::new(2..=2).queue(1, WhenFull::Wait),
        &[
            (0, "start", "+0 +1"),
            (0, "ready 1", ""),
            (0, "submit 5 by9000", "s5>1"),
            (0, "submit 4 by10", ""),
            (0, "submit 3", "F3"),
            (1, "abort", "f5A/1 f4A/0 !0 !1 R"),
            (1, "abort", ""),
            (1, "submit 3", "r3D"),
            (2, "ready 0", ""),
            (3, "ok 1 5", ""),
            (4, "no-start 0", ""),
        ],
    );
    assert_eq!(bench.due(), None);
    assert_eq!(bench.step(5, "end 1"), "D");
    assert_eq!(bench.dispatch.stats().failed, 2);
    // Also while it drains.
    course(
        PoolRules::new(1..=1),
        &[
            (0, "start", "+0"),
            (0, "drain", "-0"),
            (0, "abort", "!0"),
            (0, "end 0", "D"),
        ],
    );
}

#[test]
fn reasons_can_be_read() {
    for (reason, text) in [
        (
            FailReason::WorkerEnded { worker: 3 },
            "worker 3 ended before it answered",
        ),
        (FailReason::Poisonous { workers: 3 }, "3 workers died of it"),
        (FailReason::NoWorkers, "no worker could be started"),
        (FailReason::TimedOut, "it took too long"),
        (FailReason::Aborted, "the pool was ended"),
    ] {
        assert_eq!(reason.to_string(), text);
    }
    assert_eq!(Refusal::QueueFull.to_string(), "the queue is full");
    assert_eq!(Refusal::Draining.to_string(), "the pool is being ended");
}

/// A worker that cannot be killed counts towards the maximum until it has ended, and nobody waits
/// for it at the end.
#[test]
fn a_worker_that_cannot_be_killed_is_not_replaced_and_holds_up_no_end() {
    course(
        PoolRules::new(1..=1),
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "drop 1", "c1>0"),
            (1_000, "tick", "!0"),
            (1_001, "stuck 0", ""),
            (1_001, "stuck 0", ""),
            (1_001, "submit 2", ""),
            (9_000, "tick", ""),
            (9_001, "end 0", "+1"),
            (9_002, "ready 1", "s2>1"),
            // It was not killed by the pool. What it had is lost all the same.
            (9_003, "stuck 1", "f2E1/1"),
            (9_004, "ok 1 2", ""),
            (9_005, "drain", "D"),
            (9_006, "end 1", ""),
        ],
    );
}
