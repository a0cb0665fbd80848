//! Spawn, talk to, watch and stop many child processes from async Rust.
//!
//! A [`ProcessManager`] is started once; what it gives is a [`ProcessManagerHandle`], through which
//! processes are spawned ([`Cmd`], [`Script`], or any [`Runnable`]), talked to in [messages](Message), asked and
//! answered ([requests](guide::requests)), watched and ended. It runs on tokio, with I/O and time enabled.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::TryStreamExt;
//! use procession_manager::{Cmd, Messaging, ProcessManager, TryMessageStreamExt};
//!
//! let manager = ProcessManager::in_temp()?;
//! let sort = Cmd::new("sort").messaging(Messaging::standard_io());
//! let sort = manager.spawn_with_handle(sort).await?;
//! for word in ["pear", "apple"] {
//!     sort.send_message(word).await?;
//! }
//! sort.close_input().await?;
//! let words = sort.subscribe_message_stream().await?.into_string_stream();
//! assert_eq!(words.try_collect::<Vec<_>>().await?, ["apple", "pear"]);
//! assert!(sort.wait().await?.success());
//! manager.shutdown().await?;
//! # Ok(()) }
//! ```
//!
//! The [`guide`] goes through all of it, chapter by chapter. Children in Rust use `procession-child`;
//! children in other languages need a line of text, or `docs/protocol.md` of the repository.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `json`, `message-pack` | typed messages and requests: `MessageFormat`, `Message::from_serializable`, `into_deserialized_stream`, `request_as` |
//! | `serde` | what to run as data: `Cmd`, `Script`, `ProcessGroup` and their parts can be read from a file |
//! | `regex` | regular expressions in log queries (`LogsQuery::matching`) and as a sign of readiness (`Readiness::LogMatch`) |
//! | `test-util` | `test_util::ScriptedChild`: a child in memory, for tests of your program with paused time |
//!
//! # Platform
//!
//! Linux 5.4 or later: exits are learnt by pidfds (`pidfd_open(2)`, `waitid(2)` with `P_PIDFD`).

#![deny(unsafe_code)]

mod clock;
mod containment;
mod error;
mod events;
mod file_events;
mod flag;
mod group;
pub mod guide;
mod handle;
mod id;
mod info;
mod lifecycle;
mod logs;
pub mod manager;
mod messaging;
pub mod model;
mod os;
mod pool;
mod process;
mod ring;
mod run;
mod run_dir;
mod shutdown;
mod signal;
mod starts;
mod statistics;
mod stream_ext;
mod supervision;
#[cfg(test)]
mod system;
#[cfg(any(test, feature = "test-util"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod test_util;

// Not all of `manager`: a module named `serde` would hide the crate from whoever imports all of us.
#[doc(no_inline)]
pub use manager::{
    Backoff, DEFAULT_GRACE, DEFAULT_KEPT_RUNS, DEFAULT_LINE_LIMIT, DEFAULT_OUTPUT_LIMIT,
    DEFAULT_RETAINED, DEFAULT_SPAWN_TIMEOUT, DEFAULT_TOTAL_LOG_LIMIT, DENIED_BOUND, Event,
    EventStream, ExitCause, ExitReport, FailurePolicy, FollowFrom, FollowLogsError, GetLogsError,
    GetProcessInfoError, GraphError, GroupError, GroupEvent, GroupEventStream, GroupHandle,
    GroupPhase, GroupStatus, HandlerError, HealthCheck, HealthRule, HealthState,
    INPUT_PIPE_ENV_NAME, ItemError, KILL_BOUND, KeepLogsError, KillProcessError, LastLines,
    LeftProcess, LeftReason, LogCursor, LogFollower, LogHook, LogLine, LogPage, LogStream,
    LogsQuery, MAX_RESTARTS, MAX_WORKERS, ManagerError, MapMonitor, MapProgress, MemberFailure,
    MemberKind, MemberState, MemberStatus, Message, MessageSink, MessageStream, MessageStreamExt,
    OUTPUT_PIPE_ENV_NAME, OutputState, PROCESS_DATA_DIR_ENV_NAME, PermanentEnd, PoolEvent,
    PoolEventStream, PoolMap, PoolNotReady, PoolRequestError, PoolRequestOptions, PoolStats,
    ProcessHandle, ProcessId, ProcessInfo, ProcessManager, ProcessManagerBuilder,
    ProcessManagerHandle, ProcessPool, ProcessPoolBuilder, ProcessState, ReadMessageError,
    ReceiveDeserializedMessageError, ReceiveMessageError, RemovalReason, RemoveProcessError,
    ReplyItems, Request, RequestError, RequestHandler, RequestName, ResourceUsage,
    RestartIntensity, RestartPolicy, ResultStreamExt, Run, RunError, RunInfo, RunOutput,
    ScopedProcessHandle, ShutdownSignals, Signal, SignalProcessError, SpawnGroupError,
    SpawnProcessError, StartPoolError, Statistics, StopProcessError, Supervision, Swept,
    TryMessageStreamExt, Undelivered, UnfinishedOutput, UnorderedPoolMap, WaitError,
    WaitReadyError, WhenFull, WorkerState, WorkerStats, WriteMessageError,
};
#[doc(no_inline)]
pub use model::command::{
    Cmd, ConfigurationError, DEFAULT_LOG_LIMIT, DEFAULT_REQUEST_DEADLINE, DEFAULT_START_DEADLINE,
    Environment, Leftovers, Liveness, LogRoute, Logging, Messaging, Output, Overflow, Readiness,
    RequestOptions, Resource, Stdin, Subscription, Transport,
};
#[doc(no_inline)]
pub use model::script::{SCRIPT_FILE_PATH_PLACEHOLDER, Script, ScriptRunConfig, ScriptingLanguage};
#[doc(no_inline)]
pub use model::{GroupProcess, ProcessGroup, Runnable};
#[cfg(feature = "message-pack")]
pub use procession_wire::Encoding;
pub use procession_wire::{DEFAULT_MESSAGE_LIMIT, Escaped, FrameError, Framing};
#[cfg(any(feature = "json", feature = "message-pack"))]
pub use procession_wire::{MessageFormat, SerdeError};

#[cfg(test)]
mod display_tests;

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
