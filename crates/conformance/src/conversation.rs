//! What was said: keeps the parent's books, and notices whatever a child must not do.
//!
//! A [`Conversation`] is fed with the child's events by [`Conversation::wait_for`], which every check
//! waits with. Each frame is judged as it is taken, whichever check is running: a second end of a
//! request, an item after it, a frame without credit, an id that cannot be.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    process::Command,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use procession_wire::{
    Features, Frame, FrameError, Hello, SendCredit,
    credit::{MESSAGE_LANE, REQUEST_LANE, cost},
};

use crate::{
    Fault,
    subject::{Event, Exit, Start, Subject},
};

/// Credit enough for anything that a check does.
pub(crate) const PLENTY: u32 = 1 << 30;

/// How a request of ours ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Reply(Bytes),
    Failure(String),
}

/// A request of ours.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) items: Vec<Bytes>,
    pub(crate) end: Option<End>,
}

/// A request of the child's.
#[derive(Debug)]
pub(crate) struct ChildAsks {
    pub(crate) payload: Bytes,
    pub(crate) cancelled: bool,
    /// What we may send of items.
    pub(crate) credit: SendCredit,
    /// We have ended it.
    pub(crate) over: bool,
}

/// All that the child has said so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) hello: Option<Hello>,
    pub(crate) ready: Vec<String>,
    pub(crate) messages: VecDeque<Bytes>,
    pub(crate) asked: HashMap<u64, Asked>,
    pub(crate) child_asks: HashMap<u64, ChildAsks>,
    /// The ids of the child's requests, in order.
    pub(crate) child_ids: Vec<u64>,
    pub(crate) pongs: HashSet<u64>,
    /// All grants, by lane.
    pub(crate) granted: HashMap<u64, u64>,
    pub(crate) bye: Option<i32>,
    pub(crate) lost: Option<FrameError>,
    pub(crate) trailing: usize,
    /// The stream has ended.
    pub(crate) ended: Option<Result<(), FrameError>>,
}

impl Seen {
    pub(crate) fn end_of(&self, id: u64) -> Option<&End> {
        self.asked.get(&id)?.end.as_ref()
    }

    pub(crate) fn items_of(&self, id: u64) -> &[Bytes] {
        self.asked.get(&id).map_or(&[], |asked| &asked.items)
    }

    pub(crate) fn granted_on(&self, lane: u64) -> u64 {
        self.granted.get(&lane).copied().unwrap_or(0)
    }
}

/// The parent's side of one channel.
#[derive(Debug)]
pub(crate) struct Conversation {
    subject: Subject,
    limit: usize,
    deadline: Instant,
    pub(crate) seen: Seen,
    /// What the child may send, by lane.
    allowed: HashMap<u64, i64>,
    messages: SendCredit,
    requests: SendCredit,
    pinged: HashSet<u64>,
    next_id: u64,
}

