//! The task that owns one child from its start to its clean-up.
//!
//! It waits for what can happen (a request, the exit, the end of an output, the manager's end),
//! turns it into an [`Input`], and applies what [`Lifecycle`] answers. It never waits for anything
//! that the child can delay.

use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use procession_wire::{FrameDecoder, Framing, LineDecoder};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::close_input::Closing;
use super::spawn::{Child, Launch, Launched, LogEnd, LogName};
use super::spawn_error::refused;
use super::{Channels, Control, Process};
use crate::error::{RemoveProcessError, SpawnProcessError};
use crate::flag::Flag;
use crate::lifecycle::{Effect, Input, Lifecycle, OutputState, ProcessState, ResourceUsage};
use crate::logs::{Capture, Logs, Memory, Target};
use crate::manager::context::Context;
use crate::messaging::buffer::Limits;
use crate::messaging::hub::Hub;
use crate::messaging::outbox::{Closed, Outbox, OutboxLimits};
use crate::messaging::pipe::{ReadPipe, WritePipe};
use crate::messaging::reader::{Decoder, Reader};
use crate::messaging::source::Source;
use crate::model::{Messaging, Runnable};
use crate::os::Reaped;

/// Messages and bytes that wait to be written to one child.
const QUEUED_BYTES: usize = 1024 * 1024;

/// The answer to a spawn. Dropped on its way to somebody who went away, it ends the process.
#[derive(Debug)]
pub(crate) struct Spawned(Option<Arc<Process>>);

impl Spawned {
    /// Whoever asked has it now.
    pub(crate) fn accept(mut self) -> Option<Arc<Process>> {
        self.0.take()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            Process::abandon(&process);
        }
    }
}

pub(crate) type SpawnReply = oneshot::Sender<Result<Spawned, SpawnProcessError>>;

/// What is asked for beside the command.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SpawnOptions {
    /// Take stdout and stderr into memory, this many bytes of each at most.
    pub(crate) capture: Option<usize>,
}

pub(crate) struct Task {
    process: Arc<Process>,
    context: Arc<Context>,
    requests: mpsc::Receiver<Control>,
    lifecycle: Lifecycle,
    child: Option<Child>,
    max_rss_before: u64,
    outputs: JoinSet<OutputState>,
    exit: Arc<Flag>,
    removals: Vec<oneshot::Sender<Result<(), RemoveProcessError>>>,
    shutting_down: bool,
}

impl Task {
    pub(crate) fn new(
        process: Arc<Process>,
        requests: mpsc::Receiver<Control>,
        context: Arc<Context>,
    ) -> Self {
        Self {
            process,
            context,
            requests,
            lifecycle: Lifecycle::new(),
            child: None,
            max_rss_before: 0,
            outputs: JoinSet::new(),
            exit: Arc::default(),
            removals: Vec::new(),
            shutting_down: false,
        }
    }

    /// Starts the child, answers whoever asked for it, and stays with it to the end.
    pub(crate) async fn run(
        mut self,
        runnable: Box<dyn Runnable>,
        options: SpawnOptions,
        reply: SpawnReply,
    ) {
        // Boxed, so that the room it takes is not kept for the child's whole life.
        let started = Box::pin(self.start(runnable, options)).await;
        match started {
            Ok(at) => {
                let outputs = self.outputs.len();
                self.apply(Input::Started { outputs }, at).await;
                // If nobody takes it, it comes back and its drop ends the process.
                drop(reply.send(Ok(Spawned(Some(Arc::clone(&self.process))))));
                self.live().await;
                self.forget().await;
            }
            Err(error) => {
                self.lifecycle.step(Input::StartFailed, Instant::now());
                self.forget().await;
                let _ = reply.send(Err(error));
            }
        }
    }

