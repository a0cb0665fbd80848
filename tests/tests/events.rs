//! Events, how many ended processes are kept, and a parent that is asked to end.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::io::{BufRead as _, BufReader, Lines};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Event, EventStream, GetProcessInfoError, Messaging, ProcessId, ProcessManager,
    ProcessManagerHandle, RemovalReason,
};
use procession_tests::{Checked, Within as _, checked, ci_factor, fixture, programs};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

fn sh(script: &str) -> Cmd {
    Cmd::new(programs::sh()).args(["-c", script])
}

/// The events of a process up to its removal, by name.
async fn of(events: &mut EventStream, wanted: ProcessId) -> Vec<&'static str> {
    let mut names = Vec::new();
    while let Some(event) = events.next().within("an event").await {
        if event.process() != Some(wanted) {
            continue;
        }
        names.push(name(&event));
        if let Event::Removed { .. } = event {
            break;
        }
    }
    names
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Spawned { .. } => "spawned",
        Event::Running { .. } => "running",
        Event::Ready { .. } => "ready",
        Event::Stopping { .. } => "stopping",
        Event::Exited { .. } => "exited",
        Event::Finished { .. } => "finished",
        Event::Removed { .. } => "removed",
        _ => "something else",
    }
}

#[test]
fn the_events_of_a_process_are_in_order() {
    checked(async |test| {
        let manager = test.manager();
        let mut all = manager.events();
        let stopped = test.spawn(Cmd::new("sleep").arg("1000")).await;
        let pid = stopped.get_process_info().await.unwrap().pid();
        let mut own = stopped.events();
        let by_itself = test
            .spawn(sh("read -r x; exit 5").messaging(Messaging::standard_io()))
            .await;
        stopped.stop().within("the stop").await.unwrap();
        stopped.remove().await.unwrap();
        let rest = ["stopping", "exited", "finished", "removed"];
        assert_eq!(of(&mut own, stopped.id()).await, rest);
        assert_eq!(own.next().within("the end of the stream").await, None);

        by_itself.send_message("go").await.unwrap();
        let report = by_itself.stop().within("the end").await.unwrap();
        by_itself.remove().await.unwrap();
        let mut both = Vec::new();
        let mut removed = 0;
        while removed < 2 {
            let event = all.next().within("an event").await.unwrap();
            removed += u32::from(matches!(event, Event::Removed { .. }));
            match &event {
                Event::Running { id, pid: told } if *id == stopped.id() => {
                    assert_eq!(Some(*told), pid);
                }
                Event::Finished { id, report: told } if *id == by_itself.id() => {
                    assert_eq!(**told, report);
                }
                Event::Removed { reason, .. } => assert_eq!(*reason, RemovalReason::Requested),
                _ => {}
            }
            both.push(event);
        }
        let names = |id| {
            let own = both.iter().filter(|event| event.process() == Some(id));
            own.map(name).collect::<Vec<_>>()
        };
        let before = ["spawned", "running", "ready"];
        assert_eq!(names(stopped.id()), [&before[..], &rest[..]].concat());
        let by_itself = names(by_itself.id());
        assert!(
            by_itself
                == [
                    "spawned", "running", "ready", "exited", "finished", "removed"
                ]
                || by_itself == [&before[..], &rest[..]].concat(),
            "{by_itself:?}"
        );
    });
}

#[test]
fn what_cannot_be_started_is_told_too() {
    checked(async |test| {
        let mut all = test.manager().events();
        let missing = test.manager().spawn(Cmd::new("/no/such/program")).await;
        missing.expect_err("there is no such program");
        let Some(Event::Spawned { id }) = all.next().within("an event").await else {
            panic!("it was asked for");
        };
        let reason = RemovalReason::StartFailed;
        let removed = all.next().within("an event").await;
        assert_eq!(removed, Some(Event::Removed { id, reason }));
    });
}

/// More happens than a listener may be behind: it is told how much it has missed, and goes on.
#[test]
fn a_slow_listener_is_told_what_it_missed() {
    checked(async |test| {
        let manager = test.manager();
        let mut all = manager.events();
        let lives = futures::stream::iter(0..300).map(|_| async {
            let child = test.spawn(Cmd::new("/bin/true")).await;
            child.stop().await.unwrap();
            child.remove().await.unwrap();
        });
        lives.buffer_unordered(64).count().within("300 lives").await;
        let first = all.next().within("an event").await;
        let Some(Event::Missed(missed)) = first else {
            panic!("unexpected: {first:?}");
        };
        assert!(missed >= 300 * 5 - 1024, "{missed}");
        let mut left = 0;
        while left < 1024 {
            let event = all.next().within("an event").await.unwrap();
            assert!(event.process().is_some(), "{event:?}");
            left += 1;
        }
        let child = test.spawn(Cmd::new("true")).await;
        let next = all.next().within("an event").await;
        assert_eq!(next, Some(Event::Spawned { id: child.id() }));
    });
}

fn retaining(test: &Checked, count: usize) -> ProcessManagerHandle {
    let directory = test.scratch().join("retaining");
    std::fs::create_dir_all(&directory).unwrap();
    let manager = ProcessManager::builder()
        .working_directory(directory)
        .retain_exited(count)
        .spawn();
    manager.expect("the manager starts")
}

