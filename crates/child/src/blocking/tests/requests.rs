use std::{
    sync::{Mutex, mpsc::sync_channel},
    thread,
    time::{Duration, Instant},
};

use procession_wire::{Frame, Framing, credit::REQUEST_LANE};

use super::{AT_ONCE, NEVER, connected, control::with_small_output, frames, lines};
use crate::{
    HandlerError, ItemError, Message, Request, RequestError, RequestOptions, SendError, ServeError,
    blocking::endpoint::TICK,
    lock,
    test_parent::{LIMIT, channel, encoded, until},
};

const SOON: RequestOptions = RequestOptions::new().deadline(Duration::from_millis(20));
const WHENEVER: RequestOptions = RequestOptions::new().no_deadline();

/// For what takes no time unless it never comes.
const LONG: Duration = Duration::from_mins(1);

fn reply(id: u64, payload: &'static str) -> Frame {
    let payload = payload.into();
    Frame::Reply { id, payload }
}

fn failure(id: u64, text: &str) -> Frame {
    let text = text.into();
    Frame::Failure { id, text }
}

#[expect(clippy::unnecessary_wraps, reason = "it is a handler")]
fn echo(request: Request) -> Result<Message, HandlerError> {
    Ok(request.into_message())
}

#[test]
fn a_request_is_served_with_no_other_thread() {
    let (child, mut parent) = frames(NEVER);
    let server = thread::spawn(move || {
        child.serve(echo).unwrap();
        child.watcher_reads()
    });
    for id in 1..=2000 {
        parent.request(id, "ping");
        assert_eq!(parent.answer(), Some(reply(id, "ping")));
    }
    parent.send(&Frame::Stop);
    assert_eq!(server.join().unwrap(), 0);
    assert_eq!(parent.answer(), Some(Frame::Bye { status: 0 }));
}

#[test]
fn a_request_is_answered_with_no_other_thread() {
    for options in [RequestOptions::new(), WHENEVER] {
        let (child, mut parent) = frames(NEVER);
        let asker = thread::spawn(move || {
            for _ in 0..1000 {
                assert_eq!(child.request_with("ping", &options).unwrap(), "pong");
            }
            child.watcher_reads()
        });
        for id in 1..=1000 {
            assert_eq!(parent.asked(), (id, "ping".into()));
            parent.item(id, "thrown away");
            parent.reply(id, "pong");
        }
        assert_eq!(asker.join().unwrap(), 0);
    }
}

#[test]
fn threads_ask_at_once_and_each_gets_its_own_reply() {
    for tick in [NEVER, AT_ONCE, TICK] {
        let (child, mut parent) = frames(tick);
        let askers: Vec<_> = (0..8)
            .map(|name| {
                let child = child.clone();
                thread::spawn(move || {
                    for round in 0..50 {
                        let question = format!("{name} {round}");
                        let reply = child.request(question.as_str()).unwrap();
                        assert_eq!(reply, question.as_str());
                    }
                })
            })
            .collect();
        for _ in 0..50 {
            let mut asked: Vec<_> = (0..8).map(|_| parent.asked()).collect();
            // The last comes first.
            asked.reverse();
            for (id, question) in asked {
                let payload = question.into();
                parent.send(&Frame::Reply { id, payload });
            }
        }
        for asker in askers {
            asker.join().unwrap();
        }
        drop(child);
    }
}

#[test]
fn any_number_of_threads_can_be_asked_for() {
    for threads in [0, 1, usize::MAX] {
        let (child, mut parent) = frames(TICK);
        let server = thread::spawn(move || child.serve_on(threads, echo));
        parent.request(1, "ping");
        assert_eq!(parent.answer(), Some(reply(1, "ping")));
        parent.close_input();
        server.join().unwrap().unwrap();
    }
}

