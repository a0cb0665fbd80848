//! Children that break the protocol. Each time the subscriber gets one error item that says what was
//! wrong; frames close then, lines go on at the next newline.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fmt::{Display, Write as _};
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Event, FrameError, Framing, LogStream, Logging, LogsQuery, MessageStream, Messaging,
    Readiness, ReceiveMessageError, RequestError, Run, RunError, SpawnProcessError, WaitReadyError,
    WriteMessageError,
};
use procession_tests::{Checked, Within as _, checked, fixture, programs, workers};

/// Hello of version 1.0 with no features, by a child whose pid nobody checks.
const HELLO: &str = "hex:00000014 10 70726f63657373696f6e 0100 00000000 00000001";
/// The message `ok`.
const OK: &str = "hex:00000002 00 6f6b";

async fn child_that_writes(
    test: &Checked,
    messaging: Messaging,
    arguments: &[&str],
) -> MessageStream {
    let child = Cmd::new(fixture!("raw_frames"))
        .args(arguments)
        .messaging(messaging);
    test.spawn(child)
        .await
        .subscribe_message_stream()
        .await
        .unwrap()
}

fn frames() -> [Messaging; 2] {
    [
        Messaging::standard_io().framing(Framing::Frames),
        Messaging::named_pipes().framing(Framing::Frames),
    ]
}

/// Everything up to the end of the stream.
async fn items(stream: MessageStream) -> Vec<Result<String, ReceiveMessageError>> {
    stream
        .map(|item| item.map(|message| message.try_into_string().unwrap()))
        .collect()
        .within("the end of the stream")
        .await
}

/// What a child comes to that writes a good frame, these bytes, and a good frame that nobody believes.
async fn framing_lost(test: &Checked, messaging: Messaging, bad: &str) -> FrameError {
    let stream = child_that_writes(test, messaging, &[HELLO, OK, bad, OK]).await;
    let mut items = items(stream).await.into_iter();
    assert_eq!(items.next(), Some(Ok("ok".to_owned())));
    let Some(Err(ReceiveMessageError::FramingLost(error))) = items.next() else {
        panic!("there is no error after the first message");
    };
    assert_eq!(items.next(), None, "one error item, and the end");
    error
}

#[test]
fn an_unknown_kind() {
    checked(async |test| {
        for messaging in frames() {
            let error = framing_lost(test, messaging, "hex:00000001 77 00").await;
            assert_eq!(error, FrameError::UnknownKind(0x77));
            assert!(error.to_string().contains("0x77"), "{error}");
        }
    });
}

#[test]
fn a_body_too_short_for_its_kind() {
    checked(async |test| {
        for messaging in frames() {
            let error = framing_lost(test, messaging, "hex:00000003 06 000000").await;
            assert!(
                matches!(
                    error,
                    FrameError::BodyTooShort {
                        kind: 6,
                        len: 3,
                        ..
                    }
                ),
                "{error:?}"
            );
        }
    });
}

#[test]
fn a_length_over_the_limit() {
    checked(async |test| {
        for messaging in frames() {
            let bad = "hex:00000065 00";
            let error = framing_lost(test, messaging.message_limit(100), bad).await;
            assert!(
                matches!(
                    error,
                    FrameError::TooLarge {
                        len: 101,
                        limit: 100
                    }
                ),
                "{error:?}"
            );
        }
    });
}

#[test]
fn a_first_frame_that_is_not_hello() {
    checked(async |test| {
        for messaging in frames() {
            let stream = child_that_writes(test, messaging, &[OK, OK]).await;
            let items = items(stream).await;
            let [Err(ReceiveMessageError::FramingLost(error))] = &items[..] else {
                panic!("unexpected: {items:?}");
            };
            assert!(matches!(error, FrameError::NotHello { .. }), "{error:?}");
        }
    });
}

/// The commonest fault of all: a program that prints, where frames were agreed.
#[test]
fn text_where_hello_should_be() {
    checked(async |test| {
        for messaging in frames() {
            let text = "text:Starting up, please wait...\n";
            let stream = child_that_writes(test, messaging, &[text, HELLO]).await;
            let items = items(stream).await;
            let [Err(ReceiveMessageError::FramingLost(error))] = &items[..] else {
                panic!("unexpected: {items:?}");
            };
            assert!(matches!(error, FrameError::NotHello { .. }), "{error:?}");
            assert!(
                error.to_string().contains("Starting up"),
                "it shows what came: {error}"
            );
        }
    });
}

#[test]
fn a_launchers_junk_before_hello_is_skipped_where_that_is_allowed() {
    checked(async |test| {
        for messaging in frames() {
            let junk = "text:module loaded\nhello, world\n";
            let allowed = messaging.clone().skip_before_hello(100);
            let stream = child_that_writes(test, allowed, &[junk, HELLO, OK]).await;
            let mut stream = stream;
            assert_eq!(
                stream.next().within("the message").await.unwrap().unwrap(),
                "ok"
            );

            let too_little = messaging.skip_before_hello(5);
            let stream = child_that_writes(test, too_little, &[junk, HELLO, OK]).await;
            let items = items(stream).await;
            let [Err(ReceiveMessageError::FramingLost(FrameError::NotHello { .. }))] = &items[..]
            else {
                panic!("unexpected: {items:?}");
            };
        }
    });
}

