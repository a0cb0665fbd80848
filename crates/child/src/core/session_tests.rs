use bytes::BytesMut;
use procession_wire::{
    Frame, FrameError,
    credit::{MESSAGE_OVERHEAD, REQUEST_LANE},
};

use super::*;
use crate::test_parent::{LIMIT, encoded};

pub(in crate::core) fn frames() -> Session {
    let mut session = Session::new(Framing::Frames, LIMIT, true, true);
    session.opening(1, &mut BytesMut::new());
    session
}

/// Feeds bytes in pieces of this size, or less where there is no room for it.
pub(in crate::core) fn feed(
    session: &mut Session,
    input: &mut InputBuffer,
    bytes: &[u8],
    piece: usize,
) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = input.room(session.missing(input));
        let len = piece.min(rest.len()).min(room.len());
        room[..len].copy_from_slice(&rest[..len]);
        session.arrive(input, Ok(len));
        rest = &rest[len..];
    }
}

/// All messages and errors that are there, as text.
pub(in crate::core) fn taken(session: &mut Session) -> Vec<String> {
    let mut taken = Vec::new();
    while let Poll::Ready(Some(next)) = session.next() {
        taken.push(match next {
            Ok(message) => message.as_str().unwrap().to_owned(),
            Err(error) => format!("error: {error}"),
        });
    }
    taken
}

pub(in crate::core) fn control(session: &mut Session) -> Vec<Frame> {
    let mut bytes = BytesMut::new();
    session.take_control(usize::MAX, &mut bytes);
    let mut decoder = FrameDecoder::new(LIMIT);
    std::iter::from_fn(|| decoder.decode(&mut bytes).unwrap()).collect()
}

#[test]
fn every_cut_of_the_stream_gives_the_same() {
    let bytes = encoded(&[
        Frame::Message("one".into()),
        Frame::Ping(7),
        Frame::Message("".into()),
        Frame::Credit { lane: 0, bytes: 9 },
        Frame::Extension {
            kind: 0x80,
            payload: "skipped".into(),
        },
        Frame::Message("three".into()),
        Frame::Stop,
        Frame::Message("too late".into()),
    ]);
    for piece in 1..=bytes.len() {
        let mut session = frames();
        let mut input = InputBuffer::default();
        assert!(!session.may_send());
        feed(&mut session, &mut input, &bytes, piece);
        assert_eq!(taken(&mut session), ["one", "", "three"]);
        assert_eq!(control(&mut session), [Frame::Pong(7)]);
        assert!(session.may_send());
        assert!(session.take_stop());
        assert!(!session.take_stop());
        assert!(matches!(session.next(), Poll::Ready(None)));
    }
}

#[test]
fn lines_are_cut_anywhere_and_the_last_needs_no_newline() {
    let bytes = b"one\n\nthree\r\na line over the limit\nfour\nfive";
    for piece in 1..=bytes.len() {
        let mut session = Session::new(Framing::Lines, 6, true, true);
        let mut input = InputBuffer::default();
        feed(&mut session, &mut input, bytes, piece);
        session.arrive(&mut input, Ok(0));
        let taken = taken(&mut session);
        assert!(taken[3].contains("limit of 6 bytes"), "{taken:?}");
        assert_eq!(taken[..3], ["one", "", "three\r"]);
        assert_eq!(taken[4..], ["four", "five"]);
        assert!(!session.has_control());
    }
}

#[test]
fn credit_is_spent_waited_for_and_lifted_at_the_end_of_input() {
    let mut session = frames();
    let mut input = InputBuffer::default();
    assert!(!session.try_spend(0));
    let grant = |bytes| encoded(&[Frame::Credit { lane: 0, bytes }]);
    feed(&mut session, &mut input, &grant(100), 1000);
    assert!(session.try_spend(1000), "a message may overshoot");
    assert!(!session.try_spend(0));
    feed(&mut session, &mut input, &grant(900), 1000);
    assert!(!session.try_spend(0));
    feed(&mut session, &mut input, &grant(65), 1000);
    assert!(session.try_spend(0));
    assert!(!session.try_spend(0));
    session.arrive(&mut input, Ok(0));
    assert!(session.try_spend(1 << 30));
    assert!(session.try_spend(1 << 30));
}

