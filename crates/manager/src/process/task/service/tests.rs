//! Services whose runs are scripts, in paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use procession_wire::Framing;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::test_util::{ChildEvent, ChildSide, ScriptedChild};
use crate::{
    Backoff, Cmd, Event, EventStream, ExitCause, HealthCheck, HealthRule, HealthState, Messaging,
    PermanentEnd, ProcessHandle, ProcessManager, ProcessManagerHandle, ProcessState, Readiness,
    ReceiveMessageError, RemoveProcessError, RequestError, RestartIntensity, RestartPolicy,
    Supervision, Undelivered, WriteMessageError,
};

const SECOND: Duration = Duration::from_secs(1);

fn manager() -> ProcessManagerHandle {
    ProcessManager::in_temp().expect("a manager")
}

fn frames() -> Cmd {
    Cmd::new("scripted").messaging(Messaging::named_pipes().framing(Framing::Frames))
}

/// Always restarted, after waits of up to a second, from the same draw on.
fn always() -> Supervision {
    Supervision::new(RestartPolicy::Always)
        .backoff(Backoff::new(SECOND, SECOND))
        .intensity(RestartIntensity::new(1000, SECOND))
        .seed(7)
}

/// Echoes messages and requests, and exits with the number that it is told.
async fn echo(mut child: ChildSide) -> i32 {
    child.ready("").await;
    loop {
        match child.next().await {
            ChildEvent::Message(message) => match message.as_str().ok().and_then(exit_code) {
                Some(code) => return code,
                None => child.send(message).await,
            },
            ChildEvent::Request { id, message } => {
                match message.as_str().ok().and_then(exit_code) {
                    Some(code) => return code,
                    None => child.reply(id, message).await,
                }
            }
            ChildEvent::Stop => {
                child.bye(0).await;
                return 0;
            }
            ChildEvent::InputEnded => return 1,
            _ => {}
        }
    }
}

fn exit_code(text: &str) -> Option<i32> {
    text.strip_prefix("exit ")?.parse().ok()
}

async fn spawn(manager: &ProcessManagerHandle, child: ScriptedChild) -> ProcessHandle {
    manager.spawn_with_handle(child).await.expect("it starts")
}

/// The next restart that is told: the number of the run, and its wait.
async fn restarting(events: &mut EventStream) -> (u64, Duration) {
    loop {
        match events.next().await.expect("another event") {
            Event::Restarting { run, wait, .. } => return (run, wait),
            Event::Finished { .. } => panic!("it ended for ever"),
            _ => {}
        }
    }
}

async fn running(events: &mut EventStream) {
    while !matches!(
        events.next().await.expect("another event"),
        Event::Running { .. }
    ) {}
}

