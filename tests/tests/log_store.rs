//! What a log keeps and how it is read, by both routes: odd lines, queries, followers, hooks, and logs
//! that somebody damages.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::{FutureExt as _, StreamExt as _};
use procession_manager::{
    Cmd, Event, EventStream, FollowFrom, FollowLogsError, GetLogsError, KeepLogsError, Leftovers,
    LogCursor, LogFollower, LogHook, LogLine, LogPage, LogRoute, LogStream, Logging, LogsQuery,
    Messaging, OutputState, ProcessHandle, ProcessId, ProcessManager, ProcessManagerHandle,
};
use procession_tests::{
    Checked, Within as _, checked, eventually, fixture, procfs, programs, run_directories, say,
};
use rustix::process::{Pid, Signal, kill_process};

const ROUTES: [LogRoute; 2] = [LogRoute::Pipe, LogRoute::File];
const STDOUT: LogStream = LogStream::Stdout;
const SOON: Duration = Duration::from_secs(20);

fn sh(script: &str, logging: Logging) -> Cmd {
    Cmd::new(programs::bash())
        .args(["-c", script])
        .logging(logging)
}

/// Its script waits with `read` until it is told to go on.
fn steered(script: &str, logging: Logging) -> Cmd {
    sh(script, logging).messaging(Messaging::standard_io().input_only())
}

fn stdout(route: LogRoute) -> Logging {
    Logging::stdout().route(route)
}

async fn go_on(child: &ProcessHandle) {
    child
        .send_message("go")
        .within("the sending")
        .await
        .unwrap();
}

async fn query(child: &ProcessHandle, query: LogsQuery) -> LogPage {
    child
        .query_logs(STDOUT, query)
        .within("the answer")
        .await
        .unwrap()
}

async fn all(child: &ProcessHandle) -> LogPage {
    query(child, LogsQuery::fetch_all()).await
}

/// Waits until so many lines have been written, the last one ended or not.
async fn written(child: &ProcessHandle, stream: LogStream, count: u64) -> LogPage {
    eventually(format!("{count} lines"), SOON, async || {
        let page = child
            .query_logs(stream, LogsQuery::fetch_all())
            .await
            .unwrap();
        (page.written() == count).then_some(page)
    })
    .await
}

async fn ends(child: &ProcessHandle) -> OutputState {
    let report = child.wait().within("the end").await.unwrap();
    assert_eq!(report.code(), Some(0), "{report}");
    report.output()
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| line.text().into()).collect()
}

/// Numbers and texts.
fn numbered(lines: &[LogLine]) -> Vec<(u64, String)> {
    let pair = |line: &LogLine| (line.number(), line.text().into_owned());
    lines.iter().map(pair).collect()
}

async fn follow(child: &ProcessHandle, from: FollowFrom) -> LogFollower {
    child.follow_logs(STDOUT, from).await.unwrap()
}

async fn line(follower: &mut LogFollower) -> LogLine {
    let item = follower.next().within("a line").await;
    item.expect("a line, not the end").expect("a line")
}

/// All that is left.
async fn rest(follower: LogFollower) -> Vec<LogLine> {
    let items = follower.collect::<Vec<_>>().within("the end of the stream");
    items.await.into_iter().map(Result::unwrap).collect()
}

/// Waits until the clock shows a later time than any line that arrived before now can have, and gives it.
async fn later() -> SystemTime {
    let before = SystemTime::now();
    eventually("the clock to go on", SOON, async || {
        let now = SystemTime::now();
        (now > before + Duration::from_millis(20)).then_some(now)
    })
    .await
}

async fn fault(events: &mut EventStream) -> String {
    loop {
        let event = events.next().within("a fault of a log").await;
        if let Event::LogFault { reason, .. } = event.expect("a fault, not the end") {
            return reason;
        }
    }
}

/// The file of a log in the only run directory.
fn file_of(test: &Checked, name: &str) -> PathBuf {
    let directories = test.run_directories();
    assert_eq!(directories.len(), 1, "{directories:?}");
    directories[0].join(name)
}

