//! What happens to messages when a subscription does not keep up: `Overflow::Block` loses nothing, and
//! `Overflow::DropOldest` says exactly what it lost.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{Cmd, Framing, Messaging, Overflow};
use procession_tests::{Checked, Tally, Within as _, checked, checked_for, fixture, programs};

fn numbers(count: u64, messaging: Messaging) -> Cmd {
    Cmd::new(fixture!("source"))
        .args(["numbered", &count.to_string()])
        .messaging(messaging)
}

/// In both directions, so that there is credit.
fn frames() -> Messaging {
    Messaging::named_pipes().framing(Framing::Frames)
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
    checked_for(Duration::from_mins(2), async |test| {
        all_in_order_with_pauses(test, 1_000_000, frames()).await;
    });
}

#[test]
fn block_loses_nothing_of_a_million_messages_in_frames_without_credit() {
    checked_for(Duration::from_mins(2), async |test| {
        let one_way = Messaging::standard_io()
            .framing(Framing::Frames)
            .output_only();
        all_in_order_with_pauses(test, 1_000_000, one_way).await;
    });
}

#[test]
fn block_loses_nothing_of_a_million_messages_in_lines() {
    checked_for(Duration::from_mins(2), async |test| {
        all_in_order_with_pauses(test, 1_000_000, lines()).await;
    });
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
                Tally::of(&mut stream).await,
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
            tally.add(item);
            if tally.arrived.is_multiple_of(1_000) {
                pause(test).await;
            }
        }
        assert_eq!(tally.arrived + tally.lost, 200_000);
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
        let tally = Tally::of(&mut stream).await;
        assert_eq!(tally.arrived + tally.lost, 50);
        assert!(
            (1..=10).contains(&tally.arrived),
            "1,000 bytes hold at most ten of 100: {tally:?}"
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
                Tally::of(&mut stream).await,
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
