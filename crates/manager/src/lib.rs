//! Spawn, talk to, watch and stop many child processes from async Rust.

#![deny(unsafe_code)]

mod error;
mod file_events;
mod handle;
mod id;
mod info;
mod lifecycle;
mod logs;
pub mod manager;
mod messaging;
pub mod model;
mod os;
mod process;
mod run;
mod run_dir;
mod stream_ext;

#[doc(no_inline)]
pub use manager::*;
#[doc(no_inline)]
pub use model::Runnable;
#[doc(no_inline)]
pub use model::command::{
    Cmd, ConfigurationError, Environment, Logging, Messaging, Output, Overflow, Stdin,
    Subscription, Transport,
};
#[doc(no_inline)]
pub use model::script::{SCRIPT_FILE_PATH_PLACEHOLDER, Script, ScriptRunConfig, ScriptingLanguage};
#[cfg(feature = "message-pack")]
pub use procession_wire::Encoding;
pub use procession_wire::{DEFAULT_MESSAGE_LIMIT, FrameError, Framing};
#[cfg(any(feature = "json", feature = "message-pack"))]
pub use procession_wire::{MessageFormat, SerdeError};
