//! Whether the child has started, is ready, and goes on living.
//!
//! ```text
//!  reader ──► signs (hello, ready, message, lost, missed pings) ─┐
//!  log follower ──► a line that matches ─────────────────────────┼──► Input, status, event
//!  notification socket ──► READY, STATUS, WATCHDOG ──────────────┘
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use procession_wire::Framing;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::super::notify::{NotifySocket, Told};
use super::super::{EXIT_AFTER_BROKEN_PIPE, Process, StartState};
use super::tasks::Tasks;
use crate::clock;
use crate::events::Event;
use crate::lifecycle::Input;
use crate::logs::{FollowFrom, LogFollower, LogLine};
use crate::manager::context::Context;
use crate::messaging::conversation::Conversation;
use crate::messaging::outbox::Outbox;
use crate::messaging::pings::{self, SharedPings};
use crate::messaging::reader::MAX_STATUS;
use crate::messaging::signs::{Seen, Signs};
use crate::model::{Liveness, Messaging, Readiness};

/// Notifications that may wait for the task.
const TOLD: usize = 16;
/// Pings to a lease, at least.
const PINGS_A_LEASE: u32 = 4;

/// What was asked for of the start.
#[derive(Debug)]
pub(crate) struct Startup {
    pub(crate) readiness: Option<Readiness>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) socket: Option<NotifySocket>,
}

/// What it has to show.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Awaits {
    /// Nothing: it is ready when it runs.
    Nothing,
    /// A hello; ready it is with its `ready` frame, whenever that comes.
    Hello,
    Shown(Readiness),
}

#[derive(Debug)]
pub(super) struct Start {
    awaits: Awaits,
    deadline: Option<Duration>,
    signs: Signs,
    /// There where something is watched for that tells of it this way.
    told: Option<mpsc::Receiver<Told>>,
    tasks: Tasks<()>,
    /// Begun with the hello.
    pinging: Option<Box<Pinging>>,
    liveness: Option<Liveness>,
    /// How often it is sent a ping.
    every: Option<Duration>,
    /// Its output has ended before it had started, for this reason; it has until then to exit.
    ending: Option<Box<Ending>>,
    /// Its silence has been told.
    silent: bool,
}

/// The pings that are to be sent.
#[derive(Debug)]
struct Pinging {
    every: Duration,
    outbox: Arc<Outbox>,
    pings: SharedPings,
}

/// Its output has ended before it had started.
#[derive(Debug)]
struct Ending {
    reason: Arc<str>,
    timer: Pin<Box<Sleep>>,
}

/// What happened.
#[derive(Debug)]
pub(super) enum News {
    Seen,
    /// It has ended its output too early, and has not exited.
    Ended(Arc<str>),
    Told(Told),
}

impl Start {
    pub(super) fn new(startup: &Startup, messaging: Option<&Messaging>, signs: &Signs) -> Self {
        let hello = messaging.is_some_and(|messaging| {
            messaging.chosen_framing() == Framing::Frames && messaging.output().is_some()
        });
        let awaits = match &startup.readiness {
            Some(readiness) => Awaits::Shown(readiness.clone()),
            None if hello => Awaits::Hello,
            None => Awaits::Nothing,
        };
        Self {
            awaits,
            deadline: startup.deadline,
            signs: signs.clone(),
            told: None,
            tasks: Tasks::default(),
            pinging: None,
            liveness: messaging.and_then(Messaging::liveness_check),
            every: None,
            ending: None,
            silent: false,
        }
    }

    /// How long it may take; none where it has nothing to show.
    pub(super) fn time(&self) -> Option<Duration> {
        let waits = self.awaits != Awaits::Nothing;
        waits.then(|| self.deadline.unwrap_or(Duration::MAX))
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.awaits == Awaits::Nothing
    }

    /// Ready with what happened.
    pub(super) fn poll_next(&mut self, cx: &mut task::Context<'_>) -> Poll<News> {
        if self.signs.poll_changed(cx).is_ready() {
            return Poll::Ready(News::Seen);
        }
        if let Some(told) = &mut self.told
            && let Poll::Ready(Some(told)) = told.poll_recv(cx)
        {
            return Poll::Ready(News::Told(told));
        }
        if let Poll::Ready(reason) = poll_ended(&mut self.ending, cx) {
            self.ending = None;
            return Poll::Ready(News::Ended(reason));
        }
        Poll::Pending
    }

