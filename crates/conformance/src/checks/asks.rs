//! Requests of the child, which a verb makes it ask.

use std::time::Duration;

use bytes::Bytes;
use procession_wire::credit::{MESSAGE_LANE, REQUEST_LANE, cost};

use super::{
    Check, Checked, Context, check, messages::payload, needs_credit, requests::lives_on, require,
};
use crate::{
    Fault,
    conversation::{Conversation, PLENTY, shown},
};

pub(super) const CHECKS: &[Check] = &[
    check(
        7,
        "ask",
        "it asks the parent, and uses the reply or the failure",
        ask,
    ),
    check(
        7,
        "ask-ids",
        "its requests have ids of their own, and may be answered in any order",
        ask_ids,
    ),
    check(
        8,
        "ask-keeps-to-credit",
        "it asks nothing without credit, and answers meanwhile",
        ask_keeps_to_credit,
    ),
    check(
        8,
        "ask-grants-items",
        "it grants credit for items right after its request",
        ask_grants_items,
    ),
    check(
        7,
        "collect",
        "it takes the items of its request in order, and grants again",
        collect,
    ),
    check(
        7,
        "forget",
        "it cancels a request of its own, which still ends",
        forget,
    ),
    check(
        7,
        "same-id",
        "both sides use the same id at once, and neither minds",
        same_id,
    ),
    check(
        4,
        "reply-over-limit",
        "a reply over the limit becomes a failure, and none of it is sent",
        reply_over_limit,
    ),
    check(
        1,
        "failure-not-utf8",
        "a failure that is not UTF-8 is shown with replacement characters",
        failure_not_utf8,
    ),
];

/// The id of the child's request with this payload.
fn id_of(child: &mut Conversation, payload: &[u8]) -> Result<u64, Fault> {
    let what = format!("request \"{}\" of the child", shown(payload));
    let find = |seen: &crate::conversation::Seen| {
        let mut asks = seen.child_asks.iter();
        asks.find_map(|(id, asks)| (!asks.over && asks.payload == payload).then_some(*id))
    };
    child.wait_for(&what, |seen| find(seen).is_some())?;
    Ok(find(&child.seen).expect("was waited for"))
}

fn replies(child: &mut Conversation, id: u64, expected: &[u8]) -> Checked {
    let reply = child.reply_to(id)?;
    require(reply == expected, || {
        format!(
            "the reply is \"{}\", and not \"{}\"",
            shown(&reply),
            shown(expected)
        )
    })
}

fn ask(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for text in [b"what time is it".as_slice(), b"", b"\0\xff "] {
        let id = child.ask([b"ask ".as_slice(), text].concat(), 0)?;
        let theirs = id_of(&mut child, text)?;
        child.reply(theirs, Bytes::copy_from_slice(text));
        replies(&mut child, id, text)?;
    }
    let id = child.ask("ask in vain", 0)?;
    let theirs = id_of(&mut child, b"in vain")?;
    child.fail(theirs, "es geht nicht, größer");
    let failure = child.failure_of(id)?;
    require(failure == "es geht nicht, größer", || {
        format!("it failed with {failure:?}, and not with the text of the parent's failure")
    })?;
    lives_on(&mut child)
}

fn ask_ids(context: &Context<'_>) -> Checked {
    const COUNT: usize = 50;
    let mut child = context.at_work()?;
    let mut asked = Vec::new();
    for number in 0..COUNT {
        asked.push(child.ask(format!("ask {number}"), 0)?);
    }
    child.asked_by_child(COUNT)?;
    for number in (0..COUNT).rev() {
        let theirs = id_of(&mut child, number.to_string().as_bytes())?;
        child.reply(theirs, format!("answer {number}"));
    }
    for (number, id) in asked.into_iter().enumerate() {
        replies(&mut child, id, format!("answer {number}").as_bytes())?;
    }
    Ok(())
}

