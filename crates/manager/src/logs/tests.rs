//! What was written is read, whatever was dropped, cut or lost between.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::budget::LEAST;
use super::index::Time;
use super::keep::Copy;
use super::store::{StoreLog, Trouble};
use super::view::{Line, Step, View};
use super::*;
use crate::model::command::LogRoute;

const EIGHTH: usize = (LEAST / 8) as usize;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn log(dir: &Path, limit: Option<u64>) -> (Appender, Arc<StoreLog>) {
    Appender::new(
        dir,
        LogStream::Stdout,
        Budget::new(limit),
        Budget::new(None),
    )
}

fn on_disk(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("there");
    files
        .map(|file| file.expect("there").metadata().expect("there").len())
        .sum()
}

/// The lines of a view from this one on, and what was dropped.
fn read(view: &View, from: u64) -> (Vec<(u64, Vec<u8>, bool)>, u64) {
    let (mut found, mut dropped) = (Vec::new(), 0);
    let mut lines = view.lines(from);
    let mut expected = from;
    while let Some(step) = lines.next() {
        match step {
            Step::Line(line) => {
                assert_eq!(line.number, expected, "each line once and in order");
                expected += 1;
                found.push((line.number, line.bytes.to_vec(), line.ended));
            }
            Step::Dropped { first, count } => {
                assert_eq!(first, expected, "each line once and in order");
                expected += count;
                dropped += count;
            }
        }
    }
    assert_eq!(expected, view.started.max(from));
    (found, dropped)
}

/// The lines of a text, and whether each has its newline.
fn lines_of(text: &[u8]) -> Vec<(u64, Vec<u8>, bool)> {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let line = |(number, line): (usize, &[u8])| {
        let cut = line.strip_suffix(b"\n");
        (number as u64, cut.unwrap_or(line).to_vec(), cut.is_some())
    };
    lines.enumerate().map(line).collect()
}

#[derive(Debug, Clone)]
enum Chunk {
    Short(Vec<u8>),
    Long(usize),
}

fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    let chunk = prop_oneof![
        4 => "[a\n]{0,12}".prop_map(|text| Chunk::Short(text.into_bytes())),
        1 => (1..3 * EIGHTH).prop_map(Chunk::Long),
    ];
    prop::collection::vec(chunk, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// However it is cut into chunks and segments: what is kept is the end of what was written, within
    /// the limit, and every line in it is found from every other.
    #[test]
    fn what_is_kept_is_what_was_written(chunks in chunks(), limited: bool) {
        let root = tempfile::tempdir().expect("a directory");
        let (mut appender, log) = log(root.path(), limited.then_some(LEAST));
        let mut text = Vec::new();
        for (second, chunk) in chunks.iter().enumerate() {
            let bytes = match chunk {
                Chunk::Short(bytes) => bytes.clone(),
                Chunk::Long(length) => vec![b'b'; *length],
            };
            text.extend_from_slice(&bytes);
            prop_assert!(appender.append(&bytes, at(second as u64)).is_empty());
            prop_assert!(!limited || on_disk(root.path()) <= LEAST);
        }
        appender.end();
        let view = log.view();
        let all = lines_of(&text);
        prop_assert_eq!(view.started, all.len() as u64);
        prop_assert_eq!(view.ended, all.iter().filter(|line| line.2).count() as u64);
        let (kept, dropped) = read(&view, 0);
        let count = usize::try_from(dropped).expect("few");
        prop_assert_eq!(&kept[..], &all[count..], "nothing but the oldest is gone");
        prop_assert!(limited || dropped == 0);
        if limited && text.len() as u64 > LEAST {
            prop_assert!(on_disk(root.path()) >= LEAST - 2 * EIGHTH as u64, "no more than it takes is dropped");
        }
        for from in 0..all.len() {
            let (found, _) = read(&view, from as u64);
            prop_assert_eq!(&found[..], &all[from.max(count)..]);
        }
        drop((view, appender, log));
    }
}

