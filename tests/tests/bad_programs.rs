//! Programs that cannot be started, and requests that contradict themselves: the error names what was
//! asked for and the system's reason, and nothing is left.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Backoff, Cmd, Event, Logging, Messaging, Output, ProcessManager, Resource, RestartPolicy,
    Runnable, Script, ScriptRunConfig, ScriptingLanguage, SpawnProcessError, Stdin, Supervision,
};
use procession_tests::{Checked, Within as _, checked, eventually, fixture, run_directories};

/// Tries to spawn; afterwards the manager has no entry and no run directory of it, and works.
async fn refused(test: &Checked, what: impl Runnable) -> SpawnProcessError {
    let refused = test.manager().spawn(what).within("the refusal").await;
    let error = refused.expect_err("it cannot be started");
    assert_eq!(
        test.run_directories(),
        Vec::<PathBuf>::new(),
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
            Cmd::new("true").arg("ok").current_dir(PathBuf::from(nul())),
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

/// Nobody has the other side open, so that to open it is to wait.
#[test]
fn a_fifo_for_a_stream() {
    checked(async |test| {
        let path = test.scratch().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
        for cmd in [
            Cmd::new(fixture!("echo")).stdin(Stdin::File(path.clone())),
            Cmd::new(fixture!("echo")).stdout(Output::File(path.clone())),
            Cmd::new(fixture!("echo")).stderr(Output::File(path.clone())),
        ] {
            let words = refused(test, cmd).await.to_string();
            for part in [path.to_str().unwrap(), "FIFO", "open its other end first"] {
                assert!(words.contains(part), "{words}");
            }
        }
    });
}

#[test]
fn a_program_that_is_a_fifo_or_a_socket() {
    checked(async |test| {
        let fifo = test.scratch().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o755.into()).unwrap();
        let socket = test.scratch().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&fifo, &socket] {
            let path = path.to_str().unwrap();
            for cmd in [full(path), full(path).limit(Resource::CoreSize, 0)] {
                let (program, reason) = not_spawned(test, cmd).await;
                assert_eq!(
                    (program.as_str(), reason),
                    (path, ErrorKind::PermissionDenied)
                );
            }
        }
        let script = test.scratch().join("script");
        fs::write(&script, format!("#!{}\n", fifo.display())).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let script = script.to_str().unwrap();
        for cmd in [full(script), full(script).limit(Resource::CoreSize, 0)] {
            let (_, reason) = not_spawned(test, cmd).await;
            assert_eq!(reason, ErrorKind::PermissionDenied);
        }
    });
}

/// For a start that does not hang to come to its preparation, on a busy machine too.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// Hangs in its preparation, as on a file system that does not answer, from the run on that is
/// named until it is let go.
struct Hangs {
    cmd: Cmd,
    from: u64,
    runs: Mutex<u64>,
    begun: mpsc::Sender<PathBuf>,
    cleaned: mpsc::Sender<()>,
    go: Mutex<mpsc::Receiver<()>>,
}

/// The test's side of a [`Hangs`].
struct Hanging {
    begun: mpsc::Receiver<PathBuf>,
    cleaned: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

fn hangs(cmd: Cmd, from: u64) -> (Hangs, Hanging) {
    let (begun, has_begun) = mpsc::channel();
    let (cleaned, is_cleaned) = mpsc::channel();
    let (go, goes) = mpsc::channel();
    let hangs = Hangs {
        cmd,
        from,
        runs: Mutex::new(0),
        begun,
        cleaned,
        go: Mutex::new(goes),
    };
    let hanging = Hanging {
        begun: has_begun,
        cleaned: is_cleaned,
        go,
    };
    (hangs, hanging)
}

impl Runnable for Hangs {
    fn bootstrap_cmd(&self, directory: &Path) -> Result<Cmd, String> {
        let mut runs = self.runs.lock().unwrap();
        if *runs >= self.from {
            let _ = self.begun.send(directory.to_owned());
            // Without anybody to let it go it goes, too.
            let _ = self.go.lock().unwrap().recv();
        }
        *runs += 1;
        Ok(self.cmd.clone())
    }

