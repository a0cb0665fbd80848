//! [`Session`]: the state of one child's channel.
//!
//! ```text
//!            stop frame                     last message taken
//!  ┌──────┐ ───────────► ┌──────────┐ ─────────────────────────┐
//!  │ open │              │ stopping │                          ▼
//!  └──┬───┘              └────┬─────┘                    next(): End
//!     │ end of input, lost framing, read error, close()        ▲
//!     └──────────────► ┌───────┐ ──────────────────────────────┘
//!                      │ ended │   last message or error taken
//!                      └───────┘
//! ```
//!
//! What arrived before the stop, or before the end, is still delivered. While stopping, credit and
//! pings are served as before, answers still come, messages that come nevertheless are dropped, and
//! new requests are refused.

use std::{collections::VecDeque, io, task::Poll};

use bytes::BufMut;
use procession_wire::{
    Features, FrameDecoder, FrameHead, Framing, Hello, LineDecoder, LineStep, LineTooLong, Message,
    ParsedFrame, ReceiveWindow, SendCredit,
    credit::{MESSAGE_LANE, REQUEST_LANE, cost},
};

use super::{
    Events, InputBuffer, Requests,
    control::{Control, Due},
};
use crate::ReceiveError;

/// What the parent may have on the way to us in messages: payload bytes plus 64 a message.
const MESSAGE_WINDOW: u64 = 4 * 1024 * 1024;

/// Where there is no credit, no more is decoded while this much is held, counted in the same way.
const HELD: u64 = 1024 * 1024;

/// Decoding, credit and owed control frames of one channel. Does no input or output.
#[derive(Debug)]
pub(crate) struct Session {
    decoder: Decoder,
    limit: usize,
    /// Present where there are frames both ways.
    credit: Option<Credit>,
    /// The same.
    requests: Option<Requests>,
    /// Whether there are frames out, so that control frames can be answered.
    answers: bool,
    arrived: VecDeque<Result<Message, ReceiveError>>,
    held: u64,
    /// No more is decoded while this much is held.
    most_held: u64,
    control: Control,
    state: State,
    untold: Untold,
    /// The buffer may hold more messages, which were not decoded because enough is held.
    backlog: bool,
}

/// What has happened and was not passed on.
#[derive(Debug, Default)]
struct Untold {
    /// A stop, for [`take_stop`](Session::take_stop).
    stop: bool,
    /// The parent was taken for gone, for [`take_expired`](Session::take_expired).
    expired: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Stopping,
    Ended,
}

#[derive(Debug)]
enum Decoder {
    Frames(FrameDecoder),
    Lines(LineDecoder),
}

#[derive(Debug)]
struct Credit {
    send: SendCredit,
    messages: ReceiveWindow,
}

impl Session {
    pub(crate) fn new(framing: Framing, limit: usize, has_input: bool, has_output: bool) -> Self {
        let frames = framing == Framing::Frames;
        let has_credit = frames && has_input && has_output;
        Self {
            decoder: if frames {
                Decoder::Frames(FrameDecoder::new(limit))
            } else {
                Decoder::Lines(LineDecoder::new(limit))
            },
            limit,
            credit: has_credit.then(|| Credit {
                send: SendCredit::new(),
                messages: ReceiveWindow::new(MESSAGE_WINDOW),
            }),
            requests: has_credit.then(Requests::new),
            answers: frames && has_output,
            arrived: VecDeque::new(),
            held: 0,
            most_held: if has_credit {
                MESSAGE_WINDOW + cost(limit)
            } else {
                HELD
            },
            control: Control::default(),
            state: if has_input { State::Open } else { State::Ended },
            untold: Untold::default(),
            backlog: false,
        }
    }

    /// The first bytes that this child writes: hello and the first credit. Nothing over lines.
    pub(crate) fn opening(&mut self, pid: u32, out: &mut impl BufMut) {
        if !self.answers {
            return;
        }
        let features = if self.credit.is_some() {
            Features::CREDIT
        } else {
            Features::NONE
        };
        out.put_slice(&FrameHead::Hello(Hello::new(features, pid)).prefix(0));
        self.note_due_credit();
        self.take_control(usize::MAX, out);
    }

    /// How many bytes the frame at hand still misses, as far as is known; at least 1.
    pub(crate) fn missing(&self, input: &InputBuffer) -> usize {
        match &self.decoder {
            Decoder::Frames(decoder) => decoder.needed(input.received()),
            Decoder::Lines(_) => 1,
        }
    }

