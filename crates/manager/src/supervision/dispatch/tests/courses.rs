//! Courses about the size of the pool, its queue, and who gets what.

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_least_are_started_at_once_and_serve_when_they_are_ready() {
    let bench = course(
        PoolRules::new(3..=4),
        &[
            (0, "submit 1", ""),
            (0, "tick", ""),
            (0, "start", "+0 +1 +2"),
            (0, "start", ""),
            (5, "ready 1", "s1>1"),
            (6, "ready 0", ""),
            (7, "submit 2", "s2>0"),
            (8, "ok 1 1", "d1"),
            (9, "bad 0 2", "d2x"),
        ],
    );
    let stats = bench.dispatch.stats();
    assert_eq!((stats.served, stats.failed, stats.restarts), (1, 1, 0));
    let worker = bench.worker(0).expect("it is ready");
    assert_eq!((worker.served, worker.failed, worker.in_flight), (0, 1, 0));
    assert_eq!(worker.since, bench.start + millis(6));
}

#[test]
fn load_starts_as_many_as_the_queue_needs_and_no_more_than_the_most() {
    course(
        PoolRules::new(1..=3).in_flight(2),
        &[
            (0, "start", "+0"),
            // Two that wait are worth one worker, and one is being started.
            (0, "submit 1", ""),
            (0, "submit 2", ""),
            (0, "submit 3", "+1"),
            (0, "submit 4", ""),
            (1, "ready 0", "s1>0 s2>0"),
            (1, "submit 5", "+2"),
            (1, "submit 6", ""),
            (1, "submit 7", ""),
            (2, "ready 1", "s3>1 s4>1"),
            (3, "ready 2", "s5>2 s6>2"),
            (4, "ok 1 3", "d3 s7>1"),
        ],
    );
}

#[test]
fn a_pool_may_begin_without_workers() {
    course(
        PoolRules::new(0..=1),
        &[
            (0, "start", ""),
            (0, "submit 1", "+0"),
            (1, "ready 0", "s1>0"),
            (2, "ok 0 1", "d1"),
            (30_001, "tick", ""),
            (30_002, "tick", "-0"),
            (30_003, "submit 2", ""),
            (30_004, "end 0", "+1"),
            (30_005, "drop 2", ""),
            // A start that takes long is no time of idleness.
            (70_000, "ready 1", ""),
            (99_999, "tick", ""),
            (100_000, "tick", "-1"),
        ],
    );
}

#[test]
fn the_least_loaded_gets_it_and_among_equals_the_one_used_last() {
    course(
        PoolRules::new(3..=3).in_flight(2),
        &[
            (0, "start", "+0 +1 +2"),
            (0, "ready 0", ""),
            (0, "ready 1", ""),
            (0, "submit 1", "s1>0"),
            (0, "submit 2", "s2>1"),
            (0, "ready 2", ""),
            (0, "submit 3", "s3>2"),
            (1, "ok 1 2", "d2"),
            (2, "ok 0 1", "d1"),
            (3, "submit 4", "s4>0"),
            (4, "submit 5", "s5>1"),
            // All have one; worker 1 was used last, then 0, then 2.
            (5, "submit 6", "s6>1"),
            (5, "submit 7", "s7>0"),
            (5, "submit 8", "s8>2"),
        ],
    );
}

#[test]
fn the_idle_above_the_least_are_stopped_the_longest_idle_first() {
    let rules = PoolRules::new(1..=3).idle_after(seconds(10));
    let mut bench = course(
        rules,
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "submit 2", "+1"),
            (0, "submit 3", "+2"),
            (0, "ready 1", "s2>1"),
            (0, "ready 2", "s3>2"),
            (1_000, "ok 1 2", "d2"),
            (2_000, "ok 0 1", "d1"),
        ],
    );
    assert_eq!(bench.due(), Some(11_000));
    assert_eq!(bench.step(10_999, "tick"), "");
    assert_eq!(bench.step(11_000, "tick"), "-1");
    // One more than the least is busy, so the last idle one goes, too.
    assert_eq!(bench.due(), Some(12_000));
    assert_eq!(bench.step(12_000, "tick"), "-0");
    assert_eq!(bench.due(), None);
    assert_eq!(bench.step(12_001, "end 1"), "");
    assert_eq!(bench.step(20_000, "ok 2 3"), "d3");
    assert_eq!(bench.due(), None, "the least stay");
    assert_eq!(bench.step(12_002, "end 0"), "");
    assert_eq!(bench.dispatch.stats().restarts, 0);
    // Both due at once: only the surplus goes, and that is the one that was not used for longest.
    let mut bench = course(
        rules,
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "submit 2", "+1"),
            (0, "ready 1", "s2>1"),
            (0, "ok 1 2", "d2"),
            (1, "ok 0 1", "d1"),
        ],
    );
    assert_eq!(bench.step(60_000, "tick"), "-1");
}

