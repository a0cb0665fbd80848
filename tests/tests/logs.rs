//! Logs: what was captured, and queries over it.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use procession_manager::{Cmd, Logging, LogsQuery, Messaging, ProcessHandle};
use procession_tests::{Checked, Within as _, checked, eventually, programs};
use std::time::Duration;

async fn finished(test: &Checked, script: &str, logging: Logging) -> ProcessHandle {
    let child = Cmd::new(programs::bash())
        .args(["-c", script])
        .logging(logging);
    let child = test.spawn(child).await;
    child.wait().within("the exit").await.unwrap();
    child
}

#[test]
fn stdout_and_stderr_apart() {
    checked(async |test| {
        let script = "echo out 1; echo err 1 >&2; echo out 2; echo err 2 >&2";
        let child = finished(test, script, Logging::stdout_and_stderr()).await;
        let all = LogsQuery::fetch_all;
        assert_eq!(
            child.get_logs_stdout(all()).await.unwrap(),
            ["out 1", "out 2"]
        );
        assert_eq!(
            child.get_logs_stderr(all()).await.unwrap(),
            ["err 1", "err 2"]
        );
        let manager = test.manager();
        assert_eq!(
            manager.get_logs_stdout(child.id(), all()).await.unwrap(),
            ["out 1", "out 2"]
        );
        assert_eq!(
            manager.get_logs_stderr(child.id(), all()).await.unwrap(),
            ["err 1", "err 2"]
        );
    });
}

#[test]
fn only_one_of_them() {
    checked(async |test| {
        let script = "echo out; echo err >&2";
        let all = LogsQuery::fetch_all;
        let child = finished(test, script, Logging::stdout()).await;
        assert_eq!(child.get_logs_stdout(all()).await.unwrap(), ["out"]);
        let child = finished(test, script, Logging::stderr()).await;
        assert_eq!(child.get_logs_stderr(all()).await.unwrap(), ["err"]);
    });
}

#[test]
fn merged_in_the_order_written() {
    checked(async |test| {
        let script = "for i in $(seq 1 500); do echo out $i; echo err $i >&2; done";
        let child = finished(test, script, Logging::merged()).await;
        let expected: Vec<_> = (1..=500)
            .flat_map(|i| [format!("out {i}"), format!("err {i}")])
            .collect();
        let lines = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
        assert_eq!(lines, expected);
    });
}

#[test]
fn queries() {
    checked(async |test| {
        let child = finished(test, "seq 0 99999", Logging::stdout()).await;
        let get = async |query| child.get_logs_stdout(query).await.unwrap();
        let numbers = |from: u32, to: u32| (from..to).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(get(LogsQuery::fetch_all()).await, numbers(0, 100_000));
        assert_eq!(
            get(LogsQuery::with_offset(99_990)).await,
            numbers(99_990, 100_000)
        );
        assert_eq!(get(LogsQuery::with_offset(0)).await, numbers(0, 100_000));
        assert_eq!(get(LogsQuery::with_limit(10)).await, numbers(0, 10));
        assert_eq!(
            get(LogsQuery::with_offset_and_limit(50_000, 3)).await,
            numbers(50_000, 50_003)
        );
        assert_eq!(
            get(LogsQuery::with_offset_and_limit(99_999, 5)).await,
            numbers(99_999, 100_000)
        );
        let nothing: [&str; 0] = [];
        assert_eq!(get(LogsQuery::with_limit(0)).await, nothing);
        assert_eq!(get(LogsQuery::with_offset(100_000)).await, nothing);
        assert_eq!(get(LogsQuery::with_offset(usize::MAX)).await, nothing);
        assert_eq!(
            get(LogsQuery::with_offset_and_limit(7, usize::MAX))
                .await
                .len(),
            99_993
        );
    });
}

#[test]
fn odd_lines() {
    checked(async |test| {
        let script = r"printf '\n  spaces \r\n\xff\xfe\ngr\xc3\xbcn\0zero\nno newline'";
        let child = finished(test, script, Logging::stdout()).await;
        let lines = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(lines[0], "");
        assert!(lines[1].starts_with("  spaces "));
        assert_eq!(
            lines[2], "\u{fffd}\u{fffd}",
            "invalid bytes are shown, not dropped"
        );
        assert_eq!(lines[3], "grün\0zero");
        assert_eq!(lines[4], "no newline");
    });
}

#[test]
fn no_output_is_no_lines() {
    checked(async |test| {
        let child = finished(test, ":", Logging::stdout_and_stderr()).await;
        assert!(
            child
                .get_logs_stdout(LogsQuery::fetch_all())
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            child
                .get_logs_stderr(LogsQuery::fetch_all())
                .await
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
fn a_running_process_has_what_it_wrote_so_far() {
    checked(async |test| {
        let child = Cmd::new(programs::sh()).args(["-c", "echo started; read -r line; echo $line"]);
        let child = child
            .messaging(Messaging::standard_io().input_only())
            .logging(Logging::stdout());
        let child = test.spawn(child).await;
        let lines = async |count: usize| {
            eventually("the log to grow", Duration::from_secs(10), async || {
                let lines = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
                (lines.len() == count).then_some(lines)
            })
            .await
        };
        assert_eq!(lines(1).await, ["started"]);
        child.send_message("and told").await.unwrap();
        assert_eq!(lines(2).await, ["started", "and told"]);
    });
}

/// 50 MB of log while nobody looks, none of it lost; the child is not held up by anyone.
#[test]
fn a_large_log_is_complete() {
    checked(async |test| {
        let script = r#"yes "$(printf '%099d' 7)" | head -n 500000"#;
        let child = finished(test, script, Logging::stdout()).await;
        let last = child
            .get_logs_stdout(LogsQuery::with_offset(499_999))
            .await
            .unwrap();
        assert_eq!(last, [format!("{:099}", 7)]);
    });
}

#[test]
fn they_stay_after_a_kill_and_go_with_the_process() {
    checked(async |test| {
        let child = Cmd::new(programs::sh()).args(["-c", "echo line; exec sleep 1000"]);
        let child = test.spawn(child.logging(Logging::stdout())).await;
        eventually("the line", Duration::from_secs(10), async || {
            let lines = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
            (!lines.is_empty()).then_some(())
        })
        .await;
        child.kill().await.unwrap();
        assert_eq!(
            child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap(),
            ["line"]
        );
        child.remove().await.unwrap();
        child
            .get_logs_stdout(LogsQuery::fetch_all())
            .await
            .expect_err("it was removed");
        assert!(test.run_directories().is_empty());
    });
}
