//! [`Asking`]: what we have asked the parent.
//!
//! ```text
//!  try_ask(): credit  ──► request, credit for items ──► parent
//!  poll_step() ◄── items, end ◄── item, reply, failure ◄──┘
//!  give_up() ──► cancel
//! ```

use std::{
    collections::{HashMap, VecDeque},
    task::{Poll, Waker},
};

use procession_wire::{Message, SendCredit, credit::cost, request::Asked};

use super::{Wakers, control::Control};

/// What the parent may have on the way to us in items, for each request.
const ITEM_WINDOW: u32 = 256 * 1024;

/// Our requests.
#[derive(Debug)]
pub(crate) struct Asking {
    asked: Asked<()>,
    answers: HashMap<u64, Answer>,
    credit: SendCredit,
    /// Wait for credit, each in a place of its own: two of one task have the same waker, and one of
    /// them may go.
    askers: HashMap<u64, Waker>,
    last_place: u64,
    lost: bool,
}

/// What has come of a request and was not taken.
#[derive(Debug)]
struct Answer {
    items: VecDeque<Message>,
    keeps_items: bool,
    end: Option<Result<Message, Lost>>,
    waker: Option<Waker>,
}

/// Where one who waits for credit has left a waker, if it has. To be [left](Asking::leave).
#[derive(Debug, Default)]
pub(crate) struct Place(Option<u64>);

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The parent says so.
    Failed(String),
    /// The parent sent more items than it had credit for.
    TooManyItems,
    /// The input has ended.
    Gone,
}

/// What an asker is given next.
#[derive(Debug)]
pub(crate) enum Step {
    Item(Message),
    End(Result<Message, Lost>),
}

#[cfg(feature = "tokio")]
impl Place {
    pub(crate) fn is_taken(&self) -> bool {
        self.0.is_some()
    }
}

impl Asking {
    pub(super) fn new() -> Self {
        Self {
            asked: Asked::new(ITEM_WINDOW),
            answers: HashMap::new(),
            credit: SendCredit::new(),
            askers: HashMap::new(),
            last_place: 0,
            lost: false,
        }
    }

    /// Ready when [`try_ask`](Self::try_ask) has an outcome.
    pub(crate) fn poll_credit(&mut self, place: &mut Place, waker: &Waker) -> Poll<()> {
        if self.lost || self.credit.may_send() {
            self.leave(place);
            return Poll::Ready(());
        }
        let place = place.0.get_or_insert_with(|| {
            self.last_place += 1;
            self.last_place
        });
        self.askers.insert(*place, waker.clone());
        Poll::Pending
    }

    /// One who waited for credit does so no longer. Nobody else has to be told: credit wakes all.
    pub(crate) fn leave(&mut self, place: &mut Place) {
        if let Some(place) = place.0.take() {
            self.askers.remove(&place);
        }
    }

    /// A new request, which has to be sent at once: its id, and the credit for items that has to follow
    /// it. `None`: there is no credit for a request.
    pub(crate) fn try_ask(
        &mut self,
        payload_len: usize,
        keeps_items: bool,
    ) -> Option<Result<(u64, u32), Lost>> {
        if self.lost {
            return Some(Err(Lost::Gone));
        }
        if !self.credit.may_send() {
            return None;
        }
        self.credit.spend(payload_len);
        let (id, grant) = self.asked.ask(());
        let answer = Answer {
            items: VecDeque::new(),
            keeps_items,
            end: None,
            waker: None,
        };
        self.answers.insert(id, answer);
        Some(Ok((id, grant)))
    }

    /// The next item of a request, or its end, which is given once.
    pub(crate) fn poll_step(&mut self, id: u64, owed: &mut Control, waker: &Waker) -> Poll<Step> {
        let Some(answer) = self.answers.get_mut(&id) else {
            return Poll::Ready(Step::End(Err(Lost::Gone)));
        };
        if let Some(item) = answer.items.pop_front() {
            self.consumed(id, cost(item.len()), owed);
            return Poll::Ready(Step::Item(item));
        }
        if let Some(end) = answer.end.take() {
            self.answers.remove(&id);
            return Poll::Ready(Step::End(end));
        }
        answer.waker = Some(waker.clone());
        Poll::Pending
    }

    /// Nobody waits for the answer any more.
    pub(super) fn give_up(&mut self, id: u64, owed: &mut Control) {
        self.answers.remove(&id);
        owed.forget_items(id);
        if self.asked.cancel(id).is_some() {
            owed.cancel(id);
        }
    }

    pub(super) fn grant(&mut self, bytes: u32) -> Wakers {
        self.credit.grant(bytes);
        if self.credit.may_send() {
            self.take_askers()
        } else {
            Wakers::default()
        }
    }

    /// An item has come; gives whom to wake.
    pub(super) fn item(&mut self, id: u64, item: Message, owed: &mut Control) -> Option<Waker> {
        let len = item.len();
        let Ok(asker) = self.asked.item(id, len) else {
            // What is held for it would not be bounded any more.
            owed.cancel(id);
            return self.end(id, Err(Lost::TooManyItems), owed);
        };
        asker?;
        match self.answers.get_mut(&id) {
            Some(answer) if answer.keeps_items => {
                answer.items.push_back(item);
                answer.waker.take()
            }
            _ => {
                self.consumed(id, cost(len), owed);
                None
            }
        }
    }

    /// A reply or a failure has come; gives whom to wake.
    pub(super) fn end(
        &mut self,
        id: u64,
        end: Result<Message, Lost>,
        owed: &mut Control,
    ) -> Option<Waker> {
        self.asked.end(id)?;
        owed.forget_items(id);
        let answer = self.answers.get_mut(&id)?;
        answer.end = Some(end);
        answer.waker.take()
    }

    /// Nothing more will come; gives whom to wake.
    pub(super) fn lose_all(&mut self) -> Wakers {
        self.lost = true;
        self.asked.lose_all();
        let mut wakers = self.take_askers();
        for answer in self.answers.values_mut() {
            answer.end.get_or_insert(Err(Lost::Gone));
            wakers.push(answer.waker.take());
        }
        wakers
    }

    #[cfg(test)]
    pub(crate) fn waiting_askers(&self) -> usize {
        self.askers.len()
    }

    fn take_askers(&mut self) -> Wakers {
        let mut wakers = Wakers::default();
        for (_, waker) in self.askers.drain() {
            wakers.push(Some(waker));
        }
        wakers
    }

    fn consumed(&mut self, id: u64, cost: u64, owed: &mut Control) {
        if let Some(bytes) = self.asked.consumed(id, cost) {
            owed.grant_items(id, bytes);
        }
    }
}
