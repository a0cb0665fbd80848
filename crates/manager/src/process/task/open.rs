//! Taking charge of a child that has just been started: its exit is watched, its channels are opened.

use std::sync::{Arc, Mutex};

use procession_wire::{FrameDecoder, Framing, LineDecoder};
use tokio::runtime::Handle;

use super::super::close_input::Closing;
use super::super::spawn::{Launched, LogEnd, LogEndRoute};
use super::super::{Channels, RunChannels};
use super::start::{self, Start};
use super::{SpawnOptions, Task};
use crate::logs::{
    Appender, AppenderSlot, Budget, Capture, FileLog, FollowFrom, Log, LogHook, Logs, Memory,
    Route, Stored, Target, Watch,
};
use crate::messaging::buffer::Limits;
use crate::messaging::conversation::Conversation;
use crate::messaging::hub::Hub;
use crate::messaging::outbox::{Outbox, OutboxLimits};
use crate::messaging::pipe::{ReadPipe, WritePipe};
use crate::messaging::reader::{Decoder, Reader, Receivers};
use crate::messaging::signs::Signs;
use crate::messaging::source::Source;
use crate::model::Messaging;
use crate::supervision::Undelivered;

/// Messages and bytes that wait to be written to one child.
const QUEUED_BYTES: usize = 1024 * 1024;

impl Task {
    /// Watches the exit and opens the channels. If that fails, dropping the child ends it.
    pub(super) fn take_charge(
        &mut self,
        launched: Launched,
        options: SpawnOptions,
    ) -> std::io::Result<()> {
        let mut child = launched.child;
        child.watch()?;
        let number = self.process.info().run();
        let mut run = RunChannels::new(number, Closing::of(launched.ends.input_opened));
        let signs = Signs::default();
        let mut start = Start::new(&launched.startup, launched.messaging.as_ref(), &signs);
        let mut outbox = None;
        let mut hub = None;
        let mut reader = None;
        if let Some(messaging) = &launched.messaging {
            if let Some(end) = launched.ends.input {
                let pipe = end.into_writer()?;
                let undelivered = launched.supervision.map(|rules| rules.undelivered_policy());
                let limits = outbox_limits(messaging, launched.ends.output.is_some(), undelivered);
                outbox = Some(self.outbox(pipe, limits, &run.closing)?);
            }
            if let Some(end) = launched.ends.output {
                let all = self.hub(messaging, launched.supervision.is_some())?;
                let pipe = end.into_reader()?;
                let source = self.source(pipe);
                let frames = messaging.chosen_framing() == Framing::Frames;
                if let Some(outbox) = outbox.clone().filter(|_| frames) {
                    let (id, runtime) = (self.process.id(), Handle::current());
                    let handler = self.process.handler().or(launched.handler);
                    let asked = Conversation::new(id, outbox, handler, runtime);
                    run.pings = start.send_pings(messaging, &asked);
                    run.conversation = Some(asked);
                }
                let receivers = Receivers {
                    hub: Arc::clone(&all),
                    conversation: run.conversation.clone(),
                    signs,
                    pings: run.pings.clone(),
                };
                reader = Some(Reader::new(source, decoder(messaging), receivers));
                hub = Some(all);
            }
        }
        let budget = Budget::new(launched.log_limit);
        for end in launched.ends.logs {
            self.capture(end, options, &budget, &mut run.logs)?;
        }
        let hooks = [launched.log_hook, self.context.log_hook.clone()];
        self.start_hooks(&run.logs, hooks);
        if let Some(channels) = self.process.channels() {
            channels.next_run(run);
        } else {
            let readers = self.context.log_readers.clone();
            let mut channels = Channels::new(outbox, hub.clone(), readers, launched.program, run);
            channels.past = launched.supervision.map(|_| Box::default());
            self.process.open(channels);
        }
        if let Some(reader) = reader {
            // Whoever is told of the run finds its channels, and what it writes comes after that.
            if let Some(hub) = hub.filter(|_| number > 0) {
                hub.next_run(number);
            }
            self.run.outputs.spawn(reader.run());
        }
        let readiness = launched.startup.readiness.as_ref();
        let log =
            readiness.and_then(|wanted| start::follower(&self.process, &self.context, wanted));
        start.watch(launched.startup.socket, log);
        self.run.start = Some(start);
        self.run.max_rss_before = launched.max_rss_before;
        self.run.child = Some(child);
        Ok(())
    }

