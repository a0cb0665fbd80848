//! What to run, as plain values: nothing here starts a process.
//!
//! ```text
//!   Cmd ───────────────┐
//!   Script ──────────┐ │        once for each spawn, on a spawning thread
//!   your own type ──┐│ │
//!                   ▼▼ ▼
//!   Runnable::bootstrap_cmd(run directory) ──► Cmd ──validate──► started
//! ```
//!
//! [`command`] has [`Cmd`] and what it is made of, [`script`] has [`Script`], and [`Runnable`] turns a
//! type of your own into a command. A [`ProcessGroup`] is a set of commands that need each other.
//!
//! # Descriptions as data
//!
//! With the feature `serde`, commands, scripts and groups can be kept in a file or sent elsewhere, in any
//! self-describing format (JSON, TOML, MessagePack, CBOR). Everything that has a default may be left
//! out; an unknown field is an error, and errors keep their line. A path, an argument or a variable is
//! a string where it is UTF-8 and bytes where it is not. A variable both set and removed is removed. Where a
//! default is to be switched off (`start_deadline_ms`, the `limit` of a log), `"none"` says so; `null` does, too.
//!
//! ```
//! # #[cfg(feature = "serde")] {
//! use procession_manager::model::command::{Cmd, Messaging};
//!
//! let worker: Cmd = serde_json::from_str(
//!     r#"{
//!         "program": "worker",
//!         "args": ["--mode", "fast"],
//!         "env": { "RUST_LOG": "info" },
//!         "env_remove": ["LD_PRELOAD"],
//!         "messaging": { "input": "named_pipe", "output": "named_pipe", "framing": "frames/1" },
//!         "logging": { "streams": "merged" },
//!         "stdin": { "file": "/var/lib/worker/seed" }
//!     }"#,
//! )?;
//! assert_eq!(worker.arguments(), ["--mode", "fast"]);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod command;
pub mod script;

#[cfg(feature = "serde")]
pub(crate) mod data;
mod environment;
mod group;
mod identity;
mod leftovers;
mod logging;
mod messaging;
mod options;
mod quote;
mod runnable;
mod startup;
mod stdio;
mod validate;

pub use command::{
    Cmd, ConfigurationError, DEFAULT_LOG_LIMIT, DEFAULT_REQUEST_DEADLINE, DEFAULT_START_DEADLINE,
    Environment, Leftovers, Liveness, LogRoute, Logging, Messaging, Output, Overflow, Readiness,
    RequestOptions, Resource, Stdin, Subscription, Transport,
};
pub use group::{GroupProcess, ProcessGroup};
pub(crate) use identity::{Identity, Limits};
pub use runnable::Runnable;
pub use script::{SCRIPT_FILE_PATH_PLACEHOLDER, Script, ScriptRunConfig, ScriptingLanguage};
pub(crate) use startup::StartDeadline;
