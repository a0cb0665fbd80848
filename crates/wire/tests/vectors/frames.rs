//! Table `frames`, and the notation of frames that `conversation` uses too.

use bytes::{Bytes, BytesMut};
use procession_wire::{Features, Frame, FrameDecoder, FrameError, Hello};

use crate::document::{Vector, hex, number};

pub(crate) fn check(vector: &Vector) {
    vector.has_only(&["hex", "limit", "hello", "write", "frame", "error"]);
    let stream = hex(vector.require("hex"));
    let frames: Vec<Frame> = vector.all("frame").map(frame).collect();
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        check_decoding(vector, &frames, &[first, second]);
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    check_decoding(vector, &frames, &bytes);

    if vector.is_written() {
        let mut out = BytesMut::new();
        for frame in &frames {
            frame
                .encode(vector.limit(), &mut out)
                .expect("a frame within the limit");
        }
        assert_eq!(out[..], stream[..], "written: {vector}");
    }
}

fn check_decoding(vector: &Vector, frames: &[Frame], reads: &[&[u8]]) {
    let mut decoder = FrameDecoder::new(vector.limit());
    if let Some(skip) = vector.get("hello") {
        decoder = decoder.expecting_hello(number(skip));
    }
    let (mut buffer, mut decoded, mut error) = (BytesMut::new(), Vec::new(), None);
    for read in reads {
        buffer.extend_from_slice(read);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => decoded.push(frame),
                Ok(None) => break,
                Err(found) => {
                    let first = error.get_or_insert_with(|| found.clone());
                    assert_eq!(*first, found, "an error stays: {vector}");
                    break;
                }
            }
        }
    }
    match decoder.finish(&buffer) {
        Ok(()) => assert_eq!(error, None, "{vector}"),
        Err(last) => {
            assert!(
                error.as_ref().is_none_or(|error| *error == last),
                "{vector}"
            );
            error = Some(last);
        }
    }
    assert_eq!(decoded, frames, "{vector} in reads {reads:02x?}");
    match (error, vector.get("error")) {
        (None, None) => {}
        (Some(error), Some(expected)) => assert_error(vector, &error, expected),
        (error, expected) => panic!("{error:?} where {expected:?} was expected: {vector}"),
    }
}

/// How much of a stream that is no hello an error shows depends on how the stream is cut.
fn assert_error(vector: &Vector, error: &FrameError, expected: &str) {
    let described = describe(error);
    match (
        described.strip_prefix("not-hello first="),
        expected.strip_prefix("not-hello first="),
    ) {
        (Some(some), Some(all)) => assert!(all.starts_with(some), "{described}: {vector}"),
        _ => assert_eq!(described, expected, "{vector}"),
    }
}

fn describe(error: &FrameError) -> String {
    match error {
        FrameError::TooLarge { len, limit } => format!("too-large len={len} limit={limit}"),
        FrameError::UnknownKind(kind) => format!("unknown-kind kind={kind}"),
        FrameError::BodyTooShort { kind, len, least } => {
            format!("body-too-short kind={kind} len={len} least={least}")
        }
        FrameError::NotHello { first } => format!("not-hello first={first:x}"),
        FrameError::UnsupportedVersion(version) => format!("unsupported-version version={version}"),
        FrameError::NoHello => "no-hello".to_owned(),
        FrameError::Truncated { have, missing } => {
            format!("truncated have={have} missing={missing}")
        }
        other => panic!("the page does not know {other:?}"),
    }
}

/// The frame that a line such as `request id=7 payload=6869` stands for.
pub(crate) fn frame(line: &str) -> Frame {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut fields = Fields(rest.split_whitespace().collect());
    let frame = match kind {
        "message" => Frame::Message(fields.payload()),
        "request" => Frame::Request {
            id: fields.number("id"),
            payload: fields.payload(),
        },
        "reply" => Frame::Reply {
            id: fields.number("id"),
            payload: fields.payload(),
        },
        "failure" => Frame::Failure {
            id: fields.number("id"),
            text: fields.text(),
        },
        "cancel" => Frame::Cancel {
            id: fields.number("id"),
        },
        "item" => Frame::Item {
            id: fields.number("id"),
            payload: fields.payload(),
        },
        "credit" => Frame::Credit {
            lane: fields.number("lane"),
            bytes: fields.number("bytes"),
        },
        "hello" => Frame::Hello(Hello {
            version: fields.number("version"),
            features: Features::from_bits(fields.number("features")),
            pid: fields.number("pid"),
        }),
        "ready" => Frame::Ready(fields.text()),
        "stop" => Frame::Stop,
        "ping" => Frame::Ping(fields.number("number")),
        "pong" => Frame::Pong(fields.number("number")),
        "bye" => Frame::Bye {
            status: fields.number("status"),
        },
        "extension" => Frame::Extension {
            kind: fields.number("kind"),
            payload: fields.payload(),
        },
        _ => panic!("unknown frame {line:?}"),
    };
    assert!(fields.0.is_empty(), "unknown fields in {line:?}");
    frame
}

struct Fields<'a>(Vec<&'a str>);

impl Fields<'_> {
    fn take(&mut self, name: &str) -> &str {
        assert!(!self.0.is_empty(), "no field {name}");
        let field = self.0.remove(0);
        let value = field
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='));
        value.unwrap_or_else(|| panic!("{field:?} where {name} was expected"))
    }

    fn number<N: std::str::FromStr>(&mut self, name: &str) -> N {
        number(self.take(name))
    }

    fn payload(&mut self) -> Bytes {
        hex(self.take("payload")).into()
    }

    fn text(&mut self) -> String {
        String::from_utf8(hex(self.take("payload"))).expect("UTF-8 in the page")
    }
}
