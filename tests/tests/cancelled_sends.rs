//! A `send_message` future dropped at any await point cuts no frame: what arrives is whole, and what
//! is sent next arrives.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _, poll};
use procession_manager::{Cmd, Framing, Message, Messaging, ProcessHandle, Statistics};
use procession_tests::{Within as _, checked, eventually, fixture};

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
        let child = gated(&go, r#"read -r wait < "$GO"; exec cat"#);
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

/// A child that waits for what its script reads from the named pipe `GO`.
fn gated(go: &std::path::Path, script: &str) -> Cmd {
    rustix::fs::mkfifoat(rustix::fs::CWD, go, rustix::fs::Mode::RWXU).unwrap();
    Cmd::new(procession_tests::programs::sh())
        .args(["-c", script])
        .env("GO", go)
}

async fn open(go: &std::path::Path) {
    let go = go.to_owned();
    let opened = tokio::task::spawn_blocking(move || std::fs::write(go, "go\n"));
    opened.await.unwrap().unwrap();
}

async fn statistics(child: &ProcessHandle) -> Statistics {
    let info = child.get_process_info().await.unwrap();
    info.statistics().expect("it has messaging")
}

/// Sinks that were made ready, or whose `send` was dropped while it waited, and are used no more.
#[test]
fn sinks_that_are_not_used_hold_up_nobody() {
    checked(async |test| {
        let go = test.scratch().join("go");
        let child = gated(&go, r#"read -r wait < "$GO"; exec cat"#)
            .messaging(Messaging::standard_io().buffer(4));
        let child = test.spawn(child).await;
        // More than the pipe can be made to hold: from here on what is sent is queued.
        assert!(
            drop_after(1, child.send_message(numbered(0, 2_000_000)))
                .await
                .is_none()
        );
        let mut stale = Vec::new();
        for _ in 0..8 {
            let mut sink = child.message_sink().unwrap();
            let ready = futures::future::poll_fn(|cx| sink.poll_ready_unpin(cx));
            ready.within("room for a message").await.unwrap();
            stale.push(sink);
        }
        for number in 1..=4 {
            child
                .try_send_message(numbered(number, 10))
                .expect("all of the room is there");
        }
        child.try_send_message("one more").expect_err("it is full");
        for _ in 0..8 {
            let mut sink = child.message_sink().unwrap();
            assert!(drop_after(1, sink.send("never".into())).await.is_none());
            stale.push(sink);
        }
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let ((), ()) = tokio::join!(open(&go), async {
            for number in 5..10 {
                let sent = child.send_message(numbered(number, 10));
                sent.within("room while there are stale sinks")
                    .await
                    .unwrap();
            }
        });
        for number in 0..10 {
            let message = stream.next().within("a message").await.unwrap().unwrap();
            assert_eq!(number_of(&message), number);
        }
        // They are as good as new.
        for (number, mut sink) in (10..).zip(stale) {
            sink.send(numbered(number, 10))
                .within("a send")
                .await
                .unwrap();
            let message = stream.next().within("a message").await.unwrap().unwrap();
            assert_eq!(number_of(&message), number);
        }
    });
}

/// A flush that follows one that was dropped waits for what was fed in between, too.
#[test]
fn a_flush_after_a_cancelled_one_is_for_all() {
    checked(async |test| {
        const LEN: usize = 2_000_000;
        let go = test.scratch().join("go");
        let script =
            r#"read -r wait < "$GO"; head -c "$FIRST" > /dev/null; read -r wait < "$GO"; exec cat"#;
        let child = gated(&go, script).env("FIRST", (LEN + 1).to_string());
        let child = test.spawn(child.messaging(Messaging::standard_io())).await;
        let mut sink = child.message_sink().unwrap();
        let first = Message::from(vec![b'x'; LEN]);
        assert!(drop_after(1, sink.send(first)).await.is_none());
        sink.feed(Message::from(vec![b'y'; LEN])).await.unwrap();
        let mut flush = Box::pin(sink.flush());
        assert!(poll!(&mut flush).is_pending());
        open(&go).await;
        eventually(
            "the first to be written",
            Duration::from_secs(30),
            async || (statistics(&child).await.messages_sent == 1).then_some(()),
        )
        .await;
        assert!(poll!(&mut flush).is_pending(), "the second is not");
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let ((), flushed) = tokio::join!(open(&go), flush.within("the flush"));
        flushed.unwrap();
        assert_eq!(statistics(&child).await.messages_sent, 2);
        let message = stream.next().within("the second").await.unwrap().unwrap();
        assert_eq!(message.len(), LEN);
    });
}
