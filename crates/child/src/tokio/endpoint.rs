//! [`Endpoint`]: what all clones of an async `Parent` share.
//!
//! ```text
//!  receive ◄── Inbox: Session ◄── driver ◄── input pipe
//!     send ──► Outbox ─────┬──── driver ──► output pipe
//!                          └──── or the sending task itself, when there is room
//! ```
//!
//! Locks: `outbox` before `inbox`; none is held while a task waits or is woken.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use procession_wire::{
    EncodeError, FrameHead, Framing, Message, env::MESSAGE_OUTPUT, line::check_line,
};

use super::{driver::Driver, open, outbox::Outbox};
use crate::{
    ConnectError, ReceiveError, SendError,
    core::{Session, Wakers},
    lock,
    open::{Ends, Setup},
    signal::Signal,
};

/// Control frames are taken in pieces of up to this many bytes.
pub(super) const PAGE: usize = 4096;

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) setup: Setup,
    pub(super) has_input: bool,
    pub(super) stop: Signal,
    pub(super) inbox: Mutex<Inbox>,
    pub(super) outbox: Option<Mutex<Outbox>>,
    pub(super) driver: Mutex<Option<Waker>>,
}

#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) session: Session,
    pub(super) receivers: Wakers,
    pub(super) senders: Wakers,
    pub(super) stopped: Wakers,
}

/// Whether a message is to be written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Send,
    Feed,
}

impl Endpoint {
    /// Greets the parent and spawns the driver.
    pub(super) async fn open(setup: Setup, ends: Ends) -> Result<Arc<Self>, ConnectError> {
        let Ends { input, output } = ends;
        let has_input = input.is_some();
        let mut session = Session::new(setup.framing, setup.limit, has_input, output.is_some());
        let receiver = input.map(open::receiver).transpose()?;
        let variable = output.as_ref().map_or(MESSAGE_OUTPUT, |end| end.variable);
        let writer = output.map(open::writer).transpose()?;
        let outbox = writer.map(|writer| {
            let mut outbox = Outbox::new(writer, setup.framing);
            outbox.place_frames(|out| session.opening(std::process::id(), out));
            outbox.want_all();
            Mutex::new(outbox)
        });
        let endpoint = Arc::new(Self {
            setup,
            has_input,
            stop: Signal::default(),
            inbox: Mutex::new(Inbox {
                session,
                receivers: Wakers::default(),
                senders: Wakers::default(),
                stopped: Wakers::default(),
            }),
            outbox,
            driver: Mutex::new(None),
        });
        tokio::spawn(Driver::new(Arc::clone(&endpoint), receiver));
        if let Ok(greeted) = endpoint.flush() {
            poll_fn(|cx| endpoint.poll_written(cx, greeted))
                .await
                .map_err(|error| ConnectError::io(variable, "greet the parent", error.into_io()))?;
        }
        Ok(endpoint)
    }

