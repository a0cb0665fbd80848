//! [`Endpoint`]: what all clones of a `Parent` share, and who reads its input.
//!
//! **The reading role.** Whoever waits for something that comes by the input reads the pipe itself:
//! a thread in `receive`, or one that sends and has no credit. So a message reaches the program with
//! no thread between, and a round trip costs one read and one write; a poll besides for all but
//! `receive`, so that `finish` on another thread ends the wait. The role is the [`ReadEnd`], taken out
//! of the inbox while it is used. Those who wait meanwhile sleep until the reader has something for
//! them or gives the role back.
//!
//! While the program is busy elsewhere, the *watcher*, a thread of this crate, takes the role, so
//! that stop, ping, credit and the end of input are seen at all times:
//!
//! ```text
//!                  a thread waits: takes the role
//!      ┌──────┐ ─────────────────────────────────► ┌─────────┐
//!      │ free │ ◄───────────────────────────────── │ program │
//!      └─┬──▲─┘   has what it waited for           └────┬────┘
//!        │  │                                           │ end of input
//!  away  │  │ a thread waits, or too much is held       ▼
//!  for a │  │     ┌─────────┐       end of input    ┌───────┐
//!  tick  └──┴───► │ watcher │ ────────────────────► │ ended │
//!                 └─────────┘                       └───────┘
//! ```
//!
//! The watcher itself ticks while the program comes and goes, and parks for good, with no wake-ups,
//! once the program has stayed in `receive` for a whole tick. A program that leaves `receive` wakes it
//! only if it is parked: at most one wake-up a tick, not one a message.
//!
//! **No reader waits for a writer.** The control frames that reading gives rise to are kept in the
//! session, which bounds them. The reader writes them only if nobody else is writing and the pipe has
//! room; else whoever is writing does it next, or else a thread made for it.
//!
//! Locks: `output` before `inbox`, and neither is held while something is waited for, but for
//! `output` during a write.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicBool},
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use procession_wire::{Framing, Message};
use rustix::event::{EventfdFlags, eventfd};

use super::{output::Output, read_end::ReadEnd, seat::Seat, watcher::Watcher};
use crate::{
    ConnectError, ReceiveError,
    core::Session,
    lease, lock,
    open::{End, Ends, Setup},
    signal::Signal,
};

/// For how long the program may be away before the watcher reads.
pub(super) const TICK: Duration = Duration::from_millis(8);

/// The watcher decodes and writes small frames: it needs little.
const WATCHER_STACK: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) setup: Setup,
    pub(super) has_input: bool,
    pub(super) stop: Signal,
    pub(super) me: Weak<Self>,
    pub(super) inbox: Mutex<Inbox>,
    /// For those who wait for a message.
    pub(super) received: Condvar,
    /// For those who wait for credit.
    pub(super) credited: Condvar,
    /// For the watcher.
    pub(super) left: Condvar,
    pub(super) output: Option<Mutex<Output>>,
    /// Whether the output holds fed messages.
    pub(super) fed: AtomicBool,
    /// Readable once the watcher is to end.
    pub(super) interrupt: Option<OwnedFd>,
    pub(super) tick: Duration,
}

#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) session: Session,
    /// The reading role, unless someone has it or the input has ended.
    pub(super) reader: Option<ReadEnd>,
    /// Threads that sleep until there is a message.
    receivers: usize,
    /// Threads that sleep until there is credit.
    pub(super) senders: usize,
    /// Threads that sleep until something comes for them alone.
    seats: Vec<Arc<Seat>>,
    /// Counts comings and goings of the program, for the watcher.
    pub(super) visits: u64,
    pub(super) watcher: Watcher,
    /// A thread that writes control frames is under way.
    pub(super) flushing: bool,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lane {
    Receiving,
    Sending,
}

/// How a thread that waits reads the pipe.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// At once: one system call a message. Only the pipe ends the wait. For `receive` alone.
    Deaf,
    /// So that the end of this connection can interrupt it.
    Interruptible,
    /// No longer than this, besides.
    Until(Instant),
}

