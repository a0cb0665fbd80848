//! A program to run: [`Cmd`] and what it is made of.

use super::identity::{Identity, Limits};
use super::options::{Options, option_verbs};
use super::{quote, validate};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use super::environment::Environment;
pub use super::identity::Resource;
pub use super::leftovers::Leftovers;
pub use super::logging::{DEFAULT_LOG_LIMIT, LogRoute, Logging};
pub use super::messaging::{Messaging, Overflow, Subscription, Transport};
pub use super::startup::{
    DEFAULT_REQUEST_DEADLINE, DEFAULT_START_DEADLINE, Liveness, Readiness, RequestOptions,
};
pub use super::stdio::{Output, Stdin};
pub use super::validate::ConfigurationError;

/// A program to run, with its arguments, its environment, and what its streams are for.
///
/// A builder in the manner of [`std::process::Command`], by value. Without messaging and logging a
/// command's three standard streams are `/dev/null`; each can be inherited or be a file, and standard
/// input also given bytes.
///
/// ```
/// use procession_manager::model::command::{Cmd, Logging, Messaging};
/// use procession_manager::Framing;
///
/// let worker = Cmd::new("worker")
///     .args(["--mode", "fast"])
///     .env("RUST_LOG", "info")
///     .messaging(Messaging::named_pipes().framing(Framing::Frames))
///     .logging(Logging::stdout_and_stderr());
///
/// // As text it is what a person would type into a shell.
/// assert_eq!(worker.to_string(), "worker --mode fast");
/// ```
///
/// A program named without a slash is looked for in the `PATH` that the child will have. No shell is
/// involved: for pipes, redirections and `&&` there is [`Script`](super::script::Script).
///
/// # Streams that two uses would share
///
/// A spawn refuses, before anything is started, a command that gives one stream two uses: messages and
/// logs both on standard output, or messages or logs on a stream that is also inherited, a file or
/// given bytes. [`ConfigurationError`] says which, and what to do.
///
/// The `Debug` form of a command hides arguments and the values of variables, which often are
/// secrets; the `Display` form shows the arguments, and [`reveal`](Self::reveal) all of the
/// command.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "super::data::CmdData", into = "super::data::CmdData")
)]
#[must_use]
pub struct Cmd {
    pub(super) program: OsString,
    pub(super) options: Options,
}

impl Cmd {
    /// A command that runs `program`, a name to be looked for in `PATH` or a path, without arguments.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            options: Options::default(),
        }
    }

    option_verbs!();

    /// The program, as given.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// A `Debug` form with everything in it: arguments and the values of variables, which its own
    /// `Debug` form hides.
    ///
    /// ```
    /// use procession_manager::Cmd;
    ///
    /// let cmd = Cmd::new("worker").arg("--key=4711").env("TOKEN", "secret");
    /// let hidden = r#"Cmd { program: "worker", args: (1 hidden), env: {"TOKEN": (hidden)} }"#;
    /// assert_eq!(format!("{cmd:?}"), hidden);
    /// let all = r#"Cmd { program: "worker", args: ["--key=4711"], env: {"TOKEN": "secret"} }"#;
    /// assert_eq!(format!("{:?}", cmd.reveal()), all);
    /// ```
    pub fn reveal(&self) -> impl fmt::Debug + '_ {
        fmt::from_fn(|f| self.debug(f, true))
    }

    fn debug(&self, f: &mut fmt::Formatter<'_>, reveal: bool) -> fmt::Result {
        let mut out = f.debug_struct("Cmd");
        out.field("program", &self.program);
        self.options.debug(&mut out, reveal);
        out.finish()
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.options.identity
    }

    pub(crate) fn hook(&self) -> Option<&crate::logs::LogHook> {
        self.options.log_hook.as_ref()
    }

    pub(crate) fn handler(&self) -> Option<&crate::messaging::answering::RequestHandler> {
        self.options.handler.as_ref()
    }

    pub(crate) fn health(&self) -> Option<&crate::HealthCheck> {
        self.options.health_check.as_ref()
    }

    pub(crate) fn limits_to_set(&self) -> &Limits {
        &self.options.limits
    }

    /// Refuses what cannot work, before anything is made for it.
    pub(crate) fn validate(&self) -> Result<(), ConfigurationError> {
        validate::check(self)
    }
}

/// The program and its arguments, quoted as for a shell, on one line. Variables are not shown: they
/// often hold secrets.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = self.options.args.iter().map(OsString::as_os_str);
        quote::command_line(f, &self.program, args)
    }
}

