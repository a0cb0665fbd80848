//! Children that break the protocol. Each time the subscriber gets one error item that says what was
//! wrong; frames close then, lines go on at the next newline.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use futures::StreamExt as _;
use procession_manager::{
    Cmd, FrameError, Framing, MessageStream, Messaging, ReceiveMessageError, WriteMessageError,
};
use procession_tests::{Checked, Within as _, checked, fixture};

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
