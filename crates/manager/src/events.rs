//! Events: what happens to the processes of a manager, told to whoever listens.
//!
//! ```text
//!  process tasks ─┐                    ┌─► stream of the manager     all events
//!  start of the   ├─► ring of the ─────┼─► stream of a process       its own
//!  manager ───────┘   last 1,024       └─► …
//! ```
//!
//! Telling never waits: the ring is written over, and a listener that comes too late is told how many
//! events it missed. What happens before anybody listens at the start of the manager is kept for the
//! first listener.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use procession_wire::Escaped;

use crate::containment::{LeftProcess, List, Swept};
use crate::id::ProcessId;
use crate::lifecycle::ExitReport;
use crate::logs::LogStream;
use crate::ring::{Heard, Listener, RING, Ring};
use crate::supervision::PermanentEnd;

/// Something that happened to a process, or to the manager.
///
/// Shown, it is one line: what a child chose of it is [escaped](procession_wire::Escaped). The
/// fields hold that as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A process was asked for, and is being started.
    Spawned {
        /// The process.
        id: ProcessId,
    },
    /// It runs.
    Running {
        /// The process.
        id: ProcessId,
        /// The system's number for it.
        pid: u32,
    },
    /// It has become ready, as its [`Cmd`](crate::Cmd::ready_when) says.
    Ready {
        /// The process.
        id: ProcessId,
        /// The text by which the process describes itself, of up to 4,096 bytes; may be empty.
        status: String,
    },
    /// It says something else of itself.
    StatusChanged {
        /// The process.
        id: ProcessId,
        /// The text by which the process describes itself, of up to 4,096 bytes.
        status: String,
    },
    /// It no longer answers pings, or has missed its watchdog's time. Told once, until it answers again.
    Unresponsive {
        /// The process.
        id: ProcessId,
    },
    /// It is being ended: it was stopped or killed, or its time is up.
    Stopping {
        /// The process.
        id: ProcessId,
    },
    /// The process was killed, and something of it is left: the process itself, where it has not
    /// [exited](Self::Exited), or processes that it had started. The event is told again after each
    /// attempt to end the process. Where the process exits after all, its exit is told as ever.
    NotEnded {
        /// The process.
        id: ProcessId,
        /// The processes left, each with the reason.
        left: Arc<[LeftProcess]>,
    },
    /// It has exited. Its output is still being read, and what it left behind is being hunted.
    Exited {
        /// The process.
        id: ProcessId,
        /// How it ended, as far as that is known now.
        report: Arc<ExitReport>,
    },
    /// A run of a [supervised](crate::Cmd::supervised) process is over, and another is going to be started.
    Restarting {
        /// The process.
        id: ProcessId,
        /// The number of the run that is to be, counted from 0.
        run: u64,
        /// How long from now.
        wait: Duration,
        /// How the last run ended; none where it could not be started at all.
        report: Option<Arc<ExitReport>>,
        /// Why the last run could not be started, where that is so.
        failure: Option<Arc<str>>,
    },
    /// A [supervised](crate::Cmd::supervised) process has failed too often, and is not started again.
    GaveUp {
        /// The process.
        id: ProcessId,
        /// Why.
        end: PermanentEnd,
    },
    /// Its output has been read, and nothing that it left behind is alive. Of a supervised process: no other run
    /// follows.
    Finished {
        /// The process.
        id: ProcessId,
        /// How it ended: the whole report.
        report: Arc<ExitReport>,
    },
    /// It is gone from the manager, with its logs and its run directory.
    Removed {
        /// The process.
        id: ProcessId,
        /// Why.
        reason: RemovalReason,
    },
    /// At the start of the manager something was found that a dead manager had left.
    Swept(Swept),
    /// Lines of a log are lost, or may be: they cannot be written, as on a full disk, or something
    /// has truncated or removed a file, or only the end of the log of a process that has failed was
    /// [kept](crate::ProcessManagerBuilder::keep_failed_logs). The process goes on, and so does its
    /// log where that is possible.
    LogFault {
        /// The process.
        id: ProcessId,
        /// Which log.
        stream: LogStream,
        /// What has happened.
        reason: String,
    },
    /// A log can be written again.
    LogRecovered {
        /// The process.
        id: ProcessId,
        /// Which log.
        stream: LogStream,
    },
    /// The guard is not there: what this manager has started would live on if its process was killed.
    GuardUnavailable {
        /// Why it could not be started, or how it ended.
        reason: String,
    },
    /// The listener was too slow, and this many events were dropped that would have come here.
    Missed(u64),
}

