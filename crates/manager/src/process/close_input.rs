//! Ending a child's input.
//!
//! A pipe is closed as soon as nothing more is to be written to it. A FIFO may not be yet: closed
//! before the child has opened it, its content would be lost and the child would wait in its open
//! for ever. So it is watched (`IN_OPEN`, see `inotify(7)`) from before the child is started, and
//! closed once somebody has opened it.
//!
//! Asking instead whether anybody has it open for reading (`POLLERR` of a writing end) tells
//! nothing: for a moment after every spawn in this program the new process still has its copies of
//! our close-on-exec descriptors.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::file_events::Change;
use crate::flag::Flag;
use crate::messaging::outbox::Release;
use crate::messaging::pipe::WritePipe;

/// When the input of a process may be closed.
#[derive(Debug, Clone)]
pub(crate) enum Closing {
    /// At any time: it is an ordinary pipe.
    Now,
    /// It is a FIFO: once it was opened, or the process has exited.
    WhenOpened(Arc<Change>),
    /// It is a FIFO that cannot be watched, for this reason: once the process has exited.
    AtTheExit(io::ErrorKind, String),
}

impl Closing {
    pub(crate) fn of(opened: Option<io::Result<Change>>) -> Self {
        match opened {
            None => Self::Now,
            Some(Ok(opened)) => Self::WhenOpened(Arc::new(opened)),
            Some(Err(error)) => Self::AtTheExit(error.kind(), error.to_string()),
        }
    }

    /// Whether a request to close it can be met.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self {
            Self::Now | Self::WhenOpened(_) => Ok(()),
            Self::AtTheExit(kind, words) => Err(io::Error::new(
                *kind,
                format!(
                    "cannot tell when the child opens its named pipe: {words}; raise fs.inotify.max_user_instances and fs.inotify.max_user_watches"
                ),
            )),
        }
    }

    /// What to do with the pipe when nothing more is to be written to it.
    pub(crate) fn release(&self, exit: &Arc<Flag>, runtime: Handle) -> Release<WritePipe> {
        let opened = match self {
            Self::Now => return Box::new(drop),
            Self::WhenOpened(opened) => Some(Arc::clone(opened)),
            Self::AtTheExit(..) => None,
        };
        let exit = Arc::clone(exit);
        Box::new(move |pipe| {
            let (opened, exit) = (opened.clone(), Arc::clone(&exit));
            if exit.is_set() {
                return;
            }
            runtime.spawn(async move {
                match opened {
                    None => exit.wait().await,
                    Some(opened) => tokio::select! {
                        () = opened.wait() => {}
                        () = exit.wait() => {}
                    },
                }
                drop(pipe);
            });
        })
    }
}
