//! Ends that the group did not ask for, and ends that come in the middle of something.

use std::path::Path;
use std::sync::Mutex;

use tokio::sync::mpsc;

use super::*;
use crate::Runnable;

#[tokio::test(start_paused = true)]
async fn a_oneshot_lets_others_start_when_it_has_ended_well() {
    let manager = manager();
    let (group, mut events) = start(&manager, OneForOne, "web:set set*:db db", always(HOUR)).await;
    until(&mut events, "set=starting").await;
    tokio::time::sleep(HOUR).await;
    tell(&group, "set", "0").await;
    let expected = "set=ended web=starting web=ready R";
    assert_eq!(until(&mut events, "R").await, expected);
    group.stop().await.expect("the end");
    let expected = "web=stopping web=stopped db=stopping db=stopped S";
    assert_eq!(rest(events).await, expected);
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_oneshot_that_is_ended_before_its_work_is_done_has_failed() {
    for code in [None, Some("1")] {
        let manager = manager();
        let (group, mut events) = start(&manager, OneForOne, "web:set set*", always(HOUR)).await;
        until(&mut events, "set=starting").await;
        while group.process("set").is_none() {
            tokio::task::yield_now().await;
        }
        match code {
            Some(code) => tell(&group, "set", code).await,
            // It exits with 0 then.
            None => drop(member(&group, "set").stop().await.expect("its end")),
        }
        let expected = "set=failed web=stopped !set xweb:set S";
        assert_eq!(rest(events).await, expected);
        let status = group.wait().await.expect("it has nothing more to do");
        assert_eq!(status.phase(), GroupPhase::Stopped);
        manager.shutdown().await.expect("the end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_a_user_ends_is_nobodys_failure() {
    for policy in [OneForOne, RestForOne, OneForAll] {
        let manager = manager();
        let (group, mut events) = start(&manager, policy, "web:db db log", always(HOUR)).await;
        until(&mut events, "R").await;
        let report = member(&group, "db").kill().await.expect("its end");
        assert_eq!(report.cause(), ExitCause::Killed);
        assert_eq!(until(&mut events, "db=ended").await, "db=ended");
        tell(&group, "web", "1").await;
        let seen = until(&mut events, "web=stopped").await;
        assert!(seen.starts_with("web=down"), "{policy:?}: {seen}");
        assert_eq!(state(&group, "log"), MemberState::Ready, "{policy:?}");
        group.stop().await.expect("the end");
        manager.shutdown().await.expect("the end");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_ended_while_it_waits_for_its_turn_is_not_waited_for() {
    let manager = manager();
    let (group, mut events) = start(&manager, RestForOne, "web:db db", always(HOUR)).await;
    until(&mut events, "R").await;
    tell(&group, "db", "1").await;
    until(&mut events, "db=restarting").await;
    // It is to be started again, when the backoff of the other is over.
    assert_eq!(state(&group, "web"), MemberState::Idle);
    member(&group, "web").stop().await.expect("its end");
    let seen = until(&mut events, "web=ended").await;
    assert_eq!(seen, "db=ready web=starting web=ended");
    group.stop().await.expect("the end");
    assert_eq!(rest(events).await, "db=stopping db=stopped S");
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_its_handle_is_as_the_end_of_a_run() {
    let manager = manager();
    let never = Supervision::new(RestartPolicy::Never);
    let (group, mut events) = start(&manager, RestForOne, "web:db db", never).await;
    until(&mut events, "R").await;
    assert!(member(&group, "db").restart().await.expect("there"));
    let seen = until(&mut events, "web=ready").await;
    let expected = "db=down web=stopping web=idle db=restarting db=ready web=starting web=ready";
    assert_eq!(seen, expected);
    assert_eq!(
        (run_of(&group, "db").await, run_of(&group, "web").await),
        (1, 1)
    );
    group.stop().await.expect("the end");
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_stop_finds_each_wherever_it_is() {
    let manager = manager();
    let (group, mut events) = start(
        &manager,
        RestForOne,
        "web:db db slow? late:slow",
        always(HOUR),
    )
    .await;
    until(&mut events, "web=ready").await;
    tell(&group, "db", "1").await;
    until(&mut events, "db=restarting").await;
    // One in its backoff, one held for its turn, one that is not ready yet, one that was never started.
    let status = group.stop().await.expect("the end");
    let states: Vec<_> = status.members().iter().map(MemberStatus::state).collect();
    assert_eq!(states, [MemberState::Stopped; 4]);
    for name in ["web", "db", "slow"] {
        let info = member(&group, name)
            .get_process_info()
            .await
            .expect("there");
        assert!(info.permanent_end().is_some(), "{name} has ended for ever");
    }
    manager.shutdown().await.expect("the end");
}

/// Is being started until it is let go.
struct Slow {
    begun: mpsc::Sender<()>,
    gate: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Runnable for Slow {
    fn bootstrap_cmd(&self, _: &Path) -> Result<Cmd, String> {
        self.begun
            .blocking_send(())
            .map_err(|error| error.to_string())?;
        let _ = self.gate.lock().expect("not poisoned").recv();
        let never = Supervision::new(RestartPolicy::Never);
        Ok(Cmd::new("sleep").arg("1000").supervised(never))
    }
}

#[tokio::test]
async fn what_is_stopped_while_it_is_being_spawned_is_stopped_then() {
    let manager = manager();
    let (begun, mut has_begun) = mpsc::channel(1);
    let (open, gate) = std::sync::mpsc::channel();
    let gate = Mutex::new(gate);
    let part = Part::new(MemberKind::Service, Box::new(Slow { begun, gate }));
    let graph = Graph::new([Node::new("db")]).expect("a graph");
    let group = manager.start_group(graph, OneForOne, vec![part]).await;
    let group = group.expect("it starts");
    has_begun.recv().await.expect("its start");
    assert!(group.stop().now_or_never().is_none());
    let mut events = group.events();
    let seen = until(&mut events, "db=stopping").await;
    assert_eq!(seen, "db=starting db=stopping");
    assert!(group.process("db").is_none());
    open.send(()).expect("it waits");
    assert_eq!(rest(events).await, "db=stopped S");
    let report = member(&group, "db").wait().await.expect("its end");
    assert_eq!(report.cause(), ExitCause::Stopped);
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_of_the_manager_ends_it() {
    for busy in [false, true] {
        let manager = manager();
        let (group, mut events) = start(
            &manager,
            RestForOne,
            "web:db db slow? late:slow",
            always(HOUR),
        )
        .await;
        until(&mut events, "web=ready").await;
        if busy {
            tell(&group, "db", "1").await;
            until(&mut events, "db=restarting").await;
        }
        let waits = tokio::spawn({
            let group = group.clone();
            async move { (group.wait_ready().await, group.wait().await) }
        });
        manager.shutdown().await.expect("the end");
        let (ready, status) = waits.await.expect("it waits");
        assert_eq!(ready, Err(GroupError::Stopped));
        let status = status.expect("the task is waited for");
        let states: Vec<_> = status.members().iter().map(MemberStatus::state).collect();
        assert_eq!(states, [MemberState::Stopped; 4]);
        assert_eq!(group.stop().await.expect("it has stopped"), status);
        assert!(rest(events).await.ends_with(" S"));
        let error = manager.spawn_group(crate::ProcessGroup::new()).await;
        assert!(matches!(
            error,
            Err(SpawnGroupError::ManagerCommunicationError)
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_from_a_shutdown_on() {
    let manager = manager();
    let frames = Messaging::named_pipes().framing(Framing::Frames);
    let cmd = Cmd::new("scripted").messaging(frames);
    let cmd = cmd.ready_when(Readiness::Frame).no_start_deadline();
    let cmd = cmd.supervised(always(HOUR));
    let late = ScriptedChild::new(cmd, |mut child| async move {
        while child.next().await != ChildEvent::Stop {}
        // Too late for what waits for it.
        child.ready("").await;
        tokio::time::sleep(SECOND).await;
        0
    });
    let parts = ["db", "web"].map(|_| Part::new(MemberKind::Service, Box::new(late.clone())));
    let graph = Graph::new([Node::new("db"), Node::new("web").needs(["db"])]);
    let graph = graph.expect("a graph");
    let group = manager.start_group(graph, OneForOne, parts.into()).await;
    let group = group.expect("it starts");
    while group.process("db").is_none() {
        tokio::task::yield_now().await;
    }
    manager.shutdown().await.expect("the end");
    let seen = rest(group.events()).await;
    assert_eq!(seen, "db=starting web=stopped db=stopping db=stopped S");
}

#[tokio::test(start_paused = true)]
async fn handles_may_go_and_the_group_goes_on_until_the_last_of_the_manager_goes() {
    let manager = manager();
    let (group, mut events) = start(&manager, OneForOne, "web:db db", always(HOUR)).await;
    drop(group);
    until(&mut events, "R").await;
    let mut all = manager.list().await.expect("a list");
    assert_eq!(all.len(), 2);
    let one = all.remove(0).id();
    let one = manager.process(one).await.expect("there");
    drop(manager);
    one.kill().await.expect("its end");
    // The last handle to the manager.
    drop(one);
    assert!(rest(events).await.ends_with(" S"));
}

#[tokio::test(start_paused = true)]
async fn a_group_for_a_future_that_was_dropped_is_not_left_running() {
    let manager = manager();
    let group = || crate::ProcessGroup::new().process("x", Cmd::new("sleep").arg("1000"));
    assert!(manager.spawn_group(group()).now_or_never().is_none());
    // One after it: the manager has seen to the first.
    let second = manager.spawn_group(crate::ProcessGroup::new()).await;
    let second = second.expect("it starts");
    second
        .wait_ready()
        .await
        .expect("a group of nobody is ready");
    second.wait().await.expect("and has stopped");
    assert_eq!(manager.list().await.expect("a list"), []);
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_late_is_told_what_it_missed() {
    let manager = manager();
    let nodes: Vec<_> = (0..600).map(|node| format!("n{node}*")).collect();
    let (group, mut events) = start(&manager, OneForOne, &nodes.join(" "), always(HOUR)).await;
    for node in 0..600 {
        let name = format!("n{node}");
        while group.process(&name).is_none() {
            tokio::task::yield_now().await;
        }
        tell(&group, &name, "0").await;
    }
    group.wait().await.expect("the end");
    // 600 are started and have ended, and there are Ready and Stopped.
    let missed = 2 * 600 + 2 - 1024;
    assert_eq!(events.next().await, Some(GroupEvent::Missed(missed)));
    assert!(rest(events).await.ends_with(" R S"));
    assert_eq!(group.events().next().await, None);
    manager.shutdown().await.expect("the end");
}

/// A process that does not end counts as failed, and the processes that it needs are stopped after
/// it.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_killed_holds_up_no_stop() {
    let manager = manager();
    let nodes = "db web+:db other";
    let (group, mut events) = start(&manager, OneForOne, nodes, always(SECOND)).await;
    until(&mut events, "R").await;
    let begun = tokio::time::Instant::now();
    let stopped = group.stop().await;
    assert_eq!(begun.elapsed(), crate::DEFAULT_GRACE + KILL_BOUND);
    let Err(ManagerError::NotEnded { left }) = stopped else {
        panic!("{stopped:?}");
    };
    assert_eq!(left.len(), 1);
    assert_eq!(state(&group, "web"), MemberState::Failed);
    assert_eq!(state(&group, "db"), MemberState::Stopped);
    assert_eq!(state(&group, "other"), MemberState::Stopped);
    let status = group.status().to_string();
    assert!(status.contains("it does not end: process"), "{status}");
    assert!(
        rest(events)
            .await
            .ends_with("web=failed db=stopping db=stopped S")
    );
    manager
        .shutdown_with(Duration::ZERO)
        .await
        .expect_err("it does not end");
}

/// Processes that are to run again together wait for one that does not end, but not where the group
/// is stopped then.
#[tokio::test(start_paused = true)]
async fn a_group_that_waits_to_restart_what_cannot_be_killed_can_be_stopped() {
    let manager = manager();
    let (group, mut events) = start(&manager, OneForAll, "one+ two", always(SECOND)).await;
    until(&mut events, "R").await;
    let mut told = member(&group, "one").events();
    tell(&group, "two", "1").await;
    while !matches!(told.next().await, Some(crate::Event::NotEnded { .. })) {}
    tokio::time::sleep(HOUR).await;
    assert_eq!(state(&group, "one"), MemberState::Stopping);
    assert_eq!(state(&group, "two"), MemberState::Down);
    let begun = tokio::time::Instant::now();
    let stopped = group.stop().await;
    assert_eq!(begun.elapsed(), KILL_BOUND);
    assert!(matches!(stopped, Err(ManagerError::NotEnded { .. })));
    assert_eq!(state(&group, "one"), MemberState::Failed);
    manager
        .shutdown_with(Duration::ZERO)
        .await
        .expect_err("it does not end");
}
