//! Requests to processes that are unknown, that have no such channel, or whose manager has ended: each
//! gets its own error.

use futures::StreamExt as _;
use procession_manager::{
    Cmd, ExitCause, GetLogsError, GetProcessInfoError, KillProcessError, Logging, LogsQuery,
    Messaging, ProcessHandle, ProcessManager, ReadMessageError, RemoveProcessError, WaitError,
    WriteMessageError,
};
use procession_tests::{Within as _, checked, programs};

/// All the errors for a process that the manager has removed. Its handle still tells how it ended.
async fn assert_removed(process: &ProcessHandle) {
    let id = process.id();
    let error = process.send_message("x").await.expect_err("unknown");
    assert!(
        matches!(error, WriteMessageError::ProcessNotFound(it) if it == id),
        "{error:?}"
    );
    let error = process.close_input().await.expect_err("unknown");
    assert!(
        matches!(error, WriteMessageError::ProcessNotFound(it) if it == id),
        "{error:?}"
    );
    let error = process
        .subscribe_message_stream()
        .await
        .expect_err("unknown");
    assert!(
        matches!(error, ReadMessageError::ProcessNotFound(it) if it == id),
        "{error:?}"
    );
    let error = process
        .get_logs_stdout(LogsQuery::fetch_all())
        .await
        .expect_err("unknown");
    assert!(
        matches!(error, GetLogsError::ProcessNotFound(it) if it == id),
        "{error:?}"
    );
    let error = process.get_process_info().await.expect_err("unknown");
    assert!(
        matches!(error, GetProcessInfoError::ProcessNotFound(it) if it == id),
        "{error:?}"
    );
    let error = process.remove().await.expect_err("unknown");
    assert!(
        matches!(error, RemoveProcessError::ProcessNotFound(it) if it == id),
        "{error:?}"
    );
}

#[test]
fn an_unknown_id() {
    checked(async |test| {
        let removed = test
            .spawn(Cmd::new("true").messaging(Messaging::standard_io()))
            .await;
        removed.wait().within("the exit").await.unwrap();
        removed.remove().await.unwrap();
        assert_removed(&removed).await;
        assert!(removed.wait().await.unwrap().success());
        assert!(removed.kill().await.unwrap().success());
        let error = test
            .manager()
            .wait(removed.id())
            .await
            .expect_err("removed");
        assert!(matches!(error, WaitError::ProcessNotFound(_)), "{error:?}");
        let error = test
            .manager()
            .kill(removed.id())
            .await
            .expect_err("removed");
        assert!(
            matches!(error, KillProcessError::ProcessNotFound(_)),
            "{error:?}"
        );

        // Another manager's process is unknown here too.
        let other = ProcessManager::in_temp().unwrap();
        let theirs = other.spawn(Cmd::new("sleep").arg("1000")).await.unwrap();
        let manager = test.manager();
        let error = manager.get_process_info(theirs).await.expect_err("unknown");
        assert!(matches!(error, GetProcessInfoError::ProcessNotFound(it) if it == theirs));
        let error = manager
            .send_message(theirs, "x")
            .await
            .expect_err("unknown");
        assert!(matches!(error, WriteMessageError::ProcessNotFound(it) if it == theirs));
        let error = manager.kill(theirs).await.expect_err("unknown");
        assert!(matches!(error, KillProcessError::ProcessNotFound(it) if it == theirs));
        assert!(other.get_process_info(theirs).await.unwrap().is_running());
        other.shutdown().await.unwrap();
    });
}

#[test]
fn a_process_without_messaging() {
    checked(async |test| {
        let child = test.spawn(Cmd::new("sleep").arg("1000")).await;
        let id = child.id();
        let error = child.send_message("x").await.expect_err("no messaging");
        assert!(
            matches!(error, WriteMessageError::MessageWriterNotFound(it) if it == id),
            "{error:?}"
        );
        let error = child.try_send_message("x").expect_err("no messaging");
        assert!(
            matches!(error, WriteMessageError::MessageWriterNotFound(it) if it == id),
            "{error:?}"
        );
        let error = child.message_sink().map(drop).expect_err("no messaging");
        assert!(
            matches!(error, WriteMessageError::MessageWriterNotFound(it) if it == id),
            "{error:?}"
        );
        let error = child.close_input().await.expect_err("no messaging");
        assert!(
            matches!(error, WriteMessageError::MessageWriterNotFound(it) if it == id),
            "{error:?}"
        );
        let error = child
            .subscribe_message_stream()
            .await
            .expect_err("no messaging");
        assert!(
            matches!(error, ReadMessageError::MessageReaderNotFound(it) if it == id),
            "{error:?}"
        );
        child.kill().await.unwrap();
    });
}

