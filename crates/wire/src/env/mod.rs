//! The environment by which a parent tells a child where its run directory and its channel are.
//!
//! Reading and writing are pure: [`ChildEnvironment::write`] gives pairs to set, and
//! [`ChildEnvironment::read`] takes a lookup such as `std::env::var_os`.

mod error;
mod tree_tag;

use std::{
    ffi::{OsStr, OsString},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

pub use error::{EnvironmentError, EnvironmentErrorKind};
pub use tree_tag::TreeTag;

use crate::{Framing, MAX_MESSAGE_LIMIT};

/// The child's run directory, an absolute path. Always set.
pub const PROCESS_DATA_DIR: &str = "PROCESS_DATA_DIR";
/// The pipe from which the child reads, an absolute path. Set if [`MESSAGE_INPUT`] is `pipe`.
pub const INPUT_PIPE: &str = "INPUT_PIPE";
/// The pipe to which the child writes, an absolute path. Set if [`MESSAGE_OUTPUT`] is `pipe`.
pub const OUTPUT_PIPE: &str = "OUTPUT_PIPE";
/// `lines` or `frames/1`.
pub const MESSAGE_FRAMING: &str = "MESSAGE_FRAMING";
/// The longest payload, in bytes, as a decimal number.
pub const MESSAGE_LIMIT: &str = "MESSAGE_LIMIT";
/// Where the child reads messages: `stdin`, `pipe` or `none`.
pub const MESSAGE_INPUT: &str = "MESSAGE_INPUT";
/// Where the child writes messages: `stdout`, `pipe` or `none`.
pub const MESSAGE_OUTPUT: &str = "MESSAGE_OUTPUT";
/// After how many milliseconds without any frame the child is to end itself. Unset: never.
pub const MESSAGE_LEASE: &str = "MESSAGE_LEASE";
/// The [tree tag](TreeTag).
pub const PROCESSION_TREE: &str = "PROCESSION_TREE";

/// What is removed from the environment that a child inherits unless it is set for this very child:
/// each of these is meant for one process alone. The last seven are systemd's (`man 3 sd_notify`,
/// `sd_watchdog_enabled`, `sd_listen_fds`).
pub const RESERVED: &[&str] = &[
    PROCESS_DATA_DIR,
    INPUT_PIPE,
    OUTPUT_PIPE,
    MESSAGE_FRAMING,
    MESSAGE_LIMIT,
    MESSAGE_INPUT,
    MESSAGE_OUTPUT,
    MESSAGE_LEASE,
    PROCESSION_TREE,
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
];

/// One direction of a child's channel.
///
/// ```
/// use procession_wire::{Channel, Framing, MessagingEnvironment};
///
/// let output = Channel::Pipe("/run/worker/output".into());
/// let messaging = MessagingEnvironment::new(Framing::Lines, 1024, Channel::None, output);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// There is none.
    None,
    /// Standard input for what the child reads, standard output for what it writes.
    Stdio,
    /// The named pipe at this absolute path.
    Pipe(PathBuf),
}

/// All that a child is told by its environment, but for the tree tag.
///
/// ```
/// use procession_wire::{Framing, env::{Channel, ChildEnvironment, MessagingEnvironment}};
///
/// let told = ChildEnvironment::new("/run/worker").with_messaging(MessagingEnvironment::new(
///     Framing::Lines,
///     1024,
///     Channel::Stdio,
///     Channel::Pipe("/run/worker/output".into()),
/// ));
/// let variables = told.write();
/// assert!(variables.contains(&("MESSAGE_OUTPUT", "pipe".into())));
///
/// let lookup = |name: &str| Some(variables.iter().find(|(key, _)| *key == name)?.1.clone());
/// assert_eq!(ChildEnvironment::read(lookup)?, told);
/// # Ok::<(), procession_wire::env::EnvironmentError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildEnvironment {
    /// The child's run directory, an absolute path.
    pub data_dir: PathBuf,
    /// The child's channel, if it has one.
    pub messaging: Option<MessagingEnvironment>,
}

/// What a child is told of its channel.
///
/// ```
/// use std::time::Duration;
/// use procession_wire::{Channel, ChildEnvironment, Framing, MessagingEnvironment};
///
/// let messaging =
///     MessagingEnvironment::new(Framing::Frames, 1024, Channel::Stdio, Channel::Stdio)
///         .with_lease(Duration::from_secs(30));
/// let variables = ChildEnvironment::new("/run/worker").with_messaging(messaging).write();
/// assert!(variables.contains(&("MESSAGE_LEASE", "30000".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessagingEnvironment {
    /// How messages are cut.
    pub framing: Framing,
    /// The longest payload, in bytes; at most [`MAX_MESSAGE_LIMIT`].
    pub limit: usize,
    /// Where the child reads.
    pub input: Channel,
    /// Where the child writes.
    pub output: Channel,
    /// After how long without any frame the child is to end itself; a whole number of milliseconds.
    pub lease: Option<Duration>,
}

impl MessagingEnvironment {
    /// A channel without a lease.
    pub fn new(framing: Framing, limit: usize, input: Channel, output: Channel) -> Self {
        Self {
            framing,
            limit,
            input,
            output,
            lease: None,
        }
    }

    /// With a lease, rounded up to a whole number of milliseconds when it is written.
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }
}

