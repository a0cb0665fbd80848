use std::{os::fd::AsFd, thread};

use futures::{SinkExt, StreamExt, stream};
use procession_wire::{Features, Frame, Framing, Hello};
use rustix::{
    fs::{OFlags, fcntl_getfl},
    pipe::fcntl_setpipe_size,
};
use tokio::test;

use super::{connected, frames, lines, poll_once};
use crate::{
    Message, SendError,
    test_parent::{LIMIT, channel, encoded, until},
    tokio::{Parent, open::copy},
};

const PAGE: usize = 4096;

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn with_output_only_there_is_hello_and_no_credit() {
    let (setup, mut ends, mut parent) = channel(Framing::Frames, LIMIT);
    ends.input = None;
    let child = Parent::over(setup, ends).await.unwrap();
    child.send("not held up").await.unwrap();
    child.finish(0).await.unwrap();
    let expected = encoded(&[
        Frame::Hello(Hello::new(Features::NONE, std::process::id())),
        Frame::Message("not held up".into()),
        Frame::Bye { status: 0 },
    ]);
    assert_eq!(parent.read_to_end(), expected);
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn with_input_only_nothing_can_be_sent() {
    let (setup, mut ends, mut parent) = channel(Framing::Frames, LIMIT);
    ends.output = None;
    let child = Parent::over(setup, ends).await.unwrap();
    for outcome in [
        child.send("x").await,
        child.feed("x").await,
        child.flush().await,
        child.ready("").await,
    ] {
        assert!(
            matches!(outcome, Err(SendError::NotConfigured)),
            "{outcome:?}"
        );
    }
    parent.message(b"received");
    assert_eq!(child.receive().await.unwrap().unwrap(), "received");
    child.finish(0).await.unwrap();
    assert_eq!(parent.read_to_end(), b"");
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credit_a_sender_waits_and_nobody_else_does() {
    let (child, mut parent) = connected(Framing::Frames).await;
    parent.greet_without_credit();
    assert!(poll_once(child.send("dropped before it had a place")).is_pending());
    parent.grant(1);
    child.send("overshoots").await.unwrap();
    assert!(poll_once(child.send("dropped as well")).is_pending());
    let sending = child.clone();
    let sender = tokio::spawn(async move { sending.send("waits").await.unwrap() });
    let feeding = child.clone();
    let feeder = tokio::spawn(async move { feeding.feed("waits").await.unwrap() });
    assert_eq!(parent.next_message(), b"overshoots");

    child.ready("needs no credit").await.unwrap();
    assert_eq!(parent.next(), Some(Frame::Ready("needs no credit".into())));
    parent.send(&Frame::Ping(1));
    assert_eq!(parent.next(), Some(Frame::Pong(1)));
    parent.message(b"comes in");
    assert_eq!(child.receive().await.unwrap().unwrap(), "comes in");
    assert!(!sender.is_finished() && !feeder.is_finished());

    parent.grant(200);
    sender.await.unwrap();
    feeder.await.unwrap();
    child.flush().await.unwrap();
    assert_eq!(parent.next_message(), b"waits");
    assert_eq!(parent.next_message(), b"waits");
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end_of_input_nobody_waits_for_credit_any_more() {
    let (child, mut parent) = connected(Framing::Frames).await;
    parent.greet_without_credit();
    let sender = tokio::spawn(async move {
        child.send("one").await.unwrap();
        child.send("two").await.unwrap();
    });
    parent.close_input();
    assert_eq!(parent.next_message(), b"one");
    assert_eq!(parent.next_message(), b"two");
    sender.await.unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_is_gone_is_an_error_each_time() {
    let (child, mut parent) = frames().await;
    parent.from_child = None;
    child.feed("buffered").await.unwrap();
    for outcome in [
        child.flush().await,
        child.send("x").await,
        child.feed("x").await,
        child.send(vec![b'x'; 99_999]).await,
        child.sink().send("x".into()).await,
    ] {
        assert!(
            matches!(outcome, Err(SendError::ParentGone(_))),
            "{outcome:?}"
        );
    }
    let outcome = child.finish(0).await;
    assert!(
        matches!(outcome, Err(SendError::ParentGone(_))),
        "{outcome:?}"
    );
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_refused_and_the_next_goes_through() {
    let (setup, ends, mut parent) = channel(Framing::Lines, 10);
    let child = Parent::over(setup, ends).await.unwrap();
    let outcome = child.send("eleven char").await;
    assert!(
        matches!(outcome, Err(SendError::TooLarge { len: 11, limit: 10 })),
        "{outcome:?}"
    );
    let mut sink = child.sink();
    let outcome = sink.send("two\nlines".into()).await;
    assert!(
        matches!(outcome, Err(SendError::EmbeddedNewline { at: 3 })),
        "{outcome:?}"
    );
    sink.send("ten  chars".into()).await.unwrap();
    drop((sink, child));
    assert_eq!(parent.read_to_end(), b"ten  chars\n");
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_is_dropped_while_it_is_written_is_sent_whole() {
    let (setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
    let output = &ends.output.as_ref().unwrap().fd;
    assert_eq!(fcntl_setpipe_size(output, PAGE).unwrap(), PAGE);
    let child = Parent::over(setup, ends).await.unwrap();
    parent.greet();
    until(|| crate::lock(&child.endpoint().inbox).session.may_send());
    for round in 1..50 {
        let payload = vec![1; 1000 * round];
        let outcome = poll_once(child.send(payload.clone()));
        assert!(outcome.is_pending() || payload.len() < PAGE);
        let sending = child.clone();
        let after = tokio::spawn(async move { sending.send([7]).await.unwrap() });
        assert!(parent.next_message() == payload);
        assert_eq!(parent.next_message(), [7]);
        after.await.unwrap();
    }
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn fed_messages_and_sent_ones_stay_in_order() {
    let (child, mut parent) = frames().await;
    let sender = tokio::spawn(async move {
        child.feed("one").await.unwrap();
        child.feed("two").await.unwrap();
        child.send("three").await.unwrap();
        child.feed(vec![4; 100_000]).await.unwrap();
        child.feed("five").await.unwrap();
        child.send(vec![6; 200_000]).await.unwrap();
        child.feed("seven").await.unwrap();
        // The last one is dropped on this thread of the runtime.
    });
    for expected in [
        &b"one"[..],
        b"two",
        b"three",
        &vec![4; 100_000],
        b"five",
        &vec![6; 200_000],
        b"seven",
    ] {
        assert!(parent.next_message() == expected);
    }
    sender.await.unwrap();
    assert_eq!(parent.next(), Some(Frame::Bye { status: 0 }));
    assert_eq!(parent.next(), None);
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_writes_full_buffers_and_flushes_the_rest() {
    let (child, mut parent) = lines().await;
    let feeder = tokio::spawn(async move {
        let numbers = stream::iter(0..100_000).map(|n| Ok(Message::from(n.to_string())));
        child.sink().send_all(&mut { numbers }).await.unwrap();
        child
    });
    let reader = thread::spawn(move || parent.read_to_end());
    drop(feeder.await.unwrap());
    let written = String::from_utf8(reader.join().unwrap()).unwrap();
    assert_eq!(written.lines().count(), 100_000);
    assert!(
        (0..100_000)
            .zip(written.lines())
            .all(|(n, line)| line == n.to_string())
    );
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_send_at_once_never_mix_their_bytes() {
    let (child, mut parent) = frames().await;
    let senders: Vec<_> = (0..4u8)
        .map(|name| {
            let child = child.clone();
            tokio::spawn(async move {
                for round in 0..500 {
                    let payload = vec![name; round * 37 % 30_000];
                    if round % 3 == 0 {
                        child.feed(payload).await.unwrap();
                    } else {
                        child.send(payload).await.unwrap();
                    }
                }
            })
        })
        .collect();
    drop(child);
    let mut rounds = [0; 4];
    loop {
        let payload = match parent.next() {
            Some(Frame::Message(payload)) => payload,
            Some(Frame::Bye { status: 0 }) => break,
            other => panic!("{other:?}"),
        };
        if let Some(&name) = payload.first() {
            let round = &mut rounds[usize::from(name)];
            *round = (*round + 1..500)
                .find(|n| n * 37 % 30_000 == payload.len())
                .unwrap();
            assert!(payload.iter().all(|&byte| byte == name));
        }
    }
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(rounds, [499; 4]);
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_descriptions_stay_blocking() {
    let (setup, mut ends, mut parent) = channel(Framing::Frames, LIMIT);
    let mut copies = Vec::new();
    for end in [&mut ends.input, &mut ends.output] {
        let end = end.as_mut().unwrap();
        end.shared = true;
        copies.push(end.fd.try_clone().unwrap());
    }
    let child = Parent::over(setup, ends).await.unwrap();
    parent.greet();
    parent.message(b"there");
    assert_eq!(child.receive().await.unwrap().unwrap(), "there");
    child.send("and back").await.unwrap();
    assert_eq!(parent.next_message(), b"and back");
    for copy in copies {
        let flags = fcntl_getfl(copy.as_fd()).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK));
    }
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_pipe_is_served_by_threads() {
    use std::{io::Write, os::unix::net::UnixStream};

    let (setup, mut ends, mut parent) = channel(Framing::Frames, LIMIT);
    let (child_side, mut socket) = UnixStream::pair().unwrap();
    let input = ends.input.as_mut().unwrap();
    input.shared = true;
    input.fd = child_side.try_clone().unwrap().into();
    let output = ends.output.as_mut().unwrap();
    let pipe = std::mem::replace(&mut output.fd, child_side.into());
    output.shared = true;

    // What comes out of the socket goes where the parent reads.
    let mut from_socket = socket.try_clone().unwrap();
    let copier = thread::spawn(move || {
        copy(&mut from_socket, &mut std::fs::File::from(pipe));
    });
    let child = Parent::over(setup, ends).await.unwrap();
    parent.greet_without_credit();
    socket
        .write_all(&encoded(&[
            Frame::Credit {
                lane: 0,
                bytes: u32::MAX,
            },
            Frame::Message("through a socket".into()),
        ]))
        .unwrap();
    assert_eq!(child.receive().await.unwrap().unwrap(), "through a socket");
    child.send("and back").await.unwrap();
    assert_eq!(parent.next_message(), b"and back");
    child.finish(5).await.unwrap();
    // All of it had been copied when `finish` resolved.
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(parent.next(), Some(Frame::Bye { status: 5 }));
    copier.join().unwrap();
}

/// Where others always have more to send, a flush would never end if it was for that too.
#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_of_a_sink_waits_for_what_was_fed_to_it_alone() {
    let (setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
    let output = &ends.output.as_ref().unwrap().fd;
    assert_eq!(fcntl_setpipe_size(output, PAGE).unwrap(), PAGE);
    let child = Parent::over(setup, ends).await.unwrap();
    parent.greet();
    until(|| crate::lock(&child.endpoint().inbox).session.may_send());
    let mut sink = child.sink();
    sink.feed(vec![1; 3 * PAGE].into()).await.unwrap();
    assert!(poll_once(sink.flush()).is_pending(), "the pipe is full");
    child.feed(vec![2; 8 * PAGE]).await.unwrap();
    assert_eq!(parent.next_message(), vec![1; 3 * PAGE]);
    sink.flush().await.unwrap();
    assert_eq!(parent.next_message(), vec![2; 8 * PAGE]);
}
