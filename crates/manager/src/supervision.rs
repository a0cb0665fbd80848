//! Keeping processes up: the pure part. The process's own task drives it.
//!
//! ```text
//!  restart  ── StartRun, StopRun, KillRun ──►  lifecycle
//!  (one process, its runs)                     (one run)
//!           ◄── Started, Exited, StartFailed ──
//! ```
//!
//! It is a state machine that takes inputs and gives effects, reads no clock and draws no random number, so that
//! every state meets every input in a test. What stays over the runs and what goes with each is in
//! `docs/architecture.md`.

#[expect(dead_code)]
pub(crate) mod graph;
#[expect(dead_code)]
pub(crate) mod group;
mod restart;

pub use restart::{
    Backoff, DEFAULT_KEPT_RUNS, HealthRule, HealthState, MAX_RESTARTS, PermanentEnd,
    RestartIntensity, RestartPolicy, Supervision, Undelivered,
};
pub(crate) use restart::{Effect, Input, Probe, State, StopReason, Supervised};
