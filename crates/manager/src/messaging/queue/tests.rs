use procession_wire::{DEFAULT_MESSAGE_LIMIT, Frame, FrameDecoder};
use proptest::prelude::*;

use super::*;

fn message(queue: &mut SendQueue, payload: &'static [u8]) {
    queue.push(
        Outgoing::message(Bytes::from_static(payload)),
        Some(1),
        None,
    );
}

/// Writes up to `most` bytes of what is queued.
fn write(queue: &mut SendQueue, most: usize, out: &mut Vec<u8>) -> Written {
    let mut chunks = Vec::new();
    queue.begin(&mut chunks);
    let bytes = chunks.concat();
    let count = bytes.len().min(most);
    out.extend_from_slice(&bytes[..count]);
    queue.advance(count)
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = FrameDecoder::new(DEFAULT_MESSAGE_LIMIT);
    let mut frames = Vec::new();
    while let Some(parsed) = decoder.parse(bytes).expect("frames") {
        let payload = Bytes::copy_from_slice(&bytes[parsed.payload]);
        frames.push(Frame::from_parts(parsed.head, payload));
        bytes = &bytes[parsed.end..];
    }
    assert!(bytes.is_empty(), "a frame was cut");
    frames
}

#[test]
fn a_control_frame_comes_right_after_the_frame_under_way() {
    let mut queue = SendQueue::new(Framing::Frames, false);
    let mut out = Vec::new();
    message(&mut queue, b"first");
    message(&mut queue, b"second");
    write(&mut queue, 7, &mut out);
    queue.push_control(FrameHead::Stop, b"");
    queue.push_control(FrameHead::Pong(7), b"");
    while queue.has_work() {
        write(&mut queue, 3, &mut out);
    }
    let expected = [
        Frame::Message("first".into()),
        Frame::Stop,
        Frame::Pong(7),
        Frame::Message("second".into()),
    ];
    assert_eq!(frames(&out), expected);
}

#[test]
fn a_control_frame_overtakes_all_that_has_not_begun() {
    let mut queue = SendQueue::new(Framing::Frames, false);
    message(&mut queue, b"queued");
    queue.push_control(FrameHead::Stop, b"");
    let mut out = Vec::new();
    write(&mut queue, usize::MAX, &mut out);
    assert_eq!(frames(&out)[0], Frame::Stop);
}

#[test]
fn messages_wait_for_credit_and_control_frames_do_not() {
    let mut queue = SendQueue::new(Framing::Frames, true);
    let mut out = Vec::new();
    message(&mut queue, b"one");
    message(&mut queue, b"two");
    assert!(!queue.has_work() && !queue.is_empty() && !queue.is_free(Lane::Messages));
    queue.push_control(FrameHead::Stop, b"");
    write(&mut queue, usize::MAX, &mut out);
    assert_eq!(frames(&out), [Frame::Stop]);
    // One byte of credit is enough for one message: it may overshoot.
    queue.grant(Lane::Messages, 1);
    write(&mut queue, usize::MAX, &mut out);
    assert_eq!(frames(&out)[1..], [Frame::Message("one".into())]);
    assert!(!queue.has_work());
    queue.without_credit();
    write(&mut queue, usize::MAX, &mut out);
    assert_eq!(frames(&out)[2..], [Frame::Message("two".into())]);
    assert!(queue.is_free(Lane::Messages));
}

#[test]
fn capacity_is_released_when_all_of_a_message_is_written() {
    let mut queue = SendQueue::new(Framing::Lines, false);
    let (done, mut told) = oneshot::channel();
    queue.push(
        Outgoing::message(Bytes::from_static(b"abc")),
        Some(3),
        Some(done),
    );
    let mut out = Vec::new();
    let written = write(&mut queue, 3, &mut out);
    assert_eq!((written.frames[0], written.bytes[0]), (0, 0));
    told.try_recv().expect_err("not yet");
    let written = write(&mut queue, 1, &mut out);
    assert_eq!((written.frames[0], written.bytes[0]), (1, 3));
    told.try_recv().expect("told");
    assert_eq!(out, b"abc\n");
}

