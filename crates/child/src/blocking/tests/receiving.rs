use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use procession_wire::{Frame, FrameError, Framing};

use super::{AT_ONCE, NEVER, frames, lines};
use crate::{
    Message, Parent, ReceiveError,
    blocking::endpoint::TICK,
    lock,
    test_parent::{LIMIT, channel, encoded, until},
};

/// A message as long as the limit, how many of them a child holds that takes none, and more than
/// that.
const LONG: usize = 1 << 20;
const HELD: usize = 5;
const MANY: usize = 12;

fn texts(parent: &Parent) -> Vec<String> {
    let texts = parent.messages().map(|m| m.unwrap().try_into().unwrap());
    texts.collect()
}

#[test]
fn a_conversation_needs_no_other_thread() {
    let (child, mut parent) = frames(NEVER);
    let echo = thread::spawn(move || {
        for message in child.messages() {
            child.send(message.unwrap()).unwrap();
        }
        child.watcher_reads()
    });
    for number in 0..2000u32 {
        let payload = number.to_be_bytes();
        parent.send(&Frame::Message(payload.to_vec().into()));
        assert_eq!(parent.next_message(), payload);
    }
    parent.close_input();
    assert_eq!(echo.join().unwrap(), 0);
}

#[test]
fn the_role_goes_to_and_fro_and_nothing_is_lost() {
    let (child, mut parent) = frames(AT_ONCE);
    let echo = thread::spawn(move || {
        for message in child.messages() {
            thread::yield_now();
            child.send(message.unwrap()).unwrap();
        }
    });
    for round in 0..500u32 {
        for number in 0..4 {
            let payload = (round * 4 + number).to_be_bytes();
            parent.send(&Frame::Message(payload.to_vec().into()));
        }
        for number in 0..4 {
            assert_eq!(parent.next_message(), (round * 4 + number).to_be_bytes());
        }
    }
    parent.close_input();
    echo.join().unwrap();
}

#[test]
fn while_the_program_waits_the_watcher_is_parked_for_good() {
    let (child, mut parent) = frames(10 * TICK);
    // The watcher reads first, since nobody else does.
    parent.send(&Frame::Ping(0));
    assert_eq!(parent.next(), Some(Frame::Pong(0)));
    let waiting = child.clone();
    let receiver = thread::spawn(move || while waiting.receive().unwrap().unwrap() != "last" {});
    until(|| {
        if child.is_awaited() {
            // It hands over when it has read this.
            parent.message(b"not the last");
        }
        child.watcher_is_parked()
    });
    let reads = child.watcher_reads();
    parent.message(b"last");
    receiver.join().unwrap();
    assert_eq!(child.watcher_reads(), reads, "the program read it itself");
    // The program is away now, and the watcher reads.
    parent.send(&Frame::Ping(1));
    assert_eq!(parent.next(), Some(Frame::Pong(1)));
    assert_eq!(child.watcher_reads(), reads + 1);
}

#[test]
fn messages_before_a_stop_are_given_and_those_after_it_are_not() {
    let (child, mut parent) = frames(NEVER);
    parent.write(&encoded(&[
        Frame::Message("one".into()),
        Frame::Message("two".into()),
        Frame::Stop,
        Frame::Message("three".into()),
    ]));
    assert_eq!(texts(&child), ["one", "two"]);
    assert!(child.is_stopping());
    assert!(!child.input_ended());
    assert!(child.receive().unwrap().is_none());
    child.send("last words").unwrap();
    assert_eq!(parent.next_message(), b"last words");
}

#[test]
fn the_end_of_input_ends_the_messages() {
    for tick in [NEVER, AT_ONCE] {
        let (child, mut parent) = frames(tick);
        parent.message(b"one");
        parent.close_input();
        assert_eq!(texts(&child), ["one"]);
        assert!(child.receive().unwrap().is_none());
        assert!(child.input_ended());
        assert!(!child.is_stopping());
    }
}

#[test]
fn lines_go_both_ways_and_the_last_needs_no_newline() {
    let (child, mut parent) = lines(NEVER);
    child.ready("is not said over lines").unwrap();
    child.send("hello").unwrap();
    child.send("").unwrap();
    parent.write(b"one\n\ntwo\r\nthree");
    parent.close_input();
    assert_eq!(texts(&child), ["one", "", "two\r", "three"]);
    drop(child);
    assert_eq!(parent.read_to_end(), b"hello\n\n");
}

#[test]
fn a_line_over_the_limit_is_one_error_and_the_next_is_read() {
    let (setup, ends, mut parent) = channel(Framing::Lines, 1000);
    let child = Parent::over(setup, ends).unwrap();
    let writer = thread::spawn(move || {
        parent.write(b"one\n");
        for _ in 0..2000 {
            parent.write(&[b'x'; 1000]);
        }
        parent.write(b"\ntwo\n");
    });
    let mut messages = child.messages();
    assert_eq!(messages.next().unwrap().unwrap(), "one");
    let next = messages.next().unwrap();
    assert!(
        matches!(next, Err(ReceiveError::LineTooLong(_))),
        "{next:?}"
    );
    assert_eq!(messages.next().unwrap().unwrap(), "two");
    assert!(messages.next().is_none());
    writer.join().unwrap();
}

