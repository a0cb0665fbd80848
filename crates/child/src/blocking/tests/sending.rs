use std::thread;

use procession_wire::{Features, Frame, Framing, Hello};

use super::{AT_ONCE, NEVER, connected, frames, lines};
use crate::{
    Parent, SendError,
    test_parent::{LIMIT, channel, encoded, until},
};

#[test]
fn hello_and_the_first_credit_are_the_first_bytes() {
    let (child, mut parent) = connected(Framing::Frames, NEVER);
    parent.greet();
    child.send("x").unwrap();
    assert_eq!(parent.next_message(), b"x");
}

#[test]
fn with_output_only_there_is_hello_and_no_credit() {
    let (setup, mut ends, mut parent) = channel(Framing::Frames, LIMIT);
    ends.input = None;
    let child = Parent::over(setup, ends).unwrap();
    child.send("not held up").unwrap();
    drop(child);
    let expected = encoded(&[
        Frame::Hello(Hello::new(Features::NONE, std::process::id())),
        Frame::Message("not held up".into()),
        Frame::Bye { status: 0 },
    ]);
    assert_eq!(parent.read_to_end(), expected);
}

#[test]
fn with_input_only_nothing_can_be_sent() {
    let (setup, mut ends, mut parent) = channel(Framing::Frames, LIMIT);
    ends.output = None;
    let child = Parent::over(setup, ends).unwrap();
    assert!(!child.has_output());
    for outcome in [
        child.send("x"),
        child.feed("x"),
        child.flush(),
        child.ready(""),
    ] {
        assert!(
            matches!(outcome, Err(SendError::NotConfigured)),
            "{outcome:?}"
        );
    }
    parent.write(&encoded(&[
        Frame::Ping(1),
        Frame::Message("received".into()),
    ]));
    assert_eq!(child.receive().unwrap().unwrap(), "received");
    child.finish(0).unwrap();
    assert_eq!(parent.read_to_end(), b"");
}

#[test]
fn without_credit_a_sender_waits_and_nobody_else_does() {
    for tick in [NEVER, AT_ONCE] {
        let (child, mut parent) = connected(Framing::Frames, tick);
        parent.greet_without_credit();
        parent.grant(1);
        child.send("overshoots").unwrap();
        let sending = child.clone();
        let sender = thread::spawn(move || sending.send("waits").unwrap());
        let feeding = child.clone();
        let feeder = thread::spawn(move || feeding.feed("waits").unwrap());
        // One of them sleeps, while the other, or the watcher, reads.
        until(|| child.senders_without_credit() >= 1);
        assert_eq!(parent.next_message(), b"overshoots");

        child.ready("needs no credit").unwrap();
        assert_eq!(parent.next(), Some(Frame::Ready("needs no credit".into())));
        parent.send(&Frame::Ping(1));
        assert_eq!(parent.next(), Some(Frame::Pong(1)));
        parent.message(b"comes in");
        assert_eq!(child.receive().unwrap().unwrap(), "comes in");

        parent.grant(200);
        sender.join().unwrap();
        feeder.join().unwrap();
        child.flush().unwrap();
        assert_eq!(parent.next_message(), b"waits");
        assert_eq!(parent.next_message(), b"waits");
    }
}

#[test]
fn a_sender_without_credit_first_flushes_what_was_fed() {
    let (child, mut parent) = connected(Framing::Frames, NEVER);
    parent.greet_without_credit();
    parent.grant(100);
    child.feed("one").unwrap();
    child.feed("two").unwrap();
    let feeder = thread::spawn(move || child.feed("three").unwrap());
    assert_eq!(parent.next_message(), b"one");
    assert_eq!(parent.next_message(), b"two");
    parent.grant(100);
    feeder.join().unwrap();
    assert_eq!(parent.next_message(), b"three");
}

#[test]
fn at_the_end_of_input_nobody_waits_for_credit_any_more() {
    let (child, mut parent) = connected(Framing::Frames, NEVER);
    parent.greet_without_credit();
    let sender = thread::spawn(move || {
        child.send("one").unwrap();
        child.send("two").unwrap();
    });
    parent.close_input();
    assert_eq!(parent.next_message(), b"one");
    assert_eq!(parent.next_message(), b"two");
    sender.join().unwrap();
}

