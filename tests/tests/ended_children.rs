//! Requests to processes that have ended or that closed their ends: each gets an error with the exit,
//! where there is one, and never a silent `Ok`.

use futures::{SinkExt as _, StreamExt as _};
use procession_manager::{Cmd, Message, Messaging, ReadMessageError, WriteMessageError};
use procession_tests::{Within as _, all_channels, checked, fixture, programs};

#[test]
fn sending_to_a_child_that_has_exited() {
    checked(async |test| {
        for messaging in all_channels() {
            let child = Cmd::new(fixture!("echo")).arg("exit").messaging(messaging);
            let child = test.spawn(child).await;
            child.send_message("exit 7").await.unwrap();
            child.wait().within("the exit").await.unwrap();
            for error in [
                child
                    .send_message("too late")
                    .within("an answer")
                    .await
                    .expect_err("it has exited"),
                child
                    .try_send_message("too late")
                    .expect_err("it has exited"),
            ] {
                let WriteMessageError::ProcessExited { id, report } = error else {
                    panic!("unexpected: {error:?}");
                };
                assert_eq!(id, child.id());
                assert_eq!(report.code(), Some(7));
            }
        }
    });
}

/// Whoever sends in the moment of the exit learns of it as well, and not of a broken pipe.
#[test]
fn sending_while_a_child_exits() {
    checked(async |test| {
        for messaging in all_channels() {
            let child = Cmd::new(fixture!("echo")).arg("exit").messaging(messaging);
            let child = test.spawn(child).await;
            child.send_message("exit 9").await.unwrap();
            let error = async {
                loop {
                    if let Err(error) = child.send_message(vec![b'x'; 10_000]).await {
                        return error;
                    }
                }
            };
            let error = error.within("an error, since the child is going").await;
            let WriteMessageError::ProcessExited { report, .. } = error else {
                panic!("unexpected: {error:?}");
            };
            assert_eq!(report.code(), Some(9));
        }
    });
}

#[test]
fn senders_that_wait_when_a_child_is_killed_are_told() {
    checked(async |test| {
        for messaging in [Messaging::standard_io(), Messaging::named_pipes()] {
            let child = test
                .spawn(Cmd::new(fixture!("never_reads")).messaging(messaging))
                .await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            stream
                .next()
                .within("the child to be there")
                .await
                .unwrap()
                .unwrap();
            let large = Message::from(vec![b'x'; 1 << 20]);
            let (waiting, killed) = tokio::join!(
                futures::future::join_all((0..10).map(|_| child.send_message(large.clone()))),
                child.kill(),
            );
            killed.unwrap();
            for sent in waiting {
                let error = sent.expect_err("the child has read nothing");
                let WriteMessageError::ProcessExited { report, .. } = error else {
                    panic!("unexpected: {error:?}");
                };
                assert_eq!(report.signal(), Some(9));
            }
        }
    });
}

#[test]
fn sending_to_a_child_that_closed_its_input() {
    checked(async |test| {
        let script = "exec 0<&-; echo closed; exec sleep 1000";
        let child = Cmd::new(programs::sh()).args(["-c", script]);
        let child = test.spawn(child.messaging(Messaging::standard_io())).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        assert_eq!(
            stream
                .next()
                .within("the child to close")
                .await
                .unwrap()
                .unwrap(),
            "closed"
        );
        // While another test spawns, its new process holds a copy of the reading end for a moment.
        let refused = async {
            loop {
                if let Err(error) = child.send_message("anyone?").await {
                    break error;
                }
            }
        };
        let first = refused.within("a refusal").await;
        let then = child.send_message("anyone?").within("an answer").await;
        for error in [first, then.expect_err("nobody can read it")] {
            assert!(
                matches!(error, WriteMessageError::InputClosed(id) if id == child.id()),
                "{error:?}"
            );
        }
        assert!(child.get_process_info().await.unwrap().is_running());
        child.kill().await.unwrap();
    });
}

/// On a named pipe the parent's own descriptor keeps it open, so it shows at the exit.
#[test]
fn a_child_that_closed_its_named_pipe_shows_at_its_exit() {
    checked(async |test| {
        let script = r#"read -r one < "$INPUT_PIPE"; echo closed > "$OUTPUT_PIPE"; exit 4"#;
        let child = Cmd::new(programs::sh()).args(["-c", script]);
        let child = test.spawn(child.messaging(Messaging::named_pipes())).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        child.send_message("one").await.unwrap();
        assert_eq!(
            stream
                .next()
                .within("the child to close")
                .await
                .unwrap()
                .unwrap(),
            "closed"
        );
        let error = async {
            loop {
                if let Err(error) = child.send_message(vec![b'x'; 10_000]).await {
                    return error;
                }
            }
        };
        let error = error.within("an error at the exit").await;
        let WriteMessageError::ProcessExited { report, .. } = error else {
            panic!("unexpected: {error:?}");
        };
        assert_eq!(report.code(), Some(4));
    });
}

#[test]
fn sending_after_close_input() {
    checked(async |test| {
        for messaging in all_channels() {
            let child = test
                .spawn(Cmd::new(fixture!("never_reads")).messaging(messaging))
                .await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            stream
                .next()
                .within("the child to be there")
                .await
                .unwrap()
                .unwrap();
            child.close_input().within("the close").await.unwrap();
            let error = child
                .send_message("after")
                .within("an answer")
                .await
                .expect_err("closed");
            assert!(
                matches!(error, WriteMessageError::InputClosed(_)),
                "{error:?}"
            );
            let error = child.try_send_message("after").expect_err("closed");
            assert!(
                matches!(error, WriteMessageError::InputClosed(_)),
                "{error:?}"
            );
            child.kill().await.unwrap();
        }
    });
}

#[test]
fn a_sink_to_a_child_that_has_exited() {
    checked(async |test| {
        for messaging in all_channels() {
            let child = Cmd::new(fixture!("echo")).arg("exit").messaging(messaging);
            let child = test.spawn(child).await;
            let mut sink = child.message_sink().unwrap();
            sink.send(Message::from("exit 7"))
                .within("the send")
                .await
                .unwrap();
            child.wait().within("the exit").await.unwrap();
            let error = sink.send(Message::from("late")).within("an answer").await;
            let error = error.expect_err("it has exited");
            let WriteMessageError::ProcessExited { report, .. } = error else {
                panic!("unexpected: {error:?}");
            };
            assert_eq!(report.code(), Some(7));
        }
    });
}

#[test]
fn subscribing_after_everything_was_read() {
    checked(async |test| {
        let child = Cmd::new(programs::sh()).args(["-c", "echo one; exit 3"]);
        let child = test.spawn(child.messaging(Messaging::standard_io())).await;
        let stream = child.subscribe_message_stream().await.unwrap();
        let all: Vec<_> = stream.collect().within("the end").await;
        assert_eq!(all.len(), 1);
        child.wait().within("the exit").await.unwrap();
        let error = child
            .subscribe_message_stream()
            .await
            .expect_err("nothing can come any more");
        let ReadMessageError::ProcessExited { id, report } = error else {
            panic!("unexpected: {error:?}");
        };
        assert_eq!((id, report.code()), (child.id(), Some(3)));
    });
}
