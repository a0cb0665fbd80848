//! Credit: how a receiver bounds what a sender may have on the way to it, lane by lane.
//!
//! ```text
//!  sender                                   receiver
//!  SendCredit { balance }                   ReceiveWindow { available, held }
//!     │  ◄───────── credit(lane, n) ───────── grant_due()     window − available − held
//!     │ may_send(), spend(len)                   ▲
//!     └────────── message(len) ─────────────► received(len)   available → held
//!                                             consumed(cost)  held → due
//! ```
//!
//! A message costs its payload plus [`MESSAGE_OVERHEAD`] bytes. A sender whose balance is above
//! zero may send one message of any size, and so may overshoot by that one. What a receiver holds is
//! therefore never more than its window and one message, and a receiver that consumes all that it
//! holds always grants again.

use std::fmt;

/// The lane of messages.
pub const MESSAGE_LANE: u64 = 0;

/// The lane of requests. The items of a request have the lane that is its id.
pub const REQUEST_LANE: u64 = u64::MAX;

/// What a message costs besides its payload, in bytes: so that empty messages are bounded too.
pub const MESSAGE_OVERHEAD: u64 = 64;

/// What a message of this many payload bytes costs, in bytes of credit.
pub fn cost(payload_len: usize) -> u64 {
    (payload_len as u64).saturating_add(MESSAGE_OVERHEAD)
}

/// The sender's side of one lane. Starts at zero: nothing may be sent before the first grant.
///
/// ```
/// use procession_wire::SendCredit;
///
/// let mut credit = SendCredit::new();
/// assert!(!credit.may_send());
/// credit.grant(100);
/// assert!(credit.may_send());
/// credit.spend(1000); // overshoots by this one message
/// assert_eq!(credit.balance(), -964);
/// assert!(!credit.may_send());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendCredit {
    balance: i64,
}

impl SendCredit {
    /// No credit.
    pub const fn new() -> Self {
        Self { balance: 0 }
    }

    /// Whether one more message may be sent now, of any size.
    pub fn may_send(&self) -> bool {
        self.balance > 0
    }

    /// Accounts for a message that is sent.
    pub fn spend(&mut self, payload_len: usize) {
        self.balance = self.balance.saturating_sub_unsigned(cost(payload_len));
    }

    /// Accounts for a `credit` frame that was received on this lane.
    pub fn grant(&mut self, bytes: u32) {
        self.balance = self.balance.saturating_add(i64::from(bytes));
    }

    /// What is left, in bytes; below zero after an overshoot.
    pub fn balance(&self) -> i64 {
        self.balance
    }
}

/// The receiver's side of one lane: when to grant, and how much.
///
/// ```
/// use procession_wire::{ReceiveWindow, credit};
///
/// let mut window = ReceiveWindow::new(1000);
/// assert_eq!(window.grant_due(), Some(1000)); // the first grant is the whole window
/// window.received(136)?;
/// window.consumed(credit::cost(136));
/// assert_eq!(window.grant_due(), None); // 200 are due, less than a quarter
/// window.received(0)?;
/// window.consumed(credit::cost(0));
/// assert_eq!(window.grant_due(), Some(264));
/// # Ok::<(), procession_wire::CreditExceeded>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveWindow {
    window: u64,
    /// What the sender still has, by our account.
    available: i64,
    /// What was received and not yet consumed.
    held: u64,
}

impl ReceiveWindow {
    /// A window of this many bytes, none of which is granted yet. A window of 0 grants nothing.
    pub const fn new(window: u64) -> Self {
        Self {
            window,
            available: 0,
            held: 0,
        }
    }

    /// Accounts for a message that has arrived.
    ///
    /// # Errors
    ///
    /// [`CreditExceeded`]: the sender had no credit left. The message is accounted for all the
    /// same, so a receiver may hold it and stop reading until there is room again.
    pub fn received(&mut self, payload_len: usize) -> Result<(), CreditExceeded> {
        let before = self.available;
        let cost = cost(payload_len);
        self.available = before.saturating_sub_unsigned(cost);
        self.held = self.held.saturating_add(cost);
        if before > 0 {
            Ok(())
        } else {
            Err(CreditExceeded {
                balance: before,
                cost,
            })
        }
    }

    /// Accounts for messages that have left the receiver's buffer; `cost` is the sum of their
    /// [`cost`]s, in bytes.
    pub fn consumed(&mut self, cost: u64) {
        debug_assert!(cost <= self.held, "consumed {cost} of {} held", self.held);
        self.held = self.held.saturating_sub(cost);
    }

    /// The credit to grant now, in bytes; `None` while less than a quarter of the window is due.
    /// Calling it accounts for the grant: what it returns must be sent. A window over 4 GiB is
    /// granted in several calls.
    pub fn grant_due(&mut self) -> Option<u32> {
        let due = i128::from(self.window) - i128::from(self.available) - i128::from(self.held);
        if due < i128::from((self.window / 4).max(1)) {
            return None;
        }
        let grant = u32::try_from(due).unwrap_or(u32::MAX);
        self.available = self.available.saturating_add(i64::from(grant));
        Some(grant)
    }

    /// Changes the window, in bytes. A smaller one takes nothing back: it takes effect as messages
    /// are consumed.
    pub fn set_window(&mut self, window: u64) {
        self.window = window;
    }

    /// The cost of what is held, in bytes.
    pub fn held(&self) -> u64 {
        self.held
    }
}

/// A sender has sent a message on a lane on which it had no credit.
///
/// ```
/// use procession_wire::ReceiveWindow;
///
/// let error = ReceiveWindow::new(1000).received(36).unwrap_err(); // nothing was granted yet
/// assert_eq!((error.balance, error.cost), (0, 100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreditExceeded {
    /// What the sender had before the message, in bytes: zero or less.
    pub balance: i64,
    /// What the message cost, in bytes.
    pub cost: u64,
}

impl fmt::Display for CreditExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a message that costs {} bytes of credit was sent with a balance of {}: the sender \
             must wait for credit on this lane",
            self.cost, self.balance
        )
    }
}

impl std::error::Error for CreditExceeded {}
