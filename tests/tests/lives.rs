//! One process from spawn to the end: information, waiting, killing, removing.

use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use procession_manager::{
    Cmd, ExitCause, KillProcessError, Messaging, OutputState, ProcessState, RemoveProcessError,
};
use procession_tests::{Within as _, checked, eventually, procfs, programs};

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
fn information_of_a_running_and_of_an_ended_process() {
    checked(async |test| {
        let before = SystemTime::now();
        let child = test
            .spawn(sh("read -r line; exit 5").messaging(Messaging::standard_io()))
            .await;
        let info = child.get_process_info().await.unwrap();
        assert_eq!(info.id(), child.id());
        assert_eq!(info.state(), ProcessState::Running);
        assert!(info.is_running());
        let pid = info.pid().expect("it runs");
        let stat = procfs::Stat::of(pid).expect("the kernel knows it");
        assert_eq!(stat.parent, std::process::id());
        assert_eq!(stat.group, pid, "it leads its own group");
        assert!(info.exit().is_none() && info.exit_status().is_none() && info.ended_at().is_none());
        let started = info.started_at().expect("it has started");
        assert!(before <= started && started <= SystemTime::now());

        child.send_message("go on").await.unwrap();
        let report = child.wait().within("the exit").await.unwrap();
        assert_eq!(report.code(), Some(5));
        assert_eq!((report.signal(), report.success()), (None, false));
        assert_eq!(report.cause(), ExitCause::ByItself);
        assert_eq!(report.output(), OutputState::Complete);
        assert!(report.run_time() > Duration::ZERO);
        assert!(report.usage().is_some());

        // `wait` does not wait for the hunt of what was left behind, and a stop of what has ended does.
        let whole = child.stop().within("the hunt").await.unwrap();
        assert_eq!(whole.hunted(), Some(0));
        let info = child.get_process_info().await.unwrap();
        assert_eq!(info.state(), ProcessState::Finished);
        assert!(!info.is_running());
        assert_eq!(
            info.exit().and_then(procession_manager::ExitReport::code),
            Some(5)
        );
        assert_eq!(info.exit_status().and_then(|status| status.code()), Some(5));
        assert_eq!(info.started_at(), Some(started));
        assert!(info.ended_at().unwrap() >= started);
    });
}

#[test]
fn the_environment_of_a_child() {
    checked(async |test| {
        let cmd = Cmd::new("env")
            .env("SET", "value")
            .env("LANG", "x")
            .env_remove("LANG");
        let output = test.manager().run(cmd).within("the run").await.unwrap();
        let text = String::from_utf8_lossy(output.stdout()).into_owned();
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(&format!("{name}=")))
                .map(str::to_owned)
        };
        assert_eq!(value("SET").as_deref(), Some("value"));
        assert_eq!(value("LANG"), None);
        assert!(value("PATH").is_some());
        let data_dir = value("PROCESS_DATA_DIR").unwrap();
        assert!(
            data_dir.starts_with(test.working_directory().to_str().unwrap()),
            "{data_dir}"
        );
        assert!(value("PROCESSION_TREE").unwrap().ends_with(".0:"));
        for absent in [
            "INPUT_PIPE",
            "OUTPUT_PIPE",
            "MESSAGE_FRAMING",
            "MESSAGE_INPUT",
        ] {
            assert_eq!(value(absent), None, "{absent}");
        }

        let cleared = Cmd::new("/usr/bin/env").env_clear().env("SET", "value");
        let output = test.manager().run(cleared).within("the run").await.unwrap();
        let text = String::from_utf8_lossy(output.stdout()).into_owned();
        let mut names: Vec<_> = text
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["PROCESSION_TREE", "PROCESS_DATA_DIR", "SET"]);
    });
}

#[test]
fn the_list_of_processes() {
    checked(async |test| {
        assert!(test.manager().list().await.unwrap().is_empty());
        let running = test.spawn(sleeping()).await;
        let ended = test.spawn(Cmd::new("true")).await;
        ended.wait().within("the exit").await.unwrap();
        let list = test.manager().list().await.unwrap();
        assert_eq!(list.len(), 2);
        for info in &list {
            assert_eq!(info.is_running(), info.id() == running.id());
        }
        ended.remove().await.unwrap();
        let list = test.manager().list().await.unwrap();
        assert_eq!(
            list.iter()
                .map(procession_manager::ProcessInfo::id)
                .collect::<Vec<_>>(),
            [running.id()]
        );
    });
}

