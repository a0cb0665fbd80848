//! [`Alarm`]: a [`Lease`] on the runtime's clock.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use crate::lease::Lease;

#[derive(Debug)]
pub(super) struct Alarm {
    lease: Lease,
    /// The end of the piece that is being waited for.
    piece: Pin<Box<Sleep>>,
    started: Instant,
    renewed: bool,
}

impl Alarm {
    /// # Panics
    ///
    /// The runtime has no time driver.
    pub(super) fn new(whole: Duration) -> Self {
        let lease = Lease::new(whole);
        Self {
            piece: Box::pin(sleep(lease.piece())),
            started: Instant::now(),
            lease,
            renewed: false,
        }
    }

    /// Something has arrived.
    pub(super) fn renew(&mut self) {
        self.renewed = true;
    }

    /// Ready once nothing has arrived for too long. To be polled when the input has been looked at.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.piece.as_mut().poll(cx).is_ready() {
            if std::mem::take(&mut self.renewed) {
                self.lease.renew();
            } else if self.lease.spend(self.started.elapsed()) {
                return Poll::Ready(());
            }
            self.started = Instant::now();
            let next = self.started + self.lease.piece();
            self.piece.as_mut().reset(next);
        }
        Poll::Pending
    }
}
