//! Children that are killed with requests under way: none of them hangs, and each ends in the reply that
//! belongs to it or in an error that names the exit, as soon as there is nothing more to come.
//!
//! Serial: it measures time.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::{Duration, Instant};

use futures::future::join_all;
use procession_manager::{
    Message, Messaging, ProcessHandle, RequestError, RequestOptions, Signal, Statistics,
};
use procession_tests::payload::Random;
use procession_tests::workers::Worker;
use procession_tests::{
    Checked, Within as _, alone, checked_for, ci_factor, eventually, say, workers,
};
use tokio::sync::mpsc;

/// Replies that may wait to be counted; more are not, and none is waited for.
const COUNTED: usize = 1024;
const TIME: Duration = Duration::from_mins(3);
/// From the end of the output to the end of the last request.
const BOUND: Duration = Duration::from_millis(100);
/// Requests that wait for a reply, and ones that never get any.
const ASKERS: usize = 32;
const WAITING: usize = 8;

/// When the child is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Small requests are under way.
    Small,
    /// The pipes are full both ways, and moving.
    Large,
    /// The pipe is full, and the child does not read.
    Stuck,
}

const MOMENTS: [Moment; 3] = [Moment::Small, Moment::Large, Moment::Stuck];

/// What came of a round.
#[derive(Debug, Default)]
struct Outcome {
    replies: usize,
    ended: usize,
    /// From the end of the output to the end of the last request.
    last: Duration,
}

/// A kill is the only error that there may be.
fn is_killed(error: &RequestError, child: &ProcessHandle) {
    match error {
        RequestError::ProcessExited { id, report, .. } => {
            assert_eq!((*id, report.signal()), (child.id(), Some(9)), "{error}");
        }
        other => panic!("{other}"),
    }
}

async fn ask(child: &ProcessHandle, what: impl Into<Message>) -> Result<Message, RequestError> {
    let options = RequestOptions::new().no_deadline();
    child.request_with(what, options).within("an end").await
}

/// Asks until the child is gone; gives how many replies there were, and when the last request ended.
async fn ask_until_it_ends(
    child: ProcessHandle,
    name: String,
    size: usize,
    replied: mpsc::Sender<()>,
) -> (usize, Instant) {
    for number in 0.. {
        let said = format!("{name} {number} {}", "x".repeat(size));
        match ask(&child, format!("echo {said}")).await {
            Ok(reply) => {
                assert_eq!(reply, said.as_str(), "another's reply");
                // The round counts no more once it has killed.
                let _ = replied.try_send(());
            }
            Err(error) => {
                is_killed(&error, &child);
                return (number, Instant::now());
            }
        }
    }
    unreachable!("it asks for ever")
}

async fn statistics(child: &ProcessHandle) -> Statistics {
    let info = child.get_process_info().await.unwrap();
    info.statistics().unwrap()
}

async fn round(test: &Checked, worker: &Worker, moment: Moment, random: &mut Random) -> Outcome {
    let messaging = match random.below(2) {
        0 => Messaging::standard_io(),
        _ => Messaging::named_pipes(),
    };
    let child = test.spawn(worker.cmd(messaging)).await;
    child.wait_ready().within("ready").await.unwrap();
    if let Moment::Stuck = moment {
        child.signal(Signal::STOP).await.unwrap();
    }
    let size = match moment {
        Moment::Small => random.below(1000),
        Moment::Large | Moment::Stuck => 100_000 + random.below(100_000),
    };
    let unanswered: Vec<_> = (0..WAITING)
        .map(|_| {
            let child = child.clone();
            tokio::spawn(async move {
                let error = ask(&child, "wait").await.unwrap_err();
                is_killed(&error, &child);
                (0, Instant::now())
            })
        })
        .collect();
    let (replied, mut replies) = mpsc::channel(COUNTED);
    let asking = (0..ASKERS).map(|asker| {
        let asking = ask_until_it_ends(child.clone(), asker.to_string(), size, replied.clone());
        tokio::spawn(asking)
    });
    let all: Vec<_> = asking.chain(unanswered).collect();
    let ended = tokio::spawn({
        let child = child.clone();
        async move {
            let report = child.wait().within("the exit").await.unwrap();
            (report, Instant::now())
        }
    });
    if let Moment::Stuck = moment {
        let open = u64::try_from(all.len()).unwrap();
        let what = "all to be under way";
        eventually(what, Duration::from_secs(20), async || {
            (statistics(&child).await.requests_waiting == open).then_some(())
        })
        .await;
    } else {
        let moment = match moment {
            Moment::Small => random.below(5_000),
            _ => random.below(200),
        };
        for _ in 0..moment {
            replies.recv().within("a reply").await.unwrap();
        }
    }
    child.signal(Signal::KILL).await.unwrap();
    let ends = join_all(all).within("the end of all requests").await;
    let (report, end) = ended.await.unwrap();
    assert_eq!(report.signal(), Some(9), "{report}");
    let mut outcome = Outcome::default();
    for request in ends {
        let (replies, at) = request.unwrap();
        let after = at.saturating_duration_since(end);
        assert!(
            after < BOUND * ci_factor(),
            "{}, {moment:?}: a request ended {after:?} after the output",
            worker.name
        );
        outcome.replies += replies;
        outcome.ended += 1;
        outcome.last = outcome.last.max(after);
    }
    assert_eq!(statistics(&child).await.requests_waiting, 0);
    child.remove().await.unwrap();
    outcome
}

#[test]
fn no_request_hangs_when_its_child_is_killed() {
    let _alone = alone();
    for (worker, rounds) in workers!().zip([102, 36, 33, 33]) {
        checked_for(TIME, async |test| {
            let mut random = Random::new(rounds);
            let mut total = Outcome::default();
            for number in 0..usize::try_from(rounds).unwrap() {
                let moment = MOMENTS[number % MOMENTS.len()];
                let outcome = round(test, &worker, moment, &mut random).await;
                total.replies += outcome.replies;
                total.ended += outcome.ended;
                total.last = total.last.max(outcome.last);
            }
            say(&format!(
                "{}: {rounds} kills, {} replies, {} requests ended by them, the last after {:?}",
                worker.name, total.replies, total.ended, total.last
            ));
        });
    }
}
