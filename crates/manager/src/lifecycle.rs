//! The life of a process as a pure state machine.
//!
//! ```text
//!                 Kill (kept for later)
//!                ┌────┐
//!                ▼    │         Kill                Exited
//!  ──► Spawning ──────┴─► Running ────► Killing ──────────┐
//!          │    Started      │                            ▼
//!          │                 └───────────────────────► Draining ──last OutputEnded──► Finished
//!          │ StartFailed            Exited                                              │
//!          ▼                                                                     Remove │
//!       Removed ◄───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The process task turns what happened into an [`Input`], asks [`Lifecycle::step`] what to do and
//! applies the [`Effect`]s in their order. This module imports neither tokio nor `std::process`'s
//! means to act, so every state meets every input in a table test.

mod report;
#[cfg(test)]
mod tests;

use std::process::ExitStatus;
use std::time::{Duration, Instant};

pub use report::{ExitCause, ExitReport, OutputState, ResourceUsage};

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
    /// It has exited; its output is still being read.
    Exited,
    /// It has exited and its output is complete, or was cut.
    Finished,
}

impl std::fmt::Display for ProcessState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spawning => "spawning",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::Finished => "finished",
        })
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The child runs; this many of its outputs (messages, logs) are being read.
    Started { outputs: usize },
    /// The child could not be started; everything has been unwound.
    StartFailed,
    /// End it now, for this reason.
    Kill(ExitCause),
    /// It has been reaped.
    Exited {
        status: Option<ExitStatus>,
        usage: Option<ResourceUsage>,
    },
    /// One of its outputs has come to its end, or was given up.
    OutputEnded(OutputState),
    /// Forget it.
    Remove,
    /// The manager ends: kill it, and forget it when it has finished.
    ShutDown,
    /// Whoever asked for it went away before having it: kill it, and forget it.
    Abandon,
}

/// What to do about it, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Send SIGKILL to the whole tree.
    KillTree,
    /// Tell everybody the new state.
    Publish(ProcessState),
    /// Tell everybody how it ended. Comes once with the exit, and once more when the output has
    /// been read; the second is final.
    Report(ExitReport),
    /// The pipes hold all that the process itself will ever write: read them to their end.
    Drain,
    /// Removal is refused: it has not finished.
    RefuseRemoval,
    /// Remove its run directory and forget it. Nothing follows.
    CleanUp,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Spawning,
    Running { since: Instant },
    Killing { since: Instant },
    Draining { report: ExitReport, outputs: usize },
    Finished,
    Removed,
}

