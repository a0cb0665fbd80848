//! Keeping the process up: from the end of a run to the next.
//!
//! ```text
//!  the run's lifecycle ──► Spawned, Started, Exited ─┐                ┌─► begin the next run: launch, take charge
//!  handles, the manager ─► Stop, Kill, Restart ──────┼─► Supervised ──┼─► stop or kill the run
//!  health check ─────────► Success, Miss ────────────┘                └─► the end, for ever
//! ```
//!
//! What [`Supervised`] answers waits in `todo` until the task is at the top of its loop, so that a run is never
//! replaced while its effects are being applied. The end alone is applied where it arises: the clean-up of a run that
//! was to be removed comes right after it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::spawn::{Launch, Launched};
use super::super::spawn_error::refused;
use super::super::{PastRun, Process, StartState};
use super::ending::keep_failed;
use super::tasks::Tasks;
use super::{Control, Run, SpawnOptions, Task};
use crate::clock;
use crate::error::{RemoveProcessError, SpawnProcessError};
use crate::events::Event;
use crate::handle::{HealthCheck, ProcessHandle};
use crate::id::ProcessId;
use crate::lifecycle::{ExitCause, ExitReport, Input, Lifecycle, ProcessState};
use crate::manager::context::Context;
use crate::messaging::outbox::Closed;
use crate::model::Runnable;
use crate::supervision::{
    self, Effect, HealthState, PermanentEnd, Probe, RestartPolicy, State, StopReason, Supervised,
    Supervision, Then,
};

/// What comes of a launch, and what says what to run, where it may be run again.
pub(super) type Outcome = (
    Option<Box<dyn Runnable>>,
    Result<Launched, SpawnProcessError>,
);
type Launching = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub(super) struct Service {
    machine: Supervised,
    /// How often it was held back from its next run.
    held: u64,
    rules: Supervision,
    /// Away while it is being launched.
    runnable: Option<Box<dyn Runnable>>,
    options: SpawnOptions,
    dice: fastrand::Rng,
    launching: Option<Launching>,
    todo: Vec<Effect>,
    health_check: Option<HealthCheck>,
    probing: Tasks<()>,
    probes: Option<mpsc::Receiver<Probe>>,
}

/// What happened to a service, beside what happens to its run.
pub(super) enum Happened {
    Launched(Box<Outcome>),
    Probed(Probe),
}

impl Service {
    /// Of a process that has just been launched for the first time.
    pub(super) fn new(
        rules: Supervision,
        health_check: Option<HealthCheck>,
        runnable: Option<Box<dyn Runnable>>,
        options: SpawnOptions,
    ) -> Self {
        let now = clock::now();
        let machine = Supervised::new(rules, now);
        let mut service = Self {
            machine: if options.gated {
                machine.gated()
            } else {
                machine
            },
            held: 0,
            rules,
            runnable,
            options,
            dice: match rules.seed_value() {
                Some(seed) => fastrand::Rng::with_seed(seed),
                None => fastrand::Rng::new(),
            },
            launching: None,
            todo: Vec::new(),
            health_check,
            probing: Tasks::default(),
            probes: None,
        };
        service.tell(supervision::Input::Tick);
        service.tell(supervision::Input::Spawned { run: 0 });
        // It has been begun, and there is nobody who could have been there before it.
        service.todo.clear();
        service
    }

    pub(super) fn tell(&mut self, input: supervision::Input) {
        let dice = &mut self.dice;
        let mut draw = |most: Duration| {
            let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
            Duration::from_nanos(dice.u64(..=nanos))
        };
        let effects = self.machine.step(input, clock::now(), &mut draw);
        self.todo.extend(effects);
    }

