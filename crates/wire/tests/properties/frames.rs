//! Frames: whole, once, in order, however they are cut.

use bytes::BytesMut;
use procession_wire::{Frame, FrameDecoder, FrameError};
use proptest::{collection::vec, prelude::*};

use crate::strategy::{LIMIT, cut, frame, hello, reads};

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        frame
            .encode(LIMIT, &mut out)
            .expect("a frame within the limit");
    }
    out
}

/// What comes out of a stream read in these pieces, and how it ends.
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

/// The kind and fields of an error, without the bytes of which the stream's cuts decide how many
/// there are.
fn whatever_the_cut(error: FrameError) -> FrameError {
    match error {
        FrameError::NotHello { .. } => FrameError::NotHello {
            first: [].as_slice().into(),
        },
        other => other,
    }
}

proptest! {
    #[test]
    fn frames_arrive_whole_and_in_order(
        frames in vec(frame(), 0..20),
        reads in reads(),
    ) {
        let stream = encoded(&frames);
        let (found, end) = decoded(FrameDecoder::new(LIMIT), cut(&stream, &reads));
        prop_assert_eq!(found, frames);
        prop_assert_eq!(end, Ok(()));
    }

    #[test]
    fn a_stream_may_be_cut_in_two_at_any_place(frames in vec(frame(), 1..4)) {
        let stream = encoded(&frames);
        for at in 0..=stream.len() {
            let (found, end) =
                decoded(FrameDecoder::new(LIMIT), [&stream[..at], &stream[at..]]);
            prop_assert_eq!((&found, end), (&frames, Ok(())), "cut at {}", at);
        }
    }

    #[test]
    fn a_stream_that_ends_early_gives_what_was_whole(
        frames in vec(frame(), 1..6),
        reads in reads(),
        end in any::<prop::sample::Index>(),
    ) {
        let stream = encoded(&frames);
        let len = end.index(stream.len() + 1);
        let (found, end) = decoded(FrameDecoder::new(LIMIT), cut(&stream[..len], &reads));
        prop_assert_eq!(&found[..], &frames[..found.len()]);
        let whole = encoded(&found).len();
        if whole == len {
            prop_assert_eq!(end, Ok(()));
        } else {
            let Err(FrameError::Truncated { have, missing }) = end else {
                return Err(TestCaseError::fail(format!("{end:?}")));
            };
            prop_assert_eq!(have, len - whole);
            let next = encoded(&frames[found.len()..=found.len()]).len();
            let known = if have < 4 { 5 } else { next };
            prop_assert_eq!(missing, (known - have).max(1));
        }
    }

    #[test]
    fn bytes_of_any_kind_are_frames_or_one_error(
        stream in vec(prop_oneof![3 => Just(0), 1 => any::<u8>()], 0..200),
        reads in reads(),
        skip in prop::option::of(0..100_usize),
    ) {
        let mut decoder = FrameDecoder::new(LIMIT);
        if let Some(skip) = skip {
            decoder = decoder.expecting_hello(skip);
        }
        let (whole, whole_end) = decoded(decoder.clone(), [&stream[..]]);
        let (found, end) = decoded(decoder, cut(&stream, &reads));
        prop_assert_eq!(found, whole);
        prop_assert_eq!(end.map_err(whatever_the_cut), whole_end.map_err(whatever_the_cut));
    }

    #[test]
    fn after_an_error_nothing_is_believed(
        frames in vec(frame(), 0..4),
        kind in (0x16..0x80_u8),
        after in vec(frame(), 0..4),
        reads in reads(),
    ) {
        let mut stream = encoded(&frames);
        stream.extend_from_slice(&[0, 0, 0, 0, kind]);
        stream.extend_from_slice(&encoded(&after));
        let mut decoder = FrameDecoder::new(LIMIT);
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        let mut lost = false;
        for read in cut(&stream, &reads) {
            buffer.extend_from_slice(read);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(frame)) => found.push(frame),
                    Ok(None) => { prop_assert!(!lost); break }
                    Err(error) => {
                        prop_assert_eq!(error, FrameError::UnknownKind(kind));
                        lost = true;
                        break;
                    }
                }
            }
        }
        prop_assert!(lost);
        prop_assert_eq!(found, frames);
        prop_assert_eq!(decoder.parse(b"\0\0\0\0\0"), Err(FrameError::UnknownKind(kind)));
        prop_assert_eq!(decoder.finish(b""), Err(FrameError::UnknownKind(kind)));
    }

    #[test]
    fn hello_is_found_behind_junk_that_is_allowed(
        // Junk that can be taken for the beginning of a hello, and is none.
        junk in vec(prop_oneof![Just(0), Just(0x14), Just(0x10), Just(b'p'), any::<u8>()], 0..60),
        hello in hello(),
        more in 0..20_usize,
        less in any::<prop::sample::Index>(),
        frames in vec(frame(), 0..4),
        reads in reads(),
    ) {
        let first = encoded(std::slice::from_ref(&hello));
        let stream = [&junk[..], &first[..], &encoded(&frames)[..]].concat();

        let decoder = FrameDecoder::new(LIMIT).expecting_hello(junk.len() + more);
        let (found, end) = decoded(decoder, cut(&stream, &reads));
        prop_assert_eq!(&found[0], &hello);
        prop_assert_eq!(&found[1..], &frames[..]);
        prop_assert_eq!(end, Ok(()));

        if !junk.is_empty() {
            let decoder = FrameDecoder::new(LIMIT).expecting_hello(less.index(junk.len()));
            let (found, end) = decoded(decoder, cut(&stream, &reads));
            prop_assert_eq!(found, []);
            prop_assert!(matches!(end, Err(FrameError::NotHello { .. })), "{:?}", end);
        }
    }

    #[test]
    fn a_failure_can_always_be_sent(text in any::<String>(), limit in 0..20_usize) {
        let failure = Frame::failure(1, text.clone(), limit);
        prop_assert_eq!(failure.encode(limit, &mut BytesMut::new()), Ok(()));
        let Frame::Failure { text: cut, .. } = failure else { unreachable!() };
        prop_assert!(text.starts_with(&cut));
        prop_assert!(cut == text || cut.len() + 4 > limit, "{} of {}", cut.len(), limit);
    }

    #[test]
    fn the_start_says_how_much_was_junk(junk in vec(1..=u8::MAX, 0..60), hello in hello()) {
        let stream = [&junk[..], &encoded(&[hello])[..]].concat();
        let mut decoder = FrameDecoder::new(LIMIT).expecting_hello(60);
        let frame = decoder.parse(&stream)?.expect("a whole hello");
        prop_assert_eq!(frame.start, junk.len());
        prop_assert_eq!(frame.end, stream.len());
    }

    #[test]
    fn needed_is_what_is_missing_or_less(frame in frame(), cut in any::<prop::sample::Index>()) {
        let stream = encoded(&[frame]);
        let have = cut.index(stream.len());
        let mut decoder = FrameDecoder::new(LIMIT);
        prop_assert_eq!(decoder.parse(&stream[..have]), Ok(None));
        let needed = decoder.needed(&stream[..have]);
        prop_assert!((1..=stream.len() - have).contains(&needed), "{} of {}", needed, have);
        if have >= 4 {
            prop_assert_eq!(needed, stream.len() - have);
        }
        prop_assert_eq!(decoder.needed(&stream), 1, "a whole frame still leads to a read");
    }

    #[test]
    fn needed_looks_behind_the_junk(junk in vec(1..=u8::MAX, 0..60), hello in hello()) {
        let stream = [&junk[..], &encoded(&[hello])[..]].concat();
        for have in junk.len() + 4..stream.len() {
            let mut decoder = FrameDecoder::new(LIMIT).expecting_hello(60);
            prop_assert_eq!(decoder.parse(&stream[..have]), Ok(None));
            prop_assert_eq!(decoder.needed(&stream[..have]), stream.len() - have);
        }
    }
}
