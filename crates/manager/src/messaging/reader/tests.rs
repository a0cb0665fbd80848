use std::io::IoSlice;
use std::time::Duration;

use futures::StreamExt;
use procession_wire::{Frame, Hello};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::*;
use crate::flag::Flag;
use crate::lifecycle::DrainBounds;
use crate::messaging::answering::RequestHandler;
use crate::messaging::asking::End;
use crate::messaging::budget::PER_SECOND;
use crate::messaging::buffer::Limits;
use crate::messaging::outbox::{Outbox, OutboxLimits};
use crate::messaging::testing::TestPipe;
use crate::model::Overflow;
use procession_wire::{Framing, Message};

const LIMIT: usize = 100;

struct Child {
    output: TestPipe,
    input: TestPipe,
    exit: Arc<Flag>,
    hub: Arc<Hub>,
    outbox: Arc<Outbox<TestPipe>>,
    conversation: Arc<Conversation<TestPipe>>,
    reader: JoinHandle<OutputState>,
}

fn child(framing: Framing, buffer: usize) -> Child {
    let (output, input) = (TestPipe::new(64), TestPipe::new(1 << 20));
    let exit = Arc::new(Flag::default());
    let bounds = DrainBounds {
        quiet: Duration::from_millis(50),
        bound: Duration::from_secs(2),
    };
    let source = Source::new(output.clone(), Arc::clone(&exit), bounds);
    let hub = Hub::new(
        Limits {
            messages: buffer,
            bytes: 1 << 20,
            overflow: Overflow::Block,
        },
        false,
    );
    let limits = OutboxLimits {
        framing,
        with_credit: true,
        message: LIMIT,
        messages: 8,
        bytes: 1024,
        undelivered: None,
    };
    let outbox = Outbox::new(input.clone(), limits, Handle::current(), Box::new(drop));
    let decoder = match framing {
        Framing::Lines => Decoder::Lines {
            lines: LineDecoder::new(LIMIT),
            limit: LIMIT,
        },
        _ => Decoder::Frames(FrameDecoder::new(LIMIT).expecting_hello(0)),
    };
    let process = crate::id::ProcessId::random();
    let conversation = Conversation::new(process, Arc::clone(&outbox), None, Handle::current());
    let receivers = Receivers {
        hub: Arc::clone(&hub),
        conversation: (framing == Framing::Frames).then(|| Arc::clone(&conversation)),
        signs: Signs::default(),
        pings: Some(SharedPings::default()),
    };
    let reader = Reader::new(source, decoder, receivers);
    let reader = tokio::spawn(reader.run());
    Child {
        output,
        input,
        exit,
        hub,
        outbox,
        conversation,
        reader,
    }
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.encode(1 << 20, &mut bytes).expect("small");
    }
    bytes.to_vec()
}

fn hello() -> Frame {
    Frame::Hello(Hello::new(Features::CREDIT, 7))
}

async fn items(child: &Child) -> Vec<Result<Message, ReceiveMessageError>> {
    child.hub.subscribe(child.hub.defaults()).collect().await
}

