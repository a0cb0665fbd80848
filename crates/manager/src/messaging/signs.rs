//! What a child has shown of itself: kept for those who wait until it has started.

use std::sync::Arc;

use tokio::sync::watch;

/// What has been seen of a child so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its hello.
    pub(crate) hello: bool,
    /// The text of its last `ready`.
    pub(crate) ready: Option<Arc<str>>,
    /// A message.
    pub(crate) message: bool,
    /// Its output is not believed any more, for this reason.
    pub(crate) lost: Option<Arc<str>>,
    /// That came with the end of the output, so that its exit is likely to be the reason.
    pub(crate) at_end: bool,
    /// Pings in a row that it did not answer.
    pub(crate) missed: u32,
}

/// Where it is told and watched.
#[derive(Debug, Clone)]
pub(crate) struct Signs(watch::Sender<Seen>);

impl Default for Signs {
    fn default() -> Self {
        Self(watch::Sender::new(Seen::default()))
    }
}

impl Signs {
    pub(crate) fn tell(&self, change: impl FnOnce(&mut Seen)) {
        self.0.send_if_modified(|seen| {
            let before = seen.clone();
            change(seen);
            *seen != before
        });
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Seen> {
        self.0.subscribe()
    }
}
