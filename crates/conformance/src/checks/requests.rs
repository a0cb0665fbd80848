//! Requests of the parent: replies, failures, items, cancels.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use procession_wire::credit::cost;

use super::{Check, Checked, Context, check, messages::payload, needs_credit, require};
use crate::{
    conversation::{Conversation, End, PLENTY, shown},
    subject::Start,
};

pub(super) const CHECKS: &[Check] = &[
    check(7, "echo", "a request is answered by its reply", echo),
    check(
        4,
        "request-sizes",
        "a request may be as long as the limit, and so may a reply and an item",
        sizes,
    ),
    check(
        7,
        "any-order",
        "a request that waits does not hold up those after it",
        any_order,
    ),
    check(
        7,
        "thousand",
        "1,000 requests, 64 at a time, get each their own reply",
        thousand,
    ),
    check(
        7,
        "one-end",
        "every request has exactly one end, whichever it is",
        one_end,
    ),
    check(
        7,
        "ids",
        "the highest id works, an id can be used again, and 0 and 2^64-1 are ignored",
        ids,
    ),
    check(
        8,
        "request-window",
        "it grants again for requests as it takes them",
        request_window,
    ),
    check(7, "items", "items come in order before the reply", items),
    check(
        8,
        "items-keep-to-credit",
        "no item is sent without credit, and what waits holds up nothing else",
        items_keep_to_credit,
    ),
    check(7, "fail", "a request fails with its text", fail),
    check(
        7,
        "panic",
        "a handler that panics fails its request, and nothing else",
        panic,
    ),
    check(
        7,
        "unknown-verb",
        "what is asked in vain is named in the failure",
        unknown_verb,
    ),
    check(
        4,
        "long-failure",
        "the text of a failure is shortened to the limit",
        long_failure,
    ),
    check(
        7,
        "cancel",
        "a request that waits ends when it is cancelled",
        cancel,
    ),
    check(
        7,
        "cancel-queued",
        "a request ends when it is cancelled, however many others wait before it",
        cancel_queued,
    ),
    check(
        7,
        "cancel-items",
        "a request whose items wait for credit ends when it is cancelled, without another item",
        cancel_items,
    ),
    check(
        7,
        "cancel-in-vain",
        "a cancel of what has ended, or never was, is ignored",
        cancel_in_vain,
    ),
];

fn echoes(child: &mut Conversation, text: &[u8]) -> Checked {
    let id = child.ask([b"echo ".as_slice(), text].concat(), 0)?;
    let reply = child.reply_to(id)?;
    require(reply == text, || {
        format!("the reply is \"{}\"", shown(&reply))
    })
}

/// The child still answers.
pub(super) fn lives_on(child: &mut Conversation) -> Checked {
    echoes(child, b"alive")
}

fn echo(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for text in [
        b"hello".as_slice(),
        b"",
        b"two words",
        b" \0\n\xff",
        &payload(1, 1 << 20),
    ] {
        echoes(&mut child, text)?;
    }
    Ok(())
}

fn sizes(context: &Context<'_>) -> Checked {
    const LIMIT: usize = (1 << 20) + 5;
    let start = Start {
        limit: LIMIT,
        ..context.plain()
    };
    let mut child = context.at_work_as(&start)?;
    echoes(&mut child, &payload(1, LIMIT - b"echo ".len()))?;
    let id = child.ask("collect all", 0)?;
    let theirs = child.asked_by_child(1)?[0];
    child.item(theirs, payload(2, LIMIT))?;
    child.reply(theirs, payload(3, LIMIT));
    let reply = child.reply_to(id)?;
    require(reply == payload(2, LIMIT), || {
        format!("the reply has {} bytes", reply.len())
    })
}

fn any_order(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let waiting = child.ask("wait", 0)?;
    lives_on(&mut child)?;
    require(child.seen.end_of(waiting).is_none(), || {
        "`wait` ended before it was cancelled".into()
    })?;
    child.cancel(waiting);
    child.end_of(waiting).map(drop)
}

fn thousand(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let mut open = VecDeque::new();
    for number in 0..1000 {
        if open.len() == 64
            && let Some((number, id)) = open.pop_front()
        {
            matches(&mut child, number, id)?;
        }
        let text = format!("echo {number} {}", "x".repeat(number % 300));
        open.push_back((number, child.ask(text, 0)?));
    }
    for (number, id) in open {
        matches(&mut child, number, id)?;
    }
    child.settle()
}

fn matches(child: &mut Conversation, number: usize, id: u64) -> Checked {
    let reply = child.reply_to(id)?;
    let expected = format!("{number} {}", "x".repeat(number % 300));
    require(reply == expected, || {
        format!(
            "request {id} got the reply \"{}\", and not \"{}\"",
            shown(&reply),
            shown(expected.as_bytes())
        )
    })
}

/// The books notice a second end; it is only given the time to come.
fn one_end(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let mut asked = Vec::new();
    for text in ["echo x", "items 3", "fail x", "panic", "nonsense", "wait"] {
        asked.push(child.ask(text, PLENTY)?);
    }
    child.cancel(asked[5]);
    for &id in &asked {
        child.end_of(id)?;
    }
    for &id in &asked {
        child.cancel(id);
    }
    child.settle()?;
    child.listen_for(Duration::from_millis(100))?;
    child.settle()
}