/// One process's state.
#[derive(Debug, Clone)]
pub(crate) struct Lifecycle {
    phase: Phase,
    /// Why it is being killed, once somebody asked for it. The first reason stays.
    cause: Option<ExitCause>,
    /// Outputs that ended before the process did.
    outputs_ended: usize,
    outputs: usize,
    cut: bool,
    remove_at_end: bool,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Spawning,
            cause: None,
            outputs_ended: 0,
            outputs: 0,
            cut: false,
            remove_at_end: false,
        }
    }

    /// Whether nothing more can happen to it.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Removed
    }

    /// Takes in what happened at `now` and says what to do.
    pub(crate) fn step(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            Input::Started { outputs } => self.started(outputs, now),
            Input::StartFailed => self.start_failed(),
            Input::Kill(cause) => self.kill(cause),
            Input::Exited { status, usage } => self.exited(status, usage, now),
            Input::OutputEnded(state) => self.output_ended(state),
            Input::Remove => self.remove(),
            Input::ShutDown => self.end(ExitCause::ManagerShutDown),
            Input::Abandon => self.end(ExitCause::Killed),
        }
    }

    fn end(&mut self, cause: ExitCause) -> Vec<Effect> {
        self.remove_at_end = true;
        match self.phase {
            Phase::Finished => self.remove(),
            _ => self.kill(cause),
        }
    }

    fn started(&mut self, outputs: usize, now: Instant) -> Vec<Effect> {
        if self.phase != Phase::Spawning {
            return Vec::new();
        }
        self.outputs = outputs;
        self.phase = Phase::Running { since: now };
        let mut effects = vec![Effect::Publish(ProcessState::Running)];
        if let Some(cause) = self.cause {
            effects.extend(self.kill(cause));
        }
        effects
    }

    fn start_failed(&mut self) -> Vec<Effect> {
        if self.phase != Phase::Spawning {
            return Vec::new();
        }
        self.phase = Phase::Removed;
        vec![Effect::CleanUp]
    }

    fn kill(&mut self, cause: ExitCause) -> Vec<Effect> {
        match self.phase {
            Phase::Spawning => {
                self.cause.get_or_insert(cause);
                Vec::new()
            }
            Phase::Running { since } => {
                self.cause.get_or_insert(cause);
                self.phase = Phase::Killing { since };
                vec![Effect::Publish(ProcessState::Stopping), Effect::KillTree]
            }
            Phase::Killing { .. } => vec![Effect::KillTree],
            Phase::Draining { .. } | Phase::Finished | Phase::Removed => Vec::new(),
        }
    }

    fn exited(
        &mut self,
        status: Option<ExitStatus>,
        usage: Option<ResourceUsage>,
        now: Instant,
    ) -> Vec<Effect> {
        let (Phase::Running { since } | Phase::Killing { since }) = self.phase else {
            return Vec::new();
        };
        let report = ExitReport {
            status,
            cause: self.cause_of(status),
            run_time: now.saturating_duration_since(since),
            usage,
            output: OutputState::Draining,
        };
        let outputs = self.outputs.saturating_sub(self.outputs_ended);
        self.phase = Phase::Draining {
            report: report.clone(),
            outputs,
        };
        let mut effects = vec![
            Effect::Report(report),
            Effect::Publish(ProcessState::Exited),
            Effect::Drain,
        ];
        effects.extend(self.finish_if_drained());
        effects
    }

    /// A process that was to be killed, but ended in another way than by our SIGKILL, did so by
    /// itself: the exit and the kill passed each other.
    fn cause_of(&self, status: Option<ExitStatus>) -> ExitCause {
        use std::os::unix::process::ExitStatusExt;
        const SIGKILL: i32 = 9;
        match (self.cause, status) {
            (Some(_), Some(status)) if status.signal() != Some(SIGKILL) => ExitCause::ByItself,
            (Some(cause), _) => cause,
            (None, _) => ExitCause::ByItself,
        }
    }

    fn output_ended(&mut self, state: OutputState) -> Vec<Effect> {
        self.cut |= state == OutputState::Cut;
        match &mut self.phase {
            Phase::Running { .. } | Phase::Killing { .. } => {
                self.outputs_ended += 1;
                Vec::new()
            }
            Phase::Draining { outputs, .. } => {
                *outputs = outputs.saturating_sub(1);
                self.finish_if_drained()
            }
            Phase::Spawning | Phase::Finished | Phase::Removed => Vec::new(),
        }
    }

    fn finish_if_drained(&mut self) -> Vec<Effect> {
        let Phase::Draining { report, outputs: 0 } = &self.phase else {
            return Vec::new();
        };
        let mut report = report.clone();
        report.output = if self.cut {
            OutputState::Cut
        } else {
            OutputState::Complete
        };
        self.phase = Phase::Finished;
        let mut effects = vec![
            Effect::Report(report),
            Effect::Publish(ProcessState::Finished),
        ];
        if self.remove_at_end {
            effects.extend(self.remove());
        }
        effects
    }

    fn remove(&mut self) -> Vec<Effect> {
        match self.phase {
            Phase::Finished => {
                self.phase = Phase::Removed;
                vec![Effect::CleanUp]
            }
            Phase::Removed => Vec::new(),
            _ => vec![Effect::RefuseRemoval],
        }
    }
}

/// How long the output of a process that has exited is still read.
///
/// A process may exit while its last output is still in the pipe, and a grandchild may hold the
/// pipe open for ever. So after the exit each chunk that arrives re-arms a quiet period, and a hard
/// bound ends it all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrainBounds {
    pub(crate) quiet: Duration,
    pub(crate) bound: Duration,
}

impl Default for DrainBounds {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(50),
            bound: Duration::from_secs(2),
        }
    }
}
