//! Logs that somebody damages, and disks that are full: what is lost is told, and all else goes on.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::StreamExt as _;
use procession_manager::{
    Event, FollowFrom, FollowLogsError, GetLogsError, LogLine, LogRoute, LogStream, Logging,
    LogsQuery, OutputState, ProcessManager, ProcessManagerHandle,
};
use procession_tests::logs::{
    ROUTES, STDOUT, all, ends, fault, file_of, follow, go_on, line, numbered, query, rest, sh,
    stdout, steered, texts, written,
};
use procession_tests::{Within as _, checked, run_directories, say};

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

/// A hole of terabytes costs a child one system call. On a runtime of one thread, a query of it is
/// answered, and neither the exit nor the shutdown waits for one that counts.
#[test]
fn a_hole_of_terabytes_holds_nothing_up() {
    const LENGTH: u64 = 2 << 40;
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let builder = ProcessManager::builder().working_directory(root.path());
        let manager = builder.spawn().unwrap();
        let script = "echo 0; truncate -s 2T /proc/self/fd/1; echo end; read -r x
            echo 2; truncate -s 4T /proc/self/fd/1; exit 0";
        let child = manager.spawn_with_handle(steered(script, stdout(LogRoute::File)));
        let child = child.await.unwrap();
        let mut lines = follow(&child, FollowFrom::Beginning).await;
        for number in 0..2 {
            assert_eq!(line(&mut lines).await.number(), number);
        }
        // Whoever asks while it ends: the process's task does not wait for that.
        let asked = tokio::spawn({
            let child = child.clone();
            async move { all(&child).await }
        });
        go_on(&child).await;
        assert_eq!(ends(&child).await, OutputState::Complete);
        asked.await.unwrap();
        let page = all(&child).await;
        assert_eq!((page.written(), page.dropped()), (4, 0));
        let length = |line: &LogLine| line.bytes().len() as u64 + line.cut_bytes();
        let lengths: Vec<_> = page.lines().iter().map(length).collect();
        // Each write goes to the end of the file.
        assert_eq!(lengths, [1, LENGTH - 2 + 3, 1, LENGTH - 6]);
        assert_eq!(page.lines()[1].bytes()[..3], [0; 3]);
        let found: Vec<_> = rest(lines).await;
        assert_eq!(found, page.lines()[2..]);
        let none = query(&child, LogsQuery::last(1).containing("end")).await;
        assert!(
            none.lines().is_empty(),
            "a line is searched up to the limit"
        );
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}
