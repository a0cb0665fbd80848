//! The guide: one chapter a module, every example compiled and run.
//!
//! 1. [`starting`]: what to run, with which environment, and where it lives
//! 2. [`messages`]: lines and frames, both ways, and who waits for whom
//! 3. [`logs`]: what a process writes to stdout and stderr
//! 4. [`endings`]: how processes end, and what is known of it

#[doc = include_str!("guide/starting.md")]
pub mod starting {}

#[doc = include_str!("guide/messages.md")]
pub mod messages {}

#[doc = include_str!("guide/logs.md")]
pub mod logs {}

#[doc = include_str!("guide/endings.md")]
pub mod endings {}