#[test]
fn records_beyond_those_in_memory_are_read_from_their_file() {
    let root = tempfile::tempdir().expect("a directory");
    let (mut appender, log) = log(root.path(), None);
    for second in 0..1000 {
        appender.append(format!("{second}\n").as_bytes(), at(second));
    }
    for sealed in [false, true] {
        if sealed {
            appender.end();
        }
        let view = log.view();
        for second in [0, 1, 254, 255, 256, 257, 511, 512, 999, 1000] {
            assert_eq!(
                view.since(Time::of(at(second))).expect("read"),
                Some(second)
            );
            let mut lines = view.lines(second);
            for number in second..(second + 300).min(1000) {
                let time = Some(Time::of(at(number)));
                let bytes = number.to_string();
                let line = Line {
                    number,
                    time,
                    bytes: bytes.as_bytes(),
                    ended: true,
                };
                assert_eq!(lines.next(), Some(Step::Line(line)));
            }
        }
    }
    assert!(root.path().join("stdout.index").exists());
}

#[test]
fn the_time_of_a_line_is_that_of_its_end() {
    for route in [LogRoute::Pipe, LogRoute::File] {
        let root = tempfile::tempdir().expect("a directory");
        let (mut appender, store) = log(root.path(), None);
        let path = root.path().join("file");
        let mut writer = fs::File::create(&path).expect("made");
        let file = FileLog::new(Arc::new(fs::File::open(&path).expect("there")));
        let chunks = ["a", "b\nc", "d", "\n", "e\n", "f"];
        for (second, chunk) in (0..).zip(chunks) {
            appender.append(chunk.as_bytes(), at(second));
            io::Write::write_all(&mut writer, chunk.as_bytes()).expect("written");
            file.refresh(|| Some(Time::of(at(second)))).expect("read");
        }
        let view = match route {
            LogRoute::Pipe => store.view(),
            LogRoute::File => file.view(),
        };
        let page = LogsQuery::fetch_all().run(&view, LogStream::Stdout);
        let lines = page.expect("found").into_lines();
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.text(), line.time()))
            .collect();
        let expected = [("ab", 1), ("cd", 3), ("e", 4), ("f", 5)];
        let expected = expected.map(|(text, second)| (text.into(), Some(at(second))));
        assert_eq!(found, expected, "{route:?}");
        let since = |second| view.since(Time::of(at(second))).expect("read");
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6].map(since),
            [0, 0, 1, 1, 2, 3, 4].map(Some)
        );
    }
}

#[test]
fn times_never_go_back() {
    let root = tempfile::tempdir().expect("a directory");
    let (mut appender, log) = log(root.path(), None);
    for second in [5, 3, 7] {
        appender.append(b"line\n", at(second));
    }
    let page = LogsQuery::fetch_all().run(&log.view(), LogStream::Stdout);
    let times = page.expect("found").into_lines();
    let times: Vec<_> = times.iter().map(LogLine::time).collect();
    assert_eq!(times, [5, 5, 7].map(|second| Some(at(second))));
}

fn page(log: &Arc<StoreLog>, query: &LogsQuery) -> LogPage {
    query.run(&log.view(), LogStream::Stdout).expect("found")
}

fn numbers(page: &LogPage) -> Vec<u64> {
    page.lines().iter().map(LogLine::number).collect()
}

#[test]
fn conditions_limits_and_times_combine() {
    let root = tempfile::tempdir().expect("a directory");
    let (mut appender, log) = log(root.path(), None);
    for second in 0..10_000 {
        let word = if second % 1000 == 7 { "needle" } else { "hay" };
        appender.append(format!("{word} {second}\n").as_bytes(), at(second));
    }
    appender.append(b"needle open", at(10_000));
    let sevens: Vec<u64> = (0..10).map(|thousand| thousand * 1000 + 7).collect();
    let table = [
        (LogsQuery::with_offset_and_limit(3, 2), vec![3, 4], 5),
        (LogsQuery::with_offset(20_000), vec![], 20_000),
        (LogsQuery::last(2), vec![9999, 10_000], 10_000),
        (LogsQuery::last(0), vec![], 10_000),
        (LogsQuery::last(4).limit(2), vec![9997, 9998], 10_000),
        (
            LogsQuery::from_cursor(LogCursor::before_line(9999)),
            vec![9999, 10_000],
            10_000,
        ),
        (
            LogsQuery::with_limit(3).containing("needle"),
            sevens[..3].to_vec(),
            2008,
        ),
        (
            LogsQuery::last(3).containing("needle"),
            vec![8007, 9007, 10_000],
            10_000,
        ),
        (
            LogsQuery::last(99).containing("needle").containing(" 40"),
            vec![4007],
            10_000,
        ),
        (
            LogsQuery::fetch_all().since(at(9998)),
            vec![9998, 9999, 10_000],
            10_000,
        ),
        (LogsQuery::fetch_all().until(at(2)), vec![0, 1], 2),
        (LogsQuery::last(1).since(at(5)).until(at(7)), vec![6], 7),
        (LogsQuery::fetch_all().since(at(7)).until(at(5)), vec![], 7),
        (LogsQuery::fetch_all().since(at(20_000)), vec![], 10_001),
    ];
    for (query, expected, cursor) in table {
        let page = page(&log, &query);
        assert_eq!(numbers(&page), expected, "{query:?}");
        assert_eq!(page.cursor().line(), cursor, "{query:?}");
        assert_eq!((page.written(), page.dropped()), (10_001, 0));
    }
    let open = page(&log, &LogsQuery::last(1));
    assert!(!open.lines()[0].is_ended() && !open.is_complete());
    appender.end();
    let whole = page(&log, &LogsQuery::last(1));
    assert!(whole.is_complete());
    assert_eq!(whole.cursor().line(), 10_001);
}