#[test]
fn the_oldest_of_those_that_have_exited_are_removed() {
    checked(async |test| {
        let manager = retaining(test, 3);
        let mut all = manager.events();
        let running = Cmd::new("sleep").arg("1000");
        let running = manager.spawn_with_handle(running).await.unwrap();
        let mut children = Vec::new();
        for status in 0..5 {
            let child = sh(&format!("exit {status}"));
            let child = manager.spawn_with_handle(child).await.unwrap();
            child.stop().within("the exit").await.unwrap();
            children.push(child);
        }
        let mut removed = Vec::new();
        while removed.len() < 2 {
            let event = all.next().within("an event").await.unwrap();
            if let Event::Removed { id, reason } = event {
                assert_eq!(reason, RemovalReason::Retention);
                removed.push(id);
            }
        }
        assert_eq!(removed, [children[0].id(), children[1].id()]);
        let error = manager.get_process_info(removed[0]).await;
        assert!(
            matches!(error, Err(GetProcessInfoError::ProcessNotFound(_))),
            "{error:?}"
        );
        assert_eq!(manager.list().await.unwrap().len(), 4);
        // Whoever has a handle has the report.
        for (status, child) in children.iter().enumerate() {
            let report = child.wait().within("the report").await.unwrap();
            let ended = (report.code(), report.signal());
            assert!(
                ended == (i32::try_from(status).ok(), None) || ended == (None, Some(15)),
                "{report}"
            );
        }
        assert!(running.get_process_info().await.unwrap().is_running());
        manager.shutdown().within("the shutdown").await.unwrap();
        while let Some(event) = all.next().within("the end of the events").await {
            if let Event::Removed { reason, .. } = event {
                assert_eq!(reason, RemovalReason::ShutDown);
            }
        }
    });
}

#[test]
fn none_that_have_exited_need_be_kept() {
    checked(async |test| {
        let manager = retaining(test, 0);
        let mut all = manager.events();
        let child = manager.spawn_with_handle(sh("exit 4")).await.unwrap();
        let events = of(&mut all, child.id()).await;
        assert_eq!(
            events,
            [
                "spawned", "running", "ready", "exited", "finished", "removed"
            ]
        );
        assert_eq!(child.wait().await.unwrap().code(), Some(4));
        assert!(manager.list().await.unwrap().is_empty());
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}

/// A parent that shuts down on signals.
struct Parent {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Parent {
    fn start(test: &Checked, name: &str, script: &str) -> Self {
        let directory = test.scratch().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut process = Command::new(fixture!("parent_shuts_down_on_signals"))
            .arg(directory)
            .arg(script)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut parent = Self { process, output };
        assert_eq!(parent.next(), "ready");
        parent
    }

    fn next(&mut self) -> String {
        self.output.next().expect("a line").unwrap()
    }

    /// Ends it with this value, so that nobody waits for its next line for ever.
    fn ended_at_last(&self) -> Ended {
        let pid = Pid::from_raw(self.process.id().cast_signed()).unwrap();
        Ended(pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn ends(mut self, test: &Checked, name: &str) {
        assert!(self.output.next().is_none());
        assert!(self.process.wait().unwrap().success());
        let left = std::fs::read_dir(test.scratch().join(name)).unwrap();
        let left: Vec<_> = left.collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

struct Ended(OwnedFd);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended, and then nobody else is hit.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

/// Runs what waits for another process where it holds nobody up, but for the time of a step.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = tokio::task::spawn_blocking(work);
    work.within("the parent").await.unwrap()
}

#[test]
fn a_signal_to_the_parent_is_an_orderly_shutdown() {
    checked(async |test| {
        for (name, signal) in [("SIGTERM", Signal::TERM), ("SIGINT", Signal::INT)] {
            let script = "trap 'exit 3' TERM; echo here; sleep 1000 & wait";
            let mut parent = Parent::start(test, name, script);
            let _ended = parent.ended_at_last();
            parent.signal(signal);
            let parent = beside(move || {
                assert_eq!(parent.next(), "stopping");
                assert_eq!(parent.next(), format!("{name}, Some(3), None"));
                parent
            });
            parent.await.ends(test, name);
        }
    });
}

/// The grace is an hour, the child ignores SIGTERM: it is the second signal that ends it.
#[test]
fn a_second_signal_to_the_parent_forces_it() {
    checked(async |test| {
        let script = "trap '' TERM; echo here; while :; do sleep 1000; done";
        let mut parent = Parent::start(test, "forced", script);
        let _ended = parent.ended_at_last();
        parent.signal(Signal::TERM);
        let (parent, took) = beside(move || {
            assert_eq!(parent.next(), "stopping");
            let start = Instant::now();
            parent.signal(Signal::TERM);
            assert_eq!(parent.next(), "SIGTERM, None, Some(9)");
            (parent, start.elapsed())
        })
        .await;
        assert!(took < Duration::from_secs(2) * ci_factor(), "{took:?}");
        parent.ends(test, "forced");
    });
}
