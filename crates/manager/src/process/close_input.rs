//! Ending a child's input.
//!
//! A pipe is closed as soon as all that was queued is in it. A FIFO may not be yet: closed before
//! the child has opened it, its content would be lost and the child would wait in its open for
//! ever. So its one descriptor, which is open for reading too, is exchanged for one that only
//! writes; `poll(2)` then says (`POLLERR`) while nobody has it open for reading, and an inotify
//! watch (`IN_OPEN`, see `inotify(7)`) wakes us when somebody opens it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use crate::file_events::FileEvents;
use crate::messaging::outbox::Outbox;
use crate::messaging::pipe::WritePipe;
use crate::messaging::source::ExitSignal;

/// How the input of a process is to be ended.
#[derive(Debug)]
pub(crate) struct InputCloser {
    pub(crate) fifo: Option<PathBuf>,
    pub(crate) exit: Arc<ExitSignal>,
    pub(crate) events: Arc<FileEvents>,
}

impl InputCloser {
    /// Takes no more messages, and ends the input after those that are queued.
    pub(crate) fn close(&self, outbox: &Arc<Outbox>) {
        let Some(path) = self.fifo.clone() else {
            outbox.close_after_queue(Box::new(drop));
            return;
        };
        let (exit, events) = (Arc::clone(&self.exit), Arc::clone(&self.events));
        let runtime = tokio::runtime::Handle::current();
        outbox.close_after_queue(Box::new(move |pipe| {
            runtime.spawn(async move {
                tokio::select! {
                    biased;
                    () = exit.wait() => {}
                    result = close_when_opened(pipe, &path, &events) => {
                        if let Err(error) = result {
                            tracing::warn!(pipe = %path.display(), %error, "cannot wait for the child to open its input; it was closed at once");
                        }
                    }
                }
            });
        }));
    }
}

async fn close_when_opened(
    pipe: Arc<WritePipe>,
    path: &Path,
    events: &Arc<FileEvents>,
) -> io::Result<()> {
    let mut opened = events.watch_open(path)?;
    let writer = write_only(&pipe)?;
    // Nobody else holds it: the outbox has handed it over.
    drop(pipe);
    while !has_reader(&writer)? {
        opened.changed().await?;
    }
    Ok(())
}

fn write_only(pipe: &WritePipe) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", pipe.descriptor().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn has_reader(writer: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(writer, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default()))?;
    Ok(!fds[0].revents().contains(PollFlags::ERR))
}
