//! A parent is killed: its guard leaves nothing of it.
//!
//! Serial: it measures time, and fills the machine.

use std::process::Command;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{Cmd, Framing, Messaging, ProcessManager};
use procession_tests::scene::Scene;
use procession_tests::{
    Within as _, alone, checked, eventually, eventually_blocking, fixture, procfs, say,
};

/// How long a guard may take, whatever it guards.
const GUARD: Duration = Duration::from_secs(2);

#[test]
fn nothing_is_left_of_fifteen_hundred_processes() {
    let _alone = alone();
    let (scene, directory, mut parent) = Scene::with_parent(fixture!("parent_of_many"), 500);
    parent.kill();
    scene.await_silence(&[], &[&directory], GUARD);
}

/// A child that is being started has the tag only from its `execve(2)` on.
#[test]
fn nothing_is_left_of_a_parent_that_is_starting_children() {
    let _alone = alone();
    for there in [3, 30, 100, 200] {
        let scene = Scene::new();
        let directory = scene.directory("work");
        let mut command = Command::new(fixture!("parent_of_many"));
        command.arg(&directory).args(["returns", "1000"]);
        let mut parent = scene.start(&mut command);
        eventually_blocking("some to be there", Duration::from_secs(5), || {
            let now = scene.processes().len();
            (now >= there).then_some(()).ok_or(format!("{now}"))
        });
        parent.kill();
        scene.await_silence(&[], &[&directory], GUARD);
    }
}

/// No child is there before the guard is, or a parent that is killed just then would leave it.
#[test]
fn the_guard_is_there_before_the_first_child() {
    let _alone = alone();
    checked(async |test| {
        for round in 0..10 {
            let directory = test.scratch().join(format!("round-{round}"));
            std::fs::create_dir(&directory).expect("made");
            let manager = ProcessManager::spawn(&directory).expect("the manager starts");
            let child = Cmd::new("sleep").arg("1000");
            let child = manager.spawn_with_handle(child).await.expect("it starts");
            let info = child.get_process_info().await.expect("it is there");
            let child = info.pid().and_then(procfs::Stat::of).expect("it runs");
            let name = directory.display().to_string();
            // A process that has just been started has no command line for a moment: its `execve(2)` lets the
            // one go that has started it before it is through.
            let guard = eventually("the guard", Duration::from_secs(5), async || {
                let mut guards = procfs::guards().into_iter();
                guards.find(|guard| procfs::command_line(guard.pid).contains(&name))
            })
            .await;
            // Starts are told in ticks; within one the numbers are in order.
            assert!(
                (guard.started, guard.pid) < (child.started, child.pid),
                "round {round}: {guard:?}, {child:?}"
            );
            manager
                .shutdown()
                .within("the shutdown")
                .await
                .expect("ended");
        }
    });
}

#[test]
fn nothing_is_left_of_a_parent_within_a_parent() {
    let _alone = alone();
    let scene = Scene::new();
    let (outer, inner) = (scene.directory("outer"), scene.directory("inner"));
    let mut parent = scene.start_parent(
        fixture!("parent_of_many"),
        &outer,
        ("returns", 10),
        Some(&inner),
    );
    parent.kill();
    scene.await_silence(&[], &[&outer, &inner], GUARD);
}

#[test]
fn killing_a_child_that_is_a_parent_takes_its_children_with_it() {
    let _alone = alone();
    let scene = Scene::new();
    let inner = scene.directory("inner");
    checked(async |test| {
        let command = Cmd::new(fixture!("parent_of_many"))
            .arg(&inner)
            .args(["returns", "10"])
            .messaging(Messaging::standard_io().framing(Framing::Lines));
        let child = test.spawn(command).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let ready = stream.next().within("the inner parent").await;
        assert_eq!(ready.unwrap().unwrap(), "ready");
        let children = procfs::with_in_environment(inner.as_os_str());
        assert!(children.len() >= 10, "{children:?}");
        child.kill().within("the kill").await.unwrap();
        let alive = children.into_iter().find(|pid| procfs::is_alive(*pid));
        assert_eq!(alive, None, "a kill has ended when all of the tree have");
        // The guard of the inner manager does the rest.
        scene.await_silence(&[], &[&inner], GUARD);
    });
}

/// A manager is killed at any moment of its start, and its guard with it.
#[test]
fn what_managers_left_that_were_killed_at_their_start_goes_with_the_next() {
    let _alone = alone();
    let scene = Scene::new();
    let temporary = scene.directory("temporary");
    let start = || {
        let mut command = Command::new(fixture!("parent_until_killed"));
        command
            .args(["-", "standard-io", fixture!("echo")])
            .env("TMPDIR", &temporary);
        scene.start(&mut command)
    };
    let left = || {
        let entries = std::fs::read_dir(&temporary).expect("there").flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    for round in 0..40 {
        let mut parent = start();
        // At another moment each time.
        std::thread::sleep(Duration::from_millis(round));
        parent.kill();
        scene
            .guards()
            .into_iter()
            .for_each(procession_tests::scene::kill);
    }
    say(&format!("{} directories were left", left().len()));
    let mut next = start();
    next.line();
    eventually_blocking("one to be left", Duration::from_secs(10), || {
        let left = left();
        match left.len() {
            1 => Ok(()),
            _ => Err(format!("still there: {left:?}")),
        }
    });
    next.kill();
    eventually_blocking("the guard", Duration::from_secs(10), || {
        let left = (left(), scene.processes());
        if left.0.is_empty() && left.1.is_empty() {
            Ok(())
        } else {
            Err(format!("still there: {left:?}"))
        }
    });
}
