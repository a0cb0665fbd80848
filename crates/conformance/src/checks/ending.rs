//! Stop, the end of input, the end of the parent, the lease.

use std::time::{Duration, Instant};

use procession_wire::{
    Frame, FrameError,
    credit::{MESSAGE_LANE, REQUEST_LANE},
};

use super::{Check, Checked, Context, check, requests::lives_on, require};
use crate::{
    Fault, Transport,
    conversation::{Conversation, PLENTY},
};

pub(super) const CHECKS: &[Check] = &[
    check(
        6,
        "stop",
        "a stop, and another, ends it: bye 0, then exit with 0",
        stop,
    ),
    check(
        6,
        "stop-answers",
        "on a stop it answers what it has accepted, then ends",
        stop_answers,
    ),
    check(
        6,
        "stop-refuses",
        "requests after a stop fail, and the child waits for what is open",
        stop_refuses,
    ),
    check(
        6,
        "stop-messages",
        "messages before a stop come back, and later ones do not",
        stop_messages,
    ),
    check(
        6,
        "end-of-input",
        "the end of its input ends it: bye 0, then exit with 0",
        end_of_input,
    ),
    check(
        6,
        "end-answers",
        "at the end of its input it answers what it has accepted, then ends",
        end_answers,
    ),
    check(
        6,
        "end-waiting",
        "the end of its input ends what waits for the parent",
        end_waiting,
    ),
    check(
        1,
        "end-inside-frame",
        "an input that ends inside a frame ends it",
        end_inside_frame,
    ),
    check(
        6,
        "parent-gone",
        "it ends when both ends of its channel are closed",
        parent_gone,
    ),
    check(
        6,
        "lease-kept",
        "with a lease it goes on for as long as frames come, of any kind",
        lease_kept,
    ),
    check(
        6,
        "lease-over",
        "with a lease and no frame for so long it ends itself",
        lease_over,
    ),
    check(
        1,
        "only-frames",
        "there is nothing but frames on its standard output, and nothing after bye",
        only_frames,
    ),
];

fn stop(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    child.send(&Frame::Stop);
    child.send(&Frame::Stop);
    child.ends(0)
}

fn stop_answers(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let held = child.ask("hold", 0)?;
    let asking = child.ask("ask x", 0)?;
    child.settle()?;
    require(child.seen.end_of(held).is_none(), || {
        "`hold` ended before the stop".into()
    })?;
    child.send(&Frame::Stop);
    let reply = child.reply_to(held)?;
    require(reply == "stopped", || format!("the reply is {reply:?}"))?;
    let theirs = child.asked_by_child(1)?[0];
    child.settle()?;
    child.reply(theirs, "y");
    child.reply_to(asking)?;
    child.ends(0)
}

fn stop_refuses(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let waiting = child.ask("wait", 0)?;
    child.send(&Frame::Stop);
    let late = [child.ask("echo late", 0)?, child.ask("wait", 0)?];
    for id in late {
        child.failure_of(id)?;
    }
    child.settle()?;
    require(child.seen.end_of(waiting).is_none(), || {
        "`wait` ended before it was cancelled".into()
    })?;
    child.cancel(waiting);
    child.end_of(waiting)?;
    child.ends(0)
}

fn stop_messages(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    // Keeps the child there until all is said.
    let waiting = child.ask("wait", 0)?;
    for text in ["one", "two"] {
        child.send_message(text)?;
    }
    child.send(&Frame::Stop);
    child.send_message("late")?;
    for text in ["one", "two"] {
        let message = child.message()?;
        require(message == text, || format!("there came {message:?}"))?;
    }
    child.settle()?;
    child.cancel(waiting);
    child.ends(0)?;
    require(child.seen.messages.is_empty(), || {
        "it sent back a message that came after the stop".into()
    })
}

fn end_of_input(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    child.send_message("last")?;
    child.subject_mut().close_input();
    child.message()?;
    child.ends(0)
}

