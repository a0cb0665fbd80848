//! The limit: raw pipes and blocking system calls, with no runtime in between.
//!
//! `std::process` starts the child, and a thread reads and writes; the framing is the same as that of
//! the raw tokio pipes. What runs here is not async, so it is no [`Peer`](super::Peer): its work is
//! a closure that has the [`Blocking`] ends, on a thread for blocking work.

use std::{
    fs::{File, OpenOptions},
    io::{BufReader, BufWriter, Read, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{Transport, raw::NamedPipes};
use crate::{
    Failure,
    child::{Job, Kind, arguments},
    machine::Cores,
    parts::check_cores,
};

/// What the table calls it.
pub(crate) const BLOCKING: &str = "blocking std";
/// The size of a buffered read and write: all that a pipe holds.
const BUFFER: usize = 64 * 1024;

/// What to start, and where it has to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockingSetup {
    pub(crate) job: Job,
    pub(crate) transport: Transport,
    pub(crate) cores: Cores,
}

/// Our ends of a child's pipes.
pub(crate) struct Blocking {
    input: BufWriter<File>,
    output: BufReader<File>,
    frame: Vec<u8>,
    message: Vec<u8>,
}

impl Blocking {
    /// Starts a child, does the work with it, and ends it.
    ///
    /// Dropped before that, it kills the child, and the thread comes to the end of its pipes.
    pub(crate) async fn run<T: Send + 'static>(
        setup: BlockingSetup,
        work: impl FnOnce(&mut Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments(Kind::Frames, setup.job));
        command.env_remove("INPUT_PIPE").env_remove("OUTPUT_PIPE");
        let (guard, ends) = match setup.transport {
            Transport::StandardIo => on_standard_io(command)?,
            Transport::NamedPipes => on_named_pipes(command)?,
        };
        check_cores(Some(guard.child.id()), setup.cores)?;
        let thread = tokio::task::spawn_blocking(move || work(&mut Self::open(ends)?));
        let result = thread.await?;
        drop(guard);
        result
    }

    fn open(ends: Ends) -> Result<Self, Failure> {
        let (input, output) = match ends {
            Ends::Open(input, output) => (input.into(), output.into()),
            // Each waits for the child to open its end, and the child opens them in this order.
            Ends::Named(input, output) => (
                OpenOptions::new().write(true).open(input)?,
                File::open(output)?,
            ),
        };
        Ok(Self {
            input: BufWriter::with_capacity(BUFFER, input),
            output: BufReader::with_capacity(BUFFER, output),
            frame: Vec::new(),
            message: Vec::new(),
        })
    }

    /// Sends one message, in one write that nothing is kept back from.
    pub(crate) fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        let length = u32::try_from(message.len())?;
        self.frame.clear();
        self.frame.extend_from_slice(&length.to_be_bytes());
        self.frame.extend_from_slice(message);
        Ok(self.input.get_mut().write_all(&self.frame)?)
    }

    /// Sends one of many messages, through the buffer: `flush` follows.
    pub(crate) fn feed(&mut self, message: &[u8]) -> Result<(), Failure> {
        let length = u32::try_from(message.len())?;
        self.input.write_all(&length.to_be_bytes())?;
        Ok(self.input.write_all(message)?)
    }

    /// Ends a series of `feed`.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.input.flush()?)
    }

    /// Receives one message.
    pub(crate) fn receive(&mut self) -> Result<&[u8], Failure> {
        let mut length = [0; 4];
        self.output.read_exact(&mut length)?;
        self.message.resize(u32::from_be_bytes(length) as usize, 0);
        self.output.read_exact(&mut self.message)?;
        Ok(&self.message)
    }
}

/// Our ends, or where they are to be opened.
enum Ends {
    Open(OwnedFd, OwnedFd),
    Named(PathBuf, PathBuf),
}

/// What must not be left behind.
struct Guard {
    child: Child,
    _pipes: Option<TempDir>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended with its input, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on_standard_io(mut command: Command) -> Result<(Guard, Ends), Failure> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let input = child.stdin.take().ok_or("the child has no input")?;
    let output = child.stdout.take().ok_or("the child has no output")?;
    let guard = Guard {
        child,
        _pipes: None,
    };
    Ok((guard, Ends::Open(input.into(), output.into())))
}

fn on_named_pipes(mut command: Command) -> Result<(Guard, Ends), Failure> {
    let pipes = NamedPipes::new()?;
    pipes.tell(&mut command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let guard = Guard {
        child,
        _pipes: Some(pipes.directory),
    };
    Ok((guard, Ends::Named(pipes.input, pipes.output)))
}
