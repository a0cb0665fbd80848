//! Table `lines`.

use bytes::BytesMut;
use data_encoding::HEXLOWER;
use procession_wire::{LineDecoder, LineTooLong, line::encode_line};

use crate::document::{Vector, hex};

pub(crate) fn check(vector: &Vector) {
    vector.has_only(&["hex", "limit", "write", "line", "too-long"]);
    let stream = hex(vector.require("hex"));
    let expected: Vec<(&str, &str)> = vector
        .steps()
        .filter(|(key, _)| ["line", "too-long"].contains(key))
        .collect();
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        check_decoding(vector, &expected, &[first, second]);
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    check_decoding(vector, &expected, &bytes);

    if vector.is_written() {
        let mut out = BytesMut::new();
        for line in vector.all("line") {
            encode_line(&hex(line), vector.limit(), &mut out).expect("a line within the limit");
        }
        assert_eq!(out[..], stream[..], "written: {vector}");
    }
}

fn check_decoding(vector: &Vector, expected: &[(&str, &str)], reads: &[&[u8]]) {
    let mut decoder = LineDecoder::new(vector.limit());
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for read in reads {
        buffer.extend_from_slice(read);
        while let Some(line) = decoder.decode(&mut buffer) {
            found.push(line);
        }
    }
    found.extend(decoder.finish(&mut buffer).map(Ok));
    let found: Vec<(&str, String)> = found
        .into_iter()
        .map(|line| match line {
            Ok(line) => ("line", HEXLOWER.encode(&line)),
            Err(LineTooLong { limit, .. }) => {
                assert_eq!(limit, vector.limit());
                ("too-long", String::new())
            }
        })
        .collect();
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(key, line)| (*key, line.as_str()))
        .collect();
    assert_eq!(found, expected, "{vector} in reads {reads:02x?}");
}
