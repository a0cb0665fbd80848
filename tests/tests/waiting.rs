//! Waiting with a bound and for several, running out of time, and signals.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, ExitCause, ExitReport, MessageStream, Messaging, ProcessHandle, ProcessId,
    ProcessManagerHandle, Signal, SignalProcessError, WaitError,
};
use procession_tests::{Checked, Within as _, checked, eventually, procfs, programs};
use tokio::task::JoinHandle;

fn sh(script: &str) -> Cmd {
    Cmd::new(programs::sh())
        .args(["-c", script])
        .messaging(Messaging::standard_io())
}

/// Exits with this status when it is told to.
async fn exits_when_told(test: &Checked, status: i32) -> ProcessHandle {
    test.spawn(sh(&format!("read -r line; exit {status}")))
        .await
}

/// Five that exit when they are told to, the nth with status n, their identities, and somebody who waits
/// for them.
async fn five_waited_for<F>(
    test: &Checked,
    wait: impl FnOnce(ProcessManagerHandle, Vec<ProcessId>) -> F,
) -> (Vec<ProcessHandle>, Vec<ProcessId>, JoinHandle<F::Output>)
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut children = Vec::new();
    for status in 0..5 {
        children.push(exits_when_told(test, status).await);
    }
    let ids: Vec<_> = children.iter().map(ProcessHandle::id).collect();
    let waiting = tokio::spawn(wait(test.manager().clone(), ids.clone()));
    (children, ids, waiting)
}

#[test]
fn a_wait_that_runs_out_and_one_that_does_not() {
    checked(async |test| {
        let child = exits_when_told(test, 5).await;
        let soon = Duration::from_millis(20);
        let wait = child.wait_timeout(soon).within("the time-out");
        assert_eq!(wait.await.unwrap(), None);
        let manager = test.manager();
        let wait = manager.wait_timeout(child.id(), soon);
        assert_eq!(wait.within("the time-out").await.unwrap(), None);
        assert!(child.get_process_info().await.unwrap().is_running());
        let wait = child.wait_timeout(Duration::ZERO).within("the time-out");
        assert_eq!(wait.await.unwrap(), None);

        child.send_message("go").await.unwrap();
        let report = child.wait_timeout(Duration::from_mins(1)).await.unwrap();
        assert_eq!(report.unwrap().code(), Some(5));
        // Of one that has ended, however short.
        let report = child.wait_timeout(Duration::ZERO).await.unwrap();
        assert_eq!(report.unwrap().code(), Some(5));
        // A bound that is longer than time itself.
        let report = child.wait_timeout(Duration::MAX).await.unwrap();
        assert_eq!(report.unwrap().code(), Some(5));
    });
}

#[test]
fn waiting_for_any() {
    checked(async |test| {
        let manager = test.manager();
        let wait = |manager: ProcessManagerHandle, ids| async move { manager.wait_any(ids).await };
        let (children, ids, waiting) = five_waited_for(test, wait).await;
        children[3].send_message("go").await.unwrap();
        let (id, report) = waiting.within("the first").await.unwrap().unwrap();
        assert_eq!((id, report.code()), (ids[3], Some(3)));

        // Of several that have finished, the first in the list.
        children[1].send_message("go").await.unwrap();
        children[1].wait().within("the exit").await.unwrap();
        let any = manager.wait_any([ids[0], ids[3], ids[1]]);
        let (id, report) = any.within("any").await.unwrap();
        assert_eq!((id, report.code()), (ids[3], Some(3)));

        let error = manager.wait_any([]).await.expect_err("nothing");
        assert!(matches!(error, WaitError::NothingToWaitFor), "{error:?}");
        let unknown = removed(test).await;
        let error = manager.wait_any([ids[3], unknown]).await;
        let error = error.expect_err("one is unknown");
        assert!(matches!(error, WaitError::ProcessNotFound(id) if id == unknown));
    });
}

#[test]
fn waiting_for_all() {
    checked(async |test| {
        let manager = test.manager();
        let wait = |manager: ProcessManagerHandle, ids| async move { manager.wait_all(ids).await };
        let (children, ids, waiting) = five_waited_for(test, wait).await;
        for (nth, child) in children.iter().enumerate().rev() {
            assert!(!waiting.is_finished(), "{nth} still runs");
            child.send_message("go").await.unwrap();
            child.wait().within("the exit").await.unwrap();
        }
        let reports = waiting.within("all").await.unwrap().unwrap();
        let codes: Vec<_> = reports.iter().map(ExitReport::code).collect();
        assert_eq!(codes, [Some(0), Some(1), Some(2), Some(3), Some(4)]);

        assert!(manager.wait_all([]).await.unwrap().is_empty());
        let unknown = removed(test).await;
        let error = manager.wait_all([ids[0], unknown]).await;
        let error = error.expect_err("one is unknown");
        assert!(matches!(error, WaitError::ProcessNotFound(id) if id == unknown));
    });
}

