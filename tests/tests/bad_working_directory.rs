//! Working directories that cannot be used, and one that is in use.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use procession_manager::{Cmd, ProcessManager};
use procession_tests::{Within as _, checked, fixture};

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
        let run_directory = std::path::Path::new(lines[2]);
        let root = run_directory.parent().unwrap().parent().unwrap();
        assert!(!root.exists(), "{} is still there", root.display());
    });
}
