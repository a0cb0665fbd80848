//! What logs cost: the child's speed, the parent's processor, and the time of a query.
//!
//! Serial: it measures. The bounds are five times those that the benchmark holds strictly: other work on
//! the machine must not fail a test.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use procession_manager::{Cmd, LogRoute, LogStream, Logging, LogsQuery, ProcessHandle};
use procession_tests::{Checked, Within as _, alone, checked_for, programs, say};

const LOOSE: u32 = 5;
const LINES: u64 = 10_000_000;
const TIME: Duration = Duration::from_mins(3);
/// Lines of 100 bytes, without an end.
const YES: &str = "yes aaaaaaaaabbbbbbbbbaaaaaaaaabbbbbbbbbaaaaaaaaabbbbbbbbbaaaaaaaaabbbbbbbbbaaaaaaaaabbbbbbbbbaaaaaaaaa";
const GIGABYTE: u64 = 1_000_000_000;

async fn ended(test: &Checked, script: &str, route: LogRoute) -> ProcessHandle {
    let logging = Logging::stdout().route(route).unlimited();
    let child = Cmd::new(programs::sh())
        .args(["-c", script])
        .logging(logging);
    let child = test.spawn(child).await;
    let report = child.wait().await.unwrap();
    assert!(report.success(), "{report}");
    child
}

/// Finds `count` lines from this one on; gives how long that took.
async fn find(child: &ProcessHandle, first: u64, count: u64) -> Duration {
    let query =
        LogsQuery::with_offset_and_limit(first.try_into().unwrap(), count.try_into().unwrap());
    let begun = Instant::now();
    let page = child.query_logs(LogStream::Stdout, query).await.unwrap();
    let took = begun.elapsed();
    let found: Vec<_> = page
        .lines()
        .iter()
        .map(|line| line.text().to_string())
        .collect();
    let expected: Vec<_> = (first..first + count)
        .map(|line| (line + 1).to_string())
        .collect();
    assert_eq!(found, expected);
    assert_eq!((page.written(), page.dropped()), (LINES, 0));
    took
}

async fn find_last(child: &ProcessHandle) -> Duration {
    let begun = Instant::now();
    let page = child.query_logs(LogStream::Stdout, LogsQuery::last(5));
    let page = page.await.unwrap();
    let took = begun.elapsed();
    let found: Vec<_> = page
        .lines()
        .iter()
        .map(|line| line.text().to_string())
        .collect();
    let expected: Vec<_> = (LINES - 4..=LINES).map(|line| line.to_string()).collect();
    assert_eq!((found, page.written()), (expected, LINES));
    took
}

/// The quickest of several: what else the machine does is no part of it.
fn quickest(times: &[Duration]) -> Duration {
    *times.iter().min().unwrap()
}

#[test]
fn ten_million_lines_through_a_pipe_are_counted_and_found() {
    let _alone = alone();
    checked_for(TIME, async |test| {
        let child = ended(test, "exec seq 10000000", LogRoute::Pipe).await;
        let at_once = find_last(&child).await;
        let mut offsets = Vec::new();
        for first in [0, 1_234_567, 5_000_000, 7_777_777, 9_999_990] {
            offsets.push(find(&child, first, 10).await);
        }
        let mut again = Vec::new();
        for _ in 0..3 {
            again.push(find_last(&child).await);
            again.push(find(&child, 5_000_000, 10).await);
        }
        say(&format!(
            "the last 5 of {LINES} lines: {at_once:?}, then {:?}; any offset {offsets:?}",
            quickest(&again)
        ));
        let bound = Duration::from_millis(5) * LOOSE;
        assert!(quickest(&offsets).min(at_once) < bound);
        assert!(quickest(&again) < Duration::from_millis(1) * LOOSE);
    });
}

#[test]
fn ten_million_lines_of_a_file_are_counted_as_fast_as_by_wc() {
    let _alone = alone();
    checked_for(TIME, async |test| {
        let path = test.scratch().join("lines");
        let status = Command::new("seq")
            .arg(LINES.to_string())
            .stdout(File::create(&path).unwrap())
            .status();
        assert!(status.unwrap().success());
        let (mut ours, mut theirs, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..3 {
            let child = ended(test, "exec seq 10000000", LogRoute::File).await;
            ours.push(find_last(&child).await);
            again.push(find_last(&child).await);
            again.push(find(&child, 5_000_000, 10).await);
            child.remove().await.unwrap();
            let begun = Instant::now();
            let counted = Command::new("wc").arg("-l").arg(&path).output().unwrap();
            theirs.push(begun.elapsed());
            assert!(counted.stdout.starts_with(b"10000000 "));
        }
        let (ours, theirs) = (quickest(&ours), quickest(&theirs));
        say(&format!(
            "the last 5 of {LINES} lines: {ours:?}, wc -l {theirs:?}, then {:?}",
            quickest(&again)
        ));
        assert!(ours < theirs * 2 * LOOSE);
        assert!(quickest(&again) < Duration::from_millis(1) * LOOSE);
    });
}

/// Of all threads of this process.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.try_into().unwrap()
}

#[test]
fn a_gigabyte_through_a_pipe_costs_little_and_is_not_slow() {
    let _alone = alone();
    checked_for(TIME, async |test| {
        let script = format!("{YES} | head -c {GIGABYTE}");
        let (mut ours, mut theirs, mut processor) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..2 {
            let (begun, before) = (Instant::now(), cpu());
            let child = ended(test, &script, LogRoute::Pipe).await;
            processor.push(cpu().saturating_sub(before));
            ours.push(begun.elapsed());
            let page = child
                .query_logs(LogStream::Stdout, LogsQuery::last(1))
                .await
                .unwrap();
            assert_eq!(page.written(), GIGABYTE.div_ceil(100));
            child.remove().await.unwrap();

            let path = test.scratch().join("copy");
            let begun = Instant::now();
            let status = Command::new(programs::sh())
                .args(["-c", &format!("{script} | cat")])
                .stdin(Stdio::null())
                .stdout(File::create(&path).unwrap())
                .status();
            assert!(status.unwrap().success());
            theirs.push(begun.elapsed());
            std::fs::remove_file(path).unwrap();
        }
        let (ours, theirs, processor) = (quickest(&ours), quickest(&theirs), quickest(&processor));
        say(&format!(
            "a gigabyte: {ours:?}, cat > file {theirs:?}; {processor:?} of the processor"
        ));
        assert!(processor < Duration::from_secs(1) * LOOSE);
        assert!(ours.mul_f64(0.7) < theirs * LOOSE);
    });
}

#[test]
fn a_file_that_nobody_asks_about_costs_nothing() {
    let _alone = alone();
    checked_for(TIME, async |test| {
        let before = cpu();
        let begun = Instant::now();
        let script = format!("{YES} | head -c {}", 3 * GIGABYTE);
        let child = ended(test, &script, LogRoute::File).await;
        let (used, took) = (cpu().saturating_sub(before), begun.elapsed());
        say(&format!(
            "{used:?} of the processor in {took:?} at full speed"
        ));
        assert!(used < took * LOOSE / 100, "over a hundredth of a core");
        child.remove().within("the removal").await.unwrap();
    });
}
