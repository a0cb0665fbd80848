use std::time::Duration;

use bytes::BytesMut;
use futures::future::poll_immediate;
use procession_wire::{Features, Frame, FrameDecoder, Framing, Hello};

use super::*;
use crate::ItemError;
use crate::flag::Flag;
use crate::lifecycle::DrainBounds;
use crate::messaging::buffer::Limits;
use crate::messaging::hub::Hub;
use crate::messaging::outbox::OutboxLimits;
use crate::messaging::pings::SharedPings;
use crate::messaging::reader::{Decoder, Reader, Receivers};
use crate::messaging::signs::Signs;
use crate::messaging::source::Source;
use crate::messaging::testing::TestPipe;
use crate::model::Overflow;

const LIMIT: usize = 2 << 20;

struct Child {
    output: TestPipe,
    input: TestPipe,
    conversation: Arc<Conversation<TestPipe>>,
    decoder: FrameDecoder,
    bytes: BytesMut,
    hub: Arc<Hub>,
}

impl Child {
    fn new(handler: Option<RequestHandler>, input: usize) -> Self {
        let (output, input) = (TestPipe::new(64), TestPipe::new(input));
        let bounds = DrainBounds::default();
        let source = Source::new(output.clone(), Arc::new(Flag::default()), bounds);
        let hub = Hub::new(
            Limits {
                messages: 4,
                bytes: 1 << 20,
                overflow: Overflow::Block,
            },
            false,
        );
        let limits = OutboxLimits {
            framing: Framing::Frames,
            with_credit: true,
            message: LIMIT,
            messages: 8,
            bytes: 1 << 20,
            undelivered: None,
        };
        let outbox = Outbox::new(input.clone(), limits, Handle::current(), Box::new(drop));
        let process = ProcessId::random();
        let conversation = Conversation::new(process, outbox, handler, Handle::current());
        let receivers = Receivers {
            hub: Arc::clone(&hub),
            conversation: Some(Arc::clone(&conversation)),
            signs: Signs::default(),
            pings: Some(SharedPings::default()),
        };
        let decoder = Decoder::Frames(FrameDecoder::new(LIMIT).expecting_hello(0));
        tokio::spawn(Reader::new(source, decoder, receivers).run());
        Self {
            output,
            input,
            conversation,
            decoder: FrameDecoder::new(LIMIT),
            bytes: BytesMut::new(),
            hub,
        }
    }

    /// With hello, and more credit for requests than it needs.
    async fn greeted(handler: Option<RequestHandler>) -> Self {
        let mut child = Self::new(handler, 1 << 20);
        let credit = Frame::Credit {
            lane: REQUEST_LANE,
            bytes: 1 << 30,
        };
        let hello = Hello::new(Features::CREDIT, 7);
        child.write(&[Frame::Hello(hello), credit]);
        for lane in [MESSAGE_LANE, REQUEST_LANE] {
            let granted = child.read().await;
            assert!(matches!(granted, Frame::Credit { lane: of, .. } if of == lane));
        }
        child
    }

    fn write(&self, frames: &[Frame]) {
        let mut bytes = BytesMut::new();
        for frame in frames {
            frame.encode(LIMIT, &mut bytes).expect("small");
        }
        self.output.child_writes(&bytes);
    }

