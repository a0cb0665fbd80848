//! Courses about workers that die, do not start, or do not heed.

use super::*;

#[test]
fn a_death_takes_its_own_requests_only_and_what_has_tries_left_goes_first() {
    let bench = course(
        PoolRules::new(2..=2).in_flight(2),
        &[
            (0, "start", "+0 +1"),
            (0, "ready 0", ""),
            (0, "submit 1 x2", "s1>0"),
            (0, "ready 1", ""),
            (0, "submit 2 x2", "s2>1"),
            (0, "submit 3", "s3>1"),
            (0, "submit 4 x3", "s4>0"),
            (0, "submit 5", ""),
            (0, "submit 6 x2", ""),
            // Nothing served yet: the next start waits. Worker 1 is emptied for suspects.
            (1, "end 0", ""),
            (2, "ok 1 2", "d2 +2"),
            (3, "ok 1 3", "d3 s1>1/2"),
            // Nobody is put beside it.
            (4, "submit 7", ""),
            (5, "ready 2", "s5>2 s6>2"),
            (6, "ok 1 1", "d1 s4>1/2"),
            (7, "end 1", "+3"),
        ],
    );
    let stats = bench.dispatch.stats();
    assert_eq!((stats.retried, stats.restarts), (3, 2));
    assert_eq!((stats.queued, stats.in_flight), (2, 2));
}

#[test]
fn without_tries_left_a_death_fails_a_request() {
    course(
        PoolRules::new(1..=1).poison_after(9),
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1 x0", "s1>0"),
            (0, "submit 2 x2", ""),
            (1, "end 0", "f1E0/1"),
            (101, "tick", "+1"),
            (102, "ready 1", "s2>1"),
            (103, "end 1", ""),
            (303, "tick", "+2"),
            (304, "ready 2", "s2>2/2"),
            (305, "end 2", "f2E2/2"),
            (305, "ok 2 2", ""),
        ],
    );
}

#[test]
fn the_poisonous_is_found_and_the_innocent_beside_it_are_served() {
    course(
        PoolRules::new(1..=1).in_flight(2).poison_after(2),
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1 x9", "s1>0"),
            (0, "submit 2 x9", "s2>0"),
            (0, "submit 3", ""),
            // Whose fault it was is not known: no count.
            (1, "end 0", ""),
            (101, "tick", "+1"),
            (101, "ready 1", "s1>1/2"),
            (102, "end 1", ""),
            (302, "tick", "+2"),
            (302, "ready 2", "s1>2/3"),
            (303, "end 2", "f1P2/3"),
            (703, "tick", "+3"),
            (703, "ready 3", "s2>3/2"),
            (704, "ok 3 2", "d2 s3>3"),
        ],
    );
}

#[test]
fn suspects_leave_half_of_the_workers_to_the_others() {
    course(
        PoolRules::new(4..=4).in_flight(4),
        &[
            (0, "start", "+0 +1 +2 +3"),
            (0, "ready 3", ""),
            (0, "submit 1 x2", "s1>3"),
            (0, "submit 2 x2", "s2>3"),
            (0, "submit 3 x2", "s3>3"),
            (0, "submit 4 x2", "s4>3"),
            (0, "ready 0", ""),
            (0, "ready 1", ""),
            (0, "ready 2", ""),
            // Three are ready, so one is kept for suspects.
            (1, "end 3", "s1>0/2"),
            (2, "submit 5", "s5>1"),
            (2, "submit 6", "s6>2"),
            (3, "ok 0 1", "d1 s2>0/2 +4"),
            (4, "ready 4", "s3>4/2"),
            (5, "submit 7", "s7>2"),
        ],
    );
}

#[test]
fn where_each_serves_one_at_a_time_suspects_are_as_all_others() {
    course(
        PoolRules::new(2..=2),
        &[
            (0, "start", "+0 +1"),
            (0, "ready 0", ""),
            (0, "ready 1", ""),
            (0, "submit 1 x2", "s1>0"),
            (0, "submit 2 x2", "s2>1"),
            (0, "submit 3", ""),
            (1, "end 1", ""),
            (2, "end 0", ""),
            (101, "tick", "+2"),
            (102, "ready 2", "s1>2/2 +3"),
            (103, "ready 3", "s2>3/2"),
        ],
    );
}

