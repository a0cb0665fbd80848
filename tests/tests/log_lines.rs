//! Lines of a log and questions about them, by both routes: odd lines, queries, pages and times.

use std::time::{Duration, SystemTime};

use procession_manager::{
    DEFAULT_LINE_LIMIT, FollowFrom, GetLogsError, LogCursor, LogLine, LogRoute, LogStream, Logging,
    LogsQuery, OutputState,
};
use procession_tests::logs::{
    ROUTES, SOON, STDOUT, all, ends, follow, go_on, later, line, numbered, query, rest, sh, stdout,
    steered, texts, written,
};
use procession_tests::{checked, eventually};

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
    let check = |lines: &[LogLine], limit: usize| {
        assert_eq!(lines.len(), 9);
        for (number, line) in (0..).zip(lines) {
            assert_eq!((line.number(), line.stream()), (number, STDOUT));
            assert_eq!(line.is_ended(), number < 8, "line {number}");
        }
        for (line, (bytes, text)) in lines.iter().zip(short) {
            assert_eq!((line.bytes().as_ref(), line.text().as_ref()), (bytes, text));
        }
        assert_eq!(lines[6].bytes().len(), limit);
        assert!(lines[6].bytes().iter().all(|&byte| byte == b'x'));
        for (number, line) in (0..).zip(lines) {
            let cut = if number == 6 { LONG - limit } else { 0 };
            assert_eq!(line.cut_bytes(), cut as u64, "line {number}");
        }
        assert_eq!(lines[7].bytes().as_ref(), b"");
        assert_eq!(lines[8].bytes().as_ref(), b"no newline");
    };
    for route in ROUTES {
        checked(async |test| {
            let child = test.spawn(sh(script, stdout(route).unlimited())).await;
            let follower = follow(&child, FollowFrom::Beginning).await;
            check(&rest(follower).await, DEFAULT_LINE_LIMIT);
            assert_eq!(ends(&child).await, OutputState::Complete);
            let page = all(&child).await;
            assert_eq!(
                (page.written(), page.dropped(), page.first_kept()),
                (9, 0, 0)
            );
            assert!(page.is_complete() && page.damage().is_none());
            check(page.lines(), DEFAULT_LINE_LIMIT);
            for limit in [LONG, 1, 0] {
                let cut = LogsQuery::fetch_all().line_limit(limit).containing("");
                let page = query(&child, cut).await;
                assert_eq!(page.lines()[6].bytes().len(), limit);
                assert_eq!(page.lines()[6].cut_bytes(), (LONG - limit) as u64);
                if limit == LONG {
                    check(page.lines(), LONG);
                }
            }
            let text = all(&child).await.lines()[6].text().into_owned();
            let cut = format!("x [{} bytes cut]", LONG - DEFAULT_LINE_LIMIT);
            assert!(text.ends_with(&cut), "{}", &text[text.len() - 40..]);
            let again = rest(follow(&child, FollowFrom::Beginning).await).await;
            check(&again, DEFAULT_LINE_LIMIT);
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