#[test]
fn many_threads_serve_and_replies_come_in_any_order() {
    let (child, mut parent) = frames(TICK);
    let (let_go, wait) = sync_channel::<()>(0);
    let wait = Mutex::new(wait);
    let server = thread::spawn(move || {
        child.serve_on(4, |request| {
            if request.message() == &Message::from("slow") {
                let _ = lock(&wait).recv();
            }
            echo(request)
        })
    });
    parent.request(1, "slow");
    for id in 2..=500 {
        parent.request(id, "quick");
    }
    let mut quick: Vec<_> = (2..=500)
        .map(|_| match parent.answer() {
            Some(Frame::Reply { id, .. }) => id,
            other => panic!("{other:?}"),
        })
        .collect();
    quick.sort_unstable();
    assert_eq!(quick, (2..=500).collect::<Vec<_>>());
    let_go.send(()).unwrap();
    assert_eq!(parent.answer(), Some(reply(1, "slow")));
    parent.close_input();
    server.join().unwrap().unwrap();
}

#[test]
fn an_error_and_a_panic_are_failures_and_serving_goes_on() {
    let (setup, ends, mut parent) = channel(Framing::Frames, 40);
    let child = crate::Parent::over_with(setup, ends, NEVER).unwrap();
    parent.greet();
    let server = thread::spawn(move || {
        child.serve(|request| match request.message().as_str()? {
            "error" => Err("it is an error".into()),
            "panic" => panic!("on purpose"),
            "long" => Err("long ".repeat(20).into()),
            "large" => Ok(vec![0; 41].into()),
            text => Ok(text.parse::<u32>()?.to_string().into()),
        })
    });
    for (payload, answer) in [
        ("error", failure(1, "it is an error")),
        ("panic", failure(1, "the handler panicked: on purpose")),
        ("long", failure(1, &"long ".repeat(8))),
        ("x", failure(1, "invalid digit found in string")),
        ("07", reply(1, "7")),
    ] {
        parent.request(1, payload);
        assert_eq!(parent.answer(), Some(answer));
    }
    parent.request(1, "large");
    let answer = parent.answer();
    assert!(
        matches!(&answer, Some(Frame::Failure { id: 1, text }) if text.contains("41 bytes")),
        "{answer:?}"
    );
    parent.close_input();
    server.join().unwrap().unwrap();
}

#[test]
fn serving_ends_on_stop_after_what_is_in_hand() {
    let (child, mut parent) = frames(AT_ONCE);
    let (stopped, on_stop) = sync_channel(1);
    child.on_stop(move || stopped.send(()).unwrap());
    let on_stop = Mutex::new(on_stop);
    let server = thread::spawn(move || {
        child.serve(|request| {
            if request.message() == &Message::from("first") {
                lock(&on_stop).recv()?;
            }
            echo(request)
        })
    });
    parent.request(1, "first");
    parent.request(2, "second");
    // Both at once: it may end as soon as it has seen the stop.
    let payload = "third".into();
    parent.write(&encoded(&[Frame::Stop, Frame::Request { id: 3, payload }]));
    let mut answers: Vec<_> = (0..3).map(|_| parent.answer().unwrap()).collect();
    answers.sort_by_key(|frame| match frame {
        Frame::Reply { id, .. } | Frame::Failure { id, .. } => *id,
        other => panic!("{other:?}"),
    });
    let stopping = failure(3, "this child is stopping");
    assert_eq!(answers, [reply(1, "first"), reply(2, "second"), stopping]);
    server.join().unwrap().unwrap();
    assert_eq!(parent.answer(), Some(Frame::Bye { status: 0 }));
    assert_eq!(parent.next(), None);
}

#[test]
fn the_end_of_input_ends_serving_and_asking() {
    let (child, mut parent) = frames(NEVER);
    parent.request(1, "accepted");
    let asking = child.clone();
    let asker = thread::spawn(move || asking.request("?"));
    assert_eq!(parent.asked().1, "?");
    parent.close_input();
    let outcome = asker.join().unwrap();
    assert!(
        matches!(outcome, Err(RequestError::ParentGone)),
        "{outcome:?}"
    );
    child.serve(echo).unwrap();
    assert_eq!(parent.answer(), Some(reply(1, "accepted")));
    let outcome = child.request("anyone?");
    assert!(
        matches!(outcome, Err(RequestError::ParentGone)),
        "{outcome:?}"
    );
}