#[test]
fn special_lines() {
    const LONG: usize = 100_000_000;
    let script = r"
        printf '\n\nplain\ndos\r\n\0 nul \0\n\377\376 raw\n'
        head -c 100000000 /dev/zero | tr '\0' x
        printf '\n\nno newline'";
    let short: [(&[u8], &str); 6] = [
        (b"", ""),
        (b"", ""),
        (b"plain", "plain"),
        (b"dos\r", "dos"),
        (b"\0 nul \0", "\0 nul \0"),
        (b"\xff\xfe raw", "\u{fffd}\u{fffd} raw"),
    ];
    let check = |lines: &[LogLine]| {
        assert_eq!(lines.len(), 9);
        for (number, line) in (0..).zip(lines) {
            assert_eq!((line.number(), line.stream()), (number, STDOUT));
            assert_eq!(line.is_ended(), number < 8, "line {number}");
        }
        for (line, (bytes, text)) in lines.iter().zip(short) {
            assert_eq!((line.bytes().as_ref(), line.text().as_ref()), (bytes, text));
        }
        assert_eq!(lines[6].bytes().len(), LONG);
        assert!(lines[6].bytes().iter().all(|&byte| byte == b'x'));
        assert_eq!(lines[7].bytes().as_ref(), b"");
        assert_eq!(lines[8].bytes().as_ref(), b"no newline");
    };
    for route in ROUTES {
        checked(async |test| {
            let child = test.spawn(sh(script, stdout(route).unlimited())).await;
            let follower = follow(&child, FollowFrom::Beginning).await;
            check(&rest(follower).await);
            assert_eq!(ends(&child).await, OutputState::Complete);
            let page = all(&child).await;
            assert_eq!(
                (page.written(), page.dropped(), page.first_kept()),
                (9, 0, 0)
            );
            assert!(page.is_complete() && page.damage().is_none());
            check(page.lines());
            check(&rest(follow(&child, FollowFrom::Beginning).await).await);
            // What is behind the long line is found without it, and the long line by what is in it.
            assert_eq!(
                texts(query(&child, LogsQuery::last(1)).await.lines()),
                ["no newline"]
            );
            let raw = LogsQuery::fetch_all().containing(b"\xff\xfe");
            assert_eq!(query(&child, raw).await.lines()[0].number(), 5);
        });
    }
}

#[test]
fn forms_of_queries() {
    for route in ROUTES {
        checked(async |test| {
            let child = test.spawn(sh("seq 0 9999", stdout(route))).await;
            ends(&child).await;
            let get = async |question| {
                let page = query(&child, question).await;
                assert_eq!((page.written(), page.dropped()), (10_000, 0));
                let line = page.cursor().line();
                let numbers = page.lines().iter().map(LogLine::number).collect::<Vec<_>>();
                for (number, text) in numbered(page.lines()) {
                    assert_eq!(number.to_string(), text);
                }
                (numbers, line)
            };
            let range = |from: u64, to: u64| (from..to).collect::<Vec<_>>();
            let whole = (range(0, 10_000), 10_000);
            assert_eq!(get(LogsQuery::fetch_all()).await, whole);
            let offset = LogsQuery::with_offset(9_990);
            assert_eq!(get(offset).await, (range(9_990, 10_000), 10_000));
            let both = LogsQuery::with_offset_and_limit(5_000, 10);
            assert_eq!(get(both).await, (range(5_000, 5_010), 5_010));
            assert_eq!(get(LogsQuery::with_limit(3)).await, (range(0, 3), 3));
            assert_eq!(get(LogsQuery::with_limit(0)).await, (vec![], 0));
            let last = LogsQuery::last(5);
            assert_eq!(get(last).await, (range(9_995, 10_000), 10_000));
            assert_eq!(get(LogsQuery::last(0)).await.0, range(0, 0));
            assert_eq!(get(LogsQuery::last(20_000)).await, whole);
            let last = LogsQuery::last(3).containing("777");
            assert_eq!(get(last).await.0, [7_779, 8_777, 9_777]);
            let found = LogsQuery::fetch_all().containing("99").containing("0");
            let expected = |n: &u64| n.to_string().contains("99") && n.to_string().contains('0');
            let expected: Vec<_> = (0..10_000).filter(expected).collect();
            assert_eq!(get(found.clone()).await, (expected.clone(), 10_000));
            // The limit is on what is found, and the search goes on behind that.
            let (first, cursor) = get(found.clone().limit(4)).await;
            assert_eq!((&first[..], cursor), (&expected[..4], expected[3] + 1));
            let next = LogsQuery::from_cursor(LogCursor::before_line(cursor));
            let next = next.containing("99").containing("0").limit(4);
            assert_eq!(get(next).await.0, &expected[4..8]);
            assert_eq!(
                get(LogsQuery::fetch_all().containing("x")).await.0,
                range(0, 0)
            );
            let beyond = LogsQuery::with_offset(20_000);
            assert_eq!(get(beyond).await, (vec![], 20_000));
        });
    }
}

#[test]
fn page_by_page_through_a_running_process() {
    let script = "for i in $(seq 0 2999); do echo line $i; done
        printf 'line '; read -r x; echo 3000; read -r x";
    for route in ROUTES {
        checked(async |test| {
            let child = test.spawn(steered(script, stdout(route))).await;
            let (mut cursor, mut found) = (LogCursor::default(), Vec::new());
            eventually("the open line", SOON, async || {
                let page = query(&child, LogsQuery::from_cursor(cursor).limit(400)).await;
                assert!(!page.is_complete());
                cursor = page.cursor();
                let open = page.lines().last().is_some_and(|line| !line.is_ended());
                found.extend(page.into_lines());
                if !open {
                    return None;
                }
                // It comes again, since it has more to come; as may a line that was caught half written.
                let end = found.pop().unwrap();
                assert_eq!(cursor.line(), end.number());
                (end.number() == 3000).then_some(())
            })
            .await;
            go_on(&child).await;
            eventually("the whole line", SOON, async || {
                let page = query(&child, LogsQuery::from_cursor(cursor)).await;
                let line = page.lines().first().filter(|line| line.is_ended())?;
                found.push(line.clone());
                cursor = page.cursor();
                Some(())
            })
            .await;
            let expected: Vec<_> = (0..=3000).map(|n| (n, format!("line {n}"))).collect();
            assert_eq!(numbered(&found), expected);
            go_on(&child).await;
            ends(&child).await;
            let page = query(&child, LogsQuery::from_cursor(cursor)).await;
            assert!(page.is_complete() && page.lines().is_empty());
            assert_eq!(page.cursor(), cursor);
        });
    }
}

