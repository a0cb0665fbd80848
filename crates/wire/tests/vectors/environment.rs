//! Tables `environment` and `tree`.

use std::{ffi::OsString, time::Duration};

use procession_wire::{
    Channel, ChildEnvironment, EnvironmentErrorKind, MessagingEnvironment, TreeTag,
};

use crate::document::{Vector, number};

pub(crate) fn check(vector: &Vector) {
    vector.has_only(&[
        "set",
        "write",
        "data-dir",
        "messaging",
        "framing",
        "limit",
        "input",
        "output",
        "lease",
        "error",
    ]);
    let mut variables: Vec<(&str, OsString)> = vector
        .all("set")
        .map(|line| {
            line.split_once('=')
                .unwrap_or_else(|| panic!("{line:?}: {vector}"))
        })
        .map(|(name, value)| (name, value.into()))
        .collect();
    let read = ChildEnvironment::read(|name| {
        variables
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.clone())
    });
    match (read, vector.get("error")) {
        (Ok(environment), None) => {
            assert_eq!(environment, expected(vector), "{vector}");
            if vector.is_written() {
                let mut written = environment.write();
                written.sort_unstable();
                variables.sort_unstable();
                assert_eq!(written, variables, "{vector}");
            }
        }
        (Err(error), Some(expected)) => {
            let kind = match error.kind() {
                EnvironmentErrorKind::Missing => "missing",
                EnvironmentErrorKind::NotAbsolute { .. } => "not-absolute",
                EnvironmentErrorKind::Invalid { .. } => "invalid",
                other => panic!("the page does not know {other:?}"),
            };
            assert_eq!(format!("{} {kind}", error.variable()), expected, "{vector}");
            assert_tells(vector, &error, &variables);
        }
        (read, expected) => panic!("{read:?} where {expected:?} was expected: {vector}"),
    }
}

/// The text names the variable, its value, and what to look for.
fn assert_tells(
    vector: &Vector,
    error: &procession_wire::EnvironmentError,
    variables: &[(&str, OsString)],
) {
    let text = error.to_string();
    assert!(text.starts_with(error.variable()), "{text}: {vector}");
    assert!(
        text.contains("started by a Procession parent?"),
        "{text}: {vector}"
    );
    if let Some((_, value)) = variables.iter().find(|(key, _)| *key == error.variable()) {
        assert!(
            text.contains(&format!("\"{}\"", value.display())),
            "{text}: {vector}"
        );
    } else {
        assert!(text.contains("is not set"), "{text}: {vector}");
    }
}

fn expected(vector: &Vector) -> ChildEnvironment {
    let environment = ChildEnvironment::new(vector.require("data-dir"));
    if vector.get("messaging") == Some("none") {
        return environment;
    }
    let framing = vector.require("framing").parse().expect("a framing");
    let limit = number(vector.require("limit"));
    let input = channel(vector.require("input"));
    let output = channel(vector.require("output"));
    let mut messaging = MessagingEnvironment::new(framing, limit, input, output);
    if let Some(lease) = vector.get("lease").filter(|lease| *lease != "none") {
        messaging = messaging.with_lease(Duration::from_millis(number(lease)));
    }
    environment.with_messaging(messaging)
}

fn channel(text: &str) -> Channel {
    match (text, text.strip_prefix("pipe ")) {
        ("none", _) => Channel::None,
        ("stdio", _) => Channel::Stdio,
        (_, Some(path)) => Channel::Pipe(path.into()),
        _ => panic!("unknown channel {text:?}"),
    }
}

pub(crate) fn check_tree(vector: &Vector) {
    vector.has_only(&["inherited", "manager", "process", "run", "value"]);
    let (manager, process) = (vector.require("manager"), vector.require("process"));
    let inherited = vector.get("inherited").map(OsString::from);
    let run = number(vector.require("run"));
    let value = TreeTag::append(inherited.as_deref(), manager, process, run);
    assert_eq!(value, vector.require("value"), "{vector}");
    let entry = TreeTag::new(manager, process, run).to_string();
    assert!(vector.require("value").ends_with(&entry), "{vector}");
}
