//! What was written is read, whatever was dropped, cut or lost between.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
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
    let (found, dropped) = read_cut(view, from, DEFAULT_LINE_LIMIT);
    let whole = found.into_iter().map(|(number, bytes, cut, ended)| {
        assert_eq!(cut, 0, "line {number} is whole");
        (number, bytes, ended)
    });
    (whole.collect(), dropped)
}

/// A line: its number, the bytes that are left, how many were cut, and whether it has ended.
type CutLine = (u64, Vec<u8>, u64, bool);

/// The same, with lines that are cut, each with the number of bytes that were.
fn read_cut(view: &View, from: u64, limit: usize) -> (Vec<CutLine>, u64) {
    let (mut found, mut dropped) = (Vec::new(), 0);
    let going_on = CancellationToken::new();
    let mut lines = view.lines(from, limit, &going_on);
    let mut expected = from;
    while let Some(step) = lines.next() {
        match step {
            Step::Line(line) => {
                assert_eq!(line.number, expected, "each line once and in order");
                expected += 1;
                found.push((line.number, line.bytes.to_vec(), line.cut, line.ended));
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

/// Counts all that is new in a file.
fn refresh(log: &FileLog, time: Option<Time>) -> io::Result<Option<file::Changed>> {
    let (mut pass, mut changed) = (None, None);
    loop {
        let slice = log.count_slice(pass, || time)?;
        changed = slice.changed.or(changed);
        pass = slice.rest;
        if pass.is_none() {
            return Ok(changed);
        }
    }
}

fn answer(query: &LogsQuery, view: &View) -> LogPage {
    let going_on = CancellationToken::new();
    let page = query.run(view, LogStream::Stdout, &going_on);
    page.expect("found")
}

/// A copy of all of a log.
fn copy(route: &Route, target: PathBuf) -> Result<Copy<'_>, keep::Refused> {
    Copy::new(route, target, None, &|| true)
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
        // However it is cut, each line is as long as it is.
        for limit in [0, 1, EIGHTH - 1, EIGHTH, 2 * EIGHTH + 1] {
            let (cut, _) = read_cut(&view, 0, limit);
            let (whole, _) = read(&view, 0);
            prop_assert_eq!(cut.len(), whole.len());
            for (cut, whole) in cut.into_iter().zip(whole) {
                let kept = whole.1.len().min(limit);
                let expected = (whole.0, &whole.1[..kept], (whole.1.len() - kept) as u64, whole.2);
                prop_assert_eq!((cut.0, &cut.1[..], cut.2, cut.3), expected);
            }
        }
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
            let going_on = CancellationToken::new();
            let mut lines = view.lines(second, DEFAULT_LINE_LIMIT, &going_on);
            for number in second..(second + 300).min(1000) {
                let time = Some(Time::of(at(number)));
                let bytes = number.to_string();
                let line = Line {
                    number,
                    time,
                    bytes: bytes.as_bytes(),
                    cut: 0,
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
            refresh(&file, Some(Time::of(at(second)))).expect("read");
        }
        let view = match route {
            LogRoute::Pipe => store.view(),
            LogRoute::File => file.view(),
        };
        let page = answer(&LogsQuery::fetch_all(), &view);
        let lines = page.into_lines();
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
    let page = answer(&LogsQuery::fetch_all(), &log.view());
    let times = page.into_lines();
    let times: Vec<_> = times.iter().map(LogLine::time).collect();
    assert_eq!(times, [5, 5, 7].map(|second| Some(at(second))));
}

fn page(log: &Arc<StoreLog>, query: &LogsQuery) -> LogPage {
    answer(query, &log.view())
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
    let changed = |log: &FileLog| refresh(log, None).expect("read");
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
        refresh(&log, observed.map(|second| Time::of(at(second)))).expect("read");
    }
    let view = log.view();
    let page = answer(&LogsQuery::fetch_all(), &view);
    let lines = page.into_lines();
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
        let copy = copy(&route, target.clone()).expect("copied");
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
        let copy = copy(&route, target.clone()).expect("copied");
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
    let settled = |name| copy(&route, root.join(name)).map(Copy::settle);
    change(&settled("first").expect("moved"));
    settled("second")
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
    let copy = copy(&route, target.clone()).expect("copied");
    copy.settle();
    assert_eq!(fs::read(target).expect("there"), b"1\n2\n");
    assert_eq!(read(&log.view(), 0), before);
    assert_eq!(before.0.len(), 2);
}

/// A file of these pieces: text, or a hole of so many bytes.
enum Sparse {
    Text(Vec<u8>),
    Hole(u64),
}

fn write(path: &Path, pieces: &[Sparse]) -> Arc<fs::File> {
    let writer = fs::File::create(path).expect("made");
    let mut length = 0;
    for piece in pieces {
        match piece {
            Sparse::Text(text) => {
                writer.write_all_at(text, length).expect("written");
                length += text.len() as u64;
            }
            Sparse::Hole(hole) => length += hole,
        }
        writer.set_len(length).expect("grown");
    }
    Arc::new(fs::File::open(path).expect("there"))
}

const TERABYTE: u64 = 1 << 40;

#[test]
fn a_hole_is_a_run_of_nul_bytes_in_its_line_and_is_not_read() {
    let root = tempfile::tempdir().expect("a directory");
    let text = |text: &str| Sparse::Text(text.as_bytes().to_vec());
    let pieces = [
        text("0\n1"),
        Sparse::Hole(TERABYTE),
        text("\n2\n"),
        Sparse::Hole(TERABYTE),
        text("end\n4\n"),
        Sparse::Hole(TERABYTE),
    ];
    let log = FileLog::new(write(&root.path().join("log"), &pieces));
    assert_eq!(refresh(&log, None).expect("read"), None);
    let view = log.view();
    let limit = 5;
    let nul = |before: &str| {
        let mut bytes = before.as_bytes().to_vec();
        bytes.resize(limit, 0);
        bytes
    };
    let left = |rest: u64| TERABYTE + rest - limit as u64;
    let expected = [
        (0, b"0".to_vec(), 0, true),
        (1, nul("1"), left(1), true),
        (2, b"2".to_vec(), 0, true),
        (3, nul(""), left(3), true),
        (4, b"4".to_vec(), 0, true),
        (5, nul(""), left(0), false),
    ];
    assert_eq!(view.started, 6);
    for from in 0..=6_u8 {
        let (found, dropped) = read_cut(&view, from.into(), limit);
        assert_eq!((&found[..], dropped), (&expected[from.into()..], 0));
    }
    // What a search sees of a line is what the line has.
    let page = answer(
        &LogsQuery::fetch_all().containing("1\0").line_limit(2),
        &view,
    );
    assert_eq!(numbers(&page), [1]);
    let page = answer(&LogsQuery::fetch_all().containing("end"), &view);
    assert_eq!(numbers(&page), [0; 0]);
}

#[test]
fn without_an_index_the_end_of_a_long_line_is_looked_for_past_holes() {
    let root = tempfile::tempdir().expect("a directory");
    let pieces = [
        Sparse::Hole(TERABYTE),
        Sparse::Text(b"a\nb\n".to_vec()),
        Sparse::Hole(TERABYTE),
    ];
    let log = FileLog::new(write(&root.path().join("log"), &pieces));
    refresh(&log, None).expect("read");
    let mut view = log.view();
    view.parts[0].index = records::Index::Held(Arc::default());
    let (found, _) = read_cut(&view, 0, 3);
    let lengths: Vec<_> = found.iter().map(|line| line.2 + 3).collect();
    assert_eq!(lengths[..1], [TERABYTE + 1]);
    assert_eq!(found[1], (1, b"b".to_vec(), 0, true));
    assert_eq!((lengths[2], found[2].3), (TERABYTE, false));
    // And of what was given up, nothing is said.
    let given_up = CancellationToken::new();
    given_up.cancel();
    let mut lines = view.lines(0, 3, &given_up);
    assert_eq!(lines.next(), Some(Step::Dropped { first: 0, count: 3 }));
    assert_eq!(lines.next(), None);
    assert!(lines.damage().is_none());
}

#[test]
fn a_file_is_counted_in_slices_and_what_is_counted_can_be_read() {
    let root = tempfile::tempdir().expect("a directory");
    let line = vec![b'a'; 1023];
    let mut text = Vec::new();
    let count = 5 * file::SLICE / 2048;
    for _ in 0..count {
        text.extend_from_slice(&line);
        text.push(b'\n');
    }
    let log = FileLog::new(write(&root.path().join("log"), &[Sparse::Text(text)]));
    let (mut pass, mut counted) = (None, Vec::new());
    loop {
        let slice = log.count_slice(pass, || None).expect("read");
        let view = log.view();
        counted.push(view.started);
        let last = read(&view, view.started - 1).0;
        assert_eq!(last, [(view.started - 1, line.clone(), true)]);
        pass = slice.rest;
        if pass.is_none() {
            break;
        }
    }
    let slice = file::SLICE / 1024;
    assert_eq!(counted, [slice, 2 * slice, count]);
    // The line after a long one is found without that.
    let length = 3 * file::SLICE;
    let pieces = [
        Sparse::Text(vec![b'b'; usize::try_from(length).expect("fits")]),
        Sparse::Text(b"\nafter\nlast".to_vec()),
    ];
    let log = FileLog::new(write(&root.path().join("long"), &pieces));
    refresh(&log, None).expect("read");
    let records::Index::Held(records) = log.view().parts[0].index.clone() else {
        panic!("held");
    };
    let places: Vec<_> = records.iter().map(|one| (one.line, one.offset)).collect();
    assert_eq!(places, [(0, 0), (1, length + 1)]);
}

#[test]
fn one_who_truncates_over_and_over_keeps_nobody() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("log");
    let length = 2 * usize::try_from(file::SLICE).expect("fits");
    let log = FileLog::new(write(&path, &[Sparse::Text(vec![b'a'; length])]));
    let mut pass = None;
    for (byte, more) in [(b'a', true), (b'b', true), (b'c', false)] {
        fs::write(&path, vec![byte; length]).expect("written");
        pass = log.count_slice(pass, || None).expect("read").rest;
        assert_eq!(pass.is_some(), more, "{byte}");
    }
    // Positions do not add up to more than a number can be.
    for _ in 0..3 {
        let file = fs::File::create(&path).expect("truncated");
        file.set_len((1 << 44) - 4096).expect("grown");
        refresh(&log, None).expect("read");
        assert_eq!(log.view().end, (1 << 44) - 4096);
    }
}

#[test]
fn records_that_cannot_be_written_are_bounded() {
    let root = tempfile::tempdir().expect("a directory");
    // The child may make what has this name.
    fs::create_dir(root.path().join("stdout.index")).expect("made");
    let process = Budget::new(None);
    let (mut appender, log) = Appender::new(
        root.path(),
        LogStream::Stdout,
        Arc::clone(&process),
        Budget::new(None),
    );
    for second in 0..10_000 {
        appender.append(b"line\n", at(second));
        let view = log.view();
        let records::Index::Named { waiting, .. } = &view.parts[0].index else {
            panic!("in a file");
        };
        assert!(waiting.len() <= segments::WAITING, "{}", waiting.len());
        let size = 16 * waiting.len() as u64 + view.end;
        assert_eq!(process.bytes(), size, "what is not there takes no room");
    }
    assert_eq!(
        read(&log.view(), 9_999).0,
        [(9_999, b"line".to_vec(), true)]
    );
}

#[test]
fn no_more_lines_of_a_window_are_held_than_are_wanted() {
    let root = tempfile::tempdir().expect("a directory");
    let (mut appender, log) = log(root.path(), None);
    for number in 0..10_000 {
        appender.append(format!("{number}\n").as_bytes(), at(0));
    }
    let last = LogsQuery::last(3).containing("");
    assert_eq!(numbers(&page(&log, &last)), [9_997, 9_998, 9_999]);
    let all = LogsQuery::last(6_000).containing("");
    assert_eq!(
        numbers(&page(&log, &all)),
        (4_000..10_000).collect::<Vec<_>>()
    );
}

#[test]
fn a_copy_keeps_holes_and_no_more_data_than_it_may() {
    let root = tempfile::tempdir().expect("a directory");
    let block = |byte: u8| Sparse::Text(vec![byte; 64 * 1024]);
    let pieces = [
        block(b'a'),
        Sparse::Hole(TERABYTE),
        block(b'b'),
        Sparse::Hole(TERABYTE),
        block(b'c'),
        Sparse::Hole(TERABYTE),
    ];
    let block = 64 * 1024;
    let whole = 3 * (TERABYTE + block);
    let file = write(&root.path().join("log"), &pieces);
    let route = Route::File(Arc::new(FileLog::new(file)));
    let target = root.path().join("kept");
    // The bound on data, and how much of the beginning is not there.
    let table = [
        (None, 0),
        (Some(3 * block), 0),
        (Some(2 * block), block + TERABYTE),
        (Some(block + 1), block + TERABYTE + block - 1),
        (Some(0), whole),
    ];
    for (data, cut) in table {
        let copy = Copy::new(&route, target.clone(), data, &|| true).expect("copied");
        assert_eq!(copy.cut(), cut, "{data:?}");
        copy.settle();
        let kept = fs::File::open(&target).expect("there");
        let metadata = kept.metadata().expect("there");
        assert_eq!(metadata.len(), whole - cut, "{data:?}");
        let bound = data.unwrap_or(3 * block).min(3 * block);
        assert!(metadata.blocks() * 512 <= bound + 4 * block, "{data:?}");
        for (place, byte) in [(0, b'a'), (1, b'b'), (2, b'c')] {
            let place = place * (TERABYTE + block);
            for (at, byte) in [(place, byte), (place + block - 1, byte), (place + block, 0)] {
                let mut found = [0xff];
                if at >= cut && at < whole {
                    kept.read_exact_at(&mut found, at - cut).expect("there");
                    assert_eq!(found, [byte], "{data:?} {at}");
                }
            }
        }
        fs::remove_file(&target).expect("removed");
    }
    // Given up, it leaves nothing behind.
    for route in [route, Route::Pipe(one_segment(root.path()))] {
        let (_, error) = Copy::new(&route, target.clone(), Some(0), &|| false)
            .err()
            .expect("given up");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!target.exists());
    }
}

fn one_segment(root: &Path) -> Arc<StoreLog> {
    let (mut appender, log) = log(root, None);
    appender.append(b"line\n", at(0));
    appender.end();
    log
}

#[test]
fn times_that_are_known_now_and_then_are_bounded() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("log");
    let mut writer = fs::File::create(&path).expect("made");
    let log = FileLog::new(Arc::new(fs::File::open(&path).expect("there")));
    let count = 2 * file::RECORDS as u64;
    for second in 0..count {
        io::Write::write_all(&mut writer, b"line\n").expect("written");
        let observed = (second % 2 == 1).then(|| Time::of(at(second)));
        refresh(&log, observed).expect("read");
    }
    let view = log.view();
    let records::Index::Held(held) = &view.parts[0].index else {
        panic!("held");
    };
    assert!(held.len() <= file::RECORDS, "{}", held.len());
    let page = answer(&LogsQuery::last(2), &view);
    let times: Vec<_> = page.lines().iter().map(LogLine::time).collect();
    assert_eq!(times, [None, Some(at(count - 1))]);
    let first = answer(&LogsQuery::with_limit(2), &view);
    assert!(first.lines().iter().all(|line| line.time().is_none()));
}
