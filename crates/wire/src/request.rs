//! Requests: what one side has asked, and what it has been asked.
//!
//! ```text
//!  asker                                              answerer
//!  Asked { id → T, window of items }                  Accepted { id → T, credit for items }
//!     │ ask() ───── request(id), credit(id, n) ──────► accept()
//!     │ item()  ◄──────────── item(id) ─────────────── spend_item()
//!     │ consumed() ────────── credit(id, n) ─────────► grant()
//!     │ cancel() ──────────── cancel(id) ────────────► cancel()
//!     │ end()   ◄──────── reply(id), failure(id) ───── end()
//!     ▼                                                │ grant_due()
//!              ◄──────── credit(request lane, n) ──────┘
//! ```
//!
//! Each side of a channel has one of both. `T` is what the side keeps for a request: whoever waits
//! for the answer, or whatever works on it. Nothing here waits; the driver sends the frames.
//!
//! A request is *open* for its asker until its end has come or it was cancelled, and for its answerer
//! until it has been ended. What the answerer holds of requests is bounded by its window of the
//! request lane, since only the end of a request gives its cost back.

use std::collections::HashMap;

use crate::credit::{self, CreditExceeded, REQUEST_LANE, ReceiveWindow, SendCredit};

/// Whether a request can have this id: 0 and 2⁶⁴−1 are lanes of their own.
pub fn is_request_id(id: u64) -> bool {
    id != credit::MESSAGE_LANE && id != REQUEST_LANE
}

/// The requests that one side has asked and that have not ended.
///
/// ```
/// use procession_wire::request::Asked;
///
/// let mut asked = Asked::new(1024);
/// let (id, grant) = asked.ask("who waits");
/// assert_eq!((id, grant), (1, 1024)); // request 1, and credit for 1 KiB of its items
/// assert_eq!(asked.end(id), Some("who waits")); // the reply has come
/// assert_eq!(asked.end(id), None); // a second one concerns nobody
/// ```
#[derive(Debug)]
pub struct Asked<T> {
    last: u64,
    window: u64,
    open: HashMap<u64, Question<T>>,
}

#[derive(Debug)]
struct Question<T> {
    items: ReceiveWindow,
    asker: T,
}

impl<T> Asked<T> {
    /// None yet. Of each request, items worth `window` bytes may be on their way at most.
    pub fn new(window: u32) -> Self {
        Self {
            last: 0,
            window: u64::from(window),
            open: HashMap::new(),
        }
    }

    /// A new request: its id, and the first credit for its items, which has to follow it.
    pub fn ask(&mut self, asker: T) -> (u64, u32) {
        loop {
            self.last = self.last.wrapping_add(1);
            if is_request_id(self.last) && !self.open.contains_key(&self.last) {
                break;
            }
        }
        let mut items = ReceiveWindow::new(self.window);
        let grant = items.grant_due().unwrap_or(0);
        self.open.insert(self.last, Question { items, asker });
        (self.last, grant)
    }

    /// An item has come; gives whom it is for. `None`: nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`CreditExceeded`]: the other side had no credit for it. It is accounted for all the same.
    pub fn item(&mut self, id: u64, payload_len: usize) -> Result<Option<&mut T>, CreditExceeded> {
        let Some(question) = self.open.get_mut(&id) else {
            return Ok(None);
        };
        question.items.received(payload_len)?;
        Ok(Some(&mut question.asker))
    }

    /// Items of this [`cost`](credit::cost) have been read. The credit to grant on the lane `id` now,
    /// if any.
    pub fn consumed(&mut self, id: u64, cost: u64) -> Option<u32> {
        let question = self.open.get_mut(&id)?;
        question.items.consumed(cost);
        question.items.grant_due()
    }

    /// A reply or a failure has come; gives whom it is for. `None`: nobody waits for it.
    pub fn end(&mut self, id: u64) -> Option<T> {
        self.open.remove(&id).map(|question| question.asker)
    }

    /// Nobody waits for it any more. If it was open, and the request was sent, a cancel has to be.
    pub fn cancel(&mut self, id: u64) -> Option<T> {
        self.end(id)
    }

    /// No end will come for any of them; gives those who wait.
    pub fn lose_all(&mut self) -> Vec<T> {
        let open = std::mem::take(&mut self.open);
        open.into_values().map(|question| question.asker).collect()
    }

    /// Whether this request is open.
    pub fn is_open(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// Why a request is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The asker had no credit for it. It has to be failed, and is not open.
    CreditExceeded(CreditExceeded),
    /// Its id is that of an open request, or none that a request can have. It has to be ignored.
    BadId,
}

/// What became of an item that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemCredit {
    /// It may be sent, and has been accounted for.
    Spent,
    /// The asker has granted nothing: wait for a [`grant`](Accepted::grant).
    Wait,
    /// The request was cancelled or has ended: no items may be sent any more.
    Closed,
}

