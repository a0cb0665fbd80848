//! Why a group was not started, and why it is not ready.

use std::fmt;

use procession_wire::Escaped;

use crate::containment::{LeftProcess, List};
use crate::error::{LastLines, NO_MANAGER};
use crate::lifecycle::ExitReport;
use crate::model::ConfigurationError;
use crate::supervision::GraphError;

/// Why a group was not started. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnGroupError {
    /// Its processes cannot need each other as they say.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The command of one of them cannot work.
    #[error("`{}` cannot be started: {error}", Escaped::new(name))]
    Configuration {
        /// The process.
        name: String,
        /// What is wrong with its command.
        #[source]
        error: ConfigurationError,
    },
    /// The manager has ended, or is shutting down.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
}

/// Why a group is not ready, and will not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// One of its processes failed for good, or ended though others need it.
    #[error("`{}` {why}", Escaped::new(name))]
    Failed {
        /// The process.
        name: String,
        /// What has become of it.
        why: MemberFailure,
    },
    /// The group was stopped before it was ready, or the manager was shut down.
    #[error("the group was stopped before it was ready")]
    Stopped,
    /// The manager has ended without seeing to the group: its runtime is gone.
    #[error("{NO_MANAGER}")]
    ManagerCommunicationError,
}

/// What has become of a process because of which a group is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberFailure {
    /// It could not be started, for this reason.
    CannotStart(String),
    /// It has ended for ever.
    Ended {
        /// How.
        report: Box<ExitReport>,
        /// What it said last, where its stderr is logged.
        stderr: LastLines,
    },
    /// The process was killed, and does not end.
    NotEnded {
        /// The processes left.
        left: Vec<LeftProcess>,
    },
    /// It has ended, and nothing is known of how.
    Gone,
}

impl fmt::Display for MemberFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotStart(error) => {
                write!(f, "could not be started: {}", Escaped::new(error).lines())
            }
            Self::Ended { report, stderr } => write!(f, "{report}{stderr}"),
            Self::NotEnded { left } => write!(f, "does not end: {}", List(left)),
            Self::Gone => f.write_str("has ended, and nobody knows how"),
        }
    }
}
