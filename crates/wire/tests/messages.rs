//! `Message`: conversions, and what shares bytes with what.

use bytes::{Bytes, BytesMut};
use procession_wire::Message;

#[test]
fn everything_becomes_a_message() {
    let messages = [
        Message::from(b"abc".to_vec()),
        Message::from(&b"abc"[..]),
        Message::from(b"abc"),
        Message::from(*b"abc"),
        Message::from("abc".to_owned()),
        Message::from("abc"),
        Message::from(Bytes::from_static(b"abc")),
        Message::from(BytesMut::from("abc")),
        Message::from_bytes(vec![b'a', b'b', b'c']),
        Message::from_string("abc"),
        Message::from_static(b"abc"),
    ];
    for message in messages {
        assert_eq!(message, "abc");
        assert_eq!(message, *"abc");
        assert_eq!(message, *b"abc".as_slice());
        assert_eq!(message, b"abc".as_slice());
        assert_eq!(message.as_bytes(), b"abc");
        assert_eq!(message.as_ref(), b"abc");
        assert_eq!(message.len(), 3);
        assert!(!message.is_empty());
        assert_ne!(message, "abd");
    }
}

#[test]
fn a_message_becomes_everything() {
    let message = Message::from("abc");
    assert_eq!(Vec::from(message.clone()), b"abc");
    assert_eq!(Bytes::from(message.clone()), "abc");
    assert_eq!(message.clone().into_bytes(), "abc");
    assert_eq!(message.as_str(), Ok("abc"));
    assert_eq!(message.clone().try_into_string(), Ok("abc".to_owned()));
    assert_eq!(String::try_from(message), Ok("abc".to_owned()));
}

#[test]
fn an_empty_message_is_the_default() {
    assert!(Message::default().is_empty());
    assert_eq!(Message::new(), Message::default());
    assert_eq!(Message::new(), "");
}

#[test]
fn what_is_not_utf8_is_told_and_kept() {
    let message = Message::from(b"ab\xff");
    assert_eq!(message.as_str().unwrap_err().valid_up_to(), 2);
    assert_eq!(
        message.clone().try_into_string().unwrap_err().into_bytes(),
        b"ab\xff"
    );
    assert!(String::try_from(message).is_err());
}

#[test]
fn clones_and_slices_share_and_detached_copies_do_not() {
    let message = Message::from(vec![7; 1000]);
    let at = message.as_bytes().as_ptr();
    assert_eq!(message.clone().as_bytes().as_ptr(), at);
    assert_eq!(message.slice(0..10).as_bytes().as_ptr(), at);
    assert_eq!(message.slice(990..).len(), 10);
    let detached = message.detach();
    assert_eq!(detached, message);
    assert_ne!(detached.as_bytes().as_ptr(), at);
}

#[test]
fn owned_bytes_and_text_are_taken_over_without_a_copy() {
    let bytes = vec![7; 1000];
    let at = bytes.as_ptr();
    let message = Message::from(bytes);
    assert_eq!(message.as_bytes().as_ptr(), at);
    let back = Vec::from(message);
    assert_eq!(back.as_ptr(), at);

    let text = "x".repeat(1000);
    let at = text.as_ptr();
    let message = Message::from_string(text);
    assert_eq!(message.as_bytes().as_ptr(), at);
    let back = message.try_into_string().expect("text");
    assert_eq!(back.as_ptr(), at);
}

#[test]
fn debug_shows_the_beginning_escaped_and_the_length() {
    assert_eq!(
        format!("{:?}", Message::from(b"a\n\"\xff")),
        r#"Message("a\n\"\xff", 4 bytes)"#
    );
    let preview = "y".repeat(64);
    let exact = format!("{:?}", Message::from(preview.as_str()));
    assert_eq!(exact, format!("Message(\"{preview}\", 64 bytes)"));
    let long = format!("{:?}", Message::from("y".repeat(65)));
    assert_eq!(long, format!("Message(\"{preview}\"..., 65 bytes)"));
}

#[test]
fn messages_are_ordered_and_hashed_by_their_bytes() {
    let (a, b) = (Message::from("a"), Message::from("b"));
    assert!(a < b);
    let set = std::collections::HashSet::from([a, Message::from_static(b"a")]);
    assert_eq!(set.len(), 1);
}