impl Conversation {
    pub(crate) fn start(command: Command, start: &Start, deadline: Instant) -> Result<Self, Fault> {
        Ok(Self {
            subject: Subject::start(command, start)?,
            limit: start.limit,
            deadline,
            seen: Seen::default(),
            allowed: HashMap::new(),
            messages: SendCredit::new(),
            requests: SendCredit::new(),
            pinged: HashSet::new(),
            next_id: 1,
        })
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    pub(crate) fn subject_mut(&mut self) -> &mut Subject {
        &mut self.subject
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Allows at least so much from now on, for what has to take time.
    pub(crate) fn extend(&mut self, time: Duration) {
        self.deadline = self.deadline.max(Instant::now() + time);
    }

    // Waiting.

    /// Takes what comes until the condition holds. What was waited for is named in the fault.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        condition: impl Fn(&Seen) -> bool,
    ) -> Result<(), Fault> {
        while !condition(&self.seen) {
            self.step(what)?;
        }
        Ok(())
    }

    /// Takes whatever comes during this time.
    pub(crate) fn listen_for(&mut self, time: Duration) -> Result<(), Fault> {
        let until = self.deadline.min(Instant::now() + time);
        while let Some(event) = self.subject.next(until) {
            let end = matches!(event, Event::End(_));
            self.take(event)?;
            if end {
                break;
            }
        }
        Ok(())
    }

    /// Takes one event.
    fn step(&mut self, what: &str) -> Result<(), Fault> {
        if let Some(ended) = &self.seen.ended {
            let how = match (ended, self.seen.bye) {
                (Err(error), _) => format!(" ({error})"),
                (Ok(()), Some(status)) => format!(" after bye {status}"),
                (Ok(()), None) => String::new(),
            };
            return Err(Fault::failed(format!(
                "the child's output ended{how}, and there was no {what}"
            )));
        }
        match self.subject.next(self.deadline) {
            Some(event) => self.take(event),
            None => Err(Fault::failed(format!("there was no {what} in time"))),
        }
    }

    /// Waits for hello; nothing is sent before.
    pub(crate) fn hello(&mut self) -> Result<Hello, Fault> {
        self.wait_for("hello", |seen| seen.hello.is_some())?;
        Ok(self.seen.hello.expect("was waited for"))
    }

    /// Whether credit is in use.
    pub(crate) fn has_credit(&self) -> bool {
        let features = self.seen.hello.map(|hello| hello.features);
        features.is_some_and(|features| features.contains(Features::CREDIT))
    }

    /// A pong to a new ping: so all that was sent before has arrived, and what the child did at once
    /// about it has come back.
    pub(crate) fn settle(&mut self) -> Result<(), Fault> {
        let number = self.ping();
        self.wait_for("pong", |seen| seen.pongs.contains(&number))
    }

    /// Waits for the reply or failure to a request of ours.
    pub(crate) fn end_of(&mut self, id: u64) -> Result<End, Fault> {
        let what = format!("answer to request {id}");
        self.wait_for(&what, |seen| seen.end_of(id).is_some())?;
        Ok(self.seen.end_of(id).cloned().expect("was waited for"))
    }

    /// The reply to a request of ours; a failure is a fault.
    pub(crate) fn reply_to(&mut self, id: u64) -> Result<Bytes, Fault> {
        match self.end_of(id)? {
            End::Reply(payload) => Ok(payload),
            End::Failure(text) => Err(Fault::failed(format!(
                "request {id} failed instead of being answered: {text:?}"
            ))),
        }
    }

    /// The text of the failure to a request of ours; a reply is a fault.
    pub(crate) fn failure_of(&mut self, id: u64) -> Result<String, Fault> {
        match self.end_of(id)? {
            End::Failure(text) => Ok(text),
            End::Reply(payload) => Err(Fault::failed(format!(
                "request {id} was answered by \"{}\" instead of failing",
                shown(&payload)
            ))),
        }
    }

    /// The next message.
    pub(crate) fn message(&mut self) -> Result<Bytes, Fault> {
        self.wait_for("message", |seen| !seen.messages.is_empty())?;
        Ok(self.seen.messages.pop_front().expect("was waited for"))
    }

    /// Waits until the child has asked this many requests, and returns their ids in order.
    pub(crate) fn asked_by_child(&mut self, count: usize) -> Result<Vec<u64>, Fault> {
        let what = format!("request number {count} of the child");
        self.wait_for(&what, |seen| seen.child_ids.len() >= count)?;
        Ok(self.seen.child_ids.clone())
    }

    /// Waits for bye, the end of the output, and the exit.
    pub(crate) fn ends(&mut self, status: i32) -> Result<(), Fault> {
        self.wait_for("bye", |seen| seen.bye.is_some())?;
        self.wait_for("end of the output", |seen| seen.ended.is_some())?;
        if self.seen.bye != Some(status) {
            let bye = self.seen.bye.unwrap_or_default();
            return Err(Fault::failed(format!("bye says {bye}, and not {status}")));
        }
        match self.exits()? {
            Exit::Code(code) if code == status => Ok(()),
            other => Err(Fault::failed(format!(
                "it ended by {other:?}, and not as its bye said"
            ))),
        }
    }

    /// Waits for the exit, whatever comes before it.
    pub(crate) fn exits(&mut self) -> Result<Exit, Fault> {
        let exit = self.subject.exit(self.deadline);
        exit.ok_or_else(|| Fault::failed("the child did not exit in time"))
    }

    // Sending.

    pub(crate) fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame
            .encode(self.limit, &mut bytes)
            .expect("a check keeps to the limit");
        self.subject.write(bytes.to_vec());
    }