    /// What a read of the input came to: the number of bytes read, 0 at the end of input.
    pub(crate) fn arrive(&mut self, input: &mut InputBuffer, outcome: io::Result<usize>) {
        match outcome {
            _ if self.has_ended() => {}
            Ok(0) => self.end(input),
            Ok(len) => {
                input.fill(len);
                self.decode(input);
            }
            Err(error) => self.fail(ReceiveError::Io(error)),
        }
    }

    /// Decodes what was left undecoded because too much was held.
    pub(crate) fn decode(&mut self, input: &mut InputBuffer) {
        while !self.has_ended() && !self.is_full() {
            let progressed = match &mut self.decoder {
                Decoder::Frames(decoder) => match decoder.parse(input.received()) {
                    Ok(Some(frame)) => {
                        self.frame(frame, input);
                        true
                    }
                    Ok(None) => false,
                    Err(error) => {
                        self.fail(ReceiveError::Frame(error));
                        false
                    }
                },
                Decoder::Lines(decoder) => {
                    let step = decoder.parse(input.received());
                    self.line(step, input)
                }
            };
            if !progressed {
                self.backlog = false;
                return;
            }
        }
        self.backlog = !self.has_ended();
    }

    /// The next message. `Ready(None)`: there will be no more. `Pending`: the input must be read.
    #[inline]
    pub(crate) fn next(&mut self) -> Poll<Option<Result<Message, ReceiveError>>> {
        match self.arrived.pop_front() {
            Some(Ok(message)) => {
                self.consumed(cost(message.len()));
                Poll::Ready(Some(Ok(message)))
            }
            Some(Err(error)) => {
                self.held = self.held.saturating_sub(cost(0));
                Poll::Ready(Some(Err(error)))
            }
            None if self.state == State::Open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    /// Spends credit for one message, if there is any or none is needed. After the end of input no
    /// credit can come any more, and the pipe alone holds us back.
    #[inline]
    pub(crate) fn try_spend(&mut self, payload_len: usize) -> bool {
        if !self.may_send() {
            return false;
        }
        if let Some(credit) = &mut self.credit {
            credit.send.spend(payload_len);
        }
        true
    }

    pub(crate) fn may_send(&self) -> bool {
        self.has_ended()
            || self
                .credit
                .as_ref()
                .is_none_or(|credit| credit.send.may_send())
    }

    /// The requests of both sides; `None` where there are not frames both ways.
    pub(crate) fn requests(&mut self) -> Option<&mut Requests> {
        self.requests.as_mut()
    }

    /// Whom the latest changes concern, if anybody.
    pub(crate) fn take_events(&mut self) -> Option<Events> {
        let requests = self.requests.as_mut()?;
        requests.has_events().then(|| requests.take_events())
    }

    /// Writes control frames that are due, as many as fit into `most` bytes.
    pub(crate) fn take_control(&mut self, most: usize, out: &mut impl BufMut) {
        let mut written = 0;
        while Due::fits(written, most) {
            let Some(due) = self.next_due() else {
                return;
            };
            written += due.encode(self.limit, out);
        }
    }

    fn next_due(&mut self) -> Option<Due> {
        let due = self.control.next();
        due.or_else(|| self.requests.as_mut()?.next_due())
    }

    /// The last frames: all that is owed, and an end for each open request. From now on none is
    /// accepted, and none can be answered.
    pub(crate) fn farewell(&mut self, status: i32, out: &mut impl BufMut) {
        if !self.answers {
            return;
        }
        if let Some(requests) = &mut self.requests {
            requests.close();
        }
        self.take_control(usize::MAX, out);
        out.put_slice(&FrameHead::Bye { status }.prefix(0));
    }

    /// The program gave up the channel: nothing is received or owed any more.
    pub(crate) fn close(&mut self) {
        self.state = State::Ended;
        self.backlog = false;
        self.arrived.clear();
        self.control.clear();
        if let Some(requests) = &mut self.requests {
            requests.close();
            requests.owed.clear();
        }
    }

    /// Nothing has come for so long that the parent is taken for gone.
    pub(crate) fn expire(&mut self) {
        if !self.has_ended() {
            self.untold.expired = true;
            self.untold.stop |= self.state == State::Open;
            self.backlog = false;
            self.end_state();
        }
    }

    /// True once, after [`expire`](Self::expire).
    pub(crate) fn take_expired(&mut self) -> bool {
        std::mem::take(&mut self.untold.expired)
    }

    pub(crate) fn has_control(&self) -> bool {
        let requests = self.requests.as_ref();
        !self.control.is_empty() || requests.is_some_and(|requests| !requests.owed.is_empty())
    }

    /// Whether a receiver need not wait.
    pub(crate) fn has_next(&self) -> bool {
        !self.arrived.is_empty() || self.state != State::Open
    }

    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether so much is held that reading must wait for the program. Never so with a parent that
    /// keeps to its credit: the window and one message are not that much.
    pub(crate) fn is_full(&self) -> bool {
        self.held >= self.most_held
    }

    /// True once, after the stop frame came.
    pub(crate) fn take_stop(&mut self) -> bool {
        std::mem::take(&mut self.untold.stop)
    }

    fn frame(&mut self, frame: ParsedFrame, input: &mut InputBuffer) {
        let len = frame.payload.len();
        match frame.head {
            FrameHead::Message if self.state == State::Open => {
                let message = Message::from_bytes(input.take(frame.payload, frame.end));
                if let Some(credit) = &mut self.credit {
                    // More than was granted is held and accounted for like the rest, while there is
                    // room.
                    let _ = credit.messages.received(len);
                }
                self.arrived.push_back(Ok(message));
                self.held += cost(len);
                return;
            }
            FrameHead::Request { .. }
            | FrameHead::Reply { .. }
            | FrameHead::Failure { .. }
            | FrameHead::Item { .. }
            | FrameHead::Cancel { .. }
                if self.requests.is_some() =>
            {
                let payload = Message::from_bytes(input.take(frame.payload, frame.end));
                if let Some(requests) = &mut self.requests {
                    requests.frame(frame.head, payload);
                }
                return;
            }
            FrameHead::Credit { lane, bytes } => self.granted(lane, bytes),
            FrameHead::Ping(number) if self.answers => self.control.pong(number),
            FrameHead::Stop => {
                self.untold.stop |= self.state == State::Open;
                self.state = State::Stopping;
                if let Some(requests) = &mut self.requests {
                    requests.stop();
                }
            }
            // What cannot concern us, and extensions.
            _ => {}
        }
        input.skip(frame.end);
    }

    fn granted(&mut self, lane: u64, bytes: u32) {
        match (lane, &mut self.credit, &mut self.requests) {
            (MESSAGE_LANE, Some(credit), _) => credit.send.grant(bytes),
            (REQUEST_LANE, _, Some(requests)) => requests.grant(bytes),
            (id, _, Some(requests)) => requests.grant_items(id, bytes),
            _ => {}
        }
    }

    /// Whether there may be more lines in the buffer.
    fn line(&mut self, step: LineStep, input: &mut InputBuffer) -> bool {
        match step {
            LineStep::Line { payload, end } => {
                self.held += cost(payload.len());
                let message = Message::from_bytes(input.take(payload, end));
                self.arrived.push_back(Ok(message));
            }
            LineStep::TooLong { end } => {
                input.skip(end);
                self.held += cost(0);
                let error = LineTooLong { limit: self.limit };
                self.arrived
                    .push_back(Err(ReceiveError::LineTooLong(error)));
            }
            LineStep::Skip { end } => input.skip(end),
            LineStep::NeedMore => return false,
        }
        true
    }

    fn consumed(&mut self, cost: u64) {
        self.held -= cost;
        if let Some(credit) = &mut self.credit {
            credit.messages.consumed(cost);
            self.note_due_credit();
        }
    }

    fn note_due_credit(&mut self) {
        if self.has_ended() {
            return;
        }
        if let Some(credit) = &mut self.credit
            && let Some(bytes) = credit.messages.grant_due()
        {
            self.control.grant_messages(bytes);
        }
        if let Some(requests) = &mut self.requests {
            requests.note_due_credit();
        }
    }

    fn end_state(&mut self) {
        self.state = State::Ended;
        if let Some(requests) = &mut self.requests {
            requests.end_input();
        }
    }

    fn end(&mut self, input: &mut InputBuffer) {
        match &mut self.decoder {
            Decoder::Frames(decoder) => {
                if let Err(error) = decoder.finish(input.received()) {
                    self.fail(ReceiveError::Frame(error));
                }
            }
            Decoder::Lines(decoder) => {
                if let Some(line) = decoder.finish(&mut input.take_rest()) {
                    self.held += cost(line.len());
                    self.arrived.push_back(Ok(Message::from_bytes(line)));
                }
            }
        }
        self.end_state();
    }

    fn fail(&mut self, error: ReceiveError) {
        // Who was told to stop has been told the end.
        if self.state != State::Stopping {
            self.held += cost(0);
            self.arrived.push_back(Err(error));
        }
        self.end_state();
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
pub(super) mod tests;
