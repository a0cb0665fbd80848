//! One log, whichever route it is on: looked at by queries and followers, told about by its writer.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::file::{Changed, FileLog};
use super::follow::LogFollower;
use super::line::{FollowFrom, LogStream};
use super::store::{StoreLog, Trouble};
use super::view::View;
use crate::events::Event;
use crate::id::ProcessId;
use crate::manager::context::Context;
use crate::process::pool::Pool;

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
        })
    }

    /// What is there now. Blocking.
    pub(super) fn look(&self) -> io::Result<View> {
        match &self.route {
            Route::Pipe(log) => Ok(log.view()),
            Route::File(log) => {
                let changed = log.refresh(log.clock())?;
                // What comes from here on comes while they follow.
                self.followers.send_if_modified(|count| {
                    log.set_followed(*count > 0);
                    false
                });
                match changed {
                    None => {}
                    Some(Changed::Truncated(lines)) => self.fault(format!(
                        "the file was truncated by somebody: {lines} lines are gone"
                    )),
                    Some(Changed::Removed) => self.fault(
                        "the file was removed by somebody: it can be read here alone".to_owned(),
                    ),
                }
                Ok(log.view())
            }
        }
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
                path.display()
            )),
            Trouble::Over => self.tell(Event::LogRecovered {
                id: self.process,
                stream: self.stream,
            }),
        }
    }

    /// Its files go: what cannot be read from now on is nobody's fault.
    pub(crate) fn removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
        if let Route::File(log) = &self.route {
            log.let_go();
        }
    }

    pub(super) fn fault(&self, reason: String) {
        if self.removed.load(Ordering::Relaxed) {
            return;
        }
        tracing::warn!(process = %self.process, stream = %self.stream, reason, "a log has a fault");
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
