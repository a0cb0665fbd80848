//! One shot: run a program to its end and have what it wrote.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use procession_wire::Escaped;

use crate::lifecycle::ExitReport;
use crate::model::{Cmd, Runnable, Script};

/// What is kept of each output of a [`Run`] unless set otherwise: 16 MiB.
pub const DEFAULT_OUTPUT_LIMIT: usize = 16 * 1024 * 1024;

/// A program to run to its end, for [`run`](crate::ProcessManagerHandle::run). A [`Cmd`] or a
/// [`Script`] can be given as it is.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use procession_manager::{Cmd, ProcessManager, Run, RunError};
///
/// let manager = ProcessManager::in_temp()?;
/// let forever = Cmd::new("sh").args(["-c", "echo started; exec sleep 1000"]);
/// let slow = Run::new(forever).timeout(Duration::from_millis(200)).output_limit(1024);
/// match manager.run(slow).await {
///     Err(RunError::TimedOut { output, .. }) => assert_eq!(output.stdout(), "started\n"),
///     other => panic!("{other:?}"),
/// }
/// # manager.shutdown().await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is run before it is given to `run`"]
pub struct Run {
    pub(crate) runnable: Box<dyn Runnable>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) output_limit: usize,
}

impl Run {
    /// Runs this.
    pub fn new(runnable: impl Runnable) -> Self {
        Self {
            runnable: Box::new(runnable),
            timeout: None,
            output_limit: DEFAULT_OUTPUT_LIMIT,
        }
    }

    /// Kills it after this time, counted from its start; never unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Kills it when it has written more than this many bytes to its stdout or to its stderr;
    /// [`DEFAULT_OUTPUT_LIMIT`] unless set.
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("timeout", &self.timeout)
            .field("output_limit", &self.output_limit)
            .finish_non_exhaustive()
    }
}

impl From<Cmd> for Run {
    fn from(cmd: Cmd) -> Self {
        Self::new(cmd)
    }
}

impl From<Script> for Run {
    fn from(script: Script) -> Self {
        Self::new(script)
    }
}

/// The output of a program that has not ended.
#[derive(Clone, PartialEq, Eq)]
pub struct UnfinishedOutput {
    pub(crate) stdout: Bytes,
    pub(crate) stderr: Bytes,
}

impl UnfinishedOutput {
    /// Returns the bytes that the program wrote to stdout; empty where the `Cmd` gave stdout
    /// another use.
    pub fn stdout(&self) -> &Bytes {
        &self.stdout
    }

    /// Returns the bytes that the program wrote to stderr; empty where the `Cmd` gave stderr
    /// another use.
    pub fn stderr(&self) -> &Bytes {
        &self.stderr
    }
}

impl fmt::Debug for UnfinishedOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnfinishedOutput")
            .field("stdout", &format_args!("{} bytes", self.stdout.len()))
            .field("stderr", &format_args!("{} bytes", self.stderr.len()))
            .finish()
    }
}

/// What a program wrote, and how it ended.
#[derive(Clone, PartialEq, Eq)]
pub struct RunOutput {
    pub(crate) program: String,
    pub(crate) stdout: Bytes,
    pub(crate) stderr: Bytes,
    pub(crate) report: ExitReport,
}

/// Shows the start of what it wrote, and how much more there is.
impl fmt::Debug for RunOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOutput")
            .field("program", &Escaped::new(&self.program).short())
            .field("stdout", &Escaped::bytes(&self.stdout).short())
            .field("stderr", &Escaped::bytes(&self.stderr).short())
            .field("report", &self.report)
            .finish()
    }
}

impl RunOutput {
    /// The program that ran.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// What it wrote to stdout; nothing where the `Cmd` gave that another use.
    pub fn stdout(&self) -> &Bytes {
        &self.stdout
    }

    /// What it wrote to stderr; nothing where the `Cmd` gave that another use.
    pub fn stderr(&self) -> &Bytes {
        &self.stderr
    }

    /// How it ended.
    pub fn report(&self) -> &ExitReport {
        &self.report
    }

    /// Whether it exited with code 0.
    pub fn success(&self) -> bool {
        self.report.success()
    }
}
