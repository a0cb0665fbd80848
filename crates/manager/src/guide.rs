//! The guide: one chapter a module, every example compiled and run.
//!
//! 1. [`starting`]: what to run, with which environment, and where it lives
//! 2. [`messages`]: lines and frames, both ways, and who waits for whom
//! 3. [`requests`]: questions and answers, both ways
//! 4. [`readiness`]: when a process has started, whether it still answers, how it is asked to stop
//! 5. [`logs`]: what a process writes to stdout and stderr
//! 6. [`endings`]: how processes end, and what is known of it
//! 7. [`supervision`]: processes that are kept up: restarts, their limits, and health
//! 8. [`groups`]: processes that need each other: their order, and who shares a failure
//! 9. [`pools`]: many workers that serve requests, as if they were one
//! 10. [`testing`]: children in memory, for tests of your program

#[doc = include_str!("guide/starting.md")]
pub mod starting {}

#[doc = include_str!("guide/messages.md")]
pub mod messages {}

#[doc = include_str!("guide/requests.md")]
pub mod requests {}

#[doc = include_str!("guide/readiness.md")]
pub mod readiness {}

#[doc = include_str!("guide/logs.md")]
pub mod logs {}

#[doc = include_str!("guide/endings.md")]
pub mod endings {}

#[doc = include_str!("guide/supervision.md")]
pub mod supervision {}

#[doc = include_str!("guide/groups.md")]
pub mod groups {}

#[doc = include_str!("guide/pools.md")]
pub mod pools {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}
