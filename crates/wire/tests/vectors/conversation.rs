//! Table `conversation`: what both sides write is what the page says, and keeps its rules.

use std::collections::HashMap;

use bytes::BytesMut;
use procession_wire::{
    Frame, FrameDecoder, SendCredit,
    credit::{MESSAGE_LANE, REQUEST_LANE},
};

use crate::{
    document::{Vector, hex},
    frames::frame,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    Parent,
    Child,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Parent => Self::Child,
            Self::Child => Self::Parent,
        }
    }
}

/// The rules, as far as one can see them from outside.
#[derive(Default)]
struct Referee {
    hello: bool,
    bye: bool,
    /// Balances, by who sends on the lane.
    credit: HashMap<(Side, u64), SendCredit>,
    /// Requests that have not ended, by who asked.
    open: Vec<(Side, u64)>,
    /// Requests whose lane of items is to be granted by the next frame of who asked.
    to_grant: HashMap<Side, u64>,
}

pub(crate) fn check(vector: &Vector) {
    vector.has_only(&["parent", "child", "frame"]);
    let mut parent = FrameDecoder::new(vector.limit()).expecting_hello(0);
    let mut child = FrameDecoder::new(vector.limit());
    let mut referee = Referee::default();
    let steps: Vec<(&str, &str)> = vector.steps().collect();
    let (pairs, rest) = steps.as_chunks();
    assert!(rest.is_empty() && !pairs.is_empty(), "{vector}");
    for &[(writer, bytes), (key, text)] in pairs {
        assert_eq!(key, "frame", "{vector}");
        let (side, reader) = match writer {
            "parent" => (Side::Parent, &mut child),
            "child" => (Side::Child, &mut parent),
            _ => panic!("who is {writer:?}: {vector}"),
        };
        let expected = frame(text);
        let mut stream = BytesMut::from(&hex(bytes)[..]);
        assert_eq!(
            reader.decode(&mut stream),
            Ok(Some(expected.clone())),
            "{text}: {vector}"
        );
        assert!(stream.is_empty(), "{text}: {vector}");

        let mut written = BytesMut::new();
        expected
            .encode(vector.limit(), &mut written)
            .expect("a frame within the limit");
        assert_eq!(written[..], hex(bytes)[..], "{text}: {vector}");
        referee.judge(side, &expected);
    }
    assert!(referee.open.is_empty(), "requests without an end: {vector}");
    assert!(
        referee.to_grant.is_empty(),
        "items without credit: {vector}"
    );
}

impl Referee {
    fn judge(&mut self, side: Side, frame: &Frame) {
        if side == Side::Child {
            assert!(!self.bye, "{frame:?} after bye");
            assert_eq!(
                self.hello,
                !matches!(frame, Frame::Hello(_)),
                "hello is first: {frame:?}"
            );
        } else if !self.hello {
            assert!(
                matches!(frame, Frame::Stop | Frame::Ping(_)),
                "{frame:?} before hello"
            );
        }
        if let Some(id) = self.to_grant.remove(&side) {
            assert!(
                matches!(frame, Frame::Credit { lane, .. } if *lane == id),
                "{frame:?}"
            );
        }
        match *frame {
            Frame::Message(ref payload) => self.spend(side, MESSAGE_LANE, payload.len()),
            Frame::Request { id, ref payload } => {
                self.spend(side, REQUEST_LANE, payload.len());
                assert!(!self.open.contains(&(side, id)), "{frame:?}");
                self.open.push((side, id));
                self.to_grant.insert(side, id);
            }
            Frame::Item { id, ref payload } => {
                assert!(self.open.contains(&(side.other(), id)), "{frame:?}");
                self.spend(side, id, payload.len());
            }
            Frame::Reply { id, .. } | Frame::Failure { id, .. } => {
                let asked = (side.other(), id);
                let position = self.open.iter().position(|open| *open == asked);
                self.open
                    .remove(position.unwrap_or_else(|| panic!("not asked: {frame:?}")));
            }
            Frame::Cancel { id } => assert!(self.open.contains(&(side, id)), "{frame:?}"),
            Frame::Credit { lane, bytes } => {
                self.credit
                    .entry((side.other(), lane))
                    .or_default()
                    .grant(bytes);
            }
            Frame::Hello(_) => self.hello = true,
            Frame::Bye { .. } => self.bye = true,
            _ => {}
        }
    }

    fn spend(&mut self, side: Side, lane: u64, len: usize) {
        let credit = self.credit.entry((side, lane)).or_default();
        assert!(credit.may_send(), "{side:?} has no credit on lane {lane}");
        credit.spend(len);
    }
}