    async fn start(
        &mut self,
        runnable: Box<dyn Runnable>,
        options: SpawnOptions,
    ) -> Result<Instant, SpawnProcessError> {
        let launch = Launch {
            id: self.process.id(),
            runnable,
            dir: Arc::clone(&self.context.dir),
            files: Arc::clone(&self.context.files),
            capture: options.capture.is_some(),
        };
        let launched = self
            .context
            .pool
            .run(move || launch.run())
            .await
            .map_err(|error| refused("a thread for starting processes", error))??;
        let (at, started_at, pid) = (launched.started, launched.started_at, launched.child.pid());
        let program = launched.program.clone();
        self.take_charge(launched, options)
            .map_err(|error| refused(&program, error))?;
        self.process.publish(|status| {
            status.pid = Some(pid);
            status.started_at = Some(started_at);
        });
        tracing::debug!(process = %self.process.id(), pid, program, "started");
        Ok(at)
    }

    /// Watches the exit and opens the channels. If that fails, dropping the child ends it.
    fn take_charge(&mut self, launched: Launched, options: SpawnOptions) -> std::io::Result<()> {
        let mut child = launched.child;
        child.watch()?;
        let mut channels = Channels {
            outbox: None,
            hub: None,
            logs: Logs::default(),
            closing: Closing::of(launched.ends.input_opened),
            program: launched.program,
        };
        if let Some(messaging) = &launched.messaging {
            if let Some(end) = launched.ends.input {
                let pipe = WritePipe::new(end.fd)?;
                let has_output = launched.ends.output.is_some();
                let limits = outbox_limits(messaging, has_output);
                let runtime = Handle::current();
                let release = channels.closing.release(&self.exit, runtime.clone());
                channels.outbox = Some(Outbox::new(pipe, limits, runtime, release));
            }
            if let Some(end) = launched.ends.output {
                let hub = Hub::new(hub_limits(messaging));
                let pipe = ReadPipe::new(end.fd, end.fifo)?;
                let source = self.source(pipe);
                let outbox = channels.outbox.clone();
                let reader = Reader::new(source, decoder(messaging), Arc::clone(&hub), outbox);
                self.outputs.spawn(reader.run());
                channels.hub = Some(hub);
            }
        }
        for end in launched.ends.logs {
            self.capture(end, options, &mut channels.logs)?;
        }
        self.process.open(channels);
        self.max_rss_before = launched.max_rss_before;
        self.child = Some(child);
        Ok(())
    }

    fn source(&self, pipe: ReadPipe) -> Source<ReadPipe> {
        Source::new(pipe, Arc::clone(&self.exit), self.context.drain)
    }

    fn capture(
        &mut self,
        end: LogEnd,
        options: SpawnOptions,
        logs: &mut Logs,
    ) -> std::io::Result<()> {
        let source = self.source(ReadPipe::new(end.pipe, false)?);
        let target = if let Some((path, file)) = end.file {
            logs.add_file(end.name, path);
            Target::File(file)
        } else {
            let memory = Arc::new(Mutex::new(Memory::default()));
            logs.add_memory(end.name, Arc::clone(&memory));
            Target::Memory {
                memory,
                limit: options.capture.unwrap_or(0),
                control: self.process.control.downgrade(),
            }
        };
        self.outputs.spawn(Capture { source, target }.run());
        Ok(())
    }

    async fn live(&mut self) {
        while !self.lifecycle.is_over() {
            let input = tokio::select! {
                biased;
                () = self.context.shutdown.cancelled(), if !self.shutting_down => {
                    self.shutting_down = true;
                    Input::ShutDown
                }
                Some(request) = self.requests.recv() => match request {
                    Control::Kill(cause) => Input::Kill(cause),
                    Control::Abandon => Input::Abandon,
                    Control::Remove(reply) => {
                        self.removals.push(reply);
                        Input::Remove
                    }
                },
                reaped = exited(&mut self.child), if !self.exit.is_set() => self.reaped(reaped),
                Some(ended) = self.outputs.join_next() => {
                    Input::OutputEnded(ended.unwrap_or(OutputState::Cut))
                }
            };
            self.apply(input, Instant::now()).await;
        }
    }

    fn reaped(&mut self, reaped: Option<Reaped>) -> Input {
        let usage = reaped.map(|reaped| ResourceUsage {
            user_time: reaped.user_time,
            system_time: reaped.system_time,
            peak_memory: (reaped.max_rss > self.max_rss_before).then_some(reaped.max_rss),
        });
        Input::Exited {
            status: reaped.map(|reaped| reaped.status),
            usage,
        }
    }

