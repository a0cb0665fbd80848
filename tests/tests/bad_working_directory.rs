//! Working directories that cannot be used, one that is in use, and what others do to one.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::StreamExt as _;
use procession_manager::{Cmd, Event, ProcessManager};
use procession_tests::{Within as _, checked, fixture, run_directories};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

#[test]
fn a_missing_one_is_refused_by_name() {
    checked(async |test| {
        let missing = test.scratch().join("missing");
        let error = ProcessManager::spawn(&missing).expect_err("there is no such directory");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.to_string().contains(missing.to_str().unwrap()),
            "{error}"
        );
        assert!(!missing.exists());
    });
}

#[test]
fn a_file_is_refused_by_name() {
    checked(async |test| {
        let file = test.scratch().join("file");
        fs::write(&file, "content").unwrap();
        let error = ProcessManager::spawn(&file).expect_err("it is a file");
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
        assert!(
            error.to_string().contains(file.to_str().unwrap()),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    });
}

/// Root may write anywhere, so a helper tries it as somebody else.
#[test]
fn one_that_is_not_writable_is_refused_by_name() {
    checked(async |test| {
        let directory = test.scratch().join("read-only");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
        // The temporary directory above is private to whoever runs the tests.
        for above in directory.ancestors().skip(1).take(2) {
            fs::set_permissions(above, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let output = Command::new(fixture!("parent_without_rights"))
            .arg(&directory)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(said.contains("PermissionDenied"), "{said}");
        assert!(said.contains(directory.to_str().unwrap()), "{said}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    });
}

#[test]
fn a_second_manager_is_refused_and_the_first_not_disturbed() {
    checked(async |test| {
        let child = test.spawn(Cmd::new("sleep").arg("1000")).await;
        let directories = test.run_directories();
        for _ in 0..2 {
            let error = ProcessManager::spawn(test.working_directory()).expect_err("it is taken");
            assert!(
                error
                    .to_string()
                    .contains(test.working_directory().to_str().unwrap()),
                "{error}"
            );
        }
        assert_eq!(test.run_directories(), directories);
        assert!(child.get_process_info().await.unwrap().is_running());
        let another = test.spawn(Cmd::new("true")).await;
        assert!(another.wait().within("the exit").await.unwrap().success());
        child.kill().await.unwrap();
    });
}

#[test]
fn the_directory_can_be_used_again_after_a_shutdown() {
    checked(async |test| {
        let directory = test.scratch().join("shared");
        fs::create_dir(&directory).unwrap();
        for _ in 0..3 {
            let manager = ProcessManager::spawn(&directory).expect("the directory is free");
            manager.spawn(Cmd::new("sleep").arg("1000")).await.unwrap();
            manager.shutdown().within("the shutdown").await.unwrap();
        }
    });
}

#[test]
fn a_private_temporary_directory_is_private_and_removed() {
    checked(async |_| {
        let manager = ProcessManager::in_temp().unwrap();
        let child = Cmd::new("sh").args([
            "-c",
            r#"stat -c %a "$PROCESS_DATA_DIR/.." "$PROCESS_DATA_DIR"; echo "$PROCESS_DATA_DIR""#,
        ]);
        let output = manager.run(child).within("the run").await.unwrap();
        let text = String::from_utf8(output.stdout().to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["700", "700"]);
        manager.shutdown().await.unwrap();
        let run_directory = Path::new(lines[2]);
        let root = run_directory.parent().unwrap().parent().unwrap();
        assert!(!root.exists(), "{} is still there", root.display());
    });
}

/// Fifteen thousand directories in each other, as a child may leave them.
fn leave_levels(directory: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, directory, flags, Mode::empty()).expect("there");
    for _ in 0..15_000 {
        mkdirat(&at, "level", Mode::RWXU).expect("made");
        at = openat(&at, "level", flags, Mode::empty()).expect("there");
    }
}

#[test]
fn any_depth_that_a_child_leaves_goes_with_it() {
    checked(async |_| {
        // In memory, where there is such a directory: this takes long on a busy disk.
        let memory = tempfile::tempdir_in("/dev/shm");
        let work = memory.or_else(|_| tempfile::tempdir()).unwrap();
        let manager = ProcessManager::spawn(work.path()).unwrap();
        let sleep = || Cmd::new("sleep").arg("1000");
        let child = manager.spawn_with_handle(sleep()).await.unwrap();
        leave_levels(&run_directories(work.path()).unwrap()[0]);
        child.kill().within("the kill").await.unwrap();
        child.remove().within("the removal").await.unwrap();
        assert_eq!(run_directories(work.path()).unwrap(), Vec::<PathBuf>::new());
        // And with its manager.
        manager.spawn(sleep()).await.unwrap();
        leave_levels(&run_directories(work.path()).unwrap()[0]);
        manager.shutdown().within("the shutdown").await.unwrap();
        assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0);
    });
}

/// As a cleaner of temporary files removes it, which knows no lock.
#[test]
fn a_second_manager_after_the_lock_file_was_removed_leaves_the_first_alone() {
    checked(async |test| {
        let child = test.spawn(Cmd::new("sleep").arg("1000")).await;
        let directories = test.run_directories();
        fs::remove_file(test.working_directory().join(".procession.lock")).unwrap();
        let second = ProcessManager::spawn(test.working_directory()).unwrap();
        let mut events = second.events();
        let run = second.run(Cmd::new("true")).within("the run").await;
        assert!(run.unwrap().success());
        // A sweep would be told first.
        let event = events.next().within("the first event").await;
        assert!(matches!(event, Some(Event::Spawned { .. })), "{event:?}");
        assert!(child.get_process_info().await.unwrap().is_running());
        assert_eq!(test.run_directories(), directories);
        second.shutdown().within("the shutdown").await.unwrap();
        assert!(child.get_process_info().await.unwrap().is_running());
        assert_eq!(test.run_directories(), directories);
        child.kill().await.unwrap();
    });
}

#[test]
fn spawns_make_again_what_was_removed_of_the_managers_directory() {
    checked(async |test| {
        let child = test.spawn(Cmd::new("sleep").arg("1000")).await;
        let mine = test.run_directories()[0].parent().unwrap().to_owned();
        for all in [true, false] {
            if all {
                fs::remove_dir_all(&mine).unwrap();
            } else {
                fs::remove_file(mine.join(".procession")).unwrap();
            }
            let run = Cmd::new("sh").args(["-c", r#"echo text >"$PROCESS_DATA_DIR/file""#]);
            let run = test.manager().run(run).within("the run").await;
            assert!(run.unwrap().success());
            assert!(mine.join(".procession").exists());
            let mode = fs::metadata(&mine).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        assert!(child.get_process_info().await.unwrap().is_running());
        child.kill().await.unwrap();
        child.remove().within("the removal").await.unwrap();
    });
}