#[test]
fn what_a_caller_could_not_write_goes_first() {
    let mut queue = SendQueue::new(Framing::Lines, false);
    queue.begin_direct(Lane::Messages, 5);
    message(&mut queue, b"later");
    let (done, mut told) = oneshot::channel();
    let rest = [
        Bytes::new(),
        Bytes::from_static(b"lo"),
        Bytes::from_static(b"\n"),
    ];
    queue.take_over(Lane::Messages, rest, 6, done);
    let mut out = Vec::new();
    write(&mut queue, 3, &mut out);
    told.try_recv().expect("told");
    write(&mut queue, usize::MAX, &mut out);
    assert_eq!(out, b"lo\nlater\n");
    assert_eq!(queue.progress(), (2, 2));
}

proptest! {
    /// Whatever is written how, in whatever pieces: every frame whole, once, messages in order.
    #[test]
    fn any_way_to_write_gives_whole_frames_in_order(
        steps in prop::collection::vec((0..5u8, 0..20_000usize), 1..60),
    ) {
        let mut queue = SendQueue::new(Framing::Frames, true);
        let (mut out, mut sent, mut pings) = (Vec::new(), 0u64, 0u64);
        for (step, size) in steps {
            match step {
                0 | 1 => {
                    let mut payload = vec![b'x'; size];
                    payload.splice(0..0, sent.to_be_bytes());
                    queue.push(Outgoing::message(payload.into()), Some(1), None);
                    sent += 1;
                }
                2 => {
                    queue.push_control(FrameHead::Ping(pings), b"");
                    pings += 1;
                }
                3 => queue.grant(Lane::Messages, u32::try_from(size).expect("small")),
                _ => {
                    write(&mut queue, size, &mut out);
                }
            }
        }
        queue.without_credit();
        while queue.has_work() {
            write(&mut queue, 4097, &mut out);
        }
        let (mut messages, mut answered) = (0, 0);
        for frame in frames(&out) {
            match frame {
                Frame::Message(payload) => {
                    prop_assert_eq!(&payload[..8], &u64::to_be_bytes(messages));
                    messages += 1;
                }
                Frame::Ping(value) => {
                    prop_assert_eq!(value, answered);
                    answered += 1;
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!((messages, answered), (sent, pings));
        prop_assert_eq!(queue.progress(), (sent, sent));
    }
}

/// A lane without credit holds up no other, and what was taken back is never sent.
#[test]
fn lanes_wait_each_for_themselves() {
    let mut queue = SendQueue::new(Framing::Frames, true);
    let answer = |id| Outgoing::answer(FrameHead::Reply { id }, Bytes::from_static(b"r"));
    queue.push(Outgoing::message(Bytes::from_static(b"m")), Some(1), None);
    for id in 1..=3 {
        let request = Outgoing::request(id, Bytes::from_static(b"q"), Some(9));
        queue.push(request, Some(1), None);
    }
    assert!(!queue.has_work());
    assert_eq!(queue.depth(), (1, 1));
    queue.push(answer(9), Some(1), None);
    let withdrawn = queue.withdraw(2).expect("it waits");
    assert_eq!((withdrawn.frames, withdrawn.bytes), ([0, 1, 0], [0, 1, 0]));
    assert!(queue.withdraw(2).is_none());
    queue.grant(Lane::Requests, 1000);
    let mut out = Vec::new();
    write(&mut queue, usize::MAX, &mut out);
    let mut expected = b"\0\0\0\x09\x02\0\0\0\0\0\0\0\x09r".to_vec();
    for id in [1, 3] {
        expected.extend_from_slice(b"\0\0\0\x09\x01\0\0\0\0\0\0\0");
        expected.extend_from_slice(&[id, b'q']);
        expected.extend_from_slice(b"\0\0\0\x0c\x06\0\0\0\0\0\0\0");
        expected.extend_from_slice(&[id, 0, 0, 0, 9]);
    }
    assert_eq!(out, expected);
    assert!(!queue.is_empty() && !queue.has_work(), "the message waits");
    queue.grant(Lane::Messages, 1);
    assert!(queue.has_work());
}

/// All that is written of a queue, in one piece.
fn drain(queue: &mut SendQueue) -> Vec<u8> {
    let mut out = Vec::new();
    while queue.has_work() {
        write(queue, usize::MAX, &mut out);
    }
    out
}

proptest! {
    /// However much of it one run has got: the next gets the rest, whole and in order, but for the frame of which
    /// the first has a part.
    #[test]
    fn what_one_run_has_not_begun_the_next_gets(
        lens in prop::collection::vec(prop_oneof![0..40_usize, SMALL - 2..SMALL + 3], 1..20),
        lines: bool,
        with_credit: bool,
        granted in 0..20_usize,
        got in 0..60_000_usize,
        twice: bool,
    ) {
        let framing = if lines { Framing::Lines } else { Framing::Frames };
        let with_credit = with_credit && !lines;
        let mut queue = SendQueue::new(framing, with_credit);
        let payloads: Vec<_> = lens
            .iter()
            .enumerate()
            .map(|(number, len)| Bytes::from(vec![b'a' + u8::try_from(number).unwrap_or(0); *len]))
            .collect();
        for payload in &payloads {
            queue.push(Outgoing::message(payload.clone()), Some(1), None);
        }
        let credit: usize = lens.iter().take(granted).map(|len| len + 16).sum();
        queue.grant(Lane::Messages, u32::try_from(credit).unwrap_or(0));
        queue.push(Outgoing::request(1, Bytes::from_static(b"asks"), None), Some(4), None);
        queue.push_control(FrameHead::Pong(1), b"");
        let mut out = Vec::new();
        let mut written = Written::default();
        if queue.has_work() {
            written = write(&mut queue, got, &mut out);
        }
        let freed = queue.set_aside(true);
        if twice {
            let again = queue.set_aside(true);
            prop_assert_eq!(again.frames, [0; LANES]);
        }
        prop_assert!(!queue.has_work());
        let whole = usize::try_from(queue.progress().1).unwrap_or(0);
        let lost = usize::try_from(queue.given_up()).unwrap_or(0);
        prop_assert!(lost <= 1);
        prop_assert_eq!(written.frames[0], whole);
        prop_assert_eq!(freed.frames[0], lost);
        prop_assert_eq!(freed.frames[1] + written.frames[1], 1, "the request goes with its run");
        queue.push_message(Bytes::from_static(b"late"), Some(1), None);
        prop_assert!(!queue.has_work(), "there is no run");
        queue.begin_run(with_credit);
        prop_assert!(!(with_credit && queue.has_work()), "the next run has granted nothing");
        queue.without_credit();
        let out = drain(&mut queue);
        let left = payloads[whole + lost..].iter().cloned().chain([Bytes::from_static(b"late")]);
        if lines {
            let expected: Vec<u8> = left.flat_map(|line| [&line[..], b"\n"].concat()).collect();
            prop_assert_eq!(out, expected);
        } else {
            let expected: Vec<_> = left.map(Frame::Message).collect();
            prop_assert_eq!(frames(&out), expected);
        }
    }
}

#[test]
fn or_all_of_it_is_given_up() {
    let mut queue = SendQueue::new(Framing::Frames, true);
    for _ in 0..3 {
        message(&mut queue, b"queued");
    }
    queue.grant(Lane::Messages, 1);
    let freed = queue.set_aside(false);
    assert_eq!((freed.frames, freed.bytes), ([3, 0, 0], [3, 0, 0]));
    assert_eq!((queue.given_up(), queue.depth()), (3, (0, 0)));
    queue.begin_run(false);
    message(&mut queue, b"of the next run");
    assert_eq!(
        frames(&drain(&mut queue)),
        [Frame::Message("of the next run".into())]
    );
}
