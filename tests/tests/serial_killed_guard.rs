//! A guard is killed, and then its parent: the next manager in the same directory leaves nothing of it.
//!
//! Serial: processes are known by what the whole machine has of them.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{Cmd, Event, ProcessManager};
use procession_tests::scene::{Program, Scene, kill};
use procession_tests::{
    Within as _, alone, checked, eventually, eventually_blocking, fixture, procfs, programs,
};
use tokio::runtime::Runtime;

/// A UUID that is no manager's.
const NOBODY: &str = "0e0fd43c-7f1e-4a8b-9a53-1f0b3c6a2d11";
const MARKER: &str = ".procession";

/// The one manager that keeps its things in this directory: its identity, as its own directory is named.
fn manager_in(directory: &Path) -> String {
    let mut names = fs::read_dir(directory).unwrap().flatten();
    let entry = names.find(|entry| entry.path().is_dir()).unwrap();
    entry.file_name().into_string().unwrap()
}

/// What looks as if it was of this manager, and is not.
struct Decoys {
    processes: Vec<Program>,
    paths: Vec<PathBuf>,
}

impl Decoys {
    fn of(manager: &str, directory: &Path, scene: &Scene) -> Self {
        let own = format!("PROCESSION_TREE={manager}/{NOBODY}.0:");
        let variables = [
            ("XPROCESSION_TREE", own[16..].to_owned()),
            ("PROCESSION_TREE_X", own[16..].to_owned()),
            ("OTHER", format!("x {own}")),
            ("PROCESSION_TREE", format!("{NOBODY}/{NOBODY}.0:")),
            // This manager's identity as that of somebody else's process.
            ("PROCESSION_TREE", format!("{NOBODY}/{manager}.0:")),
            ("PROCESSION_TREE", format!("x{manager}/{NOBODY}.0:")),
            ("PROCESSION_TREE", manager.to_owned()),
            ("PROCESSION_TREE", manager[..35].to_owned()),
            ("OTHER_DIR", directory.join(manager).display().to_string()),
        ];
        let waits = ["-c", "echo here; read line"];
        let mut processes: Vec<_> = variables
            .into_iter()
            .map(|(name, value)| {
                let mut command = Command::new(programs::sh());
                scene.start(command.args(waits).env(name, value))
            })
            .collect();
        let mut command = Command::new(programs::sh());
        command
            .args(waits)
            .arg(own)
            .arg(directory.join(manager))
            .current_dir(directory.join(manager));
        processes.push(scene.start(&mut command));
        for process in &processes {
            assert_eq!(process.line(), "here");
        }
        Self {
            processes,
            paths: directories(directory, scene),
        }
    }

    fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Program::pid).collect()
    }

    fn check(&self) {
        for pid in self.pids() {
            assert!(procfs::is_alive(pid), "{}", procfs::command_line(pid));
        }
        for path in &self.paths {
            assert!(path.join("precious").exists(), "{}", path.display());
        }
    }

    /// So that nothing but what is ours is left in the directory.
    fn remove(self) {
        for path in self.paths {
            fs::remove_file(&path)
                .or_else(|_| fs::remove_dir_all(&path))
                .unwrap();
        }
    }
}

fn directories(directory: &Path, scene: &Scene) -> Vec<PathBuf> {
    let make = |path: PathBuf, marker: Option<&str>| {
        fs::create_dir(&path).unwrap();
        fs::write(path.join("precious"), "").unwrap();
        if let Some(text) = marker {
            fs::write(path.join(MARKER), format!("{text}\n")).unwrap();
        }
        path
    };
    let uuid = |last: char| format!("{}{last}", &NOBODY[..35]);
    let linked = make(scene.directory("elsewhere").join("x"), Some(&uuid('5')));
    let link = directory.join(uuid('5'));
    symlink(linked, &link).unwrap();
    let with_link = make(directory.join(uuid('6')), None);
    let text = scene.directory("marker").join("text");
    fs::write(&text, format!("{}\n", uuid('6'))).unwrap();
    symlink(text, with_link.join(MARKER)).unwrap();
    vec![
        make(directory.join(uuid('1')), None),
        make(directory.join(uuid('2')), Some(NOBODY)),
        make(directory.join(uuid('3')), Some("")),
        make(directory.join("data"), Some("data")),
        make(directory.join(uuid('a').to_uppercase()), Some(&uuid('a'))),
        link,
        with_link,
    ]
}