    /// The same for what is asked of the run as well, with more to it than the machine knows.
    fn tell_beside_its_run(&mut self, input: supervision::Input) {
        self.tell(input);
        self.todo
            .retain(|effect| !matches!(effect, Effect::StopRun(_) | Effect::KillRun));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.machine.state(), State::Ended(_))
    }

    fn poll_next(&mut self, cx: &mut TaskContext<'_>) -> Poll<Happened> {
        if let Some(launching) = &mut self.launching
            && let Poll::Ready(outcome) = launching.as_mut().poll(cx)
        {
            self.launching = None;
            return Poll::Ready(Happened::Launched(Box::new(outcome)));
        }
        if let Some(probes) = &mut self.probes
            && let Poll::Ready(Some(probe)) = probes.poll_recv(cx)
        {
            return Poll::Ready(Happened::Probed(probe));
        }
        Poll::Pending
    }

    /// Its run counts as started: it is asked from now on how it is.
    fn probe(&mut self, process: &Arc<Process>, context: &Arc<Context>) {
        let Some(check) = self.health_check.clone() else {
            return;
        };
        let (tell, probes) = mpsc::channel(1);
        self.probes = Some(probes);
        let process = Arc::downgrade(process);
        let context = Arc::downgrade(context);
        self.probing.spawn(async move {
            loop {
                tokio::time::sleep(check.interval()).await;
                let handle = || {
                    let (process, context) = (process.upgrade()?, context.upgrade()?);
                    Some(ProcessHandle::new(process, context.handle()?))
                };
                let Some(handle) = handle() else {
                    return;
                };
                let probe = if check.passes(handle).await {
                    Probe::Success
                } else {
                    Probe::Miss
                };
                if tell.send(probe).await.is_err() {
                    return;
                }
            }
        });
    }

    fn stop_probing(&mut self) {
        self.probes = None;
        self.probing = Tasks::default();
    }
}

/// Starts a run of a process. On failure nothing is left.
pub(super) async fn launch(
    context: Arc<Context>,
    id: ProcessId,
    run: u64,
    runnable: Box<dyn Runnable>,
    options: SpawnOptions,
) -> Outcome {
    #[cfg(any(test, feature = "test-util"))]
    if let Some(scripted) = runnable.scripted() {
        return (Some(runnable), scripted.launch());
    }
    context.ready.wait().await;
    let launch = Launch {
        id,
        run,
        runnable,
        dir: Arc::clone(&context.dir),
        files: Arc::clone(&context.files),
        capture: options.capture.is_some(),
    };
    match context.pool.run(move || launch.run()).await {
        Ok(outcome) => outcome,
        Err(error) => (None, Err(refused("a thread for starting processes", error))),
    }
}

/// Removes what is kept of a run.
pub(super) async fn forget_run(process: &Process, context: &Context, mut run: PastRun) {
    keep_failed(process, context, &run.channels, &run.report, run.number).await;
    run.channels.logs.all().iter().for_each(|log| log.removed());
    if let Some(run_dir) = run.run_dir.take() {
        let removed = context.pool.run(move || run_dir.remove()).await;
        if let Ok(Err(error)) | Err(error) = removed {
            tracing::warn!(process = %process.id(), run = run.number, %error, "cannot remove a run directory");
        }
    }
}

/// Ready with what happens to it, where there is one.
pub(super) fn poll_next(
    service: &mut Option<Box<Service>>,
    cx: &mut TaskContext<'_>,
) -> Poll<Happened> {
    match service {
        Some(service) => service.poll_next(cx),
        None => Poll::Pending,
    }
}

impl Task {
    /// Whether there is a service that may go on.
    pub(super) fn is_kept_up(&self) -> bool {
        self.service
            .as_ref()
            .is_some_and(|service| !service.is_over())
    }

    /// Ends the input of the run. Where another may follow, what is queued and what comes waits for that.
    pub(super) fn end_input(&self) {
        let goes_on = self.service.as_ref().is_some_and(|service| {
            let state = service.machine.state();
            let then = |then| matches!(then, Then::End(_));
            !matches!(state, State::Ended(_))
                && !matches!(state, State::Stopping { then: it, .. } if then(it))
        });
        match self.process.outbox() {
            Ok(outbox) if goes_on => outbox.close(Closed::Exited),
            _ => drop(self.process.close_input()),
        }
    }

    fn run_number(&self) -> u64 {
        self.process.info().run()
    }

    /// Takes note of a request that concerns the service; gives it back where it concerns the run as well.
    pub(super) fn asked_of_service(&mut self, request: Control) -> Option<Control> {
        let id = self.process.id();
        let Some(service) = self.service.as_mut().filter(|service| !service.is_over()) else {
            if let Control::Restart(reply) = request {
                let _ = reply.send(false);
                return None;
            }
            return Some(request);
        };
        match &request {
            Control::Stop { .. } => service.tell_beside_its_run(supervision::Input::Stop),
            Control::Restart(_) => {
                service.tell(supervision::Input::Restart);
                if let Control::Restart(reply) = request {
                    let _ = reply.send(true);
                }
                return None;
            }
            Control::Hold => {
                service.tell(supervision::Input::Hold);
                return None;
            }
            Control::Release => {
                service.tell(supervision::Input::Release);
                return None;
            }
            Control::Remove(_) => {
                if let Control::Remove(reply) = request {
                    let _ = reply.send(Err(RemoveProcessError::StillRunning(id)));
                }
                return None;
            }
            Control::Expire => return None,
            Control::Kill(ExitCause::LimitExceeded)
            | Control::Signal(..)
            | Control::SignalTree(..) => {}
            Control::Kill(_) | Control::Abandon => {
                service.tell_beside_its_run(supervision::Input::Kill);
            }
        }
        Some(request)
    }

