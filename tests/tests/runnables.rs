//! A user's own type as the description of a process.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use procession_manager::{Cmd, Logging, LogsQuery, Runnable, SpawnProcessError};
use procession_tests::{Checked, Within as _, checked};

/// Writes a file into its run directory and prints it.
struct PrintsFile(&'static str);

impl Runnable for PrintsFile {
    fn bootstrap_cmd(&self, process_dir: &Path) -> Result<Cmd, String> {
        let file = process_dir.join("prepared");
        fs::write(&file, self.0).map_err(|error| error.to_string())?;
        Ok(Cmd::new("cat").arg(file).logging(Logging::stdout()))
    }
}

#[test]
fn it_prepares_its_run_directory() {
    checked(async |test| {
        let child = test.spawn(PrintsFile("from the runnable")).await;
        child.wait().within("the exit").await.unwrap();
        let lines = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
        assert_eq!(lines, ["from the runnable"]);
        let boxed: Box<dyn Runnable> = Box::new(PrintsFile("boxed"));
        let child = test.spawn(boxed).await;
        child.wait().within("the exit").await.unwrap();
        let lines = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
        assert_eq!(lines, ["boxed"]);
    });
}

/// How a preparation goes wrong.
#[derive(Clone, Copy)]
enum Goes {
    Fails,
    Panics,
    IntoNothing,
}

/// Fails after having made something elsewhere, which its clean-up removes.
struct Clumsy {
    goes: Goes,
    made: PathBuf,
    seen: Arc<Mutex<Vec<PathBuf>>>,
    cleaned: Arc<AtomicUsize>,
    clean_up_panics: bool,
}

impl Runnable for Clumsy {
    fn bootstrap_cmd(&self, process_dir: &Path) -> Result<Cmd, String> {
        self.seen.lock().unwrap().push(process_dir.to_owned());
        fs::write(&self.made, "half made").map_err(|error| error.to_string())?;
        match self.goes {
            Goes::Fails => Err("the model file is corrupt".to_owned()),
            Goes::Panics => panic!("index out of the model"),
            Goes::IntoNothing => Ok(Cmd::new("no-such-program-anywhere")),
        }
    }

    fn clean_after_fail(&self, process_dir: &Path) -> Result<(), String> {
        assert!(!self.clean_up_panics, "the clean-up is clumsy too");
        self.seen.lock().unwrap().push(process_dir.to_owned());
        fs::remove_file(&self.made).map_err(|error| error.to_string())?;
        self.cleaned.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn fails(
    test: &Checked,
    goes: Goes,
    clean_up_panics: bool,
) -> (SpawnProcessError, PathBuf, usize) {
    let made = test.scratch().join("made");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let cleaned = Arc::new(AtomicUsize::new(0));
    let clumsy = Clumsy {
        goes,
        made: made.clone(),
        seen: Arc::clone(&seen),
        cleaned: Arc::clone(&cleaned),
        clean_up_panics,
    };
    let error = test
        .manager()
        .spawn(clumsy)
        .within("the refusal")
        .await
        .expect_err("it must fail");
    assert!(
        test.run_directories().is_empty(),
        "its run directory is gone"
    );
    let seen = seen.lock().unwrap().clone();
    assert!(
        seen.windows(2).all(|two| two[0] == two[1]),
        "both are told of the same directory"
    );
    // The manager lives.
    let next = test.spawn(Cmd::new("true")).await;
    next.wait().within("the exit").await.unwrap();
    next.remove().await.unwrap();
    (error, made, cleaned.load(Ordering::SeqCst))
}

#[test]
fn one_that_fails_is_cleaned_up_after() {
    checked(async |test| {
        let (error, made, cleaned) = fails(test, Goes::Fails, false).await;
        let SpawnProcessError::BootstrapProcessFailed(words) = error else {
            panic!("unexpected: {error:?}");
        };
        assert!(words.contains("the model file is corrupt"), "{words}");
        assert_eq!((made.exists(), cleaned), (false, 1));
    });
}

#[test]
fn one_that_panics_is_cleaned_up_after() {
    checked(async |test| {
        let (error, made, cleaned) = fails(test, Goes::Panics, false).await;
        let SpawnProcessError::BootstrapProcessFailed(words) = error else {
            panic!("unexpected: {error:?}");
        };
        assert!(words.contains("index out of the model"), "{words}");
        assert_eq!((made.exists(), cleaned), (false, 1));
    });
}

#[test]
fn one_whose_program_cannot_be_started_is_cleaned_up_after() {
    checked(async |test| {
        let (error, made, cleaned) = fails(test, Goes::IntoNothing, false).await;
        assert!(
            matches!(error, SpawnProcessError::CannotSpawnProcess { .. }),
            "{error:?}"
        );
        assert_eq!((made.exists(), cleaned), (false, 1));
    });
}

#[test]
fn a_clean_up_that_panics_takes_nothing_with_it() {
    checked(async |test| {
        for goes in [Goes::Fails, Goes::Panics, Goes::IntoNothing] {
            let (error, ..) = fails(test, goes, true).await;
            // What went wrong first is what is told.
            let words = error.to_string();
            let first = match goes {
                Goes::Fails => "the model file is corrupt",
                Goes::Panics => "index out of the model",
                Goes::IntoNothing => "no-such-program-anywhere",
            };
            assert!(words.contains(first), "{words}");
        }
    });
}

/// A preparation that takes its time holds up nobody else.
#[test]
fn one_that_is_slow_delays_only_its_own_spawn() {
    struct Slow(std::sync::mpsc::Receiver<()>);
    impl Runnable for Slow {
        fn bootstrap_cmd(&self, _: &Path) -> Result<Cmd, String> {
            self.0.recv().map_err(|error| error.to_string())?;
            Ok(Cmd::new("true"))
        }
    }
    checked(async |test| {
        let (release, released) = std::sync::mpsc::channel();
        let slow = Slow(released);
        let spawning = tokio::spawn({
            let manager = test.manager().clone();
            async move { manager.spawn(slow).await }
        });
        for _ in 0..20 {
            let other = test.spawn(Cmd::new("true")).await;
            other.wait().within("the exit of another").await.unwrap();
            test.manager().list().within("the list").await.unwrap();
        }
        assert!(!spawning.is_finished());
        release.send(()).unwrap();
        spawning.within("the slow spawn").await.unwrap().unwrap();
    });
}
