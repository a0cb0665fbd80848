//! Writing what is in an outbox: from the caller's task, or from the writer task.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use procession_wire::{FramePrefix, Framing};
use tokio::sync::oneshot;

use super::super::pipe::WriteEnd;
use super::super::queue::{self, Lane, Outgoing};
use super::{Closed, Outbox, SendFailure, State, Writer};

/// For so many writes senders wait for each other after one that has served several.
const CROWD: u8 = 16;

/// Writes in a row that a caller does for others before the writer task takes over.
const ROUNDS: usize = 4;

/// What became of a frame that its sender tried to write itself.
pub(super) enum Direct {
    Written,
    TakenOver(oneshot::Receiver<()>),
    Queue,
}

/// Sees to it that what is queued gets written, when it is dropped.
pub(super) struct Pump<'a, W: WriteEnd>(pub(super) &'a Arc<Outbox<W>>);

impl<W: WriteEnd> Drop for Pump<'_, W> {
    fn drop(&mut self) {
        self.0.pump();
    }
}

/// Lets all tasks have their turn that are ready by now. Unlike `tokio::task::yield_now`, it does not look for
/// what the system has to tell: the worker does that often enough by itself.
pub(super) async fn behind_the_others() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<W: WriteEnd> Outbox<W> {
    /// Writes the frame from the caller's own task, if nothing is before it. One that `waits` looks now and then
    /// whether there are others that wait, instead.
    pub(super) fn write_direct(
        self: &Arc<Self>,
        frame: &Outgoing,
        waits: bool,
    ) -> Result<Direct, SendFailure> {
        let (lane, payload) = (frame.lane, &frame.payload);
        let pipe = {
            let mut state = self.lock();
            if let Some(closed) = state.shut() {
                return Err(SendFailure::Closed(closed));
            }
            let Some(pipe) = state.pipe.clone() else {
                return Ok(Direct::Queue);
            };
            if state.claimed || state.crowd > 0 || !state.queue.is_free(lane) {
                return Ok(Direct::Queue);
            }
            state.alone = state.alone.wrapping_add(u8::from(waits));
            if waits && state.alone == 0 {
                state.crowd = 1;
                return Ok(Direct::Queue);
            }
            state.claimed = true;
            state.queue.begin_direct(lane, payload.len());
            pipe
        };
        let prefix = self.prefix(frame);
        let prefix = prefix.as_deref().unwrap_or_default();
        let suffix = match (&frame.followed_by, self.limits.framing) {
            (Some(next), _) => next,
            (None, Framing::Lines) => &b"\n"[..],
            (None, _) => b"",
        };
        let (len, result) = write_once(&*pipe, prefix, payload, suffix);
        // Before the claim is given up: whoever closes the pipe then has the last hold of it.
        drop(pipe);
        let mut state = self.lock();
        let outcome = match result {
            Ok(written) if written == len => {
                state.queue.end_direct(lane, payload.len());
                Direct::Written
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                let closed = failed(&error);
                self.close_locked(&mut state, closed.clone());
                // Nothing of it was written: it may wait for the next run.
                let waits = lane == Lane::Messages && state.shut().is_none();
                if waits {
                    state.queue.undo_direct(lane);
                }
                self.unclaim(&mut state);
                return if waits {
                    Ok(Direct::Queue)
                } else {
                    Err(SendFailure::Closed(closed))
                };
            }
            short => {
                let (sender, done) = oneshot::channel();
                let written = short.unwrap_or(0);
                let rest = rest_of(prefix, payload, suffix, written);
                state.queue.take_over(lane, rest, len, sender);
                Direct::TakenOver(done)
            }
        };
        self.unclaim(&mut state);
        if state.queue.has_work() {
            match outcome {
                // The pipe had room: what queued up meanwhile is likely to fit as well.
                Direct::Written => {
                    if state.queue.has_sender() {
                        state.crowd = CROWD;
                    }
                    drop(state);
                    self.pump();
                }
                _ => self.kick(&mut state),
            }
        } else {
            self.finish_closing(&mut state);
        }
        Ok(outcome)
    }

    fn prefix(&self, frame: &Outgoing) -> Option<FramePrefix> {
        let frames = self.limits.framing == Framing::Frames;
        frames.then(|| frame.head.prefix(frame.payload.len()))
    }

    /// Writes what is queued from here, as far as the pipe has room; the writer task does the rest.
    pub(crate) fn pump(self: &Arc<Self>) {
        let mut chunks = Vec::new();
        for _ in 0..ROUNDS {
            let (pipe, ready) = {
                let mut state = self.lock();
                if state.claimed || !matches!(state.writer, Writer::Absent) {
                    // Whoever has the pipe looks at the queue again before leaving it.
                    state.relied_on = true;
                    self.kick(&mut state);
                    return;
                }
                state.queue.begin(&mut chunks);
                if chunks.is_empty() {
                    self.finish_closing(&mut state);
                    return;
                }
                let Some(pipe) = state.pipe.clone() else {
                    return;
                };
                state.claimed = true;
                state.relied_on = false;
                (pipe, state.queue.ready_bytes())
            };
            let result = pipe.try_write(&queue::slices(&chunks));
            drop(pipe);
            let mut state = self.lock();
            let would_block =
                matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            let all_written = matches!(&result, Ok(count) if *count == ready);
            if !would_block {
                self.written(&mut state, result);
            }
            self.unclaim(&mut state);
            if would_block {
                break;
            }
            if all_written && state.crowd > 0 && !state.relied_on && !state.closing {
                // What was queued meanwhile is seen to by its senders, who wait for more to come.
                return;
            }
        }
        let mut state = self.lock();
        self.kick(&mut state);
    }

    fn written(&self, state: &mut State<W>, result: io::Result<usize>) {
        match result {
            Ok(count) => {
                let written = state.queue.advance(count);
                match written.senders {
                    0 => {}
                    1 => state.crowd = state.crowd.saturating_sub(1),
                    _ => state.crowd = CROWD,
                }
                self.release(&written);
                self.progress.notify_waiters();
            }
            Err(error) => self.close_locked(state, failed(&error)),
        }
    }

    /// Sees to it that what is queued gets written.
    pub(super) fn kick(self: &Arc<Self>, state: &mut State<W>) {
        if !state.queue.has_work() && !state.closing {
            return;
        }
        match &mut state.writer {
            Writer::Absent if state.claimed => {}
            Writer::Absent => {
                state.writer = Writer::Working(None);
                let outbox = Arc::clone(self);
                self.runtime
                    .spawn(async move { poll_fn(|cx| outbox.poll_writer(cx)).await });
            }
            Writer::Working(waker) => {
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
            }
            // Room in the pipe wakes it, and it looks at the queue again then.
            Writer::Waiting(_) => {}
        }
    }

    fn poll_writer(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut chunks = Vec::new();
        loop {
            let pipe = {
                let mut state = self.lock();
                if state.pipe.is_none() {
                    state.writer = Writer::Absent;
                    return Poll::Ready(());
                }
                if state.claimed {
                    state.writer = Writer::Working(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
                state.queue.begin(&mut chunks);
                if chunks.is_empty() {
                    state.writer = Writer::Absent;
                    self.finish_closing(&mut state);
                    return Poll::Ready(());
                }
                let Some(pipe) = state.pipe.clone() else {
                    state.writer = Writer::Absent;
                    return Poll::Ready(());
                };
                state.claimed = true;
                state.writer = Writer::Waiting(cx.waker().clone());
                pipe
            };
            let result = pipe.poll_write(cx, &queue::slices(&chunks));
            drop(pipe);
            let mut state = self.lock();
            let pending = match result {
                Poll::Pending => true,
                Poll::Ready(result) => {
                    self.written(&mut state, result);
                    false
                }
            };
            self.unclaim(&mut state);
            if pending {
                return Poll::Pending;
            }
        }
    }

    pub(super) fn finish_closing(&self, state: &mut State<W>) {
        if state.closing && !state.claimed && state.queue.is_empty() {
            self.close_locked(state, Closed::ByRequest);
        }
    }
}

fn failed(error: &io::Error) -> Closed {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Closed::ByChild
    } else {
        Closed::Failed(error.kind(), error.to_string())
    }
}

/// One write of a whole message, and how long it is. What is small goes in one piece: gathering a
/// few bytes costs the kernel more than copying them costs us.
fn write_once(
    pipe: &impl WriteEnd,
    prefix: &[u8],
    payload: &[u8],
    suffix: &[u8],
) -> (usize, io::Result<usize>) {
    const ROOM: usize = 512;
    let len = prefix.len() + payload.len() + suffix.len();
    if len <= ROOM {
        let mut whole = [0; ROOM];
        let (head, rest) = whole.split_at_mut(prefix.len());
        let (middle, rest) = rest.split_at_mut(payload.len());
        head.copy_from_slice(prefix);
        middle.copy_from_slice(payload);
        rest[..suffix.len()].copy_from_slice(suffix);
        (len, pipe.try_write(&[IoSlice::new(&whole[..len])]))
    } else {
        let slices = [prefix, payload, suffix].map(IoSlice::new);
        (len, pipe.try_write(&slices))
    }
}

/// What is left of a message of which `written` bytes are in the kernel.
fn rest_of(prefix: &[u8], payload: &Bytes, suffix: &[u8], written: usize) -> [Bytes; 3] {
    let after = |skip: usize, len: usize| written.saturating_sub(skip).min(len);
    let in_prefix = after(0, prefix.len());
    let in_payload = after(prefix.len(), payload.len());
    let in_suffix = after(prefix.len() + payload.len(), suffix.len());
    [
        Bytes::copy_from_slice(&prefix[in_prefix..]),
        payload.slice(in_payload..),
        Bytes::copy_from_slice(&suffix[in_suffix..]),
    ]
}
