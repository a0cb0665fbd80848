//! The async twin: the same verbs on a tokio runtime.
//!
//! [`Parent`] sends and receives with async calls, [`Parent::messages`] is a
//! [`Stream`](futures_core::Stream) and [`Parent::sink`] a [`Sink`](futures_sink::Sink). One task,
//! spawned by [`connect`], reads the input always and finishes writes, so that stop, ping and credit
//! are seen while handlers wait. A handler that blocks its thread without awaiting may hold that
//! task up: use [`spawn_blocking`](::tokio::task::spawn_blocking) for such work.
//!
//! The runtime needs its IO driver enabled, and no second thread. It needs its time driver for
//! requests with a deadline, as they have by default, and where the parent has set a lease.
//!
//! ```no_run
//! use procession_child::tokio::connect;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let parent = connect().await?;
//!     while let Some(message) = parent.receive().await? {
//!         let answering = parent.clone();
//!         tokio::spawn(async move { answering.send(message).await });
//!     }
//!     Ok(())
//! }
//! ```
//!
//! **Cancel safety.** Every future here may be dropped at any time. A receive that is dropped has
//! taken no message. A send that is dropped before it had its place sends nothing; after that, the
//! message is sent whole. No drop cuts a frame.

mod asking;
mod driver;
mod endpoint;
mod lease;
mod open;
mod outbox;
mod parent;
mod parent_requests;
mod request;
mod serving;
mod stream;

use std::env;

pub use asking::Reply;
pub use parent::Parent;
pub use request::Request;
pub use stream::{MessageSink, Messages};

use crate::ConnectError;

/// Connects to the parent that spawned this process, over what the environment names.
///
/// Does what [`procession_child::connect`](crate::connect) does, the redirection of standard input
/// and output included, and spawns a task on the current runtime. Inherited descriptors are left
/// blocking, since other processes may share them: pipes are opened anew for this process, and for
/// what cannot be, such as a file, threads stand in between.
///
/// # Errors
///
/// [`ConnectError`] names the variable that was tried and what was wrong.
///
/// # Panics
///
/// Outside of a tokio runtime, in one without its IO driver, and where the parent has set a lease, in
/// one without its time driver.
///
/// # Cancel safety
///
/// Dropped, it leaves the channel closed; this process cannot connect again.
pub async fn connect() -> Result<Parent, ConnectError> {
    let claim = crate::open::Claim::take()?;
    let (setup, ends) = crate::open::open(|name| env::var_os(name))?;
    claim.keep();
    Parent::over(setup, ends).await
}

#[cfg(test)]
mod tests;
