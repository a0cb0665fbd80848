//! The task over a log on the file route: wakes followers, and knows when the file is complete.
//!
//! ```text
//!           followers ► 0                         exit                    no writer left ─► Complete
//!  Idle ─────────────────► Watching ─┐     Idle, Watching ──► Draining ─┤
//!   ▲                       │   ▲    │ one-shot watch, at most            quiet, or bound ─► Cut
//!   └──── followers = 0 ────┘   └────┘ every 10 ms
//! ```
//!
//! While nobody follows, nothing is watched, and the child writes at its own speed. Whether anybody has the
//! file open for writing is asked with a read lease, which fails with `EAGAIN` then: `F_SETLEASE` in
//! fcntl(2). Where leases are not supported, the quiet period alone decides, and the output counts as cut.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::log::Log;
use crate::file_events::FileEvents;
use crate::flag::Flag;
use crate::lifecycle::{Drain, DrainBounds, OutputState};
use crate::os;
use crate::process::pool::Pool;
use crate::starts;

/// Watches are armed at most this often.
const EVERY: Duration = Duration::from_millis(10);

pub(crate) struct Watch {
    pub(crate) log: Arc<Log>,
    pub(crate) file: Arc<File>,
    pub(crate) exit: Arc<Flag>,
    pub(crate) events: Arc<FileEvents>,
    pub(crate) bounds: DrainBounds,
    pub(crate) pool: Pool,
}

impl Watch {
    /// To the end of the file; says how that came.
    pub(crate) async fn run(self) -> OutputState {
        let mut followers = self.log.followers();
        while !self.exit.is_set() {
            tokio::select! {
                biased;
                () = self.exit.wait() => {}
                () = are(&mut followers, |count| count > 0) => self.watch().await,
            }
        }
        let state = self.drain().await;
        self.log.completed();
        state
    }

    /// Tells followers of what is new, until there are none, or the child exits.
    async fn watch(&self) {
        let mut followers = self.log.followers();
        let mut length = None;
        loop {
            let armed = Instant::now();
            // Before the look: what is written after it fires the watch.
            let change = self.events.changed(&self.path());
            let now = self.length();
            if length != Some(now) {
                length = Some(now);
                tokio::select! {
                    biased;
                    () = self.exit.wait() => return,
                    () = self.grew() => {}
                }
            }
            let changed = async {
                match &change {
                    Ok(change) => change.wait().await,
                    // Without a watch it has to be looked at now and then.
                    Err(_) => sleep_until(armed + 20 * EVERY).await,
                }
                sleep_until(armed + EVERY).await;
            };
            tokio::select! {
                biased;
                () = self.exit.wait() => return,
                () = are(&mut followers, |count| count == 0) => return,
                () = changed => {}
            }
        }
    }

    /// After the exit: until nobody can write any more, or it has been long enough.
    async fn drain(&self) -> OutputState {
        // Not what was counted when the exit came: followers are told of the rest of that too.
        let (mut length, exited) = (None, starts::mark());
        let now = || Instant::now().into_std();
        let mut drain = Drain::new(self.bounds, now(), !exited.is_past());
        loop {
            let armed = Instant::now();
            let change = self.events.changed(&self.path());
            match os::has_writers(&self.file) {
                Ok(false) => return OutputState::Complete,
                Ok(true) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot tell whether a log is still open");
                }
            }
            let new = Some(self.length());
            if std::mem::replace(&mut length, new) != new {
                drain.rearm(self.bounds, now(), !exited.is_past());
                // What is not counted by then is counted for whoever asks for it, at a time that is
                // not known.
                let _ = timeout_at(drain.bound().into(), self.grew()).await;
            }
            if drain.is_over(now()) {
                return OutputState::Cut;
            }
            if drain.until() <= now() {
                drain.rearm(self.bounds, now(), !exited.is_past());
            }
            let until = drain.until().into();
            if let Ok(change) = &change {
                let _ = timeout_at(until, change.wait()).await;
                sleep_until((armed + EVERY).min(until)).await;
            } else {
                sleep_until((armed + EVERY).min(until)).await;
            }
        }
    }

    /// Sees that lines have their times, however slow those are who follow, and tells these.
    async fn grew(&self) {
        if *self.log.followers().borrow() == 0 {
            return;
        }
        // Where it cannot be read, whoever follows comes to know that.
        let _ = self.log.look(&self.pool).await;
        self.log.grew();
    }

    fn path(&self) -> PathBuf {
        path_of(&self.file)
    }

    fn length(&self) -> u64 {
        let metadata: io::Result<_> = self.file.metadata();
        metadata.map_or(0, |metadata| metadata.len())
    }
}

/// Resolves when there are so many.
async fn are(followers: &mut watch::Receiver<usize>, wanted: impl Fn(usize) -> bool) {
    let _ = followers.wait_for(|count| wanted(*count)).await;
}

/// By the descriptor, whatever its name is now.
pub(super) fn path_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
