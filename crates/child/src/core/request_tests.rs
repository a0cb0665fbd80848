use std::task::{Poll, Waker};

use bytes::BytesMut;
use procession_wire::{
    Frame, Framing,
    credit::{MESSAGE_OVERHEAD, REQUEST_LANE},
};

use super::{
    Arrived, InputBuffer, Key, Lost, Place, Sendable, Session, Step,
    session::tests::{control, feed, frames, taken},
};
use crate::test_parent::{LIMIT, encoded};

fn waker() -> &'static Waker {
    Waker::noop()
}

fn request(id: u64, payload: &'static str) -> Frame {
    let payload = payload.into();
    Frame::Request { id, payload }
}

fn failure(id: u64, text: &str) -> Frame {
    let text = text.into();
    Frame::Failure { id, text }
}

/// With these frames received.
fn told(session: &mut Session, frames: &[Frame]) {
    feed(
        session,
        &mut InputBuffer::default(),
        &encoded(frames),
        64 * 1024,
    );
}

fn next(session: &mut Session) -> Poll<Option<Arrived>> {
    session.requests().unwrap().poll_request(waker())
}

/// Takes the next request, which has come.
fn take(session: &mut Session) -> Key {
    match next(session) {
        Poll::Ready(Some(arrived)) => arrived.key,
        other => panic!("{other:?}"),
    }
}

fn queued(session: &mut Session) -> Vec<(u64, String)> {
    let mut queued = Vec::new();
    while let Poll::Ready(Some(arrived)) = next(session) {
        queued.push((arrived.key.id, arrived.message.try_into().unwrap()));
    }
    queued
}

fn ask(session: &mut Session, keeps_items: bool) -> u64 {
    let asked = session.requests().unwrap().asking().try_ask(1, keeps_items);
    asked.unwrap().unwrap().0
}

fn step(session: &mut Session, id: u64) -> Option<String> {
    match session.requests().unwrap().poll_step(id, waker()) {
        Poll::Pending => None,
        Poll::Ready(Step::Item(item)) => Some(format!("item {}", item.as_str().unwrap())),
        Poll::Ready(Step::End(Ok(reply))) => Some(format!("reply {}", reply.as_str().unwrap())),
        Poll::Ready(Step::End(Err(Lost::Failed(text)))) => Some(format!("failure {text}")),
        Poll::Ready(Step::End(Err(Lost::Gone))) => Some("gone".into()),
        Poll::Ready(Step::End(Err(Lost::TooManyItems))) => Some("too many items".into()),
    }
}

fn with_credit() -> Session {
    let mut session = frames();
    let lane = REQUEST_LANE;
    told(
        &mut session,
        &[Frame::Credit {
            lane,
            bytes: 1 << 20,
        }],
    );
    session
}

#[test]
fn every_cut_of_a_stream_with_requests_gives_the_same() {
    let bytes = encoded(&[
        request(1, "one"),
        Frame::Credit { lane: 1, bytes: 9 },
        Frame::Message("between".into()),
        request(2, ""),
        Frame::Cancel { id: 1 },
        Frame::Item {
            id: 1,
            payload: "part".into(),
        },
        request(u64::MAX, "no such id"),
        Frame::Reply {
            id: 1,
            payload: "whole".into(),
        },
        Frame::Reply {
            id: 1,
            payload: "once more".into(),
        },
        Frame::Failure {
            id: 2,
            text: "no".into(),
        },
        request(3, "three"),
        Frame::Stop,
        request(4, "too late"),
    ]);
    for piece in 1..=bytes.len() {
        let mut session = with_credit();
        let ids = [ask(&mut session, true), ask(&mut session, true)];
        assert_eq!(ids, [1, 2]);
        feed(&mut session, &mut InputBuffer::default(), &bytes, piece);
        assert_eq!(taken(&mut session), ["between"]);
        assert_eq!(
            queued(&mut session),
            [(2, String::new()), (3, "three".into())]
        );
        assert!(matches!(next(&mut session), Poll::Ready(None)));
        assert_eq!(step(&mut session, 1).unwrap(), "item part");
        assert_eq!(step(&mut session, 1).unwrap(), "reply whole");
        assert_eq!(step(&mut session, 1).unwrap(), "gone");
        assert_eq!(step(&mut session, 2).unwrap(), "failure no");
        assert_eq!(
            control(&mut session),
            [
                failure(1, "cancelled"),
                failure(4, "this child is stopping")
            ]
        );
    }
}

#[test]
fn a_request_has_one_end_and_only_that_gives_its_credit_back() {
    let mut session = frames();
    for id in 1..=40 {
        let payload = vec![0; 256 * 1024].into();
        told(&mut session, &[Frame::Request { id, payload }]);
        let key = take(&mut session);
        assert_eq!(control(&mut session), [], "it is being worked on");
        let requests = session.requests().unwrap();
        assert!(requests.end(key));
        assert!(!requests.end(key));
        let granted = control(&mut session);
        assert!(
            matches!(granted[..], [Frame::Credit { lane: REQUEST_LANE, bytes }]
                if u64::from(bytes) == 256 * 1024 + MESSAGE_OVERHEAD),
            "{granted:?}"
        );
    }
    assert!(!session.has_ended());
}

