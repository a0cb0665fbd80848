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
//! must not end the reading.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use super::pipe::ReadEnd;
use crate::flag::Flag;
use crate::lifecycle::{DrainBounds, OutputState};

/// What reading gave.
#[derive(Debug)]
pub(crate) enum Next {
    Data,
    End(OutputState),
    Failed(io::Error),
}

pub(crate) struct Source<R> {
    pipe: R,
    exit: Arc<Flag>,
    bounds: DrainBounds,
    draining: Option<Draining>,
}

#[derive(Clone, Copy)]
struct Draining {
    quiet_until: Instant,
    bound: Instant,
}

impl<R: ReadEnd> Source<R> {
    pub(crate) fn new(pipe: R, exit: Arc<Flag>, bounds: DrainBounds) -> Self {
        Self {
            pipe,
            exit,
            bounds,
            draining: None,
        }
    }

    pub(crate) fn exit(&self) -> &Arc<Flag> {
        &self.exit
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
                if !self.exit.is_set() {
                    let read = tokio::select! {
                        biased;
                        read = poll_fn(|cx| self.pipe.poll_read(cx, buffer, room)) => read,
                        () = self.exit.wait() => continue,
                    };
                    return outcome(read);
                }
                if let Err(error) = self.pipe.child_exited() {
                    return Next::Failed(error);
                }
                let now = Instant::now();
                self.draining = Some(Draining {
                    quiet_until: now + self.bounds.quiet,
                    bound: now + self.bounds.bound,
                });
                continue;
            };
            let until = draining.quiet_until.min(draining.bound);
            let read = poll_fn(|cx| self.pipe.poll_read(cx, buffer, room));
            let Ok(read) = timeout_at(until, read).await else {
                return Next::End(OutputState::Cut);
            };
            let now = Instant::now();
            if now >= draining.bound {
                return Next::End(OutputState::Cut);
            }
            self.draining = Some(Draining {
                quiet_until: now + self.bounds.quiet,
                ..draining
            });
            return outcome(read);
        }
    }

    /// Time spent on something else than the pipe does not count as quiet.
    pub(crate) fn rearm(&mut self) {
        if let Some(draining) = &mut self.draining {
            draining.quiet_until = Instant::now() + self.bounds.quiet;
        }
    }
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
