//! That a process has exited and that its output is complete are two facts: a fast exit cuts nothing
//! off, and a process left behind that holds the output open holds nobody up.

use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, ExitCause, Framing, Leftovers, Logging, LogsQuery, Messaging, OutputState, ProcessManager,
};
use procession_tests::{Within as _, checked, ci_factor, eventually, fixture, procfs, programs};
use rustix::process::{Pid, Signal, kill_process};

/// Ends a process that a fixture left behind, and waits until it is gone.
async fn end(pid: u32) {
    let number = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid");
    kill_process(number, Signal::KILL).expect("it is there and ours");
    eventually(
        "the process left behind to be gone",
        Duration::from_secs(5),
        async || (!procfs::is_alive(pid)).then_some(()),
    )
    .await;
}

#[test]
fn a_fast_exit_cuts_no_messages_off() {
    checked(async |test| {
        for messaging in [
            Messaging::standard_io().framing(Framing::Frames),
            Messaging::named_pipes().framing(Framing::Frames),
            Messaging::standard_io().framing(Framing::Lines),
            Messaging::named_pipes().framing(Framing::Lines),
        ] {
            for _ in 0..25 {
                let source = Cmd::new(fixture!("source")).args(["numbered", "500"]);
                let child = test.spawn(source.messaging(messaging.clone())).await;
                let stream = child.subscribe_message_stream().await.unwrap();
                assert_eq!(stream.count().within("the end of the stream").await, 500);
                let report = child.wait().within("the exit").await.unwrap();
                assert_eq!(report.output(), OutputState::Complete);
            }
        }
    });
}

#[test]
fn a_fast_exit_cuts_no_log_off() {
    checked(async |test| {
        for _ in 0..50 {
            let child = Cmd::new(programs::sh()).args(["-c", "seq 1 2000; seq 1 2000 >&2"]);
            let child = test
                .spawn(child.logging(Logging::stdout_and_stderr()))
                .await;
            let report = child.wait().within("the exit").await.unwrap();
            assert_eq!(report.output(), OutputState::Complete);
            for lines in [
                child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap(),
                child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap(),
            ] {
                assert_eq!(
                    (lines.len(), lines.last().map(String::as_str)),
                    (2000, Some("2000"))
                );
            }
        }
    });
}

#[test]
fn a_grandchild_that_holds_the_messages_open_does_not_hang_the_end() {
    checked(async |test| {
        let child = Cmd::new(fixture!("leak_grandchild")).leftovers(Leftovers::Leave);
        let child = test
            .spawn(child.messaging(Messaging::standard_io().output_only()))
            .await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let pid = stream
            .next()
            .within("the grandchild's pid")
            .await
            .unwrap()
            .unwrap();
        assert!(
            stream
                .next()
                .within("the end of the stream")
                .await
                .is_none()
        );
        let report = child.wait().within("the end").await.unwrap();
        assert_eq!(
            (report.code(), report.cause()),
            (Some(0), ExitCause::ByItself)
        );
        assert_eq!(report.output(), OutputState::Cut);
        let pid = pid.as_str().unwrap().parse().unwrap();
        assert!(
            procfs::is_alive(pid),
            "it is another group's, and nobody's to kill here"
        );
        end(pid).await;
    });
}

#[test]
fn a_grandchild_that_holds_the_log_open_does_not_hang_the_end() {
    checked(async |test| {
        for logging in [Logging::stdout(), Logging::stderr(), Logging::merged()] {
            let child = Cmd::new(fixture!("leak_grandchild")).leftovers(Leftovers::Leave);
            let child = test.spawn(child.logging(logging)).await;
            let report = child.wait().within("the end").await.unwrap();
            assert_eq!(report.output(), OutputState::Cut);
            let lines = match child.get_logs_stdout(LogsQuery::fetch_all()).await {
                Ok(lines) => lines,
                Err(_) => child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap(),
            };
            end(lines[0].parse().unwrap()).await;
        }
    });
}

