//! Limits on logs: what is on the disk is never over them, and what was dropped is told exactly.
//!
//! Serial: it looks at the disk as fast as it can while children write as fast as they can.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Event, EventStream, FollowFrom, FollowLogsError, LogFollower, LogLine, LogRoute,
    LogStream, Logging, LogsQuery, Messaging, OutputState, ProcessHandle, ProcessManager,
};
use procession_tests::{Within as _, alone, checked_for, programs, run_directories, say};

const LONG: Duration = Duration::from_mins(4);
const STDOUT: LogStream = LogStream::Stdout;
const MEBIBYTE: u64 = 1 << 20;

/// Looks at the files of logs, over and over, on a thread of its own.
struct Sampler {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    samples: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sampler {
    fn over(working: PathBuf) -> Self {
        let (stop, most) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let samples = Arc::new(AtomicU64::new(0));
        let thread = {
            let (stop, most, samples) =
                (Arc::clone(&stop), Arc::clone(&most), Arc::clone(&samples));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(sum) = on_disk(&working) {
                        most.fetch_max(sum, Ordering::Relaxed);
                        samples.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        Self {
            stop,
            most,
            samples,
            thread: Some(thread),
        }
    }

    /// The most that there ever was, and how often that was looked at.
    fn end(mut self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let most = self.most.load(Ordering::Relaxed);
        (most, self.samples.load(Ordering::Relaxed))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The lengths of all files in run directories at one time; none where one went while they were measured. As
/// files only grow until they go, there was as much at the end of it.
fn on_disk(working: &Path) -> Option<u64> {
    let directories = run_directories(working).ok()?;
    let files = directories
        .iter()
        .filter_map(|path| fs::read_dir(path).ok());
    let files: Vec<_> = files.flatten().flatten().map(|file| file.path()).collect();
    let length = |file: &PathBuf| Some(fs::metadata(file).ok()?.len());
    let sum = files.iter().map(length).sum::<Option<u64>>()?;
    files.iter().all(|file| file.exists()).then_some(sum)
}

fn sh(script: &str, logging: Logging) -> Cmd {
    Cmd::new(programs::sh())
        .args(["-c", script])
        .logging(logging)
        .messaging(Messaging::standard_io().input_only())
}

async fn ends(child: &ProcessHandle) -> OutputState {
    let report = child.wait().await.unwrap();
    assert_eq!(report.code(), Some(0), "{report}");
    report.output()
}

/// What a follower saw and what it was told that it missed; each line of which is the text, in order. It
/// stops at every so many lines until something else has happened.
async fn tally(
    mut follower: LogFollower,
    text: &[u8],
    mut pause: impl AsyncFnMut(u64),
) -> (u64, u64, u64) {
    let (mut seen, mut dropped, mut losses) = (0, 0, 0);
    while let Some(item) = follower.next().within("the next item").await {
        match item {
            Ok(line) => {
                assert_eq!(
                    line.number(),
                    seen + dropped,
                    "lost or doubled without a word"
                );
                assert_eq!(line.bytes().as_ref(), text);
                seen += 1;
                pause(seen).await;
            }
            Err(FollowLogsError::Dropped { first, count }) => {
                assert_eq!(first, seen + dropped, "told where it was");
                assert!(count > 0);
                dropped += count;
                losses += 1;
            }
            Err(error) => panic!("unexpected: {error}"),
        }
    }
    (seen, dropped, losses)
}

/// The faults of logs among the events so far.
async fn faults(mut events: EventStream, after: &ProcessHandle) -> Vec<String> {
    let mut faults = Vec::new();
    loop {
        match events.next().within("an event").await.unwrap() {
            Event::LogFault { reason, .. } => faults.push(reason),
            Event::Finished { id, .. } if id == after.id() => return faults,
            _ => {}
        }
    }
}

#[test]
fn two_gigabytes_under_16_mebibytes() {
    const LINES: u64 = 20_000_000;
    const LIMIT: u64 = 16 * MEBIBYTE;
    let _alone = alone();
    checked_for(LONG, async |test| {
        let events = test.manager().events();
        let text = format!("{:099}", 7);
        // Lines of 100 bytes, 2 GB of them; not before it is told.
        let script = format!("read -r x; yes {text} | head -n {LINES}");
        let child = test
            .spawn(sh(&script, Logging::stdout().limit(LIMIT)))
            .await;
        let follow = async || {
            child
                .follow_logs(STDOUT, FollowFrom::Beginning)
                .await
                .unwrap()
        };
        let (quick, slow) = (follow().await, follow().await);
        let sampler = Sampler::over(test.working_directory().to_owned());
        child.send_message("go").await.unwrap();
        // Takes a line, and waits until many more have been written; in the end it takes what is left.
        let slowly = tally(slow, text.as_bytes(), async |seen| {
            let written = async || {
                let page = child.query_logs(STDOUT, LogsQuery::last(1)).await.unwrap();
                assert!(page.damage().is_none(), "{:?}", page.damage());
                (page.written(), page.is_complete())
            };
            if seen % 1024 != 0 {
                return;
            }
            let (before, mut complete) = written().await;
            let mut now = before;
            while !complete && now < before + 1_000_000 {
                tokio::task::yield_now().await;
                (now, complete) = written().await;
            }
        });
        let quickly = tally(quick, text.as_bytes(), async |_| {});
        // Whole answers, from what is being dropped.
        let asking = async {
            loop {
                let page = child
                    .query_logs(STDOUT, LogsQuery::with_limit(2000))
                    .await
                    .unwrap();
                assert!(page.damage().is_none(), "{:?}", page.damage());
                let mut whole = page.lines().iter().filter(|line| line.is_ended());
                assert!(whole.all(|line| line.bytes() == text.as_bytes()));
                if page.is_complete() {
                    return;
                }
                let since = LogsQuery::with_limit(1).since(std::time::SystemTime::UNIX_EPOCH);
                let page = child.query_logs(STDOUT, since).await.unwrap();
                assert!(page.damage().is_none(), "{:?}", page.damage());
            }
        };
        let (quickly, slowly, (), output) = tokio::join!(quickly, slowly, asking, ends(&child));
        assert_eq!(output, OutputState::Complete);
        let (most, samples) = sampler.end();
        say(&format!(
            "at most {most} bytes in {samples} looks; {quickly:?}, {slowly:?}"
        ));
        assert!(samples > 100, "{samples}");
        assert!(most <= LIMIT, "{most}");
        for (seen, dropped, _) in [quickly, slowly] {
            assert_eq!(seen + dropped, LINES);
        }
        assert!(
            slowly.2 > 1 && slowly.1 > LINES / 2,
            "it was too slow more than once: {slowly:?}"
        );
        let page = child
            .query_logs(STDOUT, LogsQuery::fetch_all())
            .await
            .unwrap();
        let (first, count) = (page.first_kept(), page.lines().len() as u64);
        assert_eq!(
            (page.written(), page.dropped(), first + count),
            (LINES, first, LINES)
        );
        // An eighth goes at a time, and the moments take something too.
        assert!(
            count * 100 > LIMIT / 2,
            "no more than has to be is dropped: {count}"
        );
        let numbers = page.lines().iter().map(LogLine::number);
        assert!(numbers.eq(first..LINES));
        let after = test.spawn(sh("exit 0", Logging::stdout())).await;
        ends(&after).await;
        assert_eq!(
            faults(events, &after).await,
            [""; 0],
            "the limit is no fault"
        );
    });
}

#[test]
fn one_limit_over_many_processes() {
    const PROCESSES: usize = 16;
    const LINES: u64 = 500_000;
    const LIMIT: u64 = 8 * MEBIBYTE;
    let _alone = alone();
    checked_for(LONG, async |test| {
        let work = test.scratch().join("work");
        fs::create_dir(&work).unwrap();
        let builder = ProcessManager::builder().working_directory(&work);
        let manager = builder.total_log_limit(LIMIT).spawn().unwrap();
        let text = format!("{:019}", 7);
        let events = manager.events();
        let sampler = Sampler::over(work.clone());
        // Has a little, which is the oldest of all.
        let first = manager.spawn_with_handle(sh("echo first", Logging::stdout()));
        let first = first.await.unwrap();
        ends(&first).await;
        let lives = (0..PROCESSES).map(|_| async {
            let script = format!("yes {text} | head -n {LINES}");
            let child = manager.spawn_with_handle(sh(&script, Logging::stdout()));
            let child = child.await.unwrap();
            let follower = child.follow_logs(STDOUT, FollowFrom::Beginning).await;
            let tally = tally(follower.unwrap(), text.as_bytes(), async |_| {});
            let ((seen, dropped, _), output) = tokio::join!(tally, ends(&child));
            assert_eq!((seen + dropped, output), (LINES, OutputState::Complete));
            child
        });
        let children = futures::future::join_all(lives).await;
        let (most, samples) = sampler.end();
        say(&format!("at most {most} bytes in {samples} looks"));
        assert!(samples > 100, "{samples}");
        assert!(most <= LIMIT, "{most}");
        let mut kept = 0;
        for child in &children {
            let page = child
                .query_logs(STDOUT, LogsQuery::fetch_all())
                .await
                .unwrap();
            assert!(page.damage().is_none(), "{:?}", page.damage());
            let count = page.lines().len() as u64;
            assert_eq!((page.written(), page.dropped() + count), (LINES, LINES));
            assert_eq!(page.first_kept() + count, LINES, "the newest of each");
            kept += count * 20;
        }
        assert!(kept <= LIMIT && kept > LIMIT / 2, "{kept}");
        let page = first
            .query_logs(STDOUT, LogsQuery::fetch_all())
            .await
            .unwrap();
        assert_eq!(
            (page.written(), page.dropped()),
            (1, 1),
            "the oldest went first"
        );
        // What is removed gives its room back.
        for child in children {
            child.remove().await.unwrap();
        }
        let small = manager.spawn_with_handle(sh("seq 1 100000", Logging::stdout()));
        let small = small.await.unwrap();
        ends(&small).await;
        let page = small.query_logs(STDOUT, LogsQuery::last(1)).await.unwrap();
        assert_eq!((page.first_kept(), page.written()), (0, 100_000));
        assert_eq!(
            faults(events, &small).await,
            [""; 0],
            "the limit is no fault"
        );
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}

/// Files of the file route have no limit, and take nothing of that of others.
#[test]
fn the_file_route_does_not_count() {
    let _alone = alone();
    checked_for(LONG, async |test| {
        let work = test.scratch().join("work");
        fs::create_dir(&work).unwrap();
        let builder = ProcessManager::builder().working_directory(&work);
        let manager = builder.total_log_limit(MEBIBYTE).spawn().unwrap();
        let piped = manager.spawn_with_handle(sh("seq 1 1000", Logging::stdout()));
        let piped = piped.await.unwrap();
        ends(&piped).await;
        let logging = Logging::stdout().route(LogRoute::File).limit(MEBIBYTE);
        let filed = manager.spawn_with_handle(sh("seq 1 1000000", logging));
        let filed = filed.await.unwrap();
        ends(&filed).await;
        for (child, count) in [(piped, 1000), (filed, 1_000_000)] {
            let page = child.query_logs(STDOUT, LogsQuery::last(1)).await.unwrap();
            assert_eq!((page.first_kept(), page.written()), (0, count));
        }
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}
