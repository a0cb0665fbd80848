//! What happens to a group, told to whoever listens.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use procession_wire::Escaped;
use tokio::sync::broadcast;

use crate::ring::{Heard, Listener};
use crate::supervision::MemberState;

/// Something that happened to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// A process of it is in another state.
    Member {
        /// The process.
        name: String,
        /// Its state now.
        state: MemberState,
    },
    /// All of it is ready, or has ended well. Told once at most.
    Ready,
    /// It will not be ready, or with [`OneForAll`](crate::FailurePolicy::OneForAll) not go on. Told once at most.
    Failed {
        /// The process that failed, or ended though others need it.
        name: String,
    },
    /// A process will not be started, or not be started again, since what it needs is gone for good.
    NotStarted {
        /// The process.
        name: String,
        /// The process at the root of it: it failed, or ended though others need it.
        because_of: String,
    },
    /// Nothing of it runs, and nothing will. Nothing follows.
    Stopped,
    /// The listener was too slow, and this many events were dropped.
    Missed(u64),
}

impl fmt::Display for GroupEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member { name, state } => {
                let verb = if state.is_over() { "has" } else { "is" };
                write!(f, "`{}` {verb} {state}", Escaped::new(name))
            }
            Self::Ready => f.write_str("the group is ready"),
            Self::Failed { name } => {
                write!(
                    f,
                    "the group has failed because of `{}`",
                    Escaped::new(name)
                )
            }
            Self::NotStarted { name, because_of } => {
                let (name, because_of) = (Escaped::new(name), Escaped::new(because_of));
                write!(f, "`{name}` is not started because of `{because_of}`")
            }
            Self::Stopped => f.write_str("the group has stopped"),
            Self::Missed(count) => write!(f, "{count} events were missed"),
        }
    }
}

/// The events of a group: a [`Stream`] of [`GroupEvent`]s, by [`GroupHandle::events`](crate::GroupHandle::events).
///
/// It ends after [`GroupEvent::Stopped`]. A listener may be 1,024 events behind; past that the oldest are dropped, and
/// [`GroupEvent::Missed`] says how many. Nothing ever waits for a listener. Taking an item is cancel safe.
#[must_use = "streams do nothing unless polled"]
pub struct GroupEventStream {
    listener: Listener<GroupEvent>,
}

impl GroupEventStream {
    /// Of none where the group has ended.
    pub(super) fn new(receiver: Option<broadcast::Receiver<GroupEvent>>) -> Self {
        Self {
            listener: receiver.map_or_else(Listener::ended, Listener::new),
        }
    }
}

impl Stream for GroupEventStream {
    type Item = GroupEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<GroupEvent>> {
        let event = match ready!(self.listener.poll_next(cx)) {
            Some(Heard::Told(event)) => event,
            Some(Heard::Missed(count)) => GroupEvent::Missed(count),
            None => return Poll::Ready(None),
        };
        if event == GroupEvent::Stopped {
            self.listener.end();
        }
        Poll::Ready(Some(event))
    }
}

impl fmt::Debug for GroupEventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupEventStream").finish_non_exhaustive()
    }
}
