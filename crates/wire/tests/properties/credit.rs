//! Credit: a receiver that consumes never leaves its sender waiting, and holds its window and one
//! message at most.

use std::collections::VecDeque;

use procession_wire::{ReceiveWindow, SendCredit, credit::cost};
use proptest::{collection::vec, prelude::*};

/// Something that happens at one end of a lane, or on the way between the two.
#[derive(Clone, Debug)]
enum Event {
    /// The sender sends a message of this length, if it may.
    Send(usize),
    /// The oldest message on the way arrives.
    Arrive,
    /// The receiver consumes the oldest message that it holds.
    Consume,
    /// The receiver grants, if something is due.
    Grant,
    /// The oldest grant on the way arrives.
    Granted,
    /// The receiver changes its mind.
    Window(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => prop_oneof![0..10_usize, 0..2000_usize].prop_map(Event::Send),
        6 => Just(Event::Arrive),
        5 => Just(Event::Consume),
        5 => Just(Event::Grant),
        5 => Just(Event::Granted),
        1 => (1..4000_u64).prop_map(Event::Window),
    ]
}

/// One lane with both of its ends and both directions in between.
struct Lane {
    sender: SendCredit,
    receiver: ReceiveWindow,
    /// The largest window the receiver has had: what has been granted is not taken back.
    window: u64,
    messages: VecDeque<usize>,
    held: VecDeque<usize>,
    grants: VecDeque<u32>,
    largest: u64,
}

impl Lane {
    fn new(window: u64) -> Self {
        Self {
            sender: SendCredit::new(),
            receiver: ReceiveWindow::new(window),
            window,
            messages: VecDeque::new(),
            held: VecDeque::new(),
            grants: VecDeque::new(),
            largest: 0,
        }
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Send(len) if self.sender.may_send() => {
                self.sender.spend(len);
                self.messages.push_back(len);
                self.largest = self.largest.max(cost(len));
            }
            Event::Send(_) => {}
            Event::Arrive => {
                if let Some(len) = self.messages.pop_front() {
                    assert_eq!(
                        self.receiver.received(len),
                        Ok(()),
                        "a sender that keeps the rule"
                    );
                    self.held.push_back(len);
                }
            }
            Event::Consume => {
                if let Some(len) = self.held.pop_front() {
                    self.receiver.consumed(cost(len));
                }
            }
            Event::Grant => self.grants.extend(self.receiver.grant_due()),
            Event::Granted => {
                if let Some(bytes) = self.grants.pop_front() {
                    self.sender.grant(bytes);
                }
            }
            Event::Window(window) => {
                self.receiver.set_window(window);
                self.window = self.window.max(window);
            }
        }
        let held: u64 = self.held.iter().map(|len| cost(*len)).sum();
        assert_eq!(self.receiver.held(), held);
        assert!(
            held <= self.window + self.largest,
            "{held} held of {}",
            self.window
        );
    }

    /// Everything arrives and is consumed.
    fn settle(&mut self) {
        while !self.messages.is_empty() {
            self.apply(&Event::Arrive);
        }
        while !self.held.is_empty() {
            self.apply(&Event::Consume);
        }
        self.apply(&Event::Grant);
        while !self.grants.is_empty() {
            self.apply(&Event::Granted);
        }
    }
}

proptest! {
    #[test]
    fn held_is_bounded_and_the_sender_is_never_stuck(
        window in 1..4000_u64,
        events in vec(event(), 0..300),
    ) {
        let mut lane = Lane::new(window);
        for event in &events {
            lane.apply(event);
        }
        lane.settle();
        prop_assert!(lane.sender.may_send(), "stuck at {}", lane.sender.balance());
    }

    #[test]
    fn a_queue_of_any_messages_drains(
        window in 1..4000_u64,
        lens in vec(prop_oneof![0..10_usize, 0..10_000_usize], 0..100),
    ) {
        let mut lane = Lane::new(window);
        let mut queue = lens.into_iter();
        while !queue.as_slice().is_empty() {
            lane.settle();
            let before = queue.len();
            while lane.sender.may_send() && let Some(len) = queue.next() {
                lane.apply(&Event::Send(len));
            }
            prop_assert!(queue.len() < before, "stuck at {}", lane.sender.balance());
        }
    }

    #[test]
    fn grants_are_few(window in 400..4000_u64, lens in vec(0..20_usize, 0..500)) {
        let mut lane = Lane::new(window);
        let (mut grants, mut spent) = (0, 0);
        for len in lens {
            lane.settle();
            prop_assert!(lane.sender.may_send());
            lane.apply(&Event::Send(len));
            lane.apply(&Event::Arrive);
            lane.apply(&Event::Consume);
            spent += cost(len);
            lane.apply(&Event::Grant);
            grants += lane.grants.len() as u64;
        }
        prop_assert!(grants <= spent / (window / 4), "{} grants for {}", grants, spent);
    }
}
