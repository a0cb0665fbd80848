//! What happens to messages when a subscription does not keep up: `Overflow::Block` loses nothing,
//! `Overflow::DropOldest` says exactly what it lost, and a subscription loses only its own.

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Framing, MessageStream, Messaging, Overflow, ReceiveMessageError, Subscription,
};
use procession_tests::{Checked, Within as _, checked, checked_for, fixture, programs};
use std::time::Duration;

fn numbers(count: u64, messaging: Messaging) -> Cmd {
    Cmd::new(fixture!("source"))
        .args(["numbered", &count.to_string()])
        .messaging(messaging)
}

fn frames() -> Messaging {
    Messaging::named_pipes()
        .framing(Framing::Frames)
        .output_only()
}

fn lines() -> Messaging {
    Messaging::standard_io()
        .framing(Framing::Lines)
        .output_only()
}

/// Stops reading until some other process has come and gone.
async fn pause(test: &Checked) {
    let other = test.spawn(Cmd::new(programs::sh()).args(["-c", ":"])).await;
    other
        .wait()
        .within("the exit of another process")
        .await
        .unwrap();
}

async fn all_in_order_with_pauses(test: &Checked, count: u64, messaging: Messaging) {
    let child = test.spawn(numbers(count, messaging)).await;
    let mut stream = child.subscribe_message_stream().await.unwrap();
    for expected in 0..count {
        if expected % (count / 10) == count / 20 {
            pause(test).await;
        }
        let message = stream
            .next()
            .within("the next number")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(message.as_str().unwrap().parse(), Ok(expected));
    }
    assert!(stream.next().within("the end").await.is_none());
}

#[test]
fn block_loses_nothing_of_a_million_messages_in_frames() {
    checked_for(Duration::from_secs(120), async |test| {
        all_in_order_with_pauses(test, 1_000_000, frames()).await;
    });
}

#[test]
fn block_loses_nothing_of_a_million_messages_in_lines() {
    checked_for(Duration::from_secs(120), async |test| {
        all_in_order_with_pauses(test, 1_000_000, lines()).await;
    });
}

/// What a stream of numbered messages came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    arrived: u64,
    lost: u64,
}

/// Reads to the end. Each number must be the one after the last, plus what was reported lost between.
async fn tally(stream: &mut MessageStream) -> Tally {
    let mut tally = Tally::default();
    while let Some(item) = stream.next().within("the next item, or the end").await {
        match item {
            Ok(message) => {
                let number: u64 = message.as_str().unwrap().parse().unwrap();
                assert_eq!(
                    number,
                    tally.arrived + tally.lost,
                    "the loss is reported where it was"
                );
                tally.arrived += 1;
            }
            Err(ReceiveMessageError::LostMessages(lost)) => tally.lost += lost,
            Err(other) => panic!("unexpected item: {other}"),
        }
    }
    tally
}

#[test]
fn drop_oldest_reports_exactly_what_it_lost() {
    for messaging in [frames(), lines()] {
        checked(async |test| {
            let messaging = messaging.buffer(100).overflow(Overflow::DropOldest);
            let child = test.spawn(numbers(50_000, messaging)).await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            // Nothing is read before everything has been written.
            child.wait().within("the exit").await.unwrap();
            assert_eq!(
                tally(&mut stream).await,
                Tally {
                    arrived: 100,
                    lost: 49_900
                }
            );
        });
    }
}

#[test]
fn drop_oldest_reports_losses_while_reading_too() {
    checked(async |test| {
        let messaging = frames().buffer(50).overflow(Overflow::DropOldest);
        let child = test.spawn(numbers(200_000, messaging)).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let mut tally = Tally::default();
        while let Some(item) = stream.next().within("the next item, or the end").await {
            match item {
                Ok(message) => {
                    let number: u64 = message.as_str().unwrap().parse().unwrap();
                    assert_eq!(number, tally.arrived + tally.lost);
                    tally.arrived += 1;
                }
                Err(ReceiveMessageError::LostMessages(lost)) => tally.lost += lost,
                Err(other) => panic!("unexpected item: {other}"),
            }
            if tally.arrived % 1_000 == 0 {
                pause(test).await;
            }
        }
        assert_eq!(tally.arrived + tally.lost, 200_000);
    });
}