impl Endpoint {
    /// Greets the parent and starts the watcher.
    pub(super) fn open(
        setup: Setup,
        ends: Ends,
        tick: Duration,
    ) -> Result<Arc<Self>, ConnectError> {
        let Ends { input, output } = ends;
        let has_input = input.is_some();
        let mut session = Session::new(setup.framing, setup.limit, has_input, output.is_some());
        let output = match output {
            Some(end) => Some(Mutex::new(greet(end, setup.framing, &mut session)?)),
            None => None,
        };
        let input_variable = input.as_ref().map(|end| end.variable);
        let interrupt = input_variable
            .map(|variable| {
                eventfd(0, EventfdFlags::CLOEXEC)
                    .map_err(|errno| ConnectError::io(variable, "make an event descriptor", errno))
            })
            .transpose()?;
        let endpoint = Arc::new_cyclic(|me| Self {
            has_input,
            stop: Signal::default(),
            me: me.clone(),
            inbox: Mutex::new(Inbox {
                session,
                reader: input.map(|end| ReadEnd::new(end.fd, setup.lease)),
                receivers: 0,
                senders: 0,
                seats: Vec::new(),
                visits: 0,
                watcher: Watcher::default(),
                flushing: false,
            }),
            received: Condvar::new(),
            credited: Condvar::new(),
            left: Condvar::new(),
            output,
            fed: AtomicBool::new(false),
            interrupt,
            tick,
            setup,
        });
        if let Some(variable) = input_variable {
            let watched = Arc::clone(&endpoint);
            thread::Builder::new()
                .name("procession-read".into())
                .stack_size(WATCHER_STACK)
                .spawn(move || watched.watch())
                .map_err(|error| ConnectError::io(variable, "start a thread to watch it", error))?;
        }
        Ok(endpoint)
    }

    /// The next message; `None` once there will be no more.
    pub(super) fn receive(&self) -> Option<Result<Message, ReceiveError>> {
        if !self.has_input {
            return Some(Err(ReceiveError::NotConfigured));
        }
        self.flush_before_waiting();
        self.wait_for(Lane::Receiving, Session::next)
    }

    pub(super) fn input_ended(&self) -> bool {
        self.has_input && lock(&self.inbox).session.has_ended()
    }

    /// Reads the input, or lets whoever does, until `check` is ready. It must be ready once the
    /// session has ended.
    pub(super) fn wait_for<T>(
        &self,
        lane: Lane,
        mut check: impl FnMut(&mut Session) -> Poll<T>,
    ) -> T {
        let mut inbox = lock(&self.inbox);
        inbox.visits += 1;
        loop {
            if let Poll::Ready(value) = check(&mut inbox.session) {
                self.leave(inbox);
                return value;
            }
            inbox = match inbox.take_reader() {
                Some(end) => self.read(inbox, end, lane.patience()),
                None => self.sleep(inbox, lane),
            };
        }
    }

    /// The same for what comes for this thread alone. `check` leaves its waker where it will be used.
    /// `None`: it is too late, whether or not it would be ready.
    pub(super) fn wait_alone<T>(
        &self,
        patience: Patience,
        mut check: impl FnMut(&mut Session, &Waker) -> Poll<T>,
    ) -> Option<T> {
        let seat = Arc::new(Seat::default());
        let waker = Waker::from(Arc::clone(&seat));
        let mut inbox = lock(&self.inbox);
        inbox.visits += 1;
        loop {
            if patience.is_over() {
                self.leave(inbox);
                return None;
            }
            if let Poll::Ready(value) = check(&mut inbox.session, &waker) {
                self.leave(inbox);
                return Some(value);
            }
            inbox = match inbox.take_reader() {
                Some(end) => self.read(inbox, end, patience),
                None => sit(inbox, &seat, patience),
            };
        }
    }

