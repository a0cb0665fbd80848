//! The blocking side: [`Parent`], [`Messages`], [`Request`] and [`Reply`].
//!
//! ```text
//!  Parent ─► Handle (counted) ─► Endpoint ◄─ Messages, Request, Reply, watcher
//!                                ├─ Inbox: Session, ReadEnd, Seats  endpoint.rs, read_end.rs
//!                                └─ Output                          output.rs
//! ```

mod asking;
mod endpoint;
mod messages;
mod output;
mod parent;
mod parent_requests;
mod read_end;
mod request;
mod seat;
mod sending;
mod serving;
mod watcher;

pub use asking::Reply;
pub use messages::Messages;
pub use parent::Parent;
pub use request::Request;

#[cfg(test)]
mod tests;
