//! What the task of a process does for its service: what was asked of it, and what its machine has answered.

use std::sync::Arc;

use procession_wire::Escaped;

use super::super::super::{PastRun, StartState};
use super::super::{Control, Run, Task};
use super::{Again, Happened, Outcome, forget_run, launch};
use crate::clock;
use crate::error::{RemoveProcessError, SpawnProcessError};
use crate::events::Event;
use crate::lifecycle::{ExitCause, ExitReport, Input, Lifecycle, ProcessState};
use crate::messaging::outbox::Closed;
use crate::supervision::{
    self, Effect, HealthState, PermanentEnd, RestartPolicy, State, StopReason, Then,
};

impl Task {
    /// Whether there is a service that may go on.
    pub(in super::super) fn is_kept_up(&self) -> bool {
        self.service
            .as_ref()
            .is_some_and(|service| !service.is_over())
    }

    /// Ends the input of the run. Where another may follow, what is queued and what comes waits for that.
    pub(in super::super) fn end_input(&self) {
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
    pub(in super::super) fn asked_of_service(&mut self, request: Control) -> Option<Control> {
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
    pub(in super::super) fn shut_service_down(&mut self) {
        if let Some(service) = &mut self.service {
            service.tell_beside_its_run(supervision::Input::ShutDown);
        }
    }

    /// Does what the rules say is to be done.
    pub(in super::super) async fn settle(&mut self) {
        self.publish_hold();
        while let Some(service) = &mut self.service
            && !service.todo.is_empty()
        {
            match service.todo.remove(0) {
                Effect::StartRun { run } => self.begin_run(run).await,
                Effect::StopRun(reason) => {
                    let cause = match reason {
                        StopReason::Requested => ExitCause::Stopped,
                        StopReason::Restart => ExitCause::Restarted,
                        StopReason::Unhealthy => ExitCause::Unhealthy,
                        StopReason::ShutDown => ExitCause::ManagerShutDown,
                    };
                    let grace = self.context.grace;
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
    pub(in super::super) fn service_started(&mut self) {
        let run = self.run_number();
        if let Some(service) = &mut self.service {
            service.tell(supervision::Input::Started { run });
            if matches!(service.machine.state(), State::Up { .. }) {
                service.probe(&self.process, &self.context);
            }
        }
    }

    /// The run is over, and nothing of it is left.
    pub(in super::super) async fn run_is_over(&mut self) {
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
            service.runnable = Again::Nothing;
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
            tracing::error!(process = %id, program = %Escaped::new(self.process.program()), "given up: {end}");
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
        let runnable = match std::mem::take(&mut service.runnable) {
            Again::Nothing => return,
            Again::Here(runnable) => Ok(runnable),
            Again::Late(mut late) => late.try_recv().map_err(|_| late),
        };
        self.process
            .publish(|status| status.state = ProcessState::Spawning);
        let runnable = match runnable {
            Ok(runnable) => runnable,
            Err(late) => {
                let program = self.process.program().to_owned();
                let error = SpawnProcessError::TimedOut {
                    program,
                    doing: "its last start still hangs",
                    bound: self.context.spawn_timeout,
                };
                let outcome = (Again::Late(late), Err(error));
                service.launching = Some(Box::pin(std::future::ready(outcome)));
                return;
            }
        };
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

    pub(in super::super) async fn happened(&mut self, happened: Happened) {
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
                    if let Some(unended) = &mut status.unended {
                        unended.left = Arc::default();
                    }
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