#[test]
fn a_hello_of_another_major_version() {
    checked(async |test| {
        for messaging in frames() {
            let version_2 = HELLO.replace(" 0100 ", " 0200 ");
            let stream = child_that_writes(test, messaging, &[&version_2, OK]).await;
            let items = items(stream).await;
            assert_eq!(
                items,
                [Err(ReceiveMessageError::FramingLost(
                    FrameError::UnsupportedVersion(0x0200)
                ))],
            );
        }
    });
}

/// Another minor version, and features that nobody knows yet, are fine.
#[test]
fn a_hello_of_a_later_minor_version() {
    checked(async |test| {
        for messaging in frames() {
            let later = HELLO.replace(" 0100 00000000 ", " 0107 ffff0000 ");
            let mut stream = child_that_writes(test, messaging, &[&later, OK]).await;
            assert_eq!(
                stream.next().within("the message").await.unwrap().unwrap(),
                "ok"
            );
        }
    });
}

/// Kinds from 0x80 on are for extensions, which a receiver may skip.
#[test]
fn an_extension_is_skipped() {
    checked(async |test| {
        for messaging in frames() {
            let written = [HELLO, "hex:00000003 80 010203", OK];
            let mut stream = child_that_writes(test, messaging, &written).await;
            assert_eq!(
                stream.next().within("the message").await.unwrap().unwrap(),
                "ok"
            );
        }
    });
}

#[test]
fn a_child_that_dies_in_the_middle_of_a_frame() {
    checked(async |test| {
        for messaging in frames() {
            let written = [HELLO, OK, "hex:00000064 00 010203", "exit"];
            let stream = child_that_writes(test, messaging, &written).await;
            let mut items = items(stream).await.into_iter();
            assert_eq!(items.next(), Some(Ok("ok".to_owned())));
            let Some(Err(ReceiveMessageError::FramingLost(error))) = items.next() else {
                panic!("the half frame goes unreported");
            };
            assert!(matches!(error, FrameError::Truncated { .. }), "{error:?}");
            assert_eq!(items.next(), None);
        }
    });
}

#[test]
fn a_child_that_dies_before_hello() {
    checked(async |test| {
        for messaging in frames() {
            let child = Cmd::new(fixture!("raw_frames"))
                .arg("exit")
                .messaging(messaging);
            let child = test.spawn(child).await;
            // It would wait for hello, which never comes.
            let error = child.send_message("hello?").within("an answer").await;
            let error = error.expect_err("nobody was there to receive it");
            assert!(
                matches!(error, WriteMessageError::ProcessExited { .. }),
                "{error:?}"
            );
            let stream = child.subscribe_message_stream().await.unwrap();
            let items = items(stream).await;
            assert_eq!(
                items,
                [Err(ReceiveMessageError::FramingLost(FrameError::NoHello))]
            );
        }
    });
}

/// A parent that no longer listens must not leave the child hanging in a write.
#[test]
fn a_child_that_goes_on_writing_after_framing_was_lost_is_not_stuck() {
    checked(async |test| {
        for messaging in frames() {
            let child = Cmd::new(fixture!("raw_frames"))
                .args([HELLO, "hex:00000001 77 00", "zeros:10000000", "exit"])
                .messaging(messaging);
            let child = test.spawn(child).await;
            let stream = child.subscribe_message_stream().await.unwrap();
            assert_eq!(items(stream).await.len(), 1);
            child.wait().within("the exit").await.unwrap();
        }
    });
}

#[test]
fn a_line_over_the_limit() {
    checked(async |test| {
        for messaging in [Messaging::standard_io(), Messaging::named_pipes()] {
            let long = format!("text:{}\nafter\n", "x".repeat(101));
            let fits = format!("text:{}\n", "y".repeat(100));
            let stream =
                child_that_writes(test, messaging.message_limit(100), &[&fits, &long, "exit"])
                    .await;
            assert_eq!(
                items(stream).await,
                [
                    Ok("y".repeat(100)),
                    Err(ReceiveMessageError::MessageTooLarge { limit: 100 }),
                    Ok("after".to_owned()),
                ],
            );
        }
    });
}

#[test]
fn a_line_over_the_limit_that_never_ends() {
    checked(async |test| {
        let messaging = Messaging::standard_io().message_limit(100);
        let written = ["text:before\n", "zeros:1000000", "exit"];
        let stream = child_that_writes(test, messaging, &written).await;
        assert_eq!(
            items(stream).await,
            [
                Ok("before".to_owned()),
                Err(ReceiveMessageError::MessageTooLarge { limit: 100 }),
            ],
        );
    });
}

