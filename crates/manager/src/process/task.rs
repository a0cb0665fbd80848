//! The task that owns one child from its start to its clean-up.
//!
//! It waits for what can happen (a verb of a handle, a sign that the child has started, the exit, the end of an
//! output, the manager's end),
//! turns it into an [`Input`], and applies what [`Lifecycle`] answers. It never waits for anything
//! that the child can delay.

mod ending;
mod open;
mod service;
mod start;
mod tasks;
mod tree;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant, SystemTime};

use procession_wire::{Escaped, FrameHead, Framing};
use tokio::sync::{oneshot, watch};

use super::spawn::{Attached, Launched};
use super::spawn_error::refused;
use super::{Asked, Control, Process};
use crate::clock;
use crate::containment::{Identity, LeftProcess, Outcome};
use crate::error::{RemoveProcessError, SignalProcessError, SpawnProcessError};
use crate::events::{Event, RemovalReason};
use crate::flag::Flag;
use crate::lifecycle::{
    Effect, ExitCause, Input, Lifecycle, OutputState, Plan, ProcessState, ResourceUsage,
};
use crate::logs::LogStream;
use crate::manager::context::Context;
use crate::messaging::outbox::Closed;
use crate::model::Runnable;
use crate::os::Reaped;
use crate::signal::Signal;
use crate::supervision::HealthState;
use service::Service;
pub(crate) use start::Startup;
use start::{News, Start};
use tasks::Tasks;

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
    /// It is supervised, and each run but the first waits for its release.
    pub(crate) gated: bool,
}

pub(crate) struct Task {
    process: Arc<Process>,
    context: Arc<Context>,
    requests: Asked,
    run: Run,
    /// There where it is supervised, once it has been started.
    service: Option<Box<Service>>,
    removals: Vec<oneshot::Sender<Result<(), RemoveProcessError>>>,
    /// Why it is being removed, where nobody has asked for that.
    removal: Option<RemovalReason>,
    shutdown: watch::Receiver<Option<Instant>>,
}

/// What is of one run.
struct Run {
    lifecycle: Lifecycle,
    child: Option<Attached>,
    max_rss_before: u64,
    outputs: Tasks<OutputState>,
    /// Hunts for its tree; one at a time.
    hunts: Tasks<Outcome>,
    /// Once it is being ended.
    ending: Option<Box<Ending>>,
    log_hooks: Tasks<()>,
    /// There once it has been started.
    start: Option<Start>,
    exit: Arc<Flag>,
}

/// The facts known of the end of a run.
#[derive(Default)]
struct Ending {
    /// The process's children before it was told to end: afterwards they are nobody's.
    children: Vec<Identity>,
    /// The processes that the last hunt has left.
    left: Vec<LeftProcess>,
    /// The kernel does not let us kill it.
    denied: bool,
}

impl Run {
    fn new(lifecycle: Lifecycle) -> Self {
        Self {
            lifecycle,
            child: None,
            max_rss_before: 0,
            outputs: Tasks::default(),
            hunts: Tasks::default(),
            ending: None,
            log_hooks: Tasks::default(),
            start: None,
            exit: Arc::default(),
        }
    }
}

impl Task {
    pub(crate) fn new(process: Arc<Process>, requests: Asked, context: Arc<Context>) -> Self {
        Self {
            shutdown: context.shutdown.subscribe(),
            process,
            context,
            requests,
            run: Run::new(Lifecycle::new()),
            service: None,
            removals: Vec::new(),
            removal: None,
        }
    }

    /// Starts the child, answers whoever asked for it, and stays with it to the end.
    pub(crate) fn run(
        self,
        runnable: Box<dyn Runnable>,
        options: SpawnOptions,
        reply: SpawnReply,
    ) -> impl Future<Output = ()> + Send {
        // Boxed, so that the room it takes is not kept for the child's whole life.
        let begin = Box::pin(self.begin(runnable, options, reply));
        async move {
            let mut begun = begin.await;
            // Used where it is: taken out, it would have room in this future twice.
            if let Some(task) = &mut begun {
                task.live().await;
            }
        }
    }

