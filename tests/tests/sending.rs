//! The ways to send: one message, one if there is room, many through a sink, and the end of the input.

use futures::{SinkExt as _, StreamExt as _};
use procession_manager::{Cmd, Message, Messaging, WriteMessageError};
use procession_tests::{Within as _, all_channels, checked, fixture, programs};

#[test]
fn through_the_manager_and_through_the_handle() {
    checked(async |test| {
        for messaging in all_channels() {
            let id = test
                .manager()
                .spawn(Cmd::new(fixture!("echo")).messaging(messaging))
                .await
                .unwrap();
            let manager = test.manager();
            let mut stream = manager.subscribe_message_stream(id).await.unwrap();
            manager.send_message(id, "by id").await.unwrap();
            assert_eq!(
                stream.next().within("the echo").await.unwrap().unwrap(),
                "by id"
            );
            manager.close_input(id).await.unwrap();
            assert!(manager.wait(id).within("the exit").await.unwrap().success());
            assert!(stream.next().within("the end").await.is_none());
        }
    });
}

#[test]
fn an_async_child_echoes() {
    checked(async |test| {
        for messaging in all_channels() {
            let child = test
                .spawn(Cmd::new(fixture!("async_echo")).messaging(messaging))
                .await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            for number in 0..1_000 {
                let text = format!("message {number}");
                child.send_message(text.clone()).await.unwrap();
                let echo = stream.next().within("the echo").await.unwrap().unwrap();
                assert_eq!(echo, text.as_str());
            }
            child.close_input().await.unwrap();
            assert!(child.wait().within("the exit").await.unwrap().success());
        }
    });
}

#[test]
fn many_through_a_sink_in_order() {
    checked(async |test| {
        for messaging in all_channels() {
            let child = test
                .spawn(Cmd::new(fixture!("echo")).messaging(messaging))
                .await;
            let stream = child.subscribe_message_stream().await.unwrap();
            let sending = async {
                let mut sink = child.message_sink().unwrap();
                for number in 0..50_000 {
                    sink.feed(Message::from(number.to_string())).await.unwrap();
                }
                sink.flush().await.unwrap();
                child.close_input().await.unwrap();
            };
            let receiving = stream
                .map(|message| message.unwrap().try_into_string().unwrap())
                .collect();
            let ((), all): (_, Vec<String>) = tokio::join!(sending, receiving);
            assert_eq!(all.len(), 50_000);
            assert!(
                all.into_iter()
                    .eq((0..50_000).map(|number| number.to_string()))
            );
        }
    });
}

/// What one sender sends stays in its order, whoever else sends.
#[test]
fn many_senders_at_once() {
    checked(async |test| {
        for messaging in all_channels() {
            let child = test
                .spawn(Cmd::new(fixture!("echo")).messaging(messaging))
                .await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            let senders: Vec<_> = (0..8)
                .map(|sender| {
                    let child = child.clone();
                    tokio::spawn(async move {
                        for number in 0..500 {
                            let text = format!("{sender} {number} {}", "x".repeat(number));
                            child.send_message(text).await.unwrap();
                        }
                    })
                })
                .collect();
            let mut next = [0; 8];
            for _ in 0..8 * 500 {
                let message = stream
                    .next()
                    .within("the next message")
                    .await
                    .unwrap()
                    .unwrap();
                let mut words = message.as_str().unwrap().split(' ');
                let sender: usize = words.next().unwrap().parse().unwrap();
                assert_eq!(words.next().unwrap().parse(), Ok(next[sender]));
                assert_eq!(words.next().unwrap().len(), next[sender]);
                next[sender] += 1;
            }
            for sender in senders {
                sender.await.unwrap();
            }
        }
    });
}

