use std::io::IoSlice;
use std::time::Duration;

use futures::FutureExt;
use procession_wire::credit::MESSAGE_OVERHEAD;
use procession_wire::{DEFAULT_MESSAGE_LIMIT, FrameDecoder};
use tokio::time::timeout;

use super::*;
use crate::messaging::testing::TestPipe;

fn limits(framing: Framing) -> OutboxLimits {
    OutboxLimits {
        framing,
        with_credit: false,
        message: DEFAULT_MESSAGE_LIMIT,
        messages: 4,
        bytes: 1024,
        undelivered: None,
    }
}

fn outbox(capacity: usize, limits: OutboxLimits) -> (TestPipe, Arc<Outbox<TestPipe>>) {
    let pipe = TestPipe::new(capacity);
    let outbox = Outbox::new(pipe.clone(), limits, Handle::current(), Box::new(drop));
    (pipe, outbox)
}

/// Reads until `len` bytes have come.
async fn read(pipe: &TestPipe, len: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < len {
        got.extend(pipe.child_reads(len - got.len()));
        tokio::task::yield_now().await;
    }
    got
}

#[tokio::test]
async fn a_caller_writes_for_itself_where_there_is_room() {
    let (pipe, outbox) = outbox(100, limits(Framing::Lines));
    let sent = outbox.send("hello".into()).now_or_never();
    sent.expect("without waiting for another task")
        .expect("sent");
    assert_eq!(pipe.child_reads(100), b"hello\n");
}

async fn three_share_a_write(outbox: &Arc<Outbox<TestPipe>>, pipe: &TestPipe) {
    let before = pipe.writes();
    let all = ["1", "2", "3"].map(|payload| outbox.send(payload.into()));
    for sent in futures::future::join_all(all).await {
        sent.expect("sent");
    }
    assert_eq!(pipe.writes() - before, 1, "one write for three");
    assert_eq!(pipe.child_reads(6), b"1\n2\n3\n");
}

#[tokio::test]
async fn a_crowd_is_written_for_at_once_and_a_lone_sender_writes_for_itself_again() {
    let (pipe, outbox) = outbox(6, limits(Framing::Lines));
    outbox.send("fills".into()).await.expect("sent");
    let (first, second, _) = tokio::join!(
        outbox.send("a".into()),
        outbox.send("b".into()),
        read(&pipe, 10),
    );
    first.and(second).expect("sent");
    three_share_a_write(&outbox, &pipe).await;
    for _ in 0..=u8::MAX {
        outbox.send("x".into()).await.expect("sent");
        pipe.child_reads(2);
    }
    let alone = outbox.send("y".into()).now_or_never();
    alone
        .expect("without waiting for another task")
        .expect("sent");
}

/// Sends alone until it goes behind the others once, to look whether there are any.
fn until_it_looks_for_others(outbox: &Arc<Outbox<TestPipe>>, pipe: &TestPipe) {
    for _ in 0..u8::MAX {
        let sent = outbox.send("x".into()).now_or_never();
        sent.expect("without waiting for another task")
            .expect("sent");
        pipe.child_reads(2);
    }
}

/// They never write at the same time: nobody has to wait as long as there is room.
#[tokio::test]
async fn a_crowd_of_tasks_on_one_thread_is_seen() {
    let (pipe, outbox) = outbox(6, limits(Framing::Lines));
    until_it_looks_for_others(&outbox, &pipe);
    three_share_a_write(&outbox, &pipe).await;
}

#[tokio::test]
async fn what_has_its_place_in_a_crowd_is_written_although_its_sender_is_dropped() {
    let (pipe, outbox) = outbox(6, limits(Framing::Lines));
    until_it_looks_for_others(&outbox, &pipe);
    let waiting = outbox.send("1".into()).now_or_never();
    assert!(waiting.is_none(), "it is dropped behind the others");
    assert_eq!(pipe.child_reads(6), b"1\n");
}

