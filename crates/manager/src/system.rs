//! The system below: processes, and nothing of messages, logs or managers.

pub(crate) mod shim;
