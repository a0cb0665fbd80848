//! Who is restarted with whom.

use crate::supervision::graph::Graph;

/// Which others of a group share a process's failure; the terms are those of Erlang/OTP's supervisors.
///
/// When a run of a process has ended and another is to follow, they are stopped, and started again in order after it.
/// When it has failed for good, they are stopped for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// None: the others go on as they are.
    #[default]
    OneForOne,
    /// All that depend on it, directly or not. OTP goes by the order in which they were started; here what
    /// does not need it is left alone.
    RestForOne,
    /// All of them.
    OneForAll,
}

impl FailurePolicy {
    /// The others that share this node's failure, in the order of their indices.
    pub(super) fn affected(self, graph: &Graph, node: usize) -> Vec<usize> {
        match self {
            Self::OneForOne => Vec::new(),
            Self::RestForOne => graph.all_dependants(node),
            Self::OneForAll => (0..graph.len()).filter(|&other| other != node).collect(),
        }
    }
}