#[test]
fn everyone_who_waits_is_told() {
    checked(async |test| {
        let child = test
            .spawn(sh("read -r line; kill -TERM $$").messaging(Messaging::standard_io()))
            .await;
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let child = child.clone();
                tokio::spawn(async move { child.wait().await })
            })
            .collect();
        child.send_message("go").await.unwrap();
        for waiter in waiting {
            let report = waiter.within("a waiter to be told").await.unwrap().unwrap();
            assert_eq!((report.signal(), report.code()), (Some(15), None));
            assert_eq!(report.cause(), ExitCause::ByItself);
        }
        // And those who come late.
        assert_eq!(child.wait().await.unwrap().signal(), Some(15));
        assert_eq!(
            test.manager().wait(child.id()).await.unwrap().signal(),
            Some(15)
        );
    });
}

#[test]
fn a_kill_takes_the_whole_group_and_tells_who_waits() {
    checked(async |test| {
        let script = "sleep 1000 & echo $!; (trap '' TERM; sleep 1000) & echo $!; wait";
        let child = test
            .spawn(sh(script).messaging(Messaging::standard_io()))
            .await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let mut grandchildren = Vec::new();
        for _ in 0..2 {
            let pid = stream
                .next()
                .within("a grandchild's pid")
                .await
                .unwrap()
                .unwrap();
            grandchildren.push(pid.as_str().unwrap().parse::<u32>().unwrap());
        }
        let waiting = tokio::spawn({
            let child = child.clone();
            async move { child.wait().await }
        });
        let report = child.kill().within("the kill").await.unwrap();
        assert_eq!(
            (report.signal(), report.cause()),
            (Some(9), ExitCause::Killed)
        );
        let waited = waiting.within("the waiter").await.unwrap().unwrap();
        assert_eq!(
            (waited.signal(), waited.cause()),
            (Some(9), ExitCause::Killed)
        );
        for pid in grandchildren {
            gone(pid).await;
        }
        // Killing it once more changes nothing.
        let again = child.kill().within("another kill").await.unwrap();
        assert_eq!(again.cause(), ExitCause::Killed);
    });
}

/// What stays in the group when the leader exits by itself is killed with it.
#[test]
fn what_a_process_leaves_in_its_group_dies_with_it() {
    checked(async |test| {
        let script = "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!";
        let child = test
            .spawn(sh(script).messaging(Messaging::standard_io()))
            .await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let pid = stream.next().within("the pid").await.unwrap().unwrap();
        child.wait().within("the exit").await.unwrap();
        gone(pid.as_str().unwrap().parse().unwrap()).await;
    });
}

#[test]
fn killing_one_that_has_ended_keeps_its_own_exit() {
    checked(async |test| {
        let child = test.spawn(sh("exit 6")).await;
        child.wait().within("the exit").await.unwrap();
        let report = child.kill().within("the kill").await.unwrap();
        assert_eq!(
            (report.code(), report.cause()),
            (Some(6), ExitCause::ByItself)
        );
    });
}

#[test]
fn many_kills_at_once() {
    checked(async |test| {
        let child = test.spawn(sleeping()).await;
        let kills = (0..20).map(|_| child.kill());
        for report in futures::future::join_all(kills).within("the kills").await {
            assert_eq!(report.unwrap().cause(), ExitCause::Killed);
        }
    });
}

#[test]
fn only_what_has_finished_can_be_removed() {
    checked(async |test| {
        let child = test.spawn(sleeping()).await;
        let error = child.remove().await.expect_err("it runs");
        assert!(
            matches!(error, RemoveProcessError::StillRunning(id) if id == child.id()),
            "{error:?}"
        );
        assert_eq!(test.run_directories().len(), 1);
        child.kill().await.unwrap();
        assert_eq!(
            test.run_directories().len(),
            1,
            "the directory stays until it is removed"
        );
        child.remove().await.unwrap();
        assert!(test.run_directories().is_empty());
        let error = test
            .manager()
            .kill(child.id())
            .await
            .expect_err("it was removed");
        assert!(
            matches!(error, KillProcessError::ProcessNotFound(_)),
            "{error:?}"
        );
    });
}

#[test]
fn a_hundred_processes_at_once() {
    checked(async |test| {
        let manager = test.manager();
        let talks = (0..100).map(|number: u32| async move {
            let cmd = Cmd::new("cat").messaging(Messaging::standard_io());
            let child = manager.spawn_with_handle(cmd).await.unwrap();
            let mut stream = child.subscribe_message_stream().await.unwrap();
            child.send_message(number.to_string()).await.unwrap();
            let echo = stream.next().await.unwrap().unwrap();
            assert_eq!(echo, number.to_string().as_str());
            child.close_input().await.unwrap();
            assert!(child.wait().await.unwrap().success());
        });
        futures::future::join_all(talks)
            .within("a hundred conversations")
            .await;
    });
}
