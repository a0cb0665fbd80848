//! Lines are what `split` says, less what is over the limit, however they are cut.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use procession_wire::{LineDecoder, LineTooLong};

// The limit; the length of a piece; the stream.
fuzz_target!(|input: &[u8]| {
    let [limit, cut, stream @ ..] = input else {
        return;
    };
    let (limit, cut) = (usize::from(*limit), *cut);
    let mut decoder = LineDecoder::new(limit);
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for read in stream.chunks(usize::from(cut).max(1)) {
        buffer.extend_from_slice(read);
        while let Some(line) = decoder.decode(&mut buffer) {
            found.push(line);
        }
        assert!(buffer.len() <= limit);
    }
    found.extend(decoder.finish(&mut buffer).map(Ok));

    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let expected: Vec<Result<Bytes, LineTooLong>> = lines
        .into_iter()
        .map(|line| match line.len() {
            len if len <= limit => Ok(Bytes::copy_from_slice(line)),
            _ => Err(LineTooLong { limit }),
        })
        .collect();
    assert_eq!(found, expected);
});
