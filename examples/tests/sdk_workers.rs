//! The two children that serve and ask, `sdk_worker` and `sdk_worker_async`, driven frame by frame.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use bytes::BytesMut;
use procession_wire::{
    Channel, ChildEnvironment, Frame, FrameDecoder, Framing, MessagingEnvironment,
    credit::{MESSAGE_LANE, REQUEST_LANE},
    env::RESERVED,
};

const LIMIT: usize = 1 << 20;

const WORKERS: [&str; 2] = [
    env!("CARGO_BIN_EXE_sdk_worker"),
    env!("CARGO_BIN_EXE_sdk_worker_async"),
];

struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    decoder: FrameDecoder,
    buffer: BytesMut,
}

impl Worker {
    fn start(program: &str) -> Self {
        let messaging =
            MessagingEnvironment::new(Framing::Frames, LIMIT, Channel::Stdio, Channel::Stdio);
        let told = ChildEnvironment::new("/run/nowhere").with_messaging(messaging);
        let mut command = Command::new(program);
        for name in RESERVED {
            command.env_remove(name);
        }
        let mut child = command
            .envs(told.write())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut worker = Self {
            input: child.stdin.take(),
            output: child.stdout.take().unwrap(),
            child,
            decoder: FrameDecoder::new(LIMIT).expecting_hello(0),
            buffer: BytesMut::new(),
        };
        assert!(matches!(worker.next(), Some(Frame::Hello(_))));
        assert_eq!(worker.answer(), Frame::Ready("at work".into()));
        for lane in [MESSAGE_LANE, REQUEST_LANE] {
            let bytes = u32::MAX;
            worker.send(&Frame::Credit { lane, bytes });
        }
        worker
    }

    fn send(&mut self, frame: &Frame) {
        self.write(std::slice::from_ref(frame));
    }

    fn write(&mut self, frames: &[Frame]) {
        let mut bytes = BytesMut::new();
        for frame in frames {
            frame.encode(LIMIT, &mut bytes).unwrap();
        }
        self.input.as_mut().unwrap().write_all(&bytes).unwrap();
    }

    fn request(&mut self, id: u64, text: &'static str) {
        let payload = text.into();
        let bytes = 1 << 20;
        let credit = Frame::Credit { lane: id, bytes };
        self.write(&[Frame::Request { id, payload }, credit]);
    }

    fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            let mut chunk = [0; 4096];
            match self.output.read(&mut chunk).unwrap() {
                0 => return None,
                len => self.buffer.extend_from_slice(&chunk[..len]),
            }
        }
    }

    /// The next frame that is no credit.
    fn answer(&mut self) -> Frame {
        loop {
            match self.next().expect("more frames") {
                Frame::Credit { .. } => {}
                other => return other,
            }
        }
    }

    /// As many ends of requests, by id.
    fn ends(&mut self, count: usize) -> BTreeMap<u64, String> {
        let ends: BTreeMap<_, _> = (0..count)
            .map(|_| match self.answer() {
                Frame::Reply { id, payload } => (id, String::from_utf8(payload.into()).unwrap()),
                Frame::Failure { id, text } => (id, format!("failed: {text}")),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ends.len(), count, "one end each");
        ends
    }

    fn end(&mut self, id: u64, text: &'static str) -> String {
        self.request(id, text);
        self.ends(1).remove(&id).unwrap()
    }

    /// It says bye and exits well.
    fn ended(mut self) {
        assert_eq!(self.answer(), Frame::Bye { status: 0 });
        assert_eq!(self.next(), None);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_verb_does_as_it_says() {
    for program in WORKERS {
        let mut worker = Worker::start(program);
        for payload in ["one", "", "three"] {
            worker.send(&Frame::Message(payload.into()));
        }
        for payload in ["one", "", "three"] {
            assert_eq!(worker.answer(), Frame::Message(payload.into()));
        }
        assert_eq!(worker.end(1, "echo a b"), "a b");
        assert_eq!(worker.end(1, "echo"), "");
        assert_eq!(worker.end(1, "fail on purpose"), "failed: on purpose");
        let panicked = worker.end(1, "panic");
        assert!(panicked.contains("panicked"), "{panicked}");
        let unknown = worker.end(1, "sing loud");
        assert!(unknown.starts_with("failed: ") && unknown.contains("sing"));

        worker.request(2, "items 3");
        for number in ["0", "1", "2"] {
            let payload = number.into();
            assert_eq!(worker.answer(), Frame::Item { id: 2, payload });
        }
        assert_eq!(worker.ends(1)[&2], "done");

        worker.request(3, "wait");
        worker.send(&Frame::Cancel { id: 3 });
        let cancelled = worker.ends(1).remove(&3).unwrap();
        assert!(cancelled.contains("cancelled"), "{cancelled}");
        worker.input = None;
        worker.ended();
    }
}

#[test]
fn they_ask_in_turn() {
    for program in WORKERS {
        let mut worker = Worker::start(program);
        worker.request(1, "ask you");
        let Frame::Request { id, payload } = worker.answer() else {
            panic!("no request");
        };
        assert_eq!(payload, "you");
        let payload = "me".into();
        worker.send(&Frame::Reply { id, payload });
        assert_eq!(worker.ends(1)[&1], "me");

        worker.request(2, "ask again");
        let Frame::Request { id, .. } = worker.answer() else {
            panic!("no request");
        };
        let text = "no".into();
        worker.send(&Frame::Failure { id, text });
        assert_eq!(worker.ends(1)[&2], "failed: no");

        worker.request(3, "collect all");
        let Frame::Request { id, .. } = worker.answer() else {
            panic!("no request");
        };
        for item in ["a", "", "c"] {
            let payload = item.into();
            worker.send(&Frame::Item { id, payload });
        }
        let payload = "".into();
        worker.send(&Frame::Reply { id, payload });
        assert_eq!(worker.ends(1)[&3], "a\n\nc");

        worker.request(4, "forget it");
        let Frame::Request { id, .. } = worker.answer() else {
            panic!("no request");
        };
        assert_eq!(worker.answer(), Frame::Cancel { id });
        let text = "cancelled".into();
        worker.send(&Frame::Failure { id, text });
        assert_eq!(worker.ends(1)[&4], "forgotten");
        worker.input = None;
        worker.ended();
    }
}

#[test]
fn a_stop_finishes_what_was_accepted_and_refuses_the_rest() {
    for program in WORKERS {
        let mut worker = Worker::start(program);
        worker.request(1, "hold");
        worker.request(2, "hold");
        let payload = "echo late".into();
        // Both at once: it may end as soon as it has seen the stop.
        worker.write(&[Frame::Stop, Frame::Request { id: 3, payload }]);
        let ends = worker.ends(3);
        assert_eq!(ends[&1], "stopped");
        assert_eq!(ends[&2], "stopped");
        assert!(ends[&3].contains("is stopping"), "{ends:?}");
        worker.ended();
    }
}

#[test]
fn the_end_of_input_finishes_what_was_accepted() {
    for program in WORKERS {
        let mut worker = Worker::start(program);
        worker.request(1, "hold");
        worker.request(2, "wait");
        worker.request(3, "echo x");
        worker.input = None;
        let ends = worker.ends(3);
        assert_eq!(ends[&1], "stopped");
        assert_eq!(ends[&2], "failed: cancelled");
        assert_eq!(ends[&3], "x");
        worker.ended();
    }
}
