//! The environment, hello, the first grants, ready.

use procession_wire::{
    Features, PROTOCOL_VERSION,
    credit::{MESSAGE_LANE, REQUEST_LANE},
    env,
};

use super::{Check, Checked, Context, FIRST, READY, check, require};
use crate::{Fault, Transport, subject::Exit};

pub(super) const CHECKS: &[Check] = &[
    Check {
        needs_hello: false,
        ..check(
            2,
            "major-version",
            "it refuses to start with frames of another major version",
            major_version,
        )
    },
    Check {
        needs_hello: false,
        ..check(
            2,
            "environment",
            "it refuses an environment that makes no sense",
            environment,
        )
    },
    Check {
        needs_hello: false,
        ..check(
            5,
            FIRST,
            "hello is its first frame, of version 1, with credit and a pid",
            hello,
        )
    },
    check(
        8,
        "first-grants",
        "it grants credit for messages and for requests right after hello",
        first_grants,
    ),
    check(
        6,
        READY,
        "after its first grants it says that it is ready, `at work`",
        ready,
    ),
];

fn major_version(context: &Context<'_>) -> Checked {
    refuses(context, env::MESSAGE_FRAMING, Some("frames/2"))
}

fn environment(context: &Context<'_>) -> Checked {
    let mut cases = vec![
        (env::MESSAGE_FRAMING, None),
        (env::MESSAGE_FRAMING, Some("Frames/1")),
        (env::MESSAGE_LIMIT, None),
        (env::MESSAGE_LIMIT, Some("")),
        (env::MESSAGE_LIMIT, Some("+1024")),
        (env::MESSAGE_LIMIT, Some("4294966272")),
        (env::MESSAGE_INPUT, Some("stdout")),
        (env::MESSAGE_OUTPUT, None),
        (env::MESSAGE_LEASE, Some("0")),
        (env::PROCESS_DATA_DIR, Some("run/app")),
    ];
    if context.transport == Transport::Pipes {
        cases.push((env::INPUT_PIPE, None));
        cases.push((env::OUTPUT_PIPE, Some("output")));
    }
    for (variable, value) in cases {
        refuses(context, variable, value)?;
    }
    Ok(())
}

/// The child exits with an error and without a word on its output.
fn refuses(context: &Context<'_>, variable: &'static str, value: Option<&'static str>) -> Checked {
    let shown = value.map_or(format!("without {variable}"), |value| {
        format!("with {variable}={value}")
    });
    let mut start = context.plain();
    start.overrides.push((variable, value));
    let mut child = context.start(&start)?;
    let said = child.wait_for("end of the output", |seen| {
        seen.hello.is_some() || seen.ended.is_some()
    });
    require(child.seen.hello.is_none(), || {
        format!("{shown} it said hello")
    })?;
    said.map_err(|fault| match fault {
        Fault::Failed(why) => Fault::Failed(format!("{shown}: {why}")),
        skipped @ Fault::Skipped(_) => skipped,
    })?;
    match child.exits()? {
        Exit::Code(0) => Err(Fault::failed(format!("{shown} it exited with 0"))),
        Exit::Code(_) => Ok(()),
        Exit::Signal(signal) => Err(Fault::failed(format!(
            "{shown} it was ended by signal {signal}"
        ))),
    }
}

fn hello(context: &Context<'_>) -> Checked {
    let mut child = context.start(&context.plain())?;
    let hello = child.hello()?;
    require(hello.version >> 8 == PROTOCOL_VERSION >> 8, || {
        format!("the version is {:#06x}", hello.version)
    })?;
    require(hello.features.contains(Features::CREDIT), || {
        format!(
            "the features are {:#x}, without credit",
            hello.features.bits()
        )
    })?;
    require(hello.pid != 0, || "the pid is 0".into())
}

fn first_grants(context: &Context<'_>) -> Checked {
    let mut child = context.start(&context.plain())?;
    child.hello()?;
    super::needs_credit(&child)?;
    for lane in [MESSAGE_LANE, REQUEST_LANE] {
        let what = format!("credit on lane {lane}");
        child.wait_for(&what, |seen| seen.granted_on(lane) > 0)?;
    }
    Ok(())
}

fn ready(context: &Context<'_>) -> Checked {
    let mut child = context.start(&context.plain())?;
    child.wait_for("ready", |seen| !seen.ready.is_empty())?;
    let status = &child.seen.ready[0];
    require(status == "at work", || format!("the status is {status:?}"))?;
    for lane in [MESSAGE_LANE, REQUEST_LANE] {
        require(
            !child.has_credit() || child.seen.granted_on(lane) > 0,
            || format!("there was no credit on lane {lane} before it"),
        )?;
    }
    Ok(())
}
