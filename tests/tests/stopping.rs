//! Stopping: what a child is told, in which order and when, and that it is gone in time.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use procession_manager::{
    Cmd, ExitCause, ExitReport, Framing, KILL_BOUND, KillProcessError, LeftReason, Message,
    MessageStream, Messaging, ProcessHandle, ProcessState, WriteMessageError,
};
use procession_tests::{
    Checked, Within as _, checked, ci_factor, eventually, fixture, procfs, programs, say,
};

/// So much later than its grace may a process be gone.
const LATE: Duration = Duration::from_secs(1);
/// A grace that no test sees the end of.
const LONG: Duration = Duration::from_mins(10);

fn sh(script: &str) -> Cmd {
    Cmd::new(programs::sh()).args(["-c", script])
}

fn lines() -> Messaging {
    Messaging::standard_io()
}

fn frames() -> Messaging {
    Messaging::standard_io().framing(Framing::Frames)
}

/// A child that has sent its first message, and the rest of them.
async fn started(test: &Checked, cmd: Cmd) -> (ProcessHandle, MessageStream) {
    let child = test.spawn(cmd).await;
    let mut stream = child.subscribe_message_stream().await.unwrap();
    next(&mut stream).await;
    (child, stream)
}

async fn next(stream: &mut MessageStream) -> String {
    let message = stream.next().within("a message").await.unwrap().unwrap();
    message.as_str().unwrap().to_owned()
}

async fn rest(stream: MessageStream) -> Vec<String> {
    let all = stream.map(|message| message.unwrap().as_str().unwrap().to_owned());
    all.collect().within("the end of the messages").await
}

/// Stops it, and gives the report and how long that took.
async fn stopped(child: &ProcessHandle, grace: Duration) -> (ExitReport, Duration) {
    let start = Instant::now();
    let report = child.stop_with(grace).within("the stop").await.unwrap();
    let took = start.elapsed();
    assert!(took < grace + LATE * ci_factor(), "{took:?} for {grace:?}");
    assert!(child.get_process_info().await.unwrap().pid().is_none());
    (report, took)
}

fn ending(report: &ExitReport) -> (Option<i32>, Option<i32>, ExitCause) {
    (report.code(), report.signal(), report.cause())
}

#[test]
fn what_ignores_sigterm_is_killed_at_the_end_of_the_grace() {
    checked(async |test| {
        let script = "trap '' TERM; echo here; while :; do sleep 1000; done";
        let (child, _) = started(test, sh(script).messaging(lines())).await;
        let grace = Duration::from_millis(400);
        let (report, took) = stopped(&child, grace).await;
        assert_eq!(ending(&report), (None, Some(9), ExitCause::Stopped));
        assert!(took >= grace, "killed after {took:?}");
        // The shell is the root, and its `sleep` ignores SIGTERM too.
        assert!(report.hunted().is_some_and(|hunted| hunted <= 1));
    });
}

#[test]
fn the_exit_code_of_a_handler_is_kept() {
    checked(async |test| {
        let script = "trap 'exit 3' TERM; echo here; sleep 1000 & wait";
        let (child, _) = started(test, sh(script).messaging(lines())).await;
        let (report, took) = stopped(&child, LONG).await;
        assert_eq!(ending(&report), (Some(3), None, ExitCause::Stopped));
        assert!(took < Duration::from_secs(5) * ci_factor(), "{took:?}");
        assert_eq!(child.wait().await.unwrap(), report);
        let info = child.get_process_info().await.unwrap();
        assert_eq!(info.state(), ProcessState::Finished);
    });
}

/// Over lines: the end of the input and SIGTERM, both at once.
#[test]
fn lines_are_told_by_the_end_of_input_and_sigterm_at_once() {
    checked(async |test| {
        let cmd = Cmd::new(fixture!("told_to_stop")).arg("tells");
        for messaging in [lines(), Messaging::named_pipes()] {
            let (child, mut stream) = started(test, cmd.clone().messaging(messaging)).await;
            let stopping = tokio::spawn({
                let child = child.clone();
                async move { child.stop_with(LONG).await }
            });
            let mut told = [next(&mut stream).await, next(&mut stream).await];
            told.sort_unstable();
            assert_eq!(told, ["SIGTERM", "end"]);
            // It goes on, and a stop changes nothing about what it was told.
            assert_eq!(
                child.get_process_info().await.unwrap().state(),
                ProcessState::Stopping
            );
            child.kill().within("the kill").await.unwrap();
            assert!(rest(stream).await.is_empty());
            let report = stopping.within("the stop").await.unwrap().unwrap();
            assert_eq!(ending(&report), (None, Some(9), ExitCause::Killed));
        }
    });
}