#[test]
fn items_go_out_as_there_is_credit() {
    let (child, mut parent) = frames(TICK);
    let server = thread::spawn(move || {
        child.serve(|request| {
            for number in 0..100 {
                request.item(number.to_string())?;
            }
            Ok("done".into())
        })
    });
    parent.request_without_credit(1, "");
    for number in 0..100 {
        // Enough for one.
        parent.grant_on(1, 66);
        let payload = number.to_string().into();
        assert_eq!(parent.answer(), Some(Frame::Item { id: 1, payload }));
    }
    assert_eq!(parent.answer(), Some(reply(1, "done")));
    parent.send(&Frame::Stop);
    server.join().unwrap().unwrap();
}

#[test]
fn what_was_fed_goes_out_before_an_item_waits_for_credit() {
    let (child, mut parent) = frames(NEVER);
    let server = thread::spawn(move || {
        child.serve(|request| {
            child.feed("fed")?;
            request.item("item")?;
            Ok("done".into())
        })
    });
    parent.request_without_credit(1, "");
    assert_eq!(parent.next_message(), b"fed");
    parent.grant_on(1, 100);
    let payload = "item".into();
    assert_eq!(parent.answer(), Some(Frame::Item { id: 1, payload }));
    assert_eq!(parent.answer(), Some(reply(1, "done")));
    parent.close_input();
    server.join().unwrap().unwrap();
}

#[test]
fn a_cancel_reaches_a_handler_that_waits_for_credit_or_for_it() {
    let (child, mut parent) = frames(TICK);
    let (called, calls) = sync_channel(4);
    let (begin, begun) = sync_channel(2);
    let server = thread::spawn(move || {
        child.serve_on(2, |request| {
            let called = called.clone();
            request.on_cancel(move || called.send(()).unwrap());
            assert!(!request.is_cancelled());
            begin.send(())?;
            if request.message() == &Message::from("item") {
                let outcome = request.item("never sent");
                assert!(matches!(outcome, Err(ItemError::Cancelled)), "{outcome:?}");
            } else {
                request.wait_cancelled();
            }
            assert!(request.is_cancelled());
            Err("cancelled".into())
        })
    });
    parent.request_without_credit(1, "item");
    parent.request_without_credit(2, "wait");
    begun.recv().unwrap();
    begun.recv().unwrap();
    for id in [1, 2] {
        parent.send(&Frame::Cancel { id });
        assert_eq!(parent.answer(), Some(failure(id, "cancelled")));
        calls.recv().unwrap();
    }
    parent.send(&Frame::Stop);
    server.join().unwrap().unwrap();
}

#[test]
fn nobody_waits_for_what_the_end_of_input_makes_impossible() {
    let (child, mut parent) = frames(TICK);
    let server = thread::spawn(move || {
        child.serve_on(2, |request| {
            if request.message() == &Message::from("item") {
                request.item("never sent")?;
            }
            request.wait_cancelled();
            assert!(!request.is_cancelled(), "nobody said so");
            Ok("enough".into())
        })
    });
    parent.request_without_credit(1, "wait");
    parent.send(&Frame::Ping(1));
    assert_eq!(parent.answer(), Some(Frame::Pong(1)));
    parent.request_without_credit(2, "item");
    parent.close_input();
    let mut answers = [parent.answer(), parent.answer()].map(Option::unwrap);
    answers.sort_by_key(|frame| matches!(frame, Frame::Failure { .. }));
    assert_eq!(answers[0], reply(1, "enough"));
    assert_eq!(answers[1], failure(2, &ItemError::ParentGone.to_string()));
    server.join().unwrap().unwrap();
}

#[test]
fn a_request_that_outlives_its_handler_sends_nothing() {
    let (child, mut parent) = frames(NEVER);
    let kept = Mutex::new(None);
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            child.serve(|request| {
                *lock(&kept) = Some(request);
                Ok("done".into())
            })
        });
        parent.request(1, "");
        assert_eq!(parent.answer(), Some(reply(1, "done")));
        parent.close_input();
        server.join().unwrap().unwrap();
    });
    let request = kept.into_inner().unwrap().unwrap();
    let outcome = request.item("late");
    assert!(matches!(outcome, Err(ItemError::Answered)), "{outcome:?}");
    request.wait_cancelled();
    assert!(!request.is_cancelled());
    drop(child);
    assert_eq!(parent.answer(), Some(Frame::Bye { status: 0 }));
}

