//! The life of a process as a pure state machine.
//!
//! ```text
//!              Stop, Kill (kept for later)
//!                ┌────┐
//!                ▼    │ Started    Stop, time-out, …         grace over, Kill
//!  ──► Spawning ──────┴─► Running ───────────► Stopping ───────────────► Killing
//!          │                │  └───────────────── Kill ────────────────────►│
//!          │ StartFailed    └──────────────┬─────────┘ Exited               │ Exited
//!          │                               ▼                                │
//!          │                            Draining ◄──────────────────────────┘
//!          │                               │ last OutputEnded, and the hunt is over
//!          ▼             Remove            ▼
//!       Removed ◄─────────────────────  Finished
//! ```
//!
//! The process task turns what happened into an [`Input`], asks [`Lifecycle::step`] what to do and
//! applies the [`Effect`]s in their order; [`Lifecycle::deadline`] says when to come back with
//! [`Input::Tick`]. This module imports neither tokio nor `std::process`'s means to act, so every
//! state meets every input in a table test.
//!
//! **Stopping**, in this order: the `stop` frame at once and SIGTERM to the tree at half the grace;
//! without frames the end of input and SIGTERM at once; SIGKILL to the tree at the end of the grace.
//! A second stop may only shorten, a kill escalates at once.
//!
//! **Killing** signals the process itself first, before anything is looked for, and closes its
//! input. A process that is there when [`KILL_BOUND`] is over ([`DENIED_BOUND`] where the kernel
//! refuses the signal) is told of as left ([`ProcessState::Stuck`]). Whoever waits for its end is
//! answered then, and its exit is still told when it comes. Another stop or kill tries again, with
//! the same bound. At the end of the manager it is let go.
//!
//! **Starting**: a process that has to show that it has started (by a hello, by being ready) is stopped when
//! it has not done so in time, or when what it writes is not believed before that.
//!
//! **Hunting** the tree goes on until nothing of it is left, and may outlast the exit: the report is
//! whole for `wait` when the output has been read, and has its count of hunted processes with
//! [`ProcessState::Finished`].

mod cause;
mod drain;
mod input;
mod report;
#[cfg(test)]
mod tests;

use std::process::ExitStatus;
use std::time::{Duration, Instant};

pub(crate) use drain::{Drain, DrainBounds};
pub(crate) use input::{Effect, Input, Plan};
pub use report::{ExitCause, ExitReport, OutputState, ResourceUsage};

use crate::clock::after;
use crate::model::command::Leftovers;

/// How long a process may take to be gone after it was killed, before whoever waits for its end is
/// told that it is left: 5 seconds. After its exit all that it has started has 4 seconds, counted
/// from when something of it last went.
pub const KILL_BOUND: Duration = Duration::from_secs(5);

/// The same where the kernel refuses the signal (`EPERM`, see `kill(2)`): 500 ms, in which the
/// process may end by the end of its input.
pub const DENIED_BOUND: Duration = Duration::from_millis(500);

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessState {
    /// It is being started.
    Spawning,
    /// It runs.
    Running,
    /// It is being ended.
    Stopping,
    /// The process was killed, and has not ended within [`KILL_BOUND`]; see
    /// [`ProcessInfo::left`](crate::ProcessInfo::left). Its exit is told when it comes.
    Stuck,
    /// It has exited; its output is still being read.
    Exited,
    /// A run of a [supervised](crate::Cmd::supervised) process has ended, and another is to be started.
    Restarting,
    /// It has exited and its output is complete, or was cut.
    Finished,
}

impl std::fmt::Display for ProcessState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spawning => "spawning",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stuck => "stuck",
            Self::Exited => "exited",
            Self::Restarting => "restarting",
            Self::Finished => "finished",
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Spawning,
    Running {
        since: Instant,
        /// When it has to count as started, unless it does.
        start_by: Option<Instant>,
    },
    Stopping {
        since: Instant,
        term_at: Option<Instant>,
        kill_at: Instant,
    },
    Killing {
        since: Instant,
        /// When it is told of as left; `None` once it was.
        until: Option<Instant>,
    },
    Draining {
        report: ExitReport,
        outputs: usize,
    },
    Finished,
    Removed,
}

/// What was asked for while it was being started.
#[derive(Debug, Clone, Copy)]
enum Early {
    Stop(Duration, ExitCause),
    Kill(ExitCause),
}

/// Whether its tree is being hunted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hunting {
    No,
    /// Nobody waits for it.
    Routine,
    Urgent,
}

