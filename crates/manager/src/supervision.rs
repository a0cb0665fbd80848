//! Keeping processes up: the pure part. A process's own task drives `restart`, the task of a group `group`.
//!
//! ```text
//!  group    ── StartNode, StopNode, RestartNode ──►  restart  ── StartRun, StopRun, KillRun ──►  lifecycle
//!  (graph)                                           (one process, its runs)                     (one run)
//!           ◄── Ready, Down, Ended, Failed ────────           ◄── Started, Exited, StartFailed ──
//! ```
//!
//! They are state machines that take inputs and give effects, read no clock and draw no random number, so that
//! every state meets every input in a test. What stays over the runs and what goes with each is in
//! `docs/architecture.md`.

pub(crate) mod dispatch;
pub(crate) mod graph;
pub(crate) mod group;
mod restart;

pub use graph::GraphError;
pub use group::{FailurePolicy, MemberKind, MemberState};
pub use restart::{
    Backoff, DEFAULT_KEPT_RUNS, HealthRule, HealthState, MAX_RESTARTS, PermanentEnd,
    RestartIntensity, RestartPolicy, Supervision, Undelivered,
};
pub(crate) use restart::{Effect, Input, Probe, State, StopReason, Supervised, Then};