    /// The manager ends.
    pub(super) fn shut_service_down(&mut self) {
        if let Some(service) = &mut self.service {
            service.tell_beside_its_run(supervision::Input::ShutDown);
        }
    }

    /// Does what the rules say is to be done.
    pub(super) async fn settle(&mut self) {
        self.publish_hold();
        while let Some(service) = &mut self.service
            && !service.todo.is_empty()
        {
            match service.todo.remove(0) {
                Effect::StartRun { run } => self.begin_run(run).await,
                Effect::StopRun(reason) => {
                    let (grace, cause) = match reason {
                        StopReason::Requested => (None, ExitCause::Stopped),
                        StopReason::Restart => (None, ExitCause::Restarted),
                        StopReason::Unhealthy => (None, ExitCause::Unhealthy),
                        StopReason::ShutDown => (None, ExitCause::ManagerShutDown),
                    };
                    let grace = grace.unwrap_or(self.context.grace);
                    self.apply(Input::Stop { grace, cause }, clock::now()).await;
                }
                Effect::KillRun => {
                    self.apply(Input::Kill(ExitCause::Killed), clock::now())
                        .await;
                }
                // Told when its process is taken charge of.
                Effect::NewRun { .. } => {}
                Effect::Announce(end) => self.end_service(end).await,
            }
        }
    }

    /// Tells whether it is held back, where that has changed.
    fn publish_hold(&mut self) {
        let Some(service) = &mut self.service else {
            return;
        };
        let is_held = service.machine.is_held();
        let was_held = self.process.is_held();
        if is_held == was_held {
            return;
        }
        service.held += u64::from(is_held);
        let held = is_held.then_some(service.held);
        self.process.publish(|status| {
            if let Some(service) = &mut status.service {
                service.held = held;
            }
        });
    }

    /// The run counts as started.
    pub(super) fn service_started(&mut self) {
        let run = self.run_number();
        if let Some(service) = &mut self.service {
            service.tell(supervision::Input::Started { run });
            if matches!(service.machine.state(), State::Up { .. }) {
                service.probe(&self.process, &self.context);
            }
        }
    }

    /// The run is over, and nothing of it is left.
    pub(super) async fn run_is_over(&mut self) {
        let info = self.process.info();
        let Some((service, report)) = self.service.as_mut().zip(info.report()) else {
            return;
        };
        service.stop_probing();
        let by_itself = report.cause() == ExitCause::ByItself;
        service.tell(supervision::Input::Exited {
            run: info.run(),
            failed: RestartPolicy::is_failure(report.code(), by_itself),
            requested: matches!(
                report.cause(),
                ExitCause::Stopped | ExitCause::Killed | ExitCause::ManagerShutDown
            ),
            at: clock::now(),
        });
        self.after_a_run(Some(report), None).await;
    }

    /// Tells what follows a run, or a launch that failed.
    async fn after_a_run(&mut self, report: Option<Arc<ExitReport>>, failure: Option<Arc<str>>) {
        let Some(service) = &mut self.service else {
            return;
        };
        let id = self.process.id();
        let next = match service.machine.state() {
            State::Ended(end) => {
                service.todo.clear();
                self.end_service(end).await;
                return;
            }
            State::Waiting { run, until, .. } => Some((run, until)),
            State::Starting { run } => Some((run, clock::now())),
            _ => None,
        };
        let Some((run, until)) = next else {
            return;
        };
        self.process
            .publish(|status| status.state = ProcessState::Restarting);
        self.context.events.tell(Event::Restarting {
            id,
            run,
            wait: until.saturating_duration_since(clock::now()),
            report,
            failure,
        });
    }