#[test]
fn a_parent_that_is_gone_is_an_error_each_time() {
    for framing in [Framing::Lines, Framing::Frames] {
        let (child, mut parent) = connected(framing, NEVER);
        if framing == Framing::Frames {
            parent.greet();
        }
        parent.from_child = None;
        child.feed("buffered").unwrap();
        for outcome in [
            child.flush(),
            child.send("x"),
            child.feed("x"),
            child.send(vec![b'x'; 99_999]),
        ] {
            assert!(
                matches!(outcome, Err(SendError::ParentGone(_))),
                "{outcome:?}"
            );
        }
        assert!(matches!(child.finish(0), Err(SendError::ParentGone(_))));
    }
}

#[test]
fn what_cannot_be_sent_is_refused_and_the_next_goes_through() {
    let (setup, ends, mut parent) = channel(Framing::Lines, 10);
    let child = Parent::over(setup, ends).unwrap();
    let outcome = child.send("eleven char");
    assert!(
        matches!(outcome, Err(SendError::TooLarge { len: 11, limit: 10 })),
        "{outcome:?}"
    );
    let outcome = child.feed("two\nlines");
    assert!(
        matches!(outcome, Err(SendError::EmbeddedNewline { at: 3 })),
        "{outcome:?}"
    );
    child.send("ten  chars").unwrap();
    drop(child);
    assert_eq!(parent.read_to_end(), b"ten  chars\n");

    let (setup, ends, mut parent) = channel(Framing::Frames, 10);
    let child = Parent::over(setup, ends).unwrap();
    parent.greet();
    assert!(matches!(
        child.send([0; 11]),
        Err(SendError::TooLarge { .. })
    ));
    assert!(matches!(
        child.ready("eleven char"),
        Err(SendError::TooLarge { .. })
    ));
    child.send("two\nlines").unwrap();
    assert_eq!(parent.next_message(), b"two\nlines");
}

#[test]
fn fed_messages_are_written_together_and_in_order() {
    let (child, mut parent) = frames(NEVER);
    child.feed("one").unwrap();
    child.feed("two").unwrap();
    parent.send(&Frame::Ping(1));
    parent.message(b"go");
    assert_eq!(child.receive().unwrap().unwrap(), "go");
    // The flush before waiting came first.
    assert_eq!(parent.next_message(), b"one");
    assert_eq!(parent.next_message(), b"two");
    assert_eq!(parent.next(), Some(Frame::Pong(1)));
    let sender = thread::spawn(move || {
        child.feed("three").unwrap();
        child.send("four").unwrap();
        child.feed("five").unwrap();
        child.send(vec![6; 100_000]).unwrap();
        child.feed("seven").unwrap();
        child.feed(vec![8; 100_000]).unwrap();
        child.feed("nine").unwrap();
    });
    for expected in [
        &b"three"[..],
        b"four",
        b"five",
        &vec![6; 100_000],
        b"seven",
        &vec![8; 100_000],
        b"nine",
    ] {
        assert!(parent.next_message() == expected);
    }
    assert_eq!(parent.next(), Some(Frame::Bye { status: 0 }));
    assert_eq!(parent.next(), None);
    sender.join().unwrap();
}

#[test]
fn feeding_writes_whenever_64_kib_are_there() {
    let (child, mut parent) = lines(NEVER);
    let line = vec![b'x'; 999];
    let feeder = thread::spawn(move || {
        for _ in 0..100 {
            child.feed(line.clone()).unwrap();
        }
        child
    });
    let mut seen = 0;
    while seen < 65_000 {
        let mut chunk = vec![0; 100_000];
        seen += std::io::Read::read(parent.from_child.as_mut().unwrap(), &mut chunk).unwrap();
    }
    assert_eq!(seen, 65_000, "65 lines fit into the buffer");
    drop(feeder.join().unwrap());
    assert_eq!(parent.read_to_end().len(), 35_000);
}

#[test]
fn threads_that_send_at_once_never_mix_their_bytes() {
    let (child, mut parent) = frames(AT_ONCE);
    let senders: Vec<_> = (0..4u8)
        .map(|name| {
            let child = child.clone();
            thread::spawn(move || {
                for round in 0..500 {
                    let payload = vec![name; round * 37 % 30_000];
                    if round % 3 == 0 {
                        child.feed(payload).unwrap();
                    } else {
                        child.send(payload).unwrap();
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
        sender.join().unwrap();
    }
    assert_eq!(rounds, [499; 4]);
}