/// Why a process is gone from its manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalReason {
    /// Its removal was asked for.
    Requested,
    /// It could not be started.
    StartFailed,
    /// More processes had exited than the manager
    /// [retains](crate::ProcessManagerBuilder::retain_exited), and it was the oldest of them.
    Retention,
    /// The manager was shut down.
    ShutDown,
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "its removal was asked for",
            Self::StartFailed => "it could not be started",
            Self::Retention => "newer processes have exited, and took its place",
            Self::ShutDown => "the manager was shut down",
        })
    }
}

impl Event {
    /// The process that it is about, if it is about one.
    pub fn process(&self) -> Option<ProcessId> {
        match self {
            Self::Spawned { id }
            | Self::Running { id, .. }
            | Self::Ready { id, .. }
            | Self::StatusChanged { id, .. }
            | Self::Unresponsive { id }
            | Self::Stopping { id }
            | Self::NotEnded { id, .. }
            | Self::Exited { id, .. }
            | Self::Restarting { id, .. }
            | Self::GaveUp { id, .. }
            | Self::Finished { id, .. }
            | Self::Removed { id, .. }
            | Self::LogFault { id, .. }
            | Self::LogRecovered { id, .. } => Some(*id),
            Self::Swept(_) | Self::GuardUnavailable { .. } | Self::Missed(_) => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawned { id } => write!(f, "process {id} is being started"),
            Self::Running { id, pid } => write!(f, "process {id} runs as {pid}"),
            Self::Ready { id, status } if status.is_empty() => write!(f, "process {id} is ready"),
            Self::Ready { id, status } => {
                write!(f, "process {id} is ready: {}", Escaped::new(status))
            }
            Self::StatusChanged { id, status } => {
                write!(f, "process {id} says: {}", Escaped::new(status))
            }
            Self::Unresponsive { id } => write!(f, "process {id} does not answer"),
            Self::Stopping { id } => write!(f, "process {id} is being ended"),
            Self::NotEnded { id, left } => {
                write!(f, "process {id} does not end: {}", List(left))
            }
            Self::Exited { id, report } => write!(f, "process {id} {report}"),
            Self::Restarting {
                id,
                run,
                wait,
                failure,
                ..
            } => {
                write!(f, "run {run} of process {id} is started in {wait:?}")?;
                match failure {
                    Some(failure) => {
                        let failure = Escaped::new(&**failure);
                        write!(f, ", since the last could not be: {failure}")
                    }
                    None => Ok(()),
                }
            }
            Self::GaveUp { id, end } => write!(f, "process {id} is given up: {end}"),
            Self::Finished { id, report } => write!(f, "process {id} has finished: {report}"),
            Self::Removed { id, reason } => write!(f, "process {id} was removed: {reason}"),
            Self::LogFault { id, stream, reason } => {
                let reason = Escaped::new(reason);
                write!(f, "the log of {stream} of process {id}: {reason}")
            }
            Self::LogRecovered { id, stream } => {
                write!(
                    f,
                    "the log of {stream} of process {id} can be written again"
                )
            }
            Self::Swept(swept) => write!(f, "{swept}"),
            Self::GuardUnavailable { reason } => {
                write!(f, "there is no guard: {}", Escaped::new(reason))
            }
            Self::Missed(count) => write!(f, "{count} events were missed"),
        }
    }
}

