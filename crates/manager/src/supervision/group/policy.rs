//! Who is restarted with whom.

use crate::supervision::graph::Graph;

/// Which other nodes share a node's failure; the terms are those of Erlang/OTP's supervisors.
///
/// The same ones are stopped for good when it has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
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
    pub fn affected(self, graph: &Graph, node: usize) -> Vec<usize> {
        match self {
            Self::OneForOne => Vec::new(),
            Self::RestForOne => graph.all_dependants(node),
            Self::OneForAll => (0..graph.len()).filter(|&other| other != node).collect(),
        }
    }
}
