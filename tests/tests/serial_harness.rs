//! The harness finds what a test leaves behind: each of these leaves one thing, and must fail.
//!
//! Serial: what one leaves would be found by the others too.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command};

use procession_tests::{Within as _, alone, checked, checked_for, procfs, programs};
use std::time::Duration;

/// Runs a test that must fail, and gives the words with which it did.
fn failure(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("the test must fail");
    match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(panic) => resume_unwind(panic),
    }
}

fn end(left: Option<Child>) {
    let mut child = left.expect("the body has run");
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
}

#[test]
fn a_process_left_behind() {
    let _alone = alone();
    let mut left = None;
    let words = failure(|| {
        checked(async |test| {
            let mut command = Command::new("sleep");
            command
                .arg("1000")
                .env("PROCESS_DATA_DIR", test.working_directory().join("x"));
            left = Some(command.spawn().unwrap());
        });
    });
    end(left);
    assert!(
        words.contains("all processes of the test to be gone"),
        "{words}"
    );
    assert!(words.contains("sleep 1000"), "{words}");
}

#[test]
fn a_zombie_left_behind() {
    let _alone = alone();
    let mut left = None;
    let words = failure(|| {
        checked(async |_| {
            let child = Command::new(programs::sh())
                .args(["-c", ":"])
                .spawn()
                .unwrap();
            let pid = child.id();
            left = Some(child);
            procession_tests::eventually("the zombie", Duration::from_secs(5), async || {
                procfs::zombies()
                    .iter()
                    .any(|zombie| zombie.pid == pid)
                    .then_some(())
            })
            .await;
        });
    });
    end(left);
    assert!(words.contains("zombies to be reaped"), "{words}");
}

#[test]
fn a_directory_left_behind() {
    let _alone = alone();
    let words = failure(|| {
        checked(async |test| {
            std::fs::create_dir(test.working_directory().join("left")).unwrap();
        });
    });
    assert!(words.contains("left in the working directory"), "{words}");
}

#[test]
fn a_descriptor_left_behind() {
    let _alone = alone();
    let mut left = None;
    let words = failure(|| {
        checked(async |test| {
            left = Some(File::create(test.working_directory().join("open")).unwrap());
        });
    });
    drop(left);
    assert!(words.contains("descriptors left open"), "{words}");
}

#[test]
fn a_descriptor_of_no_file_left_behind() {
    let _alone = alone();
    let mut left = None;
    let words = failure(|| checked(async |_| left = Some(std::io::pipe().unwrap())));
    drop(left);
    assert!(words.contains("descriptors to be closed"), "{words}");
}

#[test]
fn a_test_that_hangs() {
    let _alone = alone();
    let words = failure(|| {
        checked_for(Duration::from_millis(100), async |_| {
            std::future::pending::<()>().await;
        });
    });
    assert!(words.contains("did not end within 100ms"), "{words}");
}

#[test]
fn a_test_that_leaves_nothing_passes() {
    let _alone = alone();
    checked(async |test| {
        let child = test
            .spawn(procession_manager::Cmd::new("sleep").arg("1000"))
            .await;
        child.kill().within("the kill").await.unwrap();
    });
}