#[test]
fn times_on_the_pipe_route() {
    checked(async |test| {
        let script = "echo a; read -r x; echo b; read -r x; echo c";
        let began = SystemTime::now() - Duration::from_millis(1);
        let child = test.spawn(steered(script, stdout(LogRoute::Pipe))).await;
        written(&child, STDOUT, 1).await;
        let after_a = later().await;
        go_on(&child).await;
        written(&child, STDOUT, 2).await;
        let after_b = later().await;
        go_on(&child).await;
        ends(&child).await;
        let page = all(&child).await;
        let times: Vec<_> = page
            .lines()
            .iter()
            .map(|line| line.time().unwrap())
            .collect();
        let now = SystemTime::now();
        assert!(began <= times[0] && times[0] < after_a, "{times:?}");
        assert!(after_a <= times[1] && times[1] < after_b, "{times:?}");
        assert!(after_b <= times[2] && times[2] <= now, "{times:?}");
        let get = async |question| texts(query(&child, question).await.lines());
        let every = LogsQuery::fetch_all;
        assert_eq!(get(every().since(after_a)).await, ["b", "c"]);
        assert_eq!(get(every().until(after_b)).await, ["a", "b"]);
        assert_eq!(get(every().since(after_a).until(after_b)).await, ["b"]);
        assert_eq!(get(LogsQuery::last(1).until(after_b)).await, ["b"]);
        assert_eq!(
            get(every().since(times[1])).await,
            ["b", "c"],
            "at that time, or after it"
        );
        assert_eq!(
            get(every().until(times[1])).await,
            ["a"],
            "before that time"
        );
        assert_eq!(
            get(every().since(SystemTime::UNIX_EPOCH)).await,
            ["a", "b", "c"]
        );
        let nothing: [&str; 0] = [];
        assert_eq!(get(every().until(SystemTime::UNIX_EPOCH)).await, nothing);
        let future = now + Duration::from_hours(1);
        assert_eq!(get(every().since(future)).await, nothing);
    });
}

/// Times are known of what was written while somebody followed, whoever asks meanwhile.
#[test]
fn times_on_the_file_route() {
    checked(async |test| {
        let script = "echo a; read -r x; echo b; read -r x; echo c; read -r x; echo d; read -r x";
        let child = test.spawn(steered(script, stdout(LogRoute::File))).await;
        written(&child, STDOUT, 1).await;
        let unknown = async |time| {
            let question = LogsQuery::fetch_all().since(time);
            match child.query_logs(STDOUT, question).await {
                Err(GetLogsError::TimesUnknown(stream)) => assert_eq!(stream, STDOUT),
                other => panic!("unexpected: {other:?}"),
            }
        };
        unknown(SystemTime::UNIX_EPOCH).await;
        go_on(&child).await;
        // Seen before anybody follows.
        written(&child, STDOUT, 2).await;
        let mut follower = follow(&child, FollowFrom::Beginning).await;
        for name in ["a", "b"] {
            let line = line(&mut follower).await;
            assert_eq!((line.text().as_ref(), line.time()), (name, None));
        }
        let followed = later().await;
        go_on(&child).await;
        let c = line(&mut follower).await;
        let now = SystemTime::now();
        let time = c.time().expect("it was followed");
        assert!(followed <= time && time <= now, "{time:?}");
        let page = query(&child, LogsQuery::fetch_all().since(followed)).await;
        assert_eq!(texts(page.lines()), ["c"]);
        unknown(SystemTime::UNIX_EPOCH).await;
        // What comes while nobody follows has no time again.
        drop(follower);
        let after = later().await;
        go_on(&child).await;
        let page = written(&child, STDOUT, 4).await;
        let known: Vec<_> = page
            .lines()
            .iter()
            .map(|line| line.time().is_some())
            .collect();
        assert_eq!(known, [false, false, true, false]);
        unknown(after).await;
        go_on(&child).await;
        ends(&child).await;
    });
}

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

#[test]
fn both_streams_in_the_order_written() {
    for route in ROUTES {
        checked(async |test| {
            let script = "for i in $(seq 1 500); do echo out $i; echo err $i >&2; done";
            let child = test.spawn(sh(script, Logging::merged().route(route))).await;
            let followed = rest(follow(&child, FollowFrom::Beginning).await).await;
            assert_eq!(ends(&child).await, OutputState::Complete);
            let both = |i| [format!("out {i}"), format!("err {i}")];
            let expected: Vec<_> = (1..=500).flat_map(both).collect();
            assert_eq!(texts(&followed), expected);
            for stream in [LogStream::Merged, STDOUT, LogStream::Stderr] {
                let page = child
                    .query_logs(stream, LogsQuery::fetch_all())
                    .await
                    .unwrap();
                assert_eq!(texts(page.lines()), expected);
                assert!(
                    page.lines()
                        .iter()
                        .all(|line| line.stream() == LogStream::Merged)
                );
            }
        });
    }
}

