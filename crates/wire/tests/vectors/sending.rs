//! Table `send`.

use bytes::BytesMut;
use procession_wire::{EncodeError, Frame, line::encode_line};

use crate::document::{Vector, hex};

pub(crate) fn check(vector: &Vector) {
    vector.has_only(&["framing", "limit", "payload", "hex", "error"]);
    let payload = hex(vector.require("payload"));
    let before = b"what is there already";
    let mut out = BytesMut::from(&before[..]);
    let result = match vector.require("framing") {
        "lines" => encode_line(&payload, vector.limit(), &mut out),
        "frames" => Frame::Message(payload.into()).encode(vector.limit(), &mut out),
        other => panic!("unknown framing {other:?}: {vector}"),
    };
    let (old, written) = out.split_at(before.len());
    assert_eq!(old, before, "{vector}");
    match result {
        Ok(()) => {
            assert_eq!(written, hex(vector.require("hex")), "{vector}");
            assert_eq!(vector.get("error"), None, "{vector}");
        }
        Err(error) => {
            assert_eq!(vector.require("error"), describe(&error), "{vector}");
            assert!(written.is_empty(), "{vector}");
        }
    }
}

fn describe(error: &EncodeError) -> String {
    match error {
        EncodeError::TooLarge { len, limit } => format!("too-large len={len} limit={limit}"),
        EncodeError::EmbeddedNewline { at } => format!("embedded-newline at={at}"),
        other => panic!("the page does not know {other:?}"),
    }
}
