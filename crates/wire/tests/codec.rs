//! The codecs, over streams as `tokio-util` drives them.
#![cfg(feature = "codec")]

use bytes::BytesMut;
use procession_wire::{
    EncodeError, Features, Frame, FrameError, Hello, LineTooLong,
    codec::{CodecError, FrameCodec, LineCodec},
};
use tokio_util::codec::{Decoder, Encoder};

#[test]
fn lines_go_on_after_one_that_is_too_long() {
    let mut codec = LineCodec::new(4);
    let mut buffer = BytesMut::from("abcd\nabcdefgh\nij\nkl");
    let mut lines = Vec::new();
    while let Some(line) = codec
        .decode(&mut buffer)
        .expect("lines know no fatal error")
    {
        lines.push(line);
    }
    while let Some(line) = codec
        .decode_eof(&mut buffer)
        .expect("lines know no fatal error")
    {
        lines.push(line);
    }
    let too_long = LineTooLong { limit: 4 };
    assert_eq!(
        lines,
        [
            Ok("abcd".into()),
            Err(too_long),
            Ok("ij".into()),
            Ok("kl".into())
        ]
    );
}

#[test]
fn the_end_of_lines_gives_whole_lines_before_the_last() {
    let mut codec = LineCodec::new(4);
    let mut buffer = BytesMut::from("a\nb");
    assert_eq!(
        codec.decode_eof(&mut buffer).expect("a line"),
        Some(Ok("a".into()))
    );
    assert_eq!(
        codec.decode_eof(&mut buffer).expect("a line"),
        Some(Ok("b".into()))
    );
    assert_eq!(codec.decode_eof(&mut buffer).expect("the end"), None);
}

#[test]
fn a_line_that_cannot_be_sent_leaves_the_codec_usable() {
    let (mut codec, mut out) = (LineCodec::new(4), BytesMut::new());
    let error = codec.encode("a\nb", &mut out).unwrap_err();
    assert!(matches!(
        error,
        CodecError::Encode(EncodeError::EmbeddedNewline { at: 1 })
    ));
    let error = codec.encode(vec![0; 5], &mut out).unwrap_err();
    assert!(matches!(
        error,
        CodecError::Encode(EncodeError::TooLarge { len: 5, limit: 4 })
    ));
    codec.encode(b"ok".as_slice(), &mut out).expect("a line");
    assert_eq!(out, "ok\n");
}

#[test]
fn frames_come_out_after_hello() {
    let (mut codec, mut wire) = (
        FrameCodec::new(64).expecting_hello(5),
        BytesMut::from("junk\n"),
    );
    let hello = Frame::Hello(Hello::new(Features::NONE, 1));
    codec.encode(&hello, &mut wire).expect("a frame");
    codec.encode(Frame::Stop, &mut wire).expect("a frame");
    assert_eq!(codec.decode(&mut wire).expect("a frame"), Some(hello));
    assert_eq!(
        codec.decode_eof(&mut wire).expect("a frame"),
        Some(Frame::Stop)
    );
    assert_eq!(codec.decode_eof(&mut wire).expect("the end"), None);
}

#[test]
fn lost_framing_ends_the_stream_of_frames() {
    let mut codec = FrameCodec::new(64);
    let error = codec
        .decode(&mut BytesMut::from("GET / HTTP/1.1"))
        .unwrap_err();
    assert!(
        matches!(error, CodecError::Frame(FrameError::UnknownKind(b'/'))),
        "{error}"
    );

    let error = FrameCodec::new(64)
        .decode_eof(&mut BytesMut::from("\0\0\0\x01\0"))
        .unwrap_err();
    assert!(
        matches!(
            error,
            CodecError::Frame(FrameError::Truncated {
                have: 5,
                missing: 1
            })
        ),
        "{error}"
    );
    let error = FrameCodec::new(4)
        .encode(Frame::Message("abcde".into()), &mut BytesMut::new())
        .unwrap_err();
    assert!(matches!(
        error,
        CodecError::Encode(EncodeError::TooLarge { len: 5, limit: 4 })
    ));
}
