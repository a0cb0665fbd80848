//! Fan-out: from the reader of one child to any number of subscriptions.
//!
//! ```text
//!             offer (a batch)          ┌─► buffer ─► stream    each with its limits and policy
//!   reader ──────────────────► hub ────┼─► buffer ─► stream
//!      ▲                               └─► the process's own buffer, while there is no other
//!      └── woken by a release ◄───────────────┘ │
//!   outbox ◄──────── credit frames ◄────────────┘ as the slowest blocking buffer is read
//! ```
//!
//! Without credit the reader waits for room in every buffer that blocks, and the pipe fills. With
//! credit the child waits, in its message lane alone, so the reader never has to: what it may have
//! on its way at most is what was granted. Locks are over a buffer, or over the list of them, for a
//! few instructions and never over an await; the list's is always taken first.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;
use futures_util::task::AtomicWaker;
use procession_wire::{FrameHead, Message, credit};

use super::buffer::{Batch, Buffer, Limits, Run, Taken};
use super::outbox::Outbox;
use super::pipe::{WriteEnd, WritePipe};
use crate::error::ReceiveMessageError;
use crate::model::Overflow;

/// Where credit frames go.
pub(crate) trait Granter: Send + Sync {
    fn grant(&self, bytes: u32);
}

impl<W: WriteEnd> Granter for Arc<Outbox<W>> {
    fn grant(&self, bytes: u32) {
        let lane = credit::MESSAGE_LANE;
        self.control(FrameHead::Credit { lane, bytes }, b"");
    }
}

pub(crate) struct Hub {
    list: Mutex<List>,
    /// The limits of the process's own buffer, and a subscription's where it has none of its own.
    defaults: Limits,
    reader: AtomicWaker,
    /// Credit granted so far; 0 while there is none.
    granted: AtomicU64,
    with_runs: bool,
}

struct List {
    subscriptions: Vec<Arc<Mutex<Buffer>>>,
    own: Buffer,
    ended: bool,
    granter: Option<Arc<dyn Granter>>,
    /// The cost of all messages that have arrived.
    received: u64,
    counts: HubCounts,
}