/// What the parent has written, as frames, once there are `count`.
async fn answers(child: &Child, count: usize) -> Vec<Frame> {
    let (mut decoder, mut bytes, mut frames) =
        (FrameDecoder::new(LIMIT), BytesMut::new(), Vec::new());
    while frames.len() < count {
        bytes.extend_from_slice(&child.input.child_reads(usize::MAX));
        while let Some(frame) = decoder.decode(&mut bytes).expect("frames") {
            frames.push(frame);
        }
        yield_now().await;
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn lines_arrive_whole_however_they_are_cut_and_the_last_needs_no_newline() {
    let child = child(Framing::Lines, 100);
    for piece in [&b"on"[..], b"e\n\ntw", b"o\r\nlast"] {
        child.output.child_writes(piece);
        yield_now().await;
    }
    child.output.no_more_writers();
    let lines: Vec<_> = items(&child)
        .await
        .into_iter()
        .map(|item| item.expect("a line"))
        .collect();
    assert_eq!(lines, ["one", "", "two\r", "last"].map(Message::from));
    assert_eq!(child.reader.await.expect("no panic"), OutputState::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_line_over_the_limit_is_one_error_and_the_next_is_read() {
    let child = child(Framing::Lines, 100);
    child.output.child_writes(b"before\n");
    for _ in 0..50 {
        child.output.child_writes(&[b'x'; 64]);
        yield_now().await;
    }
    child.output.child_writes(b"\nafter\n");
    child.output.no_more_writers();
    let expected = [
        Ok(Message::from("before")),
        Err(ReceiveMessageError::MessageTooLarge { limit: LIMIT }),
        Ok(Message::from("after")),
    ];
    assert_eq!(items(&child).await, expected);
}

#[tokio::test(start_paused = true)]
async fn hello_is_answered_with_credit_and_control_frames_are_answered() {
    let child = child(Framing::Frames, 100);
    child.output.child_writes(&encoded(&[
        hello(),
        Frame::Ping(42),
        Frame::Request {
            id: 5,
            payload: "what?".into(),
        },
        Frame::Message("hi".into()),
    ]));
    child.output.no_more_writers();
    assert_eq!(items(&child).await, [Ok(Message::from("hi"))]);
    let answers = answers(&child, 4).await;
    assert!(
        matches!(answers[0], Frame::Credit { lane: 0, bytes } if bytes > 0),
        "{answers:?}"
    );
    assert!(matches!(answers[1], Frame::Credit { lane: u64::MAX, bytes } if bytes > 0));
    assert_eq!(answers[2], Frame::Pong(42));
    assert!(matches!(&answers[3], Frame::Failure { id: 5, .. }));
}

#[tokio::test(start_paused = true)]
async fn lost_framing_is_one_error_and_closes_the_channel_both_ways() {
    let hello = encoded(&[hello()]);
    let bad: [(&[u8], FrameError); 3] = [
        (b"\0\0\0\0\x7f", FrameError::UnknownKind(0x7f)),
        (
            b"\0\0\0\x01\x01x",
            FrameError::BodyTooShort {
                kind: 1,
                len: 1,
                least: 8,
            },
        ),
        (
            b"\xff\xff\xff\xff\0",
            FrameError::TooLarge {
                len: 0xffff_ffff,
                limit: LIMIT,
            },
        ),
    ];
    for (bytes, error) in bad {
        let child = child(Framing::Frames, 100);
        child.output.child_writes(&hello);
        child
            .output
            .child_writes(&encoded(&[Frame::Message("good".into())]));
        child.output.child_writes(bytes);
        child
            .output
            .child_writes(&encoded(&[Frame::Message("not believed".into())]));
        let expected = [
            Ok(Message::from("good")),
            Err(ReceiveMessageError::FramingLost(error)),
        ];
        assert_eq!(items(&child).await, expected);
        child.outbox.send("x".into()).await.expect_err("closed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_dies_in_a_frame_or_before_hello_is_told() {
    for (bytes, lost) in [(encoded(&[hello()]), true), (Vec::new(), false)] {
        let child = child(Framing::Frames, 100);
        child.output.child_writes(&bytes);
        if lost {
            child.output.child_writes(b"\0\0\0\x09\0half");
        }
        child.output.no_more_writers();
        let items = items(&child).await;
        match &items[..] {
            [
                Err(ReceiveMessageError::FramingLost(FrameError::Truncated {
                    have: 9,
                    missing: 5,
                })),
            ] if lost => {}
            [Err(ReceiveMessageError::FramingLost(FrameError::NoHello))] if !lost => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_exit_one_pipe_is_taken_past_a_full_buffer_and_no_more() {
    let child = child(Framing::Lines, 1);
    child.output.child_writes(b"kept\n");
    child.output.child_writes(&b"taken past it\n".repeat(4));
    child.exit.set();
    child.output.no_more_writers();
    let report = timeout(Duration::from_secs(10), child.reader);
    assert_eq!(
        report.await.expect("nobody reads").expect("no panic"),
        OutputState::Complete
    );
    let got = child.hub.subscribe(child.hub.defaults()).count().await;
    assert_eq!(got, 5);
}

#[tokio::test(start_paused = true)]
async fn a_grandchild_that_goes_on_writing_is_cut_without_a_reader() {
    let child = child(Framing::Lines, 1);
    child.exit.set();
    child
        .output
        .child_writes(&b"somebody else writes\n".repeat(1000));
    assert_eq!(child.reader.await.expect("no panic"), OutputState::Cut);
    let got = child.hub.subscribe(child.hub.defaults()).count().await;
    assert!((1..1000).contains(&got), "{got}");
}

impl Child {
    /// Writes, held up by a full pipe alone, and gives the reader its turn after each piece.
    async fn writes(&self, mut bytes: &[u8], piece: usize) {
        while !bytes.is_empty() {
            let next = [IoSlice::new(&bytes[..piece.min(bytes.len())])];
            let written = poll_fn(|cx| self.output.poll_write(cx, &next)).await;
            bytes = &bytes[written.expect("the reader is there")..];
            yield_now().await;
        }
    }

    /// Writes the same for two seconds, and says how often that was.
    async fn floods(&self, bytes: &[u8], piece: usize) -> u32 {
        let mut times = 0;
        let flood = async {
            loop {
                self.writes(bytes, piece).await;
                times += 1;
                assert!(times < 10 * PER_SECOND, "it is held up by nothing");
            }
        };
        let ended = timeout(Duration::from_secs(2), flood).await;
        assert!(ended.is_err());
        times
    }
}

/// Returns whether two seconds of a flood handle so many frames: those that may be at once, those
/// that come with the time, and those in the pipe.
fn is_two_seconds_of(times: u32) -> bool {
    (3 * PER_SECOND - PER_SECOND / 10..3 * PER_SECOND + 100).contains(&times)
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_handled_at_a_bounded_rate() {
    let id = 9;
    let payload = Message::default;
    let floods = [
        Frame::Ping(1),
        Frame::Pong(1),
        Frame::Ready("again".into()),
        Frame::Stop,
        hello(),
        Frame::Credit { lane: 0, bytes: 0 },
        Frame::Credit { lane: 0, bytes: 1 },
        Frame::Credit { lane: id, bytes: 1 },
        Frame::Cancel { id },
        Frame::Reply {
            id,
            payload: payload().into_bytes(),
        },
        Frame::Failure {
            id,
            text: String::new(),
        },
        Frame::Item {
            id,
            payload: payload().into_bytes(),
        },
        // Of a request whose items nobody reads.
        Frame::Item {
            id: 1,
            payload: payload().into_bytes(),
        },
        // There is no handler, and then no credit.
        Frame::Request {
            id,
            payload: payload().into_bytes(),
        },
        Frame::Request {
            id: 0,
            payload: payload().into_bytes(),
        },
        Frame::Extension {
            kind: 0x80,
            payload: payload().into_bytes(),
        },
    ];
    for flood in floods {
        let child = child(Framing::Frames, 100);
        let credit = Frame::Credit {
            lane: u64::MAX,
            bytes: 1000,
        };
        child.writes(&encoded(&[hello(), credit]), usize::MAX).await;
        let asking = child
            .conversation
            .ask("".into(), false)
            .await
            .expect("asked");
        let times = child
            .floods(&encoded(std::slice::from_ref(&flood)), usize::MAX)
            .await;
        assert!(is_two_seconds_of(times), "{times} times {flood:?}");
        drop(asking);
        child.output.no_more_writers();
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_waits_for_are_bounded_too() {
    // Lines over the limit: one unit for the line, and one for the rest of it.
    let lines = child(Framing::Lines, 100);
    let times = lines
        .floods(&[b"x".repeat(LIMIT + 50), b"\n".to_vec()].concat(), 151)
        .await;
    assert!(times < 3 * PER_SECOND, "{times}");
    // After the last frame: the pipe holds 64 bytes, so that no read brings more.
    let after_bye = child(Framing::Frames, 100);
    let bye = encoded(&[hello(), Frame::Bye { status: 0 }]);
    after_bye.writes(&bye, usize::MAX).await;
    let times = after_bye.floods(&[0xff; 64], usize::MAX).await;
    assert!(is_two_seconds_of(times), "{times}");
    // It is read to the end all the same.
    after_bye.writes(&[0xff; 6400], usize::MAX).await;
    after_bye.output.no_more_writers();
    assert_eq!(
        after_bye.reader.await.expect("no panic"),
        OutputState::Complete
    );
    // Frames that come byte by byte.
    let crumbs = child(Framing::Frames, 100);
    crumbs.writes(&encoded(&[hello()]), usize::MAX).await;
    let frame = encoded(&[Frame::Message(vec![b'x'; LIMIT].into())]);
    let stream = crumbs.hub.subscribe(crumbs.hub.defaults());
    let reading = tokio::spawn(stream.count());
    let times = crumbs.floods(&frame, 1).await;
    let most = 2 * 3 * PER_SECOND / u32::try_from(frame.len()).expect("small");
    assert!((1..most).contains(&times), "{times}");
    reading.abort();
}

/// One frame of control for each message, request and item, which is as many as there can be reason
/// for.
#[tokio::test(start_paused = true)]
async fn a_child_that_has_a_reason_for_each_frame_is_never_held_up() {
    const MANY: u32 = 3 * PER_SECOND;
    let child = child(Framing::Frames, 100);
    let credit = |lane, bytes| Frame::Credit { lane, bytes };
    let handler = RequestHandler::new(|request| async move {
        request.item("an item").await?;
        Ok("done".into())
    });
    child.conversation.serve(handler);
    let first = [hello(), credit(0, 1), credit(u64::MAX, 1)];
    child.writes(&encoded(&first), usize::MAX).await;
    let start = Instant::now();
    for id in 1..=u64::from(MANY) {
        child.outbox.send("x".into()).await.expect("sent");
        let asking = child.conversation.ask("?".into(), true).await;
        let mut asking = asking.expect("asked");
        let [part, reply, request] = ["part", "!", "?"].map(Into::into);
        let frames = [
            credit(0, 65),
            credit(u64::MAX, 65),
            Frame::Item { id, payload: part },
            Frame::Reply { id, payload: reply },
            Frame::Request {
                id,
                payload: request,
            },
            credit(id, 64),
        ];
        child.writes(&encoded(&frames), usize::MAX).await;
        assert_eq!(asking.end().await, End::Reply("!".into()));
        while child.conversation.counts().answering > 0 {
            yield_now().await;
        }
        // They cross with its end.
        let late = [credit(id, 71), Frame::Cancel { id }];
        child.writes(&encoded(&late), usize::MAX).await;
        child.input.child_reads(usize::MAX);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// A child may go on with the items of a request for as long as it has not read the cancel.
#[tokio::test(start_paused = true)]
async fn what_crosses_with_a_cancel_holds_up_nobody() {
    let child = child(Framing::Frames, 100);
    let credit = Frame::Credit {
        lane: u64::MAX,
        bytes: u32::MAX,
    };
    child.writes(&encoded(&[hello(), credit]), usize::MAX).await;
    let start = Instant::now();
    for id in 1..=20 {
        let asking = child
            .conversation
            .ask("?".into(), true)
            .await
            .expect("asked");
        drop(asking);
        let mut frames = vec![
            Frame::Item {
                id,
                payload: "".into()
            };
            4096
        ];
        frames.push(Frame::Failure {
            id,
            text: "cancelled".into(),
        });
        child.writes(&encoded(&frames), usize::MAX).await;
        child.input.child_reads(usize::MAX);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}