#[cfg(feature = "regex")]
#[test]
fn an_expression_sees_one_line() {
    let root = tempfile::tempdir().expect("a directory");
    let (mut appender, log) = log(root.path(), None);
    appender.append(b"ab\nb\nba\n\xffb\n", at(0));
    for (expression, expected) in [
        ("b$", vec![0, 1, 3]),
        ("^b", vec![1, 2]),
        ("^(?-u:.)b", vec![0, 3]),
    ] {
        let regex = regex::bytes::Regex::new(expression).expect("valid");
        let query = LogsQuery::fetch_all().matching(regex);
        assert_eq!(numbers(&page(&log, &query)), expected, "{expression}");
    }
}

#[test]
fn what_was_damaged_is_told_and_dropped_and_the_log_goes_on() {
    for (damage, kept) in [("truncate", 0), ("remove", 0)] {
        let root = tempfile::tempdir().expect("a directory");
        let (mut appender, log) = log(root.path(), None);
        appender.append(b"0\n1\n2", at(0));
        let path = root.path().join("stdout.log");
        match damage {
            "truncate" => drop(fs::File::create(&path).expect("truncated")),
            _ => fs::remove_file(&path).expect("removed"),
        }
        let (lines, dropped) = read(&log.view(), 0);
        assert_eq!((lines.len(), dropped), (kept, 3), "{damage}");
        let troubles = appender.append(b"2\n3\n4\n", at(1));
        assert!(matches!(&troubles[..], [Trouble::Damaged(at)] if *at == path));
        appender.end();
        let (lines, dropped) = read(&log.view(), 0);
        assert_eq!(dropped, 3, "{damage}");
        assert_eq!(lines, [(3, b"3".to_vec(), true), (4, b"4".to_vec(), true)]);
    }
}

#[test]
fn a_total_limit_takes_the_oldest_of_all_logs() {
    let roots = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let total = Budget::new(Some(LEAST));
    let mut logs = roots.each_ref().map(|root| {
        let own = Budget::new(None);
        Appender::new(root.path(), LogStream::Stdout, own, Arc::clone(&total))
    });
    for round in 0..100 {
        for (appender, _) in &mut logs {
            assert!(appender.append(&[b'a'; 1000], at(round)).is_empty());
            let used: u64 = roots.iter().map(|root| on_disk(root.path())).sum();
            assert!(used <= LEAST, "{used}");
        }
    }
    let [first, others @ ..] = logs;
    drop(first);
    for (mut appender, log) in others {
        appender.append(&vec![b'b'; 3 * EIGHTH], at(100));
        appender.append(b"\nlast\n", at(100));
        assert_eq!(read(&log.view(), 1).0, [(1, b"last".to_vec(), true)]);
    }
}

