//! Messages that cannot be sent: the sender gets the error, and the channel goes on.

use futures::{SinkExt as _, StreamExt as _};
use procession_manager::{
    Cmd, Encoding, Framing, Message, MessageFormat, Messaging, WriteMessageError,
};
use procession_tests::{Checked, Within as _, checked, fixture};

const LIMIT: usize = 1_000;

fn channels() -> [Messaging; 4] {
    [
        Messaging::standard_io()
            .framing(Framing::Lines)
            .message_limit(LIMIT),
        Messaging::named_pipes()
            .framing(Framing::Lines)
            .message_limit(LIMIT),
        Messaging::standard_io()
            .framing(Framing::Frames)
            .message_limit(LIMIT),
        Messaging::named_pipes()
            .framing(Framing::Frames)
            .message_limit(LIMIT),
    ]
}

async fn echoes(test: &Checked, messaging: Messaging) -> procession_manager::ProcessHandle {
    test.spawn(Cmd::new(fixture!("echo")).messaging(messaging))
        .await
}

#[test]
fn a_newline_over_lines() {
    checked(async |test| {
        for messaging in channels().into_iter().take(2) {
            let child = echoes(test, messaging).await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            child.send_message("before").await.unwrap();
            let bad = "two\nlines";
            let error = child
                .send_message(bad)
                .await
                .expect_err("it holds a newline");
            assert!(
                matches!(error, WriteMessageError::EmbeddedNewline { at: 3 }),
                "{error:?}"
            );
            let error = child
                .try_send_message("\n")
                .expect_err("it holds a newline");
            assert!(
                matches!(error, WriteMessageError::EmbeddedNewline { at: 0 }),
                "{error:?}"
            );
            child.send_message("after").await.unwrap();
            for expected in ["before", "after"] {
                assert_eq!(
                    stream.next().within("the echo").await.unwrap().unwrap(),
                    expected
                );
            }
        }
    });
}

#[test]
fn a_message_over_the_limit() {
    checked(async |test| {
        for messaging in channels() {
            let child = echoes(test, messaging).await;
            let mut stream = child.subscribe_message_stream().await.unwrap();
            let largest = Message::from(vec![b'x'; LIMIT]);
            child.send_message(largest.clone()).await.unwrap();
            let too_large = Message::from(vec![b'x'; LIMIT + 1]);
            let error = child
                .send_message(too_large.clone())
                .await
                .expect_err("it is too large");
            assert!(
                matches!(
                    error,
                    WriteMessageError::TooLarge {
                        len: 1_001,
                        limit: LIMIT
                    }
                ),
                "{error:?}",
            );
            let words = error.to_string();
            assert!(words.contains("1001") && words.contains("1000"), "{words}");
            child
                .try_send_message(too_large)
                .expect_err("it is too large");
            child.send_message("after").await.unwrap();
            assert_eq!(
                stream.next().within("the echo").await.unwrap().unwrap(),
                largest
            );
            assert_eq!(
                stream.next().within("the echo").await.unwrap().unwrap(),
                "after"
            );
        }
    });
}

#[test]
fn the_limit_is_16_mebibytes_unless_configured() {
    checked(async |test| {
        let child = echoes(test, Messaging::named_pipes().framing(Framing::Frames)).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let largest = Message::from(vec![1; 16 << 20]);
        let too_large = Message::from(vec![1; (16 << 20) + 1]);
        child
            .send_message(too_large)
            .await
            .expect_err("it is too large");
        child
            .send_message(largest.clone())
            .within("room")
            .await
            .unwrap();
        let echo = stream.next().within("the echo").await.unwrap().unwrap();
        assert!(echo == largest);
    });
}

/// Bad items of a sink are its error too; the good ones around them arrive.
#[test]
fn a_bad_message_in_a_sink() {
    checked(async |test| {
        let child = echoes(test, Messaging::standard_io()).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let mut sink = child.message_sink().unwrap();
        sink.feed(Message::from("one")).await.unwrap();
        let error = sink
            .feed(Message::from("bad\n"))
            .await
            .expect_err("it holds a newline");
        assert!(
            matches!(error, WriteMessageError::EmbeddedNewline { .. }),
            "{error:?}"
        );
        sink.send(Message::from("two")).await.unwrap();
        for expected in ["one", "two"] {
            assert_eq!(
                stream.next().within("the echo").await.unwrap().unwrap(),
                expected
            );
        }
    });
}

#[test]
fn a_value_that_cannot_be_serialised() {
    checked(async |test| {
        let child = echoes(test, Messaging::standard_io()).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        // JSON has no maps with such keys.
        let map = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error =
            Message::from_serializable(&map, &MessageFormat::Json).expect_err("no such key");
        assert!(error.to_string().to_lowercase().contains("json"), "{error}");
        let error = WriteMessageError::from(error);
        assert!(
            matches!(error, WriteMessageError::CannotSerializeMessage(_)),
            "{error:?}"
        );
        child.send_message("after").await.unwrap();
        assert_eq!(
            stream.next().within("the echo").await.unwrap().unwrap(),
            "after"
        );
    });
}

/// MessagePack as it is may hold newlines; in hexadecimal or Base64 it passes through lines.
#[test]
fn message_pack_over_lines_needs_an_encoding() {
    checked(async |test| {
        let child = echoes(test, Messaging::standard_io()).await;
        let raw = MessageFormat::MessagePack(Encoding::Raw);
        let message = Message::from_serializable(&10_u8, &raw).unwrap();
        assert_eq!(message, [b'\n'].as_slice());
        child
            .send_message(message)
            .await
            .expect_err("it is a newline");
        let hex = MessageFormat::MessagePack(Encoding::Hex);
        child
            .send_message(Message::from_serializable(&10_u8, &hex).unwrap())
            .await
            .unwrap();
        let mut stream = child.subscribe_message_stream().await.unwrap();
        let echo = stream.next().within("the echo").await.unwrap().unwrap();
        assert_eq!(echo.deserialize::<u8>(&hex).unwrap(), 10);
    });
}