/// One process's state.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that hold or not in any phase"
)]
#[derive(Debug, Clone)]
pub(crate) struct Lifecycle {
    phase: Phase,
    plan: Plan,
    early: Option<Early>,
    /// Why it is being ended, once somebody asked for it. The first reason stays, but that a kill
    /// takes the place of a stop.
    cause: Option<ExitCause>,
    /// It was asked to end, so that any exit is the answer to that.
    asked: bool,
    frames: bool,
    /// Outputs that ended before the process did.
    outputs_ended: usize,
    outputs: usize,
    cut: bool,
    hunting: Hunting,
    hunted: Option<u32>,
    /// The last hunt has left something.
    left: bool,
    remove_at_end: bool,
    /// The manager ends, and waits for no process that does not.
    lets_go: bool,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Spawning,
            plan: Plan::default(),
            early: None,
            cause: None,
            asked: false,
            frames: false,
            outputs_ended: 0,
            outputs: 0,
            cut: false,
            hunting: Hunting::No,
            hunted: None,
            left: false,
            remove_at_end: false,
            lets_go: false,
        }
    }

    /// Returns the lifecycle of a process of which nothing runs.
    pub(crate) fn finished() -> Self {
        Self {
            phase: Phase::Finished,
            ..Self::new()
        }
    }

    /// Returns the lifecycle of a process that was let go.
    pub(crate) fn let_go() -> Self {
        Self {
            phase: Phase::Removed,
            ..Self::new()
        }
    }

    /// Whether it is to be forgotten when it has finished.
    pub(crate) fn removes_at_end(&self) -> bool {
        self.remove_at_end
    }

    /// What it is to keep to; known before it runs.
    pub(crate) fn plan(&mut self, plan: Plan) {
        self.plan = plan;
    }

    /// Whether nothing more can happen to it.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Removed
    }

    /// When to come back with [`Input::Tick`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running { since, start_by } => {
                let end = self.plan.timeout.map(|time| after(since, time));
                [end, start_by].into_iter().flatten().min()
            }
            Phase::Stopping {
                term_at, kill_at, ..
            } => Some(term_at.map_or(kill_at, |at| at.min(kill_at))),
            Phase::Killing { until, .. } => until,
            _ => None,
        }
    }

    /// Takes in what happened at `now` and says what to do.
    pub(crate) fn step(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            Input::Started { outputs, frames } => self.started(outputs, frames, now),
            Input::Begun => {
                if let Phase::Running { start_by, .. } = &mut self.phase {
                    *start_by = None;
                }
                Vec::new()
            }
            Input::StartBy(until) => {
                if let Phase::Running { start_by, .. } = &mut self.phase {
                    *start_by = start_by.map(|before| before.max(until));
                }
                Vec::new()
            }
            Input::StartBroken => self.start_broken(now),
            Input::Unresponsive => match self.phase {
                Phase::Running { .. } => self.stop(self.plan.grace, ExitCause::Unresponsive, now),
                _ => Vec::new(),
            },
            Input::StartFailed => self.start_failed(),
            Input::Stop { grace, cause } => self.stop(grace, cause, now),
            Input::Kill(cause) => self.kill(cause, now),
            Input::KillDenied => {
                if let Phase::Killing {
                    until: Some(until), ..
                } = &mut self.phase
                {
                    *until = (*until).min(now + DENIED_BOUND);
                }
                Vec::new()
            }
            Input::Tick => self.tick(now),
            Input::Exited { status, usage, oom } => self.exited(status, usage, oom, now),
            Input::OutputEnded(state) => self.output_ended(state),
            Input::Hunted { killed, left } => self.hunt_ended(killed, left),
            Input::Remove => self.remove(),
            Input::ShutDown { grace } => {
                self.remove_at_end = true;
                self.lets_go = true;
                match self.phase {
                    Phase::Finished => self.remove(),
                    _ => self.stop(grace, ExitCause::ManagerShutDown, now),
                }
            }
            Input::Abandon => {
                self.remove_at_end = true;
                match self.phase {
                    Phase::Finished => self.remove(),
                    _ => self.kill(ExitCause::Killed, now),
                }
            }
        }
    }

    fn started(&mut self, outputs: usize, frames: bool, now: Instant) -> Vec<Effect> {
        if self.phase != Phase::Spawning {
            return Vec::new();
        }
        self.outputs = outputs;
        self.frames = frames;
        let start_by = self.plan.start.map(|time| after(now, time));
        self.phase = Phase::Running {
            since: now,
            start_by,
        };
        let mut effects = vec![Effect::Publish(ProcessState::Running)];
        effects.extend(match self.early.take() {
            None => Vec::new(),
            Some(Early::Stop(grace, cause)) => self.stop(grace, cause, now),
            Some(Early::Kill(cause)) => self.kill(cause, now),
        });
        effects
    }

    /// A child that cannot be understood is not asked by a frame.
    fn start_broken(&mut self, now: Instant) -> Vec<Effect> {
        match self.phase {
            Phase::Running {
                start_by: Some(_), ..
            } => {
                self.frames = false;
                self.stop(self.plan.grace, ExitCause::StartFailed, now)
            }
            _ => Vec::new(),
        }
    }

    fn start_failed(&mut self) -> Vec<Effect> {
        if self.phase != Phase::Spawning {
            return Vec::new();
        }
        self.phase = Phase::Removed;
        vec![Effect::CleanUp]
    }

    fn stop(&mut self, grace: Duration, cause: ExitCause, now: Instant) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Spawning => {
                self.early = Some(match self.early {
                    None => Early::Stop(grace, cause),
                    Some(Early::Stop(first, cause)) => Early::Stop(first.min(grace), cause),
                    Some(kill @ Early::Kill(_)) => kill,
                });
                Vec::new()
            }
            Phase::Running { since, .. } => {
                let since = *since;
                self.cause = Some(cause);
                self.asked = true;
                let kill_at = after(now, grace);
                let term_at = self.frames.then(|| after(now, grace / 2));
                self.phase = Phase::Stopping {
                    since,
                    term_at,
                    kill_at,
                };
                let mut effects = vec![Effect::Publish(ProcessState::Stopping)];
                if self.frames {
                    effects.push(Effect::SendStop);
                } else {
                    effects.extend([Effect::EndInput, Effect::TermTree]);
                }
                effects.extend(self.tick(now));
                effects
            }
            Phase::Stopping {
                term_at, kill_at, ..
            } => {
                *kill_at = after(now, grace).min(*kill_at);
                *term_at = term_at.map(|at| at.min(after(now, grace / 2)));
                self.tick(now)
            }
            Phase::Draining { .. } => self.hurry(),
            Phase::Killing { since, until: None } => {
                let since = *since;
                self.kill_now(since, now)
            }
            Phase::Killing { .. } | Phase::Finished | Phase::Removed => Vec::new(),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Effect> {
        if self.deadline().is_none_or(|at| now < at) {
            return Vec::new();
        }
        match &mut self.phase {
            Phase::Running { start_by, .. } => {
                let overdue = start_by.is_some_and(|at| now >= at);
                let (cause, mut effects) = if overdue {
                    (ExitCause::StartFailed, vec![Effect::StartOverdue])
                } else {
                    (ExitCause::TimedOut, Vec::new())
                };
                effects.extend(self.stop(self.plan.grace, cause, now));
                effects
            }
            Phase::Stopping { since, kill_at, .. } if now >= *kill_at => {
                let since = *since;
                self.kill_now(since, now)
            }
            Phase::Stopping { term_at, .. } => {
                *term_at = None;
                vec![Effect::TermTree]
            }
            Phase::Killing { until, .. } => {
                *until = None;
                self.give_up()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the effects for a process that was killed and is still there when the time of the
    /// kill is over.
    fn give_up(&mut self) -> Vec<Effect> {
        // The state first: whoever learns what is left finds it so.
        let mut effects = vec![Effect::Publish(ProcessState::Stuck), Effect::TellLeft];
        if self.lets_go {
            self.phase = Phase::Removed;
            effects.push(Effect::LetGo);
        }
        effects
    }

    fn kill(&mut self, cause: ExitCause, now: Instant) -> Vec<Effect> {
        match self.phase {
            Phase::Spawning => {
                if !matches!(self.early, Some(Early::Kill(_))) {
                    self.early = Some(Early::Kill(cause));
                }
                Vec::new()
            }
            Phase::Running { since, .. } => {
                self.cause.get_or_insert(cause);
                let mut effects = vec![Effect::Publish(ProcessState::Stopping)];
                effects.extend(self.kill_now(since, now));
                effects
            }
            Phase::Stopping { since, .. } => {
                if self.cause == Some(ExitCause::Stopped) {
                    self.cause = Some(cause);
                }
                self.kill_now(since, now)
            }
            Phase::Killing { since, .. } => self.kill_now(since, now),
            Phase::Draining { .. } => self.hurry(),
            Phase::Finished | Phase::Removed => Vec::new(),
        }
    }

    /// Kills the process itself, closes its input, and kills its tree. One that is being killed has
    /// no more time by that, and one that was told of as left has it all again.
    fn kill_now(&mut self, since: Instant, now: Instant) -> Vec<Effect> {
        let (known, stuck) = match self.phase {
            Phase::Killing { until, .. } => (until, until.is_none()),
            _ => (None, false),
        };
        let until = Some(known.unwrap_or_else(|| after(now, KILL_BOUND)));
        self.phase = Phase::Killing { since, until };
        let mut effects = Vec::new();
        if stuck {
            effects.push(Effect::Publish(ProcessState::Stopping));
        }
        effects.extend([Effect::Kill, Effect::CloseInput]);
        effects.extend(self.kill_tree());
        effects
    }

    /// One hunt at a time: it goes on until nothing is left.
    fn kill_tree(&mut self) -> Vec<Effect> {
        match std::mem::replace(&mut self.hunting, Hunting::Urgent) {
            Hunting::No => vec![Effect::KillTree],
            Hunting::Routine => vec![Effect::Hurry],
            Hunting::Urgent => Vec::new(),
        }
    }

    /// From now on somebody waits for the hunt that is under way.
    fn hurry(&mut self) -> Vec<Effect> {
        match self.hunting {
            Hunting::Routine => self.kill_tree(),
            Hunting::No | Hunting::Urgent => Vec::new(),
        }
    }

    fn exited(
        &mut self,
        status: Option<ExitStatus>,
        usage: Option<ResourceUsage>,
        oom: bool,
        now: Instant,
    ) -> Vec<Effect> {
        let killing = matches!(self.phase, Phase::Killing { .. });
        let (Phase::Running { since, .. }
        | Phase::Stopping { since, .. }
        | Phase::Killing { since, .. }) = self.phase
        else {
            return Vec::new();
        };
        let report = ExitReport {
            status,
            cause: self.cause_of(status, usage, oom),
            run_time: now.saturating_duration_since(since),
            usage,
            output: OutputState::Draining,
            hunted: None,
            left: Vec::new(),
        };
        let outputs = self.outputs.saturating_sub(self.outputs_ended);
        self.phase = Phase::Draining {
            report: report.clone(),
            outputs,
        };
        let mut effects = vec![
            // First: whoever learns of the exit finds its input closed.
            Effect::Drain,
            Effect::Report(report),
            Effect::Publish(ProcessState::Exited),
        ];
        let wanted = self.cause.is_some() || self.plan.leftovers == Leftovers::Kill;
        let idle = self.hunting == Hunting::No;
        // Where a hunt after a kill has left something, the process itself may have been all of
        // that.
        let is_extinct = killing && self.hunted.is_some() && !self.left;
        if wanted && idle && !is_extinct {
            let urgent = self.cause.is_some();
            self.hunting = if urgent {
                Hunting::Urgent
            } else {
                Hunting::Routine
            };
            effects.push(Effect::Hunt { urgent });
        }
        if outputs == 0 {
            effects.extend(self.drained());
        }
        effects
    }

    fn output_ended(&mut self, state: OutputState) -> Vec<Effect> {
        self.cut |= state == OutputState::Cut;
        match &mut self.phase {
            Phase::Running { .. } | Phase::Stopping { .. } | Phase::Killing { .. } => {
                self.outputs_ended += 1;
                Vec::new()
            }
            Phase::Draining { outputs, .. } if *outputs > 0 => {
                *outputs -= 1;
                if *outputs == 0 {
                    self.drained()
                } else {
                    Vec::new()
                }
            }
            _ => Vec::new(),
        }
    }

    /// The output is at its end: those who wait for the process have what they wait for.
    fn drained(&mut self) -> Vec<Effect> {
        if self.hunting == Hunting::No {
            return self.finish();
        }
        let cut = self.cut;
        let Phase::Draining { report, .. } = &mut self.phase else {
            return Vec::new();
        };
        report.output = if cut {
            OutputState::Cut
        } else {
            OutputState::Complete
        };
        vec![Effect::Report(report.clone())]
    }

    fn hunt_ended(&mut self, killed: u32, left: bool) -> Vec<Effect> {
        if std::mem::replace(&mut self.hunting, Hunting::No) == Hunting::No {
            return Vec::new();
        }
        self.left = left;
        self.hunted = Some(self.hunted.unwrap_or(0).saturating_add(killed));
        match self.phase {
            Phase::Draining { outputs: 0, .. } => self.finish(),
            _ => Vec::new(),
        }
    }

    fn finish(&mut self) -> Vec<Effect> {
        let Phase::Draining { report, .. } = &self.phase else {
            return Vec::new();
        };
        let mut report = report.clone();
        report.hunted = self.hunted;
        report.output = if self.cut {
            OutputState::Cut
        } else {
            OutputState::Complete
        };
        self.phase = Phase::Finished;
        let mut effects = vec![Effect::Report(report)];
        if self.left && self.hunting == Hunting::No {
            effects.push(Effect::TellLeft);
        }
        effects.push(Effect::Publish(ProcessState::Finished));
        if self.remove_at_end {
            effects.extend(self.remove());
        }
        effects
    }

    fn remove(&mut self) -> Vec<Effect> {
        match &self.phase {
            // Its report is whole; the hunt for what it left goes on without it.
            Phase::Draining { outputs: 0, .. } => {
                let mut effects = self.finish();
                effects.extend(self.remove());
                effects
            }
            Phase::Finished => {
                self.phase = Phase::Removed;
                vec![Effect::CleanUp]
            }
            Phase::Removed => Vec::new(),
            _ => vec![Effect::RefuseRemoval],
        }
    }
}
