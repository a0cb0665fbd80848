use std::{
    sync::{Arc, Mutex, mpsc::sync_channel},
    thread,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all};
use procession_wire::{Frame, Framing, credit::REQUEST_LANE};
use rustix::pipe::fcntl_setpipe_size;
use tokio::{sync::Semaphore, test};

use super::{connected, frames, lines, poll_once};
use crate::{
    HandlerError, ItemError, Message, RequestError, RequestOptions, ServeError,
    core::Place,
    lock,
    test_parent::{LIMIT, channel, encoded, until},
    tokio::{Parent, Request},
};

const SOON: RequestOptions = RequestOptions::new().deadline(Duration::from_millis(20));

fn reply(id: u64, payload: &'static str) -> Frame {
    let payload = payload.into();
    Frame::Reply { id, payload }
}

fn failure(id: u64, text: &str) -> Frame {
    let text = text.into();
    Frame::Failure { id, text }
}

async fn echo(request: Request) -> Result<Message, HandlerError> {
    Ok(request.into_message())
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_served_one_after_the_other() {
    let (child, mut parent) = frames().await;
    let server = tokio::spawn(async move { child.serve(4, echo).await });
    for id in 1..=1000 {
        parent.request(id, "ping");
        assert_eq!(parent.answer(), Some(reply(id, "ping")));
    }
    parent.send(&Frame::Stop);
    server.await.unwrap().unwrap();
    assert_eq!(parent.answer(), Some(Frame::Bye { status: 0 }));
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_are_worked_on_than_the_limit_and_replies_come_in_any_order() {
    let (child, mut parent) = frames().await;
    let gate = Arc::new(Semaphore::new(0));
    let running = Arc::new(Mutex::new((0, 0)));
    let (waits, counted) = (Arc::clone(&gate), Arc::clone(&running));
    let server = tokio::spawn(async move {
        let serving = child.serve(3, move |request| {
            let (gate, running) = (Arc::clone(&waits), Arc::clone(&counted));
            async move {
                {
                    let mut running = lock(&running);
                    running.0 += 1;
                    running.1 = running.0.max(running.1);
                }
                if request.message() == &Message::from("slow") {
                    gate.acquire().await.unwrap().forget();
                } else {
                    tokio::task::yield_now().await;
                }
                lock(&running).0 -= 1;
                echo(request).await
            }
        });
        serving.await
    });
    // More than may be worked on: three begin, and wait.
    for id in 301..=305 {
        parent.request(id, "slow");
    }
    while lock(&running).0 < 3 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(5);
    for _ in 301..=305 {
        assert!(matches!(
            parent.answer(),
            Some(Frame::Reply { id: 301..=305, .. })
        ));
    }
    parent.request(1, "slow");
    for id in 2..=300 {
        parent.request(id, "quick");
    }
    let mut quick: Vec<_> = (2..=300)
        .map(|_| match parent.answer() {
            Some(Frame::Reply { id, .. }) => id,
            other => panic!("{other:?}"),
        })
        .collect();
    quick.sort_unstable();
    assert_eq!(quick, (2..=300).collect::<Vec<_>>());
    gate.add_permits(1);
    assert_eq!(parent.answer(), Some(reply(1, "slow")));
    assert_eq!(lock(&running).1, 3);
    parent.close_input();
    server.await.unwrap().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_ask_at_once_and_each_gets_its_own_reply() {
    let (child, mut parent) = frames().await;
    let asking = tokio::spawn(async move {
        let asked = (0..200).map(async |number| {
            let question = number.to_string();
            let reply = child.request(question.as_str()).await.unwrap();
            assert_eq!(reply, question.as_str());
        });
        join_all(asked).await;
    });
    let mut asked: Vec<_> = (0..200).map(|_| parent.asked()).collect();
    asked.reverse();
    for (id, question) in asked {
        let payload = question.into();
        parent.item(id, "thrown away");
        parent.send(&Frame::Reply { id, payload });
    }
    asking.await.unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_and_a_panic_are_failures_and_serving_goes_on() {
    let (setup, ends, mut parent) = channel(Framing::Frames, 40);
    let child = Parent::over(setup, ends).await.unwrap();
    parent.greet();
    let server = tokio::spawn(async move {
        let serving = child.serve(2, |request| {
            assert!(request.message() != &Message::from("early"), "too early");
            async move {
                tokio::task::yield_now().await;
                match request.message().as_str()? {
                    "error" => Err("it is an error".into()),
                    "panic" => panic!("on purpose"),
                    "large" => Ok(vec![0; 41].into()),
                    text => Ok(text.parse::<u32>()?.to_string().into()),
                }
            }
        });
        serving.await
    });
    for (payload, answer) in [
        ("error", failure(1, "it is an error")),
        ("panic", failure(1, "the handler panicked: on purpose")),
        ("early", failure(1, "the handler panicked: too early")),
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
    server.await.unwrap().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn serving_ends_on_stop_after_what_is_in_hand() {
    let (child, mut parent) = frames().await;
    let server = tokio::spawn(async move {
        let stopping = child.clone();
        let serving = child.serve(1, move |request| {
            let child = stopping.clone();
            async move {
                child.stopped().await;
                echo(request).await
            }
        });
        serving.await
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
    server.await.unwrap().unwrap();
    assert_eq!(parent.answer(), Some(Frame::Bye { status: 0 }));
    assert_eq!(parent.next(), None);
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn serving_that_is_dropped_fails_what_is_in_hand_and_the_rest_waits() {
    let (child, mut parent) = frames().await;
    let serving = child.clone();
    let first = tokio::spawn(async move {
        let serving = serving.serve(1, async |request| {
            request.item("begun").await?;
            std::future::pending().await
        });
        serving.await
    });
    parent.request(1, "in hand");
    parent.request(2, "waits");
    assert!(matches!(parent.answer(), Some(Frame::Item { id: 1, .. })));
    first.abort();
    let dropped = failure(1, "the request was dropped before it was answered");
    assert_eq!(parent.answer(), Some(dropped));
    assert!(first.await.unwrap_err().is_cancelled());
    let server = tokio::spawn(async move { child.serve(1, echo).await });
    assert_eq!(parent.answer(), Some(reply(2, "waits")));
    parent.close_input();
    server.await.unwrap().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_input_ends_serving_and_asking() {
    let (child, mut parent) = frames().await;
    parent.request(1, "accepted");
    let asking = child.clone();
    let asker = tokio::spawn(async move { asking.request("?").await });
    assert_eq!(parent.asked().1, "?");
    parent.close_input();
    let outcome = asker.await.unwrap();
    assert!(
        matches!(outcome, Err(RequestError::ParentGone)),
        "{outcome:?}"
    );
    child.serve(9, echo).await.unwrap();
    assert_eq!(parent.answer(), Some(reply(1, "accepted")));
    let outcome = child.request("anyone?").await;
    assert!(
        matches!(outcome, Err(RequestError::ParentGone)),
        "{outcome:?}"
    );
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn items_go_out_as_there_is_credit() {
    let (child, mut parent) = frames().await;
    let server = tokio::spawn(async move {
        let serving = child.serve(1, async |request| {
            for number in 0..100 {
                request.item(number.to_string()).await?;
            }
            Ok("done".into())
        });
        serving.await
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
    server.await.unwrap().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fed_goes_out_before_an_item_waits_for_credit() {
    let (child, mut parent) = frames().await;
    let server = tokio::spawn(async move {
        let feeding = child.clone();
        let serving = child.serve(1, move |request| {
            let child = feeding.clone();
            async move {
                child.feed("fed").await?;
                request.item("item").await?;
                Ok("done".into())
            }
        });
        serving.await
    });
    parent.request_without_credit(1, "");
    assert_eq!(parent.next_message(), b"fed");
    parent.grant_on(1, 100);
    let payload = "item".into();
    assert_eq!(parent.answer(), Some(Frame::Item { id: 1, payload }));
    assert_eq!(parent.answer(), Some(reply(1, "done")));
    parent.close_input();
    server.await.unwrap().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_reaches_a_handler_that_waits_for_credit_or_for_it() {
    let (child, mut parent) = frames().await;
    let (called, calls) = sync_channel(4);
    let (begin, begun) = sync_channel(2);
    let server = tokio::spawn(async move {
        let serving = child.serve(2, move |request| {
            let (called, begin) = (called.clone(), begin.clone());
            async move {
                request.on_cancel(move || called.send(()).unwrap());
                begin.send(())?;
                if request.message() == &Message::from("item") {
                    let outcome = request.item("never sent").await;
                    assert!(matches!(outcome, Err(ItemError::Cancelled)), "{outcome:?}");
                } else {
                    request.cancelled().await;
                }
                assert!(request.is_cancelled());
                Err("cancelled".into())
            }
        });
        serving.await
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
    server.await.unwrap().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_dropped_is_cancelled_once_it_was_sent() {
    let (child, mut parent) = connected(Framing::Frames).await;
    parent.greet_without_credit();
    assert!(poll_once(child.request("never sent")).is_pending());
    parent.grant_on(REQUEST_LANE, 1000);
    until(|| {
        let credit = |session: &mut crate::core::Session| {
            let waker = std::task::Waker::noop();
            let requests = session.requests().unwrap();
            requests.asking().poll_credit(&mut Place::default(), waker)
        };
        credit(&mut lock(&child.endpoint().inbox).session).is_ready()
    });
    assert!(poll_once(child.request("dropped")).is_pending());
    let (id, question) = parent.asked();
    assert_eq!(question, "dropped");
    assert_eq!(parent.answer(), Some(Frame::Cancel { id }));
    parent.send(&failure(id, "cancelled"));

    let items = child.request_items("dropped too").await.unwrap();
    let (id, _) = parent.asked();
    drop(items);
    assert_eq!(parent.answer(), Some(Frame::Cancel { id }));
    parent.item(id, "crosses it");
    parent.message(b"and goes on");
    assert_eq!(child.receive().await.unwrap().unwrap(), "and goes on");
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn no_deadline_is_too_long_and_one_of_nothing_is_over() {
    let (child, mut parent) = frames().await;
    let now = Instant::now();
    // The last one that can be added to an instant; a timer that rounds it up overflows.
    let last = (0..63).rev().fold(Duration::ZERO, |sum, bit| {
        let more = sum + Duration::from_secs(1 << bit);
        now.checked_add(more).map_or(sum, |_| more)
    });
    for time in [last, Duration::MAX] {
        let options = RequestOptions::new().deadline(time);
        let asking = child.clone();
        let asker = tokio::spawn(async move { asking.request_with("patient", &options).await });
        let (id, _) = parent.asked();
        parent.reply(id, "there");
        assert_eq!(asker.await.unwrap().unwrap(), "there");
    }
    let options = RequestOptions::new().deadline(Duration::ZERO);
    let late = child.request_with("late", &options).await;
    assert!(matches!(late, Err(RequestError::TimedOut(_))), "{late:?}");
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_cancels_and_cuts_the_wait_for_credit_too() {
    let (child, mut parent) = connected(Framing::Frames).await;
    parent.greet_without_credit();
    let outcome = child.request_with("never sent", &SOON).await;
    assert!(
        matches!(outcome, Err(RequestError::TimedOut(after)) if after.as_millis() == 20),
        "{outcome:?}"
    );
    parent.grant_on(REQUEST_LANE, 1000);
    until(|| poll_once(child.request("dropped at once")).is_pending());
    let asking = child.clone();
    let asker = tokio::spawn(async move { asking.request_with("late", &SOON).await });
    let late = loop {
        match parent.answer() {
            Some(Frame::Request { id, payload }) if &payload[..] == b"late" => break id,
            Some(Frame::Request { .. } | Frame::Cancel { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(
        asker.await.unwrap(),
        Err(RequestError::TimedOut(_))
    ));
    assert_eq!(parent.answer(), Some(Frame::Cancel { id: late }));
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_credit_that_is_over_leaves_nothing() {
    let (child, mut parent) = connected(Framing::Frames).await;
    parent.greet_without_credit();
    let waiting_askers = || {
        let mut inbox = lock(&child.endpoint().inbox);
        let requests = inbox.session.requests().unwrap();
        requests.asking().waiting_askers()
    };
    let mut patient = Box::pin(child.request("patient"));
    assert!(poll_once(patient.as_mut()).is_pending());
    for _ in 0..10 {
        // By the same task, so with the same waker.
        assert!(poll_once(child.request("dropped")).is_pending());
    }
    assert_eq!(waiting_askers(), 1);
    let late = child.request_with("late", &SOON).await;
    assert!(matches!(late, Err(RequestError::TimedOut(_))), "{late:?}");
    assert_eq!(waiting_askers(), 1);
    drop(patient);
    assert_eq!(waiting_askers(), 0);
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn items_are_a_stream_and_then_there_is_the_reply() {
    let (child, mut parent) = frames().await;
    let asker = tokio::spawn(async move {
        let mut answer = child.request_items("list").await.unwrap();
        let items: Vec<_> = answer.by_ref().map(Result::unwrap).collect().await;
        assert!(answer.next().await.is_none());
        assert_eq!(answer.reply().await.unwrap(), "that is all");
        let mut failing = child.request_items("fail").await.unwrap();
        let error = failing.next().await.unwrap().unwrap_err();
        assert!(failing.next().await.is_none());
        let again = failing.reply().await.unwrap_err();
        assert_eq!(error.to_string(), again.to_string());
        items
    });
    let (id, _) = parent.asked();
    parent.item(id, "one");
    parent.item(id, "");
    parent.reply(id, "that is all");
    let (id, _) = parent.asked();
    parent.send(&failure(id, "no"));
    assert_eq!(asker.await.unwrap(), ["one", ""].map(Message::from));
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_an_answer_that_is_read_slowly() {
    let (child, mut parent) = frames().await;
    let asker = tokio::spawn(async move {
        let brief = RequestOptions::new().deadline(Duration::from_secs(1));
        let mut answer = child.request_items_with("?", &brief).await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap(), "1");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let late = answer.next().await.unwrap();
        assert!(matches!(late, Err(RequestError::TimedOut(_))), "{late:?}");
        assert!(answer.next().await.is_none());
    });
    let (id, _) = parent.asked();
    for item in ["1", "2", "3"] {
        parent.item(id, item);
    }
    asker.await.unwrap();
    assert_eq!(parent.answer(), Some(Frame::Cancel { id }));
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_takes_many_items_lets_other_tasks_run() {
    let (child, mut parent) = frames().await;
    let mut answer = child.request_items("?").await.unwrap();
    let (id, _) = parent.asked();
    for _ in 0..1000 {
        parent.item(id, "");
    }
    parent.reply(id, "that is all");
    parent.send(&Frame::Ping(1));
    assert_eq!(parent.answer(), Some(Frame::Pong(1)));
    // All have arrived.
    let mut taken = 0;
    while taken < 1000 && poll_once(answer.next()).is_ready() {
        taken += 1;
    }
    assert!(taken < 1000, "it never gives way");
    assert_eq!(answer.by_ref().count().await, 1000 - taken);
    assert_eq!(answer.reply().await.unwrap(), "that is all");
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn with_full_pipes_both_sides_ask_and_both_are_answered() {
    const ROUNDS: u64 = 200;
    let (setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
    fcntl_setpipe_size(&ends.output.as_ref().unwrap().fd, 4096).unwrap();
    let child = Parent::over(setup, ends).await.unwrap();
    parent.greet();
    let asking = child.clone();
    let asker = tokio::spawn(async move {
        let asked = (0..ROUNDS).map(async |_| {
            let reply = asking.request(vec![1; 5000]).await.unwrap();
            assert_eq!(reply.len(), 5000);
        });
        join_all(asked).await;
    });
    let server = tokio::spawn(async move { child.serve(8, echo).await });
    let (mut asked, mut replied, mut answered) = (0, 0, 0);
    let payload: bytes::Bytes = vec![2; 5000].into();
    while answered < ROUNDS || replied < ROUNDS {
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
    asker.await.unwrap();
    parent.close_input();
    server.await.unwrap().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn finish_fails_what_is_in_hand_once() {
    let (child, mut parent) = frames().await;
    let server = tokio::spawn(async move {
        let finishing = child.clone();
        let serving = child.serve(1, move |request| {
            let child = finishing.clone();
            async move {
                child.finish(3).await?;
                assert!(request.is_cancelled());
                Ok("too late".into())
            }
        });
        serving.await
    });
    parent.request_without_credit(1, "");
    assert_eq!(
        parent.answer(),
        Some(failure(1, "this child has closed its connection"))
    );
    assert_eq!(parent.answer(), Some(Frame::Bye { status: 3 }));
    assert_eq!(parent.next(), None);
    server.await.unwrap().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn without_frames_both_ways_there_are_no_requests() {
    let (child, _parent) = lines().await;
    let outcome = child.serve(1, echo).await;
    assert!(matches!(outcome, Err(ServeError::NotSupported)));
    let outcome = child.request("?").await;
    assert!(matches!(outcome, Err(RequestError::NotSupported)));
}

#[test]
async fn one_thread_is_enough_for_both_sides_to_ask() {
    let (setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
    let other = thread::spawn(move || {
        parent.greet();
        for round in 1..=200 {
            parent.request(round, "?");
            let (id, question) = parent.asked();
            assert_eq!((id, question.as_str()), (round, "?"));
            parent.reply(id, "!");
            assert_eq!(parent.answer(), Some(reply(round, "!")));
        }
        parent.send(&Frame::Stop);
        assert_eq!(parent.answer(), Some(Frame::Bye { status: 0 }));
    });
    let child = Parent::over(setup, ends).await.unwrap();
    let asking = child.clone();
    let serving = child.serve(1, move |request| {
        let parent = asking.clone();
        async move { Ok(parent.request(request.into_message()).await?) }
    });
    serving.await.unwrap();
    drop(child);
    other.join().unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_for_a_lease_is_a_stop_and_the_end() {
    let (mut setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
    let lease = Duration::from_millis(300);
    setup.lease = Some(lease);
    let child = Parent::over(setup, ends).await.unwrap();
    parent.greet();
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < 2 * lease {
        number += 1;
        parent.send(&Frame::Ping(number));
        assert_eq!(parent.next(), Some(Frame::Pong(number)));
    }
    assert!(!child.input_ended());
    let start = Instant::now();
    assert!(child.receive().await.unwrap().is_none());
    assert!(start.elapsed() >= lease / 2, "it was given time");
    child.stopped().await;
    child.serve(1, echo).await.unwrap();
    child.send("last words").await.unwrap();
    assert_eq!(parent.next_message(), b"last words");
    drop(child);
    assert_eq!(parent.answer(), Some(Frame::Bye { status: 0 }));
    until(|| crate::lease::tests::ends() >= 1);
}