#[test]
fn a_deadline_cancels_and_nobody_else_is_disturbed() {
    for tick in [NEVER, AT_ONCE] {
        let (child, mut parent) = frames(tick);
        let patient = child.clone();
        let patient = thread::spawn(move || patient.request_with("patient", &WHENEVER).unwrap());
        let (first, _) = parent.asked();
        let outcome = child.request_with("soon", &SOON);
        assert!(
            matches!(outcome, Err(RequestError::TimedOut(after)) if after.as_millis() == 20),
            "{outcome:?}"
        );
        let (late, _) = parent.asked();
        assert_eq!(parent.answer(), Some(Frame::Cancel { id: late }));
        parent.reply(late, "too late");
        parent.reply(first, "in time");
        assert_eq!(patient.join().unwrap(), "in time");
    }
}

#[test]
fn a_deadline_cuts_the_wait_for_credit_too() {
    let (child, mut parent) = connected(Framing::Frames, NEVER);
    parent.greet_without_credit();
    let outcome = child.request_with("never sent", &SOON);
    assert!(
        matches!(outcome, Err(RequestError::TimedOut(_))),
        "{outcome:?}"
    );
    // Messages have a lane of their own.
    parent.grant(1000);
    child.send("a message").unwrap();
    assert_eq!(parent.next_message(), b"a message");
    let asker = thread::spawn(move || child.request("sent").unwrap());
    // One byte of credit is enough for one request.
    parent.grant_on(REQUEST_LANE, 1);
    let (id, question) = parent.asked();
    assert_eq!(question, "sent");
    parent.reply(id, "fine");
    assert_eq!(asker.join().unwrap(), "fine");
}

#[test]
fn a_wait_for_credit_that_is_over_leaves_nothing() {
    let (child, mut parent) = connected(Framing::Frames, NEVER);
    parent.greet_without_credit();
    let brief = RequestOptions::new().deadline(Duration::from_micros(10));
    for _ in 0..100 {
        let late = child.request_with("?", &brief);
        assert!(matches!(late, Err(RequestError::TimedOut(_))), "{late:?}");
    }
    let mut inbox = lock(&child.endpoint().inbox);
    let requests = inbox.session.requests().unwrap();
    assert_eq!(requests.asking().waiting_askers(), 0);
}

#[test]
fn items_are_iterated_and_then_there_is_the_reply() {
    let (child, mut parent) = frames(NEVER);
    let asker = thread::spawn(move || {
        let mut answer = child.request_items("list").unwrap();
        let items: Vec<_> = answer.by_ref().map(Result::unwrap).collect();
        assert!(answer.next().is_none());
        assert_eq!(answer.reply().unwrap(), "that is all");
        items
    });
    let (id, _) = parent.asked();
    parent.item(id, "one");
    parent.item(id, "");
    parent.item(id, "three");
    parent.reply(id, "that is all");
    assert_eq!(
        asker.join().unwrap(),
        ["one", "", "three"].map(Message::from)
    );
}

#[test]
fn a_deadline_ends_an_answer_that_is_read_slowly() {
    let (child, mut parent) = frames(AT_ONCE);
    let asker = thread::spawn(move || {
        let brief = RequestOptions::new().deadline(Duration::from_secs(1));
        let mut answer = child.request_items_with("?", &brief).unwrap();
        assert_eq!(answer.next().unwrap().unwrap(), "1");
        thread::sleep(Duration::from_millis(1100));
        let late = answer.next().unwrap();
        assert!(matches!(late, Err(RequestError::TimedOut(_))), "{late:?}");
        assert!(answer.next().is_none());
    });
    let (id, _) = parent.asked();
    for item in ["1", "2", "3"] {
        parent.item(id, item);
    }
    asker.join().unwrap();
    assert_eq!(parent.answer(), Some(Frame::Cancel { id }));
}

#[test]
fn a_failure_ends_the_items_and_is_the_outcome() {
    let (child, mut parent) = frames(NEVER);
    let asker = thread::spawn(move || {
        let mut answer = child.request_items("list").unwrap();
        assert_eq!(answer.next().unwrap().unwrap(), "one");
        let error = answer.next().unwrap().unwrap_err();
        assert!(answer.next().is_none());
        let again = answer.reply().unwrap_err();
        assert_eq!(error.to_string(), again.to_string());
        error
    });
    let (id, _) = parent.asked();
    parent.item(id, "one");
    parent.send(&failure(id, "no more"));
    let error = asker.join().unwrap();
    assert!(matches!(error, RequestError::Failed(text) if text == "no more"));
}

