//! A child with a lease: it lives on while its manager does, and not much longer.
//!
//! Serial: it measures time.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::process::Command;
use std::time::{Duration, Instant};

use procession_manager::{Cmd, ExitCause, Messaging};
use procession_tests::scene::{Program, Scene};
use procession_tests::{
    Within as _, alone, checked_for, ci_factor, eventually_blocking, fixture, procfs, programs,
    say, workers,
};
use rustix::process::{Pid, Signal, kill_process};

/// Short for those who wait, and long for a machine that is busy.
const LEASE: Duration = Duration::from_millis(600);

fn lease() -> Duration {
    LEASE * ci_factor()
}

#[test]
fn it_lives_on_while_it_is_pinged() {
    let _alone = alone();
    checked_for(Duration::from_mins(2), async |test| {
        let mut children = Vec::new();
        for worker in workers!() {
            for messaging in [Messaging::standard_io(), Messaging::named_pipes()] {
                let child = test.spawn(worker.cmd(messaging.lease(lease()))).await;
                child.wait_ready().within("ready").await.unwrap();
                children.push((worker.name, child));
            }
        }
        // Nobody asks them anything for as long as another process lives.
        let whole = lease() * 5;
        let time = Cmd::new(programs::sh())
            .args(["-c".into(), format!("exec sleep {}", whole.as_secs_f64())]);
        let time = test.spawn(time).await;
        time.wait().within("the time to pass").await.unwrap();
        for (name, child) in children {
            let reply = child.request("echo here").within("a reply").await;
            let reply = reply.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(reply, "here", "{name}");
            let report = child.stop().within("the stop").await.unwrap();
            assert_eq!(
                (report.code(), report.cause()),
                (Some(0), ExitCause::Stopped)
            );
        }
    });
}

fn signal(program: &Program, signal: Signal) {
    let pid = Pid::from_raw(program.pid().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn it_ends_when_its_parent_is_suspended() {
    let _alone = alone();
    for worker in workers!() {
        let scene = Scene::new();
        let directory = scene.directory("work");
        let mut command = Command::new(fixture!("parent_grants_a_lease"));
        command.arg(&directory).arg(lease().as_millis().to_string());
        let mut parent = scene.start(command.args(worker.command_line()));
        let child: u32 = parent.line().parse().unwrap();
        assert!(procfs::is_alive(child));
        signal(&parent, Signal::STOP);
        let begun = Instant::now();
        // Twice the lease for one that does not end by itself, and some time to notice.
        let bound = LEASE * 2 + Duration::from_secs(1);
        eventually_blocking("the child to end", bound, || {
            let there = procfs::is_alive(child);
            (!there).then_some(()).ok_or_else(|| "it lives".to_owned())
        });
        let took = begun.elapsed();
        // The last ping has come a third of it ago, at most.
        assert!(took > lease() / 2, "{}: after {took:?}", worker.name);
        signal(&parent, Signal::CONT);
        let end = parent.line();
        say(&format!("{}: {end}, after {took:?}", worker.name));
        assert!(end.ends_with("signal None"), "{}: {end}", worker.name);
        assert!(parent.end().success());
        scene.await_silence(&[], &[&directory], Duration::from_secs(2));
    }
}
