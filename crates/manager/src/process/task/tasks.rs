//! Tasks that a process may come to need.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinHandle};

/// A few tasks that end with this. Without any it takes no memory, and for one little more than the task itself:
/// each process has several of these, and `JoinSet` allocates for itself and for each task.
#[derive(Debug)]
pub(super) struct Tasks<T>(Vec<JoinHandle<T>>);

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Tasks<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Resolves with the next one to end, an error for one that panicked; at once with nothing where there is
    /// none. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// See [`next`](Self::next).
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        for (index, task) in self.0.iter_mut().enumerate() {
            if let Poll::Ready(ended) = Pin::new(task).poll(cx) {
                self.0.swap_remove(index);
                return Poll::Ready(Some(ended));
            }
        }
        if self.0.is_empty() {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    pub(super) fn abort_all(&self) {
        self.0.iter().for_each(JoinHandle::abort);
    }

    /// Lets them go on by themselves.
    pub(super) fn detach_all(&mut self) {
        self.0.clear();
    }
}

impl<T: Send + 'static> Tasks<T> {
    pub(super) fn spawn(&mut self, task: impl Future<Output = T> + Send + 'static) {
        self.0.reserve_exact(1);
        self.0.push(tokio::spawn(task));
    }
}

impl<T> Drop for Tasks<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_come_as_they_end_and_end_with_their_owner() {
        let mut tasks = Tasks::default();
        assert!(tasks.next().await.is_none());
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        tasks.spawn(async move {
            alive.closed().await;
            1
        });
        tasks.spawn(async { 2 });
        tasks.spawn(async { panic!("on purpose") });
        let first = [tasks.next().await, tasks.next().await];
        let mut first = first.map(|ended| ended.expect("two of them end").ok());
        first.sort();
        assert_eq!(first, [None, Some(2)]);
        assert_eq!(tasks.len(), 1);
        drop(tasks);
        assert_eq!(ended.recv().await, None);
    }
}