    fn clean_after_fail(&self, _: &Path) -> Result<(), String> {
        let _ = self.cleaned.send(());
        Ok(())
    }
}

/// More than there are threads for starts at first.
#[test]
fn many_starts_that_hang_hold_up_no_other() {
    checked(async |test| {
        let mut hanging = Vec::new();
        for _ in 0..100 {
            let (runnable, hang) = hangs(Cmd::new("true"), 0);
            let manager = test.manager().clone();
            let spawn = tokio::spawn(async move { manager.spawn(runnable).await });
            hanging.push((spawn, hang));
        }
        let other = test.spawn(Cmd::new("true")).await;
        assert!(other.wait().within("the exit").await.unwrap().success());
        other.remove().within("the removal").await.unwrap();
        for (spawn, hang) in hanging {
            assert!(!spawn.is_finished());
            drop(hang.go);
            spawn.within("its start").await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_start_that_hangs_is_given_up_and_undone() {
    checked(async |test| {
        let manager = ProcessManager::builder()
            .working_directory(test.scratch())
            .spawn_timeout(LONG_ENOUGH)
            .spawn()
            .unwrap();
        let started = test.scratch().join("started");
        let (runnable, hang) = hangs(Cmd::new("touch").arg(&started), 0);
        let spawned = manager.spawn(runnable).within("the refusal").await;
        let error = spawned.unwrap_err();
        assert!(
            matches!(error, SpawnProcessError::TimedOut { .. }),
            "{error:?}"
        );
        let words = error.to_string();
        for part in ["2s", "bootstrap_cmd", "spawn_timeout"] {
            assert!(words.contains(part), "{words}");
        }
        assert!(manager.list().await.unwrap().is_empty());
        let directory = hang.begun.recv().unwrap();
        assert!(directory.exists(), "it may still be used");
        hang.go.send(()).unwrap();
        hang.cleaned.recv().unwrap();
        eventually(
            "its directory to be removed",
            Duration::from_secs(10),
            async || (!directory.exists()).then_some(()),
        )
        .await;
        assert!(!started.exists(), "it was not to be run any more");
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}

#[test]
fn a_shutdown_does_not_wait_for_a_start_that_hangs() {
    checked(async |test| {
        let manager = ProcessManager::builder()
            .working_directory(test.scratch())
            .spawn()
            .unwrap();
        let started = test.scratch().join("started");
        let (runnable, hang) = hangs(Cmd::new("touch").arg(&started), 0);
        let spawn = tokio::spawn({
            let manager = manager.clone();
            async move { manager.spawn(runnable).await }
        });
        let begun = tokio::task::spawn_blocking(move || (hang.begun.recv().unwrap(), hang));
        let (directory, hang) = begun.within("its start").await.unwrap();
        let shutdown = manager.shutdown_with(Duration::ZERO);
        shutdown.within("the shutdown").await.unwrap();
        let error = spawn.within("the refusal").await.unwrap().unwrap_err();
        assert!(
            matches!(error, SpawnProcessError::ManagerCommunicationError),
            "{error:?}"
        );
        drop(hang.go);
        eventually("all to be removed", Duration::from_secs(10), async || {
            let left = run_directories(test.scratch()).unwrap();
            (left.is_empty() && !directory.parent().unwrap().exists()).then_some(())
        })
        .await;
        assert!(!started.exists(), "it was not to be run any more");
    });
}

#[test]
fn a_service_whose_start_has_hung_starts_again() {
    checked(async |test| {
        let manager = ProcessManager::builder()
            .working_directory(test.scratch())
            .spawn_timeout(LONG_ENOUGH)
            .spawn()
            .unwrap();
        let mut events = manager.events();
        let moment = Duration::from_millis(1);
        let service = Supervision::new(RestartPolicy::Always)
            .backoff(Backoff::new(moment, moment))
            .intensity(procession_manager::RestartIntensity::new(100_000, moment));
        let (runnable, hang) = hangs(Cmd::new("true").supervised(service), 1);
        let id = manager.spawn(runnable).within("its start").await.unwrap();
        let mut failures = Vec::new();
        while failures.len() < 2 {
            let event = events.next().within("an event").await.unwrap();
            if let Event::Restarting {
                failure: Some(failure),
                ..
            } = event
            {
                failures.push(failure);
            }
        }
        assert!(failures[0].contains("bootstrap_cmd"), "{failures:?}");
        assert!(failures[1].contains("still hangs"), "{failures:?}");
        drop(hang.go);
        loop {
            let event = events.next().within("an event").await.unwrap();
            if matches!(event, Event::Running { id: it, .. } if it == id) {
                break;
            }
        }
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}