    /// The process's outbox, from now on with this pipe.
    fn outbox(
        &self,
        pipe: WritePipe,
        limits: OutboxLimits,
        closing: &Closing,
    ) -> std::io::Result<Arc<Outbox>> {
        let runtime = Handle::current();
        let release = closing.release(&self.run.exit, runtime.clone());
        let Some(channels) = self.process.channels() else {
            return Ok(Outbox::new(pipe, limits, runtime, release));
        };
        match &channels.outbox {
            Some(outbox) if outbox.framing() == limits.framing => {
                outbox.next_run(pipe, release);
                Ok(Arc::clone(outbox))
            }
            _ => Err(other_messaging()),
        }
    }

    /// The process's subscriptions.
    fn hub(&self, messaging: &Messaging, with_runs: bool) -> std::io::Result<Arc<Hub>> {
        let Some(channels) = self.process.channels() else {
            return Ok(Hub::new(hub_limits(messaging), with_runs));
        };
        let Some(hub) = &channels.hub else {
            return Err(other_messaging());
        };
        Ok(Arc::clone(hub))
    }

    fn source(&self, pipe: ReadPipe) -> Source<ReadPipe> {
        Source::new(pipe, Arc::clone(&self.run.exit), self.context.drain)
    }

    fn capture(
        &mut self,
        end: LogEnd,
        options: SpawnOptions,
        budget: &Arc<Budget>,
        logs: &mut Logs,
    ) -> std::io::Result<()> {
        let log = |route| Log::new(self.process.id(), end.stream, route, &self.context);
        let (pipe, target) = match end.route {
            LogEndRoute::Pipe(pipe, dir) => {
                let total = Arc::clone(&self.context.log_budget);
                let (appender, store) = Appender::new(&dir, end.stream, Arc::clone(budget), total);
                let log = log(Route::Pipe(store));
                logs.add(Arc::clone(&log));
                let stored = Stored {
                    log,
                    appender: AppenderSlot::new(appender),
                    pool: self.context.log_pool.clone(),
                };
                (pipe, Target::Store(stored))
            }
            LogEndRoute::Memory(pipe) => {
                let memory = Arc::new(Mutex::new(Memory::default()));
                logs.add_memory(end.stream, Arc::clone(&memory));
                let target = Target::Memory {
                    memory,
                    limit: options.capture.unwrap_or(0),
                    process: Arc::downgrade(&self.process),
                };
                (pipe, target)
            }
            LogEndRoute::File(file) => {
                let file = Arc::new(file);
                let log = log(Route::File(Arc::new(FileLog::new(Arc::clone(&file)))));
                logs.add(Arc::clone(&log));
                let watch = Watch {
                    log,
                    file,
                    exit: Arc::clone(&self.run.exit),
                    events: Arc::clone(&self.context.files),
                    bounds: self.context.drain,
                    pool: self.context.log_readers.clone(),
                };
                self.run.outputs.spawn(watch.run());
                return Ok(());
            }
        };
        let source = self.source(ReadPipe::new(pipe, false)?);
        self.run.outputs.spawn(Capture { source, target }.run());
        Ok(())
    }

    fn start_hooks(&mut self, logs: &Logs, hooks: [Option<LogHook>; 2]) {
        for hook in hooks.into_iter().flatten() {
            for log in logs.all() {
                let follower = log.follow(FollowFrom::Beginning, &self.context.log_readers);
                self.run
                    .log_hooks
                    .spawn(hook.clone().run(self.process.id(), follower));
            }
        }
    }
}

/// A run has other channels than the first had.
fn other_messaging() -> std::io::Error {
    std::io::Error::other(
        "its messaging is not that of its first run: what is supervised has to keep its pipes and its framing",
    )
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

fn outbox_limits(
    messaging: &Messaging,
    has_output: bool,
    undelivered: Option<Undelivered>,
) -> OutboxLimits {
    OutboxLimits {
        framing: messaging.chosen_framing(),
        // A child that only reads sends no hello and grants nothing.
        with_credit: has_output && messaging.chosen_framing() == Framing::Frames,
        message: messaging.largest_message(),
        messages: messaging.buffered_messages(),
        bytes: messaging.buffered_bytes().max(QUEUED_BYTES),
        undelivered,
    }
}

fn hub_limits(messaging: &Messaging) -> Limits {
    Limits {
        messages: messaging.buffered_messages(),
        bytes: u64::try_from(messaging.buffered_bytes()).unwrap_or(u64::MAX),
        overflow: messaging.overflow_policy(),
    }
}