/// A title for the terminal, and what looks like another line of a log.
const HOSTILE: &str = "\x1b]0;owned\x07\r\nfake log line";
const SHOWN: &str = r"\u{1b}]0;owned\u{7}\r\nfake log line";

/// Checks that the text is there, and that nothing of it does anything. Lines that are ours are
/// marked.
fn assert_escaped(what: impl Display, expected: &str) {
    let text = what.to_string();
    let lines = text.replace("\n  | ", " ");
    assert!(!lines.contains(char::is_control), "{text:?}");
    assert!(text.contains(expected), "{text:?}");
}

#[test]
fn what_a_child_chose_to_say_is_shown_escaped_and_given_as_it_is() {
    checked(async |test| {
        // The text of its `ready`.
        let mut ready = format!("hex:{:08x} 11 ", HOSTILE.len());
        for byte in HOSTILE.bytes() {
            write!(ready, "{byte:02x}").unwrap();
        }
        let mut events = test.manager().events();
        let cmd = Cmd::new(fixture!("raw_frames")).args([HELLO, &ready]);
        let child = test
            .spawn(cmd.messaging(Messaging::standard_io().framing(Framing::Frames)))
            .await;
        assert_eq!(child.wait_ready().within("ready").await.unwrap(), HOSTILE);
        let event = loop {
            let event = events.next().within("ready").await.unwrap();
            if matches!(event, Event::Ready { .. }) {
                break event;
            }
        };
        assert_escaped(event, SHOWN);
        child.kill().await.unwrap();

        // The text of a failure.
        let worker = workers!().next().unwrap();
        let child = test.spawn(worker.cmd(Messaging::named_pipes())).await;
        let error = child.request(format!("fail {HOSTILE}")).within("an answer");
        let error = error.await.unwrap_err();
        assert_escaped(&error, SHOWN);
        let RequestError::Failed(text) = error else {
            panic!("{error}");
        };
        assert_eq!(text, HOSTILE);
        child.kill().await.unwrap();

        // What it says last, and its log.
        let cmd = Cmd::new(programs::bash())
            .args(["-c", r#"printf '%s\n' "$1" >&2; exit 3"#, "bash", HOSTILE])
            .logging(Logging::stderr())
            .messaging(Messaging::standard_io().framing(Framing::Frames))
            .ready_when(Readiness::Frame);
        let child = test.spawn(cmd).await;
        let error = child.wait_ready().within("the end").await.unwrap_err();
        assert_escaped(&error, "\n  | \\u{1b}]0;owned\\u{7}\n  | fake log line");
        match error {
            WaitReadyError::StartFailed { stderr, .. }
            | WaitReadyError::ProcessExited { stderr, .. } => {
                assert_eq!(stderr.lines(), ["\x1b]0;owned\x07", "fake log line"]);
            }
            other => panic!("{other}"),
        }
        let page = child.query_logs(LogStream::Stderr, LogsQuery::fetch_all());
        let page = page.within("the log").await.unwrap();
        assert_escaped(&page.lines()[0], r"\u{1b}]0;owned\u{7}");
        assert_eq!(page.lines()[0].text(), "\x1b]0;owned\x07");

        // A notification.
        let script = r#"
import os, socket, sys
out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
out.connect(os.environ["NOTIFY_SOCKET"])
out.send(b"READY=1\nSTATUS=" + b"\x1b" * 3000)
sys.stdin.readline()
"#;
        let cmd = Cmd::new(programs::python3())
            .args(["-c", script])
            .messaging(Messaging::standard_io().input_only())
            .ready_when(Readiness::Notify { watchdog: None });
        let child = test.spawn(cmd).await;
        let status = child.wait_ready().within("ready").await.unwrap();
        assert_eq!(status, "\x1b".repeat(3000));
        let (id, status) = (child.id(), status);
        assert_escaped(Event::Ready { id, status }, r"\u{1b}\u{1b}");
    });
}

#[test]
fn the_name_of_a_program_is_shown_escaped() {
    checked(async |test| {
        let error = test.manager().run(Cmd::new(HOSTILE)).within("the run");
        let error = error.await.unwrap_err();
        assert!(matches!(
            error,
            RunError::Spawn(SpawnProcessError::CannotSpawnProcess { .. })
        ));
        assert_escaped(error, SHOWN);
        let program = test.scratch().join(HOSTILE);
        std::os::unix::fs::symlink(programs::sh(), &program).unwrap();
        let forever = Cmd::new(&program).args(["-c", "echo; exec sleep 1000"]);
        let run = Run::new(forever).timeout(Duration::from_millis(50));
        let error = test.manager().run(run).within("the run").await.unwrap_err();
        assert_escaped(&error, SHOWN);
        let RunError::TimedOut { output, .. } = error else {
            panic!("{error}");
        };
        assert!(output.program().ends_with(HOSTILE));
    });
}
