//! Starting a child as somebody else, or with another umask or niceness.
//!
//! ```text
//!  spawning thread ──starts──► a thread for this one child, then thrown away
//!        │                      nice ─► umask ─► groups ─► group ─► user ─► checks ─► posix_spawn
//!        └────────waits─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The standard library's `uid` and `gid` make it fork, which takes 200 times longer in a parent with
//! much memory. On Linux all of this belongs to the thread, and a child has it from the thread that
//! starts it. What needs rights comes before the user, who has none.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::thread;

use procession_wire::Escaped;
use rustix::fs::{Access, access};

use super::super::spawn_error::because;
use crate::model::Identity;
use crate::os::identity as os;

/// What the child must be able to use, checked with its own rights: `posix_spawn(3)` does not tell one
/// from another, and a shell tells it too late.
pub(super) struct Needs<'a> {
    pub(super) program: &'a Path,
    pub(super) current_dir: Option<&'a Path>,
    /// There where something in it is for the child to open.
    pub(super) run_dir: Option<&'a Path>,
}

/// How often to look whether a thread that has ended is gone.
const MAX_TURNS: usize = 100_000;

/// Starts `command` with this identity.
pub(super) fn spawn(
    command: &mut Command,
    identity: &Identity,
    needs: &Needs<'_>,
) -> io::Result<Child> {
    if identity.is_inherited() {
        return command.spawn();
    }
    let dumpable = identity.changes_rights().then(Dumpable::hold);
    let (result, number) = thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("procession-as".into())
            .spawn_scoped(scope, || {
                let result = become_it(identity)
                    .and_then(|()| check(identity, needs))
                    .and_then(|()| command.spawn());
                (result, os::thread_id())
            })?;
        let panicked = |_| io::Error::other("the thread that starts the process panicked");
        thread.join().map_err(panicked)
    })?;
    if let Some(dumpable) = dumpable {
        dumpable.release(number);
    }
    result
}

fn become_it(identity: &Identity) -> io::Result<()> {
    if let Some(nice) = identity.nice {
        os::set_thread_nice(nice)
            .map_err(|error| because(format_args!("cannot have the niceness {nice}"), &error))?;
    }
    if let Some(umask) = identity.umask {
        os::set_thread_umask(umask)
            .map_err(|error| because(format_args!("cannot have the umask {umask:#05o}"), &error))?;
    }
    if let Some(groups) = identity.groups_to_set() {
        os::set_thread_groups(groups).map_err(|error| match identity.user {
            Some(user) => because(
                format_args!("cannot become user {user} with the supplementary groups {groups:?}"),
                &error,
            ),
            None => because(
                format_args!("cannot have the supplementary groups {groups:?}"),
                &error,
            ),
        })?;
    }
    if let Some(group) = identity.group {
        os::set_thread_group(group)
            .map_err(|error| because(format_args!("cannot become group {group}"), &error))?;
    }
    if let Some(user) = identity.user {
        os::set_thread_user(user)
            .map_err(|error| because(format_args!("cannot become user {user}"), &error))?;
    }
    Ok(())
}

/// `access(2)` asks for the real user, which is the child's by now.
fn check(identity: &Identity, needs: &Needs<'_>) -> io::Result<()> {
    if !identity.changes_rights() {
        return Ok(());
    }
    let who = match (identity.user, identity.group) {
        (Some(user), _) => format!("user {user}"),
        (None, Some(group)) => format!("group {group}"),
        (None, None) => "it with its supplementary groups".to_owned(),
    };
    let refused = |what: &str, path: &Path, error: rustix::io::Errno| {
        because(
            format_args!("{who} cannot {what} {}", Escaped::new(path)),
            &error.into(),
        )
    };
    if let Some(dir) = needs.current_dir {
        access(dir, Access::EXEC_OK).map_err(|error| refused("enter", dir, error))?;
    }
    access(needs.program, Access::EXEC_OK)
        .map_err(|error| refused("execute", needs.program, error))?;
    if let Some(dir) = needs.run_dir {
        access(dir, Access::EXEC_OK).map_err(|error| {
            refused(
                "reach its own directory (are those above it passable, `chmod o+x`?)",
                dir,
                error,
            )
        })?;
    }
    Ok(())
}

/// Keeps what is true of the whole process as it was.
///
/// A thread that changes its user makes its process not dumpable (`PR_SET_DUMPABLE(2const)`), and that
/// is good: otherwise other processes of that user could look into our memory through this thread. So
/// it is undone only when the last such thread is gone for good.
struct Dumpable;

struct Held {
    threads: usize,
    /// Whether it was dumpable before the first.
    before: bool,
}

static HELD: Mutex<Held> = Mutex::new(Held {
    threads: 0,
    before: false,
});

impl Dumpable {
    fn hold() -> Self {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if held.threads == 0 {
            held.before = os::is_dumpable();
        }
        held.threads += 1;
        Self
    }

    /// `thread` was joined: it is in its last few instructions, if it is still there at all.
    fn release(self, thread: libc::pid_t) {
        // A bound, in case its number is that of a new thread already.
        for _ in 0..MAX_TURNS {
            if !os::thread_is_there(thread) {
                break;
            }
            thread::yield_now();
        }
        drop(self);
    }
}

impl Drop for Dumpable {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.threads -= 1;
        if held.threads == 0
            && held.before
            && !os::is_dumpable()
            && let Err(error) = os::set_dumpable()
        {
            tracing::warn!(%error, "this process stays without core dumps");
        }
    }
}