impl ChildEnvironment {
    /// The environment of a child without messaging.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            messaging: None,
        }
    }

    /// The environment of a child with messaging.
    pub fn with_messaging(mut self, messaging: MessagingEnvironment) -> Self {
        self.messaging = Some(messaging);
        self
    }

    /// The variables to set. All others of [`RESERVED`] are to be unset.
    pub fn write(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![(PROCESS_DATA_DIR, self.data_dir.clone().into_os_string())];
        let Some(messaging) = &self.messaging else {
            return variables;
        };
        let limit = messaging.limit.min(MAX_MESSAGE_LIMIT);
        variables.push((MESSAGE_FRAMING, messaging.framing.to_string().into()));
        variables.push((MESSAGE_LIMIT, limit.to_string().into()));
        for (direction, channel) in [(INPUT, &messaging.input), (OUTPUT, &messaging.output)] {
            let word = match channel {
                Channel::None => "none",
                Channel::Stdio => direction.stdio,
                Channel::Pipe(path) => {
                    variables.push((direction.pipe, path.clone().into_os_string()));
                    "pipe"
                }
            };
            variables.push((direction.variable, word.into()));
        }
        if let Some(lease) = messaging.lease {
            let milliseconds = lease
                .as_nanos()
                .div_ceil(1_000_000)
                .clamp(1, u64::MAX.into());
            variables.push((MESSAGE_LEASE, milliseconds.to_string().into()));
        }
        variables
    }

    /// What the variables say. Messaging is there if any of `MESSAGE_FRAMING`, `MESSAGE_LIMIT`,
    /// `MESSAGE_INPUT` and `MESSAGE_OUTPUT` is set, and then all four must be.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] names the first variable that is missing or makes no sense.
    pub fn read(
        mut lookup: impl FnMut(&str) -> Option<OsString>,
    ) -> Result<Self, EnvironmentError> {
        let data_dir = absolute(PROCESS_DATA_DIR, &mut lookup)?;
        let four = [
            MESSAGE_FRAMING,
            MESSAGE_LIMIT,
            MESSAGE_INPUT,
            MESSAGE_OUTPUT,
        ];
        if four.iter().all(|variable| lookup(variable).is_none()) {
            return Ok(Self {
                data_dir,
                messaging: None,
            });
        }
        let framing = required(MESSAGE_FRAMING, &mut lookup)?;
        let framing = framing
            .to_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid(MESSAGE_FRAMING, &framing, FRAMING_EXPECTED))?;
        let limit = required(MESSAGE_LIMIT, &mut lookup)?;
        let limit = number(MESSAGE_LIMIT, &limit, 0..=MAX_MESSAGE_LIMIT, LIMIT_EXPECTED)?;
        let input = channel(&INPUT, &mut lookup)?;
        let output = channel(&OUTPUT, &mut lookup)?;
        let lease = lookup(MESSAGE_LEASE)
            .map(|value| number(MESSAGE_LEASE, &value, 1..=u64::MAX, LEASE_EXPECTED))
            .transpose()?
            .map(Duration::from_millis);
        let messaging = Some(MessagingEnvironment {
            framing,
            limit,
            input,
            output,
            lease,
        });
        Ok(Self {
            data_dir,
            messaging,
        })
    }
}

const FRAMING_EXPECTED: &str = "\"lines\" or \"frames/1\"";
const LIMIT_EXPECTED: &str = "a number of bytes from 0 to 4294966271";
const LEASE_EXPECTED: &str = "a number of milliseconds, 1 or more";

/// The names of one direction.
struct Direction {
    variable: &'static str,
    pipe: &'static str,
    stdio: &'static str,
    expected: &'static str,
}

const INPUT: Direction = Direction {
    variable: MESSAGE_INPUT,
    pipe: INPUT_PIPE,
    stdio: "stdin",
    expected: "\"stdin\", \"pipe\" or \"none\"",
};

const OUTPUT: Direction = Direction {
    variable: MESSAGE_OUTPUT,
    pipe: OUTPUT_PIPE,
    stdio: "stdout",
    expected: "\"stdout\", \"pipe\" or \"none\"",
};

fn channel(
    direction: &Direction,
    lookup: &mut impl FnMut(&str) -> Option<OsString>,
) -> Result<Channel, EnvironmentError> {
    let word = required(direction.variable, lookup)?;
    if word == "none" {
        Ok(Channel::None)
    } else if word == direction.stdio {
        Ok(Channel::Stdio)
    } else if word == "pipe" {
        absolute(direction.pipe, lookup).map(Channel::Pipe)
    } else {
        Err(invalid(direction.variable, &word, direction.expected))
    }
}

fn required(
    variable: &'static str,
    lookup: &mut impl FnMut(&str) -> Option<OsString>,
) -> Result<OsString, EnvironmentError> {
    lookup(variable).ok_or(EnvironmentError::new(
        variable,
        EnvironmentErrorKind::Missing,
    ))
}

fn absolute(
    variable: &'static str,
    lookup: &mut impl FnMut(&str) -> Option<OsString>,
) -> Result<PathBuf, EnvironmentError> {
    let path = PathBuf::from(required(variable, lookup)?);
    if path.is_absolute() {
        return Ok(path);
    }
    let value = path.to_string_lossy().into_owned();
    Err(EnvironmentError::new(
        variable,
        EnvironmentErrorKind::NotAbsolute { value },
    ))
}

/// A value in decimal digits and nothing else: no sign, no spaces.
fn number<N: FromStr + PartialOrd>(
    variable: &'static str,
    value: &OsStr,
    range: RangeInclusive<N>,
    expected: &'static str,
) -> Result<N, EnvironmentError> {
    value
        .to_str()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| invalid(variable, value, expected))
}

fn invalid(variable: &'static str, value: &OsStr, expected: &'static str) -> EnvironmentError {
    let value = value.to_string_lossy().into_owned();
    EnvironmentError::new(variable, EnvironmentErrorKind::Invalid { value, expected })
}
