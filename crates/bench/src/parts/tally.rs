//! Whether what came is what was ordered: no message lost, doubled or cut.

use crate::{Failure, child::Order, peers::Peer};

/// What shows that nothing came too much: it would come before this, and is not as short.
pub(super) const LAST: Order = Order { count: 1, size: 1 };

/// What is still to come of an order: who loses, doubles or changes messages is found out.
pub(super) struct Tally {
    left: usize,
    whole: Option<usize>,
}

impl Tally {
    /// For a peer that may get messages in pieces, bytes are counted, and the size is not looked at.
    pub(super) fn new<P: Peer>(order: Order) -> Self {
        Self {
            left: order.bytes(),
            whole: P::WHOLE.then_some(order.size),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    pub(super) fn count(&mut self, length: usize) -> Result<(), Failure> {
        if self.whole.is_some_and(|size| size != length) {
            return Err(format!("a message of {length} bytes was not ordered").into());
        }
        let left = self.left.checked_sub(length);
        self.left = left.ok_or("more bytes came than were ordered")?;
        Ok(())
    }
}

/// Takes what was ordered.
pub(super) async fn receive<P: Peer>(peer: &mut P, order: Order) -> Result<(), Failure> {
    let mut tally = Tally::new::<P>(order);
    while !tally.is_done() {
        tally.count(peer.receive().await?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{Heim, Ours};

    const TWO: Order = Order { count: 2, size: 64 };

    #[test]
    fn whole_messages_are_counted_and_measured() {
        let mut tally = Tally::new::<Ours>(TWO);
        tally.count(64).unwrap();
        assert!(tally.count(63).is_err());
        assert!(!tally.is_done());
        tally.count(64).unwrap();
        assert!(tally.is_done());
        assert!(tally.count(64).is_err());
    }

    #[test]
    fn pieces_are_counted_in_bytes() {
        let mut tally = Tally::new::<Heim>(TWO);
        for piece in [60, 0, 68] {
            tally.count(piece).unwrap();
        }
        assert!(tally.is_done());
        assert!(tally.count(1).is_err());
    }
}
