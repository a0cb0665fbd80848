//! Table `formats`.

use procession_wire::{Message, MessageFormat, SerdeError};
use serde_json::Value;

use crate::document::{Vector, hex};

/// Whether the vector is for a format that is compiled in.
pub(crate) fn check(vector: &Vector) -> bool {
    vector.has_only(&["format", "write", "value", "text", "hex", "error"]);
    let Some(format) = format(vector.require("format")) else {
        return false;
    };
    let payload = match (vector.get("text"), vector.get("hex")) {
        (Some(text), None) => Message::from(text),
        (None, Some(digits)) => Message::from(hex(digits)),
        _ => panic!("text or hex: {vector}"),
    };
    match payload.deserialize::<Value>(&format) {
        Ok(value) => {
            let expected: Value = serde_json::from_str(vector.require("value"))
                .unwrap_or_else(|error| panic!("{error}: {vector}"));
            assert_eq!(value, expected, "{vector}");
            assert_eq!(vector.get("error"), None, "{vector}");
            if vector.is_written() {
                let written = Message::from_serializable(&value, &format);
                assert_eq!(written, Ok(payload), "{vector}");
            }
        }
        Err(error) => {
            let kind = match &error {
                SerdeError::DeserializationFailure(named, reason) => {
                    assert_eq!(*named, format, "{vector}");
                    assert!(!reason.is_empty(), "{vector}");
                    "deserialization"
                }
                #[cfg(feature = "message-pack")]
                SerdeError::DecodingFailure(named, reason) => {
                    assert_eq!(MessageFormat::MessagePack(*named), format, "{vector}");
                    assert!(!reason.is_empty(), "{vector}");
                    "decoding"
                }
                other => panic!("{other:?}: {vector}"),
            };
            assert_eq!(Some(kind), vector.get("error"), "{error}: {vector}");
        }
    }
    true
}

/// `None` where its feature is off.
#[cfg_attr(
    all(feature = "json", feature = "message-pack"),
    expect(
        clippy::unnecessary_wraps,
        reason = "with both features on there is always a format"
    )
)]
fn format(name: &str) -> Option<MessageFormat> {
    #[cfg(feature = "message-pack")]
    use procession_wire::Encoding;
    match name {
        #[cfg(not(feature = "json"))]
        "json" => None,
        #[cfg(feature = "json")]
        "json" => Some(MessageFormat::Json),
        #[cfg(not(feature = "message-pack"))]
        "message-pack raw" | "message-pack base64" | "message-pack hex" => None,
        #[cfg(feature = "message-pack")]
        "message-pack raw" => Some(MessageFormat::MessagePack(Encoding::Raw)),
        #[cfg(feature = "message-pack")]
        "message-pack base64" => Some(MessageFormat::MessagePack(Encoding::Base64)),
        #[cfg(feature = "message-pack")]
        "message-pack hex" => Some(MessageFormat::MessagePack(Encoding::Hex)),
        _ => panic!("unknown format {name:?}"),
    }
}