#[test]
fn a_process_with_one_direction_only() {
    checked(async |test| {
        for (all, script) in [
            (Messaging::standard_io(), "exec sleep 1000"),
            (Messaging::named_pipes(), "exec sleep 1000"),
        ] {
            let sleeper = || Cmd::new(programs::sh()).args(["-c", script]);
            let out_only = test
                .spawn(sleeper().messaging(all.clone().output_only()))
                .await;
            let error = out_only.send_message("x").await.expect_err("no input");
            assert!(
                matches!(error, WriteMessageError::MessageWriterNotFound(_)),
                "{error:?}"
            );
            let in_only = test.spawn(sleeper().messaging(all.input_only())).await;
            let error = in_only
                .subscribe_message_stream()
                .await
                .expect_err("no output");
            assert!(
                matches!(error, ReadMessageError::MessageReaderNotFound(_)),
                "{error:?}"
            );
        }
    });
}

#[test]
fn logs_that_were_not_asked_for() {
    checked(async |test| {
        let all = LogsQuery::fetch_all;
        let none = test.spawn(Cmd::new("true")).await;
        let error = none.get_logs_stdout(all()).await.expect_err("no logs");
        assert!(
            matches!(error, GetLogsError::LoggingTypeWasNotConfigured(_)),
            "{error:?}"
        );
        let out = test
            .spawn(Cmd::new("true").logging(Logging::stdout()))
            .await;
        out.get_logs_stdout(all()).await.unwrap();
        let error = out.get_logs_stderr(all()).await.expect_err("only stdout");
        assert!(
            matches!(error, GetLogsError::LoggingTypeWasNotConfigured(_)),
            "{error:?}"
        );
        let err = test
            .spawn(Cmd::new("true").logging(Logging::stderr()))
            .await;
        err.get_logs_stderr(all()).await.unwrap();
        let error = err.get_logs_stdout(all()).await.expect_err("only stderr");
        assert!(
            matches!(error, GetLogsError::LoggingTypeWasNotConfigured(_)),
            "{error:?}"
        );
    });
}

/// After the shutdown every call says that there is no manager.
#[test]
fn everything_after_a_shutdown() {
    checked(async |test| {
        let manager = ProcessManager::spawn(test.scratch()).unwrap();
        let child = Cmd::new("cat")
            .messaging(Messaging::standard_io())
            .logging(Logging::stderr());
        let child = manager.spawn_with_handle(child).await.unwrap();
        let mut stream = child.subscribe_message_stream().await.unwrap();
        manager.shutdown().within("the shutdown").await.unwrap();

        manager
            .spawn(Cmd::new("true"))
            .await
            .expect_err("no manager");
        manager.list().await.expect_err("no manager");
        child
            .send_message("x")
            .within("an answer")
            .await
            .expect_err("no manager");
        child.try_send_message("x").expect_err("no manager");
        child
            .subscribe_message_stream()
            .await
            .expect_err("no manager");
        child
            .get_logs_stderr(LogsQuery::fetch_all())
            .await
            .expect_err("no manager");
        child.get_process_info().await.expect_err("no manager");
        // How it ended is known all the same.
        let report = child.kill().within("an answer").await.unwrap();
        assert_eq!(report.cause(), ExitCause::ManagerShutDown);
        let id = child.id();
        manager
            .kill(id)
            .within("an answer")
            .await
            .expect_err("no manager");
        manager
            .wait(id)
            .within("an answer")
            .await
            .expect_err("no manager");
        manager
            .get_process_info(id)
            .within("an answer")
            .await
            .expect_err("no manager");
        manager
            .send_message(id, "x")
            .within("an answer")
            .await
            .expect_err("no manager");
        manager
            .close_input(id)
            .within("an answer")
            .await
            .expect_err("no manager");
        manager
            .remove(id)
            .within("an answer")
            .await
            .expect_err("no manager");
        manager
            .shutdown()
            .within("an answer")
            .await
            .expect_err("no manager");
        manager
            .run(Cmd::new("true"))
            .within("an answer")
            .await
            .expect_err("no manager");
        assert!(
            stream
                .next()
                .within("the end of the stream")
                .await
                .is_none()
        );
    });
}
