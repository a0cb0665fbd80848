//! Tasks that a process may come to need.

use tokio::task::JoinSet;

/// A set of tasks that end with it. Until the first one is started it takes no memory: most processes need few
/// of the sets that they have.
#[derive(Debug)]
pub(super) struct Tasks<T>(Option<JoinSet<T>>);

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Tasks<T> {
    pub(super) fn spawn(&mut self, task: impl Future<Output = T> + Send + 'static) {
        self.0.get_or_insert_default().spawn(task);
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, JoinSet::len)
    }

    /// Resolves with the next one to end, `None` for one that panicked; at once with nothing where there is
    /// none. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Option<T>> {
        let ended = self.0.as_mut()?.join_next().await?;
        Some(ended.ok())
    }

    pub(super) fn abort_all(&mut self) {
        if let Some(tasks) = &mut self.0 {
            tasks.abort_all();
        }
    }

    /// Lets them go on by themselves.
    pub(super) fn detach_all(&mut self) {
        if let Some(tasks) = &mut self.0 {
            tasks.detach_all();
        }
    }
}