fn end_answers(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let held = child.ask("hold", 0)?;
    child.settle()?;
    child.subject_mut().close_input();
    child.end_of(held)?;
    child.ends(0)
}

fn end_waiting(context: &Context<'_>) -> Checked {
    let mut child = context.without_credit()?;
    child.send_message("no credit")?;
    let waiting = [
        child.ask("wait", 0)?,
        child.ask("items 3", 0)?,
        child.ask("ask no credit", 0)?,
    ];
    child.settle()?;
    child.grant(REQUEST_LANE, 1);
    child.asked_by_child(1)?;
    child.subject_mut().close_input();
    for id in waiting {
        child.end_of(id)?;
    }
    child.ends(0)
}

fn end_inside_frame(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    child.ask("wait", 0)?;
    child.subject_mut().write(b"\0\0\0\x09\0cut".to_vec());
    child.subject_mut().close_input();
    child.exits().map(drop)
}

fn parent_gone(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    child.ask("wait", 0)?;
    child.settle()?;
    child.subject().close_output();
    // Something to write, so that the read that is under way comes to an end.
    child.ping();
    child.subject_mut().close_input();
    child.exits().map(drop)
}

/// A lease: short for those who wait, long for a busy machine.
const LEASE: Duration = Duration::from_millis(1200);

fn leased(context: &Context<'_>) -> Result<Conversation, Fault> {
    let mut start = context.plain();
    start.lease = Some(LEASE);
    let mut child = context.at_work_as(&start)?;
    child.extend(6 * LEASE);
    Ok(child)
}

fn lease_kept(context: &Context<'_>) -> Checked {
    let mut child = leased(context)?;
    let until = Instant::now() + 3 * LEASE;
    let mut heard = Instant::now();
    let only_messages = Instant::now() + LEASE.mul_f32(1.5);
    while Instant::now() < until {
        let answered = if Instant::now() < only_messages {
            child
                .send_message("still here")
                .and_then(|()| child.message().map(drop))
        } else {
            child.settle()
        };
        let kept = answered.and_then(|()| {
            let ended = child.seen.bye.is_some() || child.seen.ended.is_some();
            require(!ended, || "it ended although it was spoken to".into())
        });
        // Each answer says that it had a frame. If the last is long ago, it may have been right.
        if kept.is_err() && heard.elapsed() > LEASE / 2 {
            let why = "this machine is too busy to tell".into();
            return Err(Fault::Skipped(why));
        }
        kept?;
        heard = Instant::now();
        child.listen_for(LEASE / 10)?;
    }
    Ok(())
}

fn lease_over(context: &Context<'_>) -> Checked {
    let mut child = leased(context)?;
    child.ask("wait", 0)?;
    // It hears this later than we look at the clock.
    let from = Instant::now();
    child.settle()?;
    let exit = child.subject().exit(child.deadline());
    let lasted = from.elapsed();
    require(exit.is_some(), || {
        format!("it was still there after {lasted:?}")
    })?;
    require(lasted > LEASE.mul_f32(0.95), || {
        format!("it ended after {lasted:?} already")
    })
}

fn only_frames(context: &Context<'_>) -> Checked {
    if context.transport == Transport::Pipes {
        let why = "its standard output is its own".into();
        return Err(Fault::Skipped(why));
    }
    let mut child = context.at_work()?;
    child.send_message("x")?;
    child.message()?;
    let id = child.ask("panic", 0)?;
    child.end_of(id)?;
    lives_on(&mut child)?;
    child.grant(MESSAGE_LANE, PLENTY);
    child.send(&Frame::Stop);
    child.ends(0)?;
    require(child.seen.trailing == 0, || {
        format!("{} bytes follow its bye", child.seen.trailing)
    })?;
    match child.seen.ended.take() {
        Some(Err(error @ FrameError::Truncated { .. })) => Err(Fault::failed(error.to_string())),
        _ => Ok(()),
    }
}
