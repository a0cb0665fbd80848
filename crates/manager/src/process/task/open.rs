//! Taking charge of a child that has just been started: its exit is watched, its channels are opened.

use std::sync::{Arc, Mutex};

use procession_wire::{FrameDecoder, Framing, LineDecoder};
use tokio::runtime::Handle;

use super::super::Channels;
use super::super::close_input::Closing;
use super::super::spawn::{Launched, LogEnd, LogEndRoute};
use super::start::{self, Start};
use super::{SpawnOptions, Task};
use crate::logs::{
    Appender, Budget, Capture, FileLog, FollowFrom, Log, LogHook, Logs, Memory, Route, Stored,
    Target, Watch,
};
use crate::messaging::buffer::Limits;
use crate::messaging::conversation::Conversation;
use crate::messaging::hub::Hub;
use crate::messaging::outbox::{Outbox, OutboxLimits};
use crate::messaging::pipe::ReadPipe;
use crate::messaging::reader::{Decoder, Reader, Receivers};
use crate::messaging::signs::Signs;
use crate::messaging::source::Source;
use crate::model::Messaging;

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
        let mut channels = Channels {
            outbox: None,
            hub: None,
            conversation: None,
            pings: None,
            log_readers: self.context.log_readers.clone(),
            logs: Logs::default(),
            closing: Closing::of(launched.ends.input_opened),
            program: launched.program,
        };
        let signs = Signs::default();
        let mut start = Start::new(&launched.startup, launched.messaging.as_ref(), &signs);
        if let Some(messaging) = &launched.messaging {
            if let Some(end) = launched.ends.input {
                let pipe = end.into_writer()?;
                let has_output = launched.ends.output.is_some();
                let limits = outbox_limits(messaging, has_output);
                let runtime = Handle::current();
                let release = channels.closing.release(&self.exit, runtime.clone());
                channels.outbox = Some(Outbox::new(pipe, limits, runtime, release));
            }
            if let Some(end) = launched.ends.output {
                let hub = Hub::new(hub_limits(messaging));
                let pipe = end.into_reader()?;
                let source = self.source(pipe);
                if let Some(outbox) = frames_to(&channels, messaging) {
                    let (id, runtime) = (self.process.id(), Handle::current());
                    let asked = Conversation::new(id, outbox, launched.handler, runtime);
                    channels.pings = start.send_pings(messaging, &asked);
                    channels.conversation = Some(asked);
                }
                let receivers = Receivers {
                    hub: Arc::clone(&hub),
                    conversation: channels.conversation.clone(),
                    signs,
                    pings: channels.pings.clone(),
                };
                let reader = Reader::new(source, decoder(messaging), receivers);
                self.outputs.spawn(reader.run());
                channels.hub = Some(hub);
            }
        }
        let budget = Budget::new(launched.log_limit);
        for end in launched.ends.logs {
            self.capture(end, options, &budget, &mut channels.logs)?;
        }
        let hooks = [launched.log_hook, self.context.log_hook.clone()];
        self.start_hooks(&channels.logs, hooks);
        self.process.open(channels);
        let readiness = launched.startup.readiness.as_ref();
        let log =
            readiness.and_then(|wanted| start::follower(&self.process, &self.context, wanted));
        start.watch(launched.startup.socket, log);
        self.start = Some(start);
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
                    appender: Arc::new(Mutex::new(appender)),
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
                    exit: Arc::clone(&self.exit),
                    events: Arc::clone(&self.context.files),
                    bounds: self.context.drain,
                    pool: self.context.log_readers.clone(),
                };
                self.outputs.spawn(watch.run());
                return Ok(());
            }
        };
        let source = self.source(ReadPipe::new(pipe, false)?);
        self.outputs.spawn(Capture { source, target }.run());
        Ok(())
    }

    fn start_hooks(&mut self, logs: &Logs, hooks: [Option<LogHook>; 2]) {
        for hook in hooks.into_iter().flatten() {
            for log in logs.all() {
                let follower = log.follow(FollowFrom::Beginning, &self.context.log_readers);
                self.log_hooks
                    .spawn(hook.clone().run(self.process.id(), follower));
            }
        }
    }
}

/// The way to a child that speaks frames.
fn frames_to(channels: &Channels, messaging: &Messaging) -> Option<Arc<Outbox>> {
    let frames = messaging.chosen_framing() == Framing::Frames;
    channels.outbox.clone().filter(|_| frames)
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