    pub(crate) fn grant(&mut self, lane: u64, bytes: u32) {
        *self.allowed.entry(lane).or_default() += i64::from(bytes);
        if self.has_credit() {
            self.send(&Frame::Credit { lane, bytes });
        }
    }

    pub(crate) fn ping(&mut self) -> u64 {
        let number = self.pinged.len() as u64 + 1;
        self.ping_with(number);
        number
    }

    pub(crate) fn ping_with(&mut self, number: u64) {
        self.pinged.insert(number);
        self.send(&Frame::Ping(number));
    }

    pub(crate) fn may_send_message(&self) -> bool {
        self.messages.may_send() || !self.has_credit()
    }

    pub(crate) fn may_ask(&self) -> bool {
        self.requests.may_send() || !self.has_credit()
    }

    /// What we may still send on the message lane.
    pub(crate) fn message_balance(&self) -> i64 {
        self.messages.balance()
    }

    /// Sends a message, when there is credit.
    pub(crate) fn send_message(&mut self, payload: impl Into<Bytes>) -> Result<(), Fault> {
        while !self.may_send_message() {
            self.step("credit for messages")?;
        }
        let payload = payload.into();
        self.messages.spend(payload.len());
        self.send(&Frame::Message(payload));
        Ok(())
    }

    /// Asks, when there is credit, with so much room for items. Returns the id.
    pub(crate) fn ask(&mut self, payload: impl Into<Bytes>, room: u32) -> Result<u64, Fault> {
        while self.seen.asked.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.ask_as(id, payload, room)?;
        Ok(id)
    }

    /// The same with an id of choice, which may be one that has ended.
    pub(crate) fn ask_as(
        &mut self,
        id: u64,
        payload: impl Into<Bytes>,
        room: u32,
    ) -> Result<(), Fault> {
        while !self.may_ask() {
            self.step("credit for requests")?;
        }
        let payload = payload.into();
        self.requests.spend(payload.len());
        self.seen.asked.insert(id, Asked::default());
        self.allowed.insert(id, 0);
        self.send(&Frame::Request { id, payload });
        if room > 0 {
            self.grant(id, room);
        }
        Ok(())
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        self.send(&Frame::Cancel { id });
    }

    /// Answers a request of the child's.
    pub(crate) fn reply(&mut self, id: u64, payload: impl Into<Bytes>) {
        self.close(id);
        let payload = payload.into();
        self.send(&Frame::Reply { id, payload });
    }

    pub(crate) fn fail(&mut self, id: u64, text: &str) {
        self.close(id);
        let text = text.to_owned();
        self.send(&Frame::Failure { id, text });
    }

    pub(crate) fn close(&mut self, id: u64) {
        if let Some(asks) = self.seen.child_asks.get_mut(&id) {
            asks.over = true;
        }
    }

    /// Sends an item to a request of the child's, when there is credit.
    pub(crate) fn item(&mut self, id: u64, payload: impl Into<Bytes>) -> Result<(), Fault> {
        let has_credit = self.has_credit();
        let may_send = |seen: &Seen| {
            let asks = seen.child_asks.get(&id);
            !has_credit || asks.is_some_and(|asks| asks.credit.may_send())
        };
        self.wait_for("credit for items", may_send)?;
        let payload = payload.into();
        if let Some(asks) = self.seen.child_asks.get_mut(&id) {
            asks.credit.spend(payload.len());
        }
        self.send(&Frame::Item { id, payload });
        Ok(())
    }

    // Judging.

