//! What a command and a script have in common: everything but what is run.
//!
//! `Options` holds it and `option_verbs!` gives both types the same builder verbs and accessors over
//! it, so that no verb can exist on one of them only.

use super::command::{Environment, Logging, Messaging, Output, Stdin};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) args: Vec<OsString>,
    pub(super) environment: Environment,
    pub(super) current_dir: Option<PathBuf>,
    pub(super) messaging: Option<Messaging>,
    pub(super) logging: Option<Logging>,
    pub(super) stdin: Stdin,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

impl Options {
    /// Adds the fields that differ from their defaults.
    pub(super) fn debug(&self, out: &mut fmt::DebugStruct<'_, '_>) {
        if !self.args.is_empty() {
            out.field("args", &self.args);
        }
        if !self.environment.is_unchanged() {
            out.field("env", &self.environment);
        }
        if let Some(current_dir) = &self.current_dir {
            out.field("current_dir", current_dir);
        }
        if let Some(messaging) = &self.messaging {
            out.field("messaging", messaging);
        }
        if let Some(logging) = &self.logging {
            out.field("logging", &format_args!("{logging}"));
        }
        if self.stdin != Stdin::Null {
            out.field("stdin", &self.stdin);
        }
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if *output != Output::Null {
                out.field(name, output);
            }
        }
    }
}

/// The builder verbs and accessors of a type that has `options: Options`.
macro_rules! option_verbs {
    () => {
        /// Adds one argument. It reaches the program as it is: no shell splits it or expands it.
        pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
            self.options.args.push(arg.into());
            self
        }

        /// Adds several arguments.
        pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
            self.options.args.extend(args.into_iter().map(Into::into));
            self
        }

        /// Sets a variable of the child's environment, over one that it would inherit.
        ///
        /// The variables in which Procession tells a child about its pipes and its directory
        /// (`PROCESS_DATA_DIR`, `INPUT_PIPE` and so on) cannot be set: the spawn refuses them.
        pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
            self.options.environment.set(name.into(), value.into());
            self
        }

        /// Sets several variables of the child's environment.
        pub fn envs<N: Into<OsString>, V: Into<OsString>>(
            mut self,
            variables: impl IntoIterator<Item = (N, V)>,
        ) -> Self {
            for (name, value) in variables {
                self.options.environment.set(name.into(), value.into());
            }
            self
        }

        /// Removes a variable from the child's environment, set here or inherited.
        pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
            self.options.environment.remove(name.into());
            self
        }

        /// Removes everything from the child's environment, set before this call or inherited. What
        /// is set after it stays.
        pub fn env_clear(mut self) -> Self {
            self.options.environment.clear();
            self
        }

        /// The directory that the child starts in. The default is the parent's own.
        pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
            self.options.current_dir = Some(dir.into());
            self
        }

        /// Turns messages on: how they travel, and how many may wait.
        pub fn messaging(mut self, messaging: Messaging) -> Self {
            self.options.messaging = Some(messaging);
            self
        }

        /// Turns logging on: which output streams are kept.
        pub fn logging(mut self, logging: Logging) -> Self {
            self.options.logging = Some(logging);
            self
        }

        /// What standard input is, where messages do not use it.
        pub fn stdin(mut self, stdin: Stdin) -> Self {
            self.options.stdin = stdin;
            self
        }

        /// What standard output is, where neither messages nor logs use it.
        pub fn stdout(mut self, stdout: Output) -> Self {
            self.options.stdout = stdout;
            self
        }

        /// What standard error is, where logs do not use it.
        pub fn stderr(mut self, stderr: Output) -> Self {
            self.options.stderr = stderr;
            self
        }

        /// The arguments given with [`arg`](Self::arg) and [`args`](Self::args), in order.
        pub fn arguments(&self) -> &[OsString] {
            &self.options.args
        }

        /// The changes to the environment.
        pub fn environment(&self) -> &Environment {
            &self.options.environment
        }

        /// The directory given with [`current_dir`](Self::current_dir).
        pub fn working_directory(&self) -> Option<&Path> {
            self.options.current_dir.as_deref()
        }

        /// The messaging given with [`messaging`](Self::messaging).
        pub fn messaging_options(&self) -> Option<&Messaging> {
            self.options.messaging.as_ref()
        }

        /// The logging given with [`logging`](Self::logging).
        pub fn logging_options(&self) -> Option<Logging> {
            self.options.logging
        }

        /// What was given with [`stdin`](Self::stdin), or its default.
        pub fn stdin_source(&self) -> &Stdin {
            &self.options.stdin
        }

        /// What was given with [`stdout`](Self::stdout), or its default.
        pub fn stdout_target(&self) -> &Output {
            &self.options.stdout
        }

        /// What was given with [`stderr`](Self::stderr), or its default.
        pub fn stderr_target(&self) -> &Output {
            &self.options.stderr
        }
    };
}

pub(super) use option_verbs;
