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

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout_at};

use super::super::spawn::{Launch, Launched, Progress};
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
pub(super) type Outcome = (Again, Result<Launched, SpawnProcessError>);

/// The place of the [`Runnable`], which says what to run.
#[derive(Default)]
pub(super) enum Again {
    /// Not to be run again, or away while it is being launched.
    #[default]
    Nothing,
    Here(Box<dyn Runnable>),
    /// With a launch that was given up, until that comes to its end.
    Late(oneshot::Receiver<Box<dyn Runnable>>),
}
/// As long at least a start that is under way has at a shutdown.
const AT_SHUTDOWN: Duration = Duration::from_secs(2);

type Launching = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub(super) struct Service {
    machine: Supervised,
    /// How often it was held back from its next run.
    held: u64,
    rules: Supervision,
    runnable: Again,
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
        runnable: Again,
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
                sleep(check.interval().min(clock::LONGEST)).await;
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

/// Starts a run of a process. On failure nothing is left, but of one that hangs: that is given up
/// at the manager's bound, and undone when it comes to its end.
pub(super) async fn launch(
    context: Arc<Context>,
    id: ProcessId,
    run: u64,
    runnable: Box<dyn Runnable>,
    options: SpawnOptions,
) -> Outcome {
    #[cfg(any(test, feature = "test-util"))]
    if let Some(scripted) = runnable.scripted() {
        return (Again::Here(runnable), scripted.launch());
    }
    let progress = Arc::new(Progress::new());
    let launch = Launch {
        id,
        run,
        runnable,
        dir: Arc::clone(&context.dir),
        files: Arc::clone(&context.files),
        capture: options.capture.is_some(),
        progress: Arc::clone(&progress),
    };
    let (late, again) = oneshot::channel();
    let mut launching = pin!(launch_on_pool(&context, launch, late));
    let begun = Instant::now();
    let bound = context.spawn_timeout;
    let stopped = tokio::select! {
        biased;
        outcome = &mut launching => return outcome,
        () = shutting_down(&context) => true,
        () = sleep(bound.min(clock::LONGEST)) => false,
    };
    // A clock that tests have paused goes ahead while a thread is waited for.
    if !stopped && begun.elapsed() < bound {
        return launching.await;
    }
    let Some((program, doing)) = progress.give_up() else {
        return launching.await;
    };
    tracing::warn!(process = %id, program, "a start was given up while {doing}");
    let error = if stopped {
        SpawnProcessError::ManagerCommunicationError
    } else {
        SpawnProcessError::TimedOut {
            program,
            doing,
            bound,
        }
    };
    (Again::Late(again), Err(error))
}

/// Where nobody waits for it any more, what says what to run comes by `late`.
async fn launch_on_pool(
    context: &Context,
    launch: Launch,
    late: oneshot::Sender<Box<dyn Runnable>>,
) -> Outcome {
    context.ready.wait().await;
    let place = Arc::clone(&context.starts).acquire_owned().await;
    let (reply, outcome) = oneshot::channel();
    let job = move || {
        let progress = Arc::clone(&launch.progress);
        let outcome = launch.run();
        if progress.done() {
            let _ = reply.send(outcome);
        } else if let (Some(runnable), _) = outcome {
            let _ = late.send(runnable);
        }
        drop(place);
    };
    let lost = match context.pool.run(job).await {
        Ok(()) => match outcome.await {
            Ok((Some(runnable), result)) => return (Again::Here(runnable), result),
            Ok((None, result)) => return (Again::Nothing, result),
            Err(_) => std::io::Error::other("a start has come to nothing"),
        },
        Err(error) => error,
    };
    let error = refused("a thread for starting processes", lost);
    (Again::Nothing, Err(error))
}

/// Resolves when a shutdown waits no longer for a start that is under way.
async fn shutting_down(context: &Context) {
    let mut shutdown = context.shutdown.subscribe();
    let mut least = None;
    loop {
        let until = *shutdown.borrow_and_update();
        let Some(until) = until else {
            let _ = shutdown.changed().await;
            continue;
        };
        let least = *least.get_or_insert_with(|| clock::now() + AT_SHUTDOWN);
        let until = until.max(least);
        if timeout_at(until.into(), shutdown.changed()).await.is_err() {
            return;
        }
    }
}

/// Removes what is kept of a run.
pub(super) async fn forget_run(process: &Process, context: &Context, mut run: PastRun) {
    keep_failed(process, context, &run.channels, &run.report, run.number).await;
    run.channels.logs.removed(&context.log_readers).await;
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