    /// Watches for what it is to show.
    pub(super) fn watch(&mut self, socket: Option<NotifySocket>, follower: Option<LogFollower>) {
        if let Awaits::Shown(Readiness::Notify { watchdog }) = self.awaits
            && let Some(socket) = socket
        {
            let tell = self.be_told();
            self.tasks.spawn(async move {
                if let Err(error) = socket.run(watchdog, tell).await {
                    tracing::warn!(%error, "a notification socket has failed");
                }
            });
        } else if let (Awaits::Shown(readiness), Some(follower)) = (&self.awaits, follower) {
            let readiness = readiness.clone();
            let tell = self.be_told();
            self.tasks.spawn(async move {
                if let Some(line) = first_match(&readiness, follower).await {
                    let _ = tell.send(Told::Ready(Some(line))).await;
                }
            });
        }
    }

    fn be_told(&mut self) -> mpsc::Sender<Told> {
        let (tell, told) = mpsc::channel(TOLD);
        self.told = Some(told);
        tell
    }

    /// Sends pings from its hello on, as often as the liveness check and the lease want it; nothing where they
    /// want none.
    pub(super) fn send_pings(
        &mut self,
        messaging: &Messaging,
        conversation: &Conversation,
    ) -> Option<SharedPings> {
        let lease = messaging.lease_time().map(|lease| lease / PINGS_A_LEASE);
        let check = self.liveness.map(|liveness| liveness.interval());
        let every = [lease, check].into_iter().flatten().min()?;
        self.every = Some(every);
        let pings = SharedPings::default();
        self.pinging = Some(Box::new(Pinging {
            every,
            outbox: Arc::clone(conversation.outbox()),
            pings: Arc::clone(&pings),
        }));
        Some(pings)
    }

    fn greeted(&mut self) {
        let Some(pinging) = self.pinging.take() else {
            return;
        };
        let signs = self.signs.clone();
        self.tasks.spawn(async move {
            let tell = |missed| signs.tell(|seen| seen.missed = missed);
            pings::run(pinging.pings, pinging.outbox, pinging.every, tell).await;
        });
    }

    /// Pings are sent more often than the check needs where the lease is short.
    fn misses(&self) -> Option<u32> {
        let (liveness, every) = (self.liveness?, self.every?);
        let time = liveness.interval().as_nanos() * u128::from(liveness.allowed_misses());
        u32::try_from(time.div_ceil(every.as_nanos().max(1))).ok()
    }

    /// It has exited: nothing more is watched.
    pub(super) fn end(&mut self) {
        self.tasks.abort_all();
    }

    /// What comes of what happened.
    pub(super) fn take(&mut self, news: News, process: &Process, context: &Context) -> Vec<Input> {
        match news {
            News::Seen => self.seen(process, context),
            News::Ended(reason) => {
                fail(process, &reason);
                vec![Input::StartBroken]
            }
            News::Told(told) => Self::heard(told, process, context).into_iter().collect(),
        }
    }

    fn seen(&mut self, process: &Process, context: &Context) -> Vec<Input> {
        let seen = self.signs.seen();
        if seen.hello {
            self.greeted();
        }
        let mut inputs = Vec::new();
        let text = seen.ready.as_deref();
        match &self.awaits {
            Awaits::Hello if seen.hello => {
                inputs.push(Input::Begun);
                if let Some(text) = text {
                    become_ready(process, context, Some(text));
                }
            }
            Awaits::Shown(Readiness::Frame) if text.is_some() => {
                become_ready(process, context, text);
                inputs.push(Input::Begun);
            }
            Awaits::Shown(Readiness::FirstMessage) if seen.message => {
                become_ready(process, context, text);
                inputs.push(Input::Begun);
            }
            _ => {
                if let Some(text) = text {
                    change_status(process, context, text);
                }
            }
        }
        if let (Some(reason), true) = (&seen.lost, inputs.is_empty())
            && !self.has_begun(&seen, process)
        {
            if seen.at_end {
                self.ending.get_or_insert_with(|| {
                    Box::new(Ending {
                        reason: Arc::clone(reason),
                        timer: Box::pin(sleep(EXIT_AFTER_BROKEN_PIPE)),
                    })
                });
            } else {
                fail(process, reason);
                inputs.push(Input::StartBroken);
            }
        }
        // What writes nothing that is believed is of no use to whoever keeps it up.
        let begun = self.has_begun(&seen, process);
        if begun && seen.lost.is_some() && !seen.at_end && process.is_supervised() {
            inputs.push(Input::Unresponsive);
        }
        inputs.extend(self.heeds(&seen, process, context));
        inputs
    }

