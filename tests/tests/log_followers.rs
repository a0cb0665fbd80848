//! Followers of a log, by both routes: where they begin and end, and the times that they give.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use procession_manager::{
    Cmd, FollowFrom, Leftovers, LogCursor, LogLine, LogRoute, Logging, LogsQuery, OutputState,
    ProcessManager,
};
use procession_tests::logs::{
    ROUTES, SOON, STDOUT, all, ends, follow, go_on, line, numbered, query, rest, sh, stdout,
    steered, texts, written,
};
use procession_tests::{Within as _, checked, eventually, fixture, procfs};
use rustix::process::{Pid, Signal, kill_process};

/// What was there before anybody followed has no time, even if nobody has asked for it before.
#[test]
fn a_follower_gives_no_time_to_what_was_written_before_it() {
    checked(async |test| {
        let child = test.spawn(sh("seq 1 100", stdout(LogRoute::File))).await;
        ends(&child).await;
        let lines = rest(follow(&child, FollowFrom::Beginning).await).await;
        assert_eq!(lines.len(), 100);
        assert!(
            lines.iter().all(|line| line.time().is_none()),
            "{:?}",
            lines[0]
        );
    });
}

/// Somebody who asks does not take the time of a line away from those who follow.
#[test]
fn queries_beside_a_follower_on_the_file_route_leave_it_its_times() {
    checked(async |test| {
        let script = "echo 0; read -r x; for i in $(seq 1 3000); do echo $i; done";
        let child = test.spawn(steered(script, stdout(LogRoute::File))).await;
        let mut follower = follow(&child, FollowFrom::Beginning).await;
        // Has been seen while it follows.
        assert_eq!(line(&mut follower).await.text(), "0");
        go_on(&child).await;
        let asking = async {
            eventually("all of its lines", SOON, async || {
                let page = query(&child, LogsQuery::last(1)).await;
                (page.written() == 3001 && page.is_complete()).then_some(())
            })
            .await;
        };
        let (lines, ()) = tokio::join!(rest(follower), asking);
        assert_eq!(lines.len(), 3000);
        let without = lines.iter().filter(|line| line.time().is_none()).count();
        assert_eq!(without, 0, "lines without a time");
        ends(&child).await;
    });
}

