use std::ops::Range;

use futures::{FutureExt, StreamExt};

use super::*;

fn limits(messages: usize, overflow: Overflow) -> Limits {
    Limits {
        messages,
        bytes: 1 << 20,
        overflow,
    }
}

fn batch(numbers: Range<u32>) -> Batch {
    let chunk: Vec<u8> = numbers.clone().flat_map(u32::to_be_bytes).collect();
    let payloads =
        (0..u32::try_from(numbers.len()).expect("small")).map(|index| index * 4..index * 4 + 4);
    Batch::new(chunk.into(), payloads.collect())
}

fn numbers(stream: &mut MessageStream) -> Vec<Result<u32, ReceiveMessageError>> {
    let mut numbers = Vec::new();
    while let Some(Some(item)) = stream.next().now_or_never() {
        numbers.push(
            item.map(|message| {
                u32::from_be_bytes(message.as_bytes().try_into().expect("four bytes"))
            }),
        );
    }
    numbers
}

fn ok(range: Range<u32>) -> Vec<Result<u32, ReceiveMessageError>> {
    range.map(Ok).collect()
}

#[derive(Default)]
struct Granted(Mutex<Vec<u32>>);

impl Granter for Granted {
    fn grant(&self, bytes: u32) {
        self.0.lock().expect("no panic").push(bytes);
    }
}

#[test]
fn everybody_gets_everything_and_the_slow_lose_their_own() {
    let hub = Hub::new(limits(1000, Overflow::Block), false);
    let mut all = hub.subscribe(limits(1000, Overflow::Block));
    let mut slow = hub.subscribe(limits(5, Overflow::DropOldest));
    let many = batch(0..20);
    assert_eq!(hub.offer(&mut many.clone(), 0, false), 20);
    hub.end();
    assert_eq!(numbers(&mut all), ok(0..20));
    let mut lost = vec![Err(ReceiveMessageError::LostMessages(15))];
    lost.extend(ok(15..20));
    assert_eq!(numbers(&mut slow), lost);
    assert_eq!(slow.next().now_or_never(), Some(None), "it has ended");
}

#[test]
fn what_comes_while_there_is_no_subscription_waits_for_the_next() {
    let hub = Hub::new(limits(1000, Overflow::Block), false);
    hub.offer(&mut batch(0..3), 0, false);
    let mut first = hub.subscribe(hub.defaults());
    let one = first
        .next()
        .now_or_never()
        .flatten()
        .expect("there")
        .expect("a message");
    assert_eq!(one.as_bytes(), 0u32.to_be_bytes());
    let mut second = hub.subscribe(hub.defaults());
    hub.offer(&mut batch(3..5), 0, false);
    drop(first);
    assert_eq!(
        numbers(&mut second),
        ok(3..5),
        "what came before it was there is not its own"
    );
    drop(second);
    hub.offer(&mut batch(5..7), 0, false);
    let mut third = hub.subscribe(hub.defaults());
    assert_eq!(numbers(&mut third), ok(5..7));
}

#[test]
fn what_the_last_subscription_left_is_for_the_next() {
    let hub = Hub::new(limits(1000, Overflow::Block), false);
    hub.offer(&mut batch(0..200), 0, false);
    for number in 0..200u32 {
        let mut stream = hub.subscribe(hub.defaults());
        let message = stream
            .next()
            .now_or_never()
            .flatten()
            .expect("there")
            .expect("a message");
        assert_eq!(message.as_bytes(), number.to_be_bytes());
    }
    hub.end();
    assert!(hub.is_spent());
}

#[tokio::test]
async fn the_slowest_blocking_buffer_holds_up_the_reader() {
    let hub = Hub::new(limits(1000, Overflow::Block), false);
    let mut slow = hub.subscribe(limits(4, Overflow::Block));
    let mut fast = hub.subscribe(limits(1000, Overflow::Block));
    let many = batch(0..10);
    assert_eq!(hub.offer(&mut many.clone(), 0, false), 4);
    assert_eq!(numbers(&mut fast), ok(0..4));
    let mut rest = many.clone();
    let mut blocked = Box::pin(std::future::poll_fn(|cx| hub.poll_offer(cx, &mut rest, 4)));
    assert!(blocked.as_mut().now_or_never().is_none());
    assert_eq!(numbers(&mut slow), ok(0..4));
    assert_eq!(
        blocked.await,
        4,
        "woken by the slow one, which had read all"
    );
    drop(slow);
    assert_eq!(hub.offer(&mut many.clone(), 8, false), 2);
    assert_eq!(numbers(&mut fast), ok(4..10));
}

