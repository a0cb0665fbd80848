//! Something that happens once, and that any number of tasks may wait for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

/// Set once; never taken back.
#[derive(Debug, Default)]
pub(crate) struct Flag {
    set: AtomicBool,
    notify: Notify,
    observers: Mutex<Observers>,
}

#[derive(Debug, Default)]
struct Observers {
    next: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Flag {
    pub(crate) fn set(&self) {
        self.set.store(true, Ordering::Release);
        self.notify.notify_waiters();
        let observers = std::mem::take(&mut self.lock().wakers);
        for (_, waker) in observers {
            waker.wake();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Resolves when it is set. Cancel safe.
    pub(crate) async fn wait(&self) {
        // Made before the look: what is set in between wakes it.
        let notified = self.notify.notified();
        if !self.is_set() {
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Observers> {
        self.observers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that looks again and again beside its other work, from the same task: only the first look costs
/// more than a load.
#[derive(Debug)]
pub(crate) struct Observer {
    flag: Arc<Flag>,
    /// Under which it is known, and the waker that it has left.
    left: Option<(u64, Waker)>,
}

impl Observer {
    pub(crate) fn new(flag: Arc<Flag>) -> Self {
        Self { flag, left: None }
    }

    pub(crate) fn flag(&self) -> &Arc<Flag> {
        &self.flag
    }

    /// Ready when it is set; else the task is woken when it is.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let known = self.left.as_ref();
        if !known.is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            self.leave(cx.waker().clone());
        }
        // After the waker is there: what is set in between wakes it.
        if self.flag.is_set() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn leave(&mut self, waker: Waker) {
        let mut observers = self.flag.lock();
        let number = if let Some((number, _)) = &self.left {
            *number
        } else {
            observers.next += 1;
            observers.next
        };
        observers.wakers.retain(|(other, _)| *other != number);
        // For few flags there is more than one, and there are many flags.
        observers.wakers.reserve_exact(1);
        observers.wakers.push((number, waker.clone()));
        drop(observers);
        self.left = Some((number, waker));
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some((number, _)) = &self.left {
            self.flag.lock().wakers.retain(|(other, _)| other != number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Wake;

    use super::*;

    struct Count(std::sync::atomic::AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_observer_leaves_its_waker_once_and_takes_it_back() {
        let flag = Arc::new(Flag::default());
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(Arc::clone(&count));
        let mut observers = [(); 2].map(|()| Observer::new(Arc::clone(&flag)));
        for _ in 0..3 {
            for observer in &mut observers {
                assert!(observer.poll(&mut Context::from_waker(&waker)).is_pending());
            }
        }
        assert_eq!(flag.lock().wakers.len(), 2);
        let [mut first, second] = observers;
        drop(second);
        assert_eq!(flag.lock().wakers.len(), 1);
        flag.set();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(first.poll(&mut Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn the_last_waker_counts() {
        let flag = Arc::new(Flag::default());
        let counts = [(); 2].map(|()| Arc::new(Count(0.into())));
        let mut observer = Observer::new(Arc::clone(&flag));
        for count in &counts {
            let waker = Waker::from(Arc::clone(count));
            assert!(observer.poll(&mut Context::from_waker(&waker)).is_pending());
        }
        flag.set();
        let woken = counts.map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
    }

    #[tokio::test]
    async fn those_who_wait_and_those_who_look_are_all_told() {
        let flag = Arc::new(Flag::default());
        let looking = tokio::spawn({
            let mut observer = Observer::new(Arc::clone(&flag));
            async move { poll_fn(|cx| observer.poll(cx)).await }
        });
        let waiting = tokio::spawn({
            let flag = Arc::clone(&flag);
            async move { flag.wait().await }
        });
        tokio::task::yield_now().await;
        flag.set();
        looking.await.expect("no panic");
        waiting.await.expect("no panic");
        Observer::new(flag)
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
            .then_some(())
            .expect("set before the first look");
    }
}
