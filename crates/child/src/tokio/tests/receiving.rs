use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
    thread,
};

use futures::{StreamExt, TryStreamExt};
use procession_wire::{Frame, FrameError, Framing};
use tokio::test;

use super::{frames, lines, poll_once};
use crate::{
    Message, ReceiveError, lock,
    test_parent::{LIMIT, channel, encoded, until},
    tokio::Parent,
};

/// A message as long as the limit, how many of them a child holds that takes none, and more than
/// that.
const LONG: usize = 1 << 20;
const HELD: usize = 5;
const MANY: usize = 12;

async fn texts(parent: &Parent) -> Vec<String> {
    let texts = parent.messages().map(|m| m.unwrap().try_into().unwrap());
    texts.collect().await
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation() {
    let (child, mut parent) = frames().await;
    let echo = tokio::spawn(async move {
        while let Some(message) = child.receive().await.unwrap() {
            child.send(message).await.unwrap();
        }
    });
    for number in 0..2000u32 {
        let payload = number.to_be_bytes();
        parent.send(&Frame::Message(payload.to_vec().into()));
        assert_eq!(parent.next_message(), payload);
    }
    parent.close_input();
    echo.await.unwrap();
}

#[test]
async fn one_thread_is_enough() {
    let (setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
    let other = thread::spawn(move || {
        parent.greet();
        for number in 0..1000u32 {
            parent.send(&Frame::Message(number.to_be_bytes().to_vec().into()));
            assert_eq!(parent.next_message(), number.to_be_bytes());
        }
    });
    let child = Parent::over(setup, ends).await.unwrap();
    while let Some(message) = child.receive().await.unwrap() {
        child.send(message).await.unwrap();
    }
    other.join().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn control_is_seen_by_a_program_that_never_receives() {
    let (child, mut parent) = frames().await;
    parent.send(&Frame::Ping(42));
    assert_eq!(parent.next(), Some(Frame::Pong(42)));
    let stopping = child.clone();
    let stopped = tokio::spawn(async move { stopping.stopped().await });
    let (called, calls) = sync_channel(1);
    child.on_stop(move || called.send(()).unwrap());
    assert!(!child.is_stopping());
    parent.send(&Frame::Stop);
    stopped.await.unwrap();
    calls.recv().unwrap();
    assert!(child.is_stopping());
    assert!(poll_once(child.stopped()).is_ready());
    parent.close_input();
    until(|| child.input_ended());
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_before_a_stop_are_given_and_those_after_it_are_not() {
    let (child, mut parent) = frames().await;
    parent.write(&encoded(&[
        Frame::Message("one".into()),
        Frame::Message("two".into()),
        Frame::Stop,
        Frame::Message("three".into()),
    ]));
    assert_eq!(texts(&child).await, ["one", "two"]);
    assert!(child.is_stopping());
    assert!(child.receive().await.unwrap().is_none());
    child.send("last words").await.unwrap();
    assert_eq!(parent.next_message(), b"last words");
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_go_both_ways_and_the_last_needs_no_newline() {
    let (child, mut parent) = lines().await;
    child.ready("is not said over lines").await.unwrap();
    child.send("hello").await.unwrap();
    child.send(vec![b'x'; 50_000]).await.unwrap();
    parent.write(b"one\n\ntwo\r\nthree");
    parent.close_input();
    assert_eq!(texts(&child).await, ["one", "", "two\r", "three"]);
    child.finish(0).await.unwrap();
    let written = parent.read_to_end();
    assert_eq!(written.len(), 6 + 50_001);
    assert!(written.starts_with(b"hello\nx") && written.ends_with(b"x\n"));
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn after_junk_there_is_one_error_and_the_input_is_closed() {
    let (child, mut parent) = frames().await;
    parent.message(b"good");
    parent.write(b"\xff\xff\xff\xff\0");
    let mut messages = child.messages();
    assert_eq!(messages.try_next().await.unwrap().unwrap(), "good");
    let next = messages.try_next().await;
    assert!(
        matches!(next, Err(ReceiveError::Frame(FrameError::TooLarge { .. }))),
        "{next:?}"
    );
    assert!(messages.try_next().await.unwrap().is_none());
    let mut to_child = parent.to_child.take().unwrap();
    until(|| to_child.write_all(b"more").is_err());
    child.send("what was that?").await.unwrap();
    assert_eq!(parent.next_message(), b"what was that?");
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_arrive_whole_both_ways() {
    let (child, mut parent) = frames().await;
    let echo = tokio::spawn(async move {
        while let Some(message) = child.receive().await.unwrap() {
            child.send(message).await.unwrap();
        }
    });
    for number in 0..40u32 {
        let len = 1 << (number % 21);
        let payload: Vec<u8> = (0..len)
            .map(|at: u32| (at * 31 + number).to_be_bytes()[3])
            .collect();
        parent.send(&Frame::Message(payload.clone().into()));
        assert!(parent.next_message() == payload);
    }
    parent.close_input();
    echo.await.unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_goes_to_exactly_one_of_many_tasks() {
    let (child, mut parent) = frames().await;
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let messages = child.messages();
            tokio::spawn(messages.map(Result::unwrap).collect::<Vec<_>>())
        })
        .collect();
    let number = |n: u32| Message::from(n.to_be_bytes());
    for n in 0..20_000 {
        parent.send(&Frame::Message(number(n).into_bytes()));
    }
    parent.close_input();
    let mut all = Vec::new();
    for receiver in receivers {
        let some = receiver.await.unwrap();
        assert!(some.is_sorted(), "each task sees them in order");
        all.extend(some);
    }
    all.sort();
    assert!(all.into_iter().eq((0..20_000).map(number)));
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_is_dropped_has_taken_nothing() {
    let (child, mut parent) = frames().await;
    let mut seen = 0u32;
    for number in 0..2000u32 {
        parent.send(&Frame::Message(number.to_be_bytes().to_vec().into()));
        if let std::task::Poll::Ready(next) = poll_once(child.receive()) {
            assert_eq!(next.unwrap().unwrap().as_bytes(), seen.to_be_bytes());
            seen += 1;
        }
    }
    parent.close_input();
    while let Some(message) = child.receive().await.unwrap() {
        assert_eq!(message.as_bytes(), seen.to_be_bytes());
        seen += 1;
    }
    assert_eq!(seen, 2000);
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credit_no_more_than_a_mebibyte_is_held() {
    let (child, mut parent) = lines().await;
    let lines = 300_000;
    let writer = thread::spawn(move || {
        for n in 0..lines {
            parent.write(format!("{n}\n").as_bytes());
        }
    });
    until(|| lock(&child.endpoint().inbox).session.is_full());
    assert!(!child.input_ended());
    assert!(!writer.is_finished(), "the pipe is full");
    for n in 0..lines {
        let line = child.receive().await.unwrap().unwrap();
        assert_eq!(line, n.to_string().as_str());
    }
    assert!(child.receive().await.unwrap().is_none());
    writer.join().unwrap();
}

#[test]
async fn a_driver_that_holds_enough_lets_others_run() {
    let (setup, ends, mut parent) = channel(Framing::Lines, LIMIT);
    // In one read, and as messages more than is held at once.
    let lines = 60_000;
    parent.write(&vec![b'\n'; lines]);
    parent.close_input();
    let child = Parent::over(setup, ends).await.unwrap();
    assert_eq!(child.messages().count().await, lines);
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fed_is_flushed_by_waiting() {
    let (child, mut parent) = frames().await;
    child.feed("a question").await.unwrap();
    let receiver = tokio::spawn(async move { child.receive().await.unwrap() });
    assert_eq!(parent.next_message(), b"a question");
    parent.message(b"an answer");
    assert_eq!(receiver.await.unwrap().unwrap(), "an answer");
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn without_input_there_is_one_error() {
    let (setup, mut ends, _parent) = channel(Framing::Frames, LIMIT);
    ends.input = None;
    let child = Parent::over(setup, ends).await.unwrap();
    assert!(matches!(
        child.receive().await,
        Err(ReceiveError::NotConfigured)
    ));
    let all: Vec<_> = child.messages().collect().await;
    assert!(matches!(all[..], [Err(ReceiveError::NotConfigured)]));
}

#[test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(feature = "json")]
async fn a_value_that_is_none_is_one_error_and_the_next_is_read() {
    use crate::MessageFormat::Json;

    let (child, mut parent) = lines().await;
    parent.write(b"[1,2]\nnonsense\n[3]\n");
    let receive = async || child.receive_as::<Vec<u32>>(&Json).await;
    assert_eq!(receive().await.unwrap(), Some(vec![1, 2]));
    assert!(matches!(receive().await, Err(ReceiveError::Deserialize(_))));
    assert_eq!(receive().await.unwrap(), Some(vec![3]));
    child.send_as("one\nline", &Json).await.unwrap();
    drop(child);
    assert_eq!(parent.read_to_end(), b"\"one\\nline\"\n");
}

/// A parent that sends more than it was granted: it is read again once there is room, control
/// included.
#[test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_without_credit_waits_in_the_pipe() {
    let (setup, ends, mut parent) = channel(Framing::Frames, LONG);
    let child = Parent::over(setup, ends).await.unwrap();
    parent.greet_without_credit();
    let mut to_child = parent.to_child.take().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    let writing = thread::spawn(move || {
        for number in 0..MANY {
            let payload = vec![u8::try_from(number).unwrap(); LONG].into();
            to_child
                .write_all(&encoded(&[Frame::Message(payload)]))
                .unwrap();
            counted.store(number + 1, Ordering::SeqCst);
        }
        let credit = Frame::Credit { lane: 0, bytes: 1 };
        to_child
            .write_all(&encoded(&[Frame::Ping(1), credit]))
            .unwrap();
        to_child
    });
    until(|| lock(&child.endpoint().inbox).session.is_full());
    let sending = child.clone();
    let sender = tokio::spawn(async move { sending.send("had to wait for credit").await.unwrap() });
    // What is held, one in the pipe, and one that is being read.
    assert!(written.load(Ordering::SeqCst) <= HELD + 2);
    for number in 0..MANY {
        let message = child.receive().await.unwrap().unwrap();
        assert_eq!(
            (message.len(), message.as_bytes()[0]),
            (LONG, u8::try_from(number).unwrap())
        );
    }
    sender.await.unwrap();
    let _to_child = writing.join().unwrap();
    let answers = [parent.answer(), parent.answer()];
    assert!(answers.contains(&Some(Frame::Pong(1))), "{answers:?}");
}