    /// Starts the child and answers whoever asked for it; nothing where it could not be started.
    async fn begin(
        mut self,
        runnable: Box<dyn Runnable>,
        options: SpawnOptions,
        reply: SpawnReply,
    ) -> Option<Self> {
        match self.start(runnable, options).await {
            Ok(at) => {
                self.begun(at).await;
                // If nobody takes it, it comes back and its drop ends the process.
                drop(reply.send(Ok(Spawned(Some(Arc::clone(&self.process))))));
                Some(self)
            }
            Err(error) => {
                self.run.lifecycle.step(Input::StartFailed, clock::now());
                self.forget(RemovalReason::StartFailed).await;
                let _ = reply.send(Err(error));
                None
            }
        }
    }

    async fn start(
        &mut self,
        runnable: Box<dyn Runnable>,
        options: SpawnOptions,
    ) -> Result<Instant, SpawnProcessError> {
        let context = Arc::clone(&self.context);
        let (again, launched) =
            service::launch(context, self.process.id(), 0, runnable, options).await;
        let launched = launched?;
        if let Some(rules) = launched.supervision {
            let check = launched.health_check.clone();
            self.service = Some(Box::new(Service::new(rules, check, again, options)));
            let service = super::Service {
                run: 0,
                health: HealthState::Unknown,
                end: None,
                held: None,
            };
            self.process
                .publish(|status| status.service = Some(Box::new(service)));
        }
        self.take_over(launched, options)
    }

    /// Runs from now on.
    async fn begun(&mut self, at: Instant) {
        let started = Input::Started {
            outputs: self.run.outputs.len(),
            frames: self.takes_frames(),
        };
        self.apply(started, at).await;
    }

    /// Takes charge of what was launched; says when that was.
    fn take_over(
        &mut self,
        launched: Launched,
        options: SpawnOptions,
    ) -> Result<Instant, SpawnProcessError> {
        let (at, started_at, pid) = (launched.started, launched.started_at, launched.child.pid());
        let program = launched.program.clone();
        let mut plan = Plan {
            grace: self.context.grace,
            timeout: launched.timeout,
            start: None,
            leftovers: launched.leftovers,
            cpu_limit: launched.cpu_limit,
            file_limit: launched.file_limit,
        };
        self.take_charge(launched, options)
            .map_err(|error| refused(&program, error))?;
        plan.start = self.run.start.as_ref().and_then(Start::time);
        self.run.lifecycle.plan(plan);
        self.process.publish(|status| {
            status.pid = Some(pid);
            status.started_at = Some(started_at);
        });
        tracing::debug!(process = %self.process.id(), pid, program = %Escaped::new(&program), "started");
        Ok(at)
    }

    /// Sees it to its end. What it waits for most of its life is small: all processes have this future.
    async fn live(&mut self) {
        while !self.run.lifecycle.is_over() {
            if self.service.is_some() {
                Box::pin(self.settle()).await;
            }
            let deadline = at(self.deadline());
            let input = tokio::select! {
                biased;
                Ok(()) = self.shutdown.changed() => self.shut_down(),
                Some(request) = poll_fn(|cx| self.requests.poll_next(cx)) => {
                    let request = self.asked_of_service(request);
                    match request.and_then(|request| self.requested(request)) {
                        Some(input) => input,
                        None => continue,
                    }
                }
                reaped = poll_fn(|cx| poll_exited(&mut self.run.child, cx)), if !self.run.exit.is_set() => self.reaped(reaped),
                Some(ended) = poll_fn(|cx| self.run.outputs.poll_next(cx)) => {
                    Input::OutputEnded(ended.unwrap_or(OutputState::Cut))
                }
                Some(hunted) = poll_fn(|cx| self.run.hunts.poll_next(cx)) => {
                    self.hunted(hunted.unwrap_or_default())
                }
                () = deadline => {
                    if let Some(service) = &mut self.service {
                        service.tell(crate::supervision::Input::Tick);
                    }
                    Input::Tick
                }
                happened = poll_fn(|cx| service::poll_next(&mut self.service, cx)) => {
                    Box::pin(self.happened(happened)).await;
                    continue;
                }
                news = poll_fn(|cx| poll_news(&mut self.run.start, cx)), if !self.run.exit.is_set() => {
                    // Boxed, as what follows: little happens to a process, and it waits for that all its life.
                    Box::pin(self.take_news(news)).await;
                    continue;
                }
            };
            if self.service.is_some() {
                // The end of the service comes before that of its last run.
                Box::pin(self.settle()).await;
            }
            Box::pin(self.apply(input, clock::now())).await;
        }
    }

