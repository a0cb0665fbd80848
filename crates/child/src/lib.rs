//! placeholder docs
#![forbid(unsafe_code)]

mod blocking;
mod core;
mod error;
mod open;
mod stop;
#[cfg(test)]
mod test_parent;
#[cfg(feature = "tokio")]
pub mod tokio;

use std::{
    env,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use blocking::{Messages, Parent};
pub use error::{ConnectError, ReceiveError, SendError};
#[cfg(feature = "message-pack")]
pub use procession_wire::Encoding;
pub use procession_wire::{
    CreditExceeded, EnvironmentError, EnvironmentErrorKind, FrameError, Framing, LineTooLong,
    Message,
};
#[cfg(any(feature = "json", feature = "message-pack"))]
pub use procession_wire::{MessageFormat, SerdeError};

/// Connects to the parent that spawned this process, over what the environment names.
pub fn connect() -> Result<Parent, ConnectError> {
    let claim = open::Claim::take()?;
    let (setup, ends) = open::open(|name| env::var_os(name))?;
    claim.keep();
    Parent::over(setup, ends)
}

/// run directory
pub fn data_dir() -> Result<PathBuf, ConnectError> {
    open::data_dir(|name| env::var_os(name))
}

/// No code of ours panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
