use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::{
    DENIED_BOUND, Event, ExitCause, KILL_BOUND, KillProcessError, LeftReason, Liveness,
    ManagerError, Messaging, ProcessHandle, ProcessManager, ProcessManagerHandle, ProcessState,
    Readiness, RequestError, RequestOptions, RestartPolicy, Run, RunError, StopProcessError,
    Supervision, WaitReadyError,
};

pub(super) fn manager() -> ProcessManagerHandle {
    ProcessManager::in_temp().expect("a manager")
}

pub(super) fn frames() -> Cmd {
    Cmd::new("scripted").messaging(Messaging::named_pipes().framing(Framing::Frames))
}

/// Echoes messages and requests, and stops when it is asked to.
pub(super) async fn echo(mut child: ChildSide) -> i32 {
    loop {
        match child.next().await {
            ChildEvent::Message(message) => child.send(message).await,
            ChildEvent::Request { id, message } => child.reply(id, message).await,
            ChildEvent::Stop => {
                child.bye(0).await;
                return 0;
            }
            ChildEvent::InputEnded => return 1,
            _ => {}
        }
    }
}

pub(super) async fn spawn(manager: &ProcessManagerHandle, child: ScriptedChild) -> ProcessHandle {
    manager.spawn_with_handle(child).await.expect("it starts")
}