/// The id of a process that is no more.
async fn removed(test: &Checked) -> ProcessId {
    let child = test.spawn(Cmd::new("true")).await;
    child.stop().within("the end").await.unwrap();
    child.remove().await.unwrap();
    child.id()
}

/// It is stopped: SIGTERM is the first that it hears of it.
#[test]
fn what_runs_out_of_time_is_stopped() {
    checked(async |test| {
        let timeout = Duration::from_millis(300);
        let patient = sh("trap 'exit 3' TERM; sleep 1000 & wait").timeout(timeout);
        let plain = Cmd::new("sleep").arg("1000").timeout(timeout);
        for (cmd, expected) in [(patient, (Some(3), None)), (plain, (None, Some(15)))] {
            let child = test.spawn(cmd).await;
            let report = child.wait().within("the time-out").await.unwrap();
            assert_eq!((report.code(), report.signal()), expected);
            assert_eq!(report.cause(), ExitCause::TimedOut);
            assert!(report.run_time() >= timeout);
        }
        let in_time = test
            .spawn(sh("exit 2").timeout(Duration::from_hours(1)))
            .await;
        let report = in_time.wait().within("the exit").await.unwrap();
        assert_eq!(
            (report.code(), report.cause()),
            (Some(2), ExitCause::ByItself)
        );
    });
}

#[test]
fn a_signal_goes_to_the_process_alone() {
    checked(async |test| {
        let script = "
            trap 'echo root' USR1
            sh -c \"trap 'echo inner; exit' USR1; sleep 1000 & wait\" &
            wait; wait; wait; echo done";
        let child = test.spawn(sh(script)).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        sleeping(test, 1).await;
        child.signal(Signal::USR1).await.unwrap();
        let told = stream.next().within("the root").await.unwrap().unwrap();
        assert_eq!(told, "root");
        // Both shells and what sleeps are there still. The shells may end at it, and their group with
        // them, before it is the sleeper's turn.
        let count = child.signal_tree(Signal::USR1).within("the count").await;
        let count = count.unwrap();
        assert!((2..=3).contains(&count), "{count} were signalled");
        let mut told = rest(stream).await;
        assert_eq!(told.pop().as_deref(), Some("done"));
        told.sort_unstable();
        assert_eq!(told, ["inner", "root"]);
    });
}

/// Until so many of the processes of this test sleep.
async fn sleeping(test: &Checked, count: usize) {
    eventually("all to sleep", Duration::from_secs(5), async || {
        let mut tree = procfs::with_in_environment(test.working_directory().as_os_str());
        tree.retain(|pid| procfs::command_line(*pid).starts_with("sleep 1000"));
        (tree.len() == count).then_some(())
    })
    .await;
}

async fn rest(stream: MessageStream) -> Vec<String> {
    let all = stream.map(|message| message.unwrap().as_str().unwrap().to_owned());
    all.collect().within("the end of the messages").await
}

#[test]
fn a_signal_to_the_tree_is_counted() {
    checked(async |test| {
        let script = "
            trap 'echo root' USR1
            setsid sh -c \"trap 'echo far; exit' USR1; sleep 1000 & wait\" &
            sh -c \"trap 'echo near; exit' USR1; sleep 1000 & wait\" &
            wait; wait; wait; echo done";
        let child = test.spawn(sh(script)).await;
        let stream = child.subscribe_message_stream().await.unwrap();
        sleeping(test, 2).await;
        // Three shells, and the two that sleep.
        let count = child.signal_tree(Signal::USR1).within("the count").await;
        assert_eq!(count.unwrap(), 5);
        let mut told = rest(stream).await;
        assert_eq!(told.last().map(String::as_str), Some("done"));
        told.sort_unstable();
        assert_eq!(told, ["done", "far", "near", "root"]);
        child.wait().within("the exit").await.unwrap();
    });
}

#[test]
fn a_signal_to_what_has_ended() {
    checked(async |test| {
        let child = test.spawn(sh("exit 6")).await;
        child.wait().within("the exit").await.unwrap();
        let of_tree = child.signal_tree(Signal::USR1).await.map(drop);
        let of_manager = test.manager().signal(child.id(), Signal::TERM).await;
        for result in [child.signal(Signal::KILL).await, of_tree, of_manager] {
            match result {
                Err(SignalProcessError::ProcessExited { id, report }) => {
                    assert_eq!((id, report.code()), (child.id(), Some(6)));
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        child.stop().await.unwrap();
        child.remove().await.unwrap();
        let result = test.manager().signal(child.id(), Signal::TERM).await;
        assert!(
            matches!(result, Err(SignalProcessError::ProcessNotFound(_))),
            "{result:?}"
        );
    });
}
