//! Pongs at any time.

use std::time::Instant;

use bytes::Bytes;
use procession_wire::{Frame, credit::MESSAGE_LANE};

use super::{Check, Checked, Context, check, messages::payload, require};
use crate::{Fault, conversation::PLENTY};

pub(super) const CHECKS: &[Check] = &[
    check(
        6,
        "pong-idle",
        "every ping is answered by a pong of its number",
        idle,
    ),
    check(
        6,
        "pong-busy",
        "pings are answered while requests are at work",
        busy,
    ),
    check(
        6,
        "pong-without-credit",
        "pings are answered while messages and items wait for credit",
        without_credit,
    ),
    check(
        6,
        "full-pipe",
        "input is read while the output is full, and nothing is lost",
        full_pipe,
    ),
];

fn idle(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for number in [0, 1, 1 << 40, u64::MAX] {
        child.ping_with(number);
        let what = format!("pong of {number}");
        child.wait_for(&what, |seen| seen.pongs.contains(&number))?;
    }
    Ok(())
}

fn busy(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(child.ask("wait", 0)?);
        child.settle()?;
    }
    for id in waiting {
        child.cancel(id);
        child.end_of(id)?;
    }
    Ok(())
}

fn without_credit(context: &Context<'_>) -> Checked {
    let mut child = context.without_credit()?;
    for number in 0..3 {
        child.send_message(payload(number, 100))?;
        child.ask("items 3", 0)?;
        child.settle()?;
    }
    Ok(())
}

fn full_pipe(context: &Context<'_>) -> Checked {
    const LEN: usize = 60_000;
    let mut child = context.without_credit()?;
    child.settle()?;
    child.subject().stop_reading();
    // Replies need no credit: these fill the pipe, and what the child holds for it.
    let mut asked = Vec::new();
    for number in 0..16 {
        if !child.may_ask() {
            break;
        }
        let text = [b"echo ".as_slice(), &payload(number, LEN)].concat();
        asked.push((number, child.ask(text, 0)?));
    }
    let pings: Vec<u64> = (0..10).map(|_| child.ping()).collect();
    for _ in 0..64 {
        let (kind, payload) = (0x81, Bytes::from(vec![b'-'; 128 << 10]));
        child.send(&Frame::Extension { kind, payload });
    }
    let in_time = Instant::now() + context.timeout() / 2;
    let read = child.subject().all_is_written(in_time);
    child.subject().read_on();
    if !read {
        return Err(Fault::failed(
            "it stopped reading its input while its output was full",
        ));
    }
    for (number, id) in asked {
        let reply = child.reply_to(id)?;
        require(reply == payload(number, LEN), || {
            format!("the reply to request {id} is another")
        })?;
    }
    for number in pings {
        child.wait_for("pong", |seen| seen.pongs.contains(&number))?;
    }
    child.grant(MESSAGE_LANE, PLENTY);
    child.send_message("on")?;
    child.message().map(drop)
}
