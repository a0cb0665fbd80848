//! Very many logs, each followed while it is written: every line arrives once and in order.
//!
//! Serial: it takes the whole machine.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use procession_manager::{
    Cmd, FollowFrom, LogFollower, LogRoute, LogStream, Logging, OutputState, ProcessManager,
};
use procession_tests::{Within as _, alone, checked_for, programs, say};
use tokio::task::JoinSet;

const CHILDREN: usize = 1000;
const LINES: u64 = 1000;
const LONG: Duration = Duration::from_mins(5);

/// Follows to the end; gives the number of the first line that was not as it should be, if there was one.
async fn read(child: usize, mut follower: LogFollower) -> Result<(), String> {
    let mut number = 0;
    while let Some(item) = follower.next().await {
        let line = item.map_err(|error| format!("{child}: {error}"))?;
        let expected = format!("{child} {}", number + 1);
        if line.number() != number || line.bytes().as_ref() != expected.as_bytes() {
            return Err(format!("instead of {number}, {expected}: {line:?}"));
        }
        number += 1;
    }
    if number == LINES {
        Ok(())
    } else {
        Err(format!("{child} has {number} lines"))
    }
}

fn a_thousand_followers(route: LogRoute) {
    let _alone = alone();
    checked_for(LONG, async |test| {
        let manager = ProcessManager::builder()
            .working_directory(test.scratch())
            .retain_exited(CHILDREN)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        // Each writes a part at once, and the rest only when all are followed.
        let gate = test.scratch().join("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::RWXU).unwrap();
        let script = r#"i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo "$0 $i"
            [ $i = 500 ] && read -r x <"$1"; done; exit 0"#;
        let spawning = futures::stream::iter(0..CHILDREN).map(|number| {
            let (manager, gate) = (&manager, &gate);
            async move {
                let cmd = Cmd::new(programs::sh())
                    .args(["-c", script, &number.to_string()])
                    .arg(gate)
                    .logging(Logging::stdout().route(route));
                let child = manager.spawn_with_handle(cmd).await.unwrap();
                let from = FollowFrom::Beginning;
                let follower = child.follow_logs(LogStream::Stdout, from).await.unwrap();
                (number, child, follower)
            }
        });
        let mut spawning = spawning.buffer_unordered(64);
        let (mut children, mut followers) = (Vec::new(), JoinSet::new());
        while let Some((number, child, follower)) = spawning.next().within("a child").await {
            children.push(child);
            followers.spawn(read(number, follower));
        }
        assert_eq!(children.len(), CHILDREN);
        say(&format!(
            "{route:?}: all are there after {:?}",
            begun.elapsed()
        ));
        // Open for writing and reading, so that nobody waits for anybody: as often as there are children,
        // each of which takes one line, all of them at once.
        let open = std::fs::File::options().read(true).write(true).open(&gate);
        let mut open = open.unwrap();
        let all = "\n".repeat(CHILDREN);
        std::io::Write::write_all(&mut open, all.as_bytes()).unwrap();
        while let Some(read) = followers.join_next().await {
            if let Err(wrong) = read.unwrap() {
                panic!("{wrong}");
            }
        }
        for child in &children {
            let report = child.wait().within("the end").await.unwrap();
            assert_eq!(
                (report.code(), report.output()),
                (Some(0), OutputState::Complete)
            );
        }
        say(&format!(
            "{route:?}: all is read after {:?}",
            begun.elapsed()
        ));
        drop(open);
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}

#[test]
fn a_thousand_logs_are_followed_by_the_pipe_route() {
    a_thousand_followers(LogRoute::Pipe);
}

#[test]
fn a_thousand_logs_are_followed_by_the_file_route() {
    a_thousand_followers(LogRoute::File);
}

/// What is being started has copies of what is open here, for a moment, which keeps nobody's output open.
#[test]
fn children_that_start_meanwhile_do_not_cut_the_output_of_others() {
    let _alone = alone();
    checked_for(LONG, async |test| {
        for route in [LogRoute::Pipe, LogRoute::File] {
            let lives = futures::stream::iter(0..2 * CHILDREN).map(|_| async {
                let cmd = Cmd::new(programs::sh()).args(["-c", "echo line"]);
                let child = test
                    .spawn(cmd.logging(Logging::stdout().route(route)))
                    .await;
                let report = child.wait().within("the end").await.unwrap();
                report.output() == OutputState::Complete
            });
            let complete = lives
                .buffer_unordered(32)
                .filter(|complete| std::future::ready(*complete));
            assert_eq!(complete.count().await, 2 * CHILDREN, "{route:?}");
        }
    });
}
