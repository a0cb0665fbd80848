//! Whether a child speaks the protocol: start any command, and say line by line what it gets right.
//!
//! ```text
//! cargo run -p procession-conformance -- examples/children/worker.py
//! cargo run -p procession-conformance -- --transport stdio --only cancel -- node worker.mjs
//! ```
//!
//! | option | what it does |
//! |---|---|
//! | `--only NAME` | only the check of this name |
//! | `--transport stdio`, `pipes`, `both` | what the frames go through; `both` unless said |
//! | `--timeout SECONDS` | how long one check may take; 10 unless said |
//! | `--list` | prints the names of the checks |
//!
//! `docs/protocol.md` is the specification; the number in each line is the section of it that the
//! check is about. The program knows nothing of the child but what it says: it is a parent of its own,
//! with no manager in it, that reads and writes raw frames, and so also does what a good parent never
//! would.
//!
//! # The contract
//!
//! A program that can be checked is a child that speaks frames, with credit, and does this:
//!
//! | what comes | what it does |
//! |---|---|
//! | its start | hello, credit on the lanes 0 and 2⁶⁴−1, then `ready` with the status `at work` |
//! | a message | sends it back as a message, unchanged; all in order |
//! | `stop` | takes no message that comes later; finishes and answers the requests that it has accepted, fails those that come later; then `bye 0`, and exits with 0 |
//! | the end of its input | the same; what waits for the parent (credit, a cancel, an answer) ends |
//! | a request | what the table below says; a payload is a verb, and for some verbs one space and an argument, which is any bytes |
//!
//! | request | how it ends |
//! |---|---|
//! | `echo <bytes>` | the reply is the bytes |
//! | `items <n>` | *n* items, `0` to *n*−1 in decimal, then the reply `done` |
//! | `fail <text>` | a failure with this text |
//! | `panic` | the handler panics, or throws: a failure, and the child lives on |
//! | `wait` | not before it is cancelled; then by a failure with the text `cancelled` |
//! | `hold` | the reply `stopped`, once the child has been asked to stop |
//! | `ask <bytes>` | asks the parent a request with these bytes; replies what it replied, or fails with the text of its failure |
//! | `collect <bytes>` | asks the parent, and replies with all items that came, joined by `\n`; the parent's reply is dropped |
//! | `forget <bytes>` | asks the parent, cancels that at once, and replies `forgotten` |
//! | anything else | a failure whose text names the verb |
//!
//! At least 64 requests are served at a time. `examples/children/worker.py` and `worker.mjs` are such
//! programs, each in one file that needs no library.
//!
//! # How to read the output
//!
//! ```text
//! ok   §6 pong-idle (stdio): every ping is answered by a pong of its number
//! FAIL §8 keeps-to-credit (stdio): no message is sent without credit: a message of 10 bytes came
//!      without credit: the balance was -73
//! skip §8 keeps-to-credit (pipes): no message is sent without credit: there is no hello to begin with
//! ```
//!
//! A line is a check, each with a child of its own: how it went, the section of the specification, the
//! name (for `--only`), the transport, what a child should do, and what it did instead. What the child
//! wrote to its standard error follows a failure. `skip` means that there was nothing to check. Books
//! are kept in every check: a reply too many, or a frame without credit, fails whichever check it
//! happens in. The program exits with 0 if nothing failed, with 1 if something did, and with 2 if it
//! was not told properly what to do.
//!
//! # From Rust
//!
//! ```no_run
//! use procession_conformance::Conformance;
//!
//! let outcomes = Conformance::new(["./my-child"]).run(|outcome| println!("{outcome}"));
//! assert!(outcomes.iter().all(|outcome| !outcome.failed()));
//! ```

#![forbid(unsafe_code)]

mod checks;
mod conversation;
mod subject;

use std::{
    ffi::OsString,
    fmt,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use procession_wire::Escaped;

use checks::{Check, Context};

/// How long a check may take unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a child's frames go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Standard input and output.
    Stdio,
    /// Two named pipes.
    Pipes,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdio => "stdio",
            Self::Pipes => "pipes",
        })
    }
}

/// How a check went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The child does it.
    Ok,
    /// It does not; the text says what it did instead.
    Failed(String),
    /// There was nothing to check; the text says why.
    Skipped(String),
}

/// A check, and how it went. Its `Display` is the line of the report, with what the child wrote
/// escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The section of `docs/protocol.md`.
    pub section: u8,
    /// The name of the check.
    pub name: &'static str,
    /// What a child should do.
    pub what: &'static str,
    /// What the frames went through.
    pub transport: Transport,
    /// How it went.
    pub verdict: Verdict,
    /// The end of what the child wrote to its standard error, as it wrote it: 8 lines and 16 KiB at
    /// most.
    pub log: String,
}

