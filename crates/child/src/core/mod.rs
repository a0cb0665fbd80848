//! The protocol as seen by a child, with no input or output in it: bytes and events go in, messages
//! and bytes come out. The blocking and the async side are two drivers of this one core.
//!
//! ```text
//!               ┌───────────── Session ─────────────┐
//!  input ─► InputBuffer ─► decoder ─► messages ─────┼─► next()
//!               │             ├─► credit ───────────┼─► try_spend()
//!               │             ├─► stop              │
//!               │             ├─► Requests ─────────┼─► requests(), take_events()
//!               │             └─► Control ──────────┼─► take_control() ─► output
//!               └───────────────────────────────────┘
//! ```

mod asking;
mod control;
mod events;
mod input;
#[cfg(test)]
mod request_tests;
mod requests;
mod session;
mod wakers;

pub(crate) use asking::{Asking, Lost, Place, Step};
pub(crate) use events::Events;
pub(crate) use input::InputBuffer;
pub(crate) use requests::{Arrived, Key, Requests, Sendable};
pub(crate) use session::Session;
pub(crate) use wakers::Wakers;
