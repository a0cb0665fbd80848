//! Messages are parts of what was read: decoding small ones costs no allocation each.

mod reader;

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use procession_wire::{
    Frame, FrameDecoder, LineDecoder, Message, buffer::READ_BUFFER, line::encode_line,
};

use self::reader::{Decoder, Reader};

const LIMIT: usize = 1024;
const PAYLOAD: &[u8] = &[b'x'; 64];
/// Many times what one read brings.
const COUNT: usize = 100_000;
/// Of messages to an allocation, at the least.
const SHARE: u64 = 100;

fn frames(count: usize) -> BytesMut {
    let mut stream = BytesMut::new();
    let frame = Frame::Message(Bytes::from_static(PAYLOAD));
    for _ in 0..count {
        frame.encode(LIMIT, &mut stream).expect("it fits");
    }
    stream
}

fn lines(count: usize) -> BytesMut {
    let mut stream = BytesMut::new();
    for _ in 0..count {
        encode_line(PAYLOAD, LIMIT, &mut stream).expect("it fits");
    }
    stream
}

/// Allocations while all of the stream is read and each message is looked at; `hold` of them are kept.
fn allocations(decoder: impl Decoder, stream: &[u8], hold: usize) -> u64 {
    let mut reader = Reader::new(decoder);
    let mut held = std::collections::VecDeque::with_capacity(hold + 1);
    let counted = measure(|| {
        let count = reader.read(stream, |message: Message| {
            assert_eq!(message.as_bytes(), PAYLOAD);
            held.push_back(message);
            if held.len() > hold {
                held.pop_front();
            }
        });
        assert_eq!(count, COUNT);
    });
    counted.count_total
}

fn assert_few(counted: u64) {
    let most = COUNT as u64 / SHARE;
    assert!(
        counted <= most,
        "{counted} allocations for {COUNT} messages"
    );
    // Who counts nothing finds nothing: each read has a buffer of its own.
    assert!(counted > 0, "nothing was counted");
}

#[test]
fn frames_cost_at_most_one_allocation_in_a_hundred() {
    let stream = frames(COUNT);
    assert_few(allocations(FrameDecoder::new(LIMIT), &stream, 0));
}

#[test]
fn frames_cost_no_more_while_earlier_ones_are_held() {
    let stream = frames(COUNT);
    assert_few(allocations(FrameDecoder::new(LIMIT), &stream, 5000));
}

#[test]
fn lines_cost_at_most_one_allocation_in_a_hundred() {
    let stream = lines(COUNT);
    assert_few(allocations(LineDecoder::new(LIMIT), &stream, 5000));
}

#[test]
fn owned_frames_cost_no_more_either() {
    let in_one_read = READ_BUFFER / (PAYLOAD.len() + 5);
    let mut buffer = frames(in_one_read);
    let mut decoder = FrameDecoder::new(LIMIT);
    let counted = measure(|| {
        for _ in 0..in_one_read {
            let frame = decoder.decode(&mut buffer).expect("frames");
            assert_eq!(frame.expect("a whole one").payload(), PAYLOAD);
        }
    });
    let counted = counted.count_total;
    let most = in_one_read as u64 / SHARE;
    assert!(counted <= most, "{counted} for {in_one_read} messages");
}