#[tokio::test(start_paused = true)]
async fn handles_and_subscriptions_outlive_its_runs() {
    let manager = manager();
    let child = spawn(
        &manager,
        ScriptedChild::new(frames().supervised(always()), echo),
    )
    .await;
    let mut messages = child.subscribe_message_stream().await.expect("a stream");
    let id = child.id();
    for run in 0..50_u64 {
        child.wait_ready().await.expect("ready");
        let info = child.get_process_info().await.expect("there");
        assert_eq!((info.id(), info.run()), (id, run));
        let text = format!("of run {run}");
        child.send_message(text.as_str()).await.expect("sent");
        assert_eq!(
            messages.next().await.expect("one").expect("whole"),
            text.as_str()
        );
        assert_eq!(
            child.request(text.as_str()).await.expect("a reply"),
            text.as_str()
        );
        child.send_message("exit 3").await.expect("sent");
        let next = messages.next().await.expect("an item");
        assert_eq!(next, Err(ReceiveMessageError::NewRun(run + 1)));
    }
    let past = child.past_runs().expect("there");
    let numbers: Vec<_> = past.iter().map(crate::RunInfo::number).collect();
    assert_eq!(numbers, [46, 47, 48, 49]);
    assert!(past.iter().all(|run| run.report().code() == Some(3)));
    let report = child.stop().await.expect("the end");
    assert_eq!(report.cause(), ExitCause::Stopped);
    let info = child.get_process_info().await.expect("there");
    assert_eq!(info.permanent_end(), Some(PermanentEnd::Requested));
    assert!(
        messages.next().await.is_none(),
        "the stream ends with the last run"
    );
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_restart_waits_as_long_as_it_is_told() {
    let manager = manager();
    let backoff = Backoff::new(SECOND, 8 * SECOND);
    let rules = always().backoff(backoff);
    let fails = ScriptedChild::new(Cmd::new("fails").supervised(rules), |_| async { 1 });
    let mut events = manager.events();
    let child = spawn(&manager, fails).await;
    running(&mut events).await;
    let mut last = Instant::now();
    for run in 1..20 {
        let (told, wait) = restarting(&mut events).await;
        assert_eq!(told, run);
        let most = backoff.most(u32::try_from(run - 1).expect("few"));
        assert!(wait <= most, "{wait:?} is over {most:?}");
        running(&mut events).await;
        // The clock of tests goes in steps of a millisecond.
        let waited = last.elapsed();
        assert!(
            waited >= wait && waited <= wait + Duration::from_millis(2),
            "{waited:?}, not {wait:?}"
        );
        last = Instant::now();
    }
    child.kill().await.expect("the end");
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_is_given_up_once_and_for_ever() {
    let manager = manager();
    let rules = always().intensity(RestartIntensity::new(5, 60 * SECOND));
    let fails = ScriptedChild::new(frames().supervised(rules), |_| async { 9 });
    let mut events = manager.events();
    let child = spawn(&manager, fails).await;
    let report = child.wait().await.expect("the end");
    assert_eq!(
        (report.code(), report.cause()),
        (Some(9), ExitCause::RestartLimit)
    );
    let info = child.get_process_info().await.expect("there");
    let end = PermanentEnd::TooManyRestarts {
        restarts: 5,
        period: 60 * SECOND,
    };
    assert_eq!((info.run(), info.permanent_end()), (5, Some(end)));
    assert_eq!(info.state(), ProcessState::Finished);
    tokio::time::sleep(3600 * SECOND).await;
    let error = child.send_message("x").await.expect_err("it has ended");
    assert!(
        matches!(error, WriteMessageError::ProcessExited { .. }),
        "{error}"
    );
    assert!(!child.restart().await.expect("there"), "for ever");
    child.remove().await.expect("removed");
    manager.shutdown().await.expect("the end");
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Event::GaveUp { end, .. } => told.push(format!("gave up: {end:?}")),
            Event::Finished { .. } => told.push("finished".to_owned()),
            Event::Restarting { run, .. } => told.push(run.to_string()),
            _ => {}
        }
    }
    let gave_up = format!("gave up: {end:?}");
    assert_eq!(told, ["1", "2", "3", "4", "5", &gave_up, "finished"]);
}

#[tokio::test(start_paused = true)]
async fn the_policy_says_which_ends_are_followed_by_a_run() {
    let manager = manager();
    let all = [
        (RestartPolicy::Never, 1, false),
        (RestartPolicy::Never, 0, false),
        (RestartPolicy::OnFailure, 1, true),
        (RestartPolicy::OnFailure, 0, false),
        (RestartPolicy::Always, 1, true),
        (RestartPolicy::Always, 0, true),
    ];
    for (policy, code, restarts) in all {
        let rules = Supervision::new(policy).seed(1);
        let exits =
            ScriptedChild::new(
                Cmd::new("exits").supervised(rules),
                move |_| async move { code },
            );
        let mut events = manager.events();
        let child = spawn(&manager, exits).await;
        if restarts {
            assert_eq!(restarting(&mut events).await.0, 1, "{policy} {code}");
            child.kill().await.expect("the end");
        } else {
            let report = child.wait().await.expect("the end");
            assert_eq!(
                (report.code(), report.cause()),
                (Some(code), ExitCause::ByItself)
            );
            let info = child.get_process_info().await.expect("there");
            assert_eq!(info.permanent_end(), Some(PermanentEnd::ByItself));
        }
    }
    manager.shutdown().await.expect("the end");
}

