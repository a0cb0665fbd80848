//! Text that a child or another user chose goes through the `Display` of each type that shows it.

use std::fmt::{Debug, Display};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use procession_wire::escape::is_hidden;

use crate::error::*;
use crate::group::*;
use crate::pool::*;
use crate::supervision::{GraphError, MemberState};
use crate::*;

/// A title for the terminal, a line of a log, a turn of the writing direction, and a colour in C1.
const HOSTILE: &str = "\x1b]0;owned\x07\r\n2026-01-01 ERROR fake\u{202e}\u{200b}\u{9b}31m\u{feff}";

/// More of it than anybody wants to read.
fn hostile() -> String {
    HOSTILE.repeat(20_000)
}

fn other() -> io::Error {
    io::Error::other(hostile())
}

fn report() -> ExitReport {
    ExitReport {
        status: None,
        cause: ExitCause::ByItself,
        run_time: Duration::ZERO,
        usage: None,
        output: OutputState::Complete,
        hunted: None,
        left: Vec::new(),
    }
}

fn last_lines() -> LastLines {
    LastLines(vec![hostile(), HOSTILE.to_owned()])
}

fn request_name() -> RequestName {
    RequestName {
        number: 1,
        label: Some(hostile().into()),
    }
}

fn check_shown(what: &dyn Display) {
    let text = what.to_string();
    // Lines of our own are marked.
    let unmarked = text.replace("\n  | ", " ");
    let hidden: Vec<char> = unmarked.chars().filter(|c| is_hidden(*c)).collect();
    assert!(hidden.is_empty(), "{hidden:?}: {unmarked:.500}");
    assert!(text.len() < 64 * 1024, "{} bytes: {text:.500}", text.len());
    assert!(text.contains(r"\u{1b}]0;owned\u{7}\r"), "{text:.500}");
}