#[test]
fn none_is_idle_while_suspects_wait_for_one_another() {
    course(
        PoolRules::new(1..=2).in_flight(2).idle_after(millis(1_000)),
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1 x2", "s1>0"),
            (0, "submit 2 x2", "s2>0"),
            (0, "submit 3", "+1"),
            (0, "ready 1", "s3>1"),
            (0, "ok 1 3", "d3"),
            (1, "end 0", "s1>1/2"),
            (101, "tick", "+2"),
            (102, "ready 2", ""),
            (5_000, "tick", ""),
            (5_001, "ok 1 1", "d1 s2>1/2 -2"),
        ],
    );
}

#[test]
fn one_worker_is_emptied_for_suspects_however_busy_all_are() {
    course(
        PoolRules::new(2..=2).in_flight(2),
        &[
            (0, "start", "+0 +1"),
            (0, "ready 0", ""),
            (0, "submit 1 x2", "s1>0"),
            (0, "submit 2", "s2>0"),
            (0, "ready 1", ""),
            (0, "submit 3", "s3>1"),
            (0, "submit 4", "s4>1"),
            (0, "submit 5", ""),
            (0, "submit 6", ""),
            (1, "end 0", "f2E0/1"),
            (2, "ok 1 3", "d3 +2"),
            (3, "ready 2", "s1>2/2 s5>1"),
        ],
    );
    let mut bench = course(
        PoolRules::new(1..=1).in_flight(2),
        &[
            (0, "start", "+0"),
            (0, "ready 0", ""),
            (0, "submit 1 x2", "s1>0"),
            (0, "submit 2", "s2>0"),
            (0, "ok 0 2", "d2"),
            (0, "submit 3", "s3>0"),
            (1, "end 0", "f3E0/1 +1"),
            (2, "ready 1", "s1>1/2"),
        ],
    );
    // It stays the same one, though another has as little to do.
    course(
        PoolRules::new(3..=3).in_flight(2),
        &[
            (0, "start", "+0 +1 +2"),
            (0, "ready 0", ""),
            (0, "submit 1 x2", "s1>0"),
            (0, "submit 2", "s2>0"),
            (0, "ready 1", ""),
            (0, "submit 3", "s3>1"),
            (0, "ready 2", ""),
            (0, "submit 4", "s4>2"),
            (1, "end 0", "f2E0/1"),
            (2, "submit 5", "s5>1"),
            (3, "ok 2 4", "d4 s1>2/2 +3"),
        ],
    );
    // Its caller goes: until the worker gives it back, that gets nothing.
    assert_eq!(bench.step(3, "drop 1"), "c1>1");
    assert_eq!(bench.step(4, "submit 4"), "");
    assert_eq!(bench.step(5, "ok 1 1"), "s4>1");
}

#[test]
fn starts_back_off_until_a_new_worker_serves() {
    let mut bench = course(
        PoolRules::new(2..=2),
        &[
            (0, "start", "+0 +1"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "ok 0 1", "d1"),
        ],
    );
    let mut now = 0;
    for (worker, wait) in (1..).zip([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]) {
        let input = if worker % 2 == 0 {
            format!("no-start {worker}")
        } else {
            format!("end {worker}")
        };
        assert_eq!(bench.step(now, &input), "");
        assert_eq!(bench.due(), Some(u128::from(now + wait)));
        // The old one's answers say nothing about the new ones.
        let request = worker + 10;
        bench.step(now, &format!("submit {request}"));
        bench.step(now, &format!("ok 0 {request}"));
        now += wait;
        assert_eq!(bench.step(now - 1, "tick"), "");
        assert_eq!(bench.step(now, "tick"), format!("+{}", worker + 1));
    }
    bench.step(now, "ready 10");
    bench.step(now, "end 10");
    assert_eq!(bench.due(), Some(u128::from(now + 10_000)), "ready only");
    now += 10_000;
    assert_eq!(bench.step(now, "tick"), "+11");
    for (input, done) in [
        ("ready 11", ""),
        ("submit 90", "s90>0"),
        ("submit 91", "s91>11"),
        ("bad 11 91", "d91x"),
        ("end 11", "+12"),
        ("no-start 12", ""),
    ] {
        assert_eq!(bench.step(now, input), done, "{input}");
    }
    assert_eq!(bench.due(), Some(u128::from(now + 100)), "it began anew");
}

