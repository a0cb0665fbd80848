//! What a good parent never sends.

use bytes::{Bytes, BytesMut};
use procession_wire::{
    Features, Frame, FrameHead, Hello,
    credit::{MESSAGE_LANE, REQUEST_LANE},
};

use super::{Check, Checked, Context, LIMIT, check, require};
use crate::{Fault, conversation::Conversation, subject::Exit};

pub(super) const CHECKS: &[Check] = &[
    check(
        4,
        "extensions",
        "frames of kinds from 0x80 up are skipped, of any size within the limit",
        extensions,
    ),
    check(
        1,
        "unknown-ids",
        "replies, failures, items and credit for what is not known are ignored",
        unknown_ids,
    ),
    check(
        1,
        "not-for-a-child",
        "kinds that are not meant for a child are ignored, hello too",
        not_for_a_child,
    ),
    check(
        1,
        "longer-bodies",
        "a body longer than its kind needs is no harm",
        longer_bodies,
    ),
    check(
        10,
        "any-cuts",
        "frames are understood however the stream is cut",
        any_cuts,
    ),
    check(
        1,
        "lost-unknown-kind",
        "a frame of an unknown kind below 0x80 ends it, and what follows is not believed",
        lost_unknown_kind,
    ),
    check(
        1,
        "lost-short-body",
        "a body too short for its kind ends it",
        lost_short_body,
    ),
    check(
        1,
        "lost-over-limit",
        "a frame over the limit ends it, before its body has come",
        lost_over_limit,
    ),
];

/// The child still sends messages back: that is asked of children without requests, too.
fn lives_on(child: &mut Conversation) -> Checked {
    child.send_message("alive")?;
    let message = child.message()?;
    require(message == "alive", || format!("there came {message:?}"))
}

fn extensions(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for (kind, len) in [(0x80, 0), (0x90, 1), (0xff, LIMIT), (0x86, 100)] {
        let payload = Bytes::from(vec![0; len]);
        child.send(&Frame::Extension { kind, payload });
        lives_on(&mut child)?;
    }
    Ok(())
}

fn unknown_ids(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for id in [0, 1, 4711, u64::MAX - 1, u64::MAX] {
        child.send(&Frame::Item {
            id,
            payload: Bytes::from_static(b"part"),
        });
        child.send(&Frame::Reply {
            id,
            payload: Bytes::from_static(b"answer"),
        });
        child.send(&Frame::Failure {
            id,
            text: "no".into(),
        });
        if id != MESSAGE_LANE && id != REQUEST_LANE {
            child.send(&Frame::Credit {
                lane: id,
                bytes: 1000,
            });
        }
        child.send(&Frame::Pong(id));
        lives_on(&mut child)?;
    }
    // What was answered before it was asked is no answer.
    let id = child.ask("ask x", 0)?;
    let theirs = child.asked_by_child(1)?[0];
    child.settle()?;
    require(child.seen.end_of(id).is_none(), || {
        "it took an earlier reply for that to its request".into()
    })?;
    child.reply(theirs, "now");
    let reply = child.reply_to(id)?;
    require(reply == "now", || format!("the reply is {reply:?}"))
}

fn not_for_a_child(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    child.send(&Frame::Hello(Hello::new(Features::NONE, 1)));
    child.send(&Frame::Ready("the parent is ready".into()));
    child.send(&Frame::Bye { status: 3 });
    lives_on(&mut child)
}

/// A frame with so many bytes that a later version may have put there.
fn longer(frame: &Frame, more: u8) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame.encode(LIMIT, &mut bytes).expect("is short");
    bytes[3] += more;
    bytes.extend_from_slice(&vec![0xee; usize::from(more)]);
    bytes.to_vec()
}

fn longer_bodies(context: &Context<'_>) -> Checked {
    let mut child = context.without_credit()?;
    let ping = child.ping();
    child.wait_for("pong", |seen| seen.pongs.contains(&ping))?;
    let waiting = child.ask("wait", 0)?;
    child.send_message("x")?;
    // The books know of the credit; that it comes in a longer body, they need not.
    child.grant(MESSAGE_LANE, 1);
    child.message()?;
    for frame in [
        Frame::Credit {
            lane: REQUEST_LANE,
            bytes: 0,
        },
        Frame::Cancel { id: waiting },
        Frame::Hello(Hello::new(Features::NONE, 1)),
    ] {
        child.subject_mut().write(longer(&frame, 100));
    }
    child.end_of(waiting)?;
    child.settle()?;
    child.subject_mut().write(longer(&Frame::Stop, 7));
    child.ends(0)
}

fn any_cuts(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let mut stream = BytesMut::new();
    for number in 0..20_u64 {
        let frame = Frame::Extension {
            kind: 0x80,
            payload: Bytes::from(vec![0; usize::try_from(number).unwrap_or_default()]),
        };
        frame.encode(LIMIT, &mut stream).expect("is short");
    }
    for byte in &stream {
        child.subject_mut().write(vec![*byte]);
    }
    for text in ["one", "two", "three"] {
        child.send_message(text)?;
        let message = child.message()?;
        require(message == text, || format!("there came {message:?}"))?;
    }
    lives_on(&mut child)
}

/// The child ends by itself, and answers nothing that came behind these bytes.
fn loses(context: &Context<'_>, bytes: &[u8]) -> Checked {
    let mut child = context.at_work()?;
    lives_on(&mut child)?;
    child.subject_mut().write(bytes.to_vec());
    let behind = FrameHead::Request { id: 77 }.prefix(6);
    child
        .subject_mut()
        .write([&behind, b"echo x".as_slice()].concat());
    child.wait_for("end of the output", |seen| seen.ended.is_some())?;
    match child.exits()? {
        Exit::Code(_) => Ok(()),
        Exit::Signal(signal) => Err(Fault::failed(format!("it was ended by signal {signal}"))),
    }
}

fn lost_unknown_kind(context: &Context<'_>) -> Checked {
    loses(context, b"\0\0\0\0\x55")
}

fn lost_short_body(context: &Context<'_>) -> Checked {
    loses(context, b"\0\0\0\x03\x06abc")
}

fn lost_over_limit(context: &Context<'_>) -> Checked {
    loses(context, b"\x80\0\0\0\0")
}
