//! Who owns a process, and what ends with whom: scoped handles, the last handle, the shutdown, the
//! runtime, and the program's other children.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{Cmd, ExitCause, Logging, Messaging, ProcessManager};
use procession_tests::{
    Checked, Within as _, checked, eventually, eventually_blocking, procfs, programs,
};

const SOON: Duration = Duration::from_secs(5);

fn sleeping() -> Cmd {
    Cmd::new("sleep").arg("1000")
}

fn sh(script: &str) -> Cmd {
    Cmd::new(programs::sh()).args(["-c", script])
}

async fn gone(pid: u32) {
    eventually(format!("process {pid} to be gone"), SOON, async || {
        (!procfs::is_alive(pid)).then_some(())
    })
    .await;
}

#[test]
fn the_last_clone_of_a_scoped_handle_kills() {
    checked(async |test| {
        let scoped = test
            .manager()
            .spawn_with_scoped_handle(sleeping())
            .await
            .unwrap();
        let pid = scoped.get_process_info().await.unwrap().pid().unwrap();
        let clone = scoped.clone();
        let id = scoped.id();
        drop(scoped);
        let other = test.spawn(Cmd::new("true")).await;
        other
            .wait()
            .within("another process to come and go")
            .await
            .unwrap();
        assert!(procfs::is_alive(pid), "a clone is left");
        drop(clone);
        let report = test.manager().wait(id).within("the kill").await.unwrap();
        assert_eq!(report.cause(), ExitCause::Killed);
        gone(pid).await;
    });
}

#[test]
fn an_ordinary_handle_does_not_kill() {
    checked(async |test| {
        let handle = test.spawn(sleeping()).await;
        let id = handle.id();
        drop(handle);
        let other = test.spawn(Cmd::new("true")).await;
        other
            .wait()
            .within("another process to come and go")
            .await
            .unwrap();
        assert!(
            test.manager()
                .get_process_info(id)
                .await
                .unwrap()
                .is_running()
        );
    });
}

/// A spawn that is given up leaves either nothing or a process that the manager knows.
#[test]
fn a_spawn_future_that_is_dropped() {
    checked(async |test| {
        for _ in 0..50 {
            let mut spawning = Box::pin(test.manager().spawn_with_scoped_handle(sleeping()));
            let _ = futures::poll!(&mut spawning);
            drop(spawning);
        }
        // No one has a scoped handle, so none may stay.
        eventually("the processes to be killed", SOON, async || {
            let list = test.manager().list().await.unwrap();
            list.iter().all(|info| !info.is_running()).then_some(())
        })
        .await;
    });
}

#[test]
fn shutdown_ends_everything() {
    checked(async |test| {
        let manager = ProcessManager::spawn(test.scratch()).unwrap();
        let mut children = Vec::new();
        for _ in 0..10 {
            let cmd = sh("trap '' TERM; sleep 1000 & wait").messaging(Messaging::named_pipes());
            children.push(
                manager
                    .spawn_with_handle(cmd.logging(Logging::stdout()))
                    .await
                    .unwrap(),
            );
        }
        // Polled once each, so that they wait before the shutdown begins.
        let mut waiting: Vec<_> = children
            .iter()
            .map(|child| Box::pin(child.wait()))
            .collect();
        for waiter in &mut waiting {
            assert!(futures::poll!(waiter).is_pending());
        }
        manager.shutdown().within("the shutdown").await.unwrap();
        for report in futures::future::join_all(waiting)
            .within("the waiters")
            .await
        {
            assert_eq!(report.unwrap().cause(), ExitCause::ManagerShutDown);
        }
        assert!(procfs::with_in_environment(test.scratch().as_os_str()).is_empty());
        let left: Vec<_> = directories(test);
        assert!(left.is_empty(), "{left:?}");
    });
}

fn directories(test: &Checked) -> Vec<PathBuf> {
    std::fs::read_dir(test.scratch())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect()
}

#[test]
fn dropping_the_last_handle_shuts_down() {
    checked(async |test| {
        let manager = ProcessManager::spawn(test.scratch()).unwrap();
        let child = sh("echo one; exec sleep 1000").messaging(Messaging::standard_io());
        let child = manager.spawn_with_handle(child).await.unwrap();
        let pid = child.get_process_info().await.unwrap().pid().unwrap();
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let clone = manager.clone();
        drop(manager);
        drop(clone);
        // A process handle still holds it.
        assert_eq!(
            stream.next().within("the message").await.unwrap().unwrap(),
            "one"
        );
        assert!(child.get_process_info().await.unwrap().is_running());
        drop(child);
        // Streams do not count.
        assert!(
            stream
                .next()
                .within("the end of the stream")
                .await
                .is_none()
        );
        gone(pid).await;
        eventually("the directories to go", SOON, async || {
            directories(test).is_empty().then_some(())
        })
        .await;
    });
}

/// Where the runtime goes away first, the children still die and are reaped.
#[test]
fn a_runtime_that_ends_first_leaves_no_child() {
    checked(async |test| {
        let directory = test.scratch().to_owned();
        let pids = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let (manager, pids) = runtime.block_on(async {
                let manager = ProcessManager::spawn(&directory).unwrap();
                let mut pids = Vec::new();
                for _ in 0..5 {
                    let cmd = sleeping().messaging(Messaging::named_pipes());
                    let child = manager.spawn_with_handle(cmd).await.unwrap();
                    pids.push(child.get_process_info().await.unwrap().pid().unwrap());
                }
                (manager, pids)
            });
            drop(runtime);
            drop(manager);
            pids
        });
        let pids = pids.within("the runtime to end").await.unwrap();
        tokio::task::spawn_blocking(move || {
            eventually_blocking("the children to be reaped", SOON, || {
                let left: Vec<_> = pids
                    .iter()
                    .filter_map(|pid| procfs::Stat::of(*pid))
                    .collect();
                if left.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{left:?}"))
                }
            });
        })
        .await
        .unwrap();
        eventually("the directories to go", SOON, async || {
            directories(test).is_empty().then_some(())
        })
        .await;
    });
}

/// Children that the host program started itself are its own to wait for.
#[test]
fn children_of_the_host_program_are_left_alone() {
    checked(async |test| {
        let mut own: Vec<_> = (0..20)
            .map(|code| {
                Command::new(programs::sh())
                    .args(["-c", &format!("exit {code}")])
                    .spawn()
                    .unwrap()
            })
            .collect();
        for _ in 0..20 {
            let ours = test.spawn(sh("exit 99")).await;
            assert_eq!(
                ours.wait().within("the exit").await.unwrap().code(),
                Some(99)
            );
        }
        for (code, child) in (0..).zip(&mut own) {
            assert_eq!(child.wait().unwrap().code(), Some(code));
        }
    });
}
