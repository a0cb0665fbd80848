//! For tests: the parent's side of a channel, over pipes in this process, with nothing clever in it.

use std::{
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use procession_wire::{
    Features, Frame, FrameDecoder, Framing, Hello,
    credit::{MESSAGE_LANE, REQUEST_LANE},
    env::{MESSAGE_INPUT, MESSAGE_OUTPUT},
};

use crate::open::{End, Ends, Setup};

pub(crate) const LIMIT: usize = 16 * 1024 * 1024;

pub(crate) struct TestParent {
    pub(crate) to_child: Option<PipeWriter>,
    pub(crate) from_child: Option<PipeReader>,
    decoder: FrameDecoder,
    buffer: BytesMut,
}

/// A channel with both directions.
pub(crate) fn channel(framing: Framing, limit: usize) -> (Setup, Ends, TestParent) {
    let (child_input, to_child) = pipe().unwrap();
    let (from_child, child_output) = pipe().unwrap();
    let setup = Setup {
        framing,
        limit,
        data_dir: "/run/test".into(),
        lease: None,
    };
    let ends = Ends {
        input: Some(End {
            fd: child_input.into(),
            variable: MESSAGE_INPUT,
            shared: false,
        }),
        output: Some(End {
            fd: child_output.into(),
            variable: MESSAGE_OUTPUT,
            shared: false,
        }),
    };
    let parent = TestParent {
        to_child: Some(to_child),
        from_child: Some(from_child),
        decoder: FrameDecoder::new(LIMIT).expecting_hello(0),
        buffer: BytesMut::new(),
    };
    (setup, ends, parent)
}

impl TestParent {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.to_child.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, frame: &Frame) {
        self.write(&encoded(std::slice::from_ref(frame)));
    }

    pub(crate) fn message(&mut self, payload: &'static [u8]) {
        self.send(&Frame::Message(payload.into()));
    }

    /// Gives credit on the message lane.
    pub(crate) fn grant(&mut self, bytes: u32) {
        self.grant_on(MESSAGE_LANE, bytes);
    }

    pub(crate) fn grant_on(&mut self, lane: u64, bytes: u32) {
        self.send(&Frame::Credit { lane, bytes });
    }

    /// Asks, and gives all the credit for items that there is.
    pub(crate) fn request(&mut self, id: u64, payload: &'static str) {
        let payload = payload.into();
        let (lane, bytes) = (id, u32::MAX);
        let credit = Frame::Credit { lane, bytes };
        self.write(&encoded(&[Frame::Request { id, payload }, credit]));
    }

    pub(crate) fn request_without_credit(&mut self, id: u64, payload: &'static str) {
        let payload = payload.into();
        self.send(&Frame::Request { id, payload });
    }

    pub(crate) fn reply(&mut self, id: u64, payload: &'static str) {
        let payload = payload.into();
        self.send(&Frame::Reply { id, payload });
    }

    pub(crate) fn item(&mut self, id: u64, payload: &'static str) {
        let payload = payload.into();
        self.send(&Frame::Item { id, payload });
    }

    pub(crate) fn close_input(&mut self) {
        self.to_child = None;
    }

    /// Waits for the next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            let mut chunk = [0; 16 * 1024];
            let len = self.from_child.as_mut().unwrap().read(&mut chunk).unwrap();
            if len == 0 {
                assert_eq!(self.decoder.finish(&self.buffer), Ok(()));
                return None;
            }
            self.buffer.extend_from_slice(&chunk[..len]);
        }
    }

    /// Waits for a message frame and gives its payload. Credit that comes before it is not missed.
    pub(crate) fn next_message(&mut self) -> Vec<u8> {
        loop {
            match self.next() {
                Some(Frame::Message(payload)) => return payload.into(),
                Some(Frame::Credit { .. }) => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// Waits for the next frame that is no credit.
    pub(crate) fn answer(&mut self) -> Option<Frame> {
        loop {
            match self.next() {
                Some(Frame::Credit { .. }) => {}
                other => return other,
            }
        }
    }

    /// Waits for the next request, which is followed by credit, and gives both its id and text.
    pub(crate) fn asked(&mut self) -> (u64, String) {
        match (self.answer(), self.next()) {
            (Some(Frame::Request { id, payload }), Some(Frame::Credit { lane, .. })) => {
                assert_eq!(lane, id);
                (id, String::from_utf8(payload.into()).unwrap())
            }
            other => panic!("{other:?} instead of a request"),
        }
    }

    /// Reads hello and both first grants, and grants all the credit there is.
    pub(crate) fn greet(&mut self) {
        self.greet_without_credit();
        self.grant(u32::MAX);
        self.grant_on(REQUEST_LANE, u32::MAX);
    }

    pub(crate) fn greet_without_credit(&mut self) {
        let hello = Hello::new(Features::CREDIT, std::process::id());
        assert_eq!(self.next(), Some(Frame::Hello(hello)));
        for lane in [MESSAGE_LANE, REQUEST_LANE] {
            let granted = self.next();
            assert!(
                matches!(granted, Some(Frame::Credit { lane: l, bytes: 1.. }) if l == lane),
                "{granted:?}"
            );
        }
    }

    /// All that comes until the end, as it came.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer).to_vec();
        self.from_child
            .as_mut()
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        rest
    }
}

pub(crate) fn encoded(frames: &[Frame]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.encode(LIMIT, &mut bytes).unwrap();
    }
    bytes
}

/// Waits for something that is sure to come, and fails the test if it does not.
pub(crate) fn until(mut come: impl FnMut() -> bool) {
    let start = Instant::now();
    while !come() {
        assert!(start.elapsed() < Duration::from_mins(1), "it never came");
        thread::yield_now();
    }
}
