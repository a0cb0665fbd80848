//! The blocking side: [`Parent`] and [`Messages`].
//!
//! ```text
//!  Parent ─► Handle (counted) ─► Endpoint ◄─ Messages, watcher
//!                                ├─ Inbox: Session, ReadEnd      endpoint.rs, read_end.rs
//!                                └─ Output                       output.rs
//! ```

mod endpoint;
mod messages;
mod output;
mod parent;
mod read_end;
mod sending;
mod watcher;

pub use messages::Messages;
pub use parent::Parent;

#[cfg(test)]
mod tests;