fn ask_keeps_to_credit(context: &Context<'_>) -> Checked {
    const COUNT: usize = 4;
    let mut child = context.without_credit()?;
    needs_credit(&child)?;
    child.grant(MESSAGE_LANE, PLENTY);
    let mut asked = Vec::new();
    for _ in 0..COUNT {
        asked.push(child.ask("ask me", 0)?);
    }
    child.settle()?;
    child.listen_for(Duration::from_millis(100))?;
    let cost = u32::try_from(cost(2)).expect("is small");
    for number in 0..COUNT {
        require(child.seen.child_ids.len() == number, || {
            "it asked without credit".into()
        })?;
        lives_on(&mut child)?;
        child.grant(REQUEST_LANE, 1);
        child.asked_by_child(number + 1)?;
        child.grant(REQUEST_LANE, cost - 1); // exactly zero
        child.settle()?;
    }
    for id in child.asked_by_child(COUNT)? {
        child.reply(id, "you");
    }
    for id in asked {
        replies(&mut child, id, b"you")?;
    }
    Ok(())
}

fn ask_grants_items(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    needs_credit(&child)?;
    let id = child.ask("collect some", 0)?;
    let theirs = id_of(&mut child, b"some")?;
    let what = format!("credit on lane {theirs}");
    child.wait_for(&what, |seen| seen.granted_on(theirs) > 0)?;
    child.reply(theirs, "none");
    replies(&mut child, id, b"")
}

fn collect(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let id = child.ask("collect three", 0)?;
    let theirs = id_of(&mut child, b"three")?;
    for item in ["one", "", "three"] {
        child.item(theirs, item)?;
    }
    child.reply(theirs, "dropped");
    replies(&mut child, id, b"one\n\nthree")?;

    // More than a usual window, a portion at a time.
    let id = child.ask("collect a lot", 0)?;
    let theirs = id_of(&mut child, b"a lot")?;
    let items: Vec<Bytes> = (0..350).map(|number| payload(number, 10_000)).collect();
    for item in &items {
        child.item(theirs, item.clone())?;
    }
    child.reply(theirs, "");
    replies(&mut child, id, &items.join(b"\n".as_slice()))
}

fn forget(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    for _ in 0..3 {
        let id = child.ask("forget it", 0)?;
        let theirs = id_of(&mut child, b"it")?;
        child.wait_for("cancel of its request", |seen| {
            seen.child_asks[&theirs].cancelled
        })?;
        replies(&mut child, id, b"forgotten")?;
        child.fail(theirs, "cancelled");
    }
    lives_on(&mut child)
}

fn same_id(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let asked = child.ask("collect x", 0)?;
    let theirs = id_of(&mut child, b"x")?;
    // The same number: of the first, which is open, if it can be, or of one of its own.
    let ours = theirs;
    if ours != asked {
        child.ask_as(ours, "items 3", 0)?;
    }
    child.item(theirs, "from the parent")?;
    let other = child.ask("items 3", PLENTY)?;
    child.reply_to(other)?;
    if ours != asked {
        child.grant(ours, PLENTY);
        replies(&mut child, ours, b"done")?;
    }
    child.reply(theirs, "");
    replies(&mut child, asked, b"from the parent")?;

    // A cancel of ours is not taken for one of theirs.
    let asked = child.ask("ask y", 0)?;
    let theirs = id_of(&mut child, b"y")?;
    if theirs != asked {
        child.cancel(theirs);
    }
    child.settle()?;
    child.reply(theirs, "y");
    replies(&mut child, asked, b"y")
}

fn reply_over_limit(context: &Context<'_>) -> Checked {
    let mut start = context.plain();
    start.limit = 1000;
    let mut child = context.at_work_as(&start)?;
    let id = child.ask("collect too much", 0)?;
    let theirs = id_of(&mut child, b"too much")?;
    for number in 0..3 {
        child.item(theirs, payload(number, 333))?;
    }
    child.item(theirs, "")?; // 1,002 bytes, with what joins them
    child.reply(theirs, "");
    child.failure_of(id)?;
    lives_on(&mut child)
}

fn failure_not_utf8(context: &Context<'_>) -> Checked {
    let mut child = context.at_work()?;
    let id = child.ask("ask in vain", 0)?;
    let theirs = id_of(&mut child, b"in vain")?;
    child.close(theirs);
    let mut frame = vec![0, 0, 0, 11, 3];
    frame.extend_from_slice(&theirs.to_be_bytes());
    frame.extend_from_slice(b"a\xffb");
    child.subject_mut().write(frame);
    let failure = child.failure_of(id)?;
    require(failure == "a\u{fffd}b", || {
        format!("it understood {failure:?}")
    })
}
