//! What the state machine takes in and what it answers.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::{ExitCause, ExitReport, OutputState, ProcessState, ResourceUsage};
use crate::model::command::Leftovers;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The child runs.
    Started {
        /// How many of its outputs (messages, logs) are being read.
        outputs: usize,
        /// Whether a `stop` frame can be sent to it.
        frames: bool,
    },
    /// It has shown what it was to show to count as started.
    Begun,
    /// It may take until then to count as started, if that is later.
    StartBy(Instant),
    /// It never will: what it writes is not believed.
    StartBroken,
    /// It no longer answers.
    Unresponsive,
    /// The child could not be started; everything has been unwound.
    StartFailed,
    /// Ask it to end within this time, for this reason.
    Stop { grace: Duration, cause: ExitCause },
    /// End it now, for this reason.
    Kill(ExitCause),
    /// The kernel does not let us kill it.
    KillDenied,
    /// A deadline may have passed.
    Tick,
    /// It has been reaped.
    Exited {
        status: Option<ExitStatus>,
        usage: Option<ResourceUsage>,
        /// Whether the kernel has killed something of its cgroup for want of memory.
        oom: bool,
    },
    /// One of its outputs has come to its end, or was given up.
    OutputEnded(OutputState),
    /// The hunt for its tree is over.
    Hunted {
        /// So many processes beside itself had to be killed.
        killed: u32,
        /// Something is left that does not end.
        left: bool,
    },
    /// Forget it.
    Remove,
    /// The manager ends: stop it within this time, and forget it when it has finished.
    ShutDown { grace: Duration },
    /// Whoever asked for it went away before having it: kill it, and forget it.
    Abandon,
}

/// What to do about it, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Send it the `stop` frame.
    SendStop,
    /// End its input.
    EndInput,
    /// Send SIGTERM to the whole tree.
    TermTree,
    /// Send SIGKILL to the process itself, now; then [`Input::KillDenied`] where that is refused.
    Kill,
    /// Close its input, whatever is queued.
    CloseInput,
    /// Send SIGKILL to the whole tree, and hunt it until nothing is left; then [`Input::Hunted`].
    KillTree,
    /// The process is gone: hunt what it left behind. Then [`Input::Hunted`].
    Hunt {
        /// Whether somebody waits for it.
        urgent: bool,
    },
    /// Somebody waits for the hunt that is under way.
    Hurry,
    /// Tell everybody what is left of it, and why.
    TellLeft,
    /// Leave the process to a thread that reaps it some time, and forget it. Nothing follows.
    LetGo,
    /// It has not shown in time that it has started.
    StartOverdue,
    /// Tell everybody the new state.
    Publish(ProcessState),
    /// Tell everybody how it ended. Comes with the exit, when the output has been read, and once
    /// more where the hunt outlasts that; the last comes before [`ProcessState::Finished`].
    Report(ExitReport),
    /// The pipes hold all that the process itself will ever write: read them to their end.
    Drain,
    /// Removal is refused: it has not finished.
    RefuseRemoval,
    /// Remove its run directory and forget it. Nothing follows.
    CleanUp,
}

/// What is known of a process from its start on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    pub(crate) leftovers: Leftovers,
    /// The grace of a stop that nobody asked for.
    pub(crate) grace: Duration,
    /// How long it may run.
    pub(crate) timeout: Option<Duration>,
    /// How long it may take to count as started, where it has to show that.
    pub(crate) start: Option<Duration>,
    /// Its limit of CPU time.
    pub(crate) cpu_limit: Option<Duration>,
    /// Whether the size of its files is limited.
    pub(crate) file_limit: bool,
}