#[test]
fn a_full_queue_lets_wait_or_refuses() {
    let rules = PoolRules::new(1..=1).queue(2, WhenFull::Refuse);
    course(
        rules,
        &[
            (0, "submit 1", ""),
            (0, "submit 2", ""),
            (0, "submit 3", "r3F"),
            // An id that is in use is no other request.
            (0, "submit 2", ""),
            (0, "start", "+0"),
            (0, "ready 0", "s1>0"),
            (0, "submit 3", ""),
            (0, "submit 4", "r4F"),
        ],
    );
    let rules = rules.queue(2, WhenFull::Wait);
    course(
        rules,
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "submit 2", ""),
            (0, "submit 3 by9", ""),
            (0, "submit 4", "F4"),
            (0, "submit 5", "F5"),
            (1, "ok 0 1", "d1 s2>0 R"),
            (1, "submit 4", ""),
            (1, "submit 5", "F5"),
            (9, "tick", "f3T/0 R"),
            (9, "submit 5", ""),
            (9, "submit 6", "F6"),
            (9, "drop 5", "R"),
            (9, "submit 6", ""),
            (9, "submit 7", "F7"),
            // They are to come and be refused.
            (9, "drain", "R"),
            (9, "submit 7", "r7D"),
        ],
    );
}

#[test]
fn the_queue_is_first_in_first_out_and_the_dropped_leave_it_silently() {
    course(
        PoolRules::new(1..=1),
        &[
            (0, "submit 9", ""),
            (0, "submit 3", ""),
            (0, "submit 5", ""),
            (0, "drop 3", ""),
            (0, "start", "+0"),
            (0, "ready 0", "s9>0"),
            (0, "ok 0 9", "d9 s5>0"),
            (0, "ok 0 3", ""),
            (0, "ok 0 5", "d5"),
        ],
    );
}

#[test]
fn what_is_worn_out_is_replaced_first_and_one_by_one() {
    let rules = PoolRules::new(2..=2).in_flight(2).recycle_after_requests(1);
    let mut bench = course(
        rules,
        &[
            (0, "start", "+0 +1"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "submit 2", "s2>0"),
            (0, "ready 1", ""),
            (0, "submit 3", "s3>1"),
            (1, "ok 0 1", "d1 +2"),
            (1, "ok 1 3", "d3"),
            // Until its replacement is ready, it serves.
            (2, "submit 4", "s4>1"),
            (2, "submit 5", "s5>1"),
            (2, "submit 6", "s6>0"),
            (3, "ready 2", ""),
        ],
    );
    assert_eq!(bench.state(0), "retiring");
    assert_eq!(bench.step(4, "submit 7"), "s7>2");
    assert_eq!(bench.step(5, "ok 0 2"), "d2");
    assert_eq!(bench.step(5, "ok 0 6"), "d6 -0");
    // Three are alive until it has ended.
    assert_eq!(bench.step(6, "tick"), "");
    assert_eq!(bench.step(7, "end 0"), "+3");
    assert_eq!(bench.state(1), "ready");
    assert_eq!(bench.step(8, "ready 3"), "");
    assert_eq!(bench.state(1), "retiring");
    assert_eq!(bench.dispatch.stats().restarts, 2);
}

