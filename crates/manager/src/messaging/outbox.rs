//! Sending to one child: the caller writes for itself where it can, a writer task does where it
//! cannot.
//!
//! ```text
//!   send ──nothing queued, credit, pipe not claimed──► the caller writes ──► all in the kernel
//!     │                                                     │ short write
//!     │ else: a permit of the bounded queue                 ▼
//!     └────────────────────────► queue ───────────► writer task ──► pipe
//! ```
//!
//! A *crowd* is several senders that each wait for their one message: a write for each would cost them more
//! than to wait for each other. So after a write that served more than one, each of the next ones goes once
//! behind all tasks that are ready, before it writes for itself: the first to have its turn again writes for all
//! of them, and nobody has to be woken.
//!
//! *Runs.* Where the process may be started again, the end of its pipe is not the end of the outbox: what was not
//! begun waits for the pipe of the next run, or is given up, as [`Undelivered`] says.
//!
//! The pipe is *claimed* by whoever writes, for one write that never waits; nobody waits for the
//! claim, they queue instead. The lock is over the queue alone and never held over a write. The
//! writer task exists only while something is queued. Once a message is queued it is written
//! whole, whatever happens to the future that waits for it.

mod capacity;
mod runs;
mod write;

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use procession_wire::line::check_line;
use procession_wire::{EncodeError, FrameError, FrameHead, Framing, Message};
use tokio::runtime::Handle;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use super::pipe::{WriteEnd, WritePipe};
use super::queue::{self, Lane, Outgoing, SendQueue, Written};
use crate::supervision::Undelivered;
use capacity::Capacity;
pub(crate) use capacity::Permit;
use write::{Direct, Pump, behind_the_others};

/// Bytes that `feed` lets gather before it writes.
const FEED: usize = 64 * 1024;
/// Bytes of control frames that wait for a child that does not read.
const MAX_CONTROL: usize = 64 * 1024;

/// What a child's input can take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxLimits {
    pub(crate) framing: Framing,
    /// Messages wait for the child's credit.
    pub(crate) with_credit: bool,
    /// Bytes of payload in one message.
    pub(crate) message: usize,
    /// Messages queued.
    pub(crate) messages: usize,
    /// Bytes queued.
    pub(crate) bytes: usize,
    /// There where the process may be started again: what becomes of messages that its run has not got.
    pub(crate) undelivered: Option<Undelivered>,
}

/// How many messages went out, and how many wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OutboxCounts {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) queued: u64,
    pub(crate) queued_bytes: u64,
}

/// Why the input takes nothing more.
#[derive(Debug, Clone)]
pub(crate) enum Closed {
    /// `close_input` was called.
    ByRequest,
    /// The child closed its end.
    ByChild,
    /// The child has exited.
    Exited,
    /// The child has ended its output, so that no more credit comes; what has some is still written.
    NoMoreCredit,
    /// The child broke the protocol.
    Broken(FrameError),
    /// Writing failed.
    Failed(io::ErrorKind, String),
}

/// Why a message was not taken, or not written.
#[derive(Debug)]
pub(crate) enum SendFailure {
    Encode(EncodeError),
    Closed(Closed),
    Full(Message),
}

/// Called with the pipe when nothing more is to be written to it; dropping it closes the input.
pub(crate) type Release<W> = Box<dyn Fn(Arc<W>) + Send + Sync>;

pub(crate) struct Outbox<W = WritePipe> {
    state: Mutex<State<W>>,
    /// The room of the queue, by lane.
    capacity: Capacity,
    progress: Notify,
    limits: OutboxLimits,
    runtime: Handle,
}

struct State<W> {
    queue: SendQueue,
    pipe: Option<Arc<W>>,
    release: Release<W>,
    /// Another run may follow; see [`OutboxLimits::undelivered`].
    undelivered: Option<Undelivered>,
    /// The pipe of a run that has begun while somebody still writes to that of the last.
    next: Option<Box<(W, Release<W>)>>,
    claimed: bool,
    /// Somebody leaves what it has queued to whoever has the claim.
    relied_on: bool,
    closing: bool,
    closed: Option<Closed>,
    writer: Writer,
    /// For how many more writes senders wait for each other, because several were at it at once.
    crowd: u8,
    /// Messages that their senders wrote for themselves, in a circle of 256: where all tasks share a thread, and
    /// none has to wait, no two are ever at it at once, and a crowd is only seen by going behind the others.
    alone: u8,
}