    async fn apply(&mut self, input: Input, now: Instant) {
        for effect in self.lifecycle.step(input, now) {
            match effect {
                Effect::KillTree => {
                    if let Some(child) = &self.child {
                        child.kill_group();
                    }
                }
                Effect::Publish(state) => self.process.publish(|status| {
                    status.state = state;
                    if state == ProcessState::Exited {
                        status.pid = None;
                        status.ended_at = Some(SystemTime::now());
                    }
                }),
                Effect::Report(report) => {
                    self.process
                        .publish(|status| status.report = Some(Arc::new(report)));
                }
                Effect::Drain => {
                    self.exit.set();
                    if let Some(child) = &mut self.child {
                        child.close();
                    }
                    if let Some(outbox) = self
                        .process
                        .channels()
                        .and_then(|channels| channels.outbox.as_ref())
                    {
                        outbox.close(Closed::Exited);
                    }
                }
                Effect::RefuseRemoval => {
                    for reply in self.removals.drain(..) {
                        let _ =
                            reply.send(Err(RemoveProcessError::StillRunning(self.process.id())));
                    }
                }
                Effect::CleanUp => self.clean_up().await,
            }
        }
    }

    async fn clean_up(&mut self) {
        let Some(run_dir) = self.child.take().and_then(|mut child| child.take_run_dir()) else {
            return;
        };
        // From here on handles see that it is gone, before anybody is told that it was removed.
        self.requests.close();
        let path = run_dir.path().to_owned();
        let removed = self.context.pool.run(move || run_dir.remove()).await;
        self.forget().await;
        let error = match removed {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error),
        };
        if let Some(error) = &error {
            tracing::warn!(directory = %path.display(), %error, "cannot remove a run directory");
        }
        let mut error = error;
        for reply in self.removals.drain(..) {
            let _ = reply.send(match error.take() {
                Some(source) => Err(RemoveProcessError::CannotRemoveRunDirectory {
                    path: path.clone(),
                    source,
                }),
                None => Ok(()),
            });
        }
    }

    /// Takes it off the registry. Where the manager is at its end that is as good as done.
    async fn forget(&mut self) {
        self.context.forget(self.process.id()).await;
    }
}

/// Resolves once, with the exit.
async fn exited(child: &mut Option<Child>) -> Option<Reaped> {
    match child {
        Some(child) => child.exited().await,
        None => std::future::pending().await,
    }
}

fn decoder(messaging: &Messaging) -> Decoder {
    let limit = messaging.largest_message();
    if messaging.chosen_framing() == Framing::Frames {
        let skip = messaging.skipped_before_hello();
        Decoder::Frames(FrameDecoder::new(limit).expecting_hello(skip))
    } else {
        let lines = LineDecoder::new(limit);
        Decoder::Lines { lines, limit }
    }
}

fn outbox_limits(messaging: &Messaging, has_output: bool) -> OutboxLimits {
    OutboxLimits {
        framing: messaging.chosen_framing(),
        // A child that only reads sends no hello and grants nothing.
        with_credit: has_output && messaging.chosen_framing() == Framing::Frames,
        message: messaging.largest_message(),
        messages: messaging.buffered_messages(),
        bytes: messaging.buffered_bytes().max(QUEUED_BYTES),
    }
}

fn hub_limits(messaging: &Messaging) -> Limits {
    Limits {
        messages: messaging.buffered_messages(),
        bytes: u64::try_from(messaging.buffered_bytes()).unwrap_or(u64::MAX),
        overflow: messaging.overflow_policy(),
    }
}

/// Logs that only `run` reads.
pub(crate) fn captured(process: &Process, name: LogName) -> (bytes::Bytes, bool) {
    let Some(memory) = process
        .channels()
        .and_then(|channels| channels.logs.memory(name))
    else {
        return (bytes::Bytes::new(), false);
    };
    let mut memory = memory
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    (memory.bytes.split().freeze(), memory.over)
}