#[test]
fn a_file_that_is_truncated_goes_on_with_its_numbers() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("log");
    fs::write(&path, "0\n1\n2").expect("written");
    let log = FileLog::new(Arc::new(fs::File::open(&path).expect("there")));
    let changed = |log: &FileLog| log.refresh(|| None).expect("read");
    assert_eq!(changed(&log), None);
    assert_eq!(read(&log.view(), 1).0, lines_of(b"0\n1\n2")[1..]);
    fs::write(&path, "3\n").expect("written");
    assert_eq!(changed(&log), Some(file::Changed::Truncated(3)));
    let (lines, dropped) = read(&log.view(), 0);
    assert_eq!((lines, dropped), (vec![(3, b"3".to_vec(), true)], 3));
    // As long as before, and longer, but another text.
    fs::write(&path, "4\n5\n6\n7").expect("written");
    assert_eq!(changed(&log), Some(file::Changed::Truncated(1)));
    assert_eq!(read(&log.view(), 4).0.len(), 4);
    fs::remove_file(&path).expect("removed");
    assert_eq!(changed(&log), Some(file::Changed::Removed));
    assert_eq!(changed(&log), None);
    assert_eq!(read(&log.view(), 4).0.len(), 4);
}

#[test]
fn times_of_a_file_are_those_that_were_observed() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("log");
    let mut writer = fs::File::create(&path).expect("made");
    let log = FileLog::new(Arc::new(fs::File::open(&path).expect("there")));
    for observed in [None, Some(10), Some(20), None, Some(40)] {
        io::Write::write_all(&mut writer, b"line\nline\n").expect("written");
        log.refresh(|| observed.map(|second| Time::of(at(second))))
            .expect("read");
    }
    let view = log.view();
    let page = LogsQuery::fetch_all().run(&view, LogStream::Stdout);
    let lines = page.expect("found").into_lines();
    let times: Vec<_> = lines.iter().map(LogLine::time).collect();
    let expected = [None, Some(10), Some(20), None, Some(40)];
    let expected: Vec<_> = expected
        .iter()
        .flat_map(|second| [second.map(at); 2])
        .collect();
    assert_eq!(times, expected);
    let table = [
        (5, None),
        (10, None),
        (15, Some(4)),
        (20, Some(4)),
        (25, None),
        (40, None),
        (41, Some(10)),
    ];
    for (second, line) in table {
        assert_eq!(
            view.since(Time::of(at(second))).expect("held"),
            line,
            "{second}"
        );
    }
}

#[test]
fn what_is_dropped_while_it_is_moved_stays_the_users_and_gives_its_room_back_once() {
    for moved_first in [true, false] {
        let roots = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
        let total = Budget::new(Some(LEAST));
        let [(mut ours, log), (mut others, _other)] = [0, 1].map(|root: usize| {
            let own = Budget::new(None);
            let dir = roots[root].path();
            Appender::new(dir, LogStream::Stdout, own, Arc::clone(&total))
        });
        for appender in [&mut ours, &mut others] {
            assert!(appender.append(&vec![b'a'; 3 * EIGHTH], at(0)).is_empty());
            appender.end();
        }
        let target = roots[2].path().join("stdout.log");
        let route = Route::Pipe(Arc::clone(&log));
        let copy = Copy::new(&route, target.clone()).expect("copied");
        // Somebody wants room, and it is this segment that is to go.
        let (number, found) = total.try_take(LEAST).expect("no room");
        assert_eq!(number, log.pieces()[0].number, "the oldest");
        let found = found.upgrade().expect("there");
        if moved_first {
            copy.settle();
            found.drop_segment(number);
        } else {
            found.drop_segment(number);
            copy.settle();
        }
        let length = fs::metadata(&target).expect("it is the user's").len();
        assert_eq!(length, 3 * EIGHTH as u64);
        assert_eq!(total.bytes(), on_disk(roots[1].path()), "what others take");
        let left: u64 = log.pieces().iter().map(|piece| piece.length).sum();
        let dropped = if moved_first { 0 } else { EIGHTH as u64 };
        assert_eq!(left, 3 * EIGHTH as u64 - dropped);
        drop((found, ours, route, log));
        assert_eq!(total.bytes(), on_disk(roots[1].path()), "what others take");
    }
}