#[tokio::test]
async fn a_sender_in_a_crowd_is_told_that_its_child_has_exited_meanwhile() {
    let (pipe, outbox) = outbox(6, limits(Framing::Lines));
    until_it_looks_for_others(&outbox, &pipe);
    let mut waiting = Box::pin(outbox.send("1".into()));
    assert!((&mut waiting).now_or_never().is_none(), "behind the others");
    outbox.close(Closed::Exited);
    let failed = waiting.await.expect_err("never written");
    assert!(matches!(failed, SendFailure::Closed(Closed::Exited)));
}

/// The senders of what was not written have had their turn, and will not come again.
#[tokio::test]
async fn what_a_short_write_leaves_of_a_crowd_is_written_too() {
    let (pipe, outbox) = outbox(3, limits(Framing::Lines));
    until_it_looks_for_others(&outbox, &pipe);
    let all = ["1", "2", "3"].map(|payload| outbox.send(payload.into()));
    let (sent, read) = tokio::join!(futures::future::join_all(all), read(&pipe, 6));
    assert!(sent.into_iter().all(|sent| sent.is_ok()));
    assert_eq!(read, b"1\n2\n3\n");
}

#[tokio::test]
async fn a_short_write_is_taken_over_and_order_kept() {
    let (pipe, outbox) = outbox(8, limits(Framing::Frames));
    let payloads: Vec<Bytes> = (0..50u8)
        .map(|n| vec![n; usize::from(n) * 3].into())
        .collect();
    let sender = tokio::spawn({
        let (outbox, payloads) = (Arc::clone(&outbox), payloads.clone());
        async move {
            for payload in payloads {
                outbox.send(payload).await.expect("sent");
            }
        }
    });
    let total = payloads.iter().map(|payload| payload.len() + 5).sum();
    let bytes = read(&pipe, total).await;
    sender.await.expect("no panic");
    let (mut decoder, mut rest) = (FrameDecoder::new(1024), &bytes[..]);
    for payload in payloads {
        let frame = decoder.parse(rest).expect("a frame").expect("whole");
        assert_eq!(&rest[frame.payload], payload);
        rest = &rest[frame.end..];
    }
}

#[tokio::test]
async fn a_full_queue_holds_up_the_sender_and_try_send_says_so() {
    let (pipe, outbox) = outbox(1, limits(Framing::Lines));
    outbox.try_send(&"a".into()).expect("taken over");
    for _ in 0..4 {
        outbox.try_send(&"b".into()).expect("queued");
    }
    let refused = outbox.try_send(&"c".into()).expect_err("full");
    assert!(matches!(refused, SendFailure::Full(message) if message == "c"));
    let mut waiting = Box::pin(outbox.send("d".into()));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(waiting);
    // What had no place was never sent.
    assert_eq!(read(&pipe, 10).await, b"a\nb\nb\nb\nb\n");
    outbox.try_send(&"e".into()).expect("room again");
    assert_eq!(read(&pipe, 2).await, b"e\n");
}

#[tokio::test]
async fn a_queue_is_bounded_in_bytes_too() {
    let (_pipe, outbox) = outbox(1, limits(Framing::Lines));
    outbox.try_send(&"a".into()).expect("taken over");
    outbox.try_send(&vec![b'x'; 1000].into()).expect("queued");
    outbox
        .try_send(&vec![b'x'; 100].into())
        .expect_err("too many bytes");
    outbox
        .try_send(&vec![b'x'; 24].into())
        .expect("just enough");
}

/// As a sink does: it looks whether there is room before it knows how much it needs.
#[tokio::test]
async fn what_is_fed_past_the_room_is_paid_for_before_anybody_else_has_some() {
    let (pipe, outbox) = outbox(1, limits(Framing::Lines));
    outbox.try_send(&"a".into()).expect("taken over");
    let feed = |len: usize| {
        assert!(outbox.has_room());
        outbox.feed(vec![b'x'; len].into()).expect("open");
    };
    feed(1000);
    feed(1000);
    assert!(!outbox.has_room(), "overshot by one");
    assert_eq!(outbox.counts().queued_bytes, 2 + 2000 + 1);
    outbox.try_send(&"b".into()).expect_err("full");
    read(&pipe, 2 + 1001).await;
    // 1000 bytes are left of 1024.
    outbox.try_send(&[b'x'; 25][..].into()).expect_err("full");
    outbox
        .try_send(&[b'x'; 24][..].into())
        .expect("just enough");
    read(&pipe, 1001 + 25).await;
    outbox
        .try_send(&[b'x'; 1024][..].into())
        .expect("all of it");
}

