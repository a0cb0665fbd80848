//! Very many children, one after the other and at once: none is lost, none is left, nothing grows.
//!
//! Serial: it counts the descriptors, threads and memory of the whole process.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::process::{Command, Stdio};
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Logging, LogsQuery, Messaging, ProcessManager, ProcessManagerHandle,
};
use procession_tests::{
    Within as _, alone, checked_for, ci_factor, eventually, fixture, procfs, programs,
};

const LONG: Duration = Duration::from_mins(5);
const MEBIBYTE: u64 = 1 << 20;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Starts so many children, 64 at a time, and says how many reports there were.
async fn short_lives(manager: &ProcessManagerHandle, count: usize) -> usize {
    let lives = futures::stream::iter(0..count).map(|_| async {
        let child = manager.spawn_with_handle(Cmd::new("/bin/true"));
        let report = child.await.unwrap().wait().await.unwrap();
        assert_eq!((report.code(), report.signal()), (Some(0), None));
    });
    lives.buffer_unordered(64).count().await
}

#[test]
fn ten_thousand_short_children() {
    let _alone = alone();
    checked_for(LONG, async |test| {
        let directory = test.scratch().join("own");
        std::fs::create_dir(&directory).unwrap();
        // What the test's own manager opens at its start is open when its first child runs.
        let first = test.spawn(Cmd::new("/bin/true")).await;
        first.stop().within("the end of the first").await.unwrap();
        first.remove().await.unwrap();
        let (open, threads_before) = (procfs::descriptors().len(), threads());
        let manager = ProcessManager::builder()
            .working_directory(&directory)
            .retain_exited(0)
            .spawn()
            .unwrap();
        let mut memory = Vec::new();
        let mut reports = 0;
        for _ in 0..10 {
            reports += short_lives(&manager, 1000).await;
            memory.push(procfs::memory());
        }
        assert_eq!(reports, 10_000);
        let grown = memory[9].saturating_sub(memory[1]);
        assert!(grown < 4 * MEBIBYTE, "{memory:?}");
        let soon = Duration::from_secs(10);
        eventually("the last ones to be removed", soon, async || {
            manager.list().await.unwrap().is_empty().then_some(())
        })
        .await;
        assert_eq!(procfs::zombies(), []);
        manager.shutdown().within("the shutdown").await.unwrap();
        eventually(
            "threads and descriptors to be as before",
            soon,
            async || {
                (procfs::descriptors().len() <= open && threads() <= threads_before).then_some(())
            },
        )
        .await;
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    });
}

/// A program that forks, and says so after as many times as its argument says. Half of the children
/// leave the group, and every second of these loses its parent.
const FORKS: &str = "
import os, signal, sys
for n in range(200):
    if n == int(sys.argv[1]):
        os.write(1, b'here\\n')
    if os.fork() == 0:
        if n % 2:
            os.setsid()
        if n % 4 == 3 and os.fork():
            os._exit(0)
        while True:
            signal.pause()
while True:
    signal.pause()
";

/// Killed while it forks: nothing of it is left when the kill is done, however far it had come.
#[test]
fn what_forks_while_it_is_killed() {
    let _alone = alone();
    checked_for(LONG, async |test| {
        let mut hunted = 0;
        for round in 0..200 {
            let child = Cmd::new(programs::python3())
                .args(["-S", "-E", "-c", FORKS])
                .arg((round % 20).to_string())
                .messaging(Messaging::standard_io());
            let child = test.spawn(child).await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            stream.next().within("the start").await.unwrap().unwrap();
            let report = match round % 2 {
                0 => child.kill().within("the kill").await.unwrap(),
                // It does nothing about SIGTERM but to end: its children live on.
                _ => child.stop().within("the stop").await.unwrap(),
            };
            let left = procfs::with_in_environment(test.working_directory().as_os_str());
            let alive: Vec<_> = left
                .into_iter()
                .filter(|pid| procfs::is_alive(*pid))
                // The guard is the manager's.
                .filter(|pid| !procfs::command_line(*pid).contains("guard"))
                .collect();
            assert!(alive.is_empty(), "round {round}: {alive:?} of {report}");
            hunted += report.hunted().expect("it was hunted");
            child.remove().await.unwrap();
        }
        assert!(hunted > 200, "{hunted} were hunted in all");
    });
}

/// Nobody reaps the children of somebody else.
#[test]
fn the_parent_has_children_of_its_own() {
    let _alone = alone();
    checked_for(LONG, async |test| {
        const EACH: i32 = 150;
        let script = |status: i32| format!("read -r line <&- ; exit {}", status % 100);
        let of_std = std::thread::spawn(move || {
            for status in 0..EACH {
                let mut child = Command::new(programs::sh());
                let child = child.args(["-c", &script(status)]).stderr(Stdio::null());
                let exit = child.status().unwrap();
                assert_eq!(exit.code(), Some(status % 100));
            }
        });
        let of_tokio = futures::stream::iter(0..EACH).map(|status| async move {
            let mut child = tokio::process::Command::new(programs::sh());
            child.args(["-c", &script(status)]).stderr(Stdio::null());
            let exit = child.status().await.unwrap();
            assert_eq!(exit.code(), Some(status % 100));
        });
        let ours = futures::stream::iter(0..EACH).map(|status| async move {
            let child = Cmd::new(programs::sh()).args(["-c".to_owned(), script(status)]);
            let child = test.spawn(child).await;
            let report = child.wait().within("the exit").await.unwrap();
            assert_eq!(report.code(), Some(status % 100));
        });
        let (theirs, ours) = tokio::join!(
            of_tokio.buffer_unordered(16).count(),
            ours.buffer_unordered(16).count()
        );
        assert_eq!((theirs, ours), (150, 150));
        let of_std = tokio::task::spawn_blocking(move || of_std.join());
        of_std.within("the others").await.unwrap().unwrap();
    });
}

/// A descriptor that was opened for one child is in no other, however many start at the same time.
#[test]
fn descriptors_of_children_that_start_at_once() {
    let _alone = alone();
    checked_for(LONG, async |test| {
        const THREADS: usize = 16;
        let handle = tokio::runtime::Handle::current();
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(THREADS));
        let threads = (0..THREADS).map(|nth| {
            let (handle, barrier) = (handle.clone(), barrier.clone());
            let manager = test.manager().clone();
            std::thread::spawn(move || {
                barrier.wait();
                for round in 0..10 {
                    handle.block_on(starts_with_its_own(&manager, nth + round));
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            let thread = tokio::task::spawn_blocking(move || thread.join());
            let within = Duration::from_mins(2) * ci_factor();
            let joined = tokio::time::timeout(within, thread).await;
            joined.expect("the threads end").unwrap().unwrap();
        }
    });
}

async fn starts_with_its_own(manager: &ProcessManagerHandle, nth: usize) {
    let child = Cmd::new(fixture!("print_descriptors")).logging(Logging::stderr());
    let child = match nth % 3 {
        0 => child,
        1 => child.messaging(Messaging::standard_io()),
        _ => child.messaging(Messaging::named_pipes()),
    };
    let child = manager.spawn_with_handle(child).await.unwrap();
    if nth % 3 == 1 {
        child.close_input().await.unwrap();
    }
    let report = child.wait().within("the exit").await.unwrap();
    assert!(report.success(), "{report}");
    let lines = child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap();
    // What this process was started with itself, and lets all inherit, is not ours to close.
    let inherited = procfs::inheritable();
    let mut numbers: Vec<u32> = lines
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(number, _)| number.parse().unwrap())
        .filter(|number| *number <= 2 || !inherited.contains(number))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2], "{lines:?}");
}