/// The writer task: absent, at work (its waker is woken by news), or waiting for room in the pipe.
#[derive(Debug)]
enum Writer {
    Absent,
    Working(Option<Waker>),
    Waiting(Waker),
}

impl<W> std::fmt::Debug for Outbox<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<W: WriteEnd> Outbox<W> {
    pub(crate) fn new(
        pipe: W,
        limits: OutboxLimits,
        runtime: Handle,
        release: Release<W>,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                queue: SendQueue::new(limits.framing, limits.with_credit),
                pipe: Some(Arc::new(pipe)),
                release,
                undelivered: limits.undelivered,
                next: None,
                claimed: false,
                relied_on: false,
                closing: false,
                closed: None,
                writer: Writer::Absent,
                crowd: 0,
                alone: 0,
            }),
            capacity: Capacity::new(limits.messages, limits.bytes),
            progress: Notify::new(),
            limits,
            runtime,
        })
    }

    pub(crate) fn framing(&self) -> Framing {
        self.limits.framing
    }

    /// Bytes of payload in one frame.
    pub(crate) fn message_limit(&self) -> usize {
        self.limits.message
    }

    /// Bytes of control frames that wait.
    pub(crate) fn control_bytes(&self) -> usize {
        self.lock().queue.control_bytes()
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one message; resolves when it is in the kernel.
    ///
    /// Dropped before it is queued nothing is sent, after that all of it is.
    pub(crate) async fn send(self: &Arc<Self>, payload: Bytes) -> Result<(), SendFailure> {
        self.check(&payload)?;
        match self.put(Outgoing::message(payload)).await? {
            None => Ok(()),
            Some(done) => done.await.map_err(|_| self.failure()),
        }
    }

    /// Writes a frame, or queues it; then the receiver tells when it is in the kernel.
    ///
    /// Dropped before it is queued nothing is sent, after that all of it is.
    pub(crate) async fn put(
        self: &Arc<Self>,
        frame: Outgoing,
    ) -> Result<Option<oneshot::Receiver<()>>, SendFailure> {
        match self.write_direct(&frame, true)? {
            Direct::Written => return Ok(None),
            Direct::TakenOver(done) => return Ok(Some(done)),
            Direct::Queue => {}
        }
        let permit = self.acquire(frame.lane, frame.payload.len()).await?;
        let (sender, mut done) = oneshot::channel();
        let in_crowd = self.enqueue(frame, Some(permit), Some(sender))?;
        // Also where it is dropped meanwhile: it is queued.
        let pump = Pump(self);
        if in_crowd {
            behind_the_others().await;
            match done.try_recv() {
                Err(TryRecvError::Empty) => {}
                seen => {
                    mem::forget(pump);
                    return seen.map(|()| None).map_err(|_| self.failure());
                }
            }
        }
        drop(pump);
        Ok(Some(done))
    }

    /// Queues a frame; [`pump`](Self::pump) writes it. Without a permit it counts for nothing.
    pub(crate) fn queue(
        &self,
        frame: Outgoing,
        permit: Option<Permit<'_>>,
    ) -> Result<(), SendFailure> {
        self.enqueue(frame, permit, None).map(drop)
    }

    /// Sends one message if that needs no waiting for room. It is then sent whole.
    pub(crate) fn try_send(self: &Arc<Self>, payload: &Bytes) -> Result<(), SendFailure> {
        self.check(payload)?;
        let frame = Outgoing::message(payload.clone());
        match self.write_direct(&frame, false)? {
            Direct::Written | Direct::TakenOver(_) => return Ok(()),
            Direct::Queue => {}
        }
        let capacity = self.capacity.of(Lane::Messages);
        let Some(permit) = capacity.try_acquire(payload.len()) else {
            return Err(if capacity.is_closed() {
                self.failure()
            } else {
                SendFailure::Full(payload.clone().into())
            });
        };
        self.enqueue(frame, Some(permit), None)?;
        self.pump();
        Ok(())
    }

    /// Queues one message, whether there is room or not; [`flush`](Self::flush) sees it written. A
    /// message beyond the room holds up everybody else, so only a sender [whose turn it
    /// is](Self::wait_for_turn) may do this, once.
    pub(crate) fn feed(self: &Arc<Self>, payload: Bytes) -> Result<(), SendFailure> {
        let ready = {
            let mut state = self.lock();
            state.check(Lane::Messages)?;
            let bytes = self.capacity.of(Lane::Messages).overdraw(payload.len());
            state.queue.push_message(payload, Some(bytes), None);
            state.queue.ready_bytes()
        };
        if ready >= FEED {
            self.pump();
        }
        Ok(())
    }

    /// Resolves when all that was queued before is in the kernel.
    pub(crate) async fn flush(self: &Arc<Self>) -> Result<(), SendFailure> {
        self.pump();
        let (target, given_up) = {
            let state = self.lock();
            (state.queue.progress().0, state.queue.given_up())
        };
        loop {
            let progress = self.progress.notified();
            {
                let state = self.lock();
                let lost = state.queue.given_up();
                if state.queue.progress().1 + lost >= target {
                    return if lost == given_up {
                        Ok(())
                    } else {
                        Err(SendFailure::Closed(state.loss()))
                    };
                }
                // What is being written just now may yet be all.
                if let Some(closed) = state.ended().filter(|_| !state.claimed) {
                    return Err(SendFailure::Closed(closed.clone()));
                }
            }
            progress.await;
        }
    }

    /// Whether the message may be sent at all.
    pub(crate) fn check(&self, payload: &[u8]) -> Result<(), SendFailure> {
        let limit = self.limits.message;
        let checked = match self.limits.framing {
            Framing::Lines => check_line(payload, limit),
            _ if payload.len() > limit => Err(EncodeError::TooLarge {
                len: payload.len(),
                limit,
            }),
            _ => Ok(()),
        };
        checked.map_err(SendFailure::Encode)
    }

    /// Waits for room for a frame of `len` bytes. Cancel safe.
    pub(crate) async fn acquire(&self, lane: Lane, len: usize) -> Result<Permit<'_>, SendFailure> {
        let permit = self.capacity.of(lane).acquire(len).await;
        permit.ok_or_else(|| self.failure())
    }

    /// Whether there is room for a message to [`feed`](Self::feed) now.
    pub(crate) fn has_room(&self) -> bool {
        self.capacity.of(Lane::Messages).has_room()
    }

    /// Waits, in line with all others, until a message may be [fed](Self::feed). Cancel safe.
    ///
    /// A task of its own stands in line: whose turn it is holds room until it is polled, and a task
    /// always is.
    pub(crate) async fn wait_for_turn(self: &Arc<Self>) -> Result<(), SendFailure> {
        let mut line = JoinSet::new();
        let outbox = Arc::clone(self);
        line.spawn_on(
            async move { outbox.acquire(Lane::Messages, 1).await.map(drop) },
            &self.runtime,
        );
        match line.join_next().await {
            Some(Ok(turn)) => turn,
            // The runtime shuts down.
            _ => Err(self.failure()),
        }
    }

    /// Whether all that was queued is in the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        let (accepted, written) = self.lock().queue.progress();
        accepted == written
    }

    /// How many messages were taken in.
    pub(crate) fn accepted(&self) -> u64 {
        self.lock().queue.progress().0
    }

    pub(crate) fn counts(&self) -> OutboxCounts {
        let state = self.lock();
        let (queued, queued_bytes) = state.queue.depth();
        OutboxCounts {
            messages: state.queue.progress().1,
            bytes: state.queue.written_bytes(),
            queued,
            queued_bytes,
        }
    }

    /// Nobody waits for the answer to this request any more: takes it back, or sends a cancel after it.
    pub(crate) fn cancel_request(self: &Arc<Self>, id: u64) {
        {
            let mut state = self.lock();
            if state.closed.is_some() {
                return;
            }
            if let Some(freed) = state.queue.withdraw(id) {
                drop(state);
                self.release(&freed);
                return;
            }
            // In line with the rest: it must not overtake the request.
            let cancel = Outgoing::answer(FrameHead::Cancel { id }, Bytes::new());
            state.queue.push(cancel, None, None);
        }
        self.pump();
    }

    /// Why it takes nothing more, if so.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.lock().shut()
    }

    fn failure(&self) -> SendFailure {
        let state = self.lock();
        SendFailure::Closed(match &state.closed {
            Some(closed) => closed.clone(),
            None if state.queue.given_up() > 0 => state.loss(),
            None => Closed::ByRequest,
        })
    }

    /// Queues a frame; says whether its senders wait for each other.
    fn enqueue(
        &self,
        frame: Outgoing,
        permit: Option<Permit<'_>>,
        done: Option<queue::Done>,
    ) -> Result<bool, SendFailure> {
        let mut state = self.lock();
        state.check(frame.lane)?;
        let charge = permit.map(Permit::commit);
        state.queue.push(frame, charge, done);
        Ok(state.crowd > 0)
    }

    /// Nothing comes from the child any more: who waits for its credit is told.
    pub(crate) fn end_credit(self: &Arc<Self>) {
        let freed = {
            let mut state = self.lock();
            if state.undelivered == Some(Undelivered::NextRun) {
                return;
            }
            state.queue.end_credit()
        };
        self.release(&freed);
        self.progress.notify_waiters();
        self.pump();
    }

    fn release(&self, freed: &Written) {
        self.capacity.release(freed.frames, freed.bytes);
    }

    /// Writes a control frame as soon as the frame under way is out. Never waits.
    pub(crate) fn control(self: &Arc<Self>, head: FrameHead, payload: &[u8]) {
        {
            let mut state = self.lock();
            if state.closed.is_some() {
                return;
            }
            // A child that does not read the answers gets no more of those that can be spared.
            let spare = matches!(head, FrameHead::Pong(_) | FrameHead::Ping(_));
            if spare && state.queue.control_bytes() >= MAX_CONTROL {
                return;
            }
            state.queue.push_control(head, payload);
        }
        self.pump();
    }

    /// The child allows this many bytes more on a lane.
    pub(crate) fn grant(self: &Arc<Self>, lane: Lane, bytes: u32) {
        self.lock().queue.grant(lane, bytes);
        self.pump();
    }

    /// The child has said that it knows no credit.
    pub(crate) fn without_credit(self: &Arc<Self>) {
        self.lock().queue.without_credit();
        self.pump();
    }

    /// Takes no more messages, and closes once all that is queued is in the kernel. Calls after the
    /// first change nothing.
    pub(crate) fn close_after_queue(self: &Arc<Self>) {
        {
            let mut state = self.lock();
            if state.shut().is_some() {
                return;
            }
            state.closing = true;
            if state.undelivered.is_none() {
                self.capacity.close();
            }
        }
        self.pump();
    }

    /// Closes now: what is queued is not written, and its senders are told. What a write has in hand counts
    /// as what that comes to: a child may read a message and exit before its sender gets to know.
    pub(crate) fn close(&self, reason: Closed) {
        let mut state = self.lock();
        self.close_locked(&mut state, reason);
    }

    /// Gives the claim up, once what was written has been noted: what a close has left to that goes now.
    fn unclaim(&self, state: &mut State<W>) {
        state.claimed = false;
        if state.closed.is_some() {
            self.clear(state);
            self.progress.notify_waiters();
        }
        if let Some(next) = state.next.take() {
            let (pipe, release) = *next;
            self.begin_run(state, pipe, release);
        }
    }

    fn close_locked(&self, state: &mut State<W>, reason: Closed) {
        if state.closed.is_none() {
            state.closed = Some(reason);
        }
        if let Some(pipe) = state.pipe.take() {
            (state.release)(pipe);
        }
        state.closing = false;
        if !state.claimed {
            self.clear(state);
        }
        if let Writer::Working(Some(waker)) | Writer::Waiting(waker) =
            mem::replace(&mut state.writer, Writer::Working(None))
        {
            waker.wake();
        } else {
            state.writer = Writer::Absent;
        }
        if state.undelivered.is_none() {
            self.capacity.close();
        }
        self.progress.notify_waiters();
    }
}

impl<W> State<W> {
    /// Why nothing more is taken, if so.
    fn shut(&self) -> Option<Closed> {
        match self.ended() {
            Some(closed) => Some(closed.clone()),
            None if self.closing => Some(Closed::ByRequest),
            None => None,
        }
    }

    /// Whether a frame of this lane may be queued.
    fn check(&self, lane: Lane) -> Result<(), SendFailure> {
        match self.shut() {
            Some(closed) => Err(SendFailure::Closed(closed)),
            None if self.queue.is_hopeless(lane) => Err(SendFailure::Closed(Closed::NoMoreCredit)),
            None => Ok(()),
        }
    }

    /// Why nothing that is queued gets written any more, if so.
    fn ended(&self) -> Option<&Closed> {
        let waits = self.undelivered == Some(Undelivered::NextRun);
        let closed = self.closed.as_ref();
        closed.filter(|closed| !waits || matches!(closed, Closed::ByRequest))
    }
}

#[cfg(test)]
mod tests;
