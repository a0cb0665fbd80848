//! What the state machine takes in and what it answers.

use std::time::Instant;

use super::{PermanentEnd, Probe};

/// What happened. What names a run is ignored unless that is the run that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The process of this run exists.
    Spawned { run: u64 },
    /// It has shown what it was to show to count as started; where it has to show nothing, right after
    /// [`Spawned`](Self::Spawned).
    Started { run: u64 },
    /// It is over, and nothing of it stands in the way of the next run.
    Exited {
        run: u64,
        /// See [`RestartPolicy::is_failure`](super::RestartPolicy::is_failure).
        failed: bool,
        /// Its report says that a stop or a kill by a user, or the manager's shutdown, was the cause,
        /// whoever passed that on. It must not be set for [`StopReason::Unhealthy`]: then there would be
        /// no restart.
        requested: bool,
        /// When it exited, which may be a while ago.
        at: Instant,
    },
    /// It could not be spawned; everything has been unwound. After [`Spawned`](Self::Spawned) only
    /// [`Exited`](Self::Exited) ends a run.
    StartFailed { run: u64 },
    /// Its health was probed.
    Health { run: u64, probe: Probe },
    /// A user wants it to end, for ever.
    Stop,
    /// A user wants it to end now, for ever.
    Kill,
    /// A user wants a new run now.
    Restart,
    /// Nothing is to run before the release. Of one that is not gated this is ignored.
    Hold,
    /// The next run may begin, as soon as it is due.
    Release,
    /// A deadline may have passed.
    Tick,
    /// The manager ends.
    ShutDown,
}

impl Input {
    /// The run that it is about, if about one.
    pub(super) fn run(&self) -> Option<u64> {
        match *self {
            Self::Spawned { run }
            | Self::Started { run }
            | Self::Exited { run, .. }
            | Self::StartFailed { run }
            | Self::Health { run, .. } => Some(run),
            Self::Stop
            | Self::Kill
            | Self::Restart
            | Self::Hold
            | Self::Release
            | Self::Tick
            | Self::ShutDown => None,
        }
    }
}

/// What to do about it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Spawn the process of this run. Then [`Input::Spawned`] or [`Input::StartFailed`].
    StartRun { run: u64 },
    /// Ask the run to end; also while it is being spawned. May come again, for another reason; the
    /// soonest end counts.
    StopRun(StopReason),
    /// End the run now; also while it is being spawned. May come again.
    KillRun,
    /// Tell the subscribers that this run begins; what it writes comes after that. Once for each run
    /// whose process existed, and never for one that could not be spawned.
    NewRun { run: u64 },
    /// Tell everybody that there will be no other run. Said once, and nothing follows.
    Announce(PermanentEnd),
}

/// Why a run is to end, for its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// A user wants it to end.
    Requested,
    /// A user wants a new run.
    Restart,
    /// It missed too many probes in a row.
    Unhealthy,
    /// The manager ends.
    ShutDown,
}
