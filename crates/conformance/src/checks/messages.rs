//! Messages and their credit.

use std::time::{Duration, Instant};

use bytes::Bytes;
use procession_wire::{
    Frame,
    credit::{MESSAGE_LANE, cost},
};

use super::{Check, Checked, Context, check, needs_credit, require};
use crate::{
    Fault,
    conversation::{Conversation, PLENTY, shown},
};

pub(super) const CHECKS: &[Check] = &[
    check(
        4,
        "message-sizes",
        "messages of 0 bytes up to exactly the limit come back unchanged",
        sizes,
    ),
    check(4, "message-order", "messages come back in order", order),
    check(
        8,
        "keeps-to-credit",
        "no message is sent without credit",
        keeps_to_credit,
    ),
    check(
        8,
        "grants-again",
        "it grants again as it consumes, and never more than its window",
        grants_again,
    ),
    check(
        8,
        "back-pressure",
        "it stops granting while it cannot send, and loses nothing",
        back_pressure,
    ),
    check(
        8,
        "more-than-granted",
        "messages without credit may wait, and are not the end of the channel",
        more_than_granted,
    ),
];

/// A payload that differs from others of other numbers.
pub(super) fn payload(number: usize, len: usize) -> Bytes {
    (0..len)
        .map(|at| u8::try_from((at * 31 + number * 7 + at / 251) % 256).unwrap_or_default())
        .collect::<Vec<u8>>()
        .into()
}

fn comes_back(child: &mut Conversation, expected: &Bytes) -> Checked {
    let message = child.message()?;
    require(message == expected, || {
        format!(
            "a message of {} bytes came back as {} bytes, \"{}\"",
            expected.len(),
            message.len(),
            shown(&message)
        )
    })
}

fn sizes(context: &Context<'_>) -> Checked {
    let mut start = context.plain();
    start.limit = (2 << 20) + 7;
    let mut child = context.at_work_as(&start)?;
    let sizes = [0, 1, 64 << 10, 1 << 20, start.limit];
    for (number, size) in sizes.into_iter().enumerate() {
        child.send_message(payload(number, size))?;
    }
    for (number, size) in sizes.into_iter().enumerate() {
        comes_back(&mut child, &payload(number, size))?;
    }
    Ok(())
}

fn order(context: &Context<'_>) -> Checked {
    const COUNT: usize = 2000;
    let mut child = context.at_work()?;
    for number in 0..COUNT {
        child.send_message(payload(number, number % 200))?;
    }
    for number in 0..COUNT {
        comes_back(&mut child, &payload(number, number % 200))?;
    }
    Ok(())
}

fn keeps_to_credit(context: &Context<'_>) -> Checked {
    const COUNT: usize = 4;
    let mut child = context.without_credit()?;
    needs_credit(&child)?;
    for number in 0..COUNT {
        child.send_message(payload(number, 10))?;
    }
    child.settle()?;
    // Nothing says that a child sends nothing more; so it is given a little time to be wrong.
    child.listen_for(Duration::from_millis(200))?;
    require(child.seen.messages.is_empty(), || {
        "a message came before the first grant".into()
    })?;
    let cost = u32::try_from(cost(10)).expect("is small");
    for number in 0..COUNT {
        child.grant(MESSAGE_LANE, 1);
        comes_back(&mut child, &payload(number, 10))?;
        child.grant(MESSAGE_LANE, cost - 2);
        child.settle()?;
        child.grant(MESSAGE_LANE, 1); // exactly zero, which does not allow another
        child.settle()?;
        child.listen_for(Duration::from_millis(20))?;
        require(child.seen.messages.is_empty(), || {
            "a message came with a balance of 0".into()
        })?;
    }
    Ok(())
}

fn grants_again(context: &Context<'_>) -> Checked {
    const LEN: usize = 10_000;
    let mut child = context.at_work()?;
    needs_credit(&child)?;
    child.settle()?;
    let window = window_of(&child)?;
    let count = usize::try_from(window).expect("is small") / LEN * 4 + 8;
    for number in 0..count {
        child.send_message(payload(number, LEN))?;
        let balance = child.message_balance();
        require(balance <= window, || {
            format!(
                "after {number} messages there is credit for {balance} bytes: its window is {window}"
            )
        })?;
    }
    for number in 0..count {
        comes_back(&mut child, &payload(number, LEN))?;
    }
    // All is consumed now, and so less than a quarter of the window may be missing.
    child.settle()?;
    let balance = child.message_balance();
    require(
        balance <= window && balance > window - window / 4 - 1,
        || {
            format!(
                "all is consumed, and there is credit for {balance} bytes: its window is {window}"
            )
        },
    )
}

/// The window for messages, as the first grants tell it.
fn window_of(child: &Conversation) -> Result<i64, Fault> {
    let window = i64::try_from(child.seen.granted_on(MESSAGE_LANE)).unwrap_or(i64::MAX);
    if window <= 32 << 20 {
        Ok(window)
    } else {
        let why = format!("a window of {window} bytes is too much to fill");
        Err(Fault::Skipped(why))
    }
}

fn back_pressure(context: &Context<'_>) -> Checked {
    const LEN: usize = 10_000;
    const MOST: usize = 64 << 20;
    let mut child = context.without_credit()?;
    needs_credit(&child)?;
    child.settle()?;
    window_of(&child)?;
    let mut sent = 0;
    loop {
        while child.may_send_message() && sent * LEN < MOST {
            child.send_message(payload(sent, LEN))?;
            sent += 1;
        }
        child.settle()?;
        if !child.may_send_message() {
            break;
        }
        require(sent * LEN < MOST, || {
            format!("it took {MOST} bytes of messages that it could not send back")
        })?;
    }
    child.grant(MESSAGE_LANE, PLENTY);
    for number in 0..sent {
        comes_back(&mut child, &payload(number, LEN))?;
    }
    Ok(())
}

fn more_than_granted(context: &Context<'_>) -> Checked {
    const LEN: usize = 10_000;
    let mut child = context.at_work()?;
    needs_credit(&child)?;
    child.settle()?;
    let window = usize::try_from(window_of(&child)?).expect("is small");
    // It cannot send back what it has, and has room for one window and what its pipe holds.
    let count = (4 * window + (4 << 20)) / LEN;
    child.subject().stop_reading();
    for number in 0..count {
        child.send(&Frame::Message(payload(number, LEN)));
    }
    // It may have stopped reading. If it reads all, that is given a little time.
    let soon = Instant::now() + Duration::from_millis(200);
    child.subject().all_is_written(soon);
    child.subject().read_on();
    for number in 0..count {
        comes_back(&mut child, &payload(number, LEN))?;
    }
    child.settle()
}