/// A turn that nobody uses holds no room, not even while it is waited for and not polled any more.
#[tokio::test]
async fn those_in_line_who_are_not_polled_hold_up_nobody() {
    let (pipe, outbox) = outbox(1, limits(Framing::Lines));
    outbox.try_send(&"a".into()).expect("taken over");
    for _ in 0..4 {
        outbox.try_send(&"b".into()).expect("queued");
    }
    let mut stale: Vec<_> = (0..8).map(|_| Box::pin(outbox.wait_for_turn())).collect();
    for waiting in &mut stale {
        assert!(waiting.as_mut().now_or_never().is_none(), "it is full");
    }
    let sending = {
        let outbox = Arc::clone(&outbox);
        tokio::spawn(async move { outbox.send("c".into()).await })
    };
    assert_eq!(read(&pipe, 12).await, b"a\nb\nb\nb\nb\nc\n");
    sending.await.expect("no panic").expect("sent");
    for waiting in stale {
        waiting.await.expect("its turn");
    }
}

#[tokio::test]
async fn who_leaves_the_line_is_not_there_any_more() {
    let (_pipe, outbox) = outbox(1, limits(Framing::Lines));
    outbox.try_send(&"a".into()).expect("taken over");
    for _ in 0..4 {
        outbox.try_send(&"b".into()).expect("queued");
    }
    let before = Arc::strong_count(&outbox);
    for _ in 0..8 {
        assert!(Box::pin(outbox.wait_for_turn()).now_or_never().is_none());
    }
    while Arc::strong_count(&outbox) > before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_sender_that_waits_for_bytes_and_is_dropped_takes_no_place_with_it() {
    let (_pipe, outbox) = outbox(1, limits(Framing::Lines));
    outbox.try_send(&"a".into()).expect("taken over");
    outbox.try_send(&vec![b'x'; 1000].into()).expect("queued");
    for _ in 0..8 {
        let mut waiting = Box::pin(outbox.send(vec![b'x'; 100].into()));
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    outbox.try_send(&"b".into()).expect("there are places");
}

#[tokio::test]
async fn a_future_dropped_after_it_has_a_place_is_sent_whole() {
    let (pipe, outbox) = outbox(3, limits(Framing::Lines));
    let mut first = Box::pin(outbox.send("first".into()));
    let mut second = Box::pin(outbox.send("second".into()));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop((first, second));
    assert_eq!(read(&pipe, 13).await, b"first\nsecond\n");
}

#[tokio::test]
async fn credit_is_spent_and_waited_for_while_control_goes_by() {
    let mut limits = limits(Framing::Frames);
    limits.with_credit = true;
    let (pipe, outbox) = outbox(1000, limits);
    let mut waiting = Box::pin(outbox.send("a".into()));
    assert!(waiting.as_mut().now_or_never().is_none());
    outbox.control(FrameHead::Stop, b"");
    assert_eq!(pipe.child_reads(100), [0, 0, 0, 0, 0x12]);
    outbox.grant(Lane::Messages, 1);
    waiting.await.expect("sent");
    assert_eq!(pipe.child_reads(100), b"\0\0\0\x01\0a");
    // It cost one byte and the overhead, of which one was granted.
    let overhead = u32::try_from(MESSAGE_OVERHEAD).expect("small");
    outbox.grant(Lane::Messages, overhead);
    assert!(Box::pin(outbox.send("b".into())).now_or_never().is_none());
    outbox.grant(Lane::Messages, 1);
    assert_eq!(read(&pipe, 6).await, b"\0\0\0\x01\0b");
}

#[tokio::test]
async fn closing_waits_for_the_queue_and_takes_nothing_more() {
    let pipe = TestPipe::new(2);
    let (sender, mut released) = tokio::sync::mpsc::channel(1);
    let release = Box::new(move |pipe| drop(sender.try_send(pipe)));
    let limits = limits(Framing::Lines);
    let outbox = Outbox::new(pipe.clone(), limits, Handle::current(), release);
    outbox.try_send(&"queued".into()).expect("taken over");
    outbox.close_after_queue();
    let refused = outbox.send("late".into()).await.expect_err("closed");
    assert!(matches!(refused, SendFailure::Closed(Closed::ByRequest)));
    released
        .try_recv()
        .expect_err("there is something left to write");
    assert_eq!(read(&pipe, 7).await, b"queued\n");
    let held = released.recv().await.expect("closed");
    assert_eq!(Arc::strong_count(&held), 1, "nobody else holds the pipe");
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_child_goes() {
    let (pipe, outbox) = outbox(1, limits(Framing::Lines));
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let outbox = Arc::clone(&outbox);
        waiting.push(tokio::spawn(
            async move { outbox.send("text".into()).await },
        ));
    }
    tokio::task::yield_now().await;
    pipe.no_more_readers();
    for waiting in waiting {
        let told = timeout(Duration::from_secs(10), waiting)
            .await
            .expect("in time");
        let error = told.expect("no panic").expect_err("not sent");
        assert!(
            matches!(error, SendFailure::Closed(Closed::ByChild)),
            "{error:?}"
        );
    }
    assert!(matches!(outbox.flush().await, Err(SendFailure::Closed(_))));
}

#[tokio::test]
async fn a_message_that_may_not_be_sent_disturbs_nothing() {
    let (pipe, outbox) = outbox(
        100,
        OutboxLimits {
            message: 3,
            ..limits(Framing::Lines)
        },
    );
    for bad in ["a\nb", "long"] {
        let error = outbox.send(bad.into()).await.expect_err("refused");
        assert!(matches!(error, SendFailure::Encode(_)));
    }
    outbox.send("ok".into()).await.expect("sent");
    assert_eq!(pipe.child_reads(100), b"ok\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_at_once_lose_nothing_and_keep_their_order() {
    const EACH: usize = 2000;
    let (pipe, outbox) = outbox(64, limits(Framing::Lines));
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let outbox = Arc::clone(&outbox);
            tokio::spawn(async move {
                for number in 0..EACH {
                    outbox
                        .send(format!("{sender} {number}").into())
                        .await
                        .expect("sent");
                }
            })
        })
        .collect();
    let reader = tokio::spawn(async move {
        let (mut next, mut line) = ([0; 8], Vec::new());
        while next != [EACH; 8] {
            for byte in pipe.child_reads(17) {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let text = String::from_utf8(mem::take(&mut line)).expect("text");
                let (sender, number) = text.split_once(' ').expect("two numbers");
                let sender: usize = sender.parse().expect("a number");
                assert_eq!(number.parse::<usize>().expect("a number"), next[sender]);
                next[sender] += 1;
            }
            tokio::task::yield_now().await;
        }
    });
    for sender in senders {
        sender.await.expect("no panic");
    }
    timeout(Duration::from_mins(1), reader)
        .await
        .expect("all there")
        .expect("no panic");
}

/// A pipe with which something happens after its bytes are written, and before its writer knows.
#[derive(Clone)]
struct Meanwhile {
    pipe: TestPipe,
    outbox: Arc<std::sync::OnceLock<std::sync::Weak<Outbox<Self>>>>,
    /// After so many writes.
    writes: Arc<std::sync::atomic::AtomicUsize>,
    act: fn(&Arc<Outbox<Self>>),
}

impl Meanwhile {
    fn outbox(
        capacity: usize,
        writes: usize,
        act: fn(&Arc<Outbox<Self>>),
    ) -> (TestPipe, Arc<Outbox<Self>>) {
        Self::limited(capacity, writes, act, limits(Framing::Lines))
    }

    fn limited(
        capacity: usize,
        writes: usize,
        act: fn(&Arc<Outbox<Self>>),
        limits: OutboxLimits,
    ) -> (TestPipe, Arc<Outbox<Self>>) {
        let pipe = Self {
            pipe: TestPipe::new(capacity),
            outbox: Arc::default(),
            writes: Arc::new(writes.into()),
            act,
        };
        let (inner, place) = (pipe.pipe.clone(), Arc::clone(&pipe.outbox));
        let outbox = Outbox::new(pipe, limits, Handle::current(), Box::new(drop));
        place.set(Arc::downgrade(&outbox)).expect("set once");
        (inner, outbox)
    }

    fn wrote(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        if self.writes.fetch_sub(1, Relaxed) == 1
            && let Some(outbox) = self.outbox.get().and_then(std::sync::Weak::upgrade)
        {
            (self.act)(&outbox);
        }
    }
}

impl WriteEnd for Meanwhile {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = self.pipe.try_write(slices)?;
        self.wrote();
        Ok(written)
    }

    fn poll_write(
        &self,
        cx: &mut std::task::Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> std::task::Poll<io::Result<usize>> {
        let written = std::task::ready!(self.pipe.poll_write(cx, slices))?;
        self.wrote();
        std::task::Poll::Ready(Ok(written))
    }
}

/// Nobody else looks at the queue again.
#[tokio::test]
async fn what_is_queued_while_a_crowd_is_written_for_is_not_forgotten() {
    let (pipe, outbox) = Meanwhile::outbox(100, usize::from(u8::MAX) + 1, |outbox| {
        outbox.try_send(&"meanwhile".into()).expect("queued");
    });
    for _ in 0..u8::MAX {
        outbox.send("x".into()).await.expect("sent");
        pipe.child_reads(2);
    }
    let all = ["1", "2"].map(|payload| outbox.send(payload.into()));
    for sent in futures::future::join_all(all).await {
        sent.expect("sent");
    }
    assert_eq!(pipe.child_reads(100), b"1\n2\nmeanwhile\n");
}

#[tokio::test]
async fn what_was_written_was_sent_also_where_the_exit_is_known_first() {
    // By the caller itself.
    let exits = |outbox: &Arc<Outbox<Meanwhile>>| outbox.close(Closed::Exited);
    let (_, outbox) = Meanwhile::outbox(100, 1, exits);
    outbox.send("read".into()).await.expect("written");
    outbox.send("late".into()).await.expect_err("closed");
    // By the writer task, with what was queued behind.
    let (pipe, outbox) = Meanwhile::outbox(4, 2, exits);
    outbox.try_send(&"12345".into()).expect("taken over");
    let [queued, flushed] = [false, true].map(|flush| {
        let outbox = Arc::clone(&outbox);
        tokio::spawn(async move {
            if flush {
                outbox.flush().await
            } else {
                outbox.send("".into()).await
            }
        })
    });
    tokio::task::yield_now().await;
    assert_eq!(pipe.child_reads(4), b"1234");
    queued.await.expect("no panic").expect("written");
    flushed.await.expect("no panic").expect("written");
    assert_eq!(pipe.child_reads(100), b"5\n\n");
    outbox.send("late".into()).await.expect_err("closed");
}

#[tokio::test]
async fn what_was_written_in_part_was_not_sent() {
    for writes in [1, 2] {
        let (pipe, outbox) = Meanwhile::outbox(4, writes, |outbox| outbox.close(Closed::Exited));
        let send = outbox.send("1234567890".into());
        let read = async {
            while pipe.child_reads(4).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let (sent, ()) = tokio::join!(timeout(Duration::from_secs(30), send), read);
        sent.expect("an answer").expect_err("not all of it");
    }
}

fn followed(framing: Framing, undelivered: Undelivered) -> OutboxLimits {
    OutboxLimits {
        undelivered: Some(undelivered),
        ..limits(framing)
    }
}

#[tokio::test]
async fn whoever_waits_while_a_run_ends_is_served_by_the_next() {
    let (_gone, outbox) = outbox(1, followed(Framing::Lines, Undelivered::NextRun));
    let sends = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|text| {
        let outbox = Arc::clone(&outbox);
        tokio::spawn(async move { outbox.send(text.into()).await })
    });
    while outbox.counts().queued < 5 {
        tokio::task::yield_now().await;
    }
    let flushed = {
        let outbox = Arc::clone(&outbox);
        tokio::spawn(async move { outbox.flush().await })
    };
    tokio::task::yield_now().await;
    outbox.close(Closed::ByChild);
    outbox.close(Closed::Exited);
    let next = TestPipe::new(100);
    outbox.next_run(next.clone(), Box::new(drop));
    let mut ends = Vec::new();
    for send in sends {
        ends.push(send.await.expect("no panic").is_ok());
    }
    assert_eq!(
        ends,
        [false, true, true, true, true, true, true, true],
        "the first run had a part of the first"
    );
    flushed
        .await
        .expect("no panic")
        .expect_err("not all of what it was called for");
    outbox.flush().await.expect("all of what is there");
    assert_eq!(next.child_reads(100), b"b\nc\nd\ne\nf\ng\nh\n");
    outbox.end_runs();
    assert!(matches!(
        outbox.send("late".into()).await,
        Err(SendFailure::Closed(Closed::Exited))
    ));
}

#[tokio::test]
async fn or_fails_and_so_does_what_is_sent_while_there_is_no_run() {
    let (_gone, outbox) = outbox(1, followed(Framing::Lines, Undelivered::Fail));
    outbox.try_send(&"in part".into()).expect("taken over");
    outbox.try_send(&"queued".into()).expect("queued");
    outbox.close(Closed::Exited);
    outbox.send("x".into()).await.expect_err("no run");
    let next = TestPipe::new(100);
    outbox.next_run(next.clone(), Box::new(drop));
    outbox.send("of the next".into()).await.expect("sent");
    assert_eq!(next.child_reads(100), b"of the next\n");
}

#[tokio::test]
async fn an_input_that_is_closed_is_open_again_in_the_next_run() {
    let (gone, outbox) = outbox(100, followed(Framing::Lines, Undelivered::NextRun));
    outbox.send("first".into()).await.expect("sent");
    outbox.close_after_queue();
    assert!(matches!(
        outbox.send("x".into()).await,
        Err(SendFailure::Closed(Closed::ByRequest))
    ));
    assert_eq!(gone.child_reads(100), b"first\n");
    outbox.close(Closed::Exited);
    let next = TestPipe::new(1);
    outbox.next_run(next.clone(), Box::new(drop));
    outbox.try_send(&"second".into()).expect("taken over");
    outbox.try_send(&"third".into()).expect("there are places");
    assert_eq!(read(&next, 13).await, b"second\nthird\n");
}

/// The writer is still at the pipe of the run that has ended, and has not told how much went there.
#[tokio::test]
async fn a_run_that_begins_while_the_last_is_written_to_gets_no_rest_of_its_frame() {
    static NEXT: std::sync::OnceLock<TestPipe> = std::sync::OnceLock::new();
    let next = NEXT.get_or_init(|| TestPipe::new(100));
    let limits = followed(Framing::Lines, Undelivered::NextRun);
    let act = |outbox: &Arc<Outbox<Meanwhile>>| {
        outbox.close(Closed::Exited);
        outbox.try_send(&"meanwhile".into()).expect("queued");
        let pipe = Meanwhile {
            pipe: NEXT.get().expect("made before").clone(),
            outbox: Arc::default(),
            writes: Arc::default(),
            act: |_| {},
        };
        outbox.next_run(pipe, Box::new(drop));
    };
    let (pipe, outbox) = Meanwhile::limited(4, 1, act, limits);
    let sent = timeout(Duration::from_secs(30), outbox.send("1234567890".into()));
    sent.await.expect("an answer").expect_err("not all of it");
    assert_eq!(pipe.child_reads(100), b"1234");
    outbox.send("late".into()).await.expect("sent");
    assert_eq!(next.child_reads(100), b"meanwhile\nlate\n");
}
