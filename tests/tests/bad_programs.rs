//! Programs that cannot be started, and requests that contradict themselves: the error names what was
//! asked for and the system's reason, and nothing is left.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;

use procession_manager::{
    Cmd, Logging, Messaging, Output, Runnable, Script, ScriptRunConfig, ScriptingLanguage,
    SpawnProcessError, Stdin,
};
use procession_tests::{Checked, Within as _, checked, fixture};

/// Tries to spawn; afterwards the manager has no entry and no run directory of it, and works.
async fn refused(test: &Checked, what: impl Runnable) -> SpawnProcessError {
    let refused = test.manager().spawn(what).within("the refusal").await;
    let error = refused.expect_err("it cannot be started");
    assert_eq!(
        test.run_directories(),
        Vec::<std::path::PathBuf>::new(),
        "after: {error}"
    );
    assert!(test.manager().list().await.unwrap().is_empty());
    let next = test.spawn(Cmd::new("true")).await;
    assert!(next.wait().within("the exit").await.unwrap().success());
    next.remove().await.unwrap();
    error
}

/// The refusal's program and reason, checked to be in its words.
async fn not_spawned(test: &Checked, what: impl Runnable) -> (String, ErrorKind) {
    let error = refused(test, what).await;
    let words = error.to_string();
    match error {
        SpawnProcessError::CannotSpawnProcess { program, source } => {
            assert!(
                words.contains(&program) && words.contains(&source.to_string()),
                "{words}"
            );
            (program, source.kind())
        }
        other => panic!("unexpected: {other:?}"),
    }
}

/// With everything on, so that there is something to unwind.
fn full(program: &str) -> Cmd {
    Cmd::new(program)
        .messaging(Messaging::named_pipes())
        .logging(Logging::stdout_and_stderr())
}

#[test]
fn a_program_that_is_not_on_path() {
    checked(async |test| {
        let (program, reason) = not_spawned(test, full("no-such-program-anywhere")).await;
        assert_eq!(
            (program.as_str(), reason),
            ("no-such-program-anywhere", ErrorKind::NotFound)
        );
    });
}

#[test]
fn a_program_whose_path_does_not_exist() {
    checked(async |test| {
        let path = test.scratch().join("missing");
        let path = path.to_str().unwrap();
        let (program, reason) = not_spawned(test, full(path)).await;
        assert_eq!((program.as_str(), reason), (path, ErrorKind::NotFound));
    });
}

#[test]
fn a_program_that_is_not_executable() {
    checked(async |test| {
        let path = test.scratch().join("plain-file");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let path = path.to_str().unwrap();
        let (program, reason) = not_spawned(test, full(path)).await;
        assert_eq!(
            (program.as_str(), reason),
            (path, ErrorKind::PermissionDenied)
        );
        let directory = test.scratch().to_str().unwrap();
        let (program, reason) = not_spawned(test, full(directory)).await;
        assert_eq!(
            (program.as_str(), reason),
            (directory, ErrorKind::PermissionDenied)
        );
    });
}

