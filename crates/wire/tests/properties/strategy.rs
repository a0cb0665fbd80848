//! What the properties are tried with.

use bytes::Bytes;
use procession_wire::{Features, Frame, Hello};
use proptest::{collection::vec, prelude::*};

/// The message limit in all of these tests: small, so that it is hit.
pub(crate) const LIMIT: usize = 64;

pub(crate) fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=LIMIT).prop_map(Bytes::from)
}

/// Text of at most `LIMIT` bytes: a character has up to four.
fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..=LIMIT / 4).prop_map(String::from_iter)
}

/// A frame of any kind but hello.
pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    let id = any::<u64>;
    prop_oneof![
        payload().prop_map(Frame::Message),
        (id(), payload()).prop_map(|(id, payload)| Frame::Request { id, payload }),
        (id(), payload()).prop_map(|(id, payload)| Frame::Reply { id, payload }),
        (id(), text()).prop_map(|(id, text)| Frame::Failure { id, text }),
        id().prop_map(|id| Frame::Cancel { id }),
        (id(), payload()).prop_map(|(id, payload)| Frame::Item { id, payload }),
        (id(), any::<u32>()).prop_map(|(lane, bytes)| Frame::Credit { lane, bytes }),
        text().prop_map(Frame::Ready),
        Just(Frame::Stop),
        id().prop_map(Frame::Ping),
        id().prop_map(Frame::Pong),
        any::<i32>().prop_map(|status| Frame::Bye { status }),
        (0x80..=u8::MAX, payload()).prop_map(|(kind, payload)| Frame::Extension { kind, payload }),
    ]
}

/// A hello of any minor version of ours.
pub(crate) fn hello() -> impl Strategy<Value = Frame> {
    (any::<u8>(), any::<u32>(), any::<u32>()).prop_map(|(minor, features, pid)| {
        let version = u16::from_be_bytes([1, minor]);
        Frame::Hello(Hello {
            version,
            features: Features::from_bits(features),
            pid,
        })
    })
}

/// A stream, and the lengths of the reads by which it arrives.
pub(crate) fn reads() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4_usize, 1..40_usize, 1..400_usize], 1..40)
}

/// Cuts a stream into reads of these lengths, over and over until it is all read.
pub(crate) fn cut<'a>(mut stream: &'a [u8], reads: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = reads.iter().cycle();
    std::iter::from_fn(move || {
        let len = (*lengths.next()?).min(stream.len());
        (len > 0).then(|| stream.split_off(..len)).flatten()
    })
}
