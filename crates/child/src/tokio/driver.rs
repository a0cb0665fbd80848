//! [`Driver`]: the task that reads the input always, and writes what senders could not.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    net::unix::pipe::Receiver,
};

use super::{
    endpoint::{Endpoint, PAGE},
    lease::Alarm,
};
use crate::{
    core::{InputBuffer, Wakers},
    lease, lock,
};

#[derive(Debug)]
pub(super) struct Driver {
    endpoint: Arc<Endpoint>,
    receiver: Option<Receiver>,
    buffer: InputBuffer,
    alarm: Option<Alarm>,
}

impl Driver {
    pub(super) fn new(endpoint: Arc<Endpoint>, receiver: Option<Receiver>) -> Self {
        let lease = endpoint.setup.lease.filter(|_| receiver.is_some());
        Self {
            endpoint,
            receiver,
            buffer: InputBuffer::default(),
            alarm: lease.map(Alarm::new),
        }
    }

    /// Reads until the pipe is empty, too much is held, or it is someone else's turn.
    fn read(&mut self, cx: &mut Context<'_>) {
        while let Some(receiver) = &mut self.receiver {
            let mut inbox = lock(&self.endpoint.inbox);
            if inbox.session.has_ended() {
                self.receiver = None;
                return;
            }
            if inbox.session.is_full() {
                return;
            }
            if inbox.session.has_backlog() {
                inbox.session.decode(&mut self.buffer);
                self.endpoint.pass_on(inbox);
                continue;
            }
            let missing = inbox.session.missing(&self.buffer);
            drop(inbox);
            let mut room = ReadBuf::new(self.buffer.room(missing));
            let Poll::Ready(outcome) = Pin::new(receiver).poll_read(cx, &mut room) else {
                return;
            };
            let outcome = outcome.map(|()| room.filled().len());
            if let Some(alarm) = &mut self.alarm {
                alarm.renew();
            }
            let mut inbox = lock(&self.endpoint.inbox);
            inbox.session.arrive(&mut self.buffer, outcome);
            self.endpoint.pass_on(inbox);
        }
    }

    /// Has looked for what has arrived, and now for how long nothing has.
    fn watch(&mut self, cx: &mut Context<'_>) {
        let Some(alarm) = self.alarm.as_mut().filter(|_| self.receiver.is_some()) else {
            return;
        };
        if lock(&self.endpoint.inbox).session.is_full() {
            // Not looked at, so not silent.
            alarm.renew();
        }
        if alarm.poll(cx).is_ready() {
            self.receiver = None;
            let mut inbox = lock(&self.endpoint.inbox);
            inbox.session.expire();
            self.endpoint.pass_on(inbox);
        }
    }

    /// Writes control frames that are due and what is left over, until the pipe is full.
    fn write(&mut self, cx: &mut Context<'_>) {
        let Some(outbox) = &self.endpoint.outbox else {
            return;
        };
        loop {
            let mut outbox = lock(outbox);
            if outbox.has_room() && outbox.check().is_ok() {
                let mut inbox = lock(&self.endpoint.inbox);
                if inbox.session.has_control() {
                    outbox.place_frames(|out| inbox.session.take_control(PAGE, out));
                    outbox.want_all();
                }
            }
            let woken = outbox.write(Some(cx));
            let done = outbox.is_wanting() || !lock(&self.endpoint.inbox).session.has_control();
            let unwritable = outbox.check().is_err();
            drop(outbox);
            woken.wake();
            if done || unwritable {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        let no_output = self.endpoint.outbox.as_ref().is_none_or(|outbox| {
            let outbox = lock(outbox);
            outbox.check().is_err() && !outbox.is_wanting()
        });
        no_output && self.receiver.is_none()
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        *lock(&driver.endpoint.driver) = Some(cx.waker().clone());
        driver.read(cx);
        driver.watch(cx);
        driver.write(cx);
        if driver.is_over() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Driver {
    /// The runtime ends before the connection does, or the connection has ended.
    fn drop(&mut self) {
        if self.receiver.is_some() {
            self.endpoint.end_input();
        }
        if let Some(outbox) = &self.endpoint.outbox {
            let waiting = lock(outbox).set_undriven();
            waiting.wake();
        }
    }
}

impl Endpoint {
    /// Wakes those whom a read concerns, and calls back on a stop.
    fn pass_on(&self, mut inbox: std::sync::MutexGuard<'_, super::endpoint::Inbox>) {
        let stop = inbox.session.take_stop().then(|| self.stop.raise());
        let receivers = if inbox.session.has_next() {
            inbox.receivers.take()
        } else {
            Wakers::default()
        };
        let senders = if inbox.session.may_send() {
            inbox.senders.take()
        } else {
            Wakers::default()
        };
        let stopped = if stop.is_some() {
            inbox.stopped.take()
        } else {
            Wakers::default()
        };
        let events = inbox.session.take_events();
        let expired = inbox.session.take_expired();
        drop(inbox);
        receivers.wake();
        senders.wake();
        stopped.wake();
        if let Some(events) = events {
            events.deliver();
        }
        if let Some(lease) = self.setup.lease.filter(|_| expired) {
            lease::end_process_after(lease);
        }
        if let Some(stop) = stop {
            stop.call();
        }
    }
}
