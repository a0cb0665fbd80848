//! One log, whichever route it is on: looked at by queries and followers, told about by its writer.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use procession_wire::Escaped;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::file::{Changed, FileLog, Pass};
use super::follow::LogFollower;
use super::line::{FollowFrom, LogStream};
use super::store::{StoreLog, Trouble};
use super::view::View;
use crate::events::Event;
use crate::id::ProcessId;
use crate::manager::context::Context;
use crate::process::pool::Pool;

/// Counting a file takes no longer than this where the times of what comes next are to be known.
const AT_ONCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) enum Route {
    Pipe(Arc<StoreLog>),
    File(Arc<FileLog>),
}

/// A log of a process.
#[derive(Debug)]
pub(crate) struct Log {
    pub(super) process: ProcessId,
    pub(super) stream: LogStream,
    pub(super) route: Route,
    progress: watch::Sender<Progress>,
    followers: watch::Sender<usize>,
    /// Its process is being removed, with its files.
    removed: AtomicBool,
    /// Weak: whoever holds a log does not keep the manager.
    context: Weak<Context>,
    /// A log may be read by what is not of the runtime.
    pub(super) runtime: Handle,
}

/// What followers wait for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) complete: bool,
}

impl Log {
    pub(crate) fn new(
        process: ProcessId,
        stream: LogStream,
        route: Route,
        context: &Arc<Context>,
    ) -> Arc<Self> {
        Arc::new(Self {
            process,
            stream,
            route,
            progress: watch::Sender::default(),
            followers: watch::Sender::default(),
            removed: AtomicBool::new(false),
            context: Arc::downgrade(context),
            runtime: Handle::current(),
        })
    }

    /// Returns a view of the log as it is now. A file is counted on threads of the pool, slice by
    /// slice: a call that is dropped stops after the slice that is being counted.
    pub(super) async fn look(self: &Arc<Self>, pool: &Pool) -> io::Result<View> {
        let file = match &self.route {
            Route::Pipe(log) => return Ok(log.view()),
            Route::File(file) => Arc::clone(file),
        };
        let counted = Arc::clone(self).count(file, pool.clone());
        let task = AbortOnDropHandle::new(self.runtime.spawn(counted));
        task.await.map_err(io::Error::other)?
    }

    async fn count(self: Arc<Self>, file: Arc<FileLog>, pool: Pool) -> io::Result<View> {
        let (begun, mut pass) = (Instant::now(), None);
        loop {
            let turn = file.turn.take().await;
            let log = Arc::clone(&self);
            let counted = pool.run(move || {
                let _turn = turn;
                log.count_slice(pass)
            });
            pass = counted.await??;
            if pass.is_none() {
                break;
            }
        }
        // What comes from here on comes while they follow; what came while this took long did so at
        // a time that is not known.
        let at_once = begun.elapsed() < AT_ONCE;
        self.followers.send_if_modified(|count| {
            file.set_followed(*count > 0 && at_once);
            false
        });
        Ok(file.view())
    }

    /// Counts a slice of its file. Blocking. Gives what is left of the pass.
    fn count_slice(&self, pass: Option<Pass>) -> io::Result<Option<Pass>> {
        let Route::File(log) = &self.route else {
            return Ok(None);
        };
        let slice = log.count_slice(pass, log.clock())?;
        match slice.changed {
            None => {}
            Some(Changed::Truncated(lines)) => self.fault(format!(
                "the file was truncated by somebody: {lines} lines are gone"
            )),
            Some(Changed::Removed) => {
                self.fault(
                    "the file was removed by somebody: it can be read here alone".to_owned(),
                );
            }
        }
        Ok(slice.rest)
    }

    /// There is more of it.
    pub(super) fn grew(&self) {
        self.progress.send_modify(|_| {});
    }

    /// There is no more to come.
    pub(super) fn completed(&self) {
        match &self.route {
            Route::Pipe(log) => log.complete(),
            Route::File(log) => log.complete(),
        }
        self.progress
            .send_modify(|progress| progress.complete = true);
    }

    pub(crate) fn follow(self: &Arc<Self>, from: FollowFrom, pool: &Pool) -> LogFollower {
        LogFollower::new(self, from, pool.clone())
    }

    /// To be told of progress, as a follower.
    pub(super) fn join(self: &Arc<Self>) -> Membership {
        self.followers.send_modify(|count| *count += 1);
        Membership {
            log: Arc::clone(self),
            progress: self.progress.subscribe(),
        }
    }

    /// How many follow it, and changes of that.
    pub(super) fn followers(&self) -> watch::Receiver<usize> {
        self.followers.subscribe()
    }

    pub(super) fn troubled(&self, trouble: &Trouble) {
        match trouble {
            Trouble::Refused(error) => {
                self.fault(format!("it cannot be written, and lines are lost: {error}"));
            }
            Trouble::Damaged(path) => self.fault(format!(
                "{} was truncated or removed by somebody: its lines are gone",
                Escaped::new(path)
            )),
            Trouble::Over => self.tell(Event::LogRecovered {
                id: self.process,
                stream: self.stream,
            }),
        }
    }

    /// Notes that the log's files are removed: a failure to read them from now on is nobody's
    /// fault. Returns the file that is not needed any more.
    pub(super) fn set_removed(&self) -> Option<Arc<File>> {
        self.removed.store(true, Ordering::Relaxed);
        match &self.route {
            Route::Pipe(_) => None,
            Route::File(log) => log.let_go(),
        }
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(super) fn fault(&self, reason: String) {
        if self.is_removed() {
            return;
        }
        tracing::warn!(process = %self.process, stream = %self.stream, reason = %Escaped::new(&reason), "a log has a fault");
        self.tell(Event::LogFault {
            id: self.process,
            stream: self.stream,
            reason,
        });
    }

    fn tell(&self, event: Event) {
        if let Some(context) = self.context.upgrade() {
            context.events.tell(event);
        }
    }
}

/// A follower's part in a log. Dropped, there is one less.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) log: Arc<Log>,
    pub(super) progress: watch::Receiver<Progress>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.log.followers.send_modify(|count| {
            *count -= 1;
            if let (0, Route::File(log)) = (*count, &self.log.route) {
                log.set_followed(false);
            }
        });
    }
}