/// A full queue hands the message back at once; where there was room, it arrives.
#[test]
fn one_if_there_is_room() {
    checked(async |test| {
        let go = test.scratch().join("go");
        rustix::fs::mkfifoat(rustix::fs::CWD, &go, rustix::fs::Mode::RWXU).unwrap();
        let child = Cmd::new(programs::sh()).args(["-c", r#"read -r wait < "$GO"; exec cat"#]);
        let messaging = Messaging::standard_io().buffer(8).buffer_bytes(1 << 20);
        let child = test.spawn(child.env("GO", &go).messaging(messaging)).await;
        let mut accepted = 0;
        let refused = loop {
            let message = Message::from(format!("{accepted} {}", "x".repeat(30_000)));
            match child.try_send_message(message.clone()) {
                Ok(()) => accepted += 1,
                Err(WriteMessageError::BufferFull(back)) => {
                    assert_eq!(back, message, "it is handed back");
                    break accepted;
                }
                Err(other) => panic!("unexpected: {other:?}"),
            }
            assert!(accepted < 1_000, "the queue is bounded");
        };
        let opening = tokio::task::spawn_blocking(move || std::fs::write(go, "go\n"));
        let mut stream = child.subscribe_message_stream().await.unwrap();
        for number in 0..refused {
            let message = stream
                .next()
                .within("what was accepted")
                .await
                .unwrap()
                .unwrap();
            assert!(message.as_str().unwrap().starts_with(&format!("{number} ")));
        }
        opening.await.unwrap().unwrap();
        child.close_input().await.unwrap();
        assert!(
            stream.next().within("the end").await.is_none(),
            "what was refused was not sent"
        );
    });
}

#[test]
fn close_input_comes_after_what_is_queued() {
    checked(async |test| {
        for messaging in all_channels() {
            let child = test
                .spawn(Cmd::new(fixture!("digest")).messaging(messaging))
                .await;
            let mut sink = child.message_sink().unwrap();
            for _ in 0..500 {
                sink.feed(Message::from(vec![b'x'; 1_000])).await.unwrap();
            }
            let (flushed, closed) = tokio::join!(sink.flush(), child.close_input());
            flushed.unwrap();
            closed.unwrap();
            let mut stream = child.subscribe_message_stream().await.unwrap();
            let digest = stream.next().within("the digest").await.unwrap().unwrap();
            assert!(
                digest
                    .as_str()
                    .unwrap()
                    .starts_with("count=500 bytes=500000 "),
                "{digest:?}"
            );
        }
    });
}

/// A named pipe that the child has not opened yet keeps what is sent and its end until it does.
#[test]
fn close_input_before_the_child_has_opened_its_pipe() {
    checked(async |test| {
        for sent in [0, 1, 100] {
            let go = test.scratch().join(format!("go-{sent}"));
            rustix::fs::mkfifoat(rustix::fs::CWD, &go, rustix::fs::Mode::RWXU).unwrap();
            let script = r#"read -r wait < "$GO"; cat "$INPUT_PIPE" > "$OUTPUT_PIPE""#;
            let child = Cmd::new(programs::sh()).args(["-c", script]).env("GO", &go);
            let child = test.spawn(child.messaging(Messaging::named_pipes())).await;
            for number in 0..sent {
                child
                    .send_message(number.to_string())
                    .within("room in the pipe")
                    .await
                    .unwrap();
            }
            // Before it can end.
            let stream = child.subscribe_message_stream().await.unwrap();
            let mut closing = Box::pin(child.close_input());
            // As far as it goes before the child opens.
            let early = futures::poll!(&mut closing);
            tokio::task::spawn_blocking(move || std::fs::write(go, "go\n").unwrap())
                .await
                .unwrap();
            if early.is_pending() {
                closing.within("the close").await.unwrap();
            }
            assert_eq!(stream.count().within("the end").await, sent);
            assert!(child.wait().within("the exit").await.unwrap().success());
        }
    });
}

#[test]
fn close_input_twice() {
    checked(async |test| {
        let child = test
            .spawn(Cmd::new("cat").messaging(Messaging::standard_io()))
            .await;
        child.close_input().await.unwrap();
        // Closed is closed: the second call is either fine or says just that.
        match child.close_input().within("an answer").await {
            Ok(())
            | Err(WriteMessageError::InputClosed(_) | WriteMessageError::ProcessExited { .. }) => {}
            Err(other) => panic!("unexpected: {other:?}"),
        }
        assert!(child.wait().within("the exit").await.unwrap().success());
    });
}
