//! What becomes of the processes that a child leaves behind.

/// What becomes of the processes that a child has started and that still run when it exits.
///
/// Whoever stops or kills a process takes its whole tree, whichever this is.
///
/// ```
/// use procession_manager::{Cmd, Leftovers};
///
/// // Starts a daemon, and exits.
/// let launcher = Cmd::new("start-daemon").leftovers(Leftovers::Leave);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Leftovers {
    /// They are hunted down and killed: the default.
    #[default]
    Kill,
    /// They may go on while the manager lives. Its end takes them.
    Leave,
}
