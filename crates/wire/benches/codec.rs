//! What encoding and decoding cost by themselves: `cargo bench -p procession-wire`.
//!
//! The lines below a time say how many bytes and how many messages a second that is. Times of `encode`, `prefix`
//! and `parse` are of one message; those of `read` and `decode_owned` are of what one read of 64 KiB brings,
//! or of one message where that is longer.

#[path = "../tests/reader/mod.rs"]
mod reader;

use bytes::{Bytes, BytesMut};
use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use procession_wire::{
    DEFAULT_MESSAGE_LIMIT as LIMIT, Frame, FrameDecoder, FrameHead, LineDecoder,
    buffer::READ_BUFFER, line::encode_line,
};

use reader::{Decoder, Reader};

/// Lengths of payloads, in bytes.
const SIZES: [usize; 3] = [64, 4 * 1024, 1024 * 1024];
const PAGE: usize = 4096;

fn main() {
    divan::main();
}

fn payload(size: usize) -> Bytes {
    Bytes::from(vec![b'x'; size])
}

fn frame(size: usize) -> BytesMut {
    let mut out = BytesMut::new();
    Frame::Message(payload(size))
        .encode(LIMIT, &mut out)
        .expect("it fits");
    out
}

fn line(size: usize) -> BytesMut {
    let mut out = BytesMut::new();
    encode_line(&payload(size), LIMIT, &mut out).expect("it fits");
    out
}

/// As many as there is room for in one read, one at least.
fn one_read(message: &[u8]) -> Vec<u8> {
    message.repeat((READ_BUFFER / message.len()).max(1))
}

/// A payload whose place in its page is half a page from that of `out`. Some processors copy between places that
/// are nearly the same in their pages up to fifty times slower than between others (seen on AMD Zen 3), and
/// chance would decide which it is.
fn payload_far_from(out: &BytesMut, size: usize) -> Bytes {
    let bytes = payload(size + PAGE);
    let apart = out.as_ptr().addr() + PAGE / 2 + PAGE - bytes.as_ptr().addr() % PAGE;
    bytes.slice(apart % PAGE..).slice(..size)
}

/// Encodes into a buffer that has room, as neighbours in a queue are.
fn encode(bencher: Bencher<'_, '_>, size: usize, mut encode: impl FnMut(&Bytes, &mut BytesMut)) {
    let mut out = BytesMut::with_capacity(2 * size + 64);
    let payload = payload_far_from(&out, size);
    bencher
        .counter(BytesCount::new(size))
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| {
            out.clear();
            encode(&payload, black_box(&mut out));
        });
}

/// Looks for one message in what was read; nothing is copied.
fn parse(bencher: Bencher<'_, '_>, message: &[u8], size: usize, mut decoder: impl Decoder) {
    bencher
        .counter(BytesCount::new(size))
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| decoder.message(black_box(message)));
}

/// Reads and decodes what one read brings, as the manager does; reading is one copy here.
fn read(bencher: Bencher<'_, '_>, message: &[u8], decoder: impl Decoder) {
    let pipe = one_read(message);
    let count = pipe.len() / message.len();
    let mut reader = Reader::new(decoder);
    bencher
        .counter(BytesCount::new(pipe.len()))
        .counter(ItemsCount::new(count))
        .bench_local(|| {
            let read = reader.read(black_box(&pipe), |message| {
                black_box(message);
            });
            assert_eq!(read, count);
        });
}

mod frames {
    use super::{
        Bencher, BytesCount, BytesMut, Frame, FrameDecoder, FrameHead, ItemsCount, LIMIT, SIZES,
        black_box, frame, one_read,
    };

    #[divan::bench(args = SIZES)]
    fn encode(bencher: Bencher<'_, '_>, size: usize) {
        super::encode(bencher, size, |payload, out| {
            let frame = Frame::Message(payload.clone());
            frame.encode(LIMIT, out).expect("it fits");
        });
    }

    /// What is written before a large payload, which is not copied.
    #[divan::bench]
    fn prefix(bencher: Bencher<'_, '_>) {
        bencher
            .counter(ItemsCount::new(1_usize))
            .bench_local(|| black_box(FrameHead::Message).prefix(black_box(1024 * 1024)));
    }

    #[divan::bench(args = SIZES)]
    fn parse(bencher: Bencher<'_, '_>, size: usize) {
        super::parse(bencher, &frame(size), size, FrameDecoder::new(LIMIT));
    }

    #[divan::bench(args = SIZES)]
    fn read(bencher: Bencher<'_, '_>, size: usize) {
        super::read(bencher, &frame(size), FrameDecoder::new(LIMIT));
    }

    /// The owned form, from a buffer that was read before.
    #[divan::bench(args = SIZES)]
    fn decode_owned(bencher: Bencher<'_, '_>, size: usize) {
        let message = frame(size);
        let pipe = one_read(&message);
        let count = pipe.len() / message.len();
        let mut decoder = FrameDecoder::new(LIMIT);
        bencher
            .counter(BytesCount::new(pipe.len()))
            .counter(ItemsCount::new(count))
            .with_inputs(|| BytesMut::from(&pipe[..]))
            .bench_local_refs(|buffer| {
                while let Some(frame) = decoder.decode(buffer).expect("frames") {
                    black_box(frame);
                }
            });
    }
}

mod lines {
    use super::{Bencher, LIMIT, LineDecoder, SIZES, encode_line, line};

    #[divan::bench(args = SIZES)]
    fn encode(bencher: Bencher<'_, '_>, size: usize) {
        super::encode(bencher, size, |payload, out| {
            encode_line(payload, LIMIT, out).expect("it fits");
        });
    }

    #[divan::bench(args = SIZES)]
    fn parse(bencher: Bencher<'_, '_>, size: usize) {
        super::parse(bencher, &line(size), size, LineDecoder::new(LIMIT));
    }

    #[divan::bench(args = SIZES)]
    fn read(bencher: Bencher<'_, '_>, size: usize) {
        super::read(bencher, &line(size), LineDecoder::new(LIMIT));
    }
}
