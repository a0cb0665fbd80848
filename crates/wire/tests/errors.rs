//! Every error says what is wrong, with the numbers, and what to look at.

use bytes::Bytes;
use procession_wire::{EncodeError, FrameError, Framing, LineTooLong, ReceiveWindow};

#[track_caller]
fn assert_says(error: &dyn std::error::Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[test]
fn errors_of_sending() {
    assert_says(
        &EncodeError::TooLarge {
            len: 2048,
            limit: 1024,
        },
        &["2048 bytes", "limit is 1024", "raise the message limit"],
    );
    assert_says(
        &EncodeError::EmbeddedNewline { at: 17 },
        &["newline at byte 17", "use frames"],
    );
}

#[test]
fn errors_of_frames() {
    assert_says(
        &FrameError::TooLarge {
            len: 4_000_000_000,
            limit: 1024,
        },
        &["4000000000 bytes", "limit is 1024"],
    );
    assert_says(
        &FrameError::UnknownKind(0x6f),
        &["unknown kind 0x6f", "newer protocol"],
    );
    assert_says(
        &FrameError::BodyTooShort {
            kind: 0x06,
            len: 8,
            least: 12,
        },
        &["kind 0x06", "8 bytes", "at least 12"],
    );
    assert_says(
        &FrameError::NotHello {
            first: Bytes::from_static(b"hi\n\xff"),
        },
        &[
            r#""hi\n\xff""#,
            "must begin with a hello frame",
            "print anything",
        ],
    );
    assert_says(
        &FrameError::UnsupportedVersion(0x0203),
        &["version 2.3", "this side speaks 1.x"],
    );
    assert_says(
        &FrameError::NoHello,
        &["ended before the hello frame", "speak frames?"],
    );
    assert_says(
        &FrameError::Truncated {
            have: 7,
            missing: 3,
        },
        &["ended inside a frame", "7 bytes", "3 missing"],
    );
}

#[test]
fn errors_of_lines_framings_and_credit() {
    assert_says(
        &LineTooLong { limit: 1024 },
        &["limit of 1024 bytes", "skipped"],
    );
    let error = "frames/2".parse::<Framing>().unwrap_err();
    assert_eq!(error.text(), "frames/2");
    assert_says(&error, &["\"frames/2\"", "\"lines\" or \"frames/1\""]);
    let error = ReceiveWindow::new(10).received(36).unwrap_err();
    assert_eq!((error.balance, error.cost), (0, 100));
    assert_says(
        &error,
        &["100 bytes of credit", "balance of 0", "wait for credit"],
    );
}

#[cfg(feature = "json")]
#[test]
fn errors_of_json() {
    use procession_wire::{Message, MessageFormat, SerdeError};

    let json = MessageFormat::Json;
    let error = Message::from("[1, x")
        .deserialize::<Vec<u8>>(&json)
        .unwrap_err();
    assert!(matches!(
        error,
        SerdeError::DeserializationFailure(MessageFormat::Json, _)
    ));
    assert_says(
        &error,
        &["cannot deserialize JSON", "expected value", "column 5"],
    );

    let error = Message::from("\"a\"").deserialize::<u8>(&json).unwrap_err();
    assert_says(
        &error,
        &[
            "cannot deserialize JSON",
            "invalid type: string \"a\", expected u8",
        ],
    );

    let no_key = std::collections::HashMap::from([(vec![1_u8], 1)]);
    let error = Message::from_serializable(&no_key, &json).unwrap_err();
    assert!(matches!(
        error,
        SerdeError::SerializationFailure(MessageFormat::Json, _)
    ));
    assert_says(
        &error,
        &["cannot serialize to JSON", "key must be a string"],
    );
}

/// A value that no format can express.
#[cfg(feature = "message-pack")]
struct Impossible;

#[cfg(feature = "message-pack")]
impl serde::Serialize for Impossible {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("this cannot be said"))
    }
}

#[cfg(feature = "message-pack")]
#[test]
fn errors_of_message_pack() {
    use procession_wire::{Encoding, Message, MessageFormat, SerdeError};

    let raw = MessageFormat::MessagePack(Encoding::Raw);
    let error = Message::from(b"\x07\x07")
        .deserialize::<u8>(&raw)
        .unwrap_err();
    assert!(matches!(error, SerdeError::DeserializationFailure(format, _) if format == raw));
    assert_says(
        &error,
        &["cannot deserialize MessagePack", "more bytes follow"],
    );
    let error = Message::from(b"\xa1a").deserialize::<u8>(&raw).unwrap_err();
    assert_says(
        &error,
        &["cannot deserialize MessagePack", "marker FixStr(1)"],
    );

    let hex = MessageFormat::MessagePack(Encoding::Hex);
    let error = Message::from("8g").deserialize::<u8>(&hex).unwrap_err();
    assert!(matches!(
        error,
        SerdeError::DecodingFailure(Encoding::Hex, _)
    ));
    assert_says(&error, &["not valid hex", "invalid symbol at 1"]);
    let error = Message::from("c1").deserialize::<u8>(&hex).unwrap_err();
    assert_says(&error, &["cannot deserialize MessagePack (hex)"]);

    let base64 = MessageFormat::MessagePack(Encoding::Base64);
    let error = Message::from("kQE").deserialize::<u8>(&base64).unwrap_err();
    assert_says(&error, &["not valid base64", "invalid length at 0"]);

    let error = Message::from_serializable(&Impossible, &base64).unwrap_err();
    assert!(matches!(error, SerdeError::SerializationFailure(format, _) if format == base64));
    assert_says(
        &error,
        &[
            "cannot serialize to MessagePack (base64)",
            "this cannot be said",
        ],
    );
}

#[cfg(feature = "codec")]
#[test]
fn errors_of_codecs_are_those_within() {
    use procession_wire::codec::CodecError;

    assert_says(
        &CodecError::from(FrameError::NoHello),
        &["ended before the hello frame"],
    );
    assert_says(
        &CodecError::from(EncodeError::EmbeddedNewline { at: 1 }),
        &["newline at byte 1"],
    );
    assert_says(
        &CodecError::from(std::io::Error::other("it broke")),
        &["it broke"],
    );
}
