//! When a process counts as started and ready, and what becomes of one that does not.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Event, EventStream, ExitCause, Framing, Liveness, LogStream, Logging, Messaging,
    ProcessHandle, Readiness, Signal, SpawnProcessError, WaitReadyError,
};
use procession_tests::{Checked, Within as _, checked, eventually, programs, workers};

const SHORT: Duration = Duration::from_millis(300);

fn sh(script: &str) -> Cmd {
    Cmd::new(programs::bash()).args(["-c", script])
}

async fn status(child: &ProcessHandle) -> String {
    child.wait_ready().within("ready").await.unwrap()
}

/// What it says when it is ready, by its events.
async fn told(events: &mut EventStream) -> String {
    loop {
        if let Event::Ready { status, .. } = events.next().within("ready").await.unwrap() {
            return status;
        }
    }
}

#[test]
fn a_process_without_more_is_ready_when_it_runs() {
    checked(async |test| {
        let child = test.spawn(sh("sleep 1000")).await;
        assert_eq!(status(&child).await, "");
        assert!(child.get_process_info().await.unwrap().is_ready());
        let short = test.spawn(Cmd::new("true")).await;
        short.wait().within("the end").await.unwrap();
        assert_eq!(status(&short).await, "", "it was");
    });
}

#[test]
fn a_first_message() {
    checked(async |test| {
        let cmd = sh("read -r x; echo hello; exec cat");
        let cmd = cmd
            .messaging(Messaging::standard_io())
            .ready_when(Readiness::FirstMessage);
        let child = test.spawn(cmd).await;
        assert!(!child.get_process_info().await.unwrap().is_ready());
        child.send_message("go").await.unwrap();
        assert_eq!(status(&child).await, "");
    });
}

#[test]
fn a_line_of_a_log() {
    checked(async |test| {
        let script = "echo starting >&2; read -r x; echo 'now listening on 4711' >&2; exec cat";
        let by_text = Readiness::LogLine {
            stream: LogStream::Stderr,
            containing: "listening on".into(),
        };
        let by_expression = Readiness::LogMatch {
            stream: LogStream::Stderr,
            expression: r"listening on \d+$".into(),
        };
        for readiness in [by_text, by_expression] {
            let cmd = sh(script).messaging(Messaging::standard_io().input_only());
            let child = test
                .spawn(cmd.logging(Logging::stderr()).ready_when(readiness))
                .await;
            let mut events = child.events();
            child.send_message("go").await.unwrap();
            assert_eq!(told(&mut events).await, "now listening on 4711");
            assert_eq!(status(&child).await, "now listening on 4711");
            let info = child.get_process_info().await.unwrap();
            assert_eq!(info.status(), Some("now listening on 4711"));
        }
    });
}

#[test]
fn a_ready_frame() {
    for worker in workers!() {
        checked(async |test| {
            let mut events = test.manager().events();
            let cmd = worker.cmd(Messaging::standard_io());
            let child = test.spawn(cmd.ready_when(Readiness::Frame)).await;
            assert_eq!(status(&child).await, "at work", "{}", worker.name);
            assert_eq!(told(&mut events).await, "at work");
        });
    }
}

async fn fails_to_start(test: &Checked, cmd: Cmd, reason: &str) {
    let child = test.spawn(cmd).await;
    let error = child.wait_ready().within("the failure").await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(reason), "{text}");
    assert!(text.ends_with("a last word"), "{text}");
    assert!(
        matches!(error, WaitReadyError::StartFailed { id, .. } if id == child.id()),
        "{error:?}"
    );
    let report = child.wait().within("the end").await.unwrap();
    assert_eq!(report.cause(), ExitCause::StartFailed, "{report}");
    assert!(!child.get_process_info().await.unwrap().is_ready());
}

