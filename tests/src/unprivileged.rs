//! Giving up root's rights, for helper programs: as root there are no permission errors.

use std::io;

use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

const NOBODY: u32 = 65_534;

/// Makes this thread, and those that it starts from now on, run as nobody if they run as root. To be
/// called before there is another thread.
///
/// # Errors
/// The kernel's, where it refuses.
pub fn become_nobody() -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    set_thread_groups(&[])?;
    set_thread_gid(rustix::process::Gid::from_raw(NOBODY))?;
    set_thread_uid(rustix::process::Uid::from_raw(NOBODY))?;
    // A process that changes its user loses access to its own /proc/self/fd (PR_SET_DUMPABLE(2const)).
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(())
}