#[test]
fn an_answer_that_is_dropped_is_cancelled() {
    let (child, mut parent) = frames(NEVER);
    let answer = child.request_items("list").unwrap();
    let (id, _) = parent.asked();
    drop(answer);
    assert_eq!(parent.answer(), Some(Frame::Cancel { id }));
    parent.item(id, "crosses it");
    parent.send(&failure(id, "cancelled"));
    parent.message(b"and goes on");
    assert_eq!(child.receive().unwrap().unwrap(), "and goes on");
}

#[test]
fn with_full_pipes_both_sides_ask_and_both_are_answered() {
    const ROUNDS: u64 = 200;
    let (child, mut parent) = with_small_output(TICK);
    let asking = child.clone();
    let asker = thread::spawn(move || {
        for _ in 0..ROUNDS {
            let reply = asking.request_with(vec![1; 5000], &WHENEVER).unwrap();
            assert_eq!(reply.len(), 5000);
        }
    });
    let server = thread::spawn(move || child.serve_on(2, echo).unwrap());
    let (mut asked, mut replied, mut answered) = (0, 0, 0);
    let payload: bytes::Bytes = vec![2; 5000].into();
    while answered < ROUNDS || replied < ROUNDS {
        // Ahead of its answers by as much as there is credit for.
        while asked < ROUNDS && asked < replied + 50 {
            asked += 1;
            let payload = payload.clone();
            parent.send(&Frame::Request { id: asked, payload });
        }
        match parent.answer().unwrap() {
            Frame::Reply {
                payload: echoed, ..
            } => {
                assert!(echoed == payload);
                replied += 1;
            }
            Frame::Request { id, payload } => {
                answered += 1;
                parent.send(&Frame::Reply { id, payload });
            }
            other => panic!("{other:?}"),
        }
    }
    asker.join().unwrap();
    parent.close_input();
    server.join().unwrap();
}

#[test]
fn a_handler_may_ask_the_parent() {
    let (child, mut parent) = frames(NEVER);
    let server =
        thread::spawn(move || child.serve(|request| Ok(child.request(request.into_message())?)));
    parent.request(7, "who are you?");
    let (id, question) = parent.asked();
    assert_eq!(question, "who are you?");
    parent.reply(id, "your parent");
    assert_eq!(parent.answer(), Some(reply(7, "your parent")));
    parent.close_input();
    server.join().unwrap().unwrap();
}

#[test]
fn finish_fails_what_is_in_hand_once() {
    let (child, mut parent) = frames(AT_ONCE);
    let finishing = child.clone();
    let server = thread::spawn(move || {
        child.serve(|request| {
            child.clone().finish(3)?;
            assert!(request.is_cancelled());
            Ok("too late".into())
        })
    });
    parent.request_without_credit(1, "");
    assert_eq!(
        parent.answer(),
        Some(failure(1, "this child has closed its connection"))
    );
    assert_eq!(parent.answer(), Some(Frame::Bye { status: 3 }));
    assert_eq!(parent.next(), None);
    server.join().unwrap().unwrap();
    let outcome = finishing.request("?");
    assert!(
        matches!(
            outcome,
            Err(RequestError::ParentGone | RequestError::Send(SendError::Finished))
        ),
        "{outcome:?}"
    );
}

#[test]
fn finish_by_a_handler_ends_serving_on_all_threads() {
    for threads in [1, 2, 4] {
        let (child, mut parent) = frames(NEVER);
        let (ended, end) = sync_channel(1);
        let serving = child.clone();
        thread::spawn(move || {
            let finishing = serving.clone();
            let served = serving.serve_on(threads, |_| {
                // Another thread reads by now, if there is one.
                until(|| threads == 1 || finishing.has_reader());
                thread::sleep(Duration::from_millis(20));
                finishing.clone().finish(3)?;
                Ok("too late".into())
            });
            ended.send(served).unwrap();
        });
        parent.request_without_credit(1, "");
        while parent.next() != Some(Frame::Bye { status: 3 }) {}
        end.recv_timeout(LONG).expect("it still serves").unwrap();
    }
}

