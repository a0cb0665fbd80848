//! Messages between the parent and one child: the write path, the read path and the fan-out.
//!
//! [`outbox`] sends, [`reader`] receives, and neither waits for the other: a child that does not
//! read never stops us from reading what it writes. [`conversation`] has the requests of both
//! sides, with [`asking`] for ours and [`answering`] for the child's; [`signs`] is what a child has
//! shown of itself, [`pings`] whether it still answers, and [`budget`] how much it may send that
//! nobody waits for.

pub(crate) mod answering;
pub(crate) mod asking;
pub(crate) mod budget;
pub(crate) mod buffer;
pub(crate) mod conversation;
pub(crate) mod hub;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod memory;
pub(crate) mod outbox;
pub(crate) mod pings;
pub(crate) mod pipe;
mod queue;
pub(crate) mod reader;
pub(crate) mod signs;
pub(crate) mod sink;
pub(crate) mod source;
mod spare;
#[cfg(test)]
pub(crate) mod testing;