#[test]
fn what_nobody_serves_waits_and_more_than_was_granted_is_refused() {
    let mut session = frames();
    let payload = || vec![0; 512 * 1024].into();
    for id in 1..=2 {
        let payload = payload();
        told(&mut session, &[Frame::Request { id, payload }]);
    }
    assert!(!session.has_ended());
    assert_eq!(control(&mut session), []);
    let payload = payload();
    told(&mut session, &[Frame::Request { id: 3, payload }]);
    assert!(!session.has_ended());
    let owed = control(&mut session);
    assert!(
        owed.contains(&failure(3, "more requests than were granted")),
        "{owed:?}"
    );
    assert_eq!(queued(&mut session).len(), 2, "they are answered still");
}

#[test]
fn items_without_credit_end_their_request_and_nothing_else() {
    let mut session = with_credit();
    let (kept, other) = (ask(&mut session, true), ask(&mut session, true));
    control(&mut session);
    let item = |id, len| Frame::Item {
        id,
        payload: vec![0; len].into(),
    };
    // The first may overshoot.
    told(&mut session, &[item(kept, 1 << 20), item(kept, 0)]);
    assert_eq!(control(&mut session), [Frame::Cancel { id: kept }]);
    assert!(matches!(
        session.requests().unwrap().poll_step(kept, waker()),
        Poll::Ready(Step::Item(_))
    ));
    assert_eq!(step(&mut session, kept).as_deref(), Some("too many items"));
    told(
        &mut session,
        &[
            item(kept, 0),
            Frame::Reply {
                id: other,
                payload: "the other".into(),
            },
        ],
    );
    assert_eq!(
        step(&mut session, other).as_deref(),
        Some("reply the other")
    );
    assert!(!session.has_ended());
}

#[test]
fn refusals_that_the_parent_does_not_read_are_bounded() {
    let mut session = frames();
    let payload = vec![0; 2 << 20].into();
    told(&mut session, &[Frame::Request { id: 1, payload }]);
    for id in 2..=100_000 {
        told(&mut session, &[request(id, "without credit")]);
    }
    let refused = control(&mut session).len();
    assert!((1000..2000).contains(&refused), "{refused}");
    assert!(!session.has_ended());
}

#[test]
fn items_wait_for_credit_and_end_with_the_request() {
    let mut session = frames();
    told(&mut session, &[request(1, "")]);
    let first = take(&mut session);
    let item = |session: &mut Session| session.requests().unwrap().try_item(first, 36);
    assert_eq!(item(&mut session), None);
    let waits = session.requests().unwrap().poll_item(first, waker());
    assert!(waits.is_pending());
    told(
        &mut session,
        &[Frame::Credit {
            lane: 1,
            bytes: 101,
        }],
    );
    assert!(session.take_events().is_some(), "whoever waits is told");
    assert_eq!(item(&mut session), Some(Sendable::Now));
    assert_eq!(item(&mut session), Some(Sendable::Now), "it may overshoot");
    assert_eq!(item(&mut session), None);
    told(&mut session, &[Frame::Cancel { id: 1 }]);
    assert_eq!(item(&mut session), Some(Sendable::Cancelled));
    session.requests().unwrap().end(first);
    assert_eq!(item(&mut session), Some(Sendable::Answered));

    told(&mut session, &[request(1, "the id is used again")]);
    assert_eq!(item(&mut session), Some(Sendable::Answered));
    let requests = session.requests().unwrap();
    assert!(!requests.end(first));
    assert!(requests.poll_cancelled(first, waker()).is_ready());
    assert!(requests.poll_item(first, waker()).is_ready());
    let second = take(&mut session);
    let item = |session: &mut Session| session.requests().unwrap().try_item(second, 36);
    assert_eq!(item(&mut session), None, "a lane starts at zero");
    session.arrive(&mut InputBuffer::default(), Ok(0));
    assert_eq!(item(&mut session), Some(Sendable::Gone));
}

#[test]
fn after_the_end_of_input_what_was_accepted_is_served_and_what_was_asked_is_lost() {
    let mut session = with_credit();
    let id = ask(&mut session, true);
    told(
        &mut session,
        &[
            request(1, "accepted"),
            Frame::Item {
                id,
                payload: "part".into(),
            },
        ],
    );
    session.arrive(&mut InputBuffer::default(), Ok(0));
    let accepted = take(&mut session);
    assert!(matches!(next(&mut session), Poll::Ready(None)));
    let requests = session.requests().unwrap();
    assert!(requests.poll_cancelled(accepted, waker()).is_ready());
    assert!(requests.end(accepted));
    assert_eq!(step(&mut session, id).unwrap(), "item part");
    assert_eq!(step(&mut session, id).unwrap(), "gone");
    let asked = session.requests().unwrap().asking().try_ask(1, false);
    assert!(matches!(asked, Some(Err(Lost::Gone))));
}

