//! What handles ask of a process, on its way to the process's task.
//!
//! A bounded queue within the [`Process`](super::Process) itself. A channel would have room for its messages
//! from the start, and of most processes little is ever asked.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Semaphore;

use super::Control;

/// Requests that may wait for the task, which takes each at once.
const WAITING: usize = 16;

#[derive(Debug)]
pub(super) struct Requests {
    queue: Mutex<Queue>,
    places: Semaphore,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Control>,
    task: Option<Waker>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            places: Semaphore::new(WAITING),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place, and asks; `false` once they are closed. Cancel safe.
    pub(super) async fn send(&self, request: Control) -> bool {
        let Ok(place) = self.places.acquire().await else {
            return false;
        };
        place.forget();
        self.push(request)
    }

    /// Asks if there is a place; gives the request back if there is none now. Nothing is asked of what is
    /// closed.
    pub(super) fn try_send(&self, request: Control) -> Result<(), Control> {
        match self.places.try_acquire() {
            Ok(place) => place.forget(),
            Err(_) if self.is_closed() => return Ok(()),
            Err(_) => return Err(request),
        }
        self.push(request);
        Ok(())
    }

    fn push(&self, request: Control) -> bool {
        let mut queue = self.lock();
        // Closed under the lock: what comes later would never be taken.
        if self.is_closed() {
            return false;
        }
        queue.waiting.push_back(request);
        let task = queue.task.take();
        drop(queue);
        if let Some(task) = task {
            task.wake();
        }
        true
    }

    /// Ready with the next request; with none once they are closed and all were taken.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Control>> {
        let mut queue = self.lock();
        if let Some(request) = queue.waiting.pop_front() {
            self.places.add_permits(1);
            return Poll::Ready(Some(request));
        }
        if self.is_closed() {
            return Poll::Ready(None);
        }
        if !queue
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
        {
            queue.task = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Takes no more; what waits can still be taken.
    pub(super) fn close(&self) {
        let _queue = self.lock();
        self.places.close();
    }

    /// Drops what nobody takes any more, which tells who asked.
    pub(super) fn clear(&self) {
        let mut queue = self.lock();
        let dropped = (std::mem::take(&mut queue.waiting), queue.task.take());
        drop(queue);
        drop(dropped);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.places.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn they_are_bounded_and_come_in_order() {
        let requests = Requests::new();
        for _ in 0..WAITING - 1 {
            requests.try_send(Control::Expire).expect("room");
        }
        assert!(requests.send(Control::Abandon).await);
        requests.try_send(Control::Expire).expect_err("full");
        assert_eq!(requests.send(Control::Expire).now_or_never(), None);
        for _ in 0..WAITING - 1 {
            let next = poll_fn(|cx| requests.poll_next(cx)).await;
            assert!(matches!(next, Some(Control::Expire)));
        }
        let next = poll_fn(|cx| requests.poll_next(cx)).await;
        assert!(matches!(next, Some(Control::Abandon)));
        let next = poll_fn(|cx| requests.poll_next(cx));
        assert!(next.now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_waits_when_they_are_closed_can_be_taken() {
        let requests = Requests::new();
        assert!(requests.send(Control::Expire).await);
        requests.close();
        assert!(!requests.send(Control::Abandon).await);
        requests.try_send(Control::Abandon).expect("of no use");
        let next = poll_fn(|cx| requests.poll_next(cx)).await;
        assert!(matches!(next, Some(Control::Expire)));
        assert!(poll_fn(|cx| requests.poll_next(cx)).await.is_none());
    }
}
