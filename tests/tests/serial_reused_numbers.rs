//! A child exits while everything is asked of it at once, and its number goes to somebody else at
//! once: nobody else is hit, and everybody is answered.
//!
//! Serial: it sets back the number that the kernel gives next (`/proc/sys/kernel/ns_last_pid`, see
//! `pid_namespaces(7)`), where it may.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use procession_manager::{
    Cmd, ExitReport, ProcessHandle, Signal, SignalProcessError, StopProcessError,
};
use procession_tests::{Within as _, alone, checked_for, programs, say};

const LAST: &str = "/proc/sys/kernel/ns_last_pid";
const ROUNDS: u32 = 1_000;
const DECOYS: u32 = 4;

/// The next process in this namespace gets the number after this one, if that is free.
fn set_last(pid: u32) -> std::io::Result<()> {
    fs::write(LAST, pid.to_string())
}

/// A process that is none of the manager's business. It ends with this value.
struct Decoy(Child);

impl Drop for Decoy {
    fn drop(&mut self) {
        // It may have been hit, and is reaped all the same.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Bystanders that lead groups of their own, the first with the number `pid` if that is free by now.
fn decoys(pid: u32) -> Vec<Decoy> {
    let start = |_| {
        set_last(pid - 1).unwrap();
        let decoy = Command::new("/bin/sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Decoy(decoy.unwrap())
    };
    (0..DECOYS).map(start).collect()
}

#[test]
fn a_number_that_somebody_else_has_by_now() {
    let _alone = alone();
    let Some(first) = fs::read_to_string(LAST)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
        .filter(|first| set_last(*first).is_ok())
    else {
        say("NOT RUN without the right to write ns_last_pid");
        return;
    };
    // Somewhere where there is room.
    let base = if first < 20_000 {
        first + 5_000
    } else {
        10_000
    };
    checked_for(Duration::from_mins(3), async |test| {
        let mut reused = 0;
        for round in 0..ROUNDS {
            set_last(base).unwrap();
            let child = match round % 3 {
                0 => Cmd::new("/bin/true"),
                1 => Cmd::new("/bin/sleep").arg("0.001"),
                _ => Cmd::new(programs::sh()).args(["-c", "/bin/true & exit 3"]),
            };
            let child = Arc::new(test.spawn(child).await);
            let pid = child.get_process_info().await.unwrap().pid();
            // What has exited already had the first number that is free, or one soon after.
            let number = pid.unwrap_or(base + 1);
            let others = tokio::task::spawn_blocking(move || decoys(number));
            let asked: Vec<_> = (0..8)
                .map(|nth| tokio::spawn(ask(Arc::clone(&child), nth + round)))
                .collect();
            let mut reports = Vec::new();
            for answer in asked {
                reports.extend(answer.within("an answer").await.unwrap());
            }
            // Again, when everybody has the report.
            reports.extend(ask(Arc::clone(&child), 0).await);
            assert_eq!(ask(Arc::clone(&child), 2).await, None);
            let endings: Vec<_> = reports
                .iter()
                .map(|report| (report.status(), report.cause()))
                .collect();
            assert!(
                endings.windows(2).all(|two| two[0] == two[1]),
                "{endings:?}"
            );
            for mut decoy in others.await.unwrap() {
                let same = Some(decoy.0.id()) == pid;
                reused += u32::from(same);
                let ended = decoy.0.try_wait().unwrap();
                assert!(
                    ended.is_none(),
                    "round {round}: a bystander was hit: {ended:?}; with the number of the child: {same}"
                );
            }
            child.remove().await.unwrap();
        }
        say(&format!(
            "the number was reused in {reused} of {ROUNDS} rounds"
        ));
        assert!(reused > 0, "no number was ever reused");
    });
}

/// One of the things that can be asked; the report, where that is what is answered.
async fn ask(child: Arc<ProcessHandle>, nth: u32) -> Option<ExitReport> {
    match nth % 4 {
        0 => Some(match child.stop().await {
            Ok(report) => report,
            Err(error @ StopProcessError::ProcessNotFound(_)) => panic!("{error}"),
            Err(error) => panic!("{error:?}"),
        }),
        1 => Some(child.kill().await.unwrap()),
        2 => {
            match child.signal(Signal::USR1).await {
                Ok(()) | Err(SignalProcessError::ProcessExited { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
            None
        }
        _ => Some(child.wait().await.unwrap()),
    }
}
