//! Payloads that are not what the stream's type asks for: one error item each, and the next message is
//! read as usual.

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Encoding, Message, MessageFormat, MessageStreamExt, Messaging, ProcessHandle,
    ReceiveDeserializedMessageError, ResultStreamExt as _, TryMessageStreamExt as _,
};
use procession_tests::{Checked, Within as _, checked, programs};
use serde::Deserialize;

#[derive(Debug, Deserialize, PartialEq)]
struct Point {
    x: i32,
    y: i32,
}

/// A child that prints these lines, with the escapes of `printf`, and ends.
async fn printing(test: &Checked, lines: &str) -> ProcessHandle {
    let child = Cmd::new(programs::bash()).args(["-c", &format!("printf '{lines}'")]);
    test.spawn(child.messaging(Messaging::standard_io().output_only()))
        .await
}

#[test]
fn invalid_utf_8_on_a_string_stream() {
    checked(async |test| {
        let child = printing(test, r"good\n\xff\xfe bad\ngr\xc3\xbcn\n").await;
        let stream = child
            .subscribe_message_stream()
            .await
            .unwrap()
            .into_string_stream();
        let items: Vec<_> = stream.collect().within("the end").await;
        assert_eq!(items[0].as_deref().unwrap(), "good");
        assert!(
            matches!(
                items[1],
                Err(ReceiveDeserializedMessageError::CannotDeserializeMessage(_))
            ),
            "{items:?}",
        );
        assert_eq!(items[2].as_deref().unwrap(), "grün");
        assert_eq!(items.len(), 3);
    });
}

#[test]
fn malformed_json_on_a_typed_stream() {
    checked(async |test| {
        let lines = r#"{"x":1,"y":2}\n{"x":1,\n{"x":"no"}\n\n{"x":3,"y":4}\n"#;
        let child = printing(test, lines).await;
        let stream = child.subscribe_message_stream().await.unwrap();
        let stream = stream.into_deserialized_stream::<Point>(&MessageFormat::Json);
        let items: Vec<_> = stream.collect().within("the end").await;
        assert_eq!(items.len(), 5);
        assert_eq!(items[0], Ok(Point { x: 1, y: 2 }));
        for bad in &items[1..4] {
            let Err(ReceiveDeserializedMessageError::CannotDeserializeMessage(why)) = bad else {
                panic!("unexpected: {bad:?}");
            };
            assert!(
                why.to_lowercase().contains("json"),
                "it says which format: {why}"
            );
        }
        assert_eq!(items[4], Ok(Point { x: 3, y: 4 }));
    });
}

#[test]
fn malformed_message_pack_on_a_typed_stream() {
    checked(async |test| {
        let child = printing(test, r"2a\nzz\nc1\n07\n").await;
        let hex = MessageFormat::MessagePack(Encoding::Hex);
        let stream = child.subscribe_message_stream().await.unwrap();
        let items: Vec<_> = stream
            .into_deserialized_stream::<i64>(&hex)
            .collect()
            .within("the end")
            .await;
        assert_eq!(items.len(), 4);
        assert_eq!(items[0], Ok(0x2a));
        for bad in &items[1..3] {
            assert!(
                matches!(
                    bad,
                    Err(ReceiveDeserializedMessageError::CannotDeserializeMessage(_))
                ),
                "{bad:?}",
            );
        }
        assert_eq!(items[3], Ok(7));
    });
}

#[test]
fn losses_are_items_of_typed_streams_too() {
    checked(async |test| {
        use procession_manager::Overflow;
        let messaging = Messaging::standard_io().output_only().buffer(2);
        let child = Cmd::new(programs::sh()).args(["-c", "seq 1 10"]);
        let child = child.messaging(messaging.overflow(Overflow::DropOldest));
        let child = test.spawn(child).await;
        child.wait().within("the exit").await.unwrap();
        let stream = child.subscribe_message_stream().await.unwrap();
        let items: Vec<_> = stream
            .into_deserialized_stream::<u8>(&MessageFormat::Json)
            .collect()
            .within("the end")
            .await;
        assert_eq!(
            items,
            [
                Err(ReceiveDeserializedMessageError::LostMessages(8)),
                Ok(9),
                Ok(10)
            ],
        );
    });
}

#[test]
fn the_adapters_convert_and_filter() {
    checked(async |test| {
        let child = printing(test, r"1\n\xff\n2\n").await;
        let stream = child.subscribe_message_stream().await.unwrap();
        let good: Vec<u8> = stream
            .ignore_lost_messages()
            .into_deserialized_stream::<u8>(&MessageFormat::Json)
            .filter_ok()
            .collect()
            .within("the end")
            .await;
        assert_eq!(good, [1, 2]);

        let child = printing(test, r"1\n\xff\n2\n").await;
        let stream = child.subscribe_message_stream().await.unwrap();
        let bytes: Vec<_> = stream
            .into_bytes_stream()
            .filter_ok()
            .collect()
            .within("the end")
            .await;
        assert_eq!(bytes, [b"1".as_slice(), b"\xff", b"2"]);

        let messages = futures::stream::iter([Message::from("ü"), Message::from(vec![0xff])]);
        let strings: Vec<_> = messages.clone().into_string_stream().collect().await;
        assert_eq!(strings[0].as_deref(), Ok("ü"));
        assert!(strings[1].is_err());
        let bytes: Vec<_> = MessageStreamExt::into_bytes_stream(messages)
            .collect()
            .await;
        assert_eq!(bytes[1], [0xff].as_slice());
    });
}