#[test]
fn followers_begin_where_they_are_told_and_end_with_the_output() {
    let script = "echo 0; echo 1; read -r x; printf 2a; read -r x; printf '2b\n3\n4'; read -r x";
    for route in ROUTES {
        checked(async |test| {
            let child = test.spawn(steered(script, stdout(route))).await;
            let page = written(&child, STDOUT, 2).await;
            assert_eq!(page.cursor().line(), 2);
            let from_1 = LogCursor::before_line(1);
            let begin = [
                (FollowFrom::Beginning, 0),
                (FollowFrom::Line(0), 0),
                (FollowFrom::Line(1), 1),
                (FollowFrom::Cursor(from_1), 1),
                (FollowFrom::Cursor(page.cursor()), 2),
                (FollowFrom::End, 2),
                (FollowFrom::Line(4), 4),
            ];
            let mut followers = Vec::new();
            // Several of each, all at once.
            for (from, first) in begin.into_iter().cycle().take(3 * begin.len()) {
                let mut follower = follow(&child, from).await;
                let mut before = Vec::new();
                for _ in first..2 {
                    before.push(line(&mut follower).await);
                }
                assert!(
                    follower.next().now_or_never().is_none(),
                    "there is no more yet"
                );
                followers.push((first, before, follower));
            }
            // The end is where they have looked first.
            let reading = followers
                .into_iter()
                .map(|(first, before, follower)| async move {
                    let rest = follower.map(Result::unwrap).collect::<Vec<_>>().await;
                    (first, [before, rest].concat())
                });
            let reading = tokio::spawn(futures::future::join_all(reading));
            go_on(&child).await;
            let page = written(&child, STDOUT, 3).await;
            assert!(!page.lines()[2].is_ended());
            assert_eq!(page.cursor().line(), 2);
            let mut other = follow(&child, FollowFrom::Line(2)).await;
            assert!(other.next().now_or_never().is_none());
            go_on(&child).await;
            let open = written(&child, STDOUT, 5).await;
            assert!(!open.lines()[4].is_ended());
            assert_eq!(
                line(&mut other).await.text(),
                "2a2b",
                "whole, and not before"
            );
            assert_eq!(other.cursor().line(), 3);
            // The cursor of one is another's beginning.
            let mut third = follow(&child, FollowFrom::Cursor(other.cursor())).await;
            assert_eq!(line(&mut third).await.text(), "3");
            go_on(&child).await;
            assert_eq!(ends(&child).await, OutputState::Complete);
            let ended = reading.within("the ends of all streams").await.unwrap();
            assert_eq!(ended.len(), 21);
            let expected = ["0", "1", "2a2b", "3", "4"];
            for (first, lines) in ended {
                let expected: Vec<_> = (0..).zip(expected.map(String::from)).skip(first).collect();
                assert_eq!(numbered(&lines), expected);
                let ended = |line: &LogLine| line.is_ended() == (line.number() < 4);
                assert!(lines.iter().all(ended), "{lines:?}");
            }
            assert_eq!(texts(&rest(third).await), ["4"]);
            // All that is there, also after the end; and nothing from there on.
            assert_eq!(
                texts(&rest(follow(&child, FollowFrom::Beginning).await).await),
                expected
            );
            assert!(rest(follow(&child, FollowFrom::End).await).await.is_empty());
        });
    }
}

/// Ends a process that was left behind.
async fn end(pid: u32) {
    let number = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(number, Signal::KILL).expect("it is there and ours");
    eventually("the process left behind to be gone", SOON, async || {
        (!procfs::is_alive(pid)).then_some(())
    })
    .await;
}

#[test]
fn a_file_that_somebody_holds_open_is_cut_and_ends_its_followers() {
    checked(async |test| {
        let child = Cmd::new(fixture!("leak_grandchild")).leftovers(Leftovers::Leave);
        let logging = Logging::stdout_and_stderr().route(LogRoute::File);
        let child = test.spawn(child.logging(logging)).await;
        let lines = rest(follow(&child, FollowFrom::Beginning).await).await;
        let report = child.wait().within("the end").await.unwrap();
        assert_eq!(report.output(), OutputState::Cut);
        assert_eq!(lines.len(), 1);
        let page = all(&child).await;
        assert!(page.is_complete());
        end(lines[0].text().parse().unwrap()).await;
    });
}

/// One that goes on writing is waited for until the hard bound, where nobody follows and where somebody does.
#[test]
fn a_file_that_somebody_goes_on_writing_is_cut_at_the_bound() {
    checked(async |test| {
        let builder = ProcessManager::builder().working_directory(test.scratch());
        let builder = builder.drain_quiet(Duration::from_secs(25));
        let manager = builder
            .drain_bound(Duration::from_millis(200))
            .spawn()
            .unwrap();
        for followed in [false, true] {
            let script = "set -m; (while :; do echo x; done) & echo $! >&2";
            let logging = Logging::stdout_and_stderr().route(LogRoute::File);
            let child = manager.spawn_with_handle(sh(script, logging).leftovers(Leftovers::Leave));
            let child = child.await.unwrap();
            let follower = if followed {
                Some(follow(&child, FollowFrom::Beginning).await)
            } else {
                None
            };
            let report = child.wait().within("the bound").await.unwrap();
            assert_eq!(report.output(), OutputState::Cut);
            let pid = child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap();
            end(pid[0].parse().unwrap()).await;
            if let Some(follower) = follower {
                assert!(rest(follower).await.iter().all(|line| line.text() == "x"));
            }
        }
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}
