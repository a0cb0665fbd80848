//! Starting, stopping, and who is restarted with whom.

use super::*;

const DIAMOND: &str = "web:api,cache api:db cache:db db log";

#[tokio::test(start_paused = true)]
async fn each_starts_when_its_needs_are_ready_and_stops_before_them() {
    let manager = manager();
    let (group, mut events) = start(&manager, OneForOne, "c:b b?:a a?", always(HOUR)).await;
    assert_eq!(until(&mut events, "a=starting").await, "a=starting");
    assert_eq!(group.status().phase(), GroupPhase::Starting);
    // Nothing else is going to happen.
    tokio::time::sleep(HOUR).await;
    assert_eq!(events.next().now_or_never(), None);
    assert!(group.process("b").is_none() && group.process("nobody").is_none());
    tell(&group, "a", "ready").await;
    assert_eq!(until(&mut events, "b=starting").await, "a=ready b=starting");
    tokio::time::sleep(HOUR).await;
    tell(&group, "b", "ready").await;
    let expected = "b=ready c=starting c=ready R";
    assert_eq!(until(&mut events, "R").await, expected);
    group.wait_ready().await.expect("ready");
    assert_eq!(group.status().phase(), GroupPhase::Ready);
    let status = group.stop().await.expect("the end");
    let expected = "c=stopping c=stopped b=stopping b=stopped a=stopping a=stopped S";
    assert_eq!(rest(events).await, expected);
    assert_eq!(status.phase(), GroupPhase::Stopped);
    assert!(
        status
            .members()
            .iter()
            .all(|it| it.state() == MemberState::Stopped)
    );
    assert_eq!(group.wait().await.expect("it stays so"), status);
    group.wait_ready().await.expect("it was ready");
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_need_each_other_starts_at_the_same_time() {
    let manager = manager();
    let (group, mut events) = start(&manager, OneForOne, "a? b? c? d?:a,b,c", always(HOUR)).await;
    let mut at_once: Vec<_> = Vec::new();
    for _ in 0..3 {
        at_once.push(letters(&events.next().await.expect("an event")));
    }
    at_once.sort();
    assert_eq!(at_once, ["a=starting", "b=starting", "c=starting"]);
    for name in ["a", "b", "c"] {
        while group.process(name).is_none() {
            tokio::task::yield_now().await;
        }
    }
    group.stop().await.expect("the end");
    assert_eq!(group.wait_ready().await, Err(GroupError::Stopped));
    assert!(group.process("d").is_none(), "never started");
    manager.shutdown().await.expect("the end");
}

/// What happens from the death of `api` until all is ready again, and how often each was started again.
async fn after_a_death(policy: FailurePolicy) -> (String, Vec<u64>) {
    let manager = manager();
    let (group, mut events) = start(&manager, policy, DIAMOND, always(HOUR)).await;
    until(&mut events, "R").await;
    let ids = |status: GroupStatus| -> Vec<_> {
        let members = status.members().iter();
        members.map(MemberStatus::process).collect()
    };
    let before = ids(group.status());
    tell(&group, "api", "3").await;
    let last = if policy == OneForOne {
        "api=ready"
    } else {
        "web=ready"
    };
    let seen = until(&mut events, last).await;
    assert_eq!(ids(group.status()), before, "the ids stay");
    let mut runs = Vec::new();
    for name in ["web", "api", "cache", "db", "log"] {
        runs.push(run_of(&group, name).await);
    }
    group.stop().await.expect("the end");
    manager.shutdown().await.expect("the end");
    (seen, runs)
}

#[tokio::test(start_paused = true)]
async fn one_for_one_restarts_what_has_failed() {
    let (seen, runs) = after_a_death(OneForOne).await;
    assert_eq!(seen, "api=down api=restarting api=ready");
    assert_eq!(runs, [0, 1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_restarts_all_that_needs_it_as_well() {
    let (seen, runs) = after_a_death(RestForOne).await;
    let expected = "api=down web=stopping web=idle api=restarting api=ready web=starting web=ready";
    assert_eq!(seen, expected);
    assert_eq!(runs, [1, 1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn one_for_all_restarts_all_in_their_order() {
    let (seen, runs) = after_a_death(OneForAll).await;
    assert_eq!(runs, [1, 1, 1, 1, 1]);
    let at = |what: &str| seen.split(' ').position(|seen| seen == what).expect(what);
    let order = [
        "api=down",
        "web=stopping",
        "web=idle",
        "cache=stopping",
        "cache=idle",
        "db=stopping",
        "db=idle",
        "db=starting",
        "db=ready",
        "api=restarting",
        "api=ready",
        "web=starting",
    ];
    assert!(order.map(at).is_sorted(), "{seen}");
    assert!(
        at("log=idle") < at("db=starting"),
        "none meets an old one: {seen}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_takes_along_whom_the_policy_says() {
    let rules = always(Duration::ZERO).intensity(RestartIntensity::new(0, HOUR));
    for (policy, expected) in [
        (OneForOne, "db=failed"),
        (RestForOne, "db=failed web=stopping web=stopped"),
        (OneForAll, "db=failed web=stopping log=stopping !db"),
    ] {
        let manager = manager();
        let (group, mut events) = start(&manager, policy, "web:db db log", rules).await;
        until(&mut events, "R").await;
        tell(&group, "db", "7").await;
        let last = expected.split(' ').next_back().expect("one");
        let mut seen: Vec<_> = Vec::new();
        while seen.last().is_none_or(|seen| seen != last) {
            seen.push(letters(&events.next().await.expect("an event")));
        }
        let missing: Vec<_> = expected
            .split(' ')
            .filter(|it| !seen.iter().any(|seen| seen == it))
            .collect();
        assert!(
            missing.is_empty(),
            "{policy:?}: {missing:?} not in {seen:?}"
        );
        let report = member(&group, "db").wait().await.expect("its end");
        assert_eq!(
            (report.code(), report.cause()),
            (Some(7), ExitCause::RestartLimit)
        );
        if policy == OneForAll {
            let status = group.wait().await.expect("the end");
            assert_eq!(status.phase(), GroupPhase::Stopped);
            let error = group.wait_ready().await.expect_err("it has failed");
            let error = error.to_string();
            assert!(error.starts_with("`db` exited with code 7"), "{error}");
            assert!(error.contains("it was restarted too often"), "{error}");
        } else {
            group.wait_ready().await.expect("it was ready once");
            assert_eq!(state(&group, "log"), MemberState::Ready);
            group.stop().await.expect("the end");
        }
        manager.shutdown().await.expect("the end");
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_before_the_group_is_ready_is_named() {
    let manager = manager();
    let never = Supervision::new(RestartPolicy::Never);
    let (group, mut events) = start(&manager, OneForOne, "web:api api:db db? log", never).await;
    until(&mut events, "log=ready").await;
    while group.process("db").is_none() {
        tokio::task::yield_now().await;
    }
    tell(&group, "db", "5").await;
    let error = group.wait_ready().await.expect_err("it fails");
    let GroupError::Failed {
        name,
        why: MemberFailure::Ended { report, .. },
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((name.as_str(), report.code()), ("db", Some(5)));
    let expected = "db=failed api=stopped web=stopped !db xweb:db xapi:db";
    assert_eq!(until(&mut events, "xapi:db").await, expected);
    let status = group.status();
    assert_eq!(status.phase(), GroupPhase::Failed);
    assert!(
        status
            .to_string()
            .starts_with("the group has failed\n  web: stopped\n"),
        "{status}"
    );
    group.stop().await.expect("the end");
    manager.shutdown().await.expect("the end");
}
