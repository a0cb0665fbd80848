use std::{sync::mpsc::sync_channel, thread, time::Duration};

use procession_wire::{Frame, Framing};
use rustix::pipe::fcntl_setpipe_size;

use super::{AT_ONCE, NEVER, frames};
use crate::{
    Parent,
    blocking::endpoint::TICK,
    test_parent::{LIMIT, TestParent, channel, until},
};

/// What a pipe can be made to hold at the least.
const PAGE: usize = 4096;

#[test]
fn control_is_seen_by_a_program_that_never_receives() {
    let (child, mut parent) = frames(TICK);
    parent.send(&Frame::Ping(42));
    assert_eq!(parent.next(), Some(Frame::Pong(42)));
    let (stopped, on_stop) = sync_channel(1);
    child.on_stop(move || stopped.send(()).unwrap());
    assert!(!child.is_stopping());
    parent.send(&Frame::Stop);
    on_stop.recv().unwrap();
    assert!(child.is_stopping());
    parent.close_input();
    until(|| child.input_ended());
}

#[test]
fn pings_are_answered_while_messages_wait_unread() {
    let (child, mut parent) = frames(AT_ONCE);
    for number in 0..100 {
        parent.send(&Frame::Message(vec![0; 10_000].into()));
        parent.send(&Frame::Ping(number));
        assert_eq!(parent.next(), Some(Frame::Pong(number)));
    }
    parent.close_input();
    assert_eq!(child.messages().count(), 100);
}

#[test]
fn stop_callbacks_run_in_order_and_a_panic_stops_only_itself() {
    let (child, mut parent) = frames(AT_ONCE);
    let (called, calls) = sync_channel(8);
    for name in ["first", "second", "third"] {
        let called = called.clone();
        child.on_stop(move || {
            called.send(name).unwrap();
            assert_ne!(name, "second", "panics on purpose");
        });
    }
    parent.send(&Frame::Stop);
    let names: Vec<_> = calls.iter().take(3).collect();
    assert_eq!(names, ["first", "second", "third"]);
    child.on_stop(move || called.send("late").unwrap());
    assert_eq!(calls.recv().unwrap(), "late");
    assert!(calls.recv().is_err(), "each is called once");
}

#[test]
fn a_stop_callback_may_send() {
    let (child, mut parent) = frames(AT_ONCE);
    let in_callback = child.clone();
    child.on_stop(move || in_callback.send("stopping").unwrap());
    drop(child);
    parent.send(&Frame::Stop);
    assert_eq!(parent.next_message(), b"stopping");
    // The callback held the last clone.
    assert_eq!(parent.next(), Some(Frame::Bye { status: 0 }));
    assert_eq!(parent.next(), None);
}

#[test]
fn what_concerns_nobody_is_skipped() {
    let (child, mut parent) = frames(NEVER);
    let receiver = thread::spawn(move || child.messages().count());
    for skipped in [
        Frame::Cancel { id: 1 },
        Frame::Reply {
            id: 1,
            payload: "unasked".into(),
        },
        Frame::Item {
            id: 1,
            payload: "unasked".into(),
        },
        Frame::Failure {
            id: 1,
            text: "unasked".into(),
        },
        Frame::Credit { lane: 1, bytes: 1 },
        Frame::Pong(1),
        Frame::Extension {
            kind: 0x99,
            payload: "unknown".into(),
        },
        Frame::Message("counted".into()),
    ] {
        parent.send(&skipped);
    }
    parent.close_input();
    assert_eq!(receiver.join().unwrap(), 1);
}

/// A child whose output pipe holds one page, a greeted parent, and the full pipe: nobody is writing.
fn with_full_output() -> (Parent, TestParent) {
    let (child, parent) = with_small_output(NEVER);
    child.send(vec![1; PAGE - 5]).unwrap();
    (child, parent)
}

pub(super) fn with_small_output(tick: Duration) -> (Parent, TestParent) {
    let (setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
    let output = &ends.output.as_ref().unwrap().fd;
    assert_eq!(fcntl_setpipe_size(output, PAGE).unwrap(), PAGE);
    let child = Parent::over_with(setup, ends, tick).unwrap();
    parent.greet();
    (child, parent)
}

#[test]
fn a_reader_does_not_wait_for_a_full_output() {
    let (child, mut parent) = with_full_output();
    parent.send(&Frame::Ping(1));
    parent.message(b"seen");
    assert_eq!(child.receive().unwrap().unwrap(), "seen");
    parent.send(&Frame::Ping(2));
    parent.message(b"seen as well");
    assert_eq!(child.receive().unwrap().unwrap(), "seen as well");
    assert_eq!(parent.next_message(), [1; PAGE - 5]);
    assert_eq!(parent.next(), Some(Frame::Pong(1)));
    assert_eq!(parent.next(), Some(Frame::Pong(2)));
    // And so again: the thread that waited is gone.
    child.send(vec![2; PAGE - 5]).unwrap();
    parent.send(&Frame::Ping(3));
    parent.message(b"seen too");
    assert_eq!(child.receive().unwrap().unwrap(), "seen too");
    assert_eq!(parent.next_message(), [2; PAGE - 5]);
    assert_eq!(parent.next(), Some(Frame::Pong(3)));
}

#[test]
fn a_reader_does_not_wait_for_another_writer_which_answers_in_its_place() {
    let (child, mut parent) = with_small_output(NEVER);
    let sending = child.clone();
    let sender = thread::spawn(move || sending.send(vec![1; 10 * PAGE]).unwrap());
    until(|| child.is_writing());
    parent.send(&Frame::Ping(1));
    parent.message(b"seen");
    assert_eq!(child.receive().unwrap().unwrap(), "seen");
    assert_eq!(parent.next_message(), vec![1; 10 * PAGE]);
    assert_eq!(parent.next(), Some(Frame::Pong(1)));
    sender.join().unwrap();
}

#[test]
fn with_both_pipes_full_each_side_gets_through() {
    let (child, mut parent) = frames(AT_ONCE);
    let echo = thread::spawn(move || {
        for message in child.messages() {
            // Twice what came in, so that the output is full first.
            let message = message.unwrap();
            child.send(message.clone()).unwrap();
            child.send(message).unwrap();
        }
    });
    // Less than the child's window, and all of it written before anything is read.
    let payload = vec![7; 100_000];
    for _ in 0..40 {
        parent.send(&Frame::Message(payload.clone().into()));
    }
    parent.close_input();
    let mut seen = 0;
    while let Some(frame) = parent.next() {
        match frame {
            Frame::Message(echoed) => {
                assert!(echoed == payload);
                seen += 1;
            }
            Frame::Credit { .. } | Frame::Bye { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, 80);
    echo.join().unwrap();
}