fn check_debug(what: &dyn Debug) {
    for text in [format!("{what:?}"), format!("{what:#?}")] {
        let hidden = |c: char| is_hidden(c) && c != '\n';
        assert!(!text.contains(hidden), "{text:.500}");
        assert!(!text.contains("\n2026"), "{text:.500}");
        assert!(text.len() < 8 * 1024, "{} bytes: {text:.500}", text.len());
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn nothing_that_others_chose_is_shown_as_it_is() {
    let id = ProcessId::random();
    let why = hostile;
    let path = || why().into();
    let stream = LogStream::Stdout;
    let boxed = || Box::new(RequestError::Failed(why()));
    let shown: Vec<Box<dyn Display>> = vec![
        // Errors of verbs.
        Box::new(SpawnProcessError::InvalidConfiguration {
            program: why(),
            source: ConfigurationError::EmptyProgram,
        }),
        Box::new(SpawnProcessError::InvalidConfiguration {
            program: "p".into(),
            source: ConfigurationError::NulByte { what: why() },
        }),
        Box::new(ConfigurationError::InvalidVariableName { name: why().into() }),
        Box::new(ConfigurationError::NeverReady {
            readiness: why(),
            remedy: why(),
        }),
        Box::new(SpawnProcessError::CannotCreateProcessWorkingDir {
            path: path(),
            source: other(),
        }),
        Box::new(SpawnProcessError::CannotCreateNamedPipe {
            path: path(),
            source: other(),
        }),
        Box::new(SpawnProcessError::BootstrapProcessFailed(why())),
        Box::new(SpawnProcessError::CannotSpawnProcess {
            program: why(),
            source: other(),
        }),
        Box::new(SpawnProcessError::ResourceLimit {
            program: why(),
            limit: why(),
            source: other(),
        }),
        Box::new(WriteMessageError::CannotSerializeMessage(why())),
        Box::new(WriteMessageError::IoError(other())),
        Box::new(ReceiveMessageError::ReadFailed(why())),
        Box::new(ReceiveDeserializedMessageError::CannotDeserializeMessage(
            why(),
        )),
        Box::new(GetLogsError::LoggingTypeWasNotConfigured(why())),
        Box::new(GetLogsError::UnExpectedIoError {
            stream,
            source: other(),
        }),
        Box::new(FollowLogsError::LoggingTypeWasNotConfigured(why())),
        Box::new(FollowLogsError::IoError(other())),
        Box::new(KeepLogsError::IoError {
            path: path(),
            source: other(),
        }),
        Box::new(SignalProcessError::IoError(other())),
        Box::new(RemoveProcessError::CannotRemoveRunDirectory {
            path: path(),
            source: other(),
        }),
        Box::new(RunError::TimedOut {
            timeout: Duration::ZERO,
            output: Box::new(output()),
        }),
        Box::new(RunError::OutputLimit {
            limit: 1,
            output: Box::new(output()),
        }),
        Box::new(last_lines()),
        Box::new(RequestError::Failed(why())),
        Box::new(RequestError::ProcessExited {
            id,
            report: Box::new(report()),
            stderr: last_lines(),
        }),
        Box::new(RequestError::FramingLost {
            id,
            error: FrameError::NotHello {
                first: Bytes::from_static(b"\x1b]0;owned\x07\r\n\xff"),
            },
            stderr: last_lines(),
        }),
        Box::new(RequestError::OutputEnded {
            id,
            stderr: last_lines(),
        }),
        Box::new(RequestError::CannotSerialize(why())),
        Box::new(RequestError::CannotDeserialize(why())),
        Box::new(RequestError::IoError(other())),
        Box::new(WaitReadyError::ProcessExited {
            id,
            report: Box::new(report()),
            stderr: last_lines(),
        }),
        Box::new(WaitReadyError::StartFailed {
            id,
            reason: why(),
            stderr: last_lines(),
        }),
        // Pools.
        Box::new(StartPoolError::InvalidConfiguration {
            program: why(),
            source: ConfigurationError::EmptyProgram,
        }),
        Box::new(StartPoolError::NoFrames { program: why() }),
        Box::new(StartPoolError::Supervised { program: why() }),
        Box::new(request_name()),
        Box::new(PoolRequestError::Request(*boxed())),
        Box::new(PoolRequestError::WorkerEnded {
            request: request_name(),
            attempts: 1,
            tries: 1,
            error: boxed(),
        }),
        Box::new(PoolRequestError::NoWorkers {
            request: request_name(),
            reason: why(),
        }),
        Box::new(PoolNotReady::NoWorkers { reason: why() }),
        Box::new(PoolEvent::WorkerStartFailed {
            worker: 1,
            reason: why(),
        }),
        Box::new(PoolEvent::Poisonous {
            request: request_name(),
            workers: 1,
        }),
        Box::new(PoolEvent::Broken { reason: why() }),
        // Groups.
        Box::new(SpawnGroupError::Configuration {
            name: why(),
            error: ConfigurationError::EmptyProgram,
        }),
        Box::new(GraphError::DuplicateName { name: why() }),
        Box::new(GraphError::NeedsItself { name: why() }),
        Box::new(GraphError::UnknownName {
            node: why(),
            missing: why(),
            closest: Some(why()),
        }),
        Box::new(GraphError::Cycle { path: vec![why()] }),
        Box::new(GroupError::Failed {
            name: why(),
            why: MemberFailure::CannotStart(why()),
        }),
        Box::new(MemberFailure::Ended {
            report: Box::new(report()),
            stderr: last_lines(),
        }),
        Box::new(GroupEvent::Member {
            name: why(),
            state: MemberState::Ready,
        }),
        Box::new(GroupEvent::Failed { name: why() }),
        Box::new(GroupEvent::NotStarted {
            name: why(),
            because_of: why(),
        }),
        // Events.
        Box::new(Event::Ready { id, status: why() }),
        Box::new(Event::StatusChanged { id, status: why() }),
        Box::new(Event::Restarting {
            id,
            run: 1,
            wait: Duration::ZERO,
            report: None,
            failure: Some(why().into()),
        }),
        Box::new(Event::LogFault {
            id,
            stream,
            reason: why(),
        }),
        Box::new(Event::GuardUnavailable { reason: why() }),
    ];
    for what in &shown {
        check_shown(what);
    }
}

fn output() -> RunOutput {
    RunOutput {
        program: hostile(),
        stdout: hostile().into(),
        stderr: hostile().into(),
        report: report(),
    }
}

#[test]
fn debug_of_what_a_child_wrote_is_bounded() {
    let id = ProcessId::random();
    let stderr = last_lines;
    let output = || Box::new(output());
    let (timeout, limit) = (Duration::ZERO, 1);
    check_debug(&output());
    check_debug(&RunError::TimedOut {
        timeout,
        output: output(),
    });
    check_debug(&RunError::OutputLimit {
        limit,
        output: output(),
    });
    check_debug(&Message::from(hostile()));
    check_debug(&WriteMessageError::BufferFull(hostile().into()));
    check_debug(&LastLines(vec![hostile(); 10]));
    for error in [
        RequestError::Failed(hostile()),
        RequestError::CannotDeserialize(hostile()),
        RequestError::OutputEnded {
            id,
            stderr: stderr(),
        },
    ] {
        check_debug(&PoolRequestError::WorkerEnded {
            request: RequestName {
                number: 1,
                label: None,
            },
            attempts: 1,
            tries: 1,
            error: Box::new(error),
        });
    }
    let error = WaitReadyError::ProcessExited {
        id,
        report: Box::new(report()),
        stderr: stderr(),
    };
    check_debug(&error);
    let exact = format!("{:?}", RequestError::Failed("no".into()));
    assert_eq!(exact, r#"Failed("no")"#);
}