#[test]
fn what_is_not_ready_in_time_is_stopped() {
    checked(async |test| {
        let frames = Messaging::standard_io().framing(Framing::Frames);
        let logged = |script: &str| {
            let script = format!("echo a last word >&2; {script}");
            sh(&script).logging(Logging::stderr()).start_deadline(SHORT)
        };
        let silent = logged("exec sleep 1000").messaging(frames.clone());
        fails_to_start(test, silent, "no hello within 300ms").await;
        let log = Readiness::LogLine {
            stream: LogStream::Stderr,
            containing: "listening".into(),
        };
        let quiet = logged("exec sleep 1000").ready_when(log);
        fails_to_start(test, quiet, "a line with \"listening\"").await;
        let notify = Readiness::Notify { watchdog: None };
        let mute = logged("exec sleep 1000").ready_when(notify);
        fails_to_start(test, mute, "READY=1").await;
        // Another version, and something that is no hello: known at once, whatever the deadline.
        let other = r"printf '\0\0\0\024\020procession\002\0\0\0\0\001\0\0\0\001'; exec sleep 1000";
        let other = logged(other).messaging(frames.clone()).no_start_deadline();
        fails_to_start(test, other, "version").await;
        let text = logged("echo Welcome to the server; exec sleep 1000").messaging(frames);
        fails_to_start(test, text.no_start_deadline(), "hello").await;
    });
}

#[test]
fn what_ends_before_it_is_ready() {
    checked(async |test| {
        let cmd = sh("echo a last word >&2; exit 7")
            .logging(Logging::stderr())
            .ready_when(Readiness::Notify { watchdog: None });
        let child = test.spawn(cmd).await;
        let error = child.wait_ready().within("the end").await.unwrap_err();
        assert!(error.to_string().ends_with("a last word"), "{error}");
        match error {
            WaitReadyError::ProcessExited { report, .. } => assert_eq!(report.code(), Some(7)),
            other => panic!("{other}"),
        }
    });
}

/// A service that knows nothing but `sd_notify(3)`.
const SERVICE: &str = r#"
import os, signal, socket, sys
name = os.environ["NOTIFY_SOCKET"]
if name[0] == "@":
    name = "\0" + name[1:]
out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
out.connect(name)
tell = lambda text: out.send(text.encode())
def stop(*_):
    tell("STOPPING=1\nSTATUS=good bye")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
tell("STATUS=warming up")
sys.stdin.readline()
tell("READY=1\nSTATUS=serving %s" % os.environ.get("WATCHDOG_USEC"))
for line in sys.stdin:
    tell(line.strip())
while True:
    signal.pause()
"#;

fn service() -> Cmd {
    Cmd::new(programs::python3())
        .args(["-c", SERVICE])
        .messaging(Messaging::standard_io().input_only())
}

async fn next_status(events: &mut EventStream) -> String {
    loop {
        if let Event::StatusChanged { status, .. } = events.next().within("a status").await.unwrap()
        {
            return status;
        }
    }
}

#[test]
fn a_service_that_notifies() {
    checked(async |test| {
        let notify = Readiness::Notify { watchdog: None };
        let mut events = test.manager().events();
        let child = test.spawn(service().ready_when(notify)).await;
        assert_eq!(next_status(&mut events).await, "warming up");
        assert!(!child.get_process_info().await.unwrap().is_ready());
        child.send_message("go").await.unwrap();
        assert_eq!(status(&child).await, "serving None");
        child.send_message("STATUS=half done").await.unwrap();
        assert_eq!(next_status(&mut events).await, "half done");
        let report = child.stop().within("the stop").await.unwrap();
        assert_eq!(
            (report.code(), report.cause()),
            (Some(0), ExitCause::Stopped)
        );
        assert_eq!(next_status(&mut events).await, "good bye");
    });
}

