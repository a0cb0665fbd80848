//! Any payload of any size arrives whole, once and in order: 10,000 random messages of 0 bytes to
//! 1 MiB go to a child and come back, and the digests agree.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use futures::StreamExt as _;
use procession_manager::{Cmd, Framing, Messaging};
use procession_tests::payload::{Digest, Payloads};
use procession_tests::{Within as _, checked_for, fixture};
use std::time::Duration;

const MESSAGES: usize = 10_000;
const BOUND: Duration = Duration::from_mins(2);

#[test]
fn frames_over_named_pipes() {
    there_and_back(Messaging::named_pipes().framing(Framing::Frames), true);
}

#[test]
fn frames_over_standard_io() {
    there_and_back(Messaging::standard_io().framing(Framing::Frames), true);
}

#[test]
fn lines_over_named_pipes() {
    there_and_back(Messaging::named_pipes().framing(Framing::Lines), false);
}

#[test]
fn lines_over_standard_io() {
    there_and_back(Messaging::standard_io().framing(Framing::Lines), false);
}

fn there_and_back(messaging: Messaging, newlines: bool) {
    checked_for(BOUND, async |test| {
        let child = test
            .spawn(Cmd::new(fixture!("echo")).messaging(messaging))
            .await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let sending = async {
            let mut digest = Digest::default();
            for payload in Payloads::new(7, newlines).take(MESSAGES) {
                digest.add(&payload);
                child.send_message(payload).await.unwrap();
            }
            child.close_input().await.unwrap();
            digest
        };
        let receiving = async {
            let mut digest = Digest::default();
            while let Some(message) = stream.next().within("the next echo, or the end").await {
                digest.add(message.unwrap().as_bytes());
            }
            digest
        };
        let (sent, received) = tokio::join!(sending, receiving);
        assert_eq!(sent.count(), 10_000);
        assert_eq!(received.to_string(), sent.to_string());
        assert!(child.wait().await.unwrap().success());
    });
}

/// The child alone makes the payloads, so that an error on the way in cannot undo one on the way out.
#[test]
fn one_way_out_of_the_child() {
    checked_for(BOUND, async |test| {
        let source = Cmd::new(fixture!("source"))
            .args(["random", "3000", "11"])
            .messaging(
                Messaging::named_pipes()
                    .framing(Framing::Frames)
                    .output_only(),
            );
        let child = test.spawn(source).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let mut received = Digest::default();
        while let Some(message) = stream.next().within("the next message, or the end").await {
            received.add(message.unwrap().as_bytes());
        }
        let mut made = Digest::default();
        Payloads::new(11, true)
            .take(3000)
            .for_each(|payload| made.add(&payload));
        assert_eq!(received.to_string(), made.to_string());
    });
}

/// The child alone makes the digest.
#[test]
fn one_way_into_the_child() {
    checked_for(BOUND, async |test| {
        let messaging = Messaging::standard_io().framing(Framing::Frames);
        let child = test
            .spawn(Cmd::new(fixture!("digest")).messaging(messaging))
            .await;
        let mut made = Digest::default();
        for payload in Payloads::new(13, true).take(3000) {
            made.add(&payload);
            child
                .send_message(payload)
                .within("room for a message")
                .await
                .unwrap();
        }
        child.close_input().await.unwrap();
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let digest = stream.next().within("the digest").await.unwrap().unwrap();
        assert_eq!(digest.as_str().unwrap(), made.to_string());
        assert!(stream.next().within("the end").await.is_none());
    });
}

/// A Python child without any library of ours speaks frames, over both transports.
#[test]
fn a_python_child_echoes_frames() {
    for messaging in [Messaging::named_pipes(), Messaging::standard_io()] {
        checked_for(BOUND, async |test| {
            let python = Cmd::new(procession_tests::programs::python3())
                .arg(procession_examples::FRAMES_ECHO_PY)
                .messaging(messaging.framing(Framing::Frames));
            let child = test.spawn(python).await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            let mut sent = Digest::default();
            let mut received = Digest::default();
            for payload in Payloads::new(17, true).take(300) {
                sent.add(&payload);
                let receiving = stream.next().within("the echo");
                let (sending, echo) = tokio::join!(child.send_message(payload), receiving);
                sending.unwrap();
                received.add(echo.unwrap().unwrap().as_bytes());
            }
            assert_eq!(received.to_string(), sent.to_string());
            child.close_input().await.unwrap();
            assert!(child.wait().within("the exit").await.unwrap().success());
        });
    }
}
