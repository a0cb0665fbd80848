//! Procession: frames, with its defaults.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use procession_manager::{
    Cmd, Framing, Message, MessageFormat::Json, MessageSink, MessageStream, Messaging,
    ProcessHandle, ProcessManager, ProcessManagerHandle,
};

use super::{Lengths, Peer, Setup, Shared, Transport};
use crate::{
    Failure,
    child::{Kind, arguments},
};

pub(crate) struct Ours {
    manager: ProcessManagerHandle,
    process: ProcessHandle,
    stream: MessageStream,
    sink: MessageSink,
    message: Message,
}

impl Peer for Ours {
    const NAME: &'static str = "procession";

    async fn start(setup: Setup) -> Result<Self, Failure> {
        let manager = ProcessManager::in_temp()?;
        let messaging = match setup.transport {
            Transport::NamedPipes => Messaging::named_pipes(),
            Transport::StandardIo => Messaging::standard_io(),
        };
        let child = Cmd::new(std::env::current_exe()?)
            .args(arguments(Kind::Sdk, setup.job))
            .messaging(messaging.framing(Framing::Frames));
        let process = manager.spawn_with_handle(child).await?;
        let stream = process.subscribe_message_stream().await?;
        let sink = process.message_sink()?;
        Ok(Self {
            manager,
            process,
            stream,
            sink,
            message: Message::new(),
        })
    }

    async fn pid(&mut self) -> Result<u32, Failure> {
        let info = self.process.get_process_info().await?;
        Ok(info.pid().ok_or("the child has no process id")?)
    }

    async fn send(&mut self, message: &Bytes) -> Result<(), Failure> {
        Ok(self.process.send_message(message.clone()).await?)
    }

    async fn feed(&mut self, message: &Bytes) -> Result<(), Failure> {
        Ok(self.sink.feed(Message::from(message.clone())).await?)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.sink.flush().await?)
    }

    async fn receive(&mut self) -> Result<usize, Failure> {
        self.message = self.stream.next().await.ok_or("the child ended early")??;
        Ok(self.message.len())
    }

    fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    async fn end(self) -> Result<(), Failure> {
        Ok(self.manager.shutdown().await?)
    }
}

impl Ours {
    /// Asks a child that serves for the sum of some numbers.
    pub(crate) async fn sum(&mut self, numbers: &[f64]) -> Result<f64, Failure> {
        Ok(self.process.request_as(numbers, &Json).await?)
    }
}

impl Shared for Ours {
    type Sender = ProcessHandle;

    fn sender(&self) -> Self::Sender {
        self.process.clone()
    }

    async fn send_by(sender: &Self::Sender, message: &Bytes) -> Result<(), Failure> {
        Ok(sender.send_message(message.clone()).await?)
    }

    async fn subscribe(&mut self) -> Result<Lengths, Failure> {
        let stream = self.process.subscribe_message_stream().await?;
        Ok(Box::pin(
            stream.map(|message| Ok(message.map(|message| message.len())?)),
        ))
    }
}