/// Beside the run directory: all that there is of the socket is gone with its process.
#[test]
fn the_notification_socket_is_a_short_path() {
    checked(async |test| {
        let temporary = procession_manager::ProcessManager::in_temp().unwrap();
        for manager in [test.manager(), &temporary] {
            let script = r#"
import os, socket, sys
name = os.environ["NOTIFY_SOCKET"]
out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
out.connect(name)
out.send(b"READY=1\nSTATUS=" + name.encode() + b"\n" + os.environ["PROCESS_DATA_DIR"].encode())
sys.stdin.readline()
"#;
            let cmd = Cmd::new(programs::python3())
                .args(["-c", script])
                .messaging(Messaging::standard_io().input_only())
                .ready_when(Readiness::Notify { watchdog: None });
            let child = manager.spawn_with_handle(cmd).await.unwrap();
            let socket = std::path::PathBuf::from(status(&child).await);
            assert!(socket.is_absolute(), "{}", socket.display());
            let beside = || {
                let entries = std::fs::read_dir(socket.parent().unwrap()).unwrap();
                let named = |entry: &std::fs::DirEntry| entry.file_name() != ".procession";
                entries.map(Result::unwrap).filter(named).count()
            };
            assert_eq!(beside(), 2, "itself and the run directory");
            child.kill().within("the kill").await.unwrap();
            child.remove().within("the removal").await.unwrap();
            let bound = Duration::from_secs(20);
            eventually("no socket", bound, async || (beside() == 0).then_some(())).await;
        }
        temporary.shutdown().within("the shutdown").await.unwrap();
    });
}

