//! Telling many listeners what happens, without ever waiting for one.
//!
//! ```text
//!  tell ──► ring of the last 1,024 ──► Listener: each item, or how many were missed
//! ```

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Items that a listener may be behind.
pub(crate) const RING: usize = 1024;

/// Where things are told.
#[derive(Debug)]
pub(crate) struct Ring<T>(broadcast::Sender<T>);

impl<T: Clone + Send + 'static> Ring<T> {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(RING))
    }

    /// Tells whoever listens.
    pub(crate) fn tell(&self, item: T) {
        let _ = self.0.send(item);
    }

    /// Hears all from now on, until the ring is dropped.
    pub(crate) fn listen(&self) -> Listener<T> {
        Listener::new(self.0.subscribe())
    }
}

type Receiving<T> =
    Pin<Box<dyn Future<Output = (Result<T, RecvError>, broadcast::Receiver<T>)> + Send>>;

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard<T> {
    Told(T),
    /// It was too slow: this many were written over.
    Missed(u64),
}

/// One who listens.
pub(crate) struct Listener<T>(Option<Receiving<T>>);

impl<T: Clone + Send + 'static> Listener<T> {
    /// One who hears what this receives.
    pub(crate) fn new(receiver: broadcast::Receiver<T>) -> Self {
        Self(Some(receive(receiver)))
    }

    /// One who hears nothing.
    pub(crate) fn ended() -> Self {
        Self(None)
    }

    /// Listens no more.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Heard<T>>> {
        let Some(receiving) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let (received, receiver) = ready!(receiving.as_mut().poll(cx));
        self.0 = Some(receive(receiver));
        Poll::Ready(Some(match received {
            Ok(item) => Heard::Told(item),
            Err(RecvError::Lagged(count)) => Heard::Missed(count),
            Err(RecvError::Closed) => {
                self.end();
                return Poll::Ready(None);
            }
        }))
    }
}

impl<T> fmt::Debug for Listener<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

fn receive<T: Clone + Send + 'static>(mut receiver: broadcast::Receiver<T>) -> Receiving<T> {
    Box::pin(async move {
        let item = receiver.recv().await;
        (item, receiver)
    })
}