#[test]
fn a_slow_subscription_loses_its_own_and_nobody_elses() {
    checked(async |test| {
        let mut source = numbers(20_000, Messaging::named_pipes().framing(Framing::Frames));
        source = source.env("WAIT_FIRST", "1");
        let child = test.spawn(source).await;
        let mut complete = child.subscribe_message_stream().await.unwrap();
        let dropping = |room| {
            Subscription::new()
                .buffer(room)
                .overflow(Overflow::DropOldest)
        };
        let mut small = child
            .subscribe_message_stream_with(dropping(10))
            .await
            .unwrap();
        let mut large = child
            .subscribe_message_stream_with(dropping(30_000))
            .await
            .unwrap();
        child.send_message("go").within("the start").await.unwrap();
        assert_eq!(
            tally(&mut complete).await,
            Tally {
                arrived: 20_000,
                lost: 0
            }
        );
        assert_eq!(
            tally(&mut small).await,
            Tally {
                arrived: 10,
                lost: 19_990
            }
        );
        assert_eq!(
            tally(&mut large).await,
            Tally {
                arrived: 20_000,
                lost: 0
            }
        );
    });
}

#[test]
fn a_blocked_subscription_that_goes_away_lets_the_others_go_on() {
    checked(async |test| {
        let mut source = numbers(20_000, Messaging::standard_io().framing(Framing::Frames));
        source = source.env("WAIT_FIRST", "1");
        let child = test.spawn(source).await;
        let mut reading = child.subscribe_message_stream().await.unwrap();
        let stuck = child
            .subscribe_message_stream_with(Subscription::new().buffer(5).overflow(Overflow::Block))
            .await
            .unwrap();
        child.send_message("go").within("the start").await.unwrap();
        // These have arrived for both, and the one that does not read holds all up from here on.
        for expected in 0..5_u64 {
            let message = reading
                .next()
                .within("the first numbers")
                .await
                .unwrap()
                .unwrap();
            assert_eq!(message.as_str().unwrap().parse(), Ok(expected));
        }
        drop(stuck);
        let mut next = 5_u64;
        while let Some(message) = reading.next().within("the next number, or the end").await {
            assert_eq!(message.unwrap().as_str().unwrap().parse(), Ok(next));
            next += 1;
        }
        assert_eq!(next, 20_000);
    });
}

#[test]
fn messages_wait_for_the_first_subscription() {
    checked(async |test| {
        let child = test.spawn(numbers(1_000, lines())).await;
        child.wait().within("the exit").await.unwrap();
        let mut stream = child.subscribe_message_stream().await.unwrap();
        assert_eq!(
            tally(&mut stream).await,
            Tally {
                arrived: 1_000,
                lost: 0
            }
        );
    });
}

#[test]
fn messages_wait_after_the_last_subscription() {
    checked(async |test| {
        let script = "echo one; read -r go; echo two; echo three";
        let child = test
            .spawn(
                Cmd::new(programs::sh())
                    .args(["-c", script])
                    .messaging(Messaging::standard_io()),
            )
            .await;
        let mut first = child.subscribe_message_stream().await.unwrap();
        assert_eq!(first.next().within("one").await.unwrap().unwrap(), "one");
        drop(first);
        child.send_message("go").await.unwrap();
        child.wait().within("the exit").await.unwrap();
        let mut second = child.subscribe_message_stream().await.unwrap();
        assert_eq!(second.next().within("two").await.unwrap().unwrap(), "two");
        assert_eq!(
            second.next().within("three").await.unwrap().unwrap(),
            "three"
        );
        assert!(second.next().within("the end").await.is_none());
    });
}

#[test]
fn what_waits_for_a_subscription_is_bounded_by_the_same_policy() {
    checked(async |test| {
        let messaging = lines().buffer(10).overflow(Overflow::DropOldest);
        let child = test.spawn(numbers(1_000, messaging)).await;
        child.wait().within("the exit").await.unwrap();
        let mut stream = child.subscribe_message_stream().await.unwrap();
        assert_eq!(
            tally(&mut stream).await,
            Tally {
                arrived: 10,
                lost: 990
            }
        );
    });
}

