//! Values through messages, in every format that is compiled in.
#![cfg(any(feature = "json", feature = "message-pack"))]

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER};
use procession_wire::{Message, MessageFormat};
use proptest::{collection, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    lines: Vec<Line>,
    state: State,
    notes: BTreeMap<String, Option<i64>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    article: String,
    count: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum State {
    New,
    Paid { cents: u64 },
    Sent(String),
}

fn order() -> impl Strategy<Value = Order> {
    let line = (any::<String>(), any::<i32>()).prop_map(|(article, count)| Line { article, count });
    let state = prop_oneof![
        Just(State::New),
        any::<u64>().prop_map(|cents| State::Paid { cents }),
        any::<String>().prop_map(State::Sent),
    ];
    let notes = collection::btree_map(any::<String>(), any::<Option<i64>>(), 0..5);
    (
        any::<u64>(),
        any::<String>(),
        collection::vec(line, 0..5),
        state,
        notes,
    )
        .prop_map(|(id, customer, lines, state, notes)| Order {
            id,
            customer,
            lines,
            state,
            notes,
        })
}

/// Every format, and whether it may hold newlines.
fn formats() -> Vec<(MessageFormat, bool)> {
    #[cfg(feature = "message-pack")]
    use procession_wire::Encoding;
    vec![
        #[cfg(feature = "json")]
        (MessageFormat::Json, false),
        #[cfg(feature = "message-pack")]
        (MessageFormat::MessagePack(Encoding::Raw), true),
        #[cfg(feature = "message-pack")]
        (MessageFormat::MessagePack(Encoding::Base64), false),
        #[cfg(feature = "message-pack")]
        (MessageFormat::MessagePack(Encoding::Hex), false),
    ]
}

proptest! {
    #[test]
    fn values_come_back(order in order()) {
        for (format, newlines) in formats() {
            let message = Message::from_serializable(&order, &format)?;
            prop_assert_eq!(message.deserialize::<Order>(&format)?, order.clone());
            prop_assert!(newlines || !message.as_bytes().contains(&b'\n'), "{}", format);
        }
    }

    #[test]
    fn anything_cut_off_is_an_error_and_never_a_panic(
        order in order(),
        cut in any::<prop::sample::Index>(),
    ) {
        for (format, _) in formats() {
            let message = Message::from_serializable(&order, &format)?;
            let cut = message.slice(..cut.index(message.len()));
            prop_assert!(cut.deserialize::<Order>(&format).is_err());
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in collection::vec(any::<u8>(), 0..200)) {
        for (format, _) in formats() {
            let _ = Message::from(&bytes[..]).deserialize::<Order>(&format);
            let _ = Message::from(&bytes[..]).deserialize::<Value>(&format);
        }
    }
}

#[cfg(feature = "message-pack")]
#[test]
fn structs_are_written_as_maps_and_read_from_arrays_too() {
    use procession_wire::Encoding;

    let raw = MessageFormat::MessagePack(Encoding::Raw);
    let line = Line {
        article: "a".into(),
        count: 7,
    };
    let written = Message::from_serializable(&line, &raw).expect("a line");
    assert_eq!(written, b"\x82\xa7article\xa1a\xa5count\x07".as_slice());
    assert_eq!(Message::from(b"\x92\xa1a\x07").deserialize(&raw), Ok(line));
}

#[test]
fn nesting_is_read_to_127_levels() {
    for (format, _) in formats() {
        for (depth, is_read) in [(127, true), (128, false), (1_000_000, false)] {
            let nested: Message = match format.to_string().as_str() {
                "JSON" => ("[".repeat(depth) + &"]".repeat(depth)).into(),
                "MessagePack" => message_pack(depth).into(),
                "MessagePack (base64)" => BASE64.encode(&message_pack(depth)).into(),
                "MessagePack (hex)" => HEXLOWER.encode(&message_pack(depth)).into(),
                other => panic!("{other} is not tried"),
            };
            let value = nested.deserialize::<Value>(&format);
            assert_eq!(value.is_ok(), is_read, "{depth} levels of {format}");
        }
    }
}

/// Arrays of one element in each other, the innermost empty.
fn message_pack(depth: usize) -> Vec<u8> {
    let mut nested = vec![0x91; depth - 1];
    nested.push(0x90);
    nested
}