/// How many messages have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HubCounts {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// That made room for others, summed over the subscriptions.
    pub(crate) lost: u64,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Hub {
    /// `with_runs`: the end of a run's output is not the end of the subscriptions.
    pub(crate) fn new(defaults: Limits, with_runs: bool) -> Arc<Self> {
        Arc::new(Self {
            with_runs,
            list: Mutex::new(List {
                subscriptions: Vec::new(),
                own: Buffer::new(defaults),
                ended: false,
                granter: None,
                received: 0,
                counts: HubCounts::default(),
            }),
            defaults,
            reader: AtomicWaker::new(),
            granted: AtomicU64::new(0),
        })
    }

    pub(crate) fn defaults(&self) -> Limits {
        self.defaults
    }

    pub(crate) fn counts(&self) -> HubCounts {
        lock(&self.list).counts
    }

    /// Offers the messages of a batch from `from` on; says how many were taken, the same for all.
    /// Where that is none, the reader is woken when to try again.
    pub(crate) fn poll_offer(
        &self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
        from: usize,
    ) -> Poll<usize> {
        self.reader.register(cx.waker());
        match self.offer(batch, from, false) {
            0 => Poll::Pending,
            count => Poll::Ready(count),
        }
    }

    /// Offers messages; `force` gives them to buffers that are full, too. Where that takes the last of them,
    /// the batch is not there any more.
    pub(crate) fn offer(&self, batch: &mut Batch, from: usize, force: bool) -> usize {
        let mut list = lock(&self.list);
        let with_credit = list.granter.is_some();
        let all = batch.len() - from;
        let mut count = all;
        if !force {
            let window = with_credit.then_some(self.defaults.bytes);
            list.each_blocking(|buffer| {
                let limits = limits_with(buffer.limits(), window);
                count = count.min(buffer.room(batch, from, limits));
            });
        }
        if count == 0 {
            return 0;
        }
        let range = from..from + count;
        let cost = batch.cost(range.clone());
        list.received += cost;
        list.counts.messages += count as u64;
        list.counts.bytes += cost - count as u64 * credit::MESSAGE_OVERHEAD;
        let mut last = if count == all {
            std::mem::take(batch)
        } else {
            batch.clone()
        };
        let mut lost = 0;
        if list.subscriptions.is_empty() {
            let before = list.own.dropped();
            list.own.push(last, range);
            lost = list.own.dropped() - before;
        } else {
            let mut left = list.subscriptions.len();
            for subscription in &list.subscriptions {
                left -= 1;
                let batch = match left {
                    0 => std::mem::take(&mut last),
                    _ => last.clone(),
                };
                let mut buffer = lock(subscription);
                let before = buffer.dropped();
                let waker = buffer.push(batch, range.clone());
                lost += buffer.dropped() - before;
                drop(buffer);
                wake(waker);
            }
        }
        list.counts.lost += lost;
        let grant = self.due(&mut list);
        drop(list);
        send(grant);
        count
    }

    /// Delivers an item that is not a message to every subscription.
    pub(crate) fn report(&self, error: &ReceiveMessageError) {
        let mut list = lock(&self.list);
        if list.subscriptions.is_empty() {
            list.own.push_error(error.clone());
        }
        for subscription in &list.subscriptions {
            let waker = lock(subscription).push_error(error.clone());
            wake(waker);
        }
    }

    /// Nothing more will come: streams end once they have been read.
    pub(crate) fn end(&self) {
        let mut list = lock(&self.list);
        list.ended = true;
        list.granter = None;
        list.own.end();
        for subscription in &list.subscriptions {
            let waker = lock(subscription).end();
            wake(waker);
        }
    }

    /// The output of a run has ended: with no other to follow, [the end](Self::end).
    pub(crate) fn end_run(&self) {
        if self.with_runs {
            lock(&self.list).granter = None;
        } else {
            self.end();
        }
    }

    /// Another run begins: what comes from here on is of that. It has no credit from before.
    pub(crate) fn next_run(&self, run: u64) {
        self.report(&ReceiveMessageError::NewRun(run));
        let mut list = lock(&self.list);
        list.granter = None;
        self.granted.store(list.received, Ordering::Relaxed);
    }

    /// Whether all has come and all of it has been handed to subscriptions.
    pub(crate) fn is_spent(&self) -> bool {
        lock(&self.list).own.is_spent()
    }

    /// The child wants credit: grants it a first window, and more as its messages are read.
    pub(crate) fn grant_through(&self, granter: Arc<dyn Granter>) {
        let mut list = lock(&self.list);
        if list.ended {
            return;
        }
        list.granter = Some(granter);
        let grant = self.due(&mut list);
        drop(list);
        send(grant);
    }

    /// What has become free, once that is a quarter of the window that bounds it: less would be a
    /// frame for every few messages, and more would let the child run dry.
    fn due(&self, list: &mut List) -> Option<Grant> {
        list.granter.as_ref()?;
        let default = window(self.defaults, self.defaults.bytes);
        let mut due = list.received + default;
        let mut least = default;
        list.each_blocking(|buffer| {
            let window = window(buffer.limits(), default);
            due = due.min(buffer.released() + window);
            least = least.min(window);
        });
        let granted = self.granted.load(Ordering::Relaxed);
        let more = due.saturating_sub(granted);
        if more < (least / 4).max(1) {
            return None;
        }
        let bytes = u32::try_from(more).unwrap_or(u32::MAX);
        self.granted
            .store(granted + u64::from(bytes), Ordering::Relaxed);
        let granter = Arc::clone(list.granter.as_ref()?);
        Some(Grant { granter, bytes })
    }

    fn released(&self, buffer: &Mutex<Buffer>) {
        let (waits, behind) = {
            let mut buffer = lock(buffer);
            let granted = self.granted.load(Ordering::Relaxed);
            let window = window(buffer.limits(), self.defaults.bytes);
            let behind = granted > 0
                && buffer.blocks()
                && (buffer.released() + window).saturating_sub(granted) >= window / 4;
            (buffer.wakes_reader(), behind)
        };
        if waits {
            self.reader.wake();
        }
        if behind {
            let grant = self.due(&mut lock(&self.list));
            send(grant);
        }
    }

    /// A new subscription. The first one gets what waited while there was none.
    pub(crate) fn subscribe(self: &Arc<Self>, limits: Limits) -> MessageStream {
        let mut list = lock(&self.list);
        let mut buffer = Buffer::new(limits);
        if list.subscriptions.is_empty() {
            buffer.adopt(&mut list.own);
        }
        buffer.set_released(list.received - buffer.held_cost());
        if list.ended {
            buffer.end();
        }
        let buffer = Arc::new(Mutex::new(buffer));
        list.subscriptions.push(Arc::clone(&buffer));
        let grant = self.due(&mut list);
        drop(list);
        send(grant);
        // The reader may have waited for room in a buffer that is not the one that counts now.
        self.reader.wake();
        MessageStream {
            hub: Arc::clone(self),
            buffer,
            run: None,
        }
    }

    /// Ends a subscription; what the last one leaves unread waits for the next.
    fn unsubscribe(&self, buffer: &Arc<Mutex<Buffer>>, run: Option<Run>) {
        let mut list = lock(&self.list);
        list.subscriptions
            .retain(|known| !Arc::ptr_eq(known, buffer));
        if list.subscriptions.is_empty() {
            let mut buffer = lock(buffer);
            if let Some(run) = run {
                buffer.put_back(run);
            }
            buffer.release();
            list.own.adopt(&mut buffer);
            let released = list.received - list.own.held_cost();
            list.own.set_released(released);
        }
        let grant = self.due(&mut list);
        drop(list);
        send(grant);
        self.reader.wake();
    }
}

