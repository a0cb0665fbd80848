//! Many requests, both ways at once, with the pipes full: every reply is the right one.
//!
//! Serial: it fills the machine.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use procession_manager::{Message, Messaging, ProcessHandle, RequestHandler, Statistics};
use procession_tests::payload::Random;
use procession_tests::{Within as _, alone, checked_for, say, workers};

/// For one worker. More than a few seconds mean that it hangs.
const TIME: Duration = Duration::from_mins(3);
const MIB: usize = 1 << 20;

/// Payloads of one size, each another by its number and by where it was cut.
struct Payloads {
    bytes: Vec<u8>,
    size: usize,
}

impl Payloads {
    const CUTS: usize = 4093;

    fn new(size: usize) -> Self {
        let bytes = Random::new(7).bytes(size + Self::CUTS);
        Self { bytes, size }
    }

    /// The payload of this number, after `verb`.
    fn after(&self, verb: &str, number: usize) -> Message {
        let mut request = Vec::with_capacity(verb.len() + self.size);
        request.extend_from_slice(verb.as_bytes());
        request.extend_from_slice(&u64::try_from(number).unwrap().to_le_bytes());
        request.extend_from_slice(&self.cut(number)[8..]);
        request.into()
    }

    fn is(&self, number: usize, reply: &Message) -> bool {
        let reply = reply.as_bytes();
        reply.len() == self.size
            && reply[..8] == u64::try_from(number).unwrap().to_le_bytes()
            && reply[8..] == self.cut(number)[8..]
    }

    fn cut(&self, number: usize) -> &[u8] {
        &self.bytes[number % Self::CUTS..][..self.size]
    }
}

async fn statistics(child: &ProcessHandle) -> Statistics {
    let info = child.get_process_info().await.unwrap();
    info.statistics().unwrap()
}

/// Asks `count` requests, so many at a time; gives how long that took.
async fn ask_all(
    child: &ProcessHandle,
    verb: &str,
    payloads: &Payloads,
    (count, in_flight): (usize, usize),
) -> Duration {
    let begun = Instant::now();
    let ends = stream::iter(0..count).map(async |number| {
        let request = payloads.after(verb, number);
        let reply = child.request(request).within("a reply").await;
        let reply = reply.unwrap_or_else(|error| panic!("request {number}: {error}"));
        assert!(payloads.is(number, &reply), "another reply to {number}");
    });
    let replies = ends.buffer_unordered(in_flight).count().await;
    assert_eq!(replies, count);
    begun.elapsed()
}

fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

#[test]
fn a_hundred_thousand_requests() {
    const COUNT: usize = 100_000;
    let _alone = alone();
    for worker in workers!() {
        checked_for(TIME, async |test| {
            let child = test.spawn(worker.cmd(Messaging::standard_io())).await;
            child.wait_ready().within("ready").await.unwrap();
            let payloads = Payloads::new(100);
            let took = ask_all(&child, "echo ", &payloads, (COUNT, 64)).await;
            let rate = rate(COUNT, took);
            say(&format!("{}: {rate:.0} requests a second", worker.name));
            let seen = statistics(&child).await;
            assert_eq!((seen.requests_asked, seen.replies), (100_000, 100_000));
            assert_eq!(seen.requests_waiting, 0);
        });
    }
}

/// Each request makes the child ask in turn: its question, our answer and its reply are as large as the
/// request, so that both pipes are full of both sides' requests and replies.
async fn ask_each_other(
    child: &ProcessHandle,
    name: &str,
    payloads: &Payloads,
    (count, in_flight): (usize, usize),
) {
    child.wait_ready().within("ready").await.unwrap();
    child
        .serve(RequestHandler::new(async |request| {
            Ok(request.message().clone())
        }))
        .unwrap();
    let took = ask_all(child, "ask ", payloads, (count, in_flight)).await;
    let (rate, size) = (rate(count, took), payloads.size / 1024);
    say(&format!(
        "{name}: {count} of {size} KiB each way and back, {rate:.0} a second"
    ));
    let seen = statistics(child).await;
    let count = u64::try_from(count).unwrap();
    assert_eq!((seen.replies, seen.requests_answered), (count, count));
    assert_eq!((seen.requests_waiting, seen.requests_answering), (0, 0));
}

#[test]
fn both_ask_with_full_pipes() {
    let _alone = alone();
    let payloads = Payloads::new(MIB / 16);
    for worker in workers!() {
        checked_for(TIME, async |test| {
            let child = test.spawn(worker.cmd(Messaging::named_pipes())).await;
            ask_each_other(&child, worker.name, &payloads, (10_000, 32)).await;
        });
    }
}

#[test]
fn both_ask_a_mebibyte_with_full_pipes() {
    let _alone = alone();
    let payloads = Payloads::new(MIB);
    // What the interpreted ones do with 2,000 they do with 10,000; those would take minutes.
    for (worker, count) in workers!().zip([10_000, 10_000, 2_000, 2_000]) {
        checked_for(TIME, async |test| {
            let child = test.spawn(worker.cmd(Messaging::standard_io())).await;
            ask_each_other(&child, worker.name, &payloads, (count, 8)).await;
        });
    }
}