#[test]
fn after_junk_there_is_one_error_and_the_input_is_closed() {
    for tick in [NEVER, AT_ONCE] {
        let (child, mut parent) = frames(tick);
        parent.message(b"good");
        parent.write(b"\xff\xff\xff\xff\0");
        let mut messages = child.messages();
        assert_eq!(messages.next().unwrap().unwrap(), "good");
        let next = messages.next().unwrap();
        assert!(
            matches!(next, Err(ReceiveError::Frame(FrameError::TooLarge { .. }))),
            "{next:?}"
        );
        assert!(messages.next().is_none());
        let mut to_child = parent.to_child.take().unwrap();
        assert!(to_child.write_all(b"more").is_err());
        // The other direction goes on.
        child.send("what was that?").unwrap();
        assert_eq!(parent.next_message(), b"what was that?");
    }
}

#[test]
fn large_messages_arrive_whole_both_ways() {
    let (child, mut parent) = frames(TICK);
    let payloads: Vec<Vec<u8>> = (0..40u32)
        .map(|number| {
            let len = 1 << (number % 21);
            (0..len)
                .map(|at| (at * 31 + number).to_be_bytes()[3])
                .collect()
        })
        .collect();
    let echo = thread::spawn(move || {
        for message in child.messages() {
            child.send(message.unwrap()).unwrap();
        }
    });
    for payload in &payloads {
        parent.send(&Frame::Message(payload.clone().into()));
        assert!(parent.next_message() == *payload);
    }
    parent.close_input();
    echo.join().unwrap();
}

#[test]
fn each_message_goes_to_exactly_one_of_many_threads() {
    for tick in [NEVER, AT_ONCE] {
        let (child, mut parent) = frames(tick);
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let messages = child.messages();
                thread::spawn(move || messages.map(Result::unwrap).collect::<Vec<_>>())
            })
            .collect();
        let number = |n: u32| Message::from(n.to_be_bytes());
        for n in 0..20_000 {
            parent.send(&Frame::Message(number(n).into_bytes()));
        }
        parent.close_input();
        let mut all = Vec::new();
        for receiver in receivers {
            let some = receiver.join().unwrap();
            assert!(some.is_sorted(), "each thread sees them in order");
            all.extend(some);
        }
        all.sort();
        assert!(all.into_iter().eq((0..20_000).map(number)));
    }
}

#[test]
fn without_credit_no_more_than_a_mebibyte_is_held() {
    let (child, mut parent) = lines(AT_ONCE);
    let lines = 300_000;
    let writer = thread::spawn(move || {
        for n in 0..lines {
            parent.write(format!("{n}\n").as_bytes());
        }
    });
    until(|| child.watcher_is_parked());
    assert!(!child.input_ended());
    assert!(!writer.is_finished(), "the pipe is full");
    for n in 0..lines {
        let line = child.receive().unwrap().unwrap();
        assert_eq!(line, n.to_string().as_str());
    }
    assert!(child.receive().unwrap().is_none());
    writer.join().unwrap();
}

#[test]
fn what_is_fed_is_flushed_before_waiting() {
    let (child, mut parent) = frames(NEVER);
    child.feed("a question").unwrap();
    let receiver = thread::spawn(move || child.receive().unwrap());
    assert_eq!(parent.next_message(), b"a question");
    parent.message(b"an answer");
    assert_eq!(receiver.join().unwrap().unwrap(), "an answer");
}

#[test]
fn without_input_there_is_one_error() {
    let (setup, mut ends, _parent) = channel(Framing::Frames, LIMIT);
    ends.input = None;
    let child = Parent::over(setup, ends).unwrap();
    assert!(matches!(child.receive(), Err(ReceiveError::NotConfigured)));
    let all: Vec<_> = child.messages().collect();
    assert!(matches!(all[..], [Err(ReceiveError::NotConfigured)]));
    assert!(!child.has_input());
    assert!(!child.input_ended());
}

#[test]
#[cfg(feature = "json")]
fn a_value_that_is_none_is_one_error_and_the_next_is_read() {
    use crate::MessageFormat::Json;

    let (child, mut parent) = lines(NEVER);
    parent.write(b"[1,2]\nnonsense\n[3]\n");
    let receive = || child.receive_as::<Vec<u32>>(&Json);
    assert_eq!(receive().unwrap(), Some(vec![1, 2]));
    assert!(matches!(receive(), Err(ReceiveError::Deserialize(_))));
    assert_eq!(receive().unwrap(), Some(vec![3]));
    child.send_as("one\nline", &Json).unwrap();
    drop(child);
    assert_eq!(parent.read_to_end(), b"\"one\\nline\"\n");
}

/// A parent that sends more than it was granted: it is read again once there is room, control
/// included.
#[test]
fn what_is_sent_without_credit_waits_in_the_pipe() {
    let (setup, ends, mut parent) = channel(Framing::Frames, LONG);
    let child = Parent::over_with(setup, ends, AT_ONCE).unwrap();
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
    let sender = thread::spawn(move || sending.send("had to wait for credit").unwrap());
    // It does not read on for its credit.
    until(|| child.senders_without_credit() == 1);
    // What is held, one in the pipe, and one that is being read.
    assert!(written.load(Ordering::SeqCst) <= HELD + 2);
    for number in 0..MANY {
        let message = child.receive().unwrap().unwrap();
        assert_eq!(
            (message.len(), message.as_bytes()[0]),
            (LONG, u8::try_from(number).unwrap())
        );
    }
    let _to_child = writing.join().unwrap();
    sender.join().unwrap();
    let answers = [parent.answer(), parent.answer()];
    assert!(answers.contains(&Some(Frame::Pong(1))), "{answers:?}");
}
