//! Where a group is in its life, and each of its processes.

use std::fmt;

use procession_wire::Escaped;

use crate::id::ProcessId;
use crate::supervision::MemberState;

/// Where a group is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupPhase {
    /// Its processes are being started.
    Starting,
    /// All of it was ready, or had ended well, at one time. What has become of a process since is in its own state.
    Ready,
    /// It will not be ready, since a process failed for good, or ended though others need it. The rest goes on as its
    /// [policy](crate::FailurePolicy) says.
    Failed,
    /// It is being stopped.
    Stopping,
    /// Nothing of it runs, and nothing will.
    Stopped,
}

impl fmt::Display for GroupPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

/// What is known of a group at one moment.
///
/// Its `Display` form is a line for the group and one for each process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    pub(super) phase: GroupPhase,
    pub(super) members: Vec<MemberStatus>,
}

/// What is known of one process of a group at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    pub(super) name: String,
    pub(super) state: MemberState,
    pub(super) process: Option<ProcessId>,
    pub(super) error: Option<String>,
}

impl GroupStatus {
    /// Where it is in its life.
    pub fn phase(&self) -> GroupPhase {
        self.phase
    }

    /// All its processes, in the order in which they were given.
    pub fn members(&self) -> &[MemberStatus] {
        &self.members
    }

    /// The process of this name.
    pub fn member(&self, name: &str) -> Option<&MemberStatus> {
        self.members.iter().find(|member| member.name == name)
    }
}

impl MemberStatus {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is in its life.
    pub fn state(&self) -> MemberState {
        self.state
    }

    /// Its id, once it was spawned; the same over all its runs.
    pub fn process(&self) -> Option<ProcessId> {
        self.process
    }

    /// Why it could not be started, or does not end, where that is so.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Escaped::new(&self.name), self.state)?;
        if let Some(id) = self.process {
            write!(f, " (process {id})")?;
        }
        if let Some(error) = &self.error {
            write!(f, " ({})", Escaped::new(error))?;
        }
        Ok(())
    }
}

impl fmt::Display for GroupStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.phase {
            GroupPhase::Failed | GroupPhase::Stopped => "has",
            _ => "is",
        };
        write!(f, "the group {verb} {}", self.phase)?;
        let mut members = self.members.iter();
        members.try_for_each(|member| write!(f, "\n  {member}"))
    }
}
