//! What is refused before anything is made for a command: every mistake that can be seen in the
//! command alone.
//!
//! The order is fixed: the words (program, arguments, variables, directory, files), then the
//! messaging, then who uses which stream, then who the child runs as. The first mistake found is the one reported.

use super::command::{Cmd, Logging, Messaging, Output, Stdin, Transport};
use super::identity::{Identity, Resource};
use super::quote::Quoted;
use super::startup::Readiness;
use crate::logs::LogStream;
use crate::supervision::Supervision;
use procession_wire::{Escaped, Framing, MAX_MESSAGE_LIMIT, env};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

/// Why a command was refused before anything was started. Its text names the setting and says what to
/// do about it.
///
/// ```
/// use procession_manager::model::command::{Cmd, ConfigurationError, Logging, Messaging};
///
/// // Spawning this fails ...
/// let cmd = Cmd::new("worker")
///     .messaging(Messaging::standard_io())
///     .logging(Logging::stdout());
/// // ... with this:
/// let error = ConfigurationError::MessagesAndLogsOnStdout { logging: Logging::stdout() };
/// assert!(error.to_string().contains("Logging::stderr()"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// The program is the empty string.
    #[error("the program is an empty string: give its name or its path")]
    EmptyProgram,
    /// A word that the system is to be given holds a NUL byte, which ends every word there.
    #[error(
        "{} holds a NUL byte, which cannot be passed to a program: remove it",
        Escaped::new(what)
    )]
    NulByte {
        /// What holds it, such as `argument 2` and the argument, quoted.
        what: String,
    },
    /// The name of a variable is empty or holds a `=`.
    #[error(
        "{:?} cannot be the name of an environment variable: it must not be empty and not hold `=`",
        Escaped::new(name)
    )]
    InvalidVariableName {
        /// The name.
        name: OsString,
    },
    /// A variable was set that belongs to Procession.
    #[error(
        "the environment variable {name} is set by Procession itself: do not set it, or use another name"
    )]
    ReservedVariable {
        /// Its name.
        name: &'static str,
    },
    /// Messaging is on, with both directions off.
    #[error(
        "messaging has neither input nor output: turn a direction on, or leave `messaging(..)` out"
    )]
    NoDirection,
    /// A size in [`Messaging`] is 0.
    #[error("`{setting}` of the messaging is 0: it must be at least 1")]
    ZeroSize {
        /// The name of the setting.
        setting: &'static str,
    },
    /// A limit of 0 under which no program could even begin.
    #[error(
        "with a limit of 0 on {resource:?} ({}) no program can begin: give it at least 1, or leave it out",
        resource.name()
    )]
    ZeroLimit {
        /// The resource that is limited.
        resource: Resource,
    },
    /// More bytes before hello are to be skipped than are kept until it comes.
    #[error("`skip_before_hello({bytes})` is too much: it must be at most {MAX_SKIP} bytes")]
    SkipTooLarge {
        /// The number of bytes that was asked for.
        bytes: usize,
    },
    /// The message limit is over what a frame can hold.
    #[error("a message limit of {limit} bytes is too large: it must be at most {largest}")]
    MessageLimitTooLarge {
        /// What was asked for, in bytes.
        limit: usize,
        /// The largest that is possible, in bytes.
        largest: usize,
    },
    /// Bytes before hello are to be skipped where no hello comes.
    #[error(
        "`skip_before_hello` has a meaning only for frames from the child: use `framing(Framing::Frames)` with the child's output on, or leave it out"
    )]
    NoHelloToSkipTo,
    /// Pings, a lease or requests are asked for where there are no frames both ways.
    #[error(
        "`{setting}` needs frames both ways: use `framing(Framing::Frames)` with input and output on, or leave it out"
    )]
    NeedsFrames {
        /// The name of the setting.
        setting: &'static str,
    },
    /// A time is too short to be kept to.
    #[error("`{setting}` is too short: give it at least {least_ms} ms")]
    TooShort {
        /// The name of the setting.
        setting: &'static str,
        /// The least that is possible, in milliseconds.
        least_ms: u64,
    },
    /// A oneshot of a group would be started again whenever it has ended.
    #[error(
        "a oneshot that is always restarted never comes to its end: use RestartPolicy::OnFailure or Never, or make it a service"
    )]
    OneshotWithoutEnd,
    /// A health check of a process that is not supervised.
    #[error("a health check restarts what is not well: add `supervised(..)`, or leave it out")]
    HealthWithoutSupervision,
    /// A health check by a request to a process that cannot be asked.
    #[error(
        "a health check by a request needs a Messaging with Framing::Frames, input and output: add it, or check by a function"
    )]
    HealthWithoutFrames,
    /// The process is to be ready by something that it cannot show.
    #[error(
        "it can never be ready by {}: {}",
        Escaped::new(readiness),
        Escaped::new(remedy)
    )]
    NeverReady {
        /// What it is waited for.
        readiness: String,
        /// What to do about it.
        remedy: String,
    },
    /// Standard output is to carry messages and to be logged.
    #[error(
        "messages and logs (Logging::{logging}()) both use stdout: log with Logging::stderr(), or move the messages to Messaging::named_pipes()"
    )]
    MessagesAndLogsOnStdout {
        /// The logging that was asked for.
        logging: Logging,
    },
    /// A stream that carries messages was given another use.
    #[error(
        "messages use {stream}, and `{stream}(..)` gives it another use: leave `{stream}(..)` out, or move the messages to Messaging::named_pipes()"
    )]
    MessagesAndOther {
        /// `stdin` or `stdout`.
        stream: &'static str,
    },
    /// A stream that is logged was given another use.
    #[error(
        "logging uses {stream}, and `{stream}(..)` gives it another use: leave `{stream}(..)` out, or do not log {stream}"
    )]
    LogsAndOther {
        /// `stdout` or `stderr`.
        stream: &'static str,
    },
    /// The number of a user or group is the one that stands for no number.
    #[error("`{setting}({number})`: no user and no group has this number, which stands for none")]
    InvalidIdentity {
        /// `user`, `group` or `groups`.
        setting: &'static str,
        /// The number.
        number: u32,
    },
    /// More supplementary groups than the system can set.
    #[error("{count} supplementary groups are too many: there can be {MAX_GROUPS}")]
    TooManyGroups {
        /// How many were given.
        count: usize,
    },
    /// A umask with more than the nine permission bits.
    #[error(
        "the umask {umask:#o} has more than the nine permission bits: it must be at most 0o777"
    )]
    InvalidUmask {
        /// What was given.
        umask: u32,
    },
    /// A niceness out of range.
    #[error("a niceness of {nice} is out of range: it must be from -20 to 19")]
    InvalidNice {
        /// What was given.
        nice: i32,
    },
}

