//! Why no other run follows.

use std::fmt;
use std::time::Duration;

/// Why a supervised process has ended for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PermanentEnd {
    /// A run ended that nobody had asked to end, and the [policy](super::RestartPolicy) does not restart it.
    ByItself,
    /// A user asked for its end, by a stop or a kill.
    Requested,
    /// The manager was shut down.
    ShutDown,
    /// It would have been restarted more often than its [intensity](super::RestartIntensity) allows.
    TooManyRestarts {
        /// How many are allowed
        restarts: u32,
        /// in any time of this length.
        period: Duration,
    },
}

impl fmt::Display for PermanentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByItself => f.write_str("it ended, and its policy does not restart it"),
            Self::Requested => f.write_str("it was asked to end"),
            Self::ShutDown => f.write_str("the manager was shut down"),
            Self::TooManyRestarts { restarts, period } => write!(
                f,
                "it needed more than {restarts} restarts within {period:?}; see in the report and the \
                 logs of its last run why it fails, and spawn it anew then, or allow more restarts \
                 (RestartIntensity) or longer waits between them (Backoff)"
            ),
        }
    }
}