    fn has_begun(&self, seen: &Seen, process: &Process) -> bool {
        match self.awaits {
            Awaits::Nothing => true,
            Awaits::Hello => seen.hello,
            Awaits::Shown(_) => process.start_state() == StartState::Ready,
        }
    }

    /// Whether it has been silent for too long.
    fn heeds(&mut self, seen: &Seen, process: &Process, context: &Context) -> Option<Input> {
        let liveness = self.liveness?;
        let silent = seen.missed >= self.misses()?;
        let before = std::mem::replace(&mut self.silent, silent);
        if !silent || before {
            return None;
        }
        let id = process.id();
        context.events.tell(Event::Unresponsive { id });
        liveness.stops().then_some(Input::Unresponsive)
    }

    fn heard(told: Told, process: &Process, context: &Context) -> Option<Input> {
        match told {
            Told::Ready(text) => {
                become_ready(process, context, text.as_deref());
                Some(Input::Begun)
            }
            Told::Status(text) => {
                change_status(process, context, &text);
                None
            }
            Told::Extend(time) => Some(Input::StartBy(clock::after(clock::now(), time))),
            Told::Late => {
                let id = process.id();
                context.events.tell(Event::Unresponsive { id });
                Some(Input::Unresponsive)
            }
        }
    }

    /// Why it counts as not started, once its time is up.
    pub(super) fn overdue(&self) -> String {
        let within = self.deadline.unwrap_or_default();
        match &self.awaits {
            Awaits::Shown(readiness) => format!("there was not {readiness} within {within:?}"),
            _ => format!("there was no hello within {within:?}: does the program speak frames?"),
        }
    }
}

/// Ready when its time to exit is over.
fn poll_ended(ending: &mut Option<Box<Ending>>, cx: &mut task::Context<'_>) -> Poll<Arc<str>> {
    let Some(ending) = ending else {
        return Poll::Pending;
    };
    let over = ending.timer.as_mut().poll(cx);
    over.map(|()| Arc::clone(&ending.reason))
}

/// The first line that shows that it is ready.
async fn first_match(readiness: &Readiness, mut follower: LogFollower) -> Option<String> {
    let matches: Box<dyn Fn(&LogLine) -> bool + Send> = match readiness {
        Readiness::LogLine { containing, .. } => {
            let finder = memchr::memmem::Finder::new(containing.as_bytes()).into_owned();
            Box::new(move |line| finder.find(line.bytes()).is_some())
        }
        #[cfg(feature = "regex")]
        Readiness::LogMatch { expression, .. } => {
            let expression = regex::bytes::Regex::new(expression).ok()?;
            Box::new(move |line| expression.is_match(line.bytes()))
        }
        _ => return None,
    };
    while let Some(line) = follower.next().await {
        if let Some(line) = line.ok().filter(|line| matches(line)) {
            return Some(line.text().into_owned());
        }
    }
    None
}

/// The log that shows it, from its first line on.
pub(super) fn follower(
    process: &Process,
    context: &Context,
    readiness: &Readiness,
) -> Option<LogFollower> {
    let stream = readiness.log()?;
    process
        .follow_logs(stream, FollowFrom::Beginning, &context.log_readers)
        .ok()
}

pub(super) fn become_ready(process: &Process, context: &Context, text: Option<&str>) {
    if process.start_state() != StartState::Pending {
        if let Some(text) = text {
            change_status(process, context, text);
        }
        return;
    }
    let text = text.map(fitting);
    let status = text.unwrap_or_default();
    process.publish(|published| {
        published.start = StartState::Ready;
        published.text = text.map(Into::into);
    });
    context.events.tell(Event::Ready {
        id: process.id(),
        status: status.to_owned(),
    });
}

/// The part of a status text that is kept: a log line or a notification may be longer.
fn fitting(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_STATUS)]
}

fn change_status(process: &Process, context: &Context, text: &str) {
    let text = fitting(text);
    if process.status_text().as_deref() == Some(text) {
        return;
    }
    process.publish(|published| published.text = Some(text.into()));
    context.events.tell(Event::StatusChanged {
        id: process.id(),
        status: text.to_owned(),
    });
}

pub(super) fn fail(process: &Process, reason: &str) {
    process.publish(|published| {
        if published.start == StartState::Pending {
            published.start = StartState::Failed(reason.into());
        }
    });
}