/// Takes one message, ends when it is told to, and reads nothing more.
fn takes_one(
    end: &Arc<Notify>,
) -> impl Fn(ChildSide) -> futures::future::BoxFuture<'static, i32> + Send + Sync + use<> {
    let end = Arc::clone(end);
    let run = AtomicU64::new(0);
    move |mut child| {
        let (end, first) = (Arc::clone(&end), run.fetch_add(1, Ordering::SeqCst) == 0);
        async move {
            if !first {
                return echo(child).await;
            }
            end.notified().await;
            let _ = child.next().await;
            1
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_delivered_goes_to_the_next_run() {
    let manager = manager();
    let end = Arc::new(Notify::new());
    let messaging = Messaging::standard_io().framing(Framing::Frames);
    let cmd = Cmd::new("scripted")
        .messaging(messaging)
        .supervised(always());
    let child = spawn(&manager, ScriptedChild::new(cmd.clone(), takes_one(&end))).await;
    let mut messages = child.subscribe_message_stream().await.expect("a stream");
    let sends: Vec<_> = (0..500_u32)
        .map(|number| {
            let child = child.clone();
            let text = format!("{number:0>50000}").repeat(2);
            tokio::spawn(async move { child.send_message(text).await.map(|()| number) })
        })
        .collect();
    tokio::time::sleep(SECOND).await;
    end.notify_one();
    let mut failed = 0;
    let mut sent = 0;
    for send in sends {
        match send.await.expect("no panic") {
            Ok(_) => sent += 1,
            Err(WriteMessageError::ProcessExited { .. }) => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        failed <= 1,
        "but the one of which the run had a part: {failed}"
    );
    assert!(sent >= 499);
    child.send_message("last").await.expect("sent");
    let mut echoed = 0;
    loop {
        match messages.next().await.expect("an item") {
            Ok(message) if message == "last" => break,
            Ok(message) => {
                assert_eq!(message.len(), 100_000, "a message was cut");
                echoed += 1;
            }
            Err(ReceiveMessageError::NewRun(1)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    // What the first run has got of the rest is in its pipe, 64 KiB at most, and in what it was read into.
    assert!(echoed + 3 >= 500 - failed, "{echoed} of 500");
    child.stop().await.expect("the end");
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn or_it_fails_with_the_exit_report() {
    let manager = manager();
    let end = Arc::new(Notify::new());
    let messaging = Messaging::standard_io().framing(Framing::Frames);
    let rules = always().undelivered(Undelivered::Fail);
    let cmd = Cmd::new("scripted").messaging(messaging).supervised(rules);
    let child = spawn(&manager, ScriptedChild::new(cmd, takes_one(&end))).await;
    let sends: Vec<_> = (0..100)
        .map(|_| {
            let child = child.clone();
            tokio::spawn(async move { child.send_message(vec![b'x'; 100_000]).await })
        })
        .collect();
    tokio::time::sleep(SECOND).await;
    end.notify_one();
    let mut failed = 0;
    for send in sends {
        match send.await.expect("no panic") {
            Ok(()) => {}
            Err(WriteMessageError::ProcessExited { report, .. }) => {
                assert_eq!(report.code(), Some(1));
                failed += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(failed >= 90, "{failed} of 100");
    child.stop().await.expect("the end");
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_fail_with_the_report_of_their_run() {
    let manager = manager();
    let child = spawn(
        &manager,
        ScriptedChild::new(frames().supervised(always()), echo),
    )
    .await;
    let mut messages = child.subscribe_message_stream().await.expect("a stream");
    for run in 0..10_u8 {
        child.wait_ready().await.expect("ready");
        match child.request(format!("exit {run}")).await {
            Err(RequestError::ProcessExited { report, .. }) => {
                assert_eq!(report.code(), Some(run.into()));
            }
            other => panic!("{other:?}"),
        }
        let next = messages.next().await.expect("an item");
        assert_eq!(next, Err(ReceiveMessageError::NewRun(u64::from(run) + 1)));
    }
    child.stop().await.expect("the end");
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_become_ready_in_time_counts_as_failed() {
    let manager = manager();
    let cmd = frames()
        .ready_when(Readiness::Frame)
        .start_deadline(5 * SECOND)
        .supervised(always().intensity(RestartIntensity::new(2, 3600 * SECOND)));
    let silent = ScriptedChild::new(cmd, |mut child| async move {
        while child.next().await != ChildEvent::Stop {}
        0
    });
    let child = spawn(&manager, silent).await;
    let started = Instant::now();
    let error = child.wait_ready().await.expect_err("it never is");
    assert!(
        started.elapsed() >= 15 * SECOND,
        "three runs: {:?}",
        started.elapsed()
    );
    let report = child.wait().await.expect("the end");
    assert_eq!(report.cause(), ExitCause::RestartLimit, "{error}");
    let causes: Vec<_> = child
        .past_runs()
        .expect("there")
        .iter()
        .map(|run| run.report().cause())
        .collect();
    assert_eq!(causes, [ExitCause::StartFailed; 2]);
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_no_longer_understood_is_replaced() {
    let manager = manager();
    let runs = AtomicU64::new(0);
    let child = ScriptedChild::new(frames().supervised(always()), move |mut child| {
        let first = runs.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first && child.next().await == ChildEvent::Message("talk nonsense".into()) {
                child.write(&[0xff; 64]).await;
                std::future::pending::<()>().await;
            }
            echo(child).await
        }
    });
    let child = spawn(&manager, child).await;
    let mut messages = child.subscribe_message_stream().await.expect("a stream");
    child.send_message("talk nonsense").await.expect("sent");
    let lost = messages.next().await.expect("an item");
    assert!(
        matches!(lost, Err(ReceiveMessageError::FramingLost(_))),
        "{lost:?}"
    );
    child.send_message("x").await.expect("sent");
    assert_eq!(
        messages.next().await,
        Some(Err(ReceiveMessageError::NewRun(1)))
    );
    assert_eq!(messages.next().await.expect("one").expect("whole"), "x");
    let causes = child.past_runs().expect("there");
    assert_eq!(causes[0].report().cause(), ExitCause::Unresponsive);
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn one_hiccup_restarts_nothing_and_several_do() {
    let manager = manager();
    let well = Arc::new(AtomicU64::new(2));
    let check = {
        let well = Arc::clone(&well);
        HealthCheck::new(SECOND, move |_| {
            let left = well.fetch_sub(1, Ordering::SeqCst);
            std::future::ready(left != 1)
        })
    };
    let rules = always().health(HealthRule::new(3, 2));
    let cmd = frames().supervised(rules).health_check(check);
    let child = spawn(&manager, ScriptedChild::new(cmd, echo)).await;
    let mut events = child.events();
    let health = async || child.get_process_info().await.expect("there").health();
    tokio::time::sleep(SECOND + SECOND / 2).await;
    assert_eq!(health().await, HealthState::Healthy);
    tokio::time::sleep(SECOND).await;
    assert_eq!(health().await, HealthState::Failing, "one miss");
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(health().await, HealthState::Healthy, "two successes");
    assert_eq!(child.get_process_info().await.expect("there").run(), 0);
    let hangs = HealthCheck::request(SECOND, "x").time_limit(SECOND / 2);
    let silent = frames().supervised(rules).health_check(hangs);
    let silent = spawn(
        &manager,
        ScriptedChild::new(silent, |mut child| async move {
            while child.next().await != ChildEvent::Stop {}
            0
        }),
    )
    .await;
    let mut of_silent = silent.events();
    loop {
        if let Event::Exited { report, .. } = of_silent.next().await.expect("an event") {
            assert_eq!(
                (report.code(), report.cause()),
                (Some(0), ExitCause::Unhealthy)
            );
            break;
        }
    }
    assert_eq!(restarting(&mut of_silent).await.0, 1);
    assert!(
        std::iter::from_fn(|| events.next().now_or_never().flatten())
            .all(|event| !matches!(event, Event::Restarting { .. }))
    );
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_was_asked_for_comes_at_once() {
    let manager = manager();
    let rules = Supervision::new(RestartPolicy::Never);
    let child = spawn(
        &manager,
        ScriptedChild::new(frames().supervised(rules), echo),
    )
    .await;
    let mut messages = child.subscribe_message_stream().await.expect("a stream");
    for run in 1..=3 {
        child.wait_ready().await.expect("ready");
        assert!(child.restart().await.expect("there"));
        assert_eq!(
            messages.next().await,
            Some(Err(ReceiveMessageError::NewRun(run)))
        );
    }
    let causes: Vec<_> = child
        .past_runs()
        .expect("there")
        .iter()
        .map(|run| run.report().cause())
        .collect();
    assert_eq!(causes, [ExitCause::Restarted; 3]);
    let plain = spawn(&manager, ScriptedChild::new(frames(), echo)).await;
    assert!(
        !plain.restart().await.expect("there"),
        "it is not supervised"
    );
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn in_its_wait_it_can_be_stopped_killed_restarted_and_shut_down() {
    let long = Backoff::new(3600 * SECOND, 3600 * SECOND);
    for way in ["stop", "kill", "restart", "remove", "shut down"] {
        let manager = manager();
        let exits = ScriptedChild::new(frames().supervised(always().backoff(long)), echo);
        let child = spawn(&manager, exits).await;
        let mut events = child.events();
        child.send_message("exit 4").await.expect("sent");
        let (run, wait) = restarting(&mut events).await;
        assert!(run == 1 && wait > SECOND, "{wait:?}");
        let info = child.get_process_info().await.expect("there");
        assert_eq!(info.state(), ProcessState::Restarting);
        let begun = Instant::now();
        match way {
            "stop" => assert_eq!(child.stop().await.expect("the end").code(), Some(4)),
            "kill" => assert_eq!(child.kill().await.expect("the end").code(), Some(4)),
            "restart" => {
                assert!(child.restart().await.expect("there"));
                running(&mut events).await;
                child.stop().await.expect("the end");
            }
            "remove" => {
                let error = child.remove().await.expect_err("it is kept up");
                assert!(matches!(error, RemoveProcessError::StillRunning(_)));
                child.stop().await.expect("the end");
                child.remove().await.expect("removed");
            }
            _ => {}
        }
        manager.shutdown().await.expect("the end");
        assert!(begun.elapsed() < SECOND, "{way} took {:?}", begun.elapsed());
        assert!(child.get_process_info().await.is_err(), "{way}: it is gone");
    }
}

/// Ends a while after its input has.
async fn lingers(mut child: ChildSide) -> i32 {
    loop {
        match child.next().await {
            ChildEvent::Message(message) => child.send(message).await,
            ChildEvent::InputEnded => {
                tokio::time::sleep(2 * SECOND).await;
                return 0;
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_while_a_run_is_being_replaced_goes_to_the_next() {
    let manager = manager();
    let lines = Cmd::new("scripted").messaging(Messaging::standard_io());
    let lines = ScriptedChild::new(lines.supervised(always()), lingers).handles_signals();
    let child = spawn(&manager, lines).await;
    let mut messages = child.subscribe_message_stream().await.expect("a stream");
    let mut events = child.events();
    assert!(child.restart().await.expect("there"));
    loop {
        match events.next().await.expect("another") {
            Event::Stopping { .. } => break,
            Event::Exited { .. } => panic!("not yet"),
            _ => {}
        }
    }
    let (sent, ()) = futures::join!(child.send_message("to the next"), async {
        let next = messages.next().await.expect("an item");
        assert_eq!(next, Err(ReceiveMessageError::NewRun(1)));
    });
    sent.expect("the next run has it");
    let echo = messages.next().await.expect("an item").expect("whole");
    assert_eq!(echo, "to the next");
    // For ever, it is refused.
    let stop = tokio::spawn({
        let child = child.clone();
        async move { child.stop().await }
    });
    while !matches!(events.next().await, Some(Event::Stopping { .. })) {}
    child
        .send_message("to nobody")
        .await
        .expect_err("it is being stopped");
    stop.await.expect("no panic").expect("the end");
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_is_a_miss_and_the_next_comes() {
    let manager = manager();
    let checks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&checks);
    let check = HealthCheck::new(SECOND, move |_| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(number != 1, "the second check panics");
            true
        }
    });
    let rules = always().health(HealthRule::new(1, 1));
    let cmd = frames().supervised(rules).health_check(check);
    let child = spawn(&manager, ScriptedChild::new(cmd, echo)).await;
    let mut events = child.events();
    let (run, _) = restarting(&mut events).await;
    assert_eq!(run, 1);
    while checks.load(Ordering::Relaxed) < 4 {
        tokio::time::sleep(SECOND).await;
    }
    child.kill().await.expect("the end");
    manager.shutdown().await.expect("the end");
}