    fn take(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Frame(frame) => self.judge(frame).map_err(Fault::failed),
            Event::Lost(error) => {
                self.seen.lost = Some(error.clone());
                Err(Fault::failed(format!("its output is no frames: {error}")))
            }
            Event::Trailing(bytes) => {
                self.seen.trailing += bytes;
                Ok(())
            }
            Event::End(end) => {
                self.seen.ended = Some(end.clone());
                match end {
                    Ok(()) | Err(FrameError::NoHello) => Ok(()),
                    Err(error) => Err(Fault::failed(format!("its output was cut off: {error}"))),
                }
            }
        }
    }

    fn judge(&mut self, frame: Frame) -> Result<(), String> {
        match frame {
            Frame::Hello(_) if self.seen.hello.is_some() => {
                return Err("it said hello twice".into());
            }
            Frame::Hello(hello) => self.seen.hello = Some(hello),
            Frame::Stop => return Err("it sent a stop, which only a parent sends".into()),
            Frame::Ready(status) => self.seen.ready.push(status),
            Frame::Message(payload) => {
                self.spend(MESSAGE_LANE, payload.len(), "a message")?;
                self.seen.messages.push_back(payload);
            }
            Frame::Request { id, payload } => self.judge_request(id, payload)?,
            Frame::Item { id, payload } => {
                self.open(id, "an item for")?;
                self.spend(id, payload.len(), "an item")?;
                if let Some(asked) = self.seen.asked.get_mut(&id) {
                    asked.items.push(payload);
                }
            }
            Frame::Reply { id, payload } => {
                self.open(id, "a reply to")?.end = Some(End::Reply(payload));
            }
            Frame::Failure { id, text } => {
                self.open(id, "a failure of")?.end = Some(End::Failure(text));
            }
            Frame::Cancel { id } => match self.seen.child_asks.get_mut(&id) {
                Some(asks) => asks.cancelled = true,
                None => return Err(format!("it cancelled request {id}, which it never asked")),
            },
            Frame::Credit { lane, bytes } => {
                *self.seen.granted.entry(lane).or_default() += u64::from(bytes);
                match lane {
                    MESSAGE_LANE => self.messages.grant(bytes),
                    REQUEST_LANE => self.requests.grant(bytes),
                    id => match self.seen.child_asks.get_mut(&id) {
                        Some(asks) => asks.credit.grant(bytes),
                        None => {
                            return Err(format!(
                                "it granted credit on lane {id}, and never asked request {id}"
                            ));
                        }
                    },
                }
            }
            Frame::Pong(number) => {
                if !self.pinged.contains(&number) {
                    return Err(format!("a pong of {number}, and there was no such ping"));
                }
                if !self.seen.pongs.insert(number) {
                    return Err(format!("two pongs of {number}"));
                }
            }
            Frame::Ping(number) => self.send(&Frame::Pong(number)),
            Frame::Bye { status } => self.seen.bye = Some(status),
            _ => {} // extensions
        }
        Ok(())
    }

    fn judge_request(&mut self, id: u64, payload: Bytes) -> Result<(), String> {
        if id == 0 || id == u64::MAX {
            return Err(format!(
                "it asked with the id {id}, which no request may have"
            ));
        }
        self.spend(REQUEST_LANE, payload.len(), "a request")?;
        let asks = ChildAsks {
            payload,
            cancelled: false,
            credit: SendCredit::new(),
            over: false,
        };
        match self.seen.child_asks.insert(id, asks) {
            Some(before) if !before.over => Err(format!(
                "it asked with the id {id} while its request {id} was open"
            )),
            _ => {
                self.seen.child_ids.push(id);
                Ok(())
            }
        }
    }

    /// The request of ours that a frame is about.
    fn open(&mut self, id: u64, what: &str) -> Result<&mut Asked, String> {
        match self.seen.asked.get_mut(&id) {
            None => Err(format!("{what} request {id}, which was never asked")),
            Some(Asked { end: Some(_), .. }) => {
                Err(format!("{what} request {id}, which had ended already"))
            }
            Some(asked) => Ok(asked),
        }
    }

    fn spend(&mut self, lane: u64, len: usize, what: &str) -> Result<(), String> {
        if !self.has_credit() {
            return Ok(());
        }
        let allowed = self.allowed.entry(lane).or_default();
        let before = *allowed;
        *allowed = allowed.saturating_sub_unsigned(cost(len));
        // Once its input has ended no credit can come, and the pipe alone holds messages back.
        let lifted = lane == MESSAGE_LANE && self.subject.input_is_closed();
        if before > 0 || lifted {
            return Ok(());
        }
        Err(format!(
            "{what} of {len} bytes came without credit: the balance was {before}"
        ))
    }
}

/// The beginning of a payload, for people.
pub(crate) fn shown(payload: &[u8]) -> String {
    let cut = payload.len().min(60);
    let more = if cut < payload.len() { "…" } else { "" };
    format!("{}{more}", payload[..cut].escape_ascii())
}
