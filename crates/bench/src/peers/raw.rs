//! Raw pipes under tokio: `tokio::process`, buffered ends, a length before each message by hand.

use std::{io, path::PathBuf, process::Stdio};

use bytes::Bytes;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    net::unix::pipe,
    process::{Child, Command},
};

use super::{Peer, Setup, Transport};
use crate::{
    Failure,
    child::{Kind, arguments},
};

/// The size of a buffered read and write.
const BUFFER: usize = 64 * 1024;

pub(crate) struct Raw {
    child: Child,
    input: BufWriter<Box<dyn AsyncWrite + Send + Unpin>>,
    output: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    message: Vec<u8>,
    _pipes: Option<TempDir>,
}

impl Peer for Raw {
    const NAME: &'static str = "raw tokio pipes";

    async fn start(setup: Setup) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments(Kind::Frames, setup.job));
        command.env_remove("INPUT_PIPE").env_remove("OUTPUT_PIPE");
        command.kill_on_drop(true);
        match setup.transport {
            Transport::StandardIo => Self::on_standard_io(command),
            Transport::NamedPipes => Self::on_named_pipes(command),
        }
    }

    async fn pid(&mut self) -> Result<u32, Failure> {
        Ok(self.child.id().ok_or("the child has no process id")?)
    }

    async fn send(&mut self, message: &Bytes) -> Result<(), Failure> {
        self.feed(message).await?;
        self.flush().await
    }

    async fn feed(&mut self, message: &Bytes) -> Result<(), Failure> {
        let length = u32::try_from(message.len())?;
        self.input.write_all(&length.to_be_bytes()).await?;
        Ok(self.input.write_all(message).await?)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.input.flush().await?)
    }

    async fn receive(&mut self) -> Result<usize, Failure> {
        let mut length = [0; 4];
        self.output.read_exact(&mut length).await?;
        self.message.resize(u32::from_be_bytes(length) as usize, 0);
        Ok(self.output.read_exact(&mut self.message).await?)
    }

    fn message(&self) -> &[u8] {
        &self.message
    }

    async fn end(mut self) -> Result<(), Failure> {
        self.child.kill().await?;
        Ok(())
    }
}

impl Raw {
    fn on_standard_io(mut command: Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("the child has no input")?;
        let output = child.stdout.take().ok_or("the child has no output")?;
        Ok(Self::new(child, Box::new(input), Box::new(output), None))
    }

    fn on_named_pipes(mut command: Command) -> Result<Self, Failure> {
        let pipes = NamedPipes::new()?;
        let sender = pipe::OpenOptions::new()
            .read_write(true)
            .open_sender(&pipes.input)?;
        let receiver = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(&pipes.output)?;
        pipes.tell(command.as_std_mut());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Self::new(
            child,
            Box::new(sender),
            Box::new(receiver),
            Some(pipes.directory),
        ))
    }

    fn new(
        child: Child,
        input: Box<dyn AsyncWrite + Send + Unpin>,
        output: Box<dyn AsyncRead + Send + Unpin>,
        pipes: Option<TempDir>,
    ) -> Self {
        Self {
            child,
            input: BufWriter::with_capacity(BUFFER, input),
            output: BufReader::with_capacity(BUFFER, output),
            message: Vec::new(),
            _pipes: pipes,
        }
    }
}

/// Two named pipes, in a directory that goes with them.
pub(super) struct NamedPipes {
    pub(super) directory: TempDir,
    pub(super) input: PathBuf,
    pub(super) output: PathBuf,
}

impl NamedPipes {
    pub(super) fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let [input, output] = ["input", "output"].map(|name| directory.path().join(name));
        make_fifo(&input)?;
        make_fifo(&output)?;
        Ok(Self {
            directory,
            input,
            output,
        })
    }

    /// Tells a child where they are.
    pub(super) fn tell(&self, command: &mut std::process::Command) {
        command.env("INPUT_PIPE", &self.input);
        command.env("OUTPUT_PIPE", &self.output);
    }
}

/// mkfifo(3), for the owner alone.
pub(crate) fn make_fifo(path: &std::path::Path) -> io::Result<()> {
    Ok(mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0)?)
}