#[test]
fn a_grandchild_that_holds_the_output_of_a_run_open_does_not_hang_it() {
    checked(async |test| {
        let run = test
            .manager()
            .run(Cmd::new(fixture!("leak_grandchild")).leftovers(Leftovers::Leave));
        let output = run.within("the run").await.unwrap();
        assert_eq!(output.report().output(), OutputState::Cut);
        let pid = String::from_utf8_lossy(output.stdout())
            .trim()
            .parse()
            .unwrap();
        end(pid).await;
    });
}

/// One that goes on writing is read until the hard bound.
#[test]
fn a_grandchild_that_never_stops_writing_is_cut_at_the_bound() {
    checked(async |test| {
        let manager = ProcessManager::builder()
            .working_directory(test.scratch())
            .drain_quiet(Duration::from_secs(20))
            .drain_bound(Duration::from_millis(200))
            .spawn()
            .unwrap();
        // A background job of an interactive-mode shell leads a group of its own.
        let script = "set -m; (while :; do echo x; done) & echo $! >&2";
        let child = Cmd::new(programs::bash())
            .args(["-c", script])
            .leftovers(Leftovers::Leave);
        let child = manager
            .spawn_with_handle(child.logging(Logging::stdout_and_stderr()))
            .await;
        let child = child.unwrap();
        let report = child.wait().within("the bound").await.unwrap();
        assert_eq!(report.output(), OutputState::Cut);
        let info = child.get_process_info().await.unwrap();
        let drained = info.ended_at().unwrap().elapsed().unwrap();
        assert!(
            drained < Duration::from_secs(10) * ci_factor(),
            "it took {drained:?}"
        );
        let pid = child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap()[0]
            .parse()
            .unwrap();
        end(pid).await;
        manager.shutdown().await.unwrap();
    });
}

/// What comes late but within the quiet period is still taken in.
#[test]
fn output_that_comes_a_little_after_the_exit_is_read() {
    checked(async |test| {
        let manager = ProcessManager::builder()
            .working_directory(test.scratch())
            .drain_quiet(Duration::from_secs(25))
            .drain_bound(Duration::from_secs(25))
            .spawn()
            .unwrap();
        // The job has a group of its own, and writes when its parent is surely gone.
        let script = "set -m; (while kill -0 $$ 2>/dev/null; do :; done; echo late) & echo early";
        let child = Cmd::new(programs::bash())
            .args(["-c", script])
            .leftovers(Leftovers::Leave);
        let child =
            manager.spawn_with_handle(child.messaging(Messaging::standard_io().output_only()));
        let child = child.await.unwrap();
        let stream = child.subscribe_message_stream().await.unwrap();
        let all: Vec<_> = stream
            .map(Result::unwrap)
            .collect()
            .within("the end of the stream")
            .await;
        assert_eq!(all, ["early", "late"]);
        let report = child.wait().within("the end").await.unwrap();
        assert_eq!(report.output(), OutputState::Complete);
        manager.shutdown().await.unwrap();
    });
}

/// `wait` never needs a reader: a subscription that does not read does not hold the end up.
#[test]
fn a_subscription_that_does_not_read_does_not_hold_up_wait() {
    checked(async |test| {
        for messaging in [
            Messaging::standard_io().framing(Framing::Lines),
            Messaging::named_pipes().framing(Framing::Lines),
        ] {
            // 40 messages are in the pipe when the child exits, and the buffer holds ten.
            let messaging = messaging.output_only().buffer(10);
            let source = Cmd::new(fixture!("source")).args(["numbered", "50"]);
            let child = test.spawn(source.messaging(messaging)).await;
            let stream = child.subscribe_message_stream().await.unwrap();
            let report = child.wait().within("the exit").await.unwrap();
            assert_eq!(
                report.output(),
                OutputState::Complete,
                "a pipe's worth is taken past the buffer"
            );
            assert_eq!(stream.count().within("the end of the stream").await, 50);
        }
    });
}
