//! Limits on what logs take of the disk: of one process, and of all of a manager.
//!
//! Room is taken before something is written. Where there is none, whole segments go, oldest first,
//! whichever log they are of, the one that is being written included. So what is on the disk is never over
//! the limit, but where a single write is larger.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::store::StoreLog;

/// The least that a limit can be, in bytes.
pub(crate) const LEAST: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<u64>,
    used: Mutex<Used>,
    numbers: AtomicU64,
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    /// By age.
    segments: BTreeMap<u64, Weak<StoreLog>>,
}

impl Budget {
    pub(crate) fn new(limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.map(|limit| limit.max(LEAST)),
            used: Mutex::default(),
            numbers: AtomicU64::new(0),
        })
    }

    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next segment.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// This segment may be dropped from now on.
    pub(super) fn add(&self, number: u64, log: Weak<StoreLog>) {
        self.used().segments.insert(number, log);
    }

    /// This segment is gone, with what it took.
    pub(super) fn remove(&self, number: u64, bytes: u64) {
        let mut used = self.used();
        used.segments.remove(&number);
        used.bytes = used.bytes.saturating_sub(bytes);
    }

    /// Takes room, for which older segments may have to go.
    pub(super) fn take(&self, bytes: u64) {
        while let Some((number, log)) = self.try_take(bytes) {
            // It gives back what it took, or has done so where it was moved meanwhile.
            if let Some(log) = log.upgrade() {
                log.drop_segment(number);
            }
        }
    }

    /// The oldest segment, where there is no room before that goes.
    pub(super) fn try_take(&self, bytes: u64) -> Option<(u64, Weak<StoreLog>)> {
        let mut used = self.used();
        if self.limit.is_some_and(|limit| used.bytes + bytes > limit)
            && let Some(oldest) = used.segments.pop_first()
        {
            return Some(oldest);
        }
        used.bytes += bytes;
        None
    }

    /// Gives back room that was not used.
    pub(super) fn give_back(&self, bytes: u64) {
        let mut used = self.used();
        used.bytes = used.bytes.saturating_sub(bytes);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.used().bytes
    }
}
