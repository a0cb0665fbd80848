//! The clock of the runtime, which tests can pause.

use std::time::Instant;

/// Now. To be called within the runtime.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
