//! Lines: what comes out is what `split` says, less what is over the limit.

use bytes::BytesMut;
use procession_wire::{LineDecoder, LineTooLong, line::encode_line};
use proptest::{collection::vec, prelude::*};

use crate::strategy::{LIMIT, cut, reads};

/// Lines with few newlines between them, some of which are over the limit.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![1 => Just(b'\n'), 1 => Just(b'\r'), 40 => any::<u8>()],
        0..600,
    )
}

fn decoded<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> Vec<Option<Vec<u8>>> {
    let mut decoder = LineDecoder::new(LIMIT);
    let (mut buffer, mut lines) = (BytesMut::new(), Vec::new());
    for read in reads {
        buffer.extend_from_slice(read);
        while let Some(line) = decoder.decode(&mut buffer) {
            lines.push(match line {
                Ok(line) => Some(line.to_vec()),
                Err(LineTooLong { limit, .. }) => {
                    assert_eq!(limit, LIMIT);
                    None
                }
            });
        }
        assert!(buffer.len() <= LIMIT, "{} bytes are kept", buffer.len());
    }
    lines.extend(decoder.finish(&mut buffer).map(|line| Some(line.to_vec())));
    assert_eq!(decoder.finish(&mut buffer), None, "the end comes once");
    lines
}

fn expected(stream: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines
        .iter()
        .map(|line| (line.len() <= LIMIT).then(|| line.to_vec()))
        .collect()
}

proptest! {
    #[test]
    fn lines_are_cut_at_newlines_and_nowhere_else(stream in stream(), reads in reads()) {
        prop_assert_eq!(decoded(cut(&stream, &reads)), expected(&stream));
    }

    #[test]
    fn a_stream_may_be_cut_in_two_at_any_place(stream in stream()) {
        let expected = expected(&stream);
        for at in 0..=stream.len() {
            prop_assert_eq!(&decoded([&stream[..at], &stream[at..]]), &expected, "cut at {}", at);
        }
    }

    #[test]
    fn any_payload_without_a_newline_arrives(
        payloads in vec(
            vec(any::<u8>().prop_filter("newline", |byte| *byte != b'\n'), 0..=LIMIT),
            0..20,
        ),
        reads in reads(),
    ) {
        let mut stream = BytesMut::new();
        for payload in &payloads {
            encode_line(payload, LIMIT, &mut stream).expect("a line within the limit");
        }
        let expected: Vec<_> = payloads.into_iter().map(Some).collect();
        prop_assert_eq!(decoded(cut(&stream, &reads)), expected);
    }
}

#[test]
fn what_was_searched_is_not_searched_again() {
    use procession_wire::LineStep::{Line, NeedMore};

    let mut decoder = LineDecoder::new(LIMIT);
    assert_eq!(decoder.parse(b"abc"), NeedMore);
    // A caller may not change what it has not consumed; that the change is not seen shows that only
    // what is new is searched.
    assert_eq!(
        decoder.parse(b"a\ncd\n"),
        Line {
            payload: 0..4,
            end: 5
        }
    );
    assert_eq!(
        decoder.parse(b"\n"),
        Line {
            payload: 0..0,
            end: 1
        }
    );
}

#[test]
fn the_rest_of_a_line_that_is_too_long_is_no_last_line() {
    let mut decoder = LineDecoder::new(4);
    assert!(
        decoder
            .decode(&mut BytesMut::from("abcdefgh"))
            .is_some_and(|line| line.is_err())
    );
    assert_eq!(decoder.finish(&mut BytesMut::from("ij")), None);
}

#[test]
fn a_decoder_may_be_used_again_after_the_end() {
    let mut decoder = LineDecoder::new(4);
    let mut buffer = BytesMut::from("ab");
    assert_eq!(decoder.decode(&mut buffer), None);
    assert_eq!(decoder.finish(&mut buffer), Some("ab".into()));
    assert_eq!(
        decoder.decode(&mut BytesMut::from("\n")),
        Some(Ok("".into()))
    );

    assert!(
        decoder
            .decode(&mut BytesMut::from("abcdefgh"))
            .is_some_and(|line| line.is_err())
    );
    assert_eq!(decoder.finish(&mut BytesMut::new()), None);
    assert_eq!(
        decoder.decode(&mut BytesMut::from("ab\n")),
        Some(Ok("ab".into()))
    );
}
