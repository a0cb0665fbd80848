//! The child side of Procession: talk to the parent that spawned this program.
//!
//! ```no_run
//! use procession_child::connect;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let parent = connect()?;
//!     for message in parent.messages() {
//!         parent.send(message?)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! That is a whole worker. [`connect`] learns all from the environment that the parent set: whether
//! messages go by standard input and output or by named pipes, whether they are lines or frames, how
//! long one may be. There is nothing to configure and so nothing to disagree about. No async runtime
//! is needed; the feature `tokio` has the same verbs for programs that have one.
//!
//! # A worker that does it all
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use procession_child::{Parent, connect};
//!
//! fn main() -> ExitCode {
//!     // First of all: what is printed before may be taken for a message.
//!     let parent = match connect() {
//!         Ok(parent) => parent,
//!         Err(error) => {
//!             eprintln!("{error}");
//!             return ExitCode::FAILURE;
//!         }
//!     };
//!     let worked = work(&parent);
//!     let status = if worked.is_ok() { 0 } else { 1 };
//!     // Flushes, and tells the parent that nothing follows.
//!     match worked.and(parent.finish(status).map_err(Into::into)) {
//!         Ok(()) => ExitCode::SUCCESS,
//!         Err(error) => {
//!             eprintln!("{error}");
//!             ExitCode::FAILURE
//!         }
//!     }
//! }
//!
//! fn work(parent: &Parent) -> Result<(), Box<dyn std::error::Error>> {
//!     // From `connect` on, this goes to standard error, which may be a log of the parent.
//!     println!("my files belong in {}", parent.data_dir().display());
//!     parent.on_stop(|| println!("asked to stop"));
//!     parent.ready("warmed up")?;
//!     for message in parent.messages() {
//!         for word in message?.as_str()?.split_whitespace() {
//!             // Gathered, and written before the next wait for a message.
//!             parent.feed(word)?;
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What to know
//!
//! - **Standard streams.** Over standard I/O the real stdin and stdout carry the protocol and nothing
//!   else. [`connect`] points fd 0 at `/dev/null` and fd 1 at standard error, so a stray `println!` is
//!   a log line and not a broken protocol. Programs started from here inherit those.
//! - **Ends.** [`Parent::messages`] ends when the parent closes the input, is gone, or asks this program
//!   to stop. A worker whose loop ends, ends: so it never outlives its parent. One that does not
//!   receive looks at [`Parent::input_ended`] and [`Parent::is_stopping`].
//! - **Always listening.** While the program is busy, a thread of this crate reads the input, so stop,
//!   ping and the end are seen at once. It reads ahead no more than 4 MiB over frames, which credit
//!   bounds, and 1 MiB over lines; a parent that sends more waits, and over lines the thread sees
//!   nothing more until messages are received.
//! - **Nothing is lost on the way out.** Dropping the last [`Parent`] flushes and says `bye`.
//!   [`std::process::exit`] drops nothing: call [`Parent::finish`] first. So it is with `panic = "abort"`.
//! - **Backpressure.** A send waits while the parent cannot take more; a send to a parent that is gone
//!   is [`SendError::ParentGone`].
//! - **Memory.** A received [`Message`] is a slice of the read buffer, 64 KiB or more. Keep a small one
//!   for long by [`Message::detach`].
//! - **A silent parent.** Where the parent has set a lease and nothing has come for so long, the input
//!   counts as ended and [`Parent::on_stop`] is called; a program that is still there when as much time
//!   again has passed exits with [`LEASE_EXIT_CODE`].
//!
//! # Requests
//!
//! Over frames, either side can ask the other, and gets exactly one reply or one failure:
//!
//! ```no_run
//! use procession_child::connect;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let parent = connect()?;
//!     parent.ready("at work")?;
//!     // Until the parent asks to stop or ends the input, four requests at a time.
//!     parent.serve_on(4, |request| {
//!         let name = request.message().as_str()?;
//!         // A handler may ask in turn,
//!         let path = parent.request(format!("where is {name}?"))?;
//!         let mut lines = 0;
//!         for line in std::fs::read_to_string(path.as_str()?)?.lines() {
//!             // answer in parts, for which the parent makes room,
//!             request.item(line)?;
//!             lines += 1;
//!         }
//!         // and end with a reply, or with an error, which is the parent's failure.
//!         Ok(format!("{lines} lines").into())
//!     })?;
//!     Ok(())
//! }
//! ```
//!
//! - **Serving.** [`Parent::serve`] uses one thread, [`Parent::serve_on`] many. Messages are received
//!   apart from it, by another thread. Until someone serves, requests wait; what waits when the
//!   connection ends is failed.
//! - **Cancels.** A parent that no longer wants an answer says so: [`Request::is_cancelled`]. A handler
//!   that does not look may go on; its outcome is sent and ignored.
//! - **Stop.** What was accepted before the parent asked to stop is answered; later requests fail.
//! - **Asking.** [`Parent::request`] waits [`DEFAULT_DEADLINE`] at most, [`Parent::request_with`] as long
//!   as one likes, and [`Parent::request_items`] takes an answer in parts.
//!
//! # Typed messages
//!
//! With the feature `json` or `message-pack`, `MessageFormat` turns payloads into values:
//!
#![cfg_attr(feature = "json", doc = "```no_run")]
#![cfg_attr(not(feature = "json"), doc = "```ignore")]
//! use procession_child::{MessageFormat::Json, connect};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Task {
//!     numbers: Vec<f64>,
//! }
//!
//! #[derive(Serialize)]
//! struct Answer {
//!     mean: f64,
//! }
//!
//! let parent = connect()?;
//! while let Some(task) = parent.receive_as::<Task>(&Json)? {
//!     let mean = task.numbers.iter().sum::<f64>() / task.numbers.len() as f64;
//!     parent.send_as(&Answer { mean }, &Json)?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Speed
//!
//! A thread that waits in [`Parent::receive`], [`Parent::serve`] or [`Parent::request`] reads the pipe
//! itself, and [`Parent::send`] writes it itself, so a round trip costs one `read` and one `write`, with
//! a deadline or a lease one `poll` besides, and no switch of threads. For many small
//! messages [`Parent::feed`] gathers 64 KiB before it writes.