#[tokio::test(start_paused = true)]
async fn it_talks_as_a_process_does() {
    let manager = manager();
    for messaging in [Messaging::standard_io(), Messaging::named_pipes()] {
        for framing in [Framing::Lines, Framing::Frames] {
            let cmd = Cmd::new("scripted").messaging(messaging.clone().framing(framing));
            let child = spawn(&manager, ScriptedChild::new(cmd, echo)).await;
            let mut messages = child.subscribe_message_stream().await.expect("a stream");
            for number in 0..1000 {
                child.send_message(number.to_string()).await.expect("sent");
            }
            for number in 0..1000 {
                let message = messages.next().await.expect("a message").expect("whole");
                assert_eq!(message, number.to_string().as_str());
            }
            child.close_input().await.expect("closed");
            let report = child.wait().await.expect("the end");
            assert_eq!(
                (report.code(), report.cause()),
                (Some(1), ExitCause::ByItself)
            );
            assert!(messages.next().await.is_none());
            child.remove().await.expect("removed");
        }
    }
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_on_time_and_the_child_is_told() {
    let manager = manager();
    let silent = ScriptedChild::new(frames(), |mut child| async move {
        let mut cancelled = 0;
        loop {
            match child.next().await {
                ChildEvent::Cancel { id } => {
                    cancelled += 1;
                    child.fail(id, "cancelled").await;
                    child.send(cancelled.to_string()).await;
                }
                ChildEvent::InputEnded => return 0,
                _ => {}
            }
        }
    });
    let child = spawn(&manager, silent).await;
    let mut told = child.subscribe_message_stream().await.expect("a stream");
    let before = Instant::now();
    let late = child.request("x").await.expect_err("there is no reply");
    assert!(matches!(late, RequestError::TimedOut { .. }), "{late}");
    assert_eq!(before.elapsed().as_secs(), 30);
    assert_eq!(told.next().await, Some(Ok("1".into())));
    let options = RequestOptions::new().deadline(Duration::from_millis(1500));
    let before = Instant::now();
    child
        .request_with("x", options)
        .await
        .expect_err("no reply");
    assert_eq!(before.elapsed().as_millis(), 1500);
    assert_eq!(told.next().await, Some(Ok("2".into())));
    let mut items = child.request_items("x", options).await.expect("asked");
    let before = Instant::now();
    let late = items.next().await.expect("an end");
    assert!(matches!(late, Err(RequestError::TimedOut { .. })));
    assert_eq!(before.elapsed().as_millis(), 1500);
    assert_eq!(told.next().await, Some(Ok("3".into())));
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn parts_of_answers_go_both_ways() {
    let manager = manager();
    let cmd = frames().serve(|request| async move {
        for part in ["a", "b"] {
            request.item(part).await?;
        }
        Ok("c".into())
    });
    let child = ScriptedChild::new(cmd, |mut child| async move {
        let ChildEvent::Request { id, .. } = child.next().await else {
            return 1;
        };
        let asked = child.ask("parts").await;
        loop {
            match child.next().await {
                ChildEvent::Item { id: of, message } if of == asked => {
                    child.item(id, message).await;
                }
                ChildEvent::Reply { id: of, message } if of == asked => {
                    child.reply(id, message).await;
                    return 0;
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let child = spawn(&manager, child).await;
    let options = RequestOptions::new();
    let mut items = child.request_items("go", options).await.expect("asked");
    for part in ["a", "b"] {
        assert_eq!(items.next().await.expect("a part").expect("whole"), part);
    }
    assert_eq!(items.reply().await.expect("the reply"), "c");
    assert!(child.wait().await.expect("the end").success());
    manager.shutdown().await.expect("the end");
}

/// With the real clock this would take minutes.
#[tokio::test(start_paused = true)]
async fn starts_stops_and_silences_take_their_time() {
    let manager = manager();
    // No hello, and deaf to SIGTERM.
    let stubborn = |cmd: Cmd| {
        ScriptedChild::new(cmd, |mut child| async move {
            loop {
                if child.next().await == ChildEvent::InputEnded {
                    std::future::pending::<()>().await;
                }
            }
        })
        .without_hello()
        .handles_signals()
    };
    let before = Instant::now();
    let child = spawn(&manager, stubborn(frames())).await;
    let error = child.wait_ready().await.expect_err("no hello");
    assert!(
        matches!(error, WaitReadyError::StartFailed { .. }),
        "{error}"
    );
    assert!((10..11).contains(&before.elapsed().as_secs()));
    let report = child.wait().await.expect("the end");
    assert_eq!(
        (report.cause(), report.signal()),
        (ExitCause::StartFailed, Some(9))
    );
    assert_eq!(before.elapsed().as_secs(), 15, "with the grace of 5 s");

    // Asked by a frame, told by SIGTERM at half the grace.
    let child = ScriptedChild::new(frames(), |mut child| async move {
        loop {
            if let ChildEvent::Signal(signal) = child.next().await {
                return signal.as_raw();
            }
        }
    });
    let child = spawn(&manager, child.handles_signals()).await;
    let before = Instant::now();
    let report = child
        .stop_with(Duration::from_mins(10))
        .await
        .expect("the stop");
    assert_eq!(
        (report.code(), report.cause()),
        (Some(15), ExitCause::Stopped)
    );
    assert_eq!(before.elapsed().as_secs(), 300);

    // Pings are not answered by one that does nothing.
    let liveness = Liveness::every(Duration::from_mins(1)).misses(3).stop();
    let messaging = Messaging::named_pipes().framing(Framing::Frames);
    let cmd = Cmd::new("scripted").messaging(messaging.liveness(liveness));
    let hangs = ScriptedChild::new(cmd, |mut child| async move {
        child.ready("for a while").await;
        std::future::pending().await
    });
    let mut events = manager.events();
    let child = spawn(&manager, hangs).await;
    assert_eq!(child.wait_ready().await.expect("ready"), "for a while");
    let before = Instant::now();
    let report = child.wait().await.expect("the end");
    assert_eq!(report.cause(), ExitCause::Unresponsive);
    assert_eq!(
        before.elapsed().as_secs(),
        240 + 2,
        "told by SIGTERM at half the grace"
    );
    let mut told = 0;
    while let Some(event) = events.next().await {
        told += u32::from(matches!(event, Event::Unresponsive { .. }));
        if matches!(event, Event::Finished { .. }) {
            break;
        }
    }
    assert_eq!(told, 1);
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn what_a_script_does_wrong_is_seen_as_of_a_process() {
    let manager = manager();
    let junk = ScriptedChild::new(frames(), |mut child| async move {
        child.write(b"\0\0\0\0\x7f").await;
        std::future::pending().await
    });
    let child = spawn(&manager, junk).await;
    let error = child.request("x").await.expect_err("no reply");
    assert!(matches!(error, RequestError::FramingLost { .. }), "{error}");
    let report = child.kill().await.expect("the kill");
    assert_eq!(
        (report.signal(), report.cause()),
        (Some(9), ExitCause::Killed)
    );

    let panics = ScriptedChild::new(frames(), |_| async { panic!("on purpose") });
    let child = spawn(&manager, panics).await;
    let error = child.request("x").await.expect_err("no reply");
    let RequestError::ProcessExited { report, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(report.code(), Some(101));

    let first = frames()
        .ready_when(Readiness::FirstMessage)
        .timeout(Duration::from_secs(90));
    let child = ScriptedChild::new(first, |mut child| async move {
        child.send("hello").await;
        std::future::pending().await
    });
    let child = spawn(&manager, child).await;
    child.wait_ready().await.expect("ready");
    let before = Instant::now();
    assert_eq!(
        child.wait().await.expect("the end").cause(),
        ExitCause::TimedOut
    );
    assert_eq!(
        before.elapsed().as_secs(),
        92,
        "told by SIGTERM at half the grace"
    );
    let list = manager.list().await.expect("a list");
    assert_eq!(list.len(), 3);
    manager.shutdown().await.expect("the end");
}

/// Says what it reads last, and then does not end before it is let go by the notification; not by
/// SIGKILL either.
fn unkillable(cmd: Cmd) -> (ScriptedChild, Arc<Notify>) {
    let end = Arc::new(Notify::new());
    let ends = Arc::clone(&end);
    let play = move |mut child: ChildSide| {
        let end = Arc::clone(&end);
        async move {
            while !matches!(child.next().await, ChildEvent::InputEnded) {}
            child.send("input ended").await;
            end.notified().await;
            7
        }
    };
    let child = ScriptedChild::new(cmd, play).outlives_kill();
    (child, ends)
}

/// Each verb tells in time of a process that does not end, and of its end when it comes.
#[tokio::test(start_paused = true)]
async fn a_kill_that_does_nothing_is_told_and_so_is_the_end_that_comes_later() {
    let manager = manager();
    let (script, end) = unkillable(frames());
    let child = spawn(&manager, script).await;
    let mut messages = child.subscribe_message_stream().await.expect("a stream");
    let mut events = child.events();
    let asked = tokio::spawn({
        let child = child.clone();
        let options = RequestOptions::new().no_deadline();
        async move { child.request_with("anything", options).await }
    });
    tokio::task::yield_now().await;

    let begun = Instant::now();
    let error = child.kill().await.expect_err("it does not end");
    assert_eq!(begun.elapsed(), KILL_BOUND);
    let KillProcessError::NotEnded { id, left, report } = error else {
        panic!("{error}");
    };
    assert_eq!((id, report), (child.id(), None));
    assert_eq!(left[0].name(), "scripted");
    assert_eq!(left[0].reason(), LeftReason::DoesNotDie);
    // Its input was closed, and what it then says is read.
    let last = messages.next().await.expect("a message").expect("whole");
    assert_eq!(last, "input ended");
    asked.await.expect("no panic").expect_err("no reply comes");
    let info = child.get_process_info().await.expect("there");
    assert_eq!(
        (info.state(), info.left()),
        (ProcessState::Stuck, &left[..])
    );
    assert!(info.is_running());

    // Another try has its own time.
    let begun = Instant::now();
    let stop = child.stop_with(Duration::ZERO).await;
    assert!(matches!(stop, Err(StopProcessError::NotEnded { .. })));
    assert_eq!(begun.elapsed(), KILL_BOUND);
    drop(child.remove().await.expect_err("it has not ended"));

    end.notify_one();
    let report = child.wait().await.expect("the end");
    assert_eq!(report.code(), Some(7));
    assert!(report.left().is_empty());
    let report = child.kill().await.expect("it has ended");
    assert_eq!(report.code(), Some(7));
    assert_eq!(child.get_process_info().await.expect("there").left(), []);
    child.remove().await.expect("removed");
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(match event {
            Event::Stopping { .. } => "stopping",
            Event::NotEnded { .. } => "not ended",
            Event::Exited { .. } => "exited",
            Event::Finished { .. } => "finished",
            Event::Removed { .. } => "removed",
            _ => continue,
        });
    }
    let expected = [
        "stopping",
        "not ended",
        "stopping",
        "not ended",
        "exited",
        "finished",
        "removed",
    ];
    assert_eq!(told, expected);
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_manager_lets_go_what_does_not_end() {
    let manager = manager();
    let (script, _end) = unkillable(frames());
    let child = spawn(&manager, script).await;
    let waiting = tokio::spawn({
        let child = child.clone();
        async move { child.wait().await }
    });
    let other = spawn(&manager, ScriptedChild::new(frames(), echo)).await;
    let grace = Duration::from_millis(500);
    let begun = Instant::now();
    let (first, second) = tokio::join!(manager.shutdown_with(grace), manager.shutdown());
    assert_eq!(begun.elapsed(), grace + KILL_BOUND);
    for result in [first, second] {
        let Err(ManagerError::NotEnded { left }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(left.len(), 1);
    }
    assert_eq!(other.wait().await.expect("a report").code(), Some(0));
    let waited = waiting.await.expect("no panic");
    waited.expect_err("nobody learns how it ends");
}

#[tokio::test(start_paused = true)]
async fn a_time_out_that_does_nothing_is_an_error_in_time() {
    let manager = manager();
    let (script, end) = unkillable(frames());
    let begun = Instant::now();
    let run = Run::new(script).timeout(Duration::from_secs(1));
    let error = manager.run(run).await.expect_err("it does not end");
    assert_eq!(begun.elapsed(), Duration::from_secs(1) + KILL_BOUND);
    assert!(
        matches!(&error, RunError::NotEnded { left, .. } if left.len() == 1),
        "{error}"
    );
    assert_eq!(manager.list().await.expect("there").len(), 1);
    // It is removed when it has ended.
    let mut events = manager.events();
    end.notify_one();
    while !matches!(events.next().await, Some(Event::Removed { .. })) {}
    manager.shutdown().await.expect("the end");
}

/// No run is begun beside one that does not end; it follows when that has ended.
#[tokio::test(start_paused = true)]
async fn restarts_do_not_pile_up_where_a_run_does_not_end() {
    let manager = manager();
    let rules = Supervision::new(RestartPolicy::Always);
    let (script, end) = unkillable(frames().supervised(rules));
    let child = spawn(&manager, script).await;
    let mut events = child.events();
    for _ in 0..3 {
        assert!(child.restart().await.expect("there"));
    }
    while !matches!(events.next().await, Some(Event::NotEnded { .. })) {}
    assert!(child.restart().await.expect("there"));
    tokio::time::sleep(10 * KILL_BOUND + DENIED_BOUND).await;
    let info = child.get_process_info().await.expect("there");
    assert_eq!((info.run(), info.state()), (0, ProcessState::Stuck));
    end.notify_one();
    let running = async {
        while !matches!(events.next().await, Some(Event::Running { .. })) {}
        child.get_process_info().await.expect("there")
    };
    let info = running.await;
    assert_eq!((info.run(), info.left().len()), (1, 0));
    let stop = child.stop().await;
    assert!(matches!(stop, Err(StopProcessError::NotEnded { .. })));
    end.notify_one();
    assert_eq!(child.wait().await.expect("the end").code(), Some(7));
    manager.shutdown().await.expect("the end");
}
