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

mod keeping;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::spawn::{Launch, Launched};
use super::super::spawn_error::refused;
use super::super::{PastRun, Process};
use super::SpawnOptions;
use super::ending::keep_failed;
use super::tasks::Tasks;
use crate::clock;
use crate::error::SpawnProcessError;
use crate::handle::{HealthCheck, ProcessHandle};
use crate::id::ProcessId;
use crate::manager::context::Context;
use crate::model::Runnable;
use crate::supervision::{self, Effect, Probe, State, Supervised, Supervision};

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

#[cfg(test)]
mod tests;