#[test]
fn a_blocking_buffer_holds_the_child_up_until_someone_subscribes() {
    checked(async |test| {
        let child = test.spawn(numbers(100_000, frames().buffer(10))).await;
        let info = child.get_process_info().await.unwrap();
        assert!(
            info.is_running(),
            "100,000 messages do not fit into the buffer and the pipe"
        );
        let mut stream = child.subscribe_message_stream().await.unwrap();
        assert_eq!(
            tally(&mut stream).await,
            Tally {
                arrived: 100_000,
                lost: 0
            }
        );
        assert!(child.wait().within("the exit").await.unwrap().success());
    });
}

/// Byte bounds count as well as message counts.
#[test]
fn the_buffer_is_bounded_in_bytes_too() {
    checked(async |test| {
        let script = "i=0; while [ $i -lt 50 ]; do printf '%0100d\\n' $i; i=$((i+1)); done";
        let messaging = Messaging::standard_io()
            .output_only()
            .buffer_bytes(1_000)
            .overflow(Overflow::DropOldest);
        let child = test
            .spawn(
                Cmd::new(programs::sh())
                    .args(["-c", script])
                    .messaging(messaging),
            )
            .await;
        child.wait().within("the exit").await.unwrap();
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let tally = tally(&mut stream).await;
        assert_eq!(tally.arrived + tally.lost, 50);
        assert!(
            (1..=10).contains(&tally.arrived),
            "1,000 bytes hold at most ten of 100: {tally:?}"
        );
    });
}

/// A subscription that comes while another is there gets what arrives from then on.
#[test]
fn a_later_subscription_begins_where_it_comes_in() {
    checked(async |test| {
        let child = Cmd::new("cat").messaging(Messaging::standard_io());
        let child = test.spawn(child).await;
        let mut first = child.subscribe_message_stream().await.unwrap();
        child.send_message("before").await.unwrap();
        assert_eq!(
            first.next().within("the echo").await.unwrap().unwrap(),
            "before"
        );
        let mut second = child.subscribe_message_stream().await.unwrap();
        child.send_message("after").await.unwrap();
        assert_eq!(
            first.next().within("the echo").await.unwrap().unwrap(),
            "after"
        );
        assert_eq!(
            second.next().within("the echo").await.unwrap().unwrap(),
            "after"
        );
    });
}

/// Where the oldest messages are dropped, a parent may send all it has before it reads anything: a
/// child that answers is never held up, so it never stops reading.
#[test]
fn sending_without_reading_goes_on_where_the_oldest_are_dropped() {
    for messaging in [
        Messaging::standard_io().framing(Framing::Frames),
        Messaging::named_pipes().framing(Framing::Lines),
    ] {
        checked(async |test| {
            let messaging = messaging.buffer(50).overflow(Overflow::DropOldest);
            let child = test
                .spawn(Cmd::new(fixture!("echo")).messaging(messaging))
                .await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            for number in 0..50_000_u64 {
                child
                    .send_message(number.to_string())
                    .within("room")
                    .await
                    .unwrap();
            }
            child.close_input().await.unwrap();
            child.wait().within("the exit").await.unwrap();
            assert_eq!(
                tally(&mut stream).await,
                Tally {
                    arrived: 50,
                    lost: 49_950
                }
            );
        });
    }
}

/// Over frames a full buffer holds up messages and nothing else: the end of the child is seen, and
/// what had arrived is still delivered.
#[test]
fn a_full_buffer_does_not_hide_the_end_of_the_child() {
    for messaging in [frames(), lines()] {
        checked(async |test| {
            let child = test.spawn(numbers(1_000_000, messaging.buffer(10))).await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            assert_eq!(
                stream.next().within("the first").await.unwrap().unwrap(),
                "0"
            );
            child.kill().within("the kill").await.unwrap();
            let mut next = 1_u64;
            while let Some(item) = stream.next().within("the next, or the end").await {
                // The kill may have cut the child's last write.
                let Ok(message) = item else { break };
                let Ok(number) = message.as_str().unwrap().parse::<u64>() else {
                    break;
                };
                if number != next {
                    break;
                }
                next += 1;
            }
            assert!(next >= 10, "what was in the buffer is delivered: {next}");
        });
    }
}