    /// When to come back, whatever happens.
    fn deadline(&self) -> Option<Instant> {
        let service = self.service.as_ref().and_then(|service| service.deadline());
        let run = self.run.lifecycle.deadline();
        [run, service].into_iter().flatten().min()
    }

    async fn take_news(&mut self, news: News) {
        let Some(start) = &mut self.run.start else {
            return;
        };
        for input in start.take(news, &self.process, &self.context) {
            self.apply(input, clock::now()).await;
        }
    }

    fn shut_down(&mut self) -> Input {
        self.removal = Some(RemovalReason::ShutDown);
        self.shut_service_down();
        let until = *self.shutdown.borrow_and_update();
        let grace = until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(clock::now())
        });
        Input::ShutDown { grace }
    }

    /// What a request comes to; nothing, where it is answered here.
    fn requested(&mut self, request: Control) -> Option<Input> {
        Some(match request {
            Control::Stop { grace } => Input::Stop {
                grace: grace.unwrap_or(self.context.grace),
                cause: ExitCause::Stopped,
            },
            Control::Kill(cause) => Input::Kill(cause),
            Control::Abandon => Input::Abandon,
            Control::Restart(reply) => {
                let _ = reply.send(false);
                return None;
            }
            Control::Hold | Control::Release => return None,
            Control::Expire => {
                self.removal.get_or_insert(RemovalReason::Retention);
                Input::Remove
            }
            Control::Remove(reply) => {
                self.removals.push(reply);
                Input::Remove
            }
            Control::Signal(signal, reply) => {
                let sent = match &self.run.child {
                    Some(child) => child.signal(signal),
                    None => Ok(false),
                };
                let _ = reply.send(self.answer(sent));
                return None;
            }
            Control::SignalTree(signal, reply) => {
                let hunter = self.context.hunter.clone();
                if self.run.child.is_none() || self.run.exit.is_set() {
                    let _ = reply.send(self.answer(Ok(false)).map(|()| 0));
                    return None;
                }
                if !self.is_process() {
                    let sent = self
                        .run
                        .child
                        .as_ref()
                        .map_or(Ok(false), |it| it.signal(signal));
                    let _ = reply.send(self.answer(sent).map(|()| 1));
                    return None;
                }
                let tree = self.tree();
                tokio::spawn(async move {
                    let sent = hunter.signal(tree, signal.into()).await;
                    let _ = reply.send(sent.map_err(SignalProcessError::IoError));
                });
                return None;
            }
        })
    }

    fn takes_frames(&self) -> bool {
        let outbox = self.process.outbox();
        outbox.is_ok_and(|outbox| outbox.framing() == Framing::Frames)
    }

    fn reaped(&mut self, reaped: Option<Reaped>) -> Input {
        let group = self.run.child.as_ref().and_then(Attached::group);
        let usage = reaped.map(|reaped| ResourceUsage {
            user_time: reaped.user_time,
            system_time: reaped.system_time,
            peak_memory: group
                .and_then(|group| group.peak_memory())
                .or_else(|| (reaped.max_rss > self.run.max_rss_before).then_some(reaped.max_rss)),
        });
        Input::Exited {
            status: reaped.map(|reaped| reaped.status),
            usage,
            oom: group.is_some_and(|group| group.had_oom_kill()),
        }
    }

    async fn apply(&mut self, input: Input, now: Instant) {
        if input == Input::Begun {
            self.process.publish(|status| status.begun = true);
            self.service_started();
        }
        for effect in self.run.lifecycle.step(input, now) {
            match effect {
                Effect::SendStop => {
                    self.ends_with_its_group();
                    if let Ok(outbox) = self.process.outbox() {
                        outbox.control(FrameHead::Stop, b"");
                    }
                }
                // A process without an input to end is told by SIGTERM alone.
                Effect::EndInput => self.end_input(),
                Effect::TermTree if !self.is_process() => self.signal_alone(Signal::TERM),
                Effect::TermTree => {
                    self.ends_with_its_group();
                    self.note_children();
                    self.context.hunter.ask(self.tree(), Signal::TERM.into());
                }
                Effect::Kill => self.kill(),
                Effect::CloseInput => {
                    if let Ok(outbox) = self.process.outbox() {
                        outbox.close(Closed::Exited);
                    }
                }
                Effect::KillTree => self.hunt(true),
                Effect::TellLeft => self.tell_left(),
                Effect::LetGo => self.let_go().await,
                Effect::Hunt { urgent } => self.hunt(urgent),
                Effect::Hurry => self.context.hunter.hurry(self.tree().tag),
                Effect::StartOverdue => {
                    if let Some(start) = &self.run.start {
                        start::fail(&self.process, &start.overdue());
                    }
                }
                Effect::Publish(ProcessState::Finished) if self.is_kept_up() => {
                    self.run_is_over().await;
                }
                Effect::Publish(state) => self.publish(state).await,
                Effect::Report(mut report) => {
                    report.left = self.left();
                    self.process
                        .publish(|status| status.report = Some(Arc::new(report)));
                }
                Effect::Drain => {
                    self.run.exit.set();
                    if let Some(ending) = &mut self.run.ending {
                        // Itself, mostly; what else it is the next hunt finds again.
                        ending.left.clear();
                    }
                    if let Some(start) = &mut self.run.start {
                        start.end();
                    }
                    if let Some(child) = &mut self.run.child {
                        child.close();
                    }
                    if let Ok(outbox) = self.process.outbox() {
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
        // After the hunt that the exit has begun, which has it until it ends.
        if let Some(child) = self.run.child.as_mut().filter(|_| self.run.exit.is_set()) {
            child.leave_group();
        }
    }

    async fn publish(&mut self, state: ProcessState) {
        self.process.publish(|status| {
            status.state = state;
            if state == ProcessState::Exited {
                status.pid = None;
                status.ended_at = Some(SystemTime::now());
                if let Some(unended) = &mut status.unended {
                    unended.left = Arc::default();
                }
            }
        });
        let id = self.process.id();
        let info = self.process.info();
        let report = info.report();
        let event = match (state, info.pid(), report) {
            (ProcessState::Running, Some(pid), _) => Event::Running { id, pid },
            (ProcessState::Stopping, ..) => Event::Stopping { id },
            (ProcessState::Exited, _, Some(report)) => Event::Exited { id, report },
            (ProcessState::Finished, _, Some(report)) => Event::Finished { id, report },
            _ => return,
        };
        self.context.events.tell(event);
        if state == ProcessState::Running && self.run.start.as_ref().is_some_and(Start::is_nothing)
        {
            start::become_ready(&self.process, &self.context, None);
            self.service_started();
        }
        if state == ProcessState::Finished {
            self.context.finished(id).await;
        }
    }
}

/// Resolves at that time; without one, never, and then it has no room for a timer.
async fn at(deadline: Option<Instant>) {
    match deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into()))) {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}

/// Ready with what shows that it has started, or lives. These are polled, and are no futures with a state of their
/// own: all processes have it for their whole life.
fn poll_news(start: &mut Option<Start>, cx: &mut task::Context<'_>) -> Poll<News> {
    match start {
        Some(start) => start.poll_next(cx),
        None => Poll::Pending,
    }
}

/// Ready once, with the exit.
fn poll_exited(child: &mut Option<Attached>, cx: &mut task::Context<'_>) -> Poll<Option<Reaped>> {
    match child {
        Some(child) => child.poll_exited(cx),
        None => Poll::Pending,
    }
}

/// Logs that only `run` reads.
pub(crate) fn captured(process: &Process, name: LogStream) -> (bytes::Bytes, bool) {
    let run = process.channels().map(super::Channels::run);
    let Some(memory) = run.as_ref().and_then(|run| run.logs.memory(name)) else {
        return (bytes::Bytes::new(), false);
    };
    let mut memory = memory
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    (memory.bytes.split().freeze(), memory.over)
}
