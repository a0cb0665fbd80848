//! Any bytes are frames or one error, the same however they are cut, and what is read can be
//! written and read again.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use procession_wire::{Frame, FrameDecoder, FrameError};

/// Texts that are not UTF-8 grow when they are read.
const ROOM: usize = 3;

// The limit; what may come before hello, and 255 where none is expected; the length of a piece; the
// stream.
fuzz_target!(|input: &[u8]| {
    let [limit, skip, cut, stream @ ..] = input else {
        return;
    };
    let (limit, skip, cut) = (usize::from(*limit), *skip, *cut);
    let mut decoder = FrameDecoder::new(limit);
    if skip < 255 {
        decoder = decoder.expecting_hello(usize::from(skip));
    }
    let (frames, end) = decoded(decoder.clone(), [stream]);
    let (pieces, pieces_end) = decoded(decoder, stream.chunks(usize::from(cut).max(1)));
    assert_eq!(frames, pieces);
    assert_eq!(
        end.map_err(whatever_the_cut),
        pieces_end.map_err(whatever_the_cut)
    );

    let mut written = BytesMut::new();
    for frame in &frames {
        frame
            .encode(ROOM * limit, &mut written)
            .expect("a frame that was read can be written");
    }
    assert_eq!(
        decoded(FrameDecoder::new(ROOM * limit), [&written[..]]),
        (frames, Ok(()))
    );
});

fn decoded<'a>(
    mut decoder: FrameDecoder,
    reads: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Result<(), FrameError>) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for read in reads {
        buffer.extend_from_slice(read);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, decoder.finish(&buffer))
}

/// How much of what is no hello is shown depends on how the stream is cut.
fn whatever_the_cut(error: FrameError) -> FrameError {
    match error {
        FrameError::NotHello { .. } => FrameError::NotHello {
            first: Bytes::new(),
        },
        other => other,
    }
}