    async fn read(&mut self) -> Frame {
        loop {
            self.bytes.extend_from_slice(&self.input.child_reads(4096));
            if let Some(frame) = self.decoder.decode(&mut self.bytes).expect("frames") {
                return frame;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The next request, with its id.
    async fn request(&mut self) -> (u64, Message) {
        let Frame::Request { id, payload } = self.read().await else {
            panic!("a request");
        };
        let credit = self.read().await;
        assert!(matches!(credit, Frame::Credit { lane, bytes } if lane == id && bytes > 0));
        (id, payload.into())
    }

    async fn ask(&self, text: &'static str) -> Asking<TestPipe> {
        let asked = self.conversation.ask(text.into(), false);
        asked.await.expect("asked")
    }
}

fn reply(id: u64, text: &'static str) -> Frame {
    let payload = text.into();
    Frame::Reply { id, payload }
}

#[tokio::test(start_paused = true)]
async fn replies_find_their_requests_in_any_order() {
    let mut child = Child::greeted(None).await;
    let (mut one, mut two) = (child.ask("one").await, child.ask("two").await);
    let (first, text) = child.request().await;
    assert_eq!(text, "one");
    let (second, _) = child.request().await;
    child.write(&[
        reply(77, "to nobody"),
        reply(second, "second"),
        reply(second, "again"),
        Frame::Failure {
            id: first,
            text: "no".into(),
        },
    ]);
    assert_eq!(two.end().await, End::Reply("second".into()));
    assert_eq!(one.end().await, End::Failure("no".into()));
    let counts = child.conversation.counts();
    assert_eq!((counts.asked, counts.replies, counts.failures), (2, 1, 1));
    assert_eq!(counts.waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_is_taken_back_or_cancelled() {
    let mut child = Child::new(None, 1 << 20);
    drop(child.ask("it waits for credit").await);
    child.write(&[
        Frame::Hello(Hello::new(Features::CREDIT, 7)),
        Frame::Credit {
            lane: REQUEST_LANE,
            bytes: 1 << 20,
        },
    ]);
    let asking = child.ask("sent").await;
    for _ in 0..2 {
        child.read().await;
    }
    let (id, text) = child.request().await;
    assert_eq!(text, "sent", "the other never was");
    drop(asking);
    assert_eq!(child.read().await, Frame::Cancel { id });
    child.write(&[reply(id, "too late")]);
    let mut next = child.ask("next").await;
    let (id, _) = child.request().await;
    child.write(&[reply(id, "in time")]);
    assert_eq!(next.end().await, End::Reply("in time".into()));
}

#[tokio::test(start_paused = true)]
async fn items_come_in_order_and_are_granted_as_they_are_read() {
    let mut child = Child::greeted(None).await;
    let asked = child.conversation.ask("items".into(), true).await;
    let mut asking = asked.expect("asked");
    let (id, _) = child.request().await;
    let item = |number: u8| Frame::Item {
        id,
        payload: vec![number; 64 * 1024].into(),
    };
    child.write(&[item(0), item(1), item(2)]);
    for number in 0..3 {
        let next = std::future::poll_fn(|cx| asking.poll_next(cx)).await;
        let crate::messaging::asking::Next::Item(item) = next else {
            panic!("{next:?}");
        };
        assert_eq!(item.as_bytes()[0], number);
    }
    let mut granted = 0;
    while granted < 3 * 64 * 1024 {
        match child.read().await {
            Frame::Credit { lane, bytes } if lane == id => granted += u64::from(bytes),
            other => panic!("{other:?}"),
        }
    }
    // More than was ever granted: the request fails, and nothing else does.
    child.write(&vec![item(9); 6]);
    child.write(&[reply(id, "done")]);
    assert_eq!(asking.end().await, End::Overrun);
    assert_eq!(child.read().await, Frame::Cancel { id });
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_output_ends_every_request() {
    for bye in [false, true] {
        let mut child = Child::greeted(None).await;
        let mut one = child.ask("one").await;
        let mut two = child.ask("two").await;
        let (first, _) = child.request().await;
        child.write(&[reply(first, "it counts")]);
        if bye {
            child.write(&[Frame::Bye { status: 0 }, reply(2, "not after bye")]);
        } else {
            child.output.no_more_writers();
        }
        assert_eq!(one.end().await, End::Reply("it counts".into()));
        assert_eq!(two.end().await, End::Lost);
        let refused = child.conversation.ask("more".into(), false).await;
        assert!(matches!(refused, Err(AskFailure::Ended)));
        assert_eq!(child.conversation.counts().waiting, 0);
    }
}

fn handler() -> RequestHandler {
    RequestHandler::new(|request: Request| async move {
        match request.message().as_str()? {
            "echo" => Ok("echo".into()),
            "panic" => panic!("on purpose"),
            "large" => Ok(vec![0; LIMIT + 1].into()),
            "items" => {
                for number in 0..5 {
                    request.item(vec![number; 100]).await?;
                }
                Ok("done".into())
            }
            "wait" => std::future::pending().await,
            other => Err(format!("what is {other}?").into()),
        }
    })
}

fn request(id: u64, text: &'static str) -> Frame {
    let payload = text.into();
    Frame::Request { id, payload }
}

#[tokio::test(start_paused = true)]
async fn each_request_of_the_child_has_one_end() {
    let mut child = Child::greeted(Some(handler())).await;
    for (text, failure) in [
        ("echo", None),
        ("panic", Some("panicked")),
        ("large", Some("limit is 2097152")),
        ("nonsense", Some("what is nonsense?")),
    ] {
        child.write(&[request(3, text)]);
        match (child.read().await, failure) {
            (Frame::Reply { id: 3, payload }, None) => assert_eq!(payload, text),
            (Frame::Failure { id: 3, text }, Some(why)) => assert!(text.contains(why), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    let counts = child.conversation.counts();
    assert_eq!((counts.answered, counts.refused), (1, 3));
    assert_eq!(counts.answering, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cancelled_where_it_waits_and_others_go_on() {
    let mut child = Child::greeted(Some(handler())).await;
    child.write(&[request(1, "wait"), request(2, "echo")]);
    assert_eq!(child.read().await, reply(2, "echo"));
    assert_eq!(child.conversation.counts().answering, 1);
    child.write(&[
        Frame::Cancel { id: 1 },
        Frame::Cancel { id: 1 },
        Frame::Cancel { id: 9 },
    ]);
    let end = child.read().await;
    assert_eq!(end, Frame::failure(1, "cancelled", LIMIT));
    child.write(&[request(1, "echo")]);
    assert_eq!(child.read().await, reply(1, "echo"), "the id is free again");
}

#[tokio::test(start_paused = true)]
async fn items_wait_for_the_childs_credit_and_for_nothing_else() {
    let mut child = Child::greeted(Some(handler())).await;
    let credit = |bytes| Frame::Credit { lane: 4, bytes };
    child.write(&[request(4, "items"), credit(164), request(5, "echo")]);
    // One is allowed for and leaves nothing.
    let mut seen = [child.read().await, child.read().await];
    seen.sort_by_key(|frame| matches!(frame, Frame::Reply { .. }));
    assert!(matches!(&seen[0], Frame::Item { id: 4, payload } if payload[..] == [0; 100]));
    assert_eq!(seen[1], reply(5, "echo"));
    child.write(&[credit(1)]);
    assert!(matches!(child.read().await, Frame::Item { id: 4, payload } if payload[0] == 1));
    child.write(&[credit(1000)]);
    for number in 2..5 {
        assert!(matches!(child.read().await, Frame::Item { payload, .. } if payload[0] == number));
    }
    assert_eq!(child.read().await, reply(4, "done"));
}

#[tokio::test(start_paused = true)]
async fn without_a_handler_and_without_credit_requests_fail() {
    let mut child = Child::greeted(None).await;
    child.write(&[request(1, "echo")]);
    let Frame::Failure { id: 1, text } = child.read().await else {
        panic!("a failure");
    };
    assert!(text.contains("answers no requests"), "{text}");
    let mut child = Child::greeted(Some(handler())).await;
    let large = Frame::Request {
        id: 1,
        payload: vec![b'x'; 1 << 20].into(),
    };
    child.write(&[large, request(2, "echo")]);
    let mut ends = [child.read().await, child.read().await];
    ends.sort_by_key(|frame| !matches!(frame, Frame::Failure { id: 1, .. }));
    assert!(matches!(&ends[1], Frame::Failure { id: 2, text } if text.contains("credit")));
    let Frame::Credit { lane, bytes } = child.read().await else {
        panic!("what the first has given back");
    };
    assert_eq!(
        (lane, u64::from(bytes)),
        (REQUEST_LANE, (1 << 20) + 64 + 68)
    );
}

/// A child that reads nothing holds up its replies, and not what it says.
#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_read_goes_on_being_read() {
    let child = Child::new(Some(handler()), 64);
    child.write(&[Frame::Hello(Hello::new(Features::CREDIT, 7))]);
    for id in 1..=1000 {
        child.write(&[request(id, "echo")]);
    }
    child.write(&[Frame::Message("seen".into())]);
    let mut stream = child.hub.subscribe(child.hub.defaults());
    let seen = futures::StreamExt::next(&mut stream).await;
    assert_eq!(seen, Some(Ok("seen".into())));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let open = child.conversation.counts().answering;
    assert!(
        open > 900,
        "what cannot be written bounds what is answered: {open}"
    );
    assert!(
        poll_immediate(child.ask("more")).await.is_some(),
        "it has its place"
    );
}

/// A handler may hold a handle, and that the manager: it goes with the child.
#[tokio::test(start_paused = true)]
async fn a_handler_is_let_go_at_the_end() {
    let held = Arc::new(());
    let holder = Arc::clone(&held);
    let handler = RequestHandler::new(move |_| {
        let _held = Arc::clone(&holder);
        std::future::pending()
    });
    let child = Child::greeted(Some(handler)).await;
    child.write(&[request(1, "wait")]);
    while child.conversation.counts().answering == 0 {
        tokio::task::yield_now().await;
    }
    assert!(Arc::strong_count(&held) > 1);
    child.output.no_more_writers();
    while Arc::strong_count(&held) > 1 {
        tokio::task::yield_now().await;
    }
    child.conversation.serve(RequestHandler::new(move |_| {
        let _held = Arc::clone(&held);
        std::future::pending()
    }));
    assert!(child.conversation.lock().handler.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_second_hello_changes_nothing() {
    let mut child = Child::greeted(None).await;
    child.write(&[Frame::Hello(Hello::new(Features::NONE, 7)), Frame::Ping(1)]);
    assert_eq!(child.read().await, Frame::Pong(1), "no credit again");
    let frame = Outgoing::message("it waits for credit".into());
    child.conversation.outbox.queue(frame, None).expect("open");
    child.conversation.outbox.pump();
    child.write(&[Frame::Ping(2)]);
    assert_eq!(child.read().await, Frame::Pong(2));
}

async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_place_or_for_credit_hear_of_the_end_of_the_output() {
    let child = Child::new(None, 1 << 20);
    child.write(&[Frame::Hello(Hello::new(Features::CREDIT, 7))]);
    let mut placed = Vec::new();
    for _ in 0..8 {
        placed.push(child.ask("waits for credit").await);
    }
    let conversation = Arc::clone(&child.conversation);
    let ninth = tokio::spawn(async move {
        match conversation.ask("waits for a place".into(), false).await {
            Ok(mut asking) => asking.end().await,
            Err(_) => End::Lost,
        }
    });
    let outbox = Arc::clone(child.conversation.outbox());
    let message = tokio::spawn(async move { outbox.send("waits for credit".into()).await });
    settle().await;
    child.output.no_more_writers();
    for mut asking in placed {
        assert_eq!(asking.end().await, End::Lost);
    }
    let hour = Duration::from_hours(1);
    let ninth = tokio::time::timeout(hour, ninth).await;
    let message = tokio::time::timeout(hour, message).await;
    assert_eq!(
        (ninth.is_ok(), message.is_ok()),
        (true, true),
        "(request, message) ended within an hour of the end of the output"
    );
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_dropped_while_it_waits_costs_no_credit() {
    let (held, mut hold) = tokio::sync::mpsc::channel(8);
    let handler = RequestHandler::new(move |request: Request| {
        let held = held.clone();
        async move {
            if request.message().as_bytes() == b"hold" {
                let _ = held.try_send(request);
                std::future::pending::<()>().await;
            }
            Ok("echo".into())
        }
    });
    let mut child = Child::new(Some(handler), 64);
    child.write(&[Frame::Hello(Hello::new(Features::CREDIT, 7))]);
    let credit = Frame::Credit {
        lane: 100,
        bytes: 1000,
    };
    child.write(&[request(100, "hold"), credit]);
    let held = hold.recv().await.expect("it came");
    for id in 1..=20 {
        child.write(&[request(id, "echo")]);
    }
    settle().await;
    for _ in 0..10 {
        let mut item = Box::pin(held.item(vec![0; 100]));
        assert!(
            poll_immediate(&mut item).await.is_none(),
            "there is no place"
        );
    }
    let item = tokio::spawn(async move { held.item(vec![1; 100]).await });
    // The child reads all that comes.
    for _ in 0..22 {
        child.read().await;
    }
    let sent = tokio::time::timeout(Duration::from_hours(1), item).await;
    assert!(sent.is_ok(), "1000 were granted, and nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn answers_to_the_pings_of_a_slow_reader_are_bounded() {
    let child = Child::new(None, 4096);
    child.write(&[Frame::Hello(Hello::new(Features::CREDIT, 7))]);
    let pings: Vec<_> = (0..6000).map(Frame::Ping).collect();
    for _ in 0..100 {
        child.write(&pings);
        settle().await;
        child.input.child_reads(4096);
        settle().await;
    }
    let mut queued = 0;
    loop {
        let read = child.input.child_reads(4096).len();
        if read == 0 {
            break;
        }
        queued += read;
        settle().await;
    }
    assert!(queued < 256 * 1024, "{queued} bytes of answers were queued");
}

#[tokio::test(start_paused = true)]
async fn pings_that_cannot_be_written_do_not_gather() {
    let child = Child::new(None, 64);
    child.write(&[Frame::Hello(Hello::new(Features::CREDIT, 7))]);
    settle().await;
    let outbox = child.conversation.outbox();
    let every = Duration::from_millis(10);
    let pings =
        crate::messaging::pings::run(SharedPings::default(), Arc::clone(outbox), every, |_| ());
    let _ = tokio::time::timeout(Duration::from_mins(10), pings).await;
    let waiting = outbox.control_bytes();
    assert!(
        waiting < 65 * 1024,
        "{waiting} bytes of pings after ten minutes"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_ended_sends_nothing_into_another_of_its_id() {
    let (held, mut hold) = tokio::sync::mpsc::channel(8);
    let handler = RequestHandler::new(move |request: Request| {
        let held = held.clone();
        async move {
            let waits = request.message().as_bytes() == b"second";
            let _ = held.try_send(request);
            if waits {
                std::future::pending::<()>().await;
            }
            Ok("answered".into())
        }
    });
    let mut child = Child::greeted(Some(handler)).await;
    child.write(&[request(1, "first")]);
    let first = hold.recv().await.expect("it came");
    assert_eq!(child.read().await, reply(1, "answered"));
    child.write(&[
        request(1, "second"),
        Frame::Credit {
            lane: 1,
            bytes: 1000,
        },
    ]);
    let _second = hold.recv().await.expect("it came");
    let sent = first.item("of the first").await;
    assert_eq!(sent, Err(ItemError::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn what_is_small_does_not_keep_what_was_read_with_it() {
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("linux");
        let pages: usize = statm
            .split(' ')
            .nth(1)
            .expect("resident")
            .parse()
            .expect("pages");
        pages * 4096
    }
    let mut child = Child::greeted(None).await;
    let asked = child.conversation.ask("items".into(), true).await;
    let mut asking = asked.expect("asked");
    let (id, _) = child.request().await;
    let mut bytes = BytesMut::new();
    let padding = Frame::Extension {
        kind: 0x80,
        payload: vec![1; (1 << 20) + (64 << 10) + 900].into(),
    };
    padding.encode(LIMIT, &mut bytes).expect("fits");
    let item = Frame::Item {
        id,
        payload: "x".into(),
    };
    item.encode(LIMIT, &mut bytes).expect("fits");
    let before = resident();
    for _ in 0..50 {
        child.output.child_writes(&bytes);
        settle().await;
    }
    let grown = resident().saturating_sub(before);
    let mut held = Vec::new();
    while let Some(crate::messaging::asking::Next::Item(item)) =
        poll_immediate(std::future::poll_fn(|cx| asking.poll_next(cx))).await
    {
        held.push(item);
    }
    assert!(
        grown < 32 << 20 && held.len() == 50,
        "{} items of one byte hold {} MiB",
        held.len(),
        grown >> 20
    );
}

/// A child that does not announce the feature is granted nothing.
#[tokio::test(start_paused = true)]
async fn a_child_without_credit_is_granted_none() {
    let mut child = Child::new(Some(handler()), 1 << 20);
    child.write(&[Frame::Hello(Hello::new(Features::NONE, 7))]);
    settle().await;
    let asked = child.conversation.ask("items".into(), true).await;
    let mut asking = asked.expect("asked");
    let Frame::Request { id, .. } = child.read().await else {
        panic!("a request");
    };
    let item = Frame::Item {
        id,
        payload: vec![9; 64 * 1024].into(),
    };
    for _ in 0..20 {
        child.write(std::slice::from_ref(&item));
        let next = std::future::poll_fn(|cx| asking.poll_next(cx)).await;
        assert!(
            matches!(next, crate::messaging::asking::Next::Item(_)),
            "{next:?}"
        );
    }
    child.write(&[reply(id, "done"), request(1, "items"), request(2, "echo")]);
    assert_eq!(asking.end().await, End::Reply("done".into()));
    let mut ends = 0;
    while ends < 2 {
        match child.read().await {
            Frame::Item { id: 1, .. } => {}
            Frame::Reply { .. } => ends += 1,
            other => panic!("{other:?}"),
        }
    }
}

/// Whatever a handler does, its request ends.
#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_where_nobody_looks_for_it_fails_its_request() {
    struct Rude;
    impl Drop for Rude {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "on purpose, in a drop");
        }
    }
    let handler = RequestHandler::new(|_| async {
        let _rude = Rude;
        std::future::pending().await
    });
    let mut child = Child::greeted(Some(handler)).await;
    child.write(&[request(1, "x")]);
    while child.conversation.counts().answering == 0 {
        tokio::task::yield_now().await;
    }
    child.write(&[Frame::Cancel { id: 1 }]);
    assert!(matches!(child.read().await, Frame::Failure { id: 1, .. }));
    assert_eq!(child.conversation.counts().answering, 0);
}
