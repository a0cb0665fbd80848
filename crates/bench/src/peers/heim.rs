//! proc-heim 0.1.5: lines, the only framing it has.
//!
//! Its reader cuts what it reads at 4 KiB and gives each piece to a broadcast channel that drops
//! the oldest when it is full. So that nothing is lost, the channel is made as large as the round
//! is long, and what arrives is counted in bytes.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use proc_heim::{
    manager::{Message, ProcessId, ProcessManager, ProcessManagerHandle, ReceiveMessageError},
    model::command::{BufferCapacity, Cmd, CmdOptions},
};
use tempfile::TempDir;

use super::{Lengths, Peer, Setup, Shared, Transport};
use crate::{
    Failure,
    child::{Kind, arguments},
};

type Received = Result<Message, ReceiveMessageError>;

pub(crate) struct Heim {
    manager: ProcessManagerHandle,
    process: ProcessId,
    stream: Pin<Box<dyn Stream<Item = Received> + Send>>,
    message: Vec<u8>,
    _directory: TempDir,
}

impl Peer for Heim {
    const NAME: &'static str = "proc-heim";
    const DELIMITER: usize = 1;
    const WHOLE: bool = false;

    async fn start(setup: Setup) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let manager = ProcessManager::spawn(directory.path().to_owned())?;
        let mut options = match setup.transport {
            Transport::NamedPipes => CmdOptions::with_named_pipe_messaging(),
            Transport::StandardIo => CmdOptions::with_standard_io_messaging(),
        };
        options.set_message_output_buffer_capacity(BufferCapacity::try_from(setup.backlog)?);
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let child = Cmd::with_args_and_options(program, arguments(Kind::Lines, setup.job), options);
        let process = manager.spawn(child).await?;
        let stream = Box::pin(manager.subscribe_message_stream(process).await?);
        Ok(Self {
            manager,
            process,
            stream,
            message: Vec::new(),
            _directory: directory,
        })
    }

    async fn pid(&mut self) -> Result<u32, Failure> {
        let info = self.manager.get_process_info(self.process).await?;
        Ok(info.pid().ok_or("the child has no process id")?)
    }

    async fn send(&mut self, message: &Bytes) -> Result<(), Failure> {
        Ok(self
            .manager
            .send_message(self.process, &message[..])
            .await?)
    }

    async fn receive(&mut self) -> Result<usize, Failure> {
        let message = self.stream.next().await.ok_or("the stream ended early")?;
        self.message = message?.into_bytes();
        Ok(self.message.len())
    }

    fn message(&self) -> &[u8] {
        &self.message
    }

    async fn end(self) -> Result<(), Failure> {
        Ok(self.manager.kill(self.process).await?)
    }
}

impl Shared for Heim {
    type Sender = (ProcessManagerHandle, ProcessId);

    fn sender(&self) -> Self::Sender {
        (self.manager.clone(), self.process)
    }

    async fn send_by((manager, process): &Self::Sender, message: &Bytes) -> Result<(), Failure> {
        Ok(manager.send_message(*process, &message[..]).await?)
    }

    async fn subscribe(&mut self) -> Result<Lengths, Failure> {
        let stream = self.manager.subscribe_message_stream(self.process).await?;
        Ok(Box::pin(stream.map(|message| {
            Ok(message.map(|message| message.into_bytes().len())?)
        })))
    }
}
