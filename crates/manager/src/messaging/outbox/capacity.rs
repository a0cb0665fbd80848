//! The capacity of a queue, which is bounded in frames and in bytes, lane by lane.
//!
//! ```text
//!            ┌── acquire: waits in line ───► Permit ──► queued ──┐
//!  capacity ─┤                                                   ├─► written: release
//!            └── overdraw: never waits ──► debt, if none is left ┘   (pays the debt first)
//! ```
//!
//! A permit is in the hand of a future that is being polled, or of nobody: dropping it releases it.
//! A sink, which may lie unused for any time, holds none. It waits until it is its turn and
//! overdraws by its one message if others were faster; then nobody gets a permit before that
//! message is written.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::queue::{LANES, Lane};

/// The capacity of all lanes. That of a lane is made when it is first needed: with an input that
/// takes what it is sent there is no queue, and most children are sent no request.
#[derive(Debug)]
pub(super) struct Capacity {
    lanes: [OnceLock<Box<LaneCapacity>>; LANES],
    /// They are closed, or to be closed from the start.
    closed: AtomicBool,
    frames: usize,
    bytes: usize,
}

impl Capacity {
    pub(super) fn new(frames: usize, bytes: usize) -> Self {
        Self {
            lanes: Default::default(),
            closed: AtomicBool::new(false),
            frames,
            bytes,
        }
    }

    pub(super) fn of(&self, lane: Lane) -> &LaneCapacity {
        let capacity = self.lanes[lane as usize]
            .get_or_init(|| Box::new(LaneCapacity::new(self.frames, self.bytes)));
        // After it is there: a close in between finds it, or is found here.
        if self.closed.load(Ordering::SeqCst) {
            capacity.close();
        }
        capacity
    }

    /// Releases what was committed of each lane.
    pub(super) fn release(&self, frames: [usize; LANES], bytes: [usize; LANES]) {
        for (index, capacity) in self.lanes.iter().enumerate() {
            // Nothing was acquired of those that were not made.
            if let Some(capacity) = capacity.get() {
                capacity.frames.release(frames[index]);
                capacity.bytes.release(bytes[index]);
            }
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.lanes
            .iter()
            .filter_map(OnceLock::get)
            .for_each(|capacity| capacity.close());
    }
}

/// The capacity of one lane.
#[derive(Debug)]
pub(super) struct LaneCapacity {
    frames: Quantity,
    bytes: Quantity,
    most_bytes: usize,
}

/// Room for one frame, released when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    frame: SemaphorePermit<'a>,
    bytes: SemaphorePermit<'a>,
}

impl Permit<'_> {
    /// Goes over to a queued frame: its bytes, which are released once it is written.
    pub(super) fn commit(self) -> u32 {
        let bytes = self.bytes.num_permits();
        self.frame.forget();
        self.bytes.forget();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

impl LaneCapacity {
    fn new(frames: usize, bytes: usize) -> Self {
        Self {
            frames: Quantity::new(frames),
            bytes: Quantity::new(bytes),
            most_bytes: bytes,
        }
    }

    /// Returns the room that `len` bytes take: all of it, where the bytes are more than all the
    /// room.
    fn cost(&self, len: usize) -> u32 {
        u32::try_from(len.clamp(1, self.most_bytes)).unwrap_or(u32::MAX)
    }

    /// Waits in line for room for `len` bytes; none once it is closed. Cancel safe.
    pub(super) async fn acquire(&self, len: usize) -> Option<Permit<'_>> {
        match self.try_acquire(len) {
            // Apart, since it is large and most never come here.
            None => Box::pin(self.acquire_later(len)).await,
            permit => permit,
        }
    }

    async fn acquire_later(&self, len: usize) -> Option<Permit<'_>> {
        Some(Permit {
            frame: self.frames.free.acquire().await.ok()?,
            bytes: self.bytes.free.acquire_many(self.cost(len)).await.ok()?,
        })
    }

    /// Acquires room if there is some now.
    pub(super) fn try_acquire(&self, len: usize) -> Option<Permit<'_>> {
        Some(Permit {
            frame: self.frames.free.try_acquire().ok()?,
            bytes: self.bytes.free.try_acquire_many(self.cost(len)).ok()?,
        })
    }

    /// Whether a frame of some length may be queued now, and nobody is in line before it.
    pub(super) fn has_room(&self) -> bool {
        let has = |quantity: &Quantity| quantity.free.available_permits() > 0;
        has(&self.frames) && has(&self.bytes) && !self.is_closed()
    }

    /// Takes room for `len` bytes whether it is there or not: its bytes, which are released as
    /// those of a [`Permit`] are.
    pub(super) fn overdraw(&self, len: usize) -> u32 {
        let bytes = self.cost(len);
        self.frames.overdraw(1);
        self.bytes.overdraw(bytes as usize);
        bytes
    }

    fn close(&self) {
        self.frames.free.close();
        self.bytes.free.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.frames.free.is_closed()
    }
}

/// So many of something, of which more may be taken than there are.
#[derive(Debug)]
struct Quantity {
    free: Semaphore,
    /// The number taken beyond those that there are: the first that is released pays it.
    debt: AtomicUsize,
}

impl Quantity {
    fn new(count: usize) -> Self {
        Self {
            free: Semaphore::new(count.min(Semaphore::MAX_PERMITS)),
            debt: AtomicUsize::new(0),
        }
    }

    fn overdraw(&self, count: usize) {
        let missing = count - self.free.forget_permits(count);
        if missing > 0 {
            self.debt.fetch_add(missing, Ordering::Relaxed);
        }
    }

    fn release(&self, count: usize) {
        let mut paid = 0;
        // There is none for most of the time.
        if self.debt.load(Ordering::Relaxed) > 0 {
            let pay = |debt: usize| Some(debt.saturating_sub(count));
            let debt = self
                .debt
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
            paid = debt.unwrap_or(0).min(count);
        }
        self.free.add_permits(count - paid);
    }
}