/// Over frames: the stop frame at once, SIGTERM at half the grace, SIGKILL at the end of it.
#[test]
fn frames_are_told_by_the_stop_frame_then_sigterm_then_killed() {
    checked(async |test| {
        let cmd = Cmd::new(fixture!("told_to_stop")).arg("tells");
        let (child, mut stream) = started(test, cmd.messaging(frames())).await;
        let grace = Duration::from_secs(4);
        let start = Instant::now();
        let stopping = tokio::spawn({
            let child = child.clone();
            async move { stopped(&child, grace).await }
        });
        assert_eq!(next(&mut stream).await, "stop");
        let at_once = start.elapsed();
        assert!(at_once < grace / 2, "the stop frame came after {at_once:?}");
        assert_eq!(next(&mut stream).await, "SIGTERM");
        let half = start.elapsed();
        assert!(half >= grace / 2, "SIGTERM came after {half:?}");
        assert!(half < grace, "SIGTERM came after {half:?}");
        let (report, took) = stopping.await.unwrap();
        assert!(took >= grace, "killed after {took:?}");
        assert_eq!(ending(&report), (None, Some(9), ExitCause::Stopped));
        assert!(rest(stream).await.is_empty());
    });
}

/// Its messages end by the stop frame; without it, SIGTERM would end it before it could say its status.
#[test]
fn an_sdk_child_in_a_long_computation_ends_by_the_stop_frame() {
    checked(async |test| {
        let cmd = Cmd::new(fixture!("told_to_stop")).arg("computes");
        for messaging in [frames(), Messaging::named_pipes().framing(Framing::Frames)] {
            let (child, _) = started(test, cmd.clone().messaging(messaging)).await;
            let (report, took) = stopped(&child, Duration::from_secs(20)).await;
            assert_eq!(ending(&report), (Some(7), None, ExitCause::Stopped));
            assert!(took < Duration::from_secs(10), "{took:?}");
        }
    });
}

/// Neither the end of the input nor the stop frame gets through; the signals do.
#[test]
fn one_whose_input_pipe_is_full() {
    checked(async |test| {
        for (messaging, until_told) in [
            (lines(), Duration::ZERO),
            (Messaging::named_pipes(), Duration::ZERO),
            (frames(), Duration::from_secs(1)),
            (
                Messaging::named_pipes().framing(Framing::Frames),
                Duration::from_secs(1),
            ),
        ] {
            let cmd = Cmd::new(fixture!("never_reads")).messaging(messaging);
            let (child, _stream) = started(test, cmd).await;
            let message = Message::from(vec![b'x'; 1 << 20]);
            let senders: Vec<_> = (0..20)
                .map(|_| {
                    let (child, message) = (child.clone(), message.clone());
                    tokio::spawn(async move { child.send_message(message).await })
                })
                .collect();
            eventually("the queue to be full", LATE * 5, async || {
                let sent = child.try_send_message(message.clone());
                matches!(sent, Err(WriteMessageError::BufferFull(_))).then_some(())
            })
            .await;
            // It does nothing about SIGTERM, which so ends it, when it comes.
            let (report, took) = stopped(&child, Duration::from_secs(2)).await;
            assert_eq!(ending(&report), (None, Some(15), ExitCause::Stopped));
            assert!(took >= until_told, "SIGTERM came after {took:?}");
            for sender in senders {
                drop(sender.within("a sender to be told").await.unwrap());
            }
        }
    });
}

#[test]
fn a_second_stop_can_only_shorten() {
    checked(async |test| {
        let script = "trap '' TERM; echo here; while :; do sleep 1000; done";
        let (child, _) = started(test, sh(script).messaging(lines())).await;
        let grace = Duration::from_millis(600);
        let start = Instant::now();
        let (first, longer, shorter) = tokio::join!(
            child.stop_with(LONG),
            child.stop_with(LONG * 2),
            child.stop_with(grace),
        );
        let took = start.elapsed();
        assert!(
            took >= grace && took < grace + LATE * ci_factor(),
            "{took:?}"
        );
        for report in [first, longer, shorter] {
            let report = report.unwrap();
            assert_eq!(ending(&report), (None, Some(9), ExitCause::Stopped));
        }

        // The other way round: what is asked for later does not put it off.
        let (child, _) = started(test, sh(script).messaging(lines())).await;
        let start = Instant::now();
        let (short, long) = tokio::join!(child.stop_with(grace), child.stop_with(LONG));
        let took = start.elapsed();
        assert!(
            took >= grace && took < grace + LATE * ci_factor(),
            "{took:?}"
        );
        assert_eq!(short.unwrap(), long.unwrap());
    });
}

#[test]
fn a_kill_ends_a_stop_at_once() {
    checked(async |test| {
        let script = "trap '' TERM; echo here; while :; do sleep 1000; done";
        let (child, _) = started(test, sh(script).messaging(lines())).await;
        let (stopped, killed) = tokio::join!(child.stop_with(LONG), child.kill());
        assert_eq!(ending(&killed.unwrap()), (None, Some(9), ExitCause::Killed));
        assert_eq!(stopped.unwrap().cause(), ExitCause::Killed);
    });
}

