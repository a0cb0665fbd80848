//! What a stream of numbered messages comes to.

use futures::StreamExt as _;
use procession_manager::{Message, MessageStream, ReceiveMessageError};

use crate::bound::Within as _;

/// How many messages arrived, and how many were reported lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that arrived.
    pub arrived: u64,
    /// Messages reported as lost.
    pub lost: u64,
}

impl Tally {
    /// Reads a stream of the numbers from 0 on to its end.
    ///
    /// # Panics
    /// As [`Tally::add`] does.
    pub async fn of(stream: &mut MessageStream) -> Self {
        let mut tally = Self::default();
        while let Some(item) = stream.next().within("the next item, or the end").await {
            tally.add(item);
        }
        tally
    }

    /// Takes the next item in.
    ///
    /// # Panics
    /// When it is not the number after the last one, plus what was reported lost in between: a loss is
    /// reported where it was.
    pub fn add(&mut self, item: Result<Message, ReceiveMessageError>) {
        match item {
            Ok(message) => {
                let number: u64 = message
                    .as_str()
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .expect("a number");
                assert_eq!(
                    number,
                    self.arrived + self.lost,
                    "lost or doubled without a word"
                );
                self.arrived += 1;
            }
            Err(ReceiveMessageError::LostMessages(lost)) => self.lost += lost,
            Err(other) => panic!("unexpected item: {other}"),
        }
    }
}
