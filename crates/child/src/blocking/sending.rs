//! The sending side of [`Endpoint`]: messages, control frames, and the end of it all.

use std::{
    sync::{Mutex, TryLockError, atomic::Ordering},
    task::Poll,
    thread,
};

use procession_wire::{EncodeError, FrameHead, Framing, line::check_line};
use rustix::io::write;

use super::{
    endpoint::{Endpoint, Lane},
    output::Output,
};
use crate::{SendError, lock};

/// A pipe that polls writable takes this many bytes without waiting: a page (`man 7 pipe`).
const PAGE: usize = 4096;

impl Endpoint {
    pub(super) fn send(&self, payload: &[u8]) -> Result<(), SendError> {
        self.write_message(payload, Output::send)
    }

    pub(super) fn feed(&self, payload: &[u8]) -> Result<(), SendError> {
        self.write_message(payload, Output::feed)
    }

    /// Writes what was fed.
    pub(super) fn flush(&self) -> Result<(), SendError> {
        self.write(self.output()?, Output::flush)
    }

    pub(super) fn ready(&self, status: &str) -> Result<(), SendError> {
        let output = self.output()?;
        if self.setup.framing != Framing::Frames {
            return Ok(());
        }
        self.check_length(status.len())?;
        self.write(output, |output| {
            output.frame(FrameHead::Ready, status.as_bytes(), &[])
        })
    }

    /// A program that waits for an answer must have sent the question.
    pub(super) fn flush_before_waiting(&self) {
        if self.fed.load(Ordering::Acquire) && !lock(&self.inbox).session.has_next() {
            self.flush_fed();
        }
    }

    pub(super) fn flush_fed(&self) {
        if self.fed.load(Ordering::Acquire) {
            // A failure is reported by the next call that sends.
            let _ = self.flush();
        }
    }

    /// Writes control frames that are due, if that can be done without waiting; else has it done.
    ///
    /// Those who hold the output look for control frames once they have let go of it. The lock of
    /// the inbox orders the two: either they see what was put there, or we find the output free.
    pub(super) fn write_control(&self) {
        let Some(output) = &self.output else {
            return;
        };
        let mut frames = Vec::new();
        while lock(&self.inbox).session.has_control() {
            let mut output = match output.try_lock() {
                Ok(output) => output,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            loop {
                if !output.has_room() {
                    drop(output);
                    self.flush_control_elsewhere();
                    return;
                }
                frames.clear();
                lock(&self.inbox).session.take_control(PAGE, &mut frames);
                if frames.is_empty() {
                    break;
                }
                // A failure is reported by the next call that sends.
                let _ = output.write_ahead(&frames);
            }
        }
    }

    /// Flushes, says `bye`, and closes both ends. The second time, nothing happens.
    pub(super) fn close(&self, status: i32) -> Result<(), SendError> {
        let outcome = self.output.as_ref().map_or(Ok(()), |output| {
            let mut output = lock(output);
            let mut last = Vec::new();
            if self.setup.framing == Framing::Frames {
                lock(&self.inbox).session.farewell(status, &mut last);
            }
            self.fed.store(false, Ordering::Release);
            output.finish(&last)
        });
        let (reader, events) = {
            let mut inbox = lock(&self.inbox);
            inbox.session.close();
            inbox.watcher.unpark();
            (inbox.reader.take(), inbox.session.take_events())
        };
        drop(reader);
        self.received.notify_all();
        self.credited.notify_all();
        self.left.notify_all();
        if let Some(interrupt) = &self.interrupt {
            // Fails only if the counter is about to overflow, and then it is readable already.
            let _ = write(interrupt, &1u64.to_ne_bytes());
        }
        if let Some(events) = events {
            events.deliver();
        }
        self.stop.forget();
        outcome
    }

    fn write_message(
        &self,
        payload: &[u8],
        put: impl FnOnce(&mut Output, &[u8]) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let output = self.output()?;
        self.check(payload)?;
        self.spend(payload.len());
        self.write(output, |output| put(output, payload))
    }

    pub(super) fn write(
        &self,
        output: &Mutex<Output>,
        put: impl FnOnce(&mut Output) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let outcome = {
            let mut output = lock(output);
            let outcome = put(&mut output);
            self.fed.store(output.has_fed(), Ordering::Release);
            outcome
        };
        self.write_control();
        outcome
    }

    /// Spends credit for a message, and waits for it if there is none.
    fn spend(&self, len: usize) {
        if lock(&self.inbox).session.try_spend(len) {
            return;
        }
        // The parent cannot grant more before it has what was fed.
        self.flush_fed();
        self.wait_for(Lane::Sending, |session| {
            if session.try_spend(len) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
    }

    fn check(&self, payload: &[u8]) -> Result<(), SendError> {
        if self.setup.framing == Framing::Frames {
            self.check_length(payload.len())
        } else {
            Ok(check_line(payload, self.setup.limit)?)
        }
    }

    pub(super) fn check_length(&self, len: usize) -> Result<(), SendError> {
        let limit = self.setup.limit;
        if len > limit {
            return Err(EncodeError::TooLarge { len, limit }.into());
        }
        Ok(())
    }

    pub(super) fn output(&self) -> Result<&Mutex<Output>, SendError> {
        self.output.as_ref().ok_or(SendError::NotConfigured)
    }

    /// The pipe is full and nobody is writing: a thread waits for it in our place.
    fn flush_control_elsewhere(&self) {
        let mut inbox = lock(&self.inbox);
        if std::mem::replace(&mut inbox.flushing, true) {
            return;
        }
        drop(inbox);
        let spawned = self.me.upgrade().map(|endpoint| {
            thread::Builder::new()
                .name("procession-flush".into())
                .spawn(move || endpoint.flush_control())
        });
        if !matches!(spawned, Some(Ok(_))) {
            // No thread to be had: the next one who writes does it.
            lock(&self.inbox).flushing = false;
        }
    }

    fn flush_control(&self) {
        let Some(output) = &self.output else {
            return;
        };
        loop {
            let mut output = lock(output);
            let mut frames = Vec::new();
            let mut inbox = lock(&self.inbox);
            inbox.session.take_control(PAGE, &mut frames);
            if frames.is_empty() {
                inbox.flushing = false;
                break;
            }
            drop(inbox);
            let _ = output.write_ahead(&frames);
        }
        self.write_control();
    }
}