impl Outcome {
    /// Whether the child did something else.
    pub fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            section,
            name,
            what,
            transport,
            verdict,
            log,
        } = self;
        let (word, why) = match verdict {
            Verdict::Ok => ("ok  ", ""),
            Verdict::Failed(why) => ("FAIL", why.as_str()),
            Verdict::Skipped(why) => ("skip", why.as_str()),
        };
        write!(f, "{word} §{section} {name} ({transport}): {what}")?;
        if !why.is_empty() {
            write!(f, ": {}", Escaped::new(why))?;
        }
        if self.failed() {
            for line in log.lines() {
                write!(f, "\n     | {}", Escaped::new(line))?;
            }
        }
        Ok(())
    }
}

/// Why a check did not go through.
#[derive(Clone, Debug)]
enum Fault {
    Failed(String),
    Skipped(String),
}

impl Fault {
    fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

/// A command to check, and how.
///
/// ```
/// use procession_conformance::{Conformance, Transport};
///
/// let mut only_hello = Conformance::new(["true"]);
/// only_hello.only("hello").transports([Transport::Stdio]);
/// let outcomes = only_hello.run(|_| {});
/// assert_eq!(outcomes.len(), 1);
/// assert!(outcomes[0].failed(), "`true` says nothing");
/// ```
#[derive(Clone, Debug)]
pub struct Conformance {
    command: Vec<OsString>,
    transports: Vec<Transport>,
    timeout: Duration,
    only: Option<String>,
}

impl Conformance {
    /// All checks over both transports of the command, which is a program and its arguments.
    ///
    /// # Panics
    ///
    /// The command is empty.
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let command: Vec<OsString> = command.into_iter().map(Into::into).collect();
        assert!(!command.is_empty(), "a command begins with a program");
        Self {
            command,
            transports: vec![Transport::Stdio, Transport::Pipes],
            timeout: DEFAULT_TIMEOUT,
            only: None,
        }
    }

    /// Checks over these transports only.
    pub fn transports(&mut self, transports: impl IntoIterator<Item = Transport>) -> &mut Self {
        self.transports = transports.into_iter().collect();
        self
    }

    /// How long one check may take.
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.timeout = timeout;
        self
    }

    /// Only the check of this name.
    pub fn only(&mut self, name: impl Into<String>) -> &mut Self {
        self.only = Some(name.into());
        self
    }

    /// The names of all checks, in the order in which they run.
    pub fn names() -> Vec<&'static str> {
        checks::all().map(|check| check.name).collect()
    }

    /// Runs the checks one after the other. Each outcome is reported as it is known.
    pub fn run(&self, mut report: impl FnMut(&Outcome)) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for &transport in &self.transports {
            let mut greets = true;
            let mut awaits_ready = true;
            for check in checks::all() {
                if self.only.as_ref().is_some_and(|only| only != check.name) {
                    // Not asked for, but it tells what the others may wait for.
                    if check.name == checks::READY && self.wants_a_greeting() {
                        awaits_ready = !self.check(check, transport, true).failed();
                    }
                    continue;
                }
                let outcome = if check.needs_hello && !greets {
                    let why = "there is no hello to begin with".to_owned();
                    outcome_of(check, transport, Verdict::Skipped(why), String::new())
                } else {
                    self.check(check, transport, awaits_ready)
                };
                if check.name == checks::FIRST {
                    greets = !outcome.failed();
                }
                if check.name == checks::READY {
                    awaits_ready = !outcome.failed();
                }
                report(&outcome);
                outcomes.push(outcome);
            }
        }
        outcomes
    }

    /// Whether the only check wanted is one that begins with a child at work.
    fn wants_a_greeting(&self) -> bool {
        checks::all().any(|check| Some(check.name) == self.only.as_deref() && check.needs_hello)
    }

    fn check(&self, check: &Check, transport: Transport, awaits_ready: bool) -> Outcome {
        let log = Arc::new(Mutex::new(String::new()));
        let context = Context {
            conformance: self,
            transport,
            deadline: Instant::now() + self.timeout,
            awaits_ready,
            log: Arc::clone(&log),
        };
        let verdict = match (check.run)(&context) {
            Ok(()) => Verdict::Ok,
            Err(Fault::Failed(why)) => Verdict::Failed(why),
            Err(Fault::Skipped(why)) => Verdict::Skipped(why),
        };
        let log = log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outcome_of(check, transport, verdict, log)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command
    }
}

fn outcome_of(check: &Check, transport: Transport, verdict: Verdict, log: String) -> Outcome {
    Outcome {
        section: check.section,
        name: check.name,
        what: check.what,
        transport,
        verdict,
        log,
    }
}