#[test]
fn a_service_in_a_directory_with_a_long_name() {
    checked(async |test| {
        let directory = test.scratch().join("x".repeat(120));
        std::fs::create_dir(&directory).unwrap();
        let builder = procession_manager::ProcessManager::builder();
        let manager = builder.working_directory(&directory).spawn().unwrap();
        let notify = Readiness::Notify { watchdog: None };
        let child = manager
            .spawn_with_handle(service().ready_when(notify))
            .await
            .unwrap();
        child.send_message("go").await.unwrap();
        assert_eq!(status(&child).await, "serving None");
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}

#[test]
fn a_service_that_misses_its_watchdog() {
    checked(async |test| {
        let watchdog = Some(SHORT);
        let child = test
            .spawn(service().ready_when(Readiness::Notify { watchdog }))
            .await;
        child.send_message("go").await.unwrap();
        assert_eq!(status(&child).await, "serving 300000");
        child.send_message("WATCHDOG=1").await.unwrap();
        let report = child.wait().within("the end").await.unwrap();
        assert_eq!(report.cause(), ExitCause::Unresponsive, "{report}");
        let hangs = test
            .spawn(service().ready_when(Readiness::Notify { watchdog: None }))
            .await;
        hangs.send_message("go").await.unwrap();
        status(&hangs).await;
        hangs.send_message("WATCHDOG=trigger").await.unwrap();
        let report = hangs.wait().within("the end").await.unwrap();
        assert_eq!(report.cause(), ExitCause::Unresponsive, "{report}");
    });
}

#[test]
fn a_watchdog_that_is_never_due() {
    checked(async |test| {
        let watchdog = Some(Duration::MAX);
        let child = test
            .spawn(service().ready_when(Readiness::Notify { watchdog }))
            .await;
        let mut events = child.events();
        child.send_message("go").await.unwrap();
        let status = status(&child).await;
        // What `sd_watchdog_enabled(3)` can read: 64 bits, and not all of them.
        let told: u64 = status.strip_prefix("serving ").unwrap().parse().unwrap();
        assert_eq!(told, 100 * 365 * 24 * 3600 * 1_000_000);
        for text in [
            "WATCHDOG=1",
            "EXTEND_TIMEOUT_USEC=18446744073709551615",
            "STATUS=well",
        ] {
            child.send_message(text).await.unwrap();
        }
        while next_status(&mut events).await != "well" {}
        let report = child.stop().within("the stop").await.unwrap();
        assert_eq!(report.cause(), ExitCause::Stopped, "{report}");
    });
}

#[test]
fn pings_and_their_misses() {
    for worker in workers!() {
        checked(async |test| {
            let liveness = Liveness::every(Duration::from_millis(25)).misses(8);
            let messaging = Messaging::named_pipes();
            let told = test
                .spawn(worker.cmd(messaging.clone().liveness(liveness)))
                .await;
            let stopped = test
                .spawn(worker.cmd(messaging.clone().liveness(liveness.stop())))
                .await;
            for child in [&told, &stopped] {
                status(child).await;
                eventually("a pong", Duration::from_secs(20), async || {
                    child.get_process_info().await.unwrap().latency()
                })
                .await;
            }
            let mut events = told.events();
            told.signal(Signal::STOP).await.unwrap();
            stopped.signal(Signal::STOP).await.unwrap();
            loop {
                let event = events.next().within("the misses").await.unwrap();
                if matches!(event, Event::Unresponsive { id } if id == told.id()) {
                    break;
                }
            }
            // It goes on, and may be told of again.
            told.signal(Signal::CONT).await.unwrap();
            assert_eq!(told.request("echo x").within("a reply").await.unwrap(), "x");
            // SIGTERM waits for one that is stopped, and SIGKILL does not.
            let report = stopped.wait().within("the end").await.unwrap();
            assert_eq!(report.cause(), ExitCause::Unresponsive, "{report}");
        });
    }
}

#[test]
fn what_can_never_be_is_refused() {
    checked(async |test| {
        let frames = || Messaging::standard_io().framing(Framing::Frames);
        let log = |stream| Readiness::LogLine {
            stream,
            containing: "x".into(),
        };
        let ping = Liveness::every(Duration::from_secs(1));
        let second = Duration::from_secs(1);
        for (cmd, words) in [
            (sh("").ready_when(Readiness::Frame), "Framing::Frames"),
            (sh("").ready_when(Readiness::FirstMessage), "output"),
            (sh("").ready_when(log(LogStream::Stdout)), "logging"),
            (
                sh("")
                    .logging(Logging::merged())
                    .ready_when(log(LogStream::Stdout)),
                "log stdout",
            ),
            (sh("").serve(|_| async { Ok("".into()) }), "frames"),
            (
                sh("").messaging(Messaging::standard_io().lease(second)),
                "lease",
            ),
            (
                sh("").messaging(frames().input_only().liveness(ping)),
                "liveness",
            ),
            (
                sh("").messaging(frames().liveness(ping.misses(0))),
                "misses",
            ),
            (
                sh("").messaging(frames().lease(Duration::from_millis(3))),
                "at least 30 ms",
            ),
            (
                sh("")
                    .logging(Logging::stdout())
                    .ready_when(Readiness::LogMatch {
                        stream: LogStream::Stdout,
                        expression: "(".into(),
                    }),
                "expression",
            ),
        ] {
            let error = test.manager().spawn(cmd).await.unwrap_err();
            assert!(matches!(
                error,
                SpawnProcessError::InvalidConfiguration { .. }
            ));
            assert!(error.to_string().contains(words), "{error}");
        }
    });
}

/// However the end of the output and the exit come in, it is the exit that is told.
#[test]
fn a_crash_before_hello_is_told_as_what_it_is() {
    checked(async |test| {
        for round in 0..100 {
            let script = ["exit 7", "printf '\\0\\0'; exit 7"][round % 2];
            let frames = Messaging::standard_io().framing(Framing::Frames);
            let child = test.spawn(sh(script).messaging(frames)).await;
            match child.wait_ready().within("the end").await.unwrap_err() {
                WaitReadyError::ProcessExited { report, .. } => {
                    assert_eq!(
                        (report.code(), report.cause()),
                        (Some(7), ExitCause::ByItself)
                    );
                }
                other => panic!("{other}"),
            }
            child.wait().within("the end").await.unwrap();
            child.remove().within("the removal").await.unwrap();
        }
        // One that lives on without an output is stopped.
        let frames = Messaging::standard_io().framing(Framing::Frames);
        let mute = test
            .spawn(sh("exec >&-; sleep 1000").messaging(frames))
            .await;
        match mute.wait_ready().within("the failure").await.unwrap_err() {
            WaitReadyError::StartFailed { reason, .. } => {
                assert!(reason.contains("hello"), "{reason}");
            }
            other => panic!("{other}"),
        }
        let report = mute.wait().within("the end").await.unwrap();
        assert_eq!(report.cause(), ExitCause::StartFailed);
    });
}
