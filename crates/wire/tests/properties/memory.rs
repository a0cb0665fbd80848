//! Memory follows what was received, never what was claimed.

use bytes::BytesMut;
use procession_wire::{
    Frame, FrameDecoder, FrameError,
    buffer::{MAX_READ_BUFFER, READ_BUFFER, next_read},
};
use proptest::{collection::vec, prelude::*};

/// A reader as the two sides have one, fed `available` bytes at a time. It returns the frames, the
/// end, and the largest buffer it had compared with what it may have.
fn read_all(stream: &[u8], limit: usize, available: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut decoder = FrameDecoder::new(limit);
    let (mut buffer, mut frames, mut rest) = (Vec::<u8>::new(), Vec::new(), stream);
    loop {
        let room = next_read(buffer.len(), decoder.needed(&buffer));
        let one_read = buffer.len().clamp(READ_BUFFER, MAX_READ_BUFFER);
        assert!(
            (READ_BUFFER..=one_read).contains(&room),
            "{room} for {}",
            buffer.len()
        );
        buffer.reserve_exact(room);
        // What is held is what is left of the stream's beginning: no claim is in this number.
        assert!(
            buffer.capacity() <= buffer.len() + one_read,
            "{}",
            buffer.capacity()
        );

        let Some(read) = rest.split_off(..available.min(room).min(rest.len())) else {
            break;
        };
        if read.is_empty() {
            break;
        }
        buffer.extend_from_slice(read);
        let mut consumed = 0;
        loop {
            match decoder.parse(&buffer[consumed..]) {
                Ok(Some(frame)) => {
                    let payload = &buffer[consumed..][frame.payload];
                    frames.push(Frame::from_parts(frame.head, payload.to_vec().into()));
                    consumed += frame.end;
                }
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        buffer.drain(..consumed);
        buffer.shrink_to_fit();
    }
    (frames, decoder.finish(&buffer))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_claim_costs_nothing(
        claim in any::<u32>(),
        kind in prop_oneof![Just(0x00_u8), Just(0x05), Just(0x11), Just(0x90)],
        sent in vec(any::<u8>(), 0..300),
        available in 1..100_usize,
    ) {
        let header = [&claim.to_be_bytes()[..], &[kind]].concat();
        let stream = [&header[..], &sent[..]].concat();
        let (_, end) = read_all(&stream, u32::MAX as usize, available);
        if claim as usize > sent.len() + 12 {
            prop_assert!(end.is_err());
        }
    }

    #[test]
    fn large_messages_need_few_reads_and_no_more_than_twice_their_size(
        lens in vec(0..3_000_000_usize, 1..4),
        available in prop_oneof![Just(usize::MAX), READ_BUFFER..1_000_000],
    ) {
        let mut stream = BytesMut::new();
        for len in &lens {
            Frame::Message(vec![7; *len].into()).encode(4_000_000, &mut stream).expect("it fits");
        }
        let (frames, end) = read_all(&stream, 4_000_000, available);
        prop_assert_eq!(end, Ok(()));
        let found: Vec<usize> = frames.iter().map(|frame| frame.payload().len()).collect();
        prop_assert_eq!(found, lens);
    }
}

#[test]
fn room_doubles_with_what_has_come_and_ends_at_what_is_missing() {
    let missing = 100 * MAX_READ_BUFFER;
    assert_eq!(next_read(0, 1), READ_BUFFER);
    assert_eq!(next_read(0, missing), READ_BUFFER);
    assert_eq!(next_read(READ_BUFFER, missing), READ_BUFFER);
    assert_eq!(next_read(3 * READ_BUFFER, missing), 3 * READ_BUFFER);
    assert_eq!(next_read(3 * READ_BUFFER, 2 * READ_BUFFER), 2 * READ_BUFFER);
    assert_eq!(next_read(50 * MAX_READ_BUFFER, missing), MAX_READ_BUFFER);
    assert_eq!(next_read(50 * MAX_READ_BUFFER, 1), READ_BUFFER);
}

#[test]
fn payloads_share_the_read_buffer() {
    let mut buffer = BytesMut::with_capacity(64);
    Frame::Message("hello".into())
        .encode(64, &mut buffer)
        .expect("it fits");
    let at = buffer[5..].as_ptr();
    let Ok(Some(Frame::Message(payload))) = FrameDecoder::new(64).decode(&mut buffer) else {
        panic!("no message");
    };
    assert_eq!(payload.as_ptr(), at);
}
