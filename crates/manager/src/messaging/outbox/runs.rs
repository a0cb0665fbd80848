//! From one run of a process to the next, as its outbox sees it.

use std::sync::Arc;

use super::super::pipe::WriteEnd;
use super::{Closed, Outbox, Release, State};
use crate::supervision::Undelivered;

impl<W: WriteEnd> Outbox<W> {
    /// Nothing of what is queued is going to be written, but what waits for the next run.
    pub(super) fn clear(&self, state: &mut State<W>) {
        match state.undelivered {
            None => state.queue.clear(),
            Some(undelivered) => {
                let keep = undelivered == Undelivered::NextRun;
                let freed = state.queue.set_aside(keep);
                self.release(&freed);
            }
        }
    }

    /// Another run begins, with this pipe: what has waited for it goes there.
    pub(crate) fn next_run(self: &Arc<Self>, pipe: W, release: Release<W>) {
        {
            let mut state = self.lock();
            if state.claimed {
                // What the last run has of the queue is not known yet; whoever writes looks here before it goes.
                state.next = Some(Box::new((pipe, release)));
                return;
            }
            self.begin_run(&mut state, pipe, release);
        }
        self.pump();
    }

    pub(super) fn begin_run(&self, state: &mut State<W>, pipe: W, release: Release<W>) {
        state.pipe = Some(Arc::new(pipe));
        state.release = release;
        state.closed = None;
        state.closing = false;
        state.crowd = 0;
        state.queue.begin_run(self.limits.with_credit);
    }

    /// No other run follows: closes for ever.
    pub(crate) fn end_runs(&self) {
        let mut state = self.lock();
        state.undelivered = None;
        state.closed = Some(Closed::Exited);
        self.close_locked(&mut state, Closed::Exited);
    }
}

impl<W> State<W> {
    /// Why messages were given up.
    pub(super) fn loss(&self) -> Closed {
        if self.undelivered.is_some() {
            Closed::Exited
        } else {
            Closed::NoMoreCredit
        }
    }
}
