//! `children/frames_echo.py` against the protocol, frame by frame, with no manager in between.
//!
//! Each test is the parent: it writes frames, reads what comes back, and holds the child to it. A
//! child that hangs is ended by the time limit.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{future::Future, path::Path, process::Stdio, time::Duration};

use bytes::{Bytes, BytesMut};
use procession_examples::FRAMES_ECHO_PY;
use procession_wire::{
    Features, Frame, FrameDecoder, Hello, ReceiveWindow, SendCredit,
    credit::{MESSAGE_LANE, REQUEST_LANE, cost},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::unix::pipe,
    process::{Child, Command},
    sync::mpsc,
};

const LIMIT: usize = 1 << 20;
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A running `frames_echo.py` and the parent's two ends.
struct Echo {
    child: Child,
    input: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    output: Box<dyn AsyncRead + Unpin>,
    decoder: FrameDecoder,
    received: BytesMut,
}

impl Echo {
    fn on_standard_io() -> Self {
        let mut child = command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = Box::new(child.stdin.take().unwrap());
        let output = Box::new(child.stdout.take().unwrap());
        Self::new(child, input, output)
    }

    fn on_named_pipes(directory: &Path) -> Self {
        let fifo = |name| {
            let path = directory.join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
            path
        };
        let (input, output) = (fifo("input"), fifo("output"));
        let mut open = pipe::OpenOptions::new();
        let sender = Box::new(open.read_write(true).open_sender(&input).unwrap());
        let receiver = Box::new(open.read_write(true).open_receiver(&output).unwrap());
        let child = command()
            .env("MESSAGE_INPUT", "pipe")
            .env("INPUT_PIPE", input)
            .env("MESSAGE_OUTPUT", "pipe")
            .env("OUTPUT_PIPE", output)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self::new(child, sender, receiver)
    }

    fn new(
        child: Child,
        input: Box<dyn AsyncWrite + Send + Unpin>,
        output: Box<dyn AsyncRead + Unpin>,
    ) -> Self {
        Self {
            child,
            input: Some(input),
            output,
            decoder: FrameDecoder::new(LIMIT).expecting_hello(0),
            received: BytesMut::new(),
        }
    }

    async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(LIMIT, &mut bytes).unwrap();
        self.write(&bytes).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes).await.unwrap();
        input.flush().await.unwrap();
    }

    async fn grant(&mut self, bytes: u32) {
        let lane = MESSAGE_LANE;
        self.send(Frame::Credit { lane, bytes }).await;
    }

    /// The next frame, or `None` when the child has closed its end.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.received).unwrap() {
                return Some(frame);
            }
            if self.output.read_buf(&mut self.received).await.unwrap() == 0 {
                self.decoder.finish(&self.received).unwrap();
                return None;
            }
        }
    }

    /// Takes hello and the first two grants.
    async fn greet(&mut self) {
        let pid = self.child.id().unwrap();
        let hello = Hello::new(Features::CREDIT, pid);
        assert_eq!(self.next().await, Some(Frame::Hello(hello)));
        for expected in [MESSAGE_LANE, REQUEST_LANE] {
            match self.next().await {
                Some(Frame::Credit { lane, bytes }) if lane == expected => assert!(bytes > 0),
                other => panic!("not the first grant of lane {expected}: {other:?}"),
            }
        }
    }

    async fn status(&mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }
}

fn command() -> Command {
    let mut command = Command::new("python3");
    command
        .arg(FRAMES_ECHO_PY)
        .env("MESSAGE_FRAMING", "frames/1")
        .env("MESSAGE_LIMIT", LIMIT.to_string())
        .env("MESSAGE_INPUT", "stdin")
        .env("MESSAGE_OUTPUT", "stdout")
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn message(text: &'static str) -> Frame {
    Frame::Message(Bytes::from_static(text.as_bytes()))
}

async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(TIME_LIMIT, test)
        .await
        .expect("the child hangs");
}

#[tokio::test]
async fn waits_for_credit_and_answers_pings_meanwhile() {
    in_time(async {
        let mut echo = Echo::on_standard_io();
        echo.greet().await;
        echo.send(message("one")).await;
        echo.send(message("two\n")).await;
        echo.send(Frame::Ping(7)).await;
        assert_eq!(echo.next().await, Some(Frame::Pong(7)));
        echo.grant(1).await; // enough for one message of any size
        assert_eq!(echo.next().await, Some(message("one")));
        echo.send(Frame::Ping(8)).await;
        assert_eq!(echo.next().await, Some(Frame::Pong(8)));
        echo.grant(1).await; // the balance is still below zero
        echo.send(Frame::Ping(9)).await;
        assert_eq!(echo.next().await, Some(Frame::Pong(9)));
        echo.grant(1000).await;
        assert_eq!(echo.next().await, Some(message("two\n")));
    })
    .await;
}

#[tokio::test]
async fn echoes_over_named_pipes_too() {
    in_time(async {
        let directory = tempfile::tempdir().unwrap();
        let mut echo = Echo::on_named_pipes(directory.path());
        echo.greet().await;
        echo.grant(100_000).await;
        for text in ["", "any \0 bytes\n"] {
            echo.send(message(text)).await;
            assert_eq!(echo.next().await, Some(message(text)));
        }
        echo.send(Frame::Stop).await;
        assert_eq!(echo.next().await, Some(Frame::Bye { status: 0 }));
        assert_eq!(echo.status().await, Some(0));
    })
    .await;
}

