//! Groups: the driver of [`supervision::group`](crate::supervision::group), one task a group.
//!
//! ```text
//!  GroupHandle ── stop ───────────┐                  ┌─► spawn_gated ─────────────────┐
//!  the manager's shutdown ────────┼─► Group::step ───┼─► Release, Hold, Stop ─► processes' tasks
//!  spawns that have come to an end┤   (pure)         ├─► view ──► status, wait_ready, wait
//!  edges of published statuses ───┘                  └─► events ─► listeners
//!         ▲                                                                           │
//!         └─────────────── member::Seen ◄── Status ◄──────────────────────────────────┘
//! ```
//!
//! The task holds all futures that it waits for, of spawns and of statuses, in one set, so nothing that happens to one
//! member holds up another. What a process's own task publishes is a level, and what the state machine takes is an edge:
//! [`member::Seen`] makes the one of the other. The task belongs to the manager, which waits for it at its end; handles
//! have only what is shared.

mod error;
mod events;
mod handle;
mod member;
mod shared;
mod status;
mod task;
#[cfg(test)]
mod tests;

pub use error::{GroupError, MemberFailure, SpawnGroupError};
pub use events::{GroupEvent, GroupEventStream};
pub use handle::GroupHandle;
pub(crate) use shared::StartGroup;
pub use status::{GroupPhase, GroupStatus, MemberStatus};
