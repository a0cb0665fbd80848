//! Descriptions as data: the shapes that commands and scripts have under `serde`.
//!
//! Commands and scripts are flat: what they have in common stands beside what each has of its own, in
//! two private twins that a macro keeps alike. No part of it is `untagged` or flattened by serde: both
//! make serde read everything into a buffer first, and an error then has no line any more. Every field
//! is always written, so that formats which drop the names of fields can read it back.

use super::command::{Cmd, Environment, Leftovers, Logging, Messaging, Output, Stdin};
use super::group::GroupProcess;
use super::identity::{Identity, Limits};
use super::options::Options;
use super::script::{Script, ScriptingLanguage};
use super::startup::{Readiness, StartDeadline};
use crate::supervision::{MemberKind, Supervision};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use values::{Variables, millis_or_none, optional_text, variables};

pub(crate) use values::millis;
pub(super) use values::{blob, framing, milliseconds, or_none, text, texts};

pub(super) mod processes;
mod values;

/// The twin of a type that has `options: Options` and the fields named here.
macro_rules! flat_twin {
    ($twin:ident of $type:ident, $name:literal { $($(#[$meta:meta])* $field:ident: $kind:ty,)* }) => {
        #[derive(Serialize, Deserialize)]
        #[serde(rename = $name, deny_unknown_fields)]
        pub(super) struct $twin {
            $($(#[$meta])* $field: $kind,)*
            #[serde(default, with = "texts")]
            args: Vec<OsString>,
            #[serde(default, with = "variables")]
            env: Variables,
            #[serde(default, with = "texts")]
            env_remove: Vec<OsString>,
            #[serde(default)]
            env_clear: bool,
            #[serde(default, with = "optional_text")]
            current_dir: Option<PathBuf>,
            #[serde(default)]
            messaging: Option<Messaging>,
            #[serde(default)]
            logging: Option<Logging>,
            #[serde(default)]
            ready_when: Option<Readiness>,
            #[serde(default = "default_start", with = "millis_or_none")]
            start_deadline_ms: Option<Duration>,
            #[serde(default)]
            supervised: Option<Supervision>,
            #[serde(default, with = "milliseconds")]
            timeout_ms: Option<Duration>,
            #[serde(default)]
            leftovers: Leftovers,
            #[serde(default)]
            stdin: Stdin,
            #[serde(default)]
            stdout: Output,
            #[serde(default)]
            stderr: Output,
            #[serde(default)]
            user: Option<u32>,
            #[serde(default)]
            group: Option<u32>,
            #[serde(default)]
            groups: Option<Vec<u32>>,
            #[serde(default)]
            umask: Option<u32>,
            #[serde(default)]
            nice: Option<i32>,
            #[serde(default)]
            limits: Limits,
        }

        impl From<$type> for $twin {
            fn from(value: $type) -> Self {
                let options = value.options;
                let (env, env_remove) = split(&options.environment);
                Self {
                    $($field: value.$field,)*
                    args: options.args,
                    env,
                    env_remove,
                    env_clear: options.environment.is_cleared(),
                    current_dir: options.current_dir,
                    messaging: options.messaging,
                    logging: options.logging,
                    ready_when: options.readiness,
                    start_deadline_ms: options.start_deadline.0,
                    supervised: options.supervision,
                    timeout_ms: options.timeout,
                    leftovers: options.leftovers,
                    stdin: options.stdin,
                    stdout: options.stdout,
                    stderr: options.stderr,
                    user: options.identity.user,
                    group: options.identity.group,
                    groups: options.identity.groups,
                    umask: options.identity.umask,
                    nice: options.identity.nice,
                    limits: options.limits,
                }
            }
        }

        impl From<$twin> for $type {
            fn from(twin: $twin) -> Self {
                Self {
                    $($field: twin.$field,)*
                    options: Options {
                        args: twin.args,
                        environment: join(twin.env, twin.env_remove, twin.env_clear),
                        current_dir: twin.current_dir,
                        messaging: twin.messaging,
                        logging: twin.logging,
                        log_hook: None,
                        handler: None,
                        readiness: twin.ready_when,
                        start_deadline: StartDeadline(twin.start_deadline_ms),
                        supervision: twin.supervised,
                        health_check: None,
                        timeout: twin.timeout_ms,
                        leftovers: twin.leftovers,
                        stdin: twin.stdin,
                        stdout: twin.stdout,
                        stderr: twin.stderr,
                        identity: Identity {
                            user: twin.user,
                            group: twin.group,
                            groups: twin.groups,
                            umask: twin.umask,
                            nice: twin.nice,
                        },
                        limits: twin.limits,
                    },
                }
            }
        }
    };
}

flat_twin!(CmdData of Cmd, "Cmd" {
    #[serde(with = "text")]
    program: OsString,
});

flat_twin!(ScriptData of Script, "Script" {
    language: ScriptingLanguage,
    content: String,
});

/// A process of a group, flat.
struct FlatProcess {
    program: OsString,
    needs: Vec<String>,
    kind: MemberKind,
    options: Options,
}

flat_twin!(GroupProcessData of FlatProcess, "GroupProcess" {
    #[serde(with = "text")]
    program: OsString,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    kind: MemberKind,
});

impl From<GroupProcess> for GroupProcessData {
    fn from(process: GroupProcess) -> Self {
        let Cmd { program, options } = process.cmd;
        Self::from(FlatProcess {
            program,
            needs: process.needs,
            kind: process.kind,
            options,
        })
    }
}

impl From<GroupProcessData> for GroupProcess {
    fn from(data: GroupProcessData) -> Self {
        let flat = FlatProcess::from(data);
        let (program, options) = (flat.program, flat.options);
        Self {
            cmd: Cmd { program, options },
            needs: flat.needs,
            kind: flat.kind,
        }
    }
}

fn split(environment: &Environment) -> (Variables, Vec<OsString>) {
    let mut set = Variables::new();
    let mut removed = Vec::new();
    for (name, value) in environment.changes() {
        match value {
            Some(value) => {
                set.insert(name.into(), value.into());
            }
            None => removed.push(name.into()),
        }
    }
    (set, removed)
}

fn default_start() -> Option<Duration> {
    StartDeadline::default().0
}

/// A name that is both set and removed is removed.
fn join(set: Variables, removed: Vec<OsString>, cleared: bool) -> Environment {
    let mut environment = Environment::default();
    if cleared {
        environment.clear();
    }
    for (name, value) in set {
        environment.set(name, value);
    }
    for name in removed {
        environment.remove(name);
    }
    environment
}

#[cfg(test)]
mod tests;