/// The requests that one side has been asked and has not ended yet.
///
/// ```
/// use procession_wire::request::{Accepted, ItemCredit};
///
/// let mut accepted = Accepted::new(1024);
/// assert_eq!(accepted.grant_due(), Some(1024)); // the request lane
/// accepted.accept(7, 3, "who works on it").unwrap();
/// assert_eq!(accepted.spend_item(7, 10), ItemCredit::Wait);
/// accepted.grant(7, 100);
/// assert_eq!(accepted.spend_item(7, 10), ItemCredit::Spent);
/// assert_eq!(accepted.end(7), Some("who works on it")); // now the reply is sent
/// assert_eq!(accepted.end(7), None); // and no second one
/// ```
#[derive(Debug)]
pub struct Accepted<T> {
    lane: ReceiveWindow,
    open: HashMap<u64, Work<T>>,
}

#[derive(Debug)]
struct Work<T> {
    cost: u64,
    items: SendCredit,
    cancelled: bool,
    answerer: T,
}

impl<T> Accepted<T> {
    /// None yet. Requests worth `window` bytes may be on their way or open at most.
    pub fn new(window: u64) -> Self {
        Self {
            lane: ReceiveWindow::new(window),
            open: HashMap::new(),
        }
    }

    /// The credit to grant on the request lane now, if any. See [`ReceiveWindow::grant_due`].
    pub fn grant_due(&mut self) -> Option<u32> {
        self.lane.grant_due()
    }

    /// A request has come.
    ///
    /// # Errors
    ///
    /// [`Refused`]: it is not open.
    pub fn accept(&mut self, id: u64, payload_len: usize, answerer: T) -> Result<(), Refused> {
        let cost = credit::cost(payload_len);
        let within = self.lane.received(payload_len);
        if !is_request_id(id) || self.open.contains_key(&id) {
            self.lane.consumed(cost);
            return Err(Refused::BadId);
        }
        if let Err(exceeded) = within {
            self.lane.consumed(cost);
            return Err(Refused::CreditExceeded(exceeded));
        }
        let work = Work {
            cost,
            items: SendCredit::new(),
            cancelled: false,
            answerer,
        };
        self.open.insert(id, work);
        Ok(())
    }

    /// Credit for its items has come; gives who works on it.
    pub fn grant(&mut self, id: u64, bytes: u32) -> Option<&mut T> {
        let work = self.open.get_mut(&id)?;
        work.items.grant(bytes);
        Some(&mut work.answerer)
    }

    /// A cancel has come; gives who works on it, the first time. It stays open until it is ended.
    pub fn cancel(&mut self, id: u64) -> Option<&mut T> {
        let work = self.open.get_mut(&id)?;
        let first = !std::mem::replace(&mut work.cancelled, true);
        first.then_some(&mut work.answerer)
    }

    /// Accounts for an item of the request, if it may be sent.
    pub fn spend_item(&mut self, id: u64, payload_len: usize) -> ItemCredit {
        let credit = self.item_credit(id);
        if let (ItemCredit::Spent, Some(work)) = (credit, self.open.get_mut(&id)) {
            work.items.spend(payload_len);
        }
        credit
    }

    /// What [`spend_item`](Self::spend_item) would come to, with nothing spent.
    pub fn item_credit(&self, id: u64) -> ItemCredit {
        match self.open.get(&id) {
            Some(work) if !work.cancelled && work.items.may_send() => ItemCredit::Spent,
            Some(work) if !work.cancelled => ItemCredit::Wait,
            _ => ItemCredit::Closed,
        }
    }