/// The most that [`Messaging::skip_before_hello`] can skip: 1 MiB. It is held in memory until the
/// hello comes.
const MAX_SKIP: usize = 1024 * 1024;

/// `NGROUPS_MAX` of the kernel, `setgroups(2)`.
const MAX_GROUPS: usize = 65_536;

/// A shorter one than this would be missed for the load of the machine alone.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);
/// So that three pings fit into it.
const LEAST_LEASE: Duration = Duration::from_millis(30);
/// A shorter time is over before anything can have happened in it.
const LEAST_TIME: Duration = Duration::from_millis(1);

type Check = Result<(), ConfigurationError>;

pub(super) fn check(cmd: &Cmd) -> Check {
    let options = &cmd.options;
    check_words(cmd)?;
    if let Some(messaging) = &options.messaging {
        check_messaging(messaging)?;
    }
    check_streams(cmd)?;
    check_start(cmd)?;
    check_supervision(cmd)?;
    check_times(cmd)?;
    check_identity(&options.identity)
}

/// Times that would end each run as it begins, and limits that let none begin.
fn check_times(cmd: &Cmd) -> Check {
    for (setting, time) in [
        ("timeout", cmd.time_limit()),
        ("start_deadline", cmd.start_time_limit()),
    ] {
        time.map_or(Ok(()), |time| at_least(setting, time, LEAST_TIME))?;
    }
    let limits = &cmd.options.limits;
    for resource in [Resource::CpuSeconds, Resource::AddressSpace] {
        if limits.get(&resource) == Some(&0) {
            return Err(ConfigurationError::ZeroLimit { resource });
        }
    }
    Ok(())
}

fn check_supervision(cmd: &Cmd) -> Check {
    check_health(cmd)?;
    match cmd.supervision().map(Supervision::intensity_rule) {
        // Only what is restarted within the period counts: within none, nothing would be too often.
        Some(rule) if rule.restarts() > 0 => at_least("intensity", rule.period(), LEAST_TIME),
        _ => Ok(()),
    }
}