#[test]
fn the_next_manager_sweeps_and_touches_nothing_else() {
    let _alone = alone();
    let (scene, directory, mut parent) = Scene::with_parent(fixture!("parent_of_many"), 10);
    let dead = manager_in(&directory);
    let decoys = Decoys::of(&dead, &directory, &scene);
    for guard in scene.guards() {
        kill(guard);
    }
    parent.kill();
    let others = decoys.pids();
    // What was killed takes a moment to go; without a guard the others live on.
    eventually_blocking("30 to be left", Duration::from_secs(5), || {
        let left = scene.processes().len() - others.len();
        if left == 30 {
            Ok(())
        } else {
            Err(format!("there are {left}"))
        }
    });
    assert!(directory.join(&dead).exists());

    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let manager = ProcessManager::spawn(&directory).unwrap();
        let mut events = manager.events();
        let Some(Event::Swept(swept)) = events.next().within("the sweep").await else {
            panic!("what was swept is told first");
        };
        assert_eq!(swept.manager().to_string(), dead);
        assert_eq!(swept.directory(), directory.join(&dead));
        // Of each three, the shell may see the end of what it waits for, and end before its own turn.
        assert!((20..=30).contains(&swept.killed()), "{swept}");
        assert_eq!(swept.problem(), None);
        decoys.check();
        // Nothing else was swept: the next event is of what is done now.
        let id = manager.spawn(Cmd::new("true")).within("a start").await;
        let event = events.next().within("the next event").await;
        assert_eq!(event, Some(Event::Spawned { id: id.unwrap() }));
        manager.shutdown().within("the shutdown").await.unwrap();
        // The program in the dead manager's own directory is still there; the directory is not.
        assert!(!directory.join(&dead).exists());
    });
    drop(runtime);
    decoys.check();
    decoys.remove();
    scene.await_silence(&others, &[&directory], Duration::from_secs(5));
}

#[test]
fn a_guard_touches_nothing_else() {
    let _alone = alone();
    let (scene, directory, mut parent) = Scene::with_parent(fixture!("parent_of_many"), 10);
    let dead = manager_in(&directory);
    let decoys = Decoys::of(&dead, &directory, &scene);
    parent.kill();
    let guarded = directory.join(&dead);
    eventually_blocking("the guard", Duration::from_secs(5), || {
        let there = scene.processes().len() > decoys.pids().len() || guarded.exists();
        if there {
            Err("not done".into())
        } else {
            Ok(())
        }
    });
    decoys.check();
}

#[test]
fn all_dead_managers_are_swept_at_once() {
    let _alone = alone();
    let scene = Scene::new();
    let directory = scene.directory("work");
    let mut dead = Vec::new();
    // A manager sweeps what it finds, so that what the first has left waits elsewhere meanwhile.
    let aside = scene.directory("aside");
    for _ in 0..2 {
        let mut parent = scene.start_parent(
            fixture!("parent_of_many"),
            &directory,
            ("returns", 10),
            None,
        );
        scene.guards().into_iter().for_each(kill);
        parent.kill();
        let name = manager_in(&directory);
        fs::rename(directory.join(&name), aside.join(&name)).unwrap();
        dead.push(name);
    }
    for name in &dead {
        fs::rename(aside.join(name), directory.join(name)).unwrap();
    }
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let manager = ProcessManager::spawn(&directory).unwrap();
        let mut events = manager.events();
        let mut swept = Vec::new();
        for _ in &dead {
            match events.next().within("a sweep").await {
                Some(Event::Swept(one)) => swept.push(one),
                other => panic!("instead of a sweep: {other:?}"),
            }
        }
        assert!(
            swept.iter().all(|one| (20..=30).contains(&one.killed())),
            "{swept:?}"
        );
        let mut managers: Vec<_> = swept.iter().map(|one| one.manager().to_string()).collect();
        managers.sort();
        dead.sort();
        assert_eq!(managers, dead);
        manager.shutdown().within("the shutdown").await.unwrap();
    });
    drop(runtime);
    scene.await_silence(&[], &[&directory], Duration::from_secs(5));
}

#[test]
fn a_guard_that_is_killed_is_missed() {
    let _alone = alone();
    checked(async |test| {
        let child = test.spawn(Cmd::new("sleep").arg("1000")).await;
        let mut events = test.manager().events();
        let text = test.working_directory().display().to_string();
        let guard = procfs::guards().into_iter().find(|child| {
            let line = procfs::command_line(child.pid);
            line.contains("procession-guard") && line.contains(&text)
        });
        kill(guard.expect("the guard is a child of ours").pid);
        let reason = loop {
            match events.next().within("the event").await {
                Some(Event::GuardUnavailable { reason }) => break reason,
                Some(_) => {}
                None => panic!("the events have ended"),
            }
        };
        assert!(reason.contains("signal: 9"), "{reason}");
        // All else goes on.
        let info = child.get_process_info().await.unwrap();
        assert!(procfs::is_alive(info.pid().unwrap()));
        let guard = guard.unwrap().pid;
        eventually(
            "the guard to be reaped",
            Duration::from_secs(5),
            async || procfs::Stat::of(guard).is_none().then_some(()),
        )
        .await;
        test.spawn(Cmd::new("true")).await;
    });
}