/// Another child and its log, where something is wrong with a first.
async fn the_manager_goes_on(manager: &ProcessManagerHandle) {
    for route in ROUTES {
        let child = manager.spawn_with_handle(sh("echo fine", stdout(route)));
        let child = child.within("another child").await.unwrap();
        assert_eq!(ends(&child).await, OutputState::Complete);
        assert_eq!(texts(all(&child).await.lines()), ["fine"]);
        child.remove().await.unwrap();
    }
}

fn truncate(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(0).unwrap();
}

const THREE_AND_TWO: &str =
    "echo 0; echo 1; echo 2; read -r x; echo 3; read -r x; echo 4; read -r x; exit 0";

#[test]
fn a_file_of_the_pipe_route_is_damaged_under_us() {
    let remove: fn(&Path) = |path| fs::remove_file(path).unwrap();
    for damage in [remove, truncate] {
        checked(async |test| {
            let child = test
                .spawn(steered(THREE_AND_TWO, stdout(LogRoute::Pipe)))
                .await;
            let mut events = child.events();
            written(&child, STDOUT, 3).await;
            let mut follower = follow(&child, FollowFrom::Line(1)).await;
            assert_eq!(line(&mut follower).await.text(), "1");
            damage(&file_of(test, "stdout.log"));
            // The query says why it has no lines.
            let page = all(&child).await;
            assert_eq!(
                (page.written(), page.dropped(), page.lines().len()),
                (3, 3, 0)
            );
            let error = page.damage().expect("it cannot be read");
            let text = error.to_string();
            match child.get_logs_stdout(LogsQuery::fetch_all()).await {
                Err(GetLogsError::UnExpectedIoError { stream, source }) => {
                    assert_eq!((stream, source.to_string()), (STDOUT, text.clone()));
                }
                other => panic!("unexpected: {other:?}"),
            }
            let told = fault(&mut events).await;
            assert!(told.contains(&text), "{told}");
            // The next write sees it too, and what comes then is kept.
            go_on(&child).await;
            let page = written(&child, STDOUT, 4).await;
            assert_eq!(page.dropped(), 3);
            assert!(
                page.damage().is_none(),
                "what is lost is not looked for again"
            );
            assert_eq!(numbered(page.lines()), [(3, "3".into())]);
            while !fault(&mut events)
                .await
                .contains("truncated or removed by somebody")
            {}
            go_on(&child).await;
            written(&child, STDOUT, 5).await;
            go_on(&child).await;
            ends(&child).await;
            let page = all(&child).await;
            assert_eq!((page.first_kept(), page.dropped()), (3, 3));
            assert_eq!(numbered(page.lines()), [(3, "3".into()), (4, "4".into())]);
            // This one had taken line 2 before it was gone, or is told that it was dropped.
            let items: Vec<_> = follower.collect().within("the end of the stream").await;
            let mut items = items.into_iter();
            match items.next().unwrap() {
                Ok(line) => assert_eq!(line.text(), "2"),
                Err(error) => panic!("it was read with line 1: {error}"),
            }
            assert_eq!(
                items.map(|item| item.unwrap().number()).collect::<Vec<_>>(),
                [3, 4]
            );
            the_manager_goes_on(test.manager()).await;
        });
    }
}

#[test]
fn a_file_of_the_file_route_is_removed_under_us() {
    checked(async |test| {
        let child = test
            .spawn(steered(THREE_AND_TWO, stdout(LogRoute::File)))
            .await;
        let mut events = child.events();
        written(&child, STDOUT, 3).await;
        let follower = follow(&child, FollowFrom::Beginning).await;
        fs::remove_file(file_of(test, "stdout.log")).unwrap();
        let page = all(&child).await;
        assert_eq!(
            (page.dropped(), page.lines().len()),
            (0, 3),
            "it is still open"
        );
        let told = fault(&mut events).await;
        assert!(told.contains("removed"), "{told}");
        go_on(&child).await;
        written(&child, STDOUT, 4).await;
        go_on(&child).await;
        written(&child, STDOUT, 5).await;
        go_on(&child).await;
        assert_eq!(ends(&child).await, OutputState::Complete);
        let expected = ["0", "1", "2", "3", "4"];
        assert_eq!(texts(all(&child).await.lines()), expected);
        assert_eq!(texts(&rest(follower).await), expected);
        the_manager_goes_on(test.manager()).await;
    });
}