    /// Who works on it, if it is open.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        self.open.get_mut(&id).map(|work| &mut work.answerer)
    }

    /// All who work on open requests.
    pub fn answerers_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.open.values_mut().map(|work| &mut work.answerer)
    }

    /// It has been answered: gives who worked on it, once, and then a reply or a failure has to be
    /// sent. Its cost is free again: see [`grant_due`](Self::grant_due).
    pub fn end(&mut self, id: u64) -> Option<T> {
        let work = self.open.remove(&id)?;
        self.lane.consumed(work.cost);
        Some(work.answerer)
    }

    /// Who works on it, while it is open.
    pub fn get(&self, id: u64) -> Option<&T> {
        self.open.get(&id).map(|work| &work.answerer)
    }

    /// Whether the asker no longer wants the answer, or it has had it.
    pub fn is_cancelled(&self, id: u64) -> bool {
        self.open.get(&id).is_none_or(|work| work.cancelled)
    }

    /// Nobody waits for an answer any more: all of them are cancelled. Gives who works on them.
    pub fn cancel_all(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.open.iter_mut().map(|(id, work)| {
            work.cancelled = true;
            (*id, &mut work.answerer)
        })
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_fresh_and_pass_over_those_that_lanes_have() {
        let mut asked = Asked::new(1);
        asked.last = u64::MAX - 2;
        let (last, _) = asked.ask(());
        assert_eq!(last, u64::MAX - 1);
        assert_eq!(asked.ask(()).0, 1, "2⁶⁴−1 and 0 are other lanes");
        asked.last = u64::MAX - 2;
        assert_eq!(asked.ask(()).0, 2, "the last and the first are open");
        asked.end(last);
        asked.last = u64::MAX - 2;
        assert_eq!(asked.ask(()).0, last);
    }

    #[test]
    fn each_end_and_each_cancel_counts_once() {
        let mut asked = Asked::new(1);
        let (first, _) = asked.ask('a');
        let (second, _) = asked.ask('b');
        assert_eq!(asked.end(second), Some('b'));
        assert_eq!(asked.end(second), None);
        assert_eq!(asked.cancel(first), Some('a'));
        assert_eq!(asked.end(first), None, "nobody waits for it");
        assert_eq!(asked.item(first, 1), Ok(None));
        assert!(asked.is_empty());
    }

    #[test]
    fn items_come_as_far_as_they_were_granted() {
        let mut asked = Asked::new(200);
        let (id, grant) = asked.ask(());
        assert_eq!(grant, 200);
        assert!(asked.item(id, 136).is_ok());
        assert!(asked.item(id, 136).is_err(), "the balance is 0");
        assert_eq!(asked.consumed(id, 200), Some(200));
        assert_eq!(asked.consumed(id, 200), Some(200));
        assert!(asked.item(id, 1000).is_ok(), "one may overshoot");
        assert_eq!(asked.consumed(77, 200), None);
        assert_eq!(asked.lose_all().len(), 1);
        assert_eq!(
            asked.consumed(id, 1064),
            None,
            "no credit for what has ended"
        );
    }

    #[test]
    fn only_the_end_of_a_request_gives_its_cost_back() {
        let mut accepted = Accepted::new(1000);
        assert_eq!(accepted.grant_due(), Some(1000));
        accepted.accept(1, 436, 'a').unwrap();
        accepted.accept(2, 436, 'b').unwrap();
        assert_eq!(accepted.grant_due(), None);
        let refused = accepted.accept(3, 1, 'c').unwrap_err();
        assert!(matches!(refused, Refused::CreditExceeded(_)));
        assert_eq!(accepted.len(), 2);
        accepted.cancel(1);
        assert_eq!(accepted.grant_due(), None, "it is still worked on");
        assert_eq!(accepted.end(1), Some('a'));
        assert_eq!(accepted.end(1), None);
        assert_eq!(
            accepted.grant_due(),
            Some(565),
            "what the refused one took besides"
        );
    }

    #[test]
    fn bad_ids_are_ignored_and_cost_nothing_for_long() {
        let mut accepted = Accepted::new(1000);
        accepted.grant_due();
        accepted.accept(5, 0, ()).unwrap();
        for id in [0, u64::MAX, 5] {
            assert_eq!(accepted.accept(id, 236, ()), Err(Refused::BadId));
        }
        assert_eq!(accepted.len(), 1);
        assert_eq!(accepted.grant_due(), Some(900));
    }

    #[test]
    fn a_cancelled_request_sends_no_items_and_is_told_once() {
        let mut accepted = Accepted::new(1000);
        accepted.grant_due();
        accepted.accept(1, 0, 'a').unwrap();
        assert!(accepted.grant(1, 1000).is_some());
        assert_eq!(accepted.item_credit(1), ItemCredit::Spent);
        assert_eq!(accepted.spend_item(1, 0), ItemCredit::Spent);
        assert!(!accepted.is_cancelled(1));
        assert_eq!(accepted.get_mut(1), Some(&mut 'a'));
        assert_eq!(accepted.answerers_mut().count(), 1);
        assert_eq!(accepted.cancel(1), Some(&mut 'a'));
        assert_eq!(accepted.cancel(1), None);
        assert!(accepted.is_cancelled(1));
        assert_eq!(accepted.spend_item(1, 0), ItemCredit::Closed);
        assert_eq!(accepted.spend_item(2, 0), ItemCredit::Closed);
        assert_eq!(accepted.end(1), Some('a'));
        assert!(accepted.grant(1, 1).is_none(), "late credit is ignored");
        accepted.accept(1, 0, 'b').unwrap();
        assert_eq!(
            accepted.spend_item(1, 0),
            ItemCredit::Wait,
            "a lane starts at zero"
        );
        assert_eq!(accepted.cancel_all().count(), 1);
        assert!(accepted.is_cancelled(1));
    }
}