fn check_health(cmd: &Cmd) -> Check {
    let Some(health) = &cmd.options.health_check else {
        return Ok(());
    };
    if cmd.options.supervision.is_none() {
        return Err(ConfigurationError::HealthWithoutSupervision);
    }
    let messaging = cmd.options.messaging.as_ref();
    if health.asks() && !messaging.is_some_and(Messaging::takes_requests) {
        return Err(ConfigurationError::HealthWithoutFrames);
    }
    at_least("health_check", health.interval(), LEAST_INTERVAL)?;
    at_least("time_limit", health.limit(), LEAST_TIME)
}

fn check_identity(identity: &Identity) -> Check {
    let groups = identity.groups.as_deref().unwrap_or_default();
    let one = |setting, number: &Option<u32>| number.map(|number| (setting, number));
    let mut numbers = one("user", &identity.user)
        .into_iter()
        .chain(one("group", &identity.group))
        .chain(groups.iter().map(|number| ("groups", *number)));
    // setresuid(2): -1 leaves an id as it is.
    if let Some((setting, number)) = numbers.find(|(_, number)| *number == u32::MAX) {
        return Err(ConfigurationError::InvalidIdentity { setting, number });
    }
    if groups.len() > MAX_GROUPS {
        let count = groups.len();
        return Err(ConfigurationError::TooManyGroups { count });
    }
    match identity {
        Identity {
            umask: Some(umask), ..
        } if *umask > 0o777 => Err(ConfigurationError::InvalidUmask { umask: *umask }),
        Identity {
            nice: Some(nice), ..
        } if !(-20..=19).contains(nice) => Err(ConfigurationError::InvalidNice { nice: *nice }),
        _ => Ok(()),
    }
}

fn check_words(cmd: &Cmd) -> Check {
    if cmd.program.is_empty() {
        return Err(ConfigurationError::EmptyProgram);
    }
    no_nul(&cmd.program, || "the program".into())?;
    for (index, arg) in cmd.options.args.iter().enumerate() {
        no_nul(arg, || format!("argument {} ({})", index + 1, Quoted(arg)))?;
    }
    for (name, value) in cmd.environment().changes() {
        check_variable(name, value)?;
    }
    if let Some(dir) = cmd.working_directory() {
        no_nul(dir.as_os_str(), || "the current directory".into())?;
    }
    if let Stdin::File(path) = cmd.stdin_source() {
        no_nul(path.as_os_str(), || "the file for stdin".into())?;
    }
    for (stream, output) in [
        ("stdout", cmd.stdout_target()),
        ("stderr", cmd.stderr_target()),
    ] {
        if let Output::File(path) = output {
            no_nul(path.as_os_str(), || format!("the file for {stream}"))?;
        }
    }
    Ok(())
}

fn no_nul(word: &OsStr, what: impl FnOnce() -> String) -> Check {
    if word.as_bytes().contains(&0) {
        return Err(ConfigurationError::NulByte { what: what() });
    }
    Ok(())
}

fn check_variable(name: &OsStr, value: Option<&OsStr>) -> Check {
    no_nul(name, || {
        format!("the name of the variable {}", Quoted(name))
    })?;
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(ConfigurationError::InvalidVariableName { name: name.into() });
    }
    let Some(value) = value else { return Ok(()) };
    no_nul(value, || {
        format!("the value of the variable {}", Quoted(name))
    })?;
    match env::RESERVED.iter().find(|reserved| name == **reserved) {
        Some(name) if !may_be_given(name) => Err(ConfigurationError::ReservedVariable { name }),
        _ => Ok(()),
    }
}

/// What a service manager gives its services is never inherited, but may be given to a child on
/// purpose.
fn may_be_given(reserved: &str) -> bool {
    ["NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_"]
        .iter()
        .any(|prefix| reserved.starts_with(prefix))
}

