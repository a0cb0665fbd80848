//! How soon a child learns that a request is no longer wanted, and that it is to stop.
//!
//! Serial: it measures time.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use procession_manager::{
    Cmd, ExitCause, Framing, Message, MessageStream, Messaging, ProcessHandle, RequestError,
    RequestOptions,
};
use procession_tests::{Within as _, alone, checked, ci_factor, fixture, say, workers};

const ROUNDS: usize = 100;
/// From the drop to what the child says about it.
const BOUND: Duration = Duration::from_millis(50);
/// From a deadline to the error and to the child, where the machine may be busy when the timer is due.
const LATE: Duration = Duration::from_millis(250);

fn sees_cancels(how: &str, messaging: Messaging) -> Cmd {
    let messaging = messaging.framing(Framing::Frames);
    Cmd::new(fixture!("sees_cancels"))
        .arg(how)
        .messaging(messaging)
}

async fn says(messages: &mut MessageStream, expected: String) {
    let message = messages.next().within(&expected).await.unwrap().unwrap();
    assert_eq!(message, expected.as_str());
}

/// Prints the median and the worst, and holds the worst against the bound.
fn judge(what: &str, mut times: Vec<Duration>, bound: Duration) {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], *times.last().unwrap());
    say(&format!("{what}: median {median:?}, worst {worst:?}"));
    assert!(worst < bound * ci_factor(), "{what}: {times:?}");
}

#[test]
fn a_dropped_request_is_cancelled_at_once() {
    let _alone = alone();
    for how in ["threads", "tokio"] {
        for messaging in [Messaging::standard_io(), Messaging::named_pipes()] {
            checked(async |test| {
                let child = test.spawn(sees_cancels(how, messaging)).await;
                let mut messages = child.subscribe_message_stream().await.unwrap();
                let mut times = Vec::new();
                for number in 0..ROUNDS {
                    let mut asking = Box::pin(child.request(number.to_string()));
                    assert!(futures::poll!(&mut asking).is_pending());
                    says(&mut messages, format!("begun {number}")).await;
                    let dropped = Instant::now();
                    drop(asking);
                    says(&mut messages, format!("cancelled {number}")).await;
                    times.push(dropped.elapsed());
                }
                judge(how, times, BOUND);
                let reply = child.request("reply").within("a reply").await.unwrap();
                assert_eq!(reply, "replied");
            });
        }
    }
}

/// Waits for the end of a request; gives whether the child had begun it before, and when it ended.
async fn end(
    asking: impl Future<Output = Result<Message, RequestError>>,
    messages: &mut MessageStream,
    number: usize,
) -> (bool, Instant) {
    let begins = format!("begun {number}");
    let mut asking = pin!(asking);
    let mut begun = false;
    loop {
        tokio::select! {
            end = &mut asking => {
                let ended = Instant::now();
                let error = end.unwrap_err();
                assert!(matches!(error, RequestError::TimedOut { .. }), "{error}");
                return (begun, ended);
            }
            message = messages.next() => begun |= message.unwrap().unwrap() == begins.as_str(),
        }
    }
}

#[test]
fn a_deadline_is_kept_and_cancels() {
    let _alone = alone();
    for how in ["threads", "tokio"] {
        checked(async |test| {
            let messaging = Messaging::standard_io();
            let child = test.spawn(sees_cancels(how, messaging)).await;
            let mut messages = child.subscribe_message_stream().await.unwrap();
            let reply = child.request("reply").within("a reply").await.unwrap();
            assert_eq!(reply, "replied");
            let (mut late, mut seen) = (Vec::new(), Vec::new());
            for number in 0..ROUNDS {
                let deadline = Duration::from_millis(5) * u32::try_from(number % 4 + 1).unwrap();
                let options = RequestOptions::new().deadline(deadline);
                let asked = Instant::now();
                let asking = child.request_with(number.to_string(), options);
                let ending = end(asking, &mut messages, number);
                let (begun, ended) = ending.within("the deadline").await;
                let took = ended.saturating_duration_since(asked);
                assert!(took >= deadline, "{took:?} of {deadline:?}");
                late.push(took.saturating_sub(deadline));
                // One that was cancelled before it had begun has nothing to see.
                if begun {
                    let cancelled = format!("cancelled {number}");
                    while messages.next().within(&cancelled).await.unwrap().unwrap()
                        != cancelled.as_str()
                    {}
                    seen.push(ended.elapsed());
                }
            }
            assert!(seen.len() > ROUNDS / 2, "only {} had begun", seen.len());
            judge(&format!("{how}, after the deadline"), late, LATE);
            judge(&format!("{how}, from there to the child"), seen, LATE);
        });
    }
}

/// Asks many requests that only the stop ends, and stops the child.
async fn stop_busy(child: &ProcessHandle) -> Duration {
    child.wait_ready().within("ready").await.unwrap();
    let mut held: Vec<_> = (0..32).map(|_| Box::pin(child.request("hold"))).collect();
    for request in &mut held {
        assert!(futures::poll!(request).is_pending());
    }
    let reply = child.request("echo all are there").within("a reply").await;
    assert_eq!(reply.unwrap(), "all are there");
    let begun = Instant::now();
    let (replies, report) = tokio::join!(join_all(held), child.stop().within("the stop"));
    let took = begun.elapsed();
    for reply in replies {
        assert_eq!(reply.unwrap(), "stopped");
    }
    let report = report.unwrap();
    assert_eq!(
        (report.code(), report.cause()),
        (Some(0), ExitCause::Stopped)
    );
    took
}

#[test]
fn a_busy_child_stops_at_once() {
    let _alone = alone();
    for worker in workers!() {
        checked(async |test| {
            let mut times = Vec::new();
            for _ in 0..10 {
                let child = test.spawn(worker.cmd(Messaging::standard_io())).await;
                times.push(stop_busy(&child).await);
            }
            let what = format!("{}, a stop with 32 requests", worker.name);
            judge(&what, times, Duration::from_millis(500));
        });
    }
}