#[test]
fn finish_by_another_thread_ends_serving_and_asking() {
    let waits: [fn(&crate::Parent); 3] = [
        |child| child.serve(echo).unwrap(),
        |child| child.serve_on(2, echo).unwrap(),
        |child| {
            let outcome = child.request_with("?", &WHENEVER);
            let gone = matches!(outcome, Err(RequestError::ParentGone));
            assert!(gone, "{outcome:?}");
        },
    ];
    for wait in waits {
        let (child, mut parent) = frames(NEVER);
        let (ended, end) = sync_channel(1);
        let waiting = child.clone();
        thread::spawn(move || {
            wait(&waiting);
            ended.send(()).unwrap();
        });
        until(|| child.has_reader());
        // Until it is in the middle of the read.
        thread::sleep(Duration::from_millis(20));
        child.finish(0).unwrap();
        end.recv_timeout(LONG).expect("it still waits");
        while parent.next() != Some(Frame::Bye { status: 0 }) {}
    }
}

#[test]
fn finish_ends_a_wait_for_credit_without_a_deadline() {
    let (child, mut parent) = connected(Framing::Frames, NEVER);
    parent.greet_without_credit();
    let (ended, end) = sync_channel(1);
    // One reads meanwhile, and the other sleeps.
    for _ in 0..2 {
        let (child, ended) = (child.clone(), ended.clone());
        thread::spawn(move || ended.send(child.request_with("?", &WHENEVER)).unwrap());
    }
    until(|| child.has_reader() && child.is_awaited());
    thread::sleep(Duration::from_millis(20));
    child.finish(0).unwrap();
    for _ in 0..2 {
        let outcome = end.recv_timeout(LONG).expect("it still waits");
        assert!(outcome.is_err(), "{outcome:?}");
    }
}

#[test]
fn without_frames_both_ways_there_are_no_requests() {
    let (child, parent) = lines(NEVER);
    let outcome = child.serve(echo);
    assert!(matches!(outcome, Err(ServeError::NotSupported)));
    let outcome = child.request("?");
    assert!(matches!(outcome, Err(RequestError::NotSupported)));
    drop(parent);

    for with_input in [true, false] {
        let (setup, mut ends, _parent) = channel(Framing::Frames, LIMIT);
        if with_input {
            ends.output = None;
        } else {
            ends.input = None;
        }
        let child = crate::Parent::over_with(setup, ends, NEVER).unwrap();
        assert!(child.serve_on(3, echo).is_err());
        assert!(child.request_items("?").is_err());
    }
}

#[test]
fn silence_for_a_lease_is_a_stop_and_the_end() {
    for reads_itself in [true, false] {
        let (mut setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
        let lease = Duration::from_millis(200);
        setup.lease = Some(lease);
        let tick = if reads_itself { NEVER } else { AT_ONCE };
        let child = crate::Parent::over_with(setup, ends, tick).unwrap();
        parent.greet();
        let (stopped, on_stop) = sync_channel(1);
        child.on_stop(move || stopped.send(()).unwrap());
        let start = Instant::now();
        if reads_itself {
            parent.message(b"the last");
            assert_eq!(child.receive().unwrap().unwrap(), "the last");
            assert!(child.receive().unwrap().is_none());
            child.serve(echo).unwrap();
        }
        on_stop.recv().unwrap();
        assert!(start.elapsed() >= lease / 2, "it was given time");
        assert!(child.is_stopping());
        assert!(child.input_ended());
        child.send("last words").unwrap();
        assert_eq!(parent.next_message(), b"last words");
        drop(child);
        assert_eq!(parent.answer(), Some(Frame::Bye { status: 0 }));
    }
    until(|| crate::lease::tests::ends() >= 2);
}

#[test]
fn pings_keep_a_lease_up() {
    let (mut setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
    setup.lease = Some(Duration::from_secs(1));
    let child = crate::Parent::over_with(setup, ends, AT_ONCE).unwrap();
    parent.greet();
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < Duration::from_millis(2500) {
        number += 1;
        parent.send(&Frame::Ping(number));
        assert_eq!(parent.next(), Some(Frame::Pong(number)));
    }
    assert!(!child.input_ended());
}