#[test]
fn a_program_that_is_no_program() {
    checked(async |test| {
        let path = test.scratch().join("binary");
        fs::write(&path, [0, 1, 2, 3]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let path = path.to_str().unwrap();
        let error = refused(test, full(path)).await;
        assert!(
            matches!(error, SpawnProcessError::CannotSpawnProcess { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(path), "{error}");
    });
}

/// The path that counts is the child's, since that is what its environment says.
#[test]
fn a_program_that_is_not_on_the_childs_path() {
    checked(async |test| {
        let (program, reason) = not_spawned(test, full("true").env("PATH", test.scratch())).await;
        assert_eq!((program.as_str(), reason), ("true", ErrorKind::NotFound));
        fs::write(test.scratch().join("no-rights"), "#!/bin/sh\n").unwrap();
        let cmd = full("no-rights").env("PATH", test.scratch());
        let (program, reason) = not_spawned(test, cmd).await;
        assert_eq!(
            (program.as_str(), reason),
            ("no-rights", ErrorKind::PermissionDenied),
            "it is there, so the reason is not that it is missing"
        );
        let there = test.scratch().join("only-there");
        std::os::unix::fs::symlink("/bin/true", &there).unwrap();
        let found = test
            .spawn(Cmd::new("only-there").env("PATH", test.scratch()))
            .await;
        assert!(found.wait().within("the exit").await.unwrap().success());
        found.remove().await.unwrap();
    });
}

#[test]
fn a_bad_current_directory() {
    checked(async |test| {
        let missing = test.scratch().join("missing");
        let error = refused(test, full("true").current_dir(&missing)).await;
        let words = error.to_string();
        assert!(
            matches!(error, SpawnProcessError::CannotSpawnProcess { .. }),
            "{words}"
        );
        assert!(words.contains("true"), "{words}");
        assert!(
            words.contains(missing.to_str().unwrap()),
            "the directory is the reason: {words}"
        );
    });
}

#[test]
fn a_nul_byte() {
    checked(async |test| {
        let nul = || OsString::from_vec(b"with\0nul".to_vec());
        for cmd in [
            full("true").arg(nul()),
            full("true").env(nul(), "value"),
            full("true").env("NAME", nul()),
            Cmd::new("true")
                .arg("ok")
                .current_dir(std::path::PathBuf::from(nul())),
        ] {
            let words = refused(test, cmd).await.to_string();
            assert!(words.contains("true") && words.contains("NUL"), "{words}");
        }
        let words = refused(test, Cmd::new(nul())).await.to_string();
        assert!(words.contains("with") && words.contains("NUL"), "{words}");
    });
}

#[test]
fn a_missing_interpreter_is_named() {
    checked(async |test| {
        let config = ScriptRunConfig::new("no-such-interpreter", ["@FILE_PATH"], "txt");
        let script = Script::new(ScriptingLanguage::Other(config), "content");
        let (program, reason) = not_spawned(test, script).await;
        assert_eq!(
            (program.as_str(), reason),
            ("no-such-interpreter", ErrorKind::NotFound)
        );

        let empty = test.scratch().join("empty");
        fs::create_dir(&empty).unwrap();
        let script = Script::new(ScriptingLanguage::Groovy, "println 1").env("PATH", &empty);
        let (program, reason) = not_spawned(test, script).await;
        assert_eq!((program.as_str(), reason), ("groovy", ErrorKind::NotFound));
    });
}

#[test]
fn messages_and_logs_both_on_stdout() {
    checked(async |test| {
        let marker = test.scratch().join("started");
        for logging in [
            Logging::stdout(),
            Logging::stdout_and_stderr(),
            Logging::merged(),
        ] {
            let cmd = Cmd::new("touch")
                .arg(&marker)
                .messaging(Messaging::standard_io());
            let error = refused(test, cmd.logging(logging)).await;
            assert!(
                matches!(error, SpawnProcessError::InvalidConfiguration { .. }),
                "unexpected: {error:?}",
            );
            let words = error.to_string();
            assert!(
                words.contains("stdout") || words.contains("standard output"),
                "{words}"
            );
        }
        assert!(!marker.exists(), "something was started");
        // Standard error is free.
        let cmd = Cmd::new("true")
            .messaging(Messaging::standard_io())
            .logging(Logging::stderr());
        let child = test.spawn(cmd).await;
        child.wait().within("the exit").await.unwrap();
    });
}

#[test]
fn a_stream_with_two_uses() {
    checked(async |test| {
        let file = test.scratch().join("file");
        for cmd in [
            Cmd::new("true")
                .messaging(Messaging::standard_io())
                .stdin(Stdin::Inherit),
            Cmd::new("true")
                .messaging(Messaging::standard_io())
                .stdout(Output::File(file.clone())),
            Cmd::new("true")
                .logging(Logging::stdout())
                .stdout(Output::File(file.clone())),
            Cmd::new("true")
                .logging(Logging::stderr())
                .stderr(Output::Inherit),
        ] {
            let error = refused(test, cmd).await;
            assert!(
                matches!(error, SpawnProcessError::InvalidConfiguration { .. }),
                "unexpected: {error:?}",
            );
        }
        assert!(!file.exists());
    });
}

#[test]
fn a_file_for_a_stream_that_cannot_be_opened() {
    checked(async |test| {
        let missing = test.scratch().join("no-directory/file");
        for cmd in [
            Cmd::new(fixture!("echo")).stdin(Stdin::File(missing.clone())),
            Cmd::new(fixture!("echo")).stdout(Output::File(missing.clone())),
            Cmd::new(fixture!("echo")).stderr(Output::File(missing.clone())),
        ] {
            let error = refused(test, cmd).await;
            assert!(
                error.to_string().contains(missing.to_str().unwrap()),
                "{error}"
            );
        }
    });
}
