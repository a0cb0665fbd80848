//! One process that is kept up across its runs, as a pure state machine.
//!
//! ```text
//!                                ┌───────────────── a restart was asked for ─────────────────┐
//!           Tick when due,       │                                                           │
//!           Restart              ▼       Started             misses                  Exited, │
//!  ──► Waiting ─────────────► Starting ───────────► Up ────────────────► Stopping ───────────┤
//!       ▲   │                    │ │                │ │                   ▲      StartFailed │
//!       │   │                    │ └─ Stop, Kill, ──│─┴───────────────────┘                  │
//!       │   │                    │    ShutDown,     │                                       │
//!       │   │        Exited,     │    Restart       │ Exited                                │
//!       │   │        StartFailed ▼                  ▼                          it had misses │
//!       └───│─ after a wait ─ policy, then intensity ◄───────────────────────────────────────┤
//!           │                    │ no restart, or too many                                   │
//!           │ Stop, Kill,        │                                                           │
//!           ▼ ShutDown           ▼                                     the end was asked for │
//!         Ended ◄────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The driver turns what happened into an [`Input`], asks [`Supervised::step`] what to do and applies
//! the [`Effect`]s in their order:
//!
//! ```text
//!  a run's lifecycle ─► Spawned, Started, ─┐                     ┌─► StartRun, StopRun, KillRun ─► a run
//!                       Exited, StartFailed│                     │
//!  health checks ─────► Health ────────────┼─► Supervised::step ─┼─► NewRun ──► subscribers
//!  handles ───────────► Stop, Kill, Restart┤     ▲         │     │
//!  the manager ───────► ShutDown ──────────┤     │         │     └─► Announce ► all who wait for the end
//!  a timer ───────────► Tick ──────────────┘  a random   deadline()
//!    ▲                                          draw       │
//!    └─────────────────────────────────────────────────────┘
//! ```
//!
//! **Runs** are numbered from 0, and there is one at a time: the next begins after the exit of the one
//! before. An input that names another run than the one that is alive is ignored, so a late word of an old
//! run does no harm.
//!
//! **A restart** that nobody asked for has to pass the [policy](RestartPolicy) and the
//! [intensity](RestartIntensity), and waits for the [backoff](Backoff). One that a user asked for passes
//! them by: it is not counted, waits for nothing but the exit, and the backoff begins anew.
//!
//! **Where it is gated**, each run but the first also waits for its [release](Input::Release), which says that all
//! that has to be there before it is there; its backoff goes on meanwhile. A [hold](Input::Hold) is the restart of one
//! that is gated: nothing runs between the two.
//!
//! **The end** is for ever: nothing is done after it, and there is no deadline. A stop, a kill or a
//! shutdown leads there from every state, in backoff at once. The first reason stays. How long a run may take
//! to end is the matter of its own lifecycle, as the start limit is.

mod backoff;
mod end;
mod health;
mod input;
mod intensity;
mod policy;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use backoff::Backoff;
pub use end::PermanentEnd;
pub use health::{HealthRule, HealthState};
pub use intensity::{MAX_RESTARTS, RestartIntensity};
pub use policy::{DEFAULT_KEPT_RUNS, RestartPolicy, Supervision, Undelivered};

pub(crate) use health::{Health, Probe};
pub(crate) use input::{Effect, Input, StopReason};
use intensity::Window;

use crate::clock::after;

/// Where a supervised process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// In backoff: nothing runs.
    Waiting {
        /// The run to come.
        run: u64,
        /// When it begins.
        until: Instant,
        /// It begins no sooner than [`Input::Release`] comes, either.
        held: bool,
    },
    /// A run was begun and does not count as started yet; its process may still have to be spawned.
    Starting { run: u64 },
    /// It counts as started.
    Up {
        run: u64,
        /// When it began to count so.
        since: Instant,
    },
    /// It is being ended.
    Stopping {
        run: u64,
        /// What follows its exit.
        then: Then,
    },
    /// No run follows.
    Ended(PermanentEnd),
}

/// What follows the exit of a run that is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing more.
    End(PermanentEnd),
    /// The next run, at once: a user asked for it.
    Restart,
    /// It was unhealthy and counts as failed: what the policy says.
    Policy,
}