#[test]
fn what_was_moved_out_stays_there_and_gives_its_room_back_once() {
    let root = tempfile::tempdir().expect("a directory");
    let total = Budget::new(Some(LEAST));
    let new = |name: &str| {
        let dir = root.path().join(name);
        fs::create_dir(&dir).expect("made");
        let own = Budget::new(None);
        (
            Appender::new(&dir, LogStream::Stdout, own, Arc::clone(&total)),
            dir,
        )
    };
    let ((mut moved, log), _) = new("moved");
    let ((mut other, _other), dir) = new("other");
    for appender in [&mut moved, &mut other] {
        assert!(appender.append(&vec![b'a'; 3 * EIGHTH], at(0)).is_empty());
        appender.end();
    }
    let targets = ["first", "second"].map(|name| root.path().join(name));
    let route = Route::Pipe(log);
    for target in &targets {
        let copy = Copy::new(&route, target.clone()).expect("copied");
        copy.settle();
    }
    assert!(
        targets.iter().all(|target| target.exists()),
        "both are the user's"
    );
    drop((moved, route));
    // What the other one takes still counts: nine eighths would be too much.
    let ((mut third, _log), third_dir) = new("third");
    third.append(&vec![b'c'; 6 * EIGHTH], at(1));
    assert!(on_disk(&dir) + on_disk(&third_dir) <= LEAST);
}

/// Moves a log of several segments to `first`, has that changed, and copies it again.
fn kept_again(root: &Path, change: impl Fn(&Path)) -> Result<PathBuf, keep::Refused> {
    let dir = root.join("run");
    fs::create_dir(&dir).expect("made");
    let (mut appender, log) = log(&dir, Some(LEAST));
    assert!(appender.append(&vec![b'a'; 3 * EIGHTH], at(0)).is_empty());
    appender.end();
    let route = Route::Pipe(log);
    let copy = |name| Copy::new(&route, root.join(name)).map(Copy::settle);
    change(&copy("first").expect("moved"));
    copy("second")
}

#[test]
fn what_was_moved_and_is_not_there_any_more_is_not_moved_again() {
    type Change<'a> = &'a dyn Fn(&Path);
    let foreign = vec![b'b'; 3 * EIGHTH];
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).expect("written");
    let changes: [(&str, Change<'_>, io::ErrorKind); 5] = [
        (
            "removed",
            &|path| fs::remove_file(path).expect("removed"),
            io::ErrorKind::NotFound,
        ),
        (
            "truncated",
            &|path| write(path, b""),
            io::ErrorKind::InvalidData,
        ),
        (
            "longer",
            &|path| write(path, &foreign.repeat(2)),
            io::ErrorKind::InvalidData,
        ),
        (
            "rewritten",
            &|path| {
                // Not within one tick of the file system's clock.
                std::thread::sleep(Duration::from_millis(50));
                write(path, &foreign);
            },
            io::ErrorKind::InvalidData,
        ),
        (
            "replaced",
            &|path| {
                write(&path.with_extension("new"), &foreign);
                fs::rename(path.with_extension("new"), path).expect("replaced");
            },
            io::ErrorKind::InvalidData,
        ),
    ];
    for (name, change, kind) in changes {
        let root = tempfile::tempdir().expect("a directory");
        let (path, error) = kept_again(root.path(), change).expect_err(name);
        assert_eq!(path, root.path().join("first"), "{name}");
        assert_eq!(error.kind(), kind, "{name}");
        assert!(!root.path().join("second").exists(), "{name}");
    }
    let root = tempfile::tempdir().expect("a directory");
    let second = kept_again(root.path(), |_| {}).expect("copied");
    for path in [second, root.path().join("first")] {
        assert_eq!(fs::read(path).expect("there"), vec![b'a'; 3 * EIGHTH]);
    }
}

#[test]
fn a_segment_that_was_cut_does_not_take_the_next_ones_place_when_it_is_moved() {
    let root = tempfile::tempdir().expect("a directory");
    let (mut appender, log) = log(root.path(), Some(LEAST));
    appender.append(&[b'a'; EIGHTH - 1], at(0));
    appender.append(b"\n1\n2\n", at(0));
    appender.end();
    fs::write(root.path().join("stdout.log"), b"").expect("truncated");
    let before = read(&log.view(), 0);
    let route = Route::Pipe(Arc::clone(&log));
    let target = root.path().join("kept");
    let copy = Copy::new(&route, target.clone()).expect("copied");
    copy.settle();
    assert_eq!(fs::read(target).expect("there"), b"1\n2\n");
    assert_eq!(read(&log.view(), 0), before);
    assert_eq!(before.0.len(), 2);
}
