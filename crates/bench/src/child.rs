//! The children: this binary, started with `child KIND JOB`.
//!
//! | kind | speaks | is the child of |
//! |---|---|---|
//! | `sdk` | what its environment says, through `procession-child` | us |
//! | `frames` | a length, then as many bytes, by hand | raw pipes |
//! | `lines` | lines, by hand, on descriptors that may not block | proc-heim |
//!
//! | job | what it does |
//! |---|---|
//! | `echo` | sends each message back |
//! | `flood` | told `COUNT SIZE`, sends so many messages of that many bytes, in writes of 64 KiB |
//! | `serve` | answers each request, some numbers as JSON, with their sum; `sdk` alone can |
//! | `work` | answers each request after as many microseconds of its processor's time as that says; `sdk` alone can |
//! | `drain` | told `COUNT SIZE`, takes so many messages and answers with the bytes they had |
//!
//! Besides there is `print BYTES`, which prints lines, and `many COUNT MILLISECONDS`, which is a parent
//! itself.
//!
//! Each ends with its input, and by a deadline should that never come.

pub(crate) mod many;
mod pipe;
mod plain;
mod sdk;

use std::{io::Write, os::fd::AsFd, path::PathBuf, process::ExitCode, thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::Failure;

/// The first argument of a child.
pub(crate) const ARGUMENT: &str = "child";

/// How a child speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sdk,
    Frames,
    Lines,
}

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    Echo,
    Flood,
    Drain,
    Serve,
    Work,
}

/// What `flood` and `drain` are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) count: usize,
    pub(crate) size: usize,
}

/// A child has ended by then, whatever its parent does. Far beyond the limit of a sample.
const DEADLINE: Duration = Duration::from_mins(3);
/// How a child ends that has reached its deadline.
const OVERDUE: i32 = 75;

impl Kind {
    const ALL: [(&str, Self); 3] = [
        ("sdk", Self::Sdk),
        ("frames", Self::Frames),
        ("lines", Self::Lines),
    ];
}

impl Job {
    const ALL: [(&str, Self); 5] = [
        ("echo", Self::Echo),
        ("flood", Self::Flood),
        ("drain", Self::Drain),
        ("serve", Self::Serve),
        ("work", Self::Work),
    ];
}

/// The arguments that start such a child.
pub(crate) fn arguments(kind: Kind, job: Job) -> [&'static str; 3] {
    [
        ARGUMENT,
        name_of(&Kind::ALL, &kind),
        name_of(&Job::ALL, &job),
    ]
}

fn name_of<T: PartialEq>(all: &[(&'static str, T)], wanted: &T) -> &'static str {
    let found = all.iter().find(|(_, it)| it == wanted);
    found.map_or("", |(name, _)| name)
}

fn named<T: Copy>(all: &[(&str, T)], name: Option<String>) -> Result<T, Failure> {
    let name = name.unwrap_or_default();
    let found = all.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, it)| *it)
        .ok_or_else(|| format!("no child does {name:?}").into())
}

impl Order {
    /// As much as warms up beforehand.
    pub(crate) fn tenth(self) -> Self {
        Self {
            count: self.count.div_ceil(10),
            ..self
        }
    }

    /// What all of the messages have together.
    pub(crate) fn bytes(self) -> usize {
        self.count * self.size
    }

    pub(crate) fn to_message(self) -> String {
        format!("{} {}", self.count, self.size)
    }

    fn from_message(message: &[u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(message)?;
        let (count, size) = text.split_once(' ').ok_or("an order has two numbers")?;
        Ok(Self {
            count: count.parse()?,
            size: size.parse()?,
        })
    }
}

/// The length of a line that is printed, newline included.
pub(crate) const LINE: usize = 100;
const PRINT: &str = "print";

/// A program that prints so many bytes in such lines, and its arguments.
pub(crate) fn printing(bytes: usize) -> std::io::Result<(PathBuf, [String; 3])> {
    let arguments = [ARGUMENT.to_owned(), PRINT.to_owned(), bytes.to_string()];
    Ok((std::env::current_exe()?, arguments))
}

const MANY: &str = "many";

/// A program that is the parent of so many silent children for that time, and its arguments.
pub(crate) fn parent_of_many(
    count: usize,
    silence: Duration,
) -> std::io::Result<(PathBuf, [String; 4])> {
    let arguments = [
        ARGUMENT.to_owned(),
        MANY.to_owned(),
        count.to_string(),
        silence.as_millis().to_string(),
    ];
    Ok((std::env::current_exe()?, arguments))
}

/// 64 KiB at a time, as fast as they are taken.
fn print(bytes: usize) -> Result<(), Failure> {
    let mut line = [b'.'; LINE];
    line[LINE - 1] = b'\n';
    let block = line.repeat(64 * 1024 / LINE);
    let mut stdout = std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let mut left = bytes;
    while left > 0 {
        let now = left.min(block.len());
        stdout.write_all(&block[..now])?;
        left -= now;
    }
    Ok(())
}

/// Uses this much time of a processor.
pub(crate) fn use_processor(time: Duration) {
    let used = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(now).unwrap_or_default()
    };
    let until = used() + time;
    while used() < until {
        std::hint::spin_loop();
    }
}

/// Is the child that the arguments name.
pub(crate) fn main(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    thread::spawn(|| {
        thread::sleep(DEADLINE);
        std::process::exit(OVERDUE);
    });
    match run(&mut arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            #[expect(clippy::print_stderr, reason = "all that a failed child can do")]
            {
                eprintln!("bench child: {failure}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &mut impl Iterator<Item = String>) -> Result<(), Failure> {
    let kind = arguments.next();
    if kind.as_deref() == Some(PRINT) {
        return print(arguments.next().ok_or("how many bytes?")?.parse()?);
    }
    if kind.as_deref() == Some(MANY) {
        let count = arguments.next().ok_or("how many children?")?.parse()?;
        let silence = arguments.next().ok_or("for how long?")?.parse()?;
        return many::run(count, silence);
    }
    let kind = named(&Kind::ALL, kind)?;
    let job = named(&Job::ALL, arguments.next())?;
    match kind {
        Kind::Sdk => sdk::run(job),
        Kind::Frames => plain::run(&plain::Frames, job),
        Kind::Lines => plain::run(&plain::Lines, job),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_names_are_read_back() {
        let order = Order { count: 7, size: 64 };
        assert_eq!(
            Order::from_message(order.to_message().as_bytes()).unwrap(),
            order
        );
        assert!(Order::from_message(b"7").is_err());
        let [_, kind, job] = arguments(Kind::Lines, Job::Drain);
        assert_eq!(
            named(&Kind::ALL, Some(kind.to_owned())).unwrap(),
            Kind::Lines
        );
        assert_eq!(named(&Job::ALL, Some(job.to_owned())).unwrap(), Job::Drain);
    }
}
