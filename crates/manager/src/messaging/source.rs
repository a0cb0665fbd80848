//! Reading one output of a child to its end, which is not the same as the child's exit.
//!
//! ```text
//!             data                         data: re-arms the quiet period
//!            ┌────┐                        ┌────┐
//!            ▼    │      the child exits   ▼    │    quiet period, or bound, is over
//!        Reading ─┴──────────────────► Draining ┴──────────────────────────────────► Cut
//!            │                             │
//!            └── end of file ──► Complete ◄┘
//! ```
//!
//! Something that the child started may hold its output open after it is gone, so the end of file
//! may never come; and a child may exit while its last output is still in the pipe, so the exit
//! must not end the reading. Silence counts only from when no other child may have had a copy of the
//! output because of being just started (see `starts`).

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use super::pipe::ReadEnd;
use crate::flag::{Flag, Observer};
use crate::lifecycle::{Drain, DrainBounds, OutputState};

/// What reading gave.
#[derive(Debug)]
pub(crate) enum Next {
    Data,
    End(OutputState),
    Failed(io::Error),
}

pub(crate) struct Source<R> {
    pipe: R,
    exit: Observer,
    bounds: DrainBounds,
    draining: Option<Drain>,
}

impl<R: ReadEnd> Source<R> {
    pub(crate) fn new(pipe: R, exit: Arc<Flag>, bounds: DrainBounds) -> Self {
        Self {
            pipe,
            exit: Observer::new(exit),
            bounds,
            draining: None,
        }
    }

    pub(crate) fn exit(&self) -> &Arc<Flag> {
        self.exit.flag()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.pipe.capacity()
    }

    /// See [`ReadEnd::lend`].
    pub(crate) fn lend(&self) -> Option<OwnedFd> {
        self.pipe.lend()
    }

    /// Reads what is there, about `room` bytes at most, into `buffer`. Cancel safe.
    pub(crate) async fn next(&mut self, buffer: &mut BytesMut, room: usize) -> Next {
        loop {
            let Some(draining) = self.draining else {
                if !self.exit.flag().is_set() {
                    let read = poll_fn(|cx| match self.pipe.poll_read(cx, buffer, room) {
                        Poll::Ready(read) => Poll::Ready(Some(read)),
                        Poll::Pending => self.exit.poll(cx).map(|()| None),
                    });
                    match read.await {
                        Some(read) => return outcome(read),
                        None => continue,
                    }
                }
                if let Err(error) = self.pipe.child_exited() {
                    return Next::Failed(error);
                }
                let copies = self.pipe.may_have_copies();
                self.draining = Some(Drain::new(self.bounds, now(), copies));
                continue;
            };
            if draining.is_past_bound(now()) {
                return Next::End(OutputState::Cut);
            }
            let until = draining.until().into();
            let read = poll_fn(|cx| self.pipe.poll_read(cx, buffer, room));
            // Boxed: a timer is large, and none is needed before the exit.
            let Ok(read) = Box::pin(timeout_at(until, read)).await else {
                if draining.is_over(now()) {
                    return Next::End(OutputState::Cut);
                }
                self.rearm();
                continue;
            };
            self.rearm();
            return outcome(read);
        }
    }

    /// Time spent on something else than the pipe does not count as quiet.
    pub(crate) fn rearm(&mut self) {
        if let Some(draining) = &mut self.draining {
            draining.rearm(self.bounds, now(), self.pipe.may_have_copies());
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn outcome(read: io::Result<usize>) -> Next {
    match read {
        Ok(0) => Next::End(OutputState::Complete),
        Ok(_) => Next::Data,
        Err(error) => Next::Failed(error),
    }
}

#[cfg(test)]
mod tests;
