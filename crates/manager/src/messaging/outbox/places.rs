//! Places in a queue that is bounded in frames and in bytes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use super::super::queue::{LANES, Lane, Place};

/// The places of all lanes. Those of a lane are made when the first is needed: with an input that takes what it is
/// sent there is no queue, and most children are sent no request.
#[derive(Debug)]
pub(super) struct AllPlaces {
    lanes: [OnceLock<Box<Places>>; LANES],
    /// They are closed, or to be closed from the start.
    closed: AtomicBool,
    frames: usize,
    bytes: usize,
}

impl AllPlaces {
    pub(super) fn new(frames: usize, bytes: usize) -> Self {
        Self {
            lanes: Default::default(),
            closed: AtomicBool::new(false),
            frames,
            bytes,
        }
    }

    pub(super) fn of(&self, lane: Lane) -> &Places {
        let places = self.lanes[lane as usize]
            .get_or_init(|| Box::new(Places::new(self.frames, self.bytes)));
        // After they are there: a close in between finds them, or is found here.
        if self.closed.load(Ordering::SeqCst) {
            places.close();
        }
        places
    }

    /// Gives back what was taken of each lane.
    pub(super) fn give_back(&self, frames: [usize; LANES], bytes: [usize; LANES]) {
        for (index, places) in self.lanes.iter().enumerate() {
            // Nothing was taken of those that were not made.
            if let Some(places) = places.get() {
                places.give_back(frames[index], bytes[index]);
            }
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.lanes
            .iter()
            .filter_map(OnceLock::get)
            .for_each(|places| places.close());
    }
}

/// The places of one lane.
#[derive(Debug)]
pub(super) struct Places {
    frames: Semaphore,
    bytes: Semaphore,
    most_bytes: usize,
}

impl Places {
    fn new(frames: usize, bytes: usize) -> Self {
        Self {
            frames: Semaphore::new(frames.min(Semaphore::MAX_PERMITS)),
            bytes: Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)),
            most_bytes: bytes,
        }
    }

    /// What is larger than all the room there is takes all of it.
    fn cost(&self, len: usize) -> u32 {
        u32::try_from(len.clamp(1, self.most_bytes)).unwrap_or(u32::MAX)
    }

    /// Waits for a place for `len` bytes; none once they are closed. Cancel safe.
    pub(super) async fn take(&self, len: usize) -> Option<Place> {
        match self.try_take(len) {
            // Apart, since it is large and most never come here.
            None => Box::pin(self.take_later(len)).await,
            place => place,
        }
    }

    async fn take_later(&self, len: usize) -> Option<Place> {
        let cost = self.cost(len);
        let frame = self.frames.acquire().await.ok()?;
        let bytes = self.bytes.acquire_many(cost).await.ok()?;
        frame.forget();
        bytes.forget();
        Some(Some(cost))
    }

    /// Takes a place if there is one now.
    pub(super) fn try_take(&self, len: usize) -> Option<Place> {
        let cost = self.cost(len);
        let frame = self.frames.try_acquire().ok()?;
        let bytes = self.bytes.try_acquire_many(cost).ok()?;
        frame.forget();
        bytes.forget();
        Some(Some(cost))
    }

    /// Takes a place of no bytes if there is one with some now.
    pub(super) fn try_take_empty(&self) -> Option<Place> {
        if self.bytes.available_permits() == 0 {
            return None;
        }
        self.frames.try_acquire().ok()?.forget();
        Some(Some(0))
    }

    /// Makes a place as large as one for `len` bytes, as far as there is room.
    pub(super) fn enlarge(&self, place: Place, len: usize) -> Place {
        let had = place?;
        let more = self.cost(len).saturating_sub(had) as usize;
        let got = self.bytes.forget_permits(more);
        Some(had + u32::try_from(got).unwrap_or(0))
    }

    pub(super) fn give_back(&self, frames: usize, bytes: usize) {
        self.frames.add_permits(frames);
        self.bytes.add_permits(bytes);
    }

    fn close(&self) {
        self.frames.close();
        self.bytes.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }
}
