//! A `send_message` future dropped at any await point cuts no frame: what arrives is whole, and what
//! is sent next arrives.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt as _;
use procession_manager::{Cmd, Framing, Message, Messaging, ProcessHandle};
use procession_tests::{Within as _, checked, fixture};

/// Most polls that are tried before the drop; a send that needs fewer ends by itself.
const MOST_POLLS: usize = 6;
const ROUNDS: usize = 40;

/// Polls a future a number of times, each when it asks for it, and then drops it.
struct DropAfter<F> {
    future: Option<Pin<Box<F>>>,
    polls_left: usize,
}

fn drop_after<F: Future>(polls: usize, future: F) -> DropAfter<F> {
    DropAfter {
        future: Some(Box::pin(future)),
        polls_left: polls,
    }
}

impl<F: Future> Future for DropAfter<F> {
    /// What the future came to, unless it was dropped before.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polls_left = self.polls_left;
        let Some(future) = self.future.as_mut().filter(|_| polls_left > 0) else {
            self.future = None;
            return Poll::Ready(None);
        };
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        self.polls_left -= 1;
        if self.polls_left == 0 {
            self.future = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// A message that shows by itself whether it is whole: its number, again and again.
fn numbered(number: usize, len: usize) -> Message {
    let mut text = format!("{number}:");
    let unit = format!("{number}.");
    while text.len() < len {
        text.push_str(&unit);
    }
    Message::from(text)
}

fn number_of(message: &Message) -> usize {
    let text = message.as_str().unwrap();
    let number = text.split(':').next().unwrap().parse().unwrap();
    assert_eq!(
        *message,
        numbered(number, text.len()),
        "message {number} is not whole"
    );
    number
}

async fn drop_everywhere(child: &ProcessHandle, len: usize) {
    let mut stream = child.subscribe_message_stream().await.unwrap();
    let mut number = 0;
    let mut completed = Vec::new();
    for _ in 0..ROUNDS {
        for polls in 0..=MOST_POLLS {
            let message = numbered(number, len);
            let sending = drop_after(polls, child.send_message(message));
            if let Some(sent) = sending.within("a poll").await {
                sent.unwrap();
                completed.push(number);
            }
            number += 1;
        }
        // The next message arrives whole, after all that was sent before it.
        let marker = number;
        number += 1;
        let sending = child.send_message(numbered(marker, len));
        let receiving = async {
            let mut before = Vec::new();
            loop {
                let message = stream.next().within("the marker").await.unwrap().unwrap();
                let arrived = number_of(&message);
                if arrived == marker {
                    return before;
                }
                before.push(arrived);
            }
        };
        let (sent, arrived) = tokio::join!(sending, receiving);
        sent.unwrap();
        assert!(
            arrived.is_sorted_by(|one, next| one < next),
            "once and in order: {arrived:?}"
        );
        let missing: Vec<_> = completed
            .iter()
            .filter(|sent| !arrived.contains(sent))
            .collect();
        assert!(
            missing.is_empty(),
            "reported as sent, but not arrived: {missing:?}"
        );
        completed.clear();
    }
}

fn dropping(messaging: Messaging, len: usize) {
    checked(async |test| {
        let child = test
            .spawn(Cmd::new(fixture!("echo")).messaging(messaging))
            .await;
        drop_everywhere(&child, len).await;
        child.close_input().await.unwrap();
        assert!(child.wait().within("the exit").await.unwrap().success());
    });
}

// 300 kB are more than a pipe holds: the write is cut, and the drop can fall into it.
#[test]
fn frames_over_named_pipes() {
    dropping(Messaging::named_pipes().framing(Framing::Frames), 300_000);
}

#[test]
fn frames_over_standard_io() {
    dropping(Messaging::standard_io().framing(Framing::Frames), 300_000);
}

#[test]
fn lines_over_named_pipes() {
    dropping(Messaging::named_pipes().framing(Framing::Lines), 300_000);
}

#[test]
fn lines_over_standard_io() {
    dropping(Messaging::standard_io().framing(Framing::Lines), 300_000);
}

#[test]
fn small_frames() {
    dropping(Messaging::standard_io().framing(Framing::Frames), 10);
}

/// Dropped without a poll, nothing is sent.
#[test]
fn a_future_that_was_never_polled_sends_nothing() {
    checked(async |test| {
        let child = test
            .spawn(Cmd::new("cat").messaging(Messaging::standard_io()))
            .await;
        drop(child.send_message("never"));
        child.send_message("sent").await.unwrap();
        child.close_input().await.unwrap();
        let stream = child.subscribe_message_stream().await.unwrap();
        let messages: Vec<_> = stream.map(Result::unwrap).collect().within("the end").await;
        assert_eq!(messages, ["sent"]);
    });
}

/// A sender that waits in a full queue and is dropped there leaves the queue as it was.
#[test]
fn dropped_while_waiting_for_a_place() {
    checked(async |test| {
        let go = test.scratch().join("go");
        rustix::fs::mkfifoat(rustix::fs::CWD, &go, rustix::fs::Mode::RWXU).unwrap();
        let script = r#"read -r wait < "$GO"; exec cat"#;
        let child = Cmd::new(procession_tests::programs::sh())
            .args(["-c", script])
            .env("GO", &go);
        let child = test
            .spawn(child.messaging(Messaging::standard_io().buffer(4)))
            .await;
        // More than the pipe can be made to hold: from here on it is full, and stays so.
        let first = child.send_message(numbered(0, 2_000_000));
        assert!(drop_after(1, first).await.is_none());
        let mut sent = 1;
        while let Ok(()) = child.try_send_message(numbered(sent, 50_000)) {
            sent += 1;
        }
        for polls in 1..=3 {
            let waiting = child.send_message(numbered(sent + polls, 50_000));
            assert!(drop_after(1, waiting).await.is_none());
        }
        let marker = sent + 100;
        let releasing = tokio::task::spawn_blocking(move || std::fs::write(go, "go\n"));
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let (last, ()) = tokio::join!(child.send_message(numbered(marker, 50_000)), async {
            let mut next = 0;
            loop {
                let message = stream.next().within("the marker").await.unwrap().unwrap();
                let number = number_of(&message);
                if number == marker {
                    break;
                }
                assert_eq!(number, next, "in order and once");
                next += 1;
            }
            assert_eq!(next, sent, "all that had a place, and nothing else");
        });
        last.unwrap();
        releasing.await.unwrap().unwrap();
    });
}
