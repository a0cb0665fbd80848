//! The checks, in the order in which they run.

mod asks;
mod ending;
mod messages;
mod pings;
mod requests;
mod robust;
mod start;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use procession_wire::credit::{MESSAGE_LANE, REQUEST_LANE};

use crate::{
    Conformance, Fault, Transport,
    conversation::{Conversation, PLENTY},
    subject::Start,
};

pub(crate) type Checked = Result<(), Fault>;

/// The check that all others but those of the environment build upon.
pub(crate) const FIRST: &str = "hello";

/// The check whose failure tells not to wait for ready any more: a child need not say it.
pub(crate) const READY: &str = "ready";

/// The message limit where a check sets no other, in bytes.
pub(crate) const LIMIT: usize = 4 << 20;

/// Something that a child should do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) section: u8,
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) needs_hello: bool,
    pub(crate) run: fn(&Context<'_>) -> Checked,
}

/// A check of a child that says hello.
const fn check(
    section: u8,
    name: &'static str,
    what: &'static str,
    run: fn(&Context<'_>) -> Checked,
) -> Check {
    Check {
        section,
        name,
        what,
        needs_hello: true,
        run,
    }
}

pub(crate) fn all() -> impl Iterator<Item = &'static Check> {
    [
        start::CHECKS,
        messages::CHECKS,
        pings::CHECKS,
        requests::CHECKS,
        asks::CHECKS,
        ending::CHECKS,
        robust::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// What a check is given to start children with.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) conformance: &'a Conformance,
    pub(crate) transport: Transport,
    pub(crate) deadline: Instant,
    /// The child says ready, as far as known.
    pub(crate) awaits_ready: bool,
    pub(crate) log: Arc<Mutex<String>>,
}

impl Context<'_> {
    /// How a child is started where nothing is special.
    pub(crate) fn plain(&self) -> Start {
        Start {
            transport: self.transport,
            limit: LIMIT,
            lease: None,
            overrides: Vec::new(),
            log: Arc::clone(&self.log),
        }
    }

    /// A child that has not said anything yet.
    pub(crate) fn start(&self, start: &Start) -> Result<Conversation, Fault> {
        Conversation::start(self.conformance.command(), start, self.deadline)
    }

    /// A child at work, which may send nothing that needs credit.
    pub(crate) fn without_credit(&self) -> Result<Conversation, Fault> {
        self.without_credit_as(&self.plain())
    }

    pub(crate) fn without_credit_as(&self, start: &Start) -> Result<Conversation, Fault> {
        let mut child = self.start(start)?;
        child.hello()?;
        if self.awaits_ready {
            child.wait_for("ready", |seen| !seen.ready.is_empty())?;
        }
        if child.has_credit() {
            child.wait_for("credit on lanes 0 and 2^64-1", |seen| {
                seen.granted_on(MESSAGE_LANE) > 0 && seen.granted_on(REQUEST_LANE) > 0
            })?;
        }
        Ok(child)
    }

    /// A child at work, with credit for whatever it wants to send.
    pub(crate) fn at_work(&self) -> Result<Conversation, Fault> {
        self.at_work_as(&self.plain())
    }

    pub(crate) fn at_work_as(&self, start: &Start) -> Result<Conversation, Fault> {
        let mut child = self.without_credit_as(start)?;
        child.grant(MESSAGE_LANE, PLENTY);
        child.grant(REQUEST_LANE, PLENTY);
        Ok(child)
    }

    /// The time that a check may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.conformance.timeout
    }
}

/// A fault unless the condition holds.
pub(crate) fn require(condition: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if condition {
        Ok(())
    } else {
        Err(Fault::Failed(otherwise()))
    }
}

/// There is nothing to check without credit.
pub(crate) fn needs_credit(child: &Conversation) -> Checked {
    if child.has_credit() {
        Ok(())
    } else {
        Err(Fault::Skipped("it does without credit".into()))
    }
}