#[test]
fn other_lanes_give_no_credit_to_messages() {
    let mut session = frames();
    let lanes = [1, 77, REQUEST_LANE].map(|lane| Frame::Credit { lane, bytes: 9 });
    feed(
        &mut session,
        &mut InputBuffer::default(),
        &encoded(&lanes),
        1000,
    );
    assert!(!session.may_send());
}

#[test]
fn credit_is_granted_again_as_messages_are_taken() {
    let mut session = frames();
    let mut input = InputBuffer::default();
    let payload = vec![0; 64 * 1024];
    let message = encoded(&[Frame::Message(payload.clone().into())]);
    let each = payload.len() as u64 + MESSAGE_OVERHEAD;
    let mut granted = 0;
    for number in 1..=100 {
        feed(&mut session, &mut input, &message, message.len());
        assert!(matches!(session.next(), Poll::Ready(Some(Ok(_)))));
        for frame in control(&mut session) {
            let Frame::Credit { lane: 0, bytes } = frame else {
                panic!("{frame:?}");
            };
            granted += u64::from(bytes);
        }
        assert!(granted <= number * each);
        assert!(number * each - granted < MESSAGE_WINDOW / 4);
    }
}

#[test]
fn a_parent_that_ignores_credit_is_read_again_once_there_is_room() {
    const LEN: usize = 1 << 20;
    let mut session = Session::new(Framing::Frames, LEN, true, true);
    session.opening(7, &mut BytesMut::new());
    let mut input = InputBuffer::default();
    let message = encoded(&[Frame::Message(vec![0; LEN].into())]);
    // What it was granted, and one message on top of that, are read in any case.
    for _ in 0..4 {
        feed(&mut session, &mut input, &message, 64 * 1024);
        assert!(!session.is_full());
    }
    feed(&mut session, &mut input, &message, 64 * 1024);
    assert!(session.is_full(), "nothing was taken");
    let ping = encoded(&[Frame::Ping(1)]);
    feed(&mut session, &mut input, &ping, 64 * 1024);
    assert_eq!(control(&mut session), [], "it waits with the rest");
    assert!(session.has_backlog());

    assert!(matches!(session.next(), Poll::Ready(Some(Ok(_)))));
    assert!(!session.is_full());
    session.decode(&mut input);
    assert!(!session.has_backlog());
    assert!(control(&mut session).contains(&Frame::Pong(1)));
    for _ in 0..4 {
        assert!(matches!(session.next(), Poll::Ready(Some(Ok(_)))));
    }
    assert!(matches!(session.next(), Poll::Pending), "it goes on");
    let granted: u64 = control(&mut session).iter().map(granted).sum();
    assert!(granted > MESSAGE_WINDOW / 2, "and is granted more");
}

fn granted(frame: &Frame) -> u64 {
    match frame {
        Frame::Credit { lane: 0, bytes } => u64::from(*bytes),
        other => panic!("{other:?}"),
    }
}

/// The most that there is at once with a parent that keeps to its credit.
#[test]
fn the_window_and_the_longest_message_are_not_too_much() {
    let mut session = frames();
    let mut input = InputBuffer::default();
    let window = usize::try_from(MESSAGE_WINDOW).unwrap();
    let messages = [window - 65, LIMIT].map(|len| Frame::Message(vec![0; len].into()));
    feed(&mut session, &mut input, &encoded(&messages), 1 << 20);
    assert!(!session.is_full());
    let ping = encoded(&[Frame::Ping(1)]);
    feed(&mut session, &mut input, &ping, 100);
    assert_eq!(control(&mut session), [Frame::Pong(1)]);
}

#[test]
fn without_credit_decoding_stops_when_enough_is_held_and_goes_on() {
    let mut session = Session::new(Framing::Lines, LIMIT, true, true);
    let mut input = InputBuffer::default();
    let empty_lines = vec![b'\n'; 64 * 1024];
    feed(&mut session, &mut input, &empty_lines, 64 * 1024);
    assert!(session.is_full());
    assert!(session.has_backlog());
    assert_eq!(session.arrived.len() as u64, HELD / MESSAGE_OVERHEAD);
    let mut seen = 0;
    while !input.received().is_empty() || session.has_next() {
        seen += taken(&mut session).len();
        session.decode(&mut input);
    }
    assert_eq!(seen, empty_lines.len());
    assert!(!session.has_backlog());
    assert!(matches!(session.next(), Poll::Pending));
}