    /// Reads once, with the role in hand, and gives it back.
    fn read<'a>(
        &'a self,
        mut inbox: MutexGuard<'a, Inbox>,
        mut end: ReadEnd,
        patience: Patience,
    ) -> MutexGuard<'a, Inbox> {
        if inbox.session.has_backlog() {
            end.deliver_backlog(&mut inbox.session);
        } else {
            drop(inbox);
            let outcome = end.read(patience, self.interrupt.as_ref());
            inbox = lock(&self.inbox);
            end.deliver(outcome, &mut inbox.session);
        }
        inbox.give_back(end);
        self.told(inbox)
    }

    fn sleep<'a>(&'a self, mut inbox: MutexGuard<'a, Inbox>, lane: Lane) -> MutexGuard<'a, Inbox> {
        *inbox.sleepers(lane) += 1;
        let condvar = match lane {
            Lane::Receiving => &self.received,
            Lane::Sending => &self.credited,
        };
        inbox = condvar.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        *inbox.sleepers(lane) -= 1;
        inbox
    }

    /// Passes on what a read brought: wakes those whom it concerns, calls back on a stop, writes what
    /// is owed.
    pub(super) fn told<'a>(&'a self, mut inbox: MutexGuard<'a, Inbox>) -> MutexGuard<'a, Inbox> {
        let stop = inbox.session.take_stop().then(|| self.stop.raise());
        if inbox.receivers > 0 && inbox.session.has_next() {
            self.received.notify_one();
        }
        if inbox.senders > 0 && inbox.session.may_send() {
            self.credited.notify_one();
        }
        let events = inbox.session.take_events();
        let expired = inbox.session.take_expired();
        if stop.is_none() && events.is_none() && !expired && !inbox.session.has_control() {
            return inbox;
        }
        drop(inbox);
        if let Some(events) = events {
            events.deliver();
        }
        if let Some(stop) = stop {
            stop.call();
        }
        if let Some(lease) = self.setup.lease.filter(|_| expired) {
            lease::end_process_after(lease);
        }
        self.write_control();
        lock(&self.inbox)
    }

    /// Wakes those whom a change by the program concerns.
    pub(super) fn deliver_events(&self) {
        let events = lock(&self.inbox).session.take_events();
        if let Some(events) = events {
            events.deliver();
        }
    }

    /// A thread has what it waited for.
    fn leave(&self, mut inbox: MutexGuard<'_, Inbox>) {
        inbox.visits += 1;
        self.pass_on(&mut inbox);
        if inbox.session.has_control() {
            drop(inbox);
            self.write_control();
        }
    }

    /// If the role is free, someone else who waits is woken to take it; if nobody waits, it is the
    /// watcher's from now on.
    pub(super) fn pass_on(&self, inbox: &mut Inbox) {
        let free = inbox.reader.is_some();
        if inbox.receivers > 0 {
            if free || inbox.session.has_next() {
                self.received.notify_one();
            }
        } else if inbox.senders > 0 {
            if free {
                self.credited.notify_one();
            }
        } else if let Some(seat) = inbox.seats.first() {
            if free {
                seat.notify();
            }
        } else if free && inbox.watcher.unpark() {
            self.left.notify_one();
        }
        if inbox.senders > 0 && inbox.session.may_send() {
            self.credited.notify_one();
        }
    }
}

impl Inbox {
    /// Takes the role, if it is free and there is room for what is read. Where there is none, a
    /// thread that takes messages has the others woken.
    pub(super) fn take_reader(&mut self) -> Option<ReadEnd> {
        let full = self.session.is_full();
        self.reader.take_if(|_| !full)
    }

    /// Puts the role back where the next one takes it, and closes the input if it has ended.
    pub(super) fn give_back(&mut self, end: ReadEnd) {
        if !self.session.has_ended() {
            self.reader = Some(end);
        }
    }

    /// Whether a thread of the program sleeps until something comes by the input.
    pub(super) fn is_awaited(&self) -> bool {
        self.receivers + self.senders + self.seats.len() > 0
    }

    fn sleepers(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Receiving => &mut self.receivers,
            Lane::Sending => &mut self.senders,
        }
    }
}

impl Lane {
    fn patience(self) -> Patience {
        match self {
            Self::Receiving => Patience::Deaf,
            Self::Sending => Patience::Interruptible,
        }
    }
}

impl Patience {
    /// How long it lasts from now on; `None` for ever.
    pub(super) fn left(self) -> Option<Duration> {
        match self {
            Self::Deaf | Self::Interruptible => None,
            Self::Until(end) => Some(end.saturating_duration_since(Instant::now())),
        }
    }

    fn is_over(self) -> bool {
        self.left() == Some(Duration::ZERO)
    }
}

fn sit<'a>(
    mut inbox: MutexGuard<'a, Inbox>,
    seat: &Arc<Seat>,
    patience: Patience,
) -> MutexGuard<'a, Inbox> {
    inbox.seats.push(Arc::clone(seat));
    inbox = seat.sleep(inbox, patience);
    inbox.seats.retain(|other| !Arc::ptr_eq(other, seat));
    inbox
}

fn greet(end: End, framing: Framing, session: &mut Session) -> Result<Output, ConnectError> {
    let mut opening = Vec::new();
    session.opening(std::process::id(), &mut opening);
    let mut output = Output::new(end.fd, framing);
    if opening.is_empty() {
        return Ok(output);
    }
    match output.write_ahead(&opening) {
        Ok(()) => Ok(output),
        Err(error) => {
            let error = error.into_io();
            Err(ConnectError::io(end.variable, "greet the parent", error))
        }
    }
}