fn ids(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let highest = u64::MAX - 1;
    for _ in 0..3 {
        child.ask_as(highest, "echo x", 0)?;
        child.reply_to(highest)?;
        child.ask_as(5, "items 2", PLENTY)?;
        child.reply_to(5)?;
    }
    for id in [0, u64::MAX] {
        child.ask_as(id, "echo x", 0)?;
    }
    lives_on(&mut child)?;
    for id in [0, u64::MAX] {
        require(child.seen.end_of(id).is_none(), || {
            format!("it answered a request with the id {id}")
        })?;
    }
    Ok(())
}

fn request_window(context: &Context<'_>) -> Checked {
    const LEN: usize = 40_000;
    let mut child = context.at_work()?;
    needs_credit(&child)?;
    for number in 0..200 {
        let text = [b"echo ".as_slice(), &payload(number, LEN)].concat();
        child.ask(text, 0)?;
    }
    for id in 1..=200 {
        child.reply_to(id)?;
    }
    Ok(())
}

fn are_numbers(items: &[Bytes], count: usize) -> Checked {
    require(items.len() == count, || {
        format!("there were {} items, and not {count}", items.len())
    })?;
    for (number, item) in items.iter().enumerate() {
        require(*item == number.to_string(), || {
            format!("item {number} is \"{}\"", shown(item))
        })?;
    }
    Ok(())
}

fn items(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for count in [0, 1, 1000] {
        let id = child.ask(format!("items {count}"), PLENTY)?;
        let reply = child.reply_to(id)?;
        require(reply == "done", || {
            format!("the reply is \"{}\"", shown(&reply))
        })?;
        are_numbers(child.seen.items_of(id), count)?;
    }
    Ok(())
}

fn items_keep_to_credit(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    needs_credit(&child)?;
    let id = child.ask("items 5", 0)?;
    child.settle()?;
    child.listen_for(Duration::from_millis(100))?;
    let cost = u32::try_from(cost(1)).expect("is small");
    for number in 0..5 {
        require(child.seen.items_of(id).len() == number, || {
            format!("item {number} came without credit")
        })?;
        lives_on(&mut child)?;
        child.send_message("a message goes by")?;
        child.message()?;
        child.grant(id, 1);
        child.wait_for("item", |seen| seen.items_of(id).len() > number)?;
        child.grant(id, cost - 1); // exactly zero
        child.settle()?;
    }
    child.reply_to(id)?;
    are_numbers(child.seen.items_of(id), 5)
}

fn fail(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for text in ["no such file", "zu groß", "two\nlines"] {
        let id = child.ask(format!("fail {text}"), 0)?;
        let failure = child.failure_of(id)?;
        require(failure == text, || {
            format!("it failed with {failure:?}, and not with {text:?}")
        })?;
    }
    lives_on(&mut child)
}

fn panic(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for _ in 0..70 {
        let id = child.ask("panic", 0)?;
        child.failure_of(id)?;
    }
    lives_on(&mut child)
}

fn unknown_verb(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for text in ["frobnicate", "frobnicate all of it"] {
        let id = child.ask(text, 0)?;
        let failure = child.failure_of(id)?;
        require(failure.contains("frobnicate"), || {
            format!("the failure is {failure:?}")
        })?;
    }
    let id = child.ask("", 0)?;
    child.failure_of(id)?;
    lives_on(&mut child)
}

fn long_failure(context: &Context<'_>) -> Checked {
    let start = Start {
        limit: 101,
        ..context.plain()
    };
    let mut child = context.at_work_as(&start)?;
    // The text has to name this, and more than this; a character of it is on the limit.
    let id = child.ask("ä".repeat(50), 0)?;
    child.failure_of(id)?;
    lives_on(&mut child)
}

fn cancel(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let waiting = [
        child.ask("wait", 0)?,
        child.ask("wait", 0)?,
        child.ask("hold", 0)?,
    ];
    child.settle()?;
    for id in [waiting[1], waiting[2], waiting[0]] {
        child.cancel(id);
        child.end_of(id)?;
    }
    for id in [waiting[0], waiting[1]] {
        let end = child.end_of(id)?;
        require(end == End::Failure("cancelled".into()), || {
            format!("`wait` ended by {end:?}")
        })?;
    }
    // At once, before the handler can have begun.
    let id = child.ask("wait", 0)?;
    child.cancel(id);
    child.end_of(id)?;
    lives_on(&mut child)
}

fn cancel_queued(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        waiting.push(child.ask("wait", 0)?);
    }
    for id in waiting.into_iter().rev() {
        child.cancel(id);
        child.end_of(id)?;
    }
    lives_on(&mut child)
}

fn cancel_items(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    needs_credit(&child)?;
    let id = child.ask("items 10", 1)?;
    child.wait_for("item", |seen| seen.items_of(id).len() == 1)?;
    child.cancel(id);
    child.end_of(id)?;
    child.grant(id, PLENTY); // late, and ignored
    lives_on(&mut child)?;
    require(child.seen.items_of(id).len() == 1, || {
        "it sent items that were cancelled".into()
    })
}

fn cancel_in_vain(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let id = child.ask("echo x", 0)?;
    child.reply_to(id)?;
    for id in [id, 4711, 0, u64::MAX] {
        child.cancel(id);
        child.cancel(id);
    }
    lives_on(&mut child)?;
    child.settle()
}