#[test]
fn the_newest_pings_are_answered_and_no_more_than_sixteen() {
    let mut session = frames();
    let pings: Vec<_> = (0..1000).map(Frame::Ping).collect();
    feed(
        &mut session,
        &mut InputBuffer::default(),
        &encoded(&pings),
        64 * 1024,
    );
    let pongs: Vec<_> = (984..1000).map(Frame::Pong).collect();
    assert_eq!(control(&mut session), pongs);
}

#[test]
fn control_frames_are_taken_whole_and_as_many_as_fit() {
    let mut session = frames();
    let mut input = InputBuffer::default();
    let mut frames = vec![Frame::Stop];
    frames.extend((1..=200).map(request));
    feed(&mut session, &mut input, &encoded(&frames), 64 * 1024);
    let mut all = BytesMut::new();
    while session.has_control() {
        let mut part = BytesMut::new();
        session.take_control(4096, &mut part);
        assert!((1..=4096).contains(&part.len()));
        all.extend_from_slice(&part);
    }
    let mut decoder = FrameDecoder::new(LIMIT);
    let frames = std::iter::from_fn(|| decoder.decode(&mut all).unwrap());
    assert_eq!(frames.count(), 200);
}

fn request(id: u64) -> Frame {
    Frame::Request {
        id,
        payload: "x".into(),
    }
}

#[test]
fn one_way_channels_owe_nothing() {
    for (has_input, has_output, hello) in [(true, false, 0), (false, true, 25)] {
        let mut session = Session::new(Framing::Frames, LIMIT, has_input, has_output);
        let mut opening = BytesMut::new();
        session.opening(1, &mut opening);
        assert_eq!(opening.len(), hello);
        assert!(session.may_send());
    }
    let mut session = Session::new(Framing::Frames, LIMIT, true, false);
    let asked = encoded(&[Frame::Ping(1), request(1), Frame::Message("m".into())]);
    feed(&mut session, &mut InputBuffer::default(), &asked, 1000);
    assert!(!session.has_control());
    assert_eq!(taken(&mut session), ["m"]);
}

#[test]
fn lost_framing_is_one_error_after_what_came_before_it() {
    let mut junk = encoded(&[Frame::Message("good".into())]);
    junk.extend_from_slice(b"\0\0\0\0\x7f\0\0\0\x01\0x");
    for piece in 1..=junk.len() {
        let mut session = frames();
        let mut input = InputBuffer::default();
        feed(&mut session, &mut input, &junk, piece);
        let taken = taken(&mut session);
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[0], "good");
        assert!(taken[1].contains("unknown kind 0x7f"), "{taken:?}");
        assert!(matches!(session.next(), Poll::Ready(None)));
    }
}

#[test]
fn after_a_stop_there_are_no_errors() {
    let mut session = frames();
    let mut input = InputBuffer::default();
    let mut bytes = encoded(&[Frame::Message("x".into()), Frame::Stop]);
    bytes.extend_from_slice(b"\0\0\0\0\x7f");
    feed(&mut session, &mut input, &bytes, 100);
    assert!(session.has_ended());
    assert_eq!(taken(&mut session), ["x"]);
}

#[test]
fn an_end_inside_a_frame_is_an_error() {
    let mut session = frames();
    let mut input = InputBuffer::default();
    feed(&mut session, &mut input, b"\0\0\0\x05\0ab", 100);
    session.arrive(&mut input, Ok(0));
    let next = session.next();
    let Poll::Ready(Some(Err(ReceiveError::Frame(FrameError::Truncated { missing: 3, .. })))) =
        next
    else {
        panic!("{next:?}");
    };
    assert!(matches!(session.next(), Poll::Ready(None)));
}

#[test]
fn nothing_comes_after_close() {
    let mut session = frames();
    let mut input = InputBuffer::default();
    let mut bytes = encoded(&[Frame::Message("x".into())]);
    bytes.extend_from_slice(b"\0\0\0\x05\0half");
    feed(&mut session, &mut input, &bytes, 7);
    session.close();
    session.arrive(&mut input, Ok(0));
    assert!(matches!(session.next(), Poll::Ready(None)));
    assert!(session.may_send());
}