#[test]
fn workers_that_fail_together_count_once_and_come_back_one_by_one() {
    course(
        PoolRules::new(3..=3),
        &[
            (0, "start", "+0 +1 +2"),
            (0, "no-start 0", ""),
            (50, "no-start 1", ""),
            (60, "end 2", ""),
            (99, "tick", ""),
            (100, "tick", "+3"),
            (200, "ready 3", "+4"),
            (300, "ready 4", "+5"),
            (301, "submit 1", "s1>3"),
            (302, "ok 3 1", "d1"),
            (303, "end 5", ""),
            (402, "tick", ""),
            (403, "tick", "+6"),
        ],
    );
}

#[test]
fn a_pool_without_workers_breaks_and_recovers() {
    let rules = PoolRules::new(1..=2).start_failures(3);
    let mut bench = course(
        rules,
        &[
            (0, "start", "+0"),
            (0, "submit 8", ""),
            (0, "submit 7 x5", "+1"),
            (0, "no-start 0", ""),
            (0, "no-start 1", ""),
            (100, "tick", "+2"),
            (100, "end 2", "B f8N/0 f7N/0"),
            (200, "submit 3", "f3N/0"),
        ],
    );
    assert_eq!(bench.due(), Some(10_100));
    assert_eq!(bench.step(10_100, "tick"), "+3");
    assert_eq!(bench.step(10_100, "no-start 3"), "", "it is said once");
    assert_eq!(bench.step(20_100, "tick"), "+4");
    assert_eq!(bench.step(20_200, "ready 4"), "V");
    assert_eq!(bench.step(20_200, "submit 3"), "s3>4");
    // Nor does one stay broken that needs no worker.
    course(
        PoolRules::new(0..=2).start_failures(1),
        &[
            (0, "start", ""),
            (0, "submit 1", "+0"),
            (0, "no-start 0", "B f1N/0"),
            (9_999, "tick", ""),
            (10_000, "tick", "+1"),
            (10_001, "ready 1", "V"),
            (40_001, "tick", "-1"),
        ],
    );
    // It may break again, and is not broken while one is ready.
    bench.step(20_200, "end 4");
    for (worker, done) in [(5, ""), (6, ""), (7, "B"), (8, "")] {
        let now = 100_000 * worker;
        assert_eq!(bench.step(now, "tick"), format!("+{worker}"));
        assert_eq!(bench.step(now, &format!("no-start {worker}")), done);
    }
    assert_eq!(bench.step(900_000, "tick"), "+9");
    assert_eq!(bench.step(900_000, "ready 9"), "V");
    for worker in 10..20 {
        let now = 100_000 * worker;
        let done = bench.step(now, &format!("submit {worker}0"));
        let more = bench.step(now, &format!("submit {worker}1"));
        assert!(
            format!("{done}{more}").contains(&format!("+{worker}")),
            "{done} {more}"
        );
        assert_eq!(bench.step(now, &format!("no-start {worker}")), "");
        for request in [0, 1] {
            bench.step(now, &format!("drop {worker}{request}"));
            bench.step(now, &format!("bad 9 {worker}{request}"));
        }
    }
}

#[test]
fn a_wait_is_drawn_once_and_no_longer_than_the_most() {
    let start = Instant::now();
    let mut dispatch = Dispatch::new(PoolRules::new(2..=2));
    step(&mut dispatch, Input::Start, start, |most| most);
    let mut asked = Vec::new();
    for worker in 0..2 {
        step(
            &mut dispatch,
            Input::WorkerStartFailed { worker },
            start,
            |most| {
                asked.push(most);
                Duration::MAX
            },
        );
    }
    assert_eq!(asked, [millis(100)]);
    assert_eq!(dispatch.deadline(), Some(start + millis(100)));
}

#[test]
fn what_did_not_get_to_its_worker_is_not_counted_and_that_worker_gets_no_more() {
    course(
        PoolRules::new(2..=2).in_flight(2),
        &[
            (0, "start", "+0 +1"),
            (0, "ready 0", ""),
            (0, "submit 1", "s1>0"),
            (0, "submit 2", "s2>0"),
            // It may be sent but once, and was not.
            (0, "unsent 0 2", ""),
            (0, "submit 3", ""),
            (0, "ready 1", "s2>1 s3>1"),
            (0, "end 0", "f1E0/1"),
            (0, "unsent 0 1", ""),
        ],
    );
}