/// A grant to be sent once no lock is held: sending writes to the pipe.
struct Grant {
    granter: Arc<dyn Granter>,
    bytes: u32,
}

fn send(grant: Option<Grant>) {
    if let Some(Grant { granter, bytes }) = grant {
        granter.grant(bytes);
    }
}

impl List {
    fn each_blocking(&mut self, mut each: impl FnMut(&mut Buffer)) {
        if self.subscriptions.is_empty() {
            if self.own.blocks() {
                each(&mut self.own);
            }
            return;
        }
        for subscription in &self.subscriptions {
            let mut buffer = lock(subscription);
            if buffer.blocks() {
                each(&mut buffer);
            }
        }
    }
}

/// Returns the credit that a buffer is worth: its bytes, 4 KiB for each of its messages at most,
/// and no more than one frame can grant. A larger window would let sums of it and of what was
/// received overflow.
fn window(limits: Limits, most: u64) -> u64 {
    let by_count = u64::try_from(limits.messages)
        .unwrap_or(u64::MAX)
        .saturating_mul(4096);
    let bytes = limits.bytes.min(by_count).min(most);
    bytes.clamp(1, u64::from(u32::MAX))
}

/// With credit, what bounds a buffer is what was granted; a child that keeps to it finds room.
fn limits_with(limits: Limits, window: Option<u64>) -> Limits {
    match window {
        Some(window) => Limits {
            messages: usize::MAX,
            bytes: window.max(limits.bytes),
            overflow: Overflow::Block,
        },
        None => limits,
    }
}

/// The messages of one process, as a subscription gets them: a [`Stream`] of
/// `Result<Message, ReceiveMessageError>`.
///
/// The stream ends when the process is gone, or has closed its output, and all that it wrote has
/// been delivered. A subscription is dropped by dropping the stream; what the last one of a process
/// leaves unread waits for the next one. Taking an item is cancel safe.
#[must_use = "streams do nothing unless polled"]
pub struct MessageStream {
    hub: Arc<Hub>,
    buffer: Arc<Mutex<Buffer>>,
    run: Option<Run>,
}

impl std::fmt::Debug for MessageStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageStream").finish_non_exhaustive()
    }
}

impl Stream for MessageStream {
    type Item = Result<Message, ReceiveMessageError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(run) = &mut self.run
                && let Some(message) = run.next()
            {
                return Poll::Ready(Some(Ok(message)));
            }
            let proceed = ready!(tokio::task::coop::poll_proceed(cx));
            let had_run = self.run.take().is_some();
            let taken = {
                let mut buffer = lock(&self.buffer);
                buffer.release();
                buffer.take(cx.waker())
            };
            if had_run {
                self.hub.released(&self.buffer);
            }
            match taken {
                Taken::Run(run) => self.run = Some(run),
                Taken::Error(error) => {
                    proceed.made_progress();
                    return Poll::Ready(Some(Err(error)));
                }
                Taken::Ended => return Poll::Ready(None),
                Taken::Empty => return Poll::Pending,
            }
            proceed.made_progress();
        }
    }
}

impl Drop for MessageStream {
    fn drop(&mut self) {
        self.hub.unsubscribe(&self.buffer, self.run.take());
    }
}

const _: () = {
    const fn assert_send<T: Send + Unpin>() {}
    assert_send::<MessageStream>();
    assert_send::<Outbox<WritePipe>>();
};

#[cfg(test)]
mod tests;