    pub(super) fn poll_receive(
        &self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Message, ReceiveError>>> {
        if !self.has_input {
            return Poll::Ready(Some(Err(ReceiveError::NotConfigured)));
        }
        let mut inbox = lock(&self.inbox);
        let was_full = inbox.session.is_full();
        let next = inbox.session.next();
        if next.is_pending() {
            inbox.receivers.register(cx.waker());
            drop(inbox);
            // A program that waits for an answer must have sent the question.
            self.start_flush();
        } else {
            let resume = was_full && !inbox.session.is_full();
            let owes = inbox.session.has_control();
            drop(inbox);
            if resume || owes {
                self.wake_driver();
            }
        }
        next
    }

    /// Gives the message its place; ready with where it ends. Pending: there is no room or no credit.
    pub(super) fn poll_place(
        &self,
        cx: &Context<'_>,
        payload: &Bytes,
        urgency: Urgency,
    ) -> Poll<Result<u64, SendError>> {
        let outbox = self.outbox()?;
        {
            let mut outbox = lock(outbox);
            outbox.check()?;
            if !outbox.has_room() {
                outbox.waiting.register(cx.waker());
                outbox.want_all();
                drop(outbox);
                self.wake_driver();
                return Poll::Pending;
            }
        }
        {
            let mut inbox = lock(&self.inbox);
            if !inbox.session.try_spend(payload.len()) {
                inbox.senders.register(cx.waker());
                drop(inbox);
                // The parent cannot grant more before it has what was fed.
                self.start_flush();
                return Poll::Pending;
            }
        }
        let mut outbox = lock(outbox);
        outbox.check()?;
        outbox.place_message(payload.clone());
        let position = outbox.position();
        if urgency == Urgency::Send || outbox.is_full() {
            outbox.want_all();
        }
        self.write(outbox);
        Poll::Ready(Ok(position))
    }

    pub(super) fn poll_written(
        &self,
        cx: &Context<'_>,
        position: u64,
    ) -> Poll<Result<(), SendError>> {
        lock(self.outbox()?).poll_written(cx, position)
    }

    /// Has all that is placed written; returns where it ends.
    pub(super) fn flush(&self) -> Result<u64, SendError> {
        let mut outbox = lock(self.outbox()?);
        outbox.check()?;
        outbox.want_all();
        let position = outbox.position();
        self.write(outbox);
        Ok(position)
    }

    /// Places `ready`; returns where it ends, or nothing over lines.
    pub(super) fn ready(&self, status: &str) -> Result<Option<u64>, SendError> {
        let outbox = self.outbox()?;
        if self.setup.framing != Framing::Frames {
            return Ok(None);
        }
        self.check_length(status.len())?;
        let mut outbox = lock(outbox);
        outbox.check()?;
        outbox.place_frames(|out| {
            out.extend_from_slice(&FrameHead::Ready.prefix(status.len()));
            out.extend_from_slice(status.as_bytes());
        });
        outbox.want_all();
        let position = outbox.position();
        self.write(outbox);
        Ok(Some(position))
    }

    /// Places the last frames; returns where they end.
    pub(super) fn say_bye(&self, status: i32) -> Option<u64> {
        let mut outbox = lock(self.outbox.as_ref()?);
        if outbox.set_finishing() && self.setup.framing == Framing::Frames {
            outbox.place_frames(|out| lock(&self.inbox).session.farewell(status, out));
        }
        outbox.want_all();
        let position = outbox.position();
        self.write(outbox);
        self.deliver_events();
        Some(position)
    }

    /// Flushes, says `bye` and closes both ends, with this thread. The second time, nothing happens.
    pub(super) fn close(&self, status: i32) -> Result<(), SendError> {
        self.say_bye(status);
        let mut outcome = Ok(());
        if let Some(outbox) = &self.outbox {
            let mut outbox = lock(outbox);
            let (finished, writer) = outbox.finish();
            let waiting = outbox.waiting.take();
            drop(outbox);
            waiting.wake();
            outcome = finished;
            if let Some(writer) = writer {
                drop(writer.sender);
                if let Some(relay) = writer.relay {
                    // It copies what is left and ends. It does not panic.
                    let _ = relay.join();
                }
            }
        }
        self.end_input();
        self.wake_driver();
        self.stop.forget();
        outcome
    }

    /// Nothing is received any more.
    pub(super) fn end_input(&self) {
        let (receivers, senders) = {
            let mut inbox = lock(&self.inbox);
            inbox.session.close();
            (inbox.receivers.take(), inbox.senders.take())
        };
        receivers.wake();
        senders.wake();
        self.deliver_events();
    }

    /// Wakes those whom a change by the program concerns, and has written what is owed since.
    pub(super) fn deliver_events(&self) {
        let (events, owes) = {
            let mut inbox = lock(&self.inbox);
            (inbox.session.take_events(), inbox.session.has_control())
        };
        if let Some(events) = events {
            events.deliver();
        }
        if owes {
            self.write_control();
        }
    }

    /// Writes control frames that are due, as far as there is room, and leaves the rest to the driver.
    fn write_control(&self) {
        let Some(outbox) = &self.outbox else {
            return;
        };
        let mut outbox = lock(outbox);
        if outbox.has_room() && outbox.check().is_ok() {
            outbox.place_frames(|out| lock(&self.inbox).session.take_control(PAGE, out));
            outbox.want_all();
        }
        self.write(outbox);
        if lock(&self.inbox).session.has_control() {
            self.wake_driver();
        }
    }

    pub(super) fn poll_stopped(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inbox = lock(&self.inbox);
        if self.stop.is_raised() {
            return Poll::Ready(());
        }
        inbox.stopped.register(cx.waker());
        Poll::Pending
    }

    /// Whether the end takes a thread to wait for.
    pub(super) fn is_relayed(&self) -> bool {
        let outbox = self.outbox.as_ref();
        outbox.is_some_and(|outbox| lock(outbox).is_relayed())
    }

    pub(super) fn input_ended(&self) -> bool {
        self.has_input && lock(&self.inbox).session.has_ended()
    }

    pub(super) fn check(&self, payload: &[u8]) -> Result<(), SendError> {
        self.outbox()?;
        if self.setup.framing == Framing::Frames {
            self.check_length(payload.len())
        } else {
            Ok(check_line(payload, self.setup.limit)?)
        }
    }

    pub(super) fn wake_driver(&self) {
        let waker = lock(&self.driver).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn check_length(&self, len: usize) -> Result<(), SendError> {
        let limit = self.setup.limit;
        if len > limit {
            return Err(EncodeError::TooLarge { len, limit }.into());
        }
        Ok(())
    }

    pub(super) fn outbox(&self) -> Result<&Mutex<Outbox>, SendError> {
        self.outbox.as_ref().ok_or(SendError::NotConfigured)
    }

    pub(super) fn start_flush(&self) {
        if let Some(outbox) = &self.outbox {
            let mut outbox = lock(outbox);
            outbox.want_all();
            if outbox.is_wanting() {
                self.write(outbox);
            }
        }
    }

    /// Writes what is wanted as far as there is room, and leaves the rest to the driver.
    pub(super) fn write(&self, mut outbox: MutexGuard<'_, Outbox>) {
        let woken = outbox.write(None);
        let left = outbox.is_wanting();
        drop(outbox);
        woken.wake();
        if left {
            self.wake_driver();
        }
    }
}
