//! What a parent costs when nothing happens, and what is left when nobody asks.
//!
//! Serial: it measures the processor time and counts the children of the whole process.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Backoff, Cmd, ExitReport, Framing, Logging, Message, Messaging, Supervision, WriteMessageError,
};
use procession_tests::{
    Checked, Within as _, alone, checked, ci_factor, eventually, fixture, procfs, programs,
};

/// The processor time that this process uses while another process lives for a second.
async fn cpu_time_of_a_second(test: &Checked) -> Duration {
    let second = test
        .spawn(Cmd::new(programs::sh()).args(["-c", "exec sleep 1"]))
        .await;
    let before = procfs::cpu_time();
    second.wait().within("the exit of sleep").await.unwrap();
    let used = procfs::cpu_time().saturating_sub(before);
    second.remove().await.unwrap();
    used
}

#[test]
fn a_stream_delivers_all_and_ends_and_then_costs_nothing() {
    let _alone = alone();
    for messaging in [
        Messaging::named_pipes().framing(Framing::Frames),
        Messaging::named_pipes().framing(Framing::Lines),
        Messaging::standard_io().framing(Framing::Frames),
        Messaging::standard_io().framing(Framing::Lines),
    ] {
        checked(async |test| {
            let source = Cmd::new(fixture!("source")).args(["numbered", "500"]);
            let child = test.spawn(source.messaging(messaging)).await;
            let stream = child.subscribe_message_stream().await.unwrap();
            let numbers: Vec<u64> = stream
                .map(|message| message.unwrap().as_str().unwrap().parse::<u64>().unwrap())
                .collect()
                .within("the end of the stream")
                .await;
            assert!(numbers.into_iter().eq(0..500));
            // Not removed: its entry, directory and handle are all still there.
            let used = cpu_time_of_a_second(test).await;
            assert!(
                used < Duration::from_millis(20) * ci_factor(),
                "used {used:?} in a second"
            );
        });
    }
}

#[test]
fn a_crash_loop_that_was_given_up_costs_nothing() {
    let _alone = alone();
    checked(async |test| {
        let at_once = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
        let rules = Supervision::default().backoff(at_once);
        let cmd = Cmd::new(programs::sh()).args(["-c", "exit 3"]);
        let child = test.spawn(cmd.supervised(rules)).await;
        child.wait().within("it to be given up").await.unwrap();
        let used = cpu_time_of_a_second(test).await;
        assert!(
            used < Duration::from_millis(20) * ci_factor(),
            "used {used:?} in a second"
        );
        let info = child.get_process_info().await.unwrap();
        assert_eq!(info.run(), 5, "nothing was started again meanwhile");
    });
}

#[test]
fn a_child_that_waits_costs_nothing() {
    let _alone = alone();
    checked(async |test| {
        let child = Cmd::new("cat")
            .messaging(Messaging::standard_io())
            .logging(Logging::stderr());
        let child = test.spawn(child).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        child.send_message("hello").await.unwrap();
        assert_eq!(
            stream.next().within("the echo").await.unwrap().unwrap(),
            "hello"
        );
        let waiting = tokio::spawn({
            let child = child.clone();
            async move { child.wait().await }
        });
        let used = cpu_time_of_a_second(test).await;
        assert!(
            used < Duration::from_millis(20) * ci_factor(),
            "used {used:?} in a second"
        );
        child.kill().await.unwrap();
        waiting.await.unwrap().unwrap();
    });
}

/// Neither the writer nor the senders look again and again whether there is room.
#[test]
fn a_full_pipe_with_senders_waiting_costs_nothing() {
    let _alone = alone();
    for messaging in [
        Messaging::named_pipes().framing(Framing::Frames),
        Messaging::standard_io().framing(Framing::Lines),
    ] {
        checked(async |test| {
            let stuck = Cmd::new(fixture!("never_reads")).messaging(messaging);
            let stuck = test.spawn(stuck).await;
            let mut stream = stuck.subscribe_message_stream().await.unwrap();
            stream
                .next()
                .within("the child to be there")
                .await
                .unwrap()
                .unwrap();
            // Two of these fill the pipe and the queue.
            let message = Message::from(vec![b'x'; 1 << 20]);
            let sender = |_| {
                let (process, message) = (stuck.clone(), message.clone());
                tokio::spawn(async move { process.send_message(message).await })
            };
            let waiting: Vec<_> = (0..20).map(sender).collect();
            eventually("the queue to be full", Duration::from_secs(5), async || {
                matches!(
                    stuck.try_send_message(message.clone()),
                    Err(WriteMessageError::BufferFull(_))
                )
                .then_some(())
            })
            .await;
            let used = cpu_time_of_a_second(test).await;
            assert!(
                used < Duration::from_millis(20) * ci_factor(),
                "used {used:?} in a second"
            );
            assert!(
                waiting.iter().all(|sender| !sender.is_finished()),
                "the senders still wait"
            );
            stuck.kill().within("the kill").await.unwrap();
            for sender in waiting {
                let sent = sender.within("a sender to be told").await.unwrap();
                sent.expect_err("the child has read nothing");
            }
        });
    }
}

#[test]
fn a_thousand_exits_that_nobody_asks_about_leave_no_zombie() {
    let _alone = alone();
    checked(async |test| {
        let mut ids = Vec::new();
        for _ in 0..1_000 {
            ids.push(test.manager().spawn(Cmd::new("/bin/true")).await.unwrap());
        }
        eventually(
            "all children to be reaped",
            Duration::from_secs(1),
            async || procfs::children().is_empty().then_some(()),
        )
        .await;
        let infos = test.manager().list().await.unwrap();
        assert_eq!(infos.len(), 1_000);
        assert!(
            infos
                .iter()
                .all(|info| info.exit().is_some_and(ExitReport::success))
        );
    });
}