/// One supervised process.
#[derive(Debug, Clone)]
pub(crate) struct Supervised {
    state: State,
    rules: Supervision,
    /// Each run but the first waits until it is released.
    gated: bool,
    /// The process of the run that is alive exists.
    spawned: bool,
    /// Restarts in a row after runs that were not stable.
    streak: u32,
    window: Window,
    health: Health,
}

impl Supervised {
    /// Run 0 is due at once: the first [`Input::Tick`] begins it.
    pub(crate) fn new(rules: Supervision, now: Instant) -> Self {
        Self {
            state: State::Waiting {
                run: 0,
                until: now,
                held: false,
            },
            rules,
            gated: false,
            spawned: false,
            streak: 0,
            window: Window::new(rules.intensity_rule()),
            health: Health::new(rules.health_rule()),
        }
    }

    /// Each run but the first waits for its [release](Input::Release), beside its backoff.
    pub(crate) fn gated(mut self) -> Self {
        self.gated = true;
        self
    }

    /// Whether the next run waits for its release.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.state, State::Waiting { held: true, .. })
    }

    /// Where it is.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The health of the run that is alive, or of the last one.
    pub(crate) fn health(&self) -> HealthState {
        self.health.state()
    }

    /// When to come back with [`Input::Tick`]. Only a backoff has an end to wait for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting {
                until, held: false, ..
            } => Some(until),
            _ => None,
        }
    }

    /// Takes in what happened at `now` and says what to do. `draw` gives a random time between 0 and the
    /// one it is given, both included; it is asked once for each backoff.
    pub(crate) fn step(
        &mut self,
        input: Input,
        now: Instant,
        draw: &mut dyn FnMut(Duration) -> Duration,
    ) -> Vec<Effect> {
        if input.run().is_some_and(|run| self.alive() != Some(run)) {
            return Vec::new();
        }
        match input {
            Input::Spawned { run } => self.spawned(run),
            Input::Started { run } => self.started(run, now),
            Input::Exited {
                run,
                failed,
                requested,
                at,
            } => {
                self.settle(at);
                self.over(run, failed, requested, now, draw)
            }
            Input::StartFailed { run } => {
                // What has been spawned may still run: only its exit ends it.
                if self.spawned {
                    Vec::new()
                } else {
                    self.over(run, true, false, now, draw)
                }
            }
            Input::Health { run, probe } => self.probed(run, probe, now),
            Input::Stop => self.stop(
                PermanentEnd::Requested,
                Effect::StopRun(StopReason::Requested),
            ),
            Input::Kill => self.stop(PermanentEnd::Requested, Effect::KillRun),
            Input::ShutDown => self.stop(
                PermanentEnd::ShutDown,
                Effect::StopRun(StopReason::ShutDown),
            ),
            Input::Restart => self.restart(now),
            Input::Hold if self.gated => self.hold(now),
            Input::Hold => Vec::new(),
            Input::Release => self.release(now),
            Input::Tick => self.tick(now),
        }
    }

    /// The run that was begun and is not over.
    fn alive(&self) -> Option<u64> {
        match self.state {
            State::Starting { run } | State::Up { run, .. } | State::Stopping { run, .. } => {
                Some(run)
            }
            State::Waiting { .. } | State::Ended(_) => None,
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Effect> {
        match self.state {
            State::Waiting {
                run,
                until,
                held: false,
            } if now >= until => self.begin(run),
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, run: u64) -> Vec<Effect> {
        self.state = State::Starting { run };
        self.spawned = false;
        self.health = Health::new(self.rules.health_rule());
        vec![Effect::StartRun { run }]
    }

    /// Told in whichever state it is, since also a run that is being ended may write something.
    fn spawned(&mut self, run: u64) -> Vec<Effect> {
        if std::mem::replace(&mut self.spawned, true) {
            Vec::new()
        } else {
            vec![Effect::NewRun { run }]
        }
    }

    /// What has started has been spawned.
    fn started(&mut self, run: u64, now: Instant) -> Vec<Effect> {
        if let State::Starting { .. } = self.state {
            self.state = State::Up { run, since: now };
        }
        self.spawned(run)
    }

    /// A run that was up for long enough, before it ended or was to end, lets the backoff begin anew.
    fn settle(&mut self, until: Instant) {
        if let State::Up { since, .. } = self.state
            && until.saturating_duration_since(since) >= self.rules.backoff_rule().stable_after()
        {
            self.streak = 0;
        }
    }

    fn over(
        &mut self,
        run: u64,
        failed: bool,
        requested: bool,
        now: Instant,
        draw: &mut dyn FnMut(Duration) -> Duration,
    ) -> Vec<Effect> {
        let (then, failed) = match self.state {
            State::Stopping { then, .. } => (then, true),
            _ => (Then::Policy, failed),
        };
        let next = run.saturating_add(1);
        match then {
            Then::End(end) => self.end(end),
            Then::Restart if self.gated => self.wait(next, now),
            Then::Restart => self.begin(next),
            Then::Policy if requested => self.end(PermanentEnd::Requested),
            Then::Policy if !self.rules.restart_policy().restarts(failed) => {
                self.end(PermanentEnd::ByItself)
            }
            Then::Policy if !self.window.admit(now) => {
                let intensity = self.rules.intensity_rule();
                self.end(PermanentEnd::TooManyRestarts {
                    restarts: intensity.restarts(),
                    period: intensity.period(),
                })
            }
            Then::Policy => {
                let wait = self.rules.backoff_rule().wait(self.streak, draw);
                self.streak = self.streak.saturating_add(1);
                self.wait(next, after(now, wait))
            }
        }
    }

    fn wait(&mut self, run: u64, until: Instant) -> Vec<Effect> {
        let held = self.gated;
        self.state = State::Waiting { run, until, held };
        Vec::new()
    }

    /// Nothing runs, and nothing begins before the release.
    fn hold(&mut self, now: Instant) -> Vec<Effect> {
        if let State::Waiting { held, .. } = &mut self.state {
            *held = true;
            return Vec::new();
        }
        self.restart(now)
    }

    fn release(&mut self, now: Instant) -> Vec<Effect> {
        if let State::Waiting { held, .. } = &mut self.state {
            *held = false;
        }
        self.tick(now)
    }

    fn end(&mut self, end: PermanentEnd) -> Vec<Effect> {
        self.state = State::Ended(end);
        vec![Effect::Announce(end)]
    }

    /// Each asks the run anew, since a later one may be more urgent.
    fn stop(&mut self, end: PermanentEnd, ask: Effect) -> Vec<Effect> {
        match self.state {
            State::Waiting { .. } => self.end(end),
            State::Starting { run }
            | State::Up { run, .. }
            | State::Stopping {
                run,
                then: Then::Restart | Then::Policy,
            } => {
                let then = Then::End(end);
                self.state = State::Stopping { run, then };
                vec![ask]
            }
            State::Stopping {
                then: Then::End(_), ..
            } => vec![ask],
            State::Ended(_) => Vec::new(),
        }
    }

    fn restart(&mut self, now: Instant) -> Vec<Effect> {
        let (run, effects) = match &mut self.state {
            State::Waiting { until, .. } => {
                self.streak = 0;
                *until = now;
                return self.tick(now);
            }
            State::Starting { run } | State::Up { run, .. } => {
                (*run, vec![Effect::StopRun(StopReason::Restart)])
            }
            // It is being stopped already.
            State::Stopping {
                run,
                then: Then::Restart | Then::Policy,
            } => (*run, Vec::new()),
            State::Stopping {
                then: Then::End(_), ..
            }
            | State::Ended(_) => return Vec::new(),
        };
        self.streak = 0;
        let then = Then::Restart;
        self.state = State::Stopping { run, then };
        effects
    }

    /// Only what is up is probed: before that the start limit watches it.
    fn probed(&mut self, run: u64, probe: Probe, now: Instant) -> Vec<Effect> {
        let State::Up { .. } = self.state else {
            return Vec::new();
        };
        if self.health.step(probe) != HealthState::Unhealthy {
            return Vec::new();
        }
        self.settle(now);
        let then = Then::Policy;
        self.state = State::Stopping { run, then };
        vec![Effect::StopRun(StopReason::Unhealthy)]
    }
}
