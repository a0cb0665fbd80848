//! The protocol as seen by a child, with no input or output in it: bytes and events go in, messages
//! and bytes come out. The blocking and the async side are two drivers of this one core.
//!
//! ```text
//!               ┌───────────── Session ─────────────┐
//!  input ─► InputBuffer ─► decoder ─► messages ─────┼─► next()
//!               │             ├─► credit ───────────┼─► try_spend()
//!               │             ├─► stop              │
//!               │             └─► Control ──────────┼─► take_control() ─► output
//!               └───────────────────────────────────┘
//! ```

mod control;
mod input;
mod session;

pub(crate) use input::InputBuffer;
pub(crate) use session::Session;