/// Where events are told.
#[derive(Debug)]
pub(crate) struct Events {
    ring: Ring<Event>,
    /// What happened before anybody listened.
    early: Mutex<Option<VecDeque<Event>>>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            ring: Ring::new(),
            early: Mutex::new(Some(VecDeque::new())),
        }
    }

    fn early(&self) -> MutexGuard<'_, Option<VecDeque<Event>>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, event: Event) {
        tracing::debug!(%event);
        self.ring.tell(event);
    }

    /// Tells what happens at the start of the manager: kept for the first listener, if there is none.
    pub(crate) fn tell_early(&self, event: Event) {
        let mut early = self.early();
        match early.as_mut() {
            Some(kept) if kept.len() < RING => {
                tracing::debug!(%event);
                kept.push_back(event);
            }
            Some(_) => {}
            None => self.tell(event),
        }
    }

    /// All events from now on; for the first listener also those of the start.
    pub(crate) fn listen(&self) -> EventStream {
        let mut early = self.early();
        EventStream::new(early.take().unwrap_or_default(), self.ring.listen(), None)
    }

    /// The events of one process from now on.
    pub(crate) fn listen_to(&self, id: ProcessId) -> EventStream {
        EventStream::new(VecDeque::new(), self.ring.listen(), Some(id))
    }
}

/// The events of a manager, or of one process: a [`Stream`] of [`Event`]s.
///
/// It ends when the manager has ended; that of a process also after its
/// [`Removed`](Event::Removed). A listener may be 1,024 events behind; past that the oldest are
/// dropped, and [`Event::Missed`] says how many (of all processes, also in the stream of one). Taking
/// an item is cancel safe.
#[must_use = "streams do nothing unless polled"]
pub struct EventStream {
    early: VecDeque<Event>,
    listener: Listener<Event>,
    process: Option<ProcessId>,
}

impl EventStream {
    fn new(early: VecDeque<Event>, listener: Listener<Event>, process: Option<ProcessId>) -> Self {
        Self {
            early,
            listener,
            process,
        }
    }

    /// That of a manager that has ended.
    pub(crate) fn ended() -> Self {
        Self {
            early: VecDeque::new(),
            listener: Listener::ended(),
            process: None,
        }
    }

    /// What a listener of this stream is to be told of `event`.
    fn concerns(&self, event: &Event) -> bool {
        match (self.process, event) {
            (None, _) | (_, Event::Missed(_)) => true,
            (Some(id), event) => event.process() == Some(id),
        }
    }
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(event) = self.early.pop_front() {
            return Poll::Ready(Some(event));
        }
        loop {
            let event = match std::task::ready!(self.listener.poll_next(cx)) {
                Some(Heard::Told(event)) => event,
                Some(Heard::Missed(count)) => Event::Missed(count),
                None => return Poll::Ready(None),
            };
            let last = self.process.is_some()
                && matches!(&event, Event::Removed { id, .. } if Some(*id) == self.process);
            if last {
                self.listener.end();
            }
            if self.concerns(&event) {
                return Poll::Ready(Some(event));
            }
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt as _, StreamExt as _};

    fn spawned() -> (ProcessId, Event) {
        let id = ProcessId::random();
        (id, Event::Spawned { id })
    }

    #[tokio::test]
    async fn what_came_before_anybody_listened_is_kept_for_the_first() {
        let events = Events::new();
        let guard = Event::GuardUnavailable {
            reason: "why".into(),
        };
        events.tell_early(guard.clone());
        let (_, first) = spawned();
        let mut one = events.listen();
        let mut other = events.listen();
        events.tell(first.clone());
        assert_eq!(one.next().await, Some(guard));
        assert_eq!(one.next().await, Some(first.clone()));
        assert_eq!(other.next().await, Some(first));
        assert_eq!(other.next().now_or_never(), None);
        drop(events);
        assert_eq!(one.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_how_many_it_missed() {
        let events = Events::new();
        let mut slow = events.listen();
        let all: Vec<_> = (0..RING + 5).map(|_| spawned().1).collect();
        for event in &all {
            events.tell(event.clone());
        }
        assert_eq!(slow.next().await, Some(Event::Missed(5)));
        assert_eq!(slow.next().await, Some(all[5].clone()));
    }

    #[tokio::test]
    async fn the_stream_of_a_process_has_its_events_and_ends_with_it() {
        let events = Events::new();
        let (id, event) = spawned();
        let mut own = events.listen_to(id);
        events.tell(spawned().1);
        events.tell(event.clone());
        let reason = RemovalReason::Requested;
        events.tell(Event::Removed { id, reason });
        events.tell(event.clone());
        assert_eq!(own.next().await, Some(event));
        assert_eq!(own.next().await, Some(Event::Removed { id, reason }));
        assert_eq!(own.next().await, None);
    }
}