#[test]
fn a_stop_without_grace_kills() {
    checked(async |test| {
        let script = "trap '' TERM; echo here; while :; do sleep 1000; done";
        for messaging in [lines(), Messaging::named_pipes()] {
            let (child, _) = started(test, told(script, messaging)).await;
            let (report, _) = stopped(&child, Duration::ZERO).await;
            assert_eq!(ending(&report), (None, Some(9), ExitCause::Stopped));
        }
    });
}

/// A shell that says `here` by whatever channel it has.
fn told(script: &str, messaging: Messaging) -> Cmd {
    let script = script.replace("echo here", "echo here >${OUTPUT_PIPE:-/dev/stdout}");
    sh(&script).messaging(messaging)
}

#[test]
fn stopping_what_has_ended_gives_its_report() {
    checked(async |test| {
        let child = test.spawn(sh("exit 6")).await;
        child.wait().within("the exit").await.unwrap();
        for _ in 0..2 {
            let (report, _) = stopped(&child, LONG).await;
            assert_eq!(ending(&report), (Some(6), None, ExitCause::ByItself));
            assert_eq!(report.hunted(), Some(0));
        }
        let by_id = test.manager().stop(child.id()).await.unwrap();
        assert_eq!(by_id.code(), Some(6));
    });
}

/// Also what has left the process group.
#[test]
fn sigterm_reaches_the_whole_tree() {
    checked(async |test| {
        let script = "
            trap 'wait; echo root; exit 0' TERM
            setsid sh -c \"trap 'echo far; exit 0' TERM; echo ready; sleep 1000 & wait\" &
            sh -c \"trap 'echo near; exit 0' TERM; echo ready; sleep 1000 & wait\" &
            echo $!
            wait";
        let (child, mut stream) = started(test, sh(script).messaging(lines())).await;
        next(&mut stream).await;
        next(&mut stream).await;
        let (report, _) = stopped(&child, LONG).await;
        assert_eq!(ending(&report), (Some(0), None, ExitCause::Stopped));
        let mut told = rest(stream).await;
        assert_eq!(told.pop().as_deref(), Some("root"));
        told.sort_unstable();
        assert_eq!(told, ["far", "near"]);
    });
}

/// What does not go by SIGTERM goes with its parent, wherever it went.
#[test]
fn what_ignores_sigterm_in_the_tree_goes_with_its_root() {
    checked(async |test| {
        let script = "
            trap 'exit 4' TERM
            setsid sh -c \"trap '' TERM; echo \\$\\$; while :; do sleep 1000; done\" &
            wait";
        let child = test.spawn(sh(script).messaging(lines())).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let far: u32 = next(&mut stream).await.parse().unwrap();
        assert!(procfs::is_alive(far));
        let (report, _) = stopped(&child, LONG).await;
        assert_eq!(ending(&report), (Some(4), None, ExitCause::Stopped));
        assert!(!procfs::is_alive(far));
        assert!(report.hunted().is_some_and(|hunted| hunted >= 1));
    });
}

/// The kernel keeps what is dead for its tracer, which tells nobody.
#[test]
fn what_another_process_traces_is_told_of_and_its_end_when_that_lets_go() {
    const TRACER: &str = "
import ctypes, sys
PTRACE_SEIZE = 0x4206
refused = ctypes.CDLL(None).ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, None)
print('refused' if refused else 'seized', flush=True)
sys.stdin.read()
";
    checked(async |test| {
        let (child, _) = started(test, sh("echo here; exec sleep 1000").messaging(lines())).await;
        let pid = child.get_process_info().await.unwrap().pid().unwrap();
        let tracer = Cmd::new(programs::python3()).args(["-c", TRACER, &pid.to_string()]);
        let tracer = test.spawn(tracer.messaging(lines())).await;
        let mut said = tracer.subscribe_message_stream().await.unwrap();
        if next(&mut said).await == "refused" {
            say("NOT RUN where processes may not trace each other (ptrace_scope)");
            child.kill().within("the kill").await.unwrap();
            return;
        }
        let tracer_pid = tracer.get_process_info().await.unwrap().pid().unwrap();
        let begun = Instant::now();
        let error = child.kill().within("the kill").await.unwrap_err();
        let took = begun.elapsed();
        let KillProcessError::NotEnded { left, report, .. } = error else {
            panic!("{error}");
        };
        assert!(took < KILL_BOUND + LATE * ci_factor(), "{took:?}");
        assert_eq!((left.len(), report), (1, None));
        assert_eq!(left[0].pid(), pid);
        let reason = LeftReason::Traced { tracer: tracer_pid };
        assert_eq!(left[0].reason(), reason, "{}", left[0]);
        tracer
            .kill()
            .within("the kill of the tracer")
            .await
            .unwrap();
        let report = child.wait().within("the end").await.unwrap();
        assert_eq!(ending(&report), (None, Some(9), ExitCause::Killed));
        child.kill().within("a second kill").await.unwrap();
        let info = child.get_process_info().await.unwrap();
        assert_eq!(info.state(), ProcessState::Finished);
        assert_eq!(info.left(), []);
    });
}
