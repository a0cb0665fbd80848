//! What the state machine takes in and what it answers.

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Start all nodes, each when it can. Only the first one counts.
    Start,
    /// Stop all nodes, each when it can. Nothing is started after it.
    Stop,
    /// A node is ready.
    Ready(usize),
    /// The run of a node has ended, and its supervisor restarts it once it has
    /// [`Effect::RestartNode`].
    Down(usize),
    /// A node has ended well, and is not restarted.
    Ended(usize),
    /// A node has failed, and its supervisor has given up.
    Failed(usize),
    /// A node has stopped, as it was told by [`Effect::StopNode`].
    Stopped(usize),
}

/// What to do, in this order.
///
/// Each step's effects come in the order of these variants, and of the nodes' indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// The group will not be ready, or with [`FailurePolicy::OneForAll`](super::FailurePolicy::OneForAll) not
    /// go on, because of this node. The others go on unless they are stopped, too.
    GroupFailed {
        /// The node that failed, or ended though others need it.
        node: usize,
    },
    /// A node will not be started, or started again, since what it needs is gone for good.
    NotStarted {
        /// The node.
        node: usize,
        /// The node at the root of it: it failed, or ended though others need it.
        because_of: usize,
    },
    /// Stop a node, whatever it is doing: starting, running, or waiting to be restarted. Then
    /// [`Input::Stopped`], unless it ended or failed meanwhile.
    StopNode(usize),
    /// A node that is down may be restarted, when its backoff is over. Then as with
    /// [`StartNode`](Self::StartNode).
    RestartNode(usize),
    /// Start a node. Then [`Input::Ready`], or [`Input::Down`], [`Input::Ended`] or [`Input::Failed`].
    StartNode(usize),
    /// Every node is ready, or has ended.
    GroupReady,
    /// Nothing runs, and nothing will. Nothing follows.
    GroupStopped,
}
