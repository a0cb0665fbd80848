//! A child's child that leaves as a daemon does (forks twice, leads a session of its own, has
//! another name) is found all the same, and counted. One that becomes root under a parent that is
//! not cannot be killed, and is told of.
//!
//! Serial: processes are known by what the whole machine has of them.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Event, ExitReport, Framing, Leftovers, Messaging, ProcessHandle, ProcessManager,
};
use procession_tests::scene::{Scene, kill};
use procession_tests::{
    Within as _, alone, checked, fixture, procfs, programs, run_directories, say,
};
use rustix::fs::StatVfsMountFlags;
use tokio::runtime::Runtime;

const NOBODY: u32 = 65_534;

/// Prints the daemon's pid when it has left, and ends with its input.
const ESCAPES: &str = r#"
import ctypes, os, sys, signal
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        PR_SET_NAME = 15
        ctypes.CDLL(None).prctl(PR_SET_NAME, b"elsewhere", 0, 0, 0)
        os.chdir("/")
        nowhere = os.open("/dev/null", os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        os.close(reader)
        os.write(writer, str(os.getpid()).encode())
        os.close(writer)
        signal.pause()
    os._exit(0)
os.wait()
os.close(writer)
print(os.read(reader, 20).decode(), flush=True)
sys.stdin.read()
"#;

fn escapes(scene: &Scene) -> Cmd {
    Cmd::new(programs::python3())
        .envs([scene.variable()])
        .args(["-c", ESCAPES])
        .messaging(Messaging::standard_io().framing(Framing::Lines))
}

/// The pid of the daemon, which has left by all that can be seen of it.
async fn escaped(child: &ProcessHandle) -> u32 {
    let mut stream = child.subscribe_message_stream().await.unwrap();
    let line = stream.next().within("the daemon").await.unwrap().unwrap();
    let pid: u32 = line.as_str().unwrap().parse().unwrap();
    let root = child.get_process_info().await.unwrap().pid().unwrap();
    let stat = procfs::Stat::of(pid).expect("it is there");
    assert_ne!(stat.group, root);
    assert_ne!(stat.session, procfs::Stat::of(root).unwrap().session);
    assert_ne!(stat.parent, root);
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name, "elsewhere\n");
    pid
}

/// The whole report, when the process has ended by itself.
async fn end_by_itself(child: &ProcessHandle) -> std::sync::Arc<ExitReport> {
    let mut events = child.events();
    child.close_input().await.unwrap();
    loop {
        match events.next().within("the process to finish").await {
            Some(Event::Finished { report, .. }) => return report,
            Some(_) => {}
            None => panic!("the events have ended"),
        }
    }
}

#[test]
fn a_daemon_dies_when_its_process_is_killed() {
    let _alone = alone();
    let scene = Scene::new();
    checked(async |test| {
        let child = test.spawn(escapes(&scene)).await;
        let daemon = escaped(&child).await;
        let report = child.kill().within("the kill").await.unwrap();
        assert!(!procfs::is_alive(daemon));
        assert_eq!(report.hunted(), Some(1), "{report}");
    });
}

#[test]
fn a_daemon_dies_when_its_process_is_stopped() {
    let _alone = alone();
    let scene = Scene::new();
    checked(async |test| {
        let child = test
            .spawn(escapes(&scene).leftovers(Leftovers::Leave))
            .await;
        let daemon = escaped(&child).await;
        let report = child.stop().within("the stop").await.unwrap();
        assert!(
            !procfs::is_alive(daemon),
            "whoever stops it means all of it"
        );
        assert!(report.hunted().is_some(), "{report}");
    });
}

#[test]
fn a_daemon_dies_when_its_process_ends_by_itself() {
    let _alone = alone();
    let scene = Scene::new();
    checked(async |test| {
        let child = test.spawn(escapes(&scene)).await;
        let daemon = escaped(&child).await;
        let report = end_by_itself(&child).await;
        assert!(report.success(), "{report}");
        assert!(!procfs::is_alive(daemon));
        assert_eq!(report.hunted(), Some(1), "{report}");
    });
}

/// Only what belongs to the process that ends is hunted.
#[test]
fn a_daemon_of_another_process_lives_on() {
    let _alone = alone();
    let scene = Scene::new();
    checked(async |test| {
        let (one, other) = (
            test.spawn(escapes(&scene)).await,
            test.spawn(escapes(&scene)).await,
        );
        let daemons = (escaped(&one).await, escaped(&other).await);
        one.kill().within("the kill").await.unwrap();
        assert!(!procfs::is_alive(daemons.0));
        assert!(procfs::is_alive(daemons.1));
        let report = other.kill().within("the kill").await.unwrap();
        assert_eq!(report.hunted(), Some(1), "{report}");
    });
}

#[test]
fn what_may_be_left_lives_as_long_as_the_manager() {
    let _alone = alone();
    let scene = Scene::new();
    let directory = scene.directory("work");
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let manager = ProcessManager::spawn(&directory).unwrap();
        let child = escapes(&scene).leftovers(Leftovers::Leave);
        let child = manager.spawn_with_handle(child).await.unwrap();
        let daemon = escaped(&child).await;
        let report = end_by_itself(&child).await;
        assert_eq!(report.hunted(), None, "{report}");
        assert!(procfs::is_alive(daemon));
        child.remove().within("the removal").await.unwrap();
        // The end of another process, with its hunt, is none of its business.
        let other = manager.spawn_with_handle(escapes(&scene)).await.unwrap();
        let other_daemon = escaped(&other).await;
        other.kill().within("the kill").await.unwrap();
        assert!(!procfs::is_alive(other_daemon));
        assert!(procfs::is_alive(daemon));
        manager.shutdown().within("the shutdown").await.unwrap();
        assert!(!procfs::is_alive(daemon));
    });
    drop(runtime);
    scene.await_silence(&[], &[&directory], Duration::from_secs(1));
}

/// Each verb says so in its time, and nobody else is held up: see the fixture.
#[test]
fn children_that_become_root_are_told_of_by_a_parent_that_is_not() {
    if !rustix::process::geteuid().is_root() {
        say("NOT RUN without root's rights");
        return;
    }
    let _alone = alone();
    let scene = Scene::new();
    let work = scene.directory("work");
    let above = work.parent().unwrap();
    fs::set_permissions(above, Permissions::from_mode(0o755)).unwrap();
    chown(&work, Some(NOBODY), Some(NOBODY)).unwrap();
    if rustix::fs::statvfs(above)
        .unwrap()
        .f_flag
        .contains(StatVfsMountFlags::NOSUID)
    {
        say("NOT RUN without set-user-ID programs in the directory for temporary files");
        return;
    }
    let becomes_root = above.join("becomes_root");
    fs::copy(fixture!("becomes_root"), &becomes_root).unwrap();
    fs::set_permissions(&becomes_root, Permissions::from_mode(0o4755)).unwrap();
    let mut command = Command::new(fixture!("parent_of_root_children"));
    let mut parent = scene.start(command.arg(&work).arg(becomes_root));
    let mut left = Vec::new();
    loop {
        let line = parent.line();
        match line.strip_prefix("left ") {
            // The first is the one that it waits for.
            Some("now") => kill(left[0]),
            Some(pid) => left.push(pid.parse().unwrap()),
            None => break assert_eq!(line, "done"),
        }
    }
    assert_eq!(left.len(), 5);
    // What is left has its directories, for the next manager to find.
    assert_ne!(run_directories(&work).unwrap(), Vec::<PathBuf>::new());
    left[1..].iter().copied().for_each(kill);
    parent.tell("go on");
    assert!(parent.end().success());
}