#[test]
fn a_file_of_the_file_route_is_truncated_under_us() {
    checked(async |test| {
        let child = test
            .spawn(steered(THREE_AND_TWO, stdout(LogRoute::File)))
            .await;
        let mut events = child.events();
        written(&child, STDOUT, 3).await;
        truncate(&file_of(test, "stdout.log"));
        let page = all(&child).await;
        assert_eq!(
            (page.written(), page.dropped(), page.lines().len()),
            (3, 3, 0)
        );
        let told = fault(&mut events).await;
        assert!(
            told.contains("truncated") && told.contains("3 lines"),
            "{told}"
        );
        let follower = follow(&child, FollowFrom::Line(1)).await;
        go_on(&child).await;
        written(&child, STDOUT, 4).await;
        go_on(&child).await;
        written(&child, STDOUT, 5).await;
        go_on(&child).await;
        assert_eq!(ends(&child).await, OutputState::Complete);
        let page = all(&child).await;
        assert_eq!((page.first_kept(), page.dropped()), (3, 3));
        assert_eq!(numbered(page.lines()), [(3, "3".into()), (4, "4".into())]);
        let mut items = follower.collect::<Vec<_>>().await.into_iter();
        match items.next().unwrap() {
            Err(FollowLogsError::Dropped { first: 1, count: 2 }) => {}
            other => panic!("unexpected: {other:?}"),
        }
        assert_eq!(
            items.map(|item| item.unwrap().number()).collect::<Vec<_>>(),
            [3, 4]
        );
        the_manager_goes_on(test.manager()).await;
    });
}

/// The shell opens `/dev/stderr` anew, which truncates what is a file, and writes at its beginning.
#[test]
fn a_child_truncates_its_own_log() {
    let script = "echo one >&2; echo two >&2; read -r x; echo three > /dev/stderr; echo four >&2";
    for route in ROUTES {
        checked(async |test| {
            let child = test
                .spawn(steered(script, Logging::stderr().route(route)))
                .await;
            let mut events = child.events();
            let stderr = LogStream::Stderr;
            written(&child, stderr, 2).await;
            go_on(&child).await;
            assert_eq!(ends(&child).await, OutputState::Complete);
            let page = child
                .query_logs(stderr, LogsQuery::fetch_all())
                .await
                .unwrap();
            assert_eq!(page.written(), 4);
            assert!(page.damage().is_none());
            let gone = if route == LogRoute::File { 2 } else { 0 };
            assert_eq!((page.dropped(), page.first_kept()), (gone, gone));
            let expected = (0..).zip(["one", "two", "three", "four"].map(String::from));
            let expected: Vec<_> = expected.filter(|(number, _)| *number >= gone).collect();
            assert_eq!(numbered(page.lines()), expected);
            if route == LogRoute::File {
                let told = fault(&mut events).await;
                assert!(told.contains("truncated"), "{told}");
            }
        });
    }
}

/// A small file system that is mounted on a directory as long as this is there.
struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Of 2 MB, where this user may mount it.
    fn mount(root: PathBuf) -> Option<Self> {
        fs::create_dir(&root).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "none"]);
        match mount.arg(&root).output() {
            Ok(output) if output.status.success() => Some(Self { root }),
            other => {
                say(&format!("NOT RUN without the right to mount: {other:?}"));
                None
            }
        }
    }

    /// A directory in it.
    fn directory(&self) -> PathBuf {
        let directory = self.root.join("work");
        fs::create_dir(&directory).unwrap();
        directory
    }

    /// Takes all the room that is left, until that is dropped.
    fn fill(&self) -> Filler {
        let path = self.root.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        Filler(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // By a test that failed something may be left open in it: it goes with that.
        let unmounted = Command::new("umount").arg("-l").arg(&self.root).status();
        assert!(std::thread::panicking() || unmounted.unwrap().success());
    }
}

struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn a_full_disk_by_the_pipe_route() {
    checked(async |test| {
        let Some(disk) = Disk::mount(test.scratch().join("disk")) else {
            return;
        };
        let builder = ProcessManager::builder().working_directory(disk.directory());
        let manager = builder.spawn().unwrap();
        // 2 MB, in many pieces: more than what is left of a block.
        let script = "echo first; read -r x; seq 100001 400000; read -r x; echo last; read -r x";
        let child = manager.spawn_with_handle(steered(script, stdout(LogRoute::Pipe)));
        let child = child.await.unwrap();
        let mut events = child.events();
        written(&child, STDOUT, 1).await;
        let mut follower = follow(&child, FollowFrom::Beginning).await;
        assert_eq!(line(&mut follower).await.text(), "first");
        let filler = disk.fill();
        go_on(&child).await;
        let told = fault(&mut events).await;
        assert!(told.contains("cannot be written"), "{told}");
        let page = written(&child, STDOUT, 300_001).await;
        assert!(
            page.dropped() > 0 && page.damage().is_none(),
            "{:?}",
            page.dropped()
        );
        assert_eq!(page.lines().len() as u64 + page.dropped(), 300_001);
        let files = fs::read_dir(run_directories(&disk.root.join("work")).unwrap().remove(0));
        assert!(
            files.unwrap().count() < 8,
            "none for each piece that was lost"
        );
        drop(filler);
        go_on(&child).await;
        let recovered = async {
            while let Some(event) = events.next().await {
                match event {
                    Event::LogRecovered { id, stream } => return (id, stream),
                    Event::LogFault { reason, .. } => panic!("it is told once: {reason}"),
                    _ => {}
                }
            }
            panic!("the events ended");
        };
        let recovered = recovered.within("the recovery").await;
        assert_eq!(recovered, (child.id(), STDOUT));
        let page = written(&child, STDOUT, 300_002).await;
        assert_eq!(page.lines().last().unwrap().number(), 300_001);
        go_on(&child).await;
        assert_eq!(ends(&child).await, OutputState::Cut, "lines are missing");
        let page = all(&child).await;
        let lines = page.lines();
        assert_eq!(lines.len() as u64 + page.dropped(), 300_002);
        // What is there has the numbers that it was written with.
        for (number, text) in numbered(lines) {
            let expected = match number {
                0 => "first".to_owned(),
                300_001 => "last".to_owned(),
                number => (100_000 + number).to_string(),
            };
            assert_eq!(text, expected);
        }
        let (mut expected, mut dropped) = (1, 0);
        for item in follower
            .collect::<Vec<_>>()
            .within("the end of the stream")
            .await
        {
            match item {
                Ok(line) => {
                    assert_eq!(line.number(), expected);
                    expected += 1;
                }
                Err(FollowLogsError::Dropped { first, count }) => {
                    assert_eq!(first, expected);
                    expected += count;
                    dropped += count;
                }
                Err(error) => panic!("unexpected: {error}"),
            }
        }
        assert_eq!((expected, dropped), (300_002, page.dropped()));
        child.remove().await.unwrap();
        the_manager_goes_on(&manager).await;
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}

#[test]
fn a_full_disk_by_the_file_route() {
    checked(async |test| {
        let Some(disk) = Disk::mount(test.scratch().join("disk")) else {
            return;
        };
        let builder = ProcessManager::builder().working_directory(disk.directory());
        let manager = builder.spawn().unwrap();
        let script = "echo first; read -r x
            for i in $(seq 10001 30000); do echo $i 2>/dev/null || exit 7; done";
        let child = manager.spawn_with_handle(steered(script, stdout(LogRoute::File)));
        let child = child.await.unwrap();
        written(&child, STDOUT, 1).await;
        let filler = disk.fill();
        go_on(&child).await;
        let report = child.wait().within("the end").await.unwrap();
        assert_eq!(report.code(), Some(7), "its own write has failed");
        assert_eq!(
            report.output(),
            OutputState::Complete,
            "all that could be written"
        );
        let page = all(&child).await;
        assert!(page.written() > 1 && page.written() < 20_000 && page.dropped() == 0);
        for (number, text) in numbered(page.lines()).into_iter().skip(1).rev().skip(1) {
            assert_eq!(text, (10_000 + number).to_string());
        }
        drop(filler);
        child.remove().await.unwrap();
        the_manager_goes_on(&manager).await;
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}

/// What a hook was called with.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(ProcessId, LogLine)>>>);

impl Seen {
    fn hook(&self) -> LogHook {
        let seen = self.clone();
        LogHook::new(move |process, line| {
            let seen = seen.clone();
            async move {
                tokio::task::yield_now().await;
                seen.0.lock().unwrap().push((process, line));
            }
        })
    }

    fn of(&self, process: ProcessId, stream: LogStream) -> Vec<(u64, String)> {
        let seen = self.0.lock().unwrap();
        let own = seen
            .iter()
            .filter(|(id, line)| *id == process && line.stream() == stream);
        own.map(|(_, line)| (line.number(), line.text().into_owned()))
            .collect()
    }
}

/// Line 0 is `1`.
fn counted(count: u64) -> Vec<(u64, String)> {
    (0..count)
        .map(|number| (number, (number + 1).to_string()))
        .collect()
}

#[test]
fn a_hook_of_a_command_sees_every_line_before_the_removal() {
    for route in ROUTES {
        checked(async |test| {
            let seen = Seen::default();
            let logging = Logging::stdout_and_stderr().route(route);
            let script = "seq 1 5000; seq 1 3000 >&2; printf 3001 >&2";
            let child = test.spawn(sh(script, logging).log_hook(seen.hook())).await;
            let other = test.spawn(sh("echo other", logging)).await;
            ends(&child).await;
            ends(&other).await;
            let id = child.id();
            child.remove().within("the removal").await.unwrap();
            assert!(
                seen.of(id, STDOUT) == counted(5000),
                "each line once and in order"
            );
            assert!(
                seen.of(id, LogStream::Stderr) == counted(3001),
                "each line once and in order"
            );
            assert_eq!(
                seen.of(other.id(), STDOUT),
                counted(0),
                "it is another command's"
            );
        });
    }
}

#[test]
fn a_hook_of_a_manager_sees_every_line_before_the_shutdown() {
    checked(async |test| {
        let (all, own) = (Seen::default(), Seen::default());
        let builder = ProcessManager::builder().working_directory(test.scratch());
        let manager = builder.log_hook(all.hook()).spawn().unwrap();
        let mut ids = Vec::new();
        // The last ones have much, and the shutdown comes at once.
        for (route, count) in ROUTES
            .into_iter()
            .cycle()
            .zip([10, 2000, 2000, 10, 9000, 9000])
        {
            let cmd = sh(&format!("seq 1 {count}"), stdout(route)).log_hook(own.hook());
            let child = manager.spawn_with_handle(cmd).await.unwrap();
            ends(&child).await;
            ids.push((child.id(), count));
        }
        manager.shutdown().within("the shutdown").await.unwrap();
        for (id, count) in ids {
            assert!(
                all.of(id, STDOUT) == counted(count),
                "each line once and in order"
            );
            assert!(
                own.of(id, STDOUT) == counted(count),
                "each line once and in order"
            );
        }
    });
}

/// A hook that hangs holds nobody up for long.
#[test]
fn a_hook_that_never_returns_does_not_hang_the_removal() {
    checked(async |test| {
        let hook = LogHook::new(|_, _| std::future::pending());
        let child = test
            .spawn(sh("seq 1 10", stdout(LogRoute::Pipe)).log_hook(hook))
            .await;
        assert_eq!(ends(&child).await, OutputState::Complete);
        child.remove().within("the removal").await.unwrap();
    });
}

mod subscriber {
    //! What is emitted by the hook that emits events.

    use std::fmt::{self, Debug, Write as _};
    use std::sync::Mutex;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    static EMITTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// The fields of the events so far that have this in them.
    pub(crate) fn emitted(with: &str) -> Vec<String> {
        let emitted = EMITTED.lock().unwrap();
        emitted
            .iter()
            .filter(|event| event.contains(with))
            .cloned()
            .collect()
    }

    #[derive(Debug)]
    pub(crate) struct Collecting;

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _: fmt::Result = write!(self.0, "{field}={value:?};");
        }
    }

    impl Subscriber for Collecting {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "procession::log"
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            assert_eq!(*event.metadata().level(), Level::INFO);
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            EMITTED.lock().unwrap().push(fields.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }
}

#[test]
fn lines_become_events() {
    checked(async |test| {
        // For all threads: the hook is called on any.
        tracing::subscriber::set_global_default(subscriber::Collecting).unwrap();
        let cmd = sh("echo one; echo two >&2", Logging::merged()).log_hook(LogHook::tracing());
        let child = test.spawn(cmd).await;
        ends(&child).await;
        let id = child.id();
        child.remove().within("the removal").await.unwrap();
        let event = |line, text| format!("message={text};process={id};stream=merged;line={line};");
        let emitted = subscriber::emitted(&format!("process={id};"));
        assert_eq!(emitted, [event(0, "one"), event(1, "two")]);
    });
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

/// The lines of `seq`.
fn text(from: u32, to: u32) -> String {
    (from..=to)
        .map(|number| number.to_string() + "\n")
        .collect()
}

#[test]
fn kept_logs_outlive_their_process() {
    for route in ROUTES {
        checked(async |test| {
            let script = "seq 1 100000; read -r x; seq 1 5 >&2; printf end >&2";
            // In several files before.
            let logging = Logging::stdout_and_stderr().route(route).limit(1 << 20);
            let child = test.spawn(steered(script, logging)).await;
            let directory = test.scratch().join("a/b");
            match child.keep_logs(&directory).await {
                Err(KeepLogsError::StillRunning(id)) => assert_eq!(id, child.id()),
                other => panic!("unexpected: {other:?}"),
            }
            assert!(!directory.exists());
            go_on(&child).await;
            ends(&child).await;
            let before = all(&child).await;
            assert_eq!(before.lines().len(), 100_000);
            let kept = child
                .keep_logs(&directory)
                .within("the move")
                .await
                .unwrap();
            let stderr = LogStream::Stderr;
            let file = |stream: LogStream| (stream, directory.join(format!("{stream}.log")));
            assert_eq!(kept, [file(STDOUT), file(stderr)]);
            let whole = || {
                assert!(
                    read(&directory, "stdout.log") == text(1, 100_000),
                    "all of it"
                );
                assert_eq!(read(&directory, "stderr.log"), text(1, 5) + "end");
            };
            whole();
            // Asked about as before.
            let after = all(&child).await;
            assert!(before.lines() == after.lines(), "the same lines and times");
            assert!(after.damage().is_none());
            let last = query(&child, LogsQuery::last(2).containing("9")).await;
            assert_eq!(texts(last.lines()), ["99998", "99999"]);
            let followed = rest(follow(&child, FollowFrom::Line(99_990)).await).await;
            assert_eq!(followed, before.lines()[99_990..]);
            let page = child.query_logs(stderr, LogsQuery::last(1)).await.unwrap();
            assert_eq!(texts(page.lines()), ["end"]);
            child.remove().await.unwrap();
            assert!(test.run_directories().is_empty());
            whole();
        });
    }
}

#[test]
fn a_file_that_is_there_is_not_replaced() {
    for route in ROUTES {
        checked(async |test| {
            let child = test.spawn(sh("echo line", stdout(route))).await;
            ends(&child).await;
            let file = test.scratch().join("stdout.log");
            fs::write(&file, "precious").unwrap();
            match child.keep_logs(test.scratch()).await {
                Err(error @ KeepLogsError::IoError { .. }) => {
                    let text = error.to_string();
                    assert!(text.contains(file.to_str().unwrap()), "{text}");
                    let KeepLogsError::IoError { path, source } = error else {
                        return;
                    };
                    assert_eq!(path, file);
                    assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
                }
                other => panic!("unexpected: {other:?}"),
            }
            assert_eq!(read(test.scratch(), "stdout.log"), "precious");
            assert_eq!(
                texts(all(&child).await.lines()),
                ["line"],
                "it is where it was"
            );
        });
    }
}

#[test]
fn logs_of_what_has_failed_are_kept() {
    checked(async |test| {
        let directory = test.scratch().join("failed");
        let work = test.scratch().join("work");
        fs::create_dir(&work).unwrap();
        let builder = ProcessManager::builder().working_directory(&work);
        let manager = builder.keep_failed_logs(&directory).spawn().unwrap();
        let logging = |route| Logging::stdout_and_stderr().route(route);
        let mut failed = Vec::new();
        for route in ROUTES {
            for (script, fails) in [
                ("echo out; echo err >&2; exit 3", true),
                ("echo out; echo err >&2; kill -KILL $$", true),
                ("echo out; echo err >&2; exit 0", false),
            ] {
                let child = manager.spawn_with_handle(sh(script, logging(route)));
                let child = child.await.unwrap();
                child.wait().within("the end").await.unwrap();
                assert!(
                    !directory.join(child.id().to_string()).exists(),
                    "not before the removal"
                );
                child.remove().await.unwrap();
                if fails {
                    failed.push(child.id().to_string());
                }
            }
            // Ended by us.
            for ending in 0..2 {
                let child =
                    manager.spawn_with_handle(sh("echo out; exec sleep 1000", logging(route)));
                let child = child.await.unwrap();
                written(&child, STDOUT, 1).await;
                let report = match ending {
                    0 => child.kill().within("the kill").await.unwrap(),
                    _ => child.stop().within("the stop").await.unwrap(),
                };
                assert!(!report.success());
                child.remove().within("the removal").await.unwrap();
            }
        }
        // One is still there at the end.
        let child = manager.spawn_with_handle(sh(
            "echo out; echo err >&2; exit 1",
            logging(LogRoute::Pipe),
        ));
        let child = child.await.unwrap();
        child.wait().within("the end").await.unwrap();
        failed.push(child.id().to_string());
        manager.shutdown().within("the shutdown").await.unwrap();
        let names = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        failed.sort_unstable();
        assert_eq!(names, failed);
        for name in failed {
            let directory = directory.join(name);
            assert_eq!(read(&directory, "stdout.log"), "out\n");
            assert_eq!(read(&directory, "stderr.log"), "err\n");
        }
    });
}

#[test]
fn a_log_is_readable_until_its_process_is_removed() {
    for route in ROUTES {
        checked(async |test| {
            let child = test.spawn(sh("seq 1 3000", stdout(route))).await;
            ends(&child).await;
            let manager = test.manager();
            assert_eq!(all(&child).await.lines().len(), 3000);
            let mut follower = follow(&child, FollowFrom::Beginning).await;
            assert_eq!(line(&mut follower).await.text(), "1");
            let id = child.id();
            let mut events = manager.events();
            child.remove().await.unwrap();
            let gone = |error| matches!(error, GetLogsError::ProcessNotFound(other) if other == id);
            let question = LogsQuery::fetch_all;
            assert!(gone(
                child.query_logs(STDOUT, question()).await.unwrap_err()
            ));
            assert!(gone(
                manager
                    .query_logs(id, STDOUT, question())
                    .await
                    .unwrap_err()
            ));
            assert!(gone(child.get_logs_stdout(question()).await.unwrap_err()));
            for followed in [
                child.follow_logs(STDOUT, FollowFrom::End).await,
                manager.follow_logs(id, STDOUT, FollowFrom::End).await,
            ] {
                assert!(
                    matches!(followed, Err(FollowLogsError::ProcessNotFound(other)) if other == id)
                );
            }
            assert!(matches!(
                child.keep_logs(test.scratch()).await,
                Err(KeepLogsError::ProcessNotFound(other)) if other == id
            ));
            // A follower that was left behind says what it misses, and ends.
            let items: Vec<_> = follower.collect().within("the end of the stream").await;
            let mut next = 1;
            for item in items {
                next = match item {
                    Ok(line) => line.number() + 1,
                    Err(FollowLogsError::Dropped { first, count }) => first + count,
                    Err(error) => panic!("unexpected: {error}"),
                };
            }
            assert_eq!(next, 3000);
            // Which is no fault of anybody.
            let other = test.spawn(sh("echo x", stdout(route))).await;
            ends(&other).await;
            loop {
                match events.next().within("an event").await.unwrap() {
                    Event::Finished { id, .. } if id == other.id() => break,
                    Event::LogFault { reason, .. } => panic!("it was removed: {reason}"),
                    _ => {}
                }
            }
        });
    }
}
