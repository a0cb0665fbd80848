//! Who a child runs as and what it may use up: [`Identity`] and [`Resource`].
//!
//! Plain values. `process/spawn` puts them in force before the program's first instruction.

use std::collections::BTreeMap;
use std::fmt;

/// The user, the groups, the umask and the niceness of a child; what is not given is the parent's.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) umask: Option<u32>,
    pub(crate) nice: Option<i32>,
}

impl Identity {
    /// Whether the child has everything of this from its parent.
    pub(crate) fn is_inherited(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the child runs with other rights than its parent.
    pub(crate) fn changes_rights(&self) -> bool {
        self.user.is_some() || self.group.is_some() || self.groups.is_some()
    }

    /// The supplementary groups to be set. A user without a list has none: those of the parent are
    /// not for it.
    pub(crate) fn groups_to_set(&self) -> Option<&[u32]> {
        match &self.groups {
            Some(groups) => Some(groups),
            None => self.user.map(|_| &[][..]),
        }
    }

    pub(super) fn debug(&self, out: &mut fmt::DebugStruct<'_, '_>) {
        if let Some(user) = self.user {
            out.field("user", &user);
        }
        if let Some(group) = self.group {
            out.field("group", &group);
        }
        if let Some(groups) = &self.groups {
            out.field("groups", groups);
        }
        if let Some(umask) = self.umask {
            out.field("umask", &format_args!("{umask:#05o}"));
        }
        if let Some(nice) = self.nice {
            out.field("nice", &nice);
        }
    }
}

/// The limits of a child, by what they limit.
pub(crate) type Limits = BTreeMap<Resource, u64>;

/// What a child can be limited in, as in `setrlimit(2)`. Each process of the child's tree has the limit
/// for itself, except where it says otherwise.
///
/// ```
/// use procession_manager::{Cmd, Resource};
///
/// let job = Cmd::new("convert")
///     .limit(Resource::CpuSeconds, 60)
///     .limit(Resource::AddressSpace, 2 << 30)
///     .limit(Resource::CoreSize, 0);
/// assert_eq!(job.limits().count(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Resource {
    /// Processor time, in seconds (`RLIMIT_CPU`). At the limit a process gets SIGXCPU, which ends
    /// it unless it is caught, and a second later SIGKILL: the hard limit is one second more. At
    /// least 1; from 18,446,744,073 on (584 years), which the kernel cannot count in nanoseconds,
    /// there is no limit.
    CpuSeconds,
    /// Virtual memory, in bytes, rounded up to 1024 (`RLIMIT_AS`). What goes over it is refused with
    /// `ENOMEM`. A limit that is too small for the program itself ends it at once, by a signal or
    /// with status 127. At least 1.
    AddressSpace,
    /// One more than the largest descriptor number (`RLIMIT_NOFILE`). At the limit opening fails with
    /// `EMFILE`.
    OpenFiles,
    /// Processes and threads (`RLIMIT_NPROC`) of the child's *user*, all of them, wherever they were
    /// started. At the limit `fork` fails with `EAGAIN`. Root is not held to it.
    Processes,
    /// A core dump, in bytes, rounded up to 512 (`RLIMIT_CORE`). With 0 there is none.
    CoreSize,
    /// A file that is written, in bytes, rounded up to 512 (`RLIMIT_FSIZE`). Writing past it gets
    /// SIGXFSZ, which ends the process unless it is caught. Pipes are not files.
    FileSize,
}

impl Resource {
    /// The name in `setrlimit(2)`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuSeconds => "RLIMIT_CPU",
            Self::AddressSpace => "RLIMIT_AS",
            Self::OpenFiles => "RLIMIT_NOFILE",
            Self::Processes => "RLIMIT_NPROC",
            Self::CoreSize => "RLIMIT_CORE",
            Self::FileSize => "RLIMIT_FSIZE",
        }
    }
}
