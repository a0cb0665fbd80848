//! [`Lease`]: for how long the parent may be silent.

use std::{thread, time::Duration};

/// The exit code of a program that did not end by itself after its parent was taken for gone.
///
/// With a lease (`MESSAGE_LEASE`), the parent sends something at least that often. When it does not,
/// the input counts as ended and [`on_stop`](crate::Parent::on_stop) is called; when as much time
/// again has passed and the process is still there, it exits with this code, whatever it is doing.
///
/// ```
/// assert_eq!(procession_child::LEASE_EXIT_CODE, 69); // EX_UNAVAILABLE, man 3 sysexits.h
/// ```
pub const LEASE_EXIT_CODE: i32 = 69;

/// It is waited for in so many pieces. A process that was suspended, alone or with its parent, has
/// used up one piece at most, and looks for what has arrived before it waits for the next.
const PIECES: u32 = 8;

/// Runs out when it has been spent without being renewed.
#[derive(Debug)]
pub(crate) struct Lease {
    whole: Duration,
    left: Duration,
}

impl Lease {
    pub(crate) fn new(whole: Duration) -> Self {
        Self { whole, left: whole }
    }

    /// The parent lives.
    pub(crate) fn renew(&mut self) {
        self.left = self.whole;
    }

    /// For how long to wait next.
    pub(crate) fn piece(&self) -> Duration {
        piece(self.whole).min(self.left)
    }

    /// It was waited for so long in vain; whether it has run out.
    pub(crate) fn spend(&mut self, waited: Duration) -> bool {
        self.left = self.left.saturating_sub(waited.min(self.piece()));
        self.left.is_zero()
    }
}

fn piece(whole: Duration) -> Duration {
    (whole / PIECES).max(Duration::from_millis(1))
}

/// The program has so long to wind down.
pub(crate) fn end_process_after(lease: Duration) {
    let spawned = thread::Builder::new()
        .name("procession-lease".into())
        .spawn(move || {
            let mut grace = Lease::new(lease);
            loop {
                let piece = grace.piece();
                thread::sleep(piece);
                if grace.spend(piece) {
                    end_process();
                    return;
                }
            }
        });
    if spawned.is_err() {
        // No thread to be had: better at once than never.
        end_process();
    }
}

#[cfg(not(test))]
fn end_process() {
    std::process::exit(LEASE_EXIT_CODE);
}

/// The process that tests run in has no parent.
#[cfg(test)]
fn end_process() {
    tests::ENDS.fetch_add(1, std::sync::atomic::Ordering::Release);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// How often this process would have ended.
    pub(super) static ENDS: AtomicU64 = AtomicU64::new(0);

    pub(crate) fn ends() -> u64 {
        ENDS.load(Ordering::Acquire)
    }

    #[test]
    fn a_long_pause_counts_as_one_piece() {
        let mut lease = Lease::new(Duration::from_millis(80));
        for _ in 0..7 {
            assert_eq!(lease.piece(), Duration::from_millis(10));
            assert!(!lease.spend(Duration::from_hours(1)));
        }
        lease.renew();
        for _ in 0..15 {
            assert!(!lease.spend(Duration::from_millis(5)));
        }
        assert!(lease.spend(Duration::from_millis(5)));
    }

    #[test]
    fn a_short_lease_runs_out_too() {
        let mut lease = Lease::new(Duration::from_millis(3));
        assert!(!lease.spend(lease.piece()));
        assert!(!lease.spend(lease.piece()));
        assert!(lease.spend(lease.piece()));
    }
}