fn check_messaging(messaging: &Messaging) -> Check {
    if messaging.input.is_none() && messaging.output.is_none() {
        return Err(ConfigurationError::NoDirection);
    }
    for (setting, size) in [
        ("buffer", messaging.buffer),
        ("buffer_bytes", messaging.buffer_bytes),
        ("message_limit", messaging.message_limit),
    ] {
        if size == 0 {
            return Err(ConfigurationError::ZeroSize { setting });
        }
    }
    if messaging.message_limit > MAX_MESSAGE_LIMIT {
        return Err(ConfigurationError::MessageLimitTooLarge {
            limit: messaging.message_limit,
            largest: MAX_MESSAGE_LIMIT,
        });
    }
    if messaging.skip_before_hello > MAX_SKIP {
        let bytes = messaging.skip_before_hello;
        return Err(ConfigurationError::SkipTooLarge { bytes });
    }
    let has_hello = messaging.framing == Framing::Frames && messaging.output.is_some();
    if messaging.skip_before_hello > 0 && !has_hello {
        return Err(ConfigurationError::NoHelloToSkipTo);
    }
    let both_ways = has_hello && messaging.input.is_some();
    if let Some(liveness) = &messaging.liveness {
        needs_frames("liveness", both_ways)?;
        at_least("liveness", liveness.interval(), LEAST_INTERVAL)?;
        if liveness.allowed_misses() == 0 {
            return Err(ConfigurationError::ZeroSize { setting: "misses" });
        }
    }
    if let Some(lease) = messaging.lease {
        needs_frames("lease", both_ways)?;
        at_least("lease", lease, LEAST_LEASE)?;
    }
    Ok(())
}

fn needs_frames(setting: &'static str, has_them: bool) -> Check {
    if has_them {
        Ok(())
    } else {
        Err(ConfigurationError::NeedsFrames { setting })
    }
}

fn at_least(setting: &'static str, time: Duration, least: Duration) -> Check {
    if time >= least {
        return Ok(());
    }
    let least_ms = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
    Err(ConfigurationError::TooShort { setting, least_ms })
}

/// What a process is waited for must be able to come.
fn check_start(cmd: &Cmd) -> Check {
    let messaging = cmd.messaging_options();
    let frames = messaging.filter(|messaging| messaging.framing == Framing::Frames);
    let both_ways = frames.is_some_and(|m| m.input.is_some() && m.output.is_some());
    if cmd.handler().is_some() {
        needs_frames("serve", both_ways)?;
    }
    let Some(readiness) = cmd.readiness() else {
        return Ok(());
    };
    let never = |remedy: &str| {
        Err(ConfigurationError::NeverReady {
            readiness: readiness.to_string(),
            remedy: remedy.to_owned(),
        })
    };
    match readiness {
        Readiness::Frame if frames.is_none_or(|messaging| messaging.output.is_none()) => {
            return never("use `framing(Framing::Frames)` with the child's output on");
        }
        Readiness::FirstMessage if messaging.is_none_or(|m| m.output.is_none()) => {
            return never("give it a Messaging with output");
        }
        Readiness::Notify {
            watchdog: Some(watchdog),
        } => at_least("watchdog", *watchdog, LEAST_INTERVAL)?,
        #[cfg(feature = "regex")]
        Readiness::LogMatch { expression, .. } => {
            if let Err(error) = regex::bytes::Regex::new(expression) {
                return never(&format!("the expression is none: {error}"));
            }
        }
        _ => {}
    }
    let logged = |stream| match (stream, cmd.logging_options()) {
        (_, None) => false,
        (LogStream::Merged, Some(logging)) => logging.is_merged(),
        (LogStream::Stdout, Some(logging)) => logging.captures_stdout() && !logging.is_merged(),
        (LogStream::Stderr, Some(logging)) => logging.captures_stderr() && !logging.is_merged(),
    };
    match readiness.log() {
        Some(stream) if !logged(stream) => never(&format!("log {stream} with `logging(..)`")),
        _ => Ok(()),
    }
}

fn check_streams(cmd: &Cmd) -> Check {
    let over_stdio = |direction: fn(&Messaging) -> Option<Transport>| {
        cmd.messaging_options().and_then(direction) == Some(Transport::StandardIo)
    };
    let messages_in = over_stdio(Messaging::input);
    let messages_out = over_stdio(Messaging::output);
    let logging = cmd.logging_options();
    let logged = |captures: fn(Logging) -> bool| logging.is_some_and(captures);

    if let Some(logging) = logging
        && messages_out
        && logging.captures_stdout()
    {
        return Err(ConfigurationError::MessagesAndLogsOnStdout { logging });
    }
    if messages_in && *cmd.stdin_source() != Stdin::Null {
        return Err(ConfigurationError::MessagesAndOther { stream: "stdin" });
    }
    if messages_out && *cmd.stdout_target() != Output::Null {
        return Err(ConfigurationError::MessagesAndOther { stream: "stdout" });
    }
    if logged(Logging::captures_stdout) && *cmd.stdout_target() != Output::Null {
        return Err(ConfigurationError::LogsAndOther { stream: "stdout" });
    }
    if logged(Logging::captures_stderr) && *cmd.stderr_target() != Output::Null {
        return Err(ConfigurationError::LogsAndOther { stream: "stderr" });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
