//! Several subscriptions to one process, each with a policy of its own, and what waits while there is
//! none.

use futures::StreamExt as _;
use procession_manager::{Cmd, Framing, Messaging, Overflow, Subscription};
use procession_tests::{Tally, Within as _, checked, fixture, programs};

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
            Tally::of(&mut complete).await,
            Tally {
                arrived: 20_000,
                lost: 0
            }
        );
        assert_eq!(
            Tally::of(&mut small).await,
            Tally {
                arrived: 10,
                lost: 19_990
            }
        );
        assert_eq!(
            Tally::of(&mut large).await,
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
            Tally::of(&mut stream).await,
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
            Tally::of(&mut stream).await,
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
            Tally::of(&mut stream).await,
            Tally {
                arrived: 100_000,
                lost: 0
            }
        );
        assert!(child.wait().within("the exit").await.unwrap().success());
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