#[test]
fn closing_ends_each_open_request_once() {
    let mut session = frames();
    told(
        &mut session,
        &[request(1, "taken"), request(2, "cancelled")],
    );
    let Poll::Ready(Some(taken)) = next(&mut session) else {
        panic!("it has come");
    };
    told(
        &mut session,
        &[Frame::Cancel { id: 2 }, request(3, "waits")],
    );
    let mut last = BytesMut::new();
    session.farewell(7, &mut last);
    session.close();
    assert!(taken.cancelled.is_raised());
    assert!(!session.requests().unwrap().end(taken.key));
    told(&mut session, &[request(4, "too late")]);
    assert!(!session.has_control());

    let mut decoder = procession_wire::FrameDecoder::new(LIMIT);
    let mut ends: Vec<_> = std::iter::from_fn(|| decoder.decode(&mut last).unwrap()).collect();
    assert_eq!(ends.pop(), Some(Frame::Bye { status: 7 }));
    ends.sort_by_key(|frame| match frame {
        Frame::Failure { id, .. } => *id,
        other => panic!("{other:?}"),
    });
    let closed = "this child has closed its connection";
    assert_eq!(
        ends,
        [
            failure(1, closed),
            failure(2, "cancelled"),
            failure(3, closed)
        ]
    );
}

#[test]
fn a_failure_of_ours_is_no_longer_than_a_message() {
    let mut session = Session::new(Framing::Frames, 4, true, true);
    session.opening(1, &mut BytesMut::new());
    told(&mut session, &[Frame::Stop, request(1, "")]);
    assert_eq!(control(&mut session), [failure(1, "this")]);
}

#[test]
fn asking_waits_for_credit_in_its_own_lane() {
    let mut session = frames();
    let lane = REQUEST_LANE;
    told(&mut session, &[Frame::Credit { lane: 0, bytes: 99 }]);
    let requests = session.requests().unwrap();
    assert!(requests.asking().try_ask(0, false).is_none());
    assert!(
        requests
            .asking()
            .poll_credit(&mut Place::default(), waker())
            .is_pending()
    );
    told(&mut session, &[Frame::Credit { lane, bytes: 65 }]);
    assert!(session.take_events().is_some(), "whoever waits is told");
    ask(&mut session, false);
    let requests = session.requests().unwrap();
    assert!(requests.asking().try_ask(0, false).is_none());
}

#[test]
fn one_who_no_longer_waits_for_credit_takes_only_its_own_place_along() {
    let mut session = frames();
    let asking = session.requests().unwrap().asking();
    let [mut stays, mut goes] = [Place::default(), Place::default()];
    for _ in 0..2 {
        assert!(asking.poll_credit(&mut stays, waker()).is_pending());
        assert!(asking.poll_credit(&mut goes, waker()).is_pending());
    }
    assert_eq!(asking.waiting_askers(), 2);
    asking.leave(&mut goes);
    assert_eq!(asking.waiting_askers(), 1);
    asking.leave(&mut stays);
    assert_eq!(asking.waiting_askers(), 0);
}

#[test]
fn items_are_granted_again_as_they_are_taken_and_at_once_where_none_is_kept() {
    for keeps_items in [false, true] {
        let mut session = with_credit();
        let id = ask(&mut session, keeps_items);
        let payload = vec![0; 128 * 1024 - 64];
        let part = || Frame::Item {
            id,
            payload: payload.clone().into(),
        };
        for _ in 0..10 {
            told(&mut session, &[part()]);
            if keeps_items {
                assert_eq!(control(&mut session), []);
                assert!(step(&mut session, id).unwrap().starts_with("item"));
            }
            let granted = [Frame::Credit {
                lane: id,
                bytes: 128 * 1024,
            }];
            assert_eq!(control(&mut session), granted);
        }
        told(&mut session, &[part(), part()]);
        assert!(!session.has_ended());
        control(&mut session);
        told(&mut session, &[part()]);
        let cancelled = control(&mut session) == [Frame::Cancel { id }];
        assert_eq!(cancelled, keeps_items, "more than was granted");
        assert!(!session.has_ended());
    }
}

#[test]
fn giving_up_cancels_what_is_open() {
    let mut session = with_credit();
    let [answered, open] = [ask(&mut session, true), ask(&mut session, true)];
    let payload = "in time".into();
    told(
        &mut session,
        &[Frame::Reply {
            id: answered,
            payload,
        }],
    );
    for id in [answered, open, open] {
        session.requests().unwrap().give_up(id);
    }
    assert_eq!(control(&mut session), [Frame::Cancel { id: open }]);
    told(&mut session, &[failure(open, "cancelled")]);
    assert!(!session.has_ended());
}

#[test]
fn an_expired_lease_is_a_stop_and_the_end_of_input() {
    let mut session = with_credit();
    let id = ask(&mut session, false);
    told(
        &mut session,
        &[request(1, "accepted"), Frame::Message("x".into())],
    );
    session.expire();
    session.expire();
    assert!(session.take_stop() && session.take_expired());
    assert!(!session.take_stop() && !session.take_expired());
    assert!(session.has_ended());
    assert_eq!(taken(&mut session), ["x"]);
    assert_eq!(queued(&mut session).len(), 1);
    assert_eq!(step(&mut session, id).unwrap(), "gone");
}