#[test]
fn age_and_memory_wear_out_too() {
    let rules = PoolRules::new(2..=2).recycle_after_age(seconds(60));
    let mut bench = course(
        rules,
        &[
            (0, "start", "+0 +1"),
            (0, "memory 0", ""),
            (1_000, "ready 0", ""),
            (2_000, "ready 1", ""),
        ],
    );
    assert_eq!(bench.due(), Some(61_000));
    assert_eq!(bench.step(60_999, "tick"), "");
    assert_eq!(bench.step(61_000, "tick"), "+2");
    assert_eq!(bench.step(62_000, "tick"), "", "one by one");
    assert_eq!(bench.step(62_000, "memory 1"), "", "one by one");
    assert_eq!(bench.step(62_001, "ready 2"), "-0");
    assert_eq!(bench.step(62_002, "end 0"), "+3");
    assert_eq!(bench.step(62_003, "memory 2"), "");
    assert_eq!(bench.step(62_003, "ready 3"), "-1");
    assert_eq!(bench.step(62_004, "end 1"), "+4");
    assert_eq!(bench.step(62_005, "ready 4"), "-2");
    // Memory goes before age.
    course(
        PoolRules::new(3..=3).recycle_after_age(seconds(60)),
        &[
            (0, "start", "+0 +1 +2"),
            (0, "ready 0", ""),
            (0, "ready 1", ""),
            (0, "ready 2", ""),
            (1, "memory 0", "+3"),
            (60_000, "memory 2", ""),
            (60_001, "ready 3", "-0"),
            (60_002, "end 0", "+4"),
            (60_003, "ready 4", "-2"),
            (60_004, "end 2", "+5"),
            (60_005, "ready 5", "-1"),
        ],
    );
}

#[test]
fn a_recycled_worker_stays_while_its_replacement_fails_or_others_are_missing() {
    let mut bench = course(
        PoolRules::new(2..=2),
        &[
            (0, "start", "+0 +1"),
            (0, "ready 0", ""),
            (0, "ready 1", ""),
            (1, "memory 0", "+2"),
            (2, "no-start 2", ""),
            (101, "tick", ""),
            (102, "tick", "+3"),
            (103, "ok 9 9", ""),
            // The other one dies: it has not served, so there is a wait.
            (110, "end 1", ""),
            (120, "ready 3", ""),
        ],
    );
    assert_eq!(bench.state(0), "ready", "only two are ready");
    assert_eq!(bench.step(310, "tick"), "+4");
    assert_eq!(bench.step(320, "ready 4"), "-0");
    // The one that is to be replaced dies by itself: its replacement stays.
    course(
        PoolRules::new(1..=1),
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "ok 0 1", "d1"),
            (1, "memory 0", "+1"),
            (2, "end 0", ""),
            (3, "ready 1", ""),
            (4, "submit 2", "s2>1"),
        ],
    );
    // The others that are idle go, but neither of the two.
    course(
        PoolRules::new(1..=3).idle_after(seconds(1)),
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "submit 2", "+1"),
            (0, "ready 1", "s2>1"),
            (1, "ok 1 2", "d2"),
            (2, "ok 0 1", "d1"),
            (3, "memory 1", "+2"),
            (2_000, "tick", "-0"),
            (3_000, "ready 2", "-1"),
            (9_000, "tick", ""),
        ],
    );
}

/// With a handful of workers, so many requests are no matter.
#[test]
fn a_hundred_thousand_requests_cost_little() {
    let mut bench = Bench::new(
        PoolRules::new(8..=8)
            .in_flight(4)
            .queue(100_000, WhenFull::Wait),
    );
    let now = bench.start;
    let mut open = std::collections::VecDeque::new();
    let mut step = |input| {
        let effects = step(&mut bench.dispatch, input, now, |most| most);
        open.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::Send {
                request, worker, ..
            } => Some((worker, request)),
            _ => None,
        }));
        open.pop_front_if(|_| !matches!(input, Input::Submit { .. }))
    };
    for request in 0..100_000 {
        let deadline = Some(now + seconds(60));
        step(Input::Submit {
            request,
            tries: 2,
            deadline,
        });
    }
    step(Input::Start);
    let mut next = None;
    for worker in 0..8 {
        next = step(Input::WorkerReady { worker });
    }
    let mut answers = 0;
    // What was taken out by the other steps is not answered, but holds 8 of 32 slots only.
    while let Some((worker, request)) = next {
        next = step(Input::Answered {
            worker,
            request,
            ok: true,
        });
        answers += 1;
    }
    assert!(answers > 99_900, "{answers}");
    assert_eq!(bench.dispatch.stats().queued, 0);
}