#![forbid(unsafe_code)]

mod blocking;
mod core;
mod error;
mod lease;
mod open;
mod requests;
mod signal;
#[cfg(test)]
mod test_parent;
#[cfg(feature = "tokio")]
pub mod tokio;

use std::{
    env,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use blocking::{Messages, Parent, Reply, Request};
pub use error::{ConnectError, ReceiveError, SendError};
pub use lease::LEASE_EXIT_CODE;
#[cfg(feature = "message-pack")]
pub use procession_wire::Encoding;
pub use procession_wire::{
    EnvironmentError, EnvironmentErrorKind, Escaped, FrameError, Framing, LineTooLong, Message,
};
#[cfg(any(feature = "json", feature = "message-pack"))]
pub use procession_wire::{MessageFormat, SerdeError};
pub use requests::{
    DEFAULT_DEADLINE, HandlerError, ItemError, RequestError, RequestOptions, ServeError,
};

/// Connects to the parent that spawned this process, over what the environment names.
///
/// Best called first of all, before anything is printed or a thread is started. Over frames it greets
/// the parent at once. Over standard I/O it takes the real streams for itself, in the directions that
/// carry messages: fd 0 then is `/dev/null`, and fd 1 is standard error.
///
/// A process can connect once. After a failure that left the standard streams as they were, it can
/// try again.
///
/// # Errors
///
/// [`ConnectError`] names the variable that was tried, and whether it was missing, made no sense, was
/// no pipe, or was refused by the system. [`ConnectError::is_missing`] tells a program that it was
/// started by hand.
///
/// ```no_run
/// match procession_child::connect() {
///     Ok(parent) => parent.send("at your service")?,
///     Err(error) if error.is_missing() => println!("nobody to serve: running on my own"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn connect() -> Result<Parent, ConnectError> {
    let claim = open::Claim::take()?;
    let (setup, ends) = open::open(|name| env::var_os(name))?;
    claim.keep();
    Parent::over(setup, ends)
}

/// The run directory that the parent made for this process: private to it, and removed with it. There
/// with or without messaging, and with no connection.
///
/// # Errors
///
/// [`ConnectError`] if `PROCESS_DATA_DIR` is not set or is no absolute path.
///
/// ```no_run
/// let scratch = procession_child::data_dir()?.join("scratch");
/// # Ok::<(), procession_child::ConnectError>(())
/// ```
pub fn data_dir() -> Result<PathBuf, ConnectError> {
    open::data_dir(|name| env::var_os(name))
}

/// Locks, poisoned or not: no code of ours panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
