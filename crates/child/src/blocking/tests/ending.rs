use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::sync_channel},
    thread,
};

use procession_wire::{Frame, Framing};

use super::{AT_ONCE, NEVER, connected, frames, lines};
use crate::{SendError, blocking::endpoint::TICK, test_parent::until};

#[test]
fn the_last_clone_flushes_says_bye_and_closes_both_ends() {
    for tick in [NEVER, AT_ONCE] {
        let (child, mut parent) = frames(tick);
        let endpoint = Arc::downgrade(child.endpoint());
        let other = child.clone();
        child.feed("fed").unwrap();
        drop(child);
        other.feed("and more").unwrap();
        drop(other);
        assert_eq!(parent.next_message(), b"fed");
        assert_eq!(parent.next_message(), b"and more");
        assert_eq!(parent.next(), Some(Frame::Bye { status: 0 }));
        assert_eq!(parent.next(), None);
        // The watcher ends too, wherever it was.
        until(|| endpoint.upgrade().is_none());
        assert!(parent.to_child.unwrap().write_all(b"x").is_err());
    }
}

#[test]
fn finish_says_bye_for_all_clones() {
    let (child, mut parent) = frames(TICK);
    let other = child.clone();
    child.feed("fed").unwrap();
    child.finish(7).unwrap();
    assert_eq!(parent.next_message(), b"fed");
    assert_eq!(parent.next(), Some(Frame::Bye { status: 7 }));
    assert_eq!(parent.next(), None);
    for outcome in [
        other.send("x"),
        other.feed("x"),
        other.flush(),
        other.ready(""),
    ] {
        assert!(matches!(outcome, Err(SendError::Finished)), "{outcome:?}");
    }
    assert!(other.receive().unwrap().is_none());
    other.finish(8).unwrap();
    assert_eq!(parent.next(), None);
}

#[test]
fn over_lines_there_is_no_bye() {
    let (child, mut parent) = lines(NEVER);
    child.feed("fed").unwrap();
    child.finish(7).unwrap();
    assert_eq!(parent.read_to_end(), b"fed\n");
}

#[test]
fn a_panic_is_not_a_good_bye() {
    let (child, mut parent) = frames(NEVER);
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        child.feed("before it").unwrap();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(parent.next_message(), b"before it");
    assert_eq!(parent.next(), Some(Frame::Bye { status: 101 }));
}

#[test]
fn an_iterator_does_not_keep_the_connection() {
    let (child, mut parent) = frames(AT_ONCE);
    let mut messages = child.messages();
    parent.message(b"one");
    parent.message(b"two");
    assert_eq!(messages.next().unwrap().unwrap(), "one");
    drop(child);
    assert_eq!(parent.next(), Some(Frame::Bye { status: 0 }));
    assert!(messages.next().is_none());
}

#[test]
fn all_who_wait_for_credit_are_woken_by_the_end() {
    let (child, mut parent) = connected(Framing::Frames, NEVER);
    parent.greet_without_credit();
    // One reads meanwhile, and the other sleeps.
    let senders = [(); 2].map(|()| {
        let child = child.clone();
        thread::spawn(move || child.send("never sent"))
    });
    until(|| child.senders_without_credit() == 1);
    child.finish(0).unwrap();
    for sender in senders {
        assert!(matches!(sender.join().unwrap(), Err(SendError::Finished)));
    }
    assert_eq!(parent.next(), Some(Frame::Bye { status: 0 }));
}

#[test]
fn all_who_wait_for_a_message_are_woken_by_the_end() {
    let (child, mut parent) = frames(NEVER);
    let (woken, wakes) = sync_channel(2);
    // One reads meanwhile, and the other sleeps.
    for _ in 0..2 {
        let (child, woken) = (child.clone(), woken.clone());
        thread::spawn(move || woken.send(child.receive().unwrap()).unwrap());
    }
    until(|| child.is_awaited());
    child.finish(0).unwrap();
    assert_eq!(wakes.recv().unwrap(), None);
    // The one that reads cannot be woken but by the pipe.
    parent.close_input();
    assert_eq!(wakes.recv().unwrap(), None);
}

#[test]
fn requests_that_nobody_served_fail_before_bye() {
    let (child, mut parent) = frames(AT_ONCE);
    parent.request(5, "?");
    parent.request(6, "?");
    parent.send(&Frame::Ping(1));
    assert_eq!(parent.next(), Some(Frame::Pong(1)));
    child.finish(0).unwrap();
    let mut failed = vec![];
    loop {
        match parent.next() {
            Some(Frame::Failure { id, text }) => {
                assert_eq!(text, "this child has closed its connection");
                failed.push(id);
            }
            Some(Frame::Bye { status: 0 }) => break,
            other => panic!("{other:?}"),
        }
    }
    failed.sort_unstable();
    assert_eq!(failed, [5, 6]);
    assert_eq!(parent.next(), None);
}