#[test]
fn with_credit_the_slowest_blocking_buffer_holds_back_the_grants() {
    let cost = u32::try_from(credit::cost(4)).expect("small");
    let window = u64::from(cost) * 8;
    let defaults = Limits {
        messages: 1000,
        bytes: window,
        overflow: Overflow::Block,
    };
    let hub = Hub::new(defaults, false);
    let granted = Arc::new(Granted::default());
    hub.grant_through(Arc::clone(&granted) as Arc<dyn Granter>);
    let grants = || granted.0.lock().expect("no panic").clone();
    assert_eq!(grants(), [cost * 8], "a whole window at first");
    let mut slow = hub.subscribe(defaults);
    let mut fast = hub.subscribe(defaults);
    let mut lossy = hub.subscribe(limits(2, Overflow::DropOldest));
    assert_eq!(
        hub.offer(&mut batch(0..8), 0, false),
        8,
        "what was granted finds room"
    );
    assert_eq!(
        hub.offer(&mut batch(8..9), 0, false),
        0,
        "what was not, waits"
    );
    numbers(&mut fast);
    numbers(&mut lossy);
    assert_eq!(grants(), [cost * 8]);
    numbers(&mut slow);
    assert_eq!(
        grants().iter().sum::<u32>(),
        cost * 16,
        "all was read, so all is granted again"
    );
}

#[test]
fn without_a_blocking_buffer_credit_follows_what_arrives() {
    let cost = credit::cost(4);
    let hub = Hub::new(
        Limits {
            messages: 2,
            bytes: cost * 8,
            overflow: Overflow::DropOldest,
        },
        false,
    );
    let granted = Arc::new(Granted::default());
    hub.grant_through(Arc::clone(&granted) as Arc<dyn Granter>);
    for start in 0..100 {
        assert_eq!(hub.offer(&mut batch(start * 4..start * 4 + 4), 0, false), 4);
    }
    let total: u64 = granted
        .0
        .lock()
        .expect("no panic")
        .iter()
        .map(|bytes| u64::from(*bytes))
        .sum();
    let received = cost * 400;
    assert!(
        total > received && total <= received + cost * 8,
        "{total} for {received}"
    );
}

#[test]
fn subscriptions_outlive_a_run_and_are_told_of_the_next() {
    let hub = Hub::new(limits(1000, Overflow::Block), true);
    let mut all = hub.subscribe(hub.defaults());
    hub.offer(&mut batch(0..2), 0, false);
    hub.end_run();
    hub.next_run(1);
    hub.offer(&mut batch(2..3), 0, false);
    // None of these writes anything.
    for run in 2..100 {
        hub.end_run();
        hub.next_run(run);
    }
    hub.offer(&mut batch(3..4), 0, false);
    hub.end();
    let run = |number| Err(ReceiveMessageError::NewRun(number));
    assert_eq!(
        numbers(&mut all),
        [Ok(0), Ok(1), run(1), Ok(2), run(99), Ok(3)]
    );
    assert_eq!(all.next().now_or_never(), Some(None), "it has ended");
}

#[test]
fn a_run_has_no_credit_from_the_one_before_and_as_much_as_there_is_room() {
    let window = 1024;
    let small = Limits {
        bytes: u64::from(window),
        ..limits(1000, Overflow::Block)
    };
    let hub = Hub::new(small, true);
    let mut all = hub.subscribe(hub.defaults());
    let first = Arc::new(Granted::default());
    hub.grant_through(Arc::clone(&first) as Arc<dyn Granter>);
    hub.offer(&mut batch(0..10), 0, false);
    hub.end_run();
    assert_eq!(numbers(&mut all), ok(0..10));
    assert_eq!(
        first.0.lock().expect("no panic").len(),
        1,
        "nothing for who has ended"
    );
    hub.next_run(1);
    let second = Arc::new(Granted::default());
    hub.grant_through(Arc::clone(&second) as Arc<dyn Granter>);
    assert_eq!(*first.0.lock().expect("no panic"), [window]);
    assert_eq!(*second.0.lock().expect("no panic"), [window]);
}
