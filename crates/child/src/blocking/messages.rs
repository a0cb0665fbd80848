//! [`Messages`]: the input as an iterator.

use std::{fmt, iter::FusedIterator, sync::Arc};

use super::endpoint::Endpoint;
use crate::{Message, ReceiveError};

/// The messages from the parent, by [`Parent::messages`](crate::Parent::messages).
///
/// Each `next` waits for a message. The iterator ends when the parent asked this program to stop, or
/// at the end of input: when the parent closed it or is gone; what arrived before is given first.
/// With several iterators at once, each message goes to exactly one of them.
///
/// An error item does not end it, unless it says that the input is lost: see [`ReceiveError`].
///
/// It does not keep the connection open. When the last [`Parent`](crate::Parent) is gone, it ends; a
/// thread that waits in it at that moment, only with the next bytes or the end of the input pipe.
pub struct Messages {
    endpoint: Arc<Endpoint>,
    ended: bool,
}

impl Messages {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            ended: false,
        }
    }
}

impl Iterator for Messages {
    type Item = Result<Message, ReceiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.endpoint.receive();
        self.ended = matches!(next, None | Some(Err(ReceiveError::NotConfigured)));
        next
    }
}

impl FusedIterator for Messages {}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