#[tokio::test]
async fn stop_ends_it_after_what_came_before() {
    in_time(async {
        let mut echo = Echo::on_standard_io();
        echo.greet().await;
        echo.send(message("last")).await;
        echo.send(Frame::Stop).await;
        echo.grant(1000).await;
        assert_eq!(echo.next().await, Some(message("last")));
        assert_eq!(echo.next().await, Some(Frame::Bye { status: 0 }));
        assert_eq!(echo.next().await, None);
        assert_eq!(echo.status().await, Some(0));
    })
    .await;
}

#[tokio::test]
async fn end_of_input_ends_it_and_no_credit_is_waited_for() {
    in_time(async {
        let mut echo = Echo::on_standard_io();
        echo.greet().await;
        for text in ["a", "b", "c"] {
            echo.send(message(text)).await;
        }
        echo.input = None;
        for text in ["a", "b", "c"] {
            assert_eq!(echo.next().await, Some(message(text)));
        }
        assert_eq!(echo.next().await, Some(Frame::Bye { status: 0 }));
        assert_eq!(echo.next().await, None);
        assert_eq!(echo.status().await, Some(0));
    })
    .await;
}

/// Both sides count credit; the parent sends whenever it may and consumes what comes.
#[tokio::test]
async fn credit_flows_for_as_long_as_both_sides_consume() {
    in_time(async {
        let mut echo = Echo::on_standard_io();
        // A parent never stops reading in order to write: the child may be writing too.
        let mut input = echo.input.take().unwrap();
        let (writer, mut frames) = mpsc::channel::<Frame>(64);
        let writing = tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                let mut bytes = BytesMut::new();
                frame.encode(LIMIT, &mut bytes).unwrap();
                input.write_all(&bytes).await.unwrap();
            }
        });
        let mut credit = SendCredit::new();
        let mut window = ReceiveWindow::new(100_000);
        let sizes: Vec<usize> = (0..300).map(|n| (n * 7919) % 150_000).collect();
        let (mut sent, mut received) = (0, 0);
        while received < sizes.len() {
            while let Some(bytes) = window.grant_due() {
                let lane = MESSAGE_LANE;
                writer.try_send(Frame::Credit { lane, bytes }).unwrap();
            }
            while sent < sizes.len() && credit.may_send() && writer.capacity() > 32 {
                let payload = Bytes::from(vec![b'x'; sizes[sent]]);
                credit.spend(payload.len());
                writer.try_send(Frame::Message(payload)).unwrap();
                sent += 1;
            }
            match echo.next().await.unwrap() {
                Frame::Message(payload) => {
                    assert_eq!(payload.len(), sizes[received]);
                    window.received(payload.len()).unwrap();
                    window.consumed(cost(payload.len()));
                    received += 1;
                }
                Frame::Credit { lane, bytes } if lane == MESSAGE_LANE => credit.grant(bytes),
                Frame::Credit { .. } | Frame::Hello(_) => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
        drop(writer); // the end of input
        writing.await.unwrap();
        while let Some(frame) = echo.next().await {
            assert!(matches!(
                frame,
                Frame::Credit { .. } | Frame::Bye { status: 0 }
            ));
        }
        assert_eq!(echo.status().await, Some(0));
    })
    .await;
}

#[tokio::test]
async fn requests_fail_and_their_credit_comes_back() {
    in_time(async {
        let mut echo = Echo::on_standard_io();
        echo.greet().await;
        let payload = Bytes::from_static(b"what?");
        echo.send(Frame::Request { id: 5, payload }).await;
        let failure = echo.next().await;
        assert!(
            matches!(failure, Some(Frame::Failure { id: 5, .. })),
            "{failure:?}"
        );
        let back = Frame::Credit {
            lane: REQUEST_LANE,
            bytes: u32::try_from(cost(5)).unwrap(),
        };
        assert_eq!(echo.next().await, Some(back));
    })
    .await;
}

#[tokio::test]
async fn extensions_are_skipped_and_lost_framing_ends_it() {
    in_time(async {
        let bad: [&[u8]; 4] = [
            b"\0\0\0\0\x55",         // a kind that is unknown
            b"\0\0\0\x03\x06abc",    // a credit that is too short
            b"\0\x10\0\x01\0",       // a byte over the limit
            b"\xff\xff\xff\xff\x90", // 4 GiB
        ];
        for bytes in bad {
            let mut echo = Echo::on_standard_io();
            echo.greet().await;
            let (kind, payload) = (0x90, Bytes::from_static(b"an extension"));
            echo.send(Frame::Extension { kind, payload }).await;
            echo.send(Frame::Ping(1)).await;
            assert_eq!(echo.next().await, Some(Frame::Pong(1)));
            echo.write(bytes).await;
            assert_eq!(echo.next().await, None, "after {bytes:?}");
            assert_eq!(echo.status().await, Some(1));
            let mut why = String::new();
            let mut stderr = echo.child.stderr.take().unwrap();
            stderr.read_to_string(&mut why).await.unwrap();
            assert!(why.starts_with("frames_echo.py: "), "it says why: {why}");
        }
    })
    .await;
}