/// Hides what often holds secrets: arguments and the values of variables. [`reveal`](Cmd::reveal)
/// shows them.
impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug(f, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_seen_by_its_accessor() {
        let cmd = Cmd::new("worker")
            .arg("-a")
            .args(["-b", "-c"])
            .env("A", "1")
            .envs([("B", "2"), ("C", "3")])
            .env_remove("B")
            .current_dir("/tmp")
            .messaging(Messaging::named_pipes())
            .logging(Logging::stdout())
            .timeout(Duration::from_secs(3))
            .leftovers(Leftovers::Leave)
            .stdin(Stdin::Inherit)
            .stdout(Output::Inherit)
            .stderr(Output::File("/dev/full".into()))
            .user(1000)
            .group(1001)
            .groups([4, 24])
            .umask(0o027)
            .nice(-5)
            .limit(Resource::OpenFiles, 64)
            .limit(Resource::CpuSeconds, 1)
            .limit(Resource::CpuSeconds, 2);
        assert_eq!(cmd.user_id(), Some(1000));
        assert_eq!(cmd.group_id(), Some(1001));
        assert_eq!(cmd.supplementary_groups(), Some(&[4, 24][..]));
        assert_eq!(cmd.file_mode_mask(), Some(0o027));
        assert_eq!(cmd.niceness(), Some(-5));
        let limits: Vec<_> = cmd.limits().collect();
        assert_eq!(
            limits,
            [(Resource::CpuSeconds, 2), (Resource::OpenFiles, 64)]
        );
        assert_eq!(cmd.program(), "worker");
        assert_eq!(cmd.arguments(), ["-a", "-b", "-c"]);
        let changes: Vec<_> = cmd.environment().changes().collect();
        let expected = [("A", Some("1")), ("B", None), ("C", Some("3"))]
            .map(|(name, value)| (OsStr::new(name), value.map(OsStr::new)));
        assert_eq!(changes, expected);
        assert_eq!(cmd.working_directory(), Some(Path::new("/tmp")));
        assert_eq!(cmd.messaging_options(), Some(&Messaging::named_pipes()));
        assert_eq!(cmd.logging_options(), Some(Logging::stdout()));
        assert_eq!(cmd.time_limit(), Some(Duration::from_secs(3)));
        assert_eq!(cmd.leftovers_policy(), Leftovers::Leave);
        assert_eq!(cmd.stdin_source(), &Stdin::Inherit);
        assert_eq!(cmd.stdout_target(), &Output::Inherit);
        assert_eq!(cmd.stderr_target(), &Output::File("/dev/full".into()));
        assert!(cmd.env_clear().environment().is_cleared());
    }

    #[test]
    fn without_verbs_it_inherits_and_connects_nothing_else() {
        let cmd = Cmd::new("worker");
        assert!(cmd.arguments().is_empty());
        assert_eq!(cmd.environment(), &Environment::default());
        assert_eq!(cmd.working_directory(), None);
        assert_eq!(cmd.messaging_options(), None);
        assert_eq!(cmd.logging_options(), None);
        assert_eq!(cmd.time_limit(), None);
        assert_eq!(cmd.leftovers_policy(), Leftovers::Kill);
        assert_eq!(cmd.stdin_source(), &Stdin::Null);
        assert_eq!(cmd.stdout_target(), &Output::Null);
        assert_eq!(cmd.stderr_target(), &Output::Null);
        assert!(cmd.identity().is_inherited());
        assert_eq!(cmd.supplementary_groups(), None);
        assert_eq!(cmd.limits().count(), 0);
    }

    #[test]
    fn another_user_has_no_groups_but_those_that_it_is_given() {
        let groups = |cmd: &Cmd| cmd.identity().groups_to_set().map(<[u32]>::to_vec);
        assert_eq!(groups(&Cmd::new("worker").group(5)), None);
        assert_eq!(groups(&Cmd::new("worker").user(5)), Some(vec![]));
        assert_eq!(
            groups(&Cmd::new("worker").user(5).groups([7])),
            Some(vec![7])
        );
        assert_eq!(groups(&Cmd::new("worker").groups([])), Some(vec![]));
    }

    #[test]
    fn debug_shows_what_was_set_and_nothing_else() {
        assert_eq!(
            format!("{:?}", Cmd::new("worker")),
            r#"Cmd { program: "worker" }"#
        );
        let cmd = Cmd::new("worker")
            .arg("-a")
            .env("A", "1")
            .current_dir("/tmp")
            .logging(Logging::stderr())
            .stdin(Stdin::Bytes("abc".into()))
            .stdout(Output::Inherit)
            .user(1000)
            .umask(0o27)
            .limit(Resource::CoreSize, 0);
        assert_eq!(
            format!("{cmd:?}"),
            r#"Cmd { program: "worker", args: (1 hidden), env: {"A": (hidden)}, current_dir: "/tmp", logging: stderr, stdin: Bytes(3 bytes), stdout: Inherit, user: 1000, umask: 0o027, limits: {CoreSize: 0} }"#
        );
        assert_eq!(
            format!("{:?}", cmd.reveal()),
            r#"Cmd { program: "worker", args: ["-a"], env: {"A": "1"}, current_dir: "/tmp", logging: stderr, stdin: Bytes(3 bytes), stdout: Inherit, user: 1000, umask: 0o027, limits: {CoreSize: 0} }"#
        );
    }

    #[test]
    fn display_keeps_variables_to_itself() {
        let cmd = Cmd::new("worker").env("TOKEN", "secret").arg("a b");
        assert_eq!(cmd.to_string(), "worker 'a b'");
    }
}