    /// No run follows.
    async fn end_service(&mut self, end: PermanentEnd) {
        let id = self.process.id();
        if let Some(service) = &mut self.service {
            service.stop_probing();
            service.launching = None;
            service.runnable = None;
        }
        if let Some(channels) = self.process.channels() {
            if let Some(hub) = &channels.hub {
                hub.end();
            }
            if let Some(outbox) = &channels.outbox {
                outbox.end_runs();
            }
            if let Some(past) = &channels.past {
                past.end();
            }
        }
        let last = self.process.last_report();
        self.process.publish(|status| {
            if let Some(service) = &mut status.service {
                service.end = Some(end);
            }
            let mut report = status.report.clone().or(last);
            if let (PermanentEnd::TooManyRestarts { .. }, Some(report)) = (end, &mut report) {
                Arc::make_mut(report).cause = ExitCause::RestartLimit;
            }
            status.report = report;
            status.state = ProcessState::Finished;
        });
        if let PermanentEnd::TooManyRestarts { .. } = end {
            tracing::error!(process = %id, program = self.process.program(), "given up: {end}");
            self.context.events.tell(Event::GaveUp { id, end });
        }
        self.publish(ProcessState::Finished).await;
    }

    /// Puts the last run aside, and starts the next.
    async fn begin_run(&mut self, run: u64) {
        let old = std::mem::replace(&mut self.run, Run::new(Lifecycle::new()));
        self.archive(old).await;
        let Some(service) = &mut self.service else {
            return;
        };
        let Some(runnable) = service.runnable.take() else {
            return;
        };
        self.process
            .publish(|status| status.state = ProcessState::Spawning);
        let context = Arc::clone(&self.context);
        let launching = launch(context, self.process.id(), run, runnable, service.options);
        service.launching = Some(Box::pin(launching));
    }

    async fn archive(&mut self, mut old: Run) {
        // They see the rest of its logs by themselves.
        old.log_hooks.detach_all();
        let Some(mut child) = old.child.take() else {
            return;
        };
        let run_dir = child.take_run_dir();
        drop(child);
        let info = self.process.info();
        let (Some(channels), Some(report), Some(service)) =
            (self.process.channels(), info.report(), &self.service)
        else {
            return;
        };
        let Some(past) = &channels.past else {
            return;
        };
        let run = PastRun {
            number: info.run(),
            started_at: info.started_at(),
            ended_at: info.ended_at(),
            report,
            channels: channels.run(),
            run_dir,
        };
        if let Some(oldest) = past.add(run, service.rules.kept_runs()) {
            forget_run(&self.process, &self.context, oldest).await;
        }
    }

    pub(super) async fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Launched(outcome) => self.launched(*outcome).await,
            Happened::Probed(probe) => {
                let run = self.run_number();
                if let Some(service) = &mut self.service {
                    service.tell(supervision::Input::Health { run, probe });
                    let health = service.machine.health();
                    self.process.publish(|status| {
                        if let Some(service) = &mut status.service {
                            service.health = health;
                        }
                    });
                }
            }
        }
    }

    async fn launched(&mut self, (runnable, result): Outcome) {
        let Some(service) = &mut self.service else {
            return;
        };
        service.runnable = runnable;
        let (State::Starting { run } | State::Stopping { run, .. }) = service.machine.state()
        else {
            return;
        };
        let options = service.options;
        let started = match result {
            Ok(launched) => {
                self.process.publish(|status| {
                    if let Some(service) = &mut status.service {
                        service.run = run;
                        service.health = HealthState::Unknown;
                    }
                    status.report = None;
                    status.start = StartState::Pending;
                    status.begun = false;
                    status.text = None;
                    status.ended_at = None;
                    status.started_at = Some(launched.started_at);
                    status.pid = Some(launched.child.pid());
                });
                self.take_over(launched, options)
            }
            Err(error) => Err(error),
        };
        match started {
            Ok(at) => {
                if let Some(service) = &mut self.service {
                    service.tell(supervision::Input::Spawned { run });
                }
                self.begun(at).await;
            }
            Err(error) => {
                tracing::warn!(process = %self.process.id(), run, %error, "cannot be started again");
                // What was asked of the run that did not come to be: it holds for the process.
                let removes = self.run.lifecycle.removes_at_end();
                self.run = Run::new(Lifecycle::finished());
                if let Some(service) = &mut self.service {
                    service.tell(supervision::Input::StartFailed { run });
                }
                self.after_a_run(None, Some(error.to_string().into())).await;
                if removes {
                    self.apply(Input::Remove, clock::now()).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
