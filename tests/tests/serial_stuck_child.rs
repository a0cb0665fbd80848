//! Children that never read, with their pipes full and senders waiting, delay nobody else.
//!
//! Serial: it compares times. Calls with and without the stuck children are made in turns, so that a
//! change of the machine's load meets both alike. What is slower with them than without is asked again: a spawn is
//! mostly two wake-ups of sleeping threads, which take half as long again for many rounds by themselves, and a delay by a
//! stuck child is there each time.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use procession_manager::{Cmd, Framing, Message, Messaging, ProcessHandle, WriteMessageError};
use procession_tests::{Checked, Within as _, alone, checked_for, ci_factor, fixture, programs};

const ROUNDS: usize = 10;
const CALLS_A_ROUND: usize = 100;
const SENDERS: usize = 20;
/// Slower as often as this, it is not by chance.
const ATTEMPTS: usize = 3;
/// More than the runtime has threads: where one stuck child holds up a thread, all of them are.
const STUCK: usize = 4;

#[derive(Default)]
struct Times {
    info: Vec<Duration>,
    spawn: Vec<Duration>,
    kill: Vec<Duration>,
}

#[test]
fn a_stuck_child_over_named_pipes_delays_nobody() {
    stuck_child_delays_nobody(&Messaging::named_pipes().framing(Framing::Frames));
}

#[test]
fn a_stuck_child_over_standard_io_delays_nobody() {
    stuck_child_delays_nobody(&Messaging::standard_io().framing(Framing::Lines));
}

fn stuck_child_delays_nobody(messaging: &Messaging) {
    let _alone = alone();
    checked_for(Duration::from_mins(5), async |test| {
        let mut slower = Vec::new();
        for _ in 0..ATTEMPTS {
            match with_and_without(test, messaging).await {
                Ok(()) => return,
                Err(what) => slower.push(what),
            }
        }
        panic!("each time: {slower:#?}");
    });
}

/// What is slower with the stuck children than without, if anything is.
async fn with_and_without(test: &Checked, messaging: &Messaging) -> Result<(), String> {
    let mut without = Times::default();
    let mut with = Times::default();
    for _ in 0..ROUNDS {
        measure(test, &mut without).await;
        let mut stuck = Vec::new();
        for _ in 0..STUCK {
            let child = Cmd::new(fixture!("never_reads")).messaging(messaging.clone());
            let child = test.spawn(child).await;
            let waiting = fill(test, &child).await;
            stuck.push((child, waiting));
        }
        measure(test, &mut with).await;
        for (child, waiting) in stuck {
            assert!(
                waiting.iter().all(|sender| !sender.is_finished()),
                "the senders still wait"
            );
            child
                .kill()
                .within("the kill of the stuck child")
                .await
                .unwrap();
            for sender in waiting {
                let sent = sender.within("a sender to be told").await.unwrap();
                sent.expect_err("what was not in the pipe cannot have been sent");
            }
            child.remove().await.unwrap();
        }
    }
    compare("get_process_info", &without.info, &with.info)?;
    compare("spawn", &without.spawn, &with.spawn)?;
    compare("kill", &without.kill, &with.kill)
}

type Sender = tokio::task::JoinHandle<Result<(), WriteMessageError>>;

/// Fills the pipe and the queue, and leaves more senders waiting.
async fn fill(test: &Checked, stuck: &ProcessHandle) -> Vec<Sender> {
    let mut stream = stuck.subscribe_message_stream().await.unwrap();
    let first = stream
        .next()
        .within("the child to be there")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first, "here");
    let message = Message::from(vec![b'x'; 32 * 1024]);
    // Full is what is still full after the writer has had the time that another process takes to come
    // and go.
    let mut full_in_a_row = 0;
    while full_in_a_row < 3 {
        match stuck.try_send_message(message.clone()) {
            Ok(()) => full_in_a_row = 0,
            Err(WriteMessageError::BufferFull(_)) => {
                full_in_a_row += 1;
                let other = test.spawn(Cmd::new(programs::sh()).args(["-c", ":"])).await;
                other.wait().await.unwrap();
                other.remove().await.unwrap();
            }
            Err(other) => panic!("unexpected: {other}"),
        }
    }
    let sender = |_| {
        let (process, message) = (stuck.clone(), message.clone());
        tokio::spawn(async move { process.send_message(message).await })
    };
    (0..SENDERS).map(sender).collect()
}

async fn measure(test: &Checked, times: &mut Times) {
    let observed = test
        .spawn(Cmd::new(programs::sh()).args(["-c", "exec sleep 1000"]))
        .await;
    for _ in 0..CALLS_A_ROUND {
        let start = Instant::now();
        // By its id, so that the manager is asked.
        let manager = test.manager();
        manager.get_process_info(observed.id()).await.unwrap();
        times.info.push(start.elapsed());

        let start = Instant::now();
        let process = test
            .manager()
            .spawn_with_handle(Cmd::new("/bin/sleep").arg("1000"))
            .await
            .unwrap();
        times.spawn.push(start.elapsed());

        let start = Instant::now();
        process.kill().await.unwrap();
        times.kill.push(start.elapsed());
        process.remove().await.unwrap();
    }
    observed.kill().await.unwrap();
    observed.remove().await.unwrap();
}

fn compare(call: &str, without: &[Duration], with: &[Duration]) -> Result<(), String> {
    assert_eq!((without.len(), with.len()), (1_000, 1_000));
    let longest = with.iter().max().copied().unwrap_or_default();
    assert!(
        longest < Duration::from_secs(1) * ci_factor(),
        "a {call} took {longest:?}"
    );
    let (before, now) = (median(without), median(with));
    if now.as_secs_f64() <= before.as_secs_f64() * 1.5 * f64::from(ci_factor()) {
        return Ok(());
    }
    Err(format!(
        "{call}: median {before:?} without the stuck children, {now:?} with them"
    ))
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
