//! The framings as `tokio-util` codecs, for `Framed`, `FramedRead` and `FramedWrite`.
//!
//! A bad *payload* is an item; an error ends the stream, because framing is lost.

use std::{fmt, io};

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::{EncodeError, Frame, FrameDecoder, FrameError, LineDecoder, LineTooLong, line};

/// Lines: any `AsRef<[u8]>` in, `Result<Bytes, LineTooLong>` out.
///
/// ```
/// use bytes::BytesMut;
/// use procession_wire::codec::LineCodec;
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let (mut codec, mut wire) = (LineCodec::new(1024), BytesMut::new());
/// codec.encode("hello", &mut wire)?;
/// assert_eq!(codec.decode(&mut wire)?.unwrap()?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LineCodec {
    limit: usize,
    decoder: LineDecoder,
}

impl LineCodec {
    /// A codec of lines with at most `limit` bytes of payload.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            decoder: LineDecoder::new(limit),
        }
    }
}

impl Decoder for LineCodec {
    type Item = Result<Bytes, LineTooLong>;
    type Error = CodecError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Self::Item>, CodecError> {
        Ok(self.decoder.decode(buffer))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Self::Item>, CodecError> {
        let line = self.decoder.decode(buffer);
        Ok(line.or_else(|| self.decoder.finish(buffer).map(Ok)))
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for LineCodec {
    type Error = CodecError;

    fn encode(&mut self, payload: T, out: &mut BytesMut) -> Result<(), CodecError> {
        Ok(line::encode_line(payload.as_ref(), self.limit, out)?)
    }
}

/// Frames, both ways.
///
/// ```
/// use bytes::BytesMut;
/// use procession_wire::{Frame, codec::FrameCodec};
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let (mut codec, mut wire) = (FrameCodec::new(1024), BytesMut::new());
/// codec.encode(&Frame::Ping(1), &mut wire)?;
/// assert_eq!(codec.decode(&mut wire)?, Some(Frame::Ping(1)));
/// # Ok::<(), procession_wire::codec::CodecError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FrameCodec {
    limit: usize,
    decoder: FrameDecoder,
}

impl FrameCodec {
    /// A codec of frames with at most `limit` bytes of payload.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            decoder: FrameDecoder::new(limit),
        }
    }

    /// As [`FrameDecoder::expecting_hello`].
    pub fn expecting_hello(mut self, skip_junk: usize) -> Self {
        self.decoder = self.decoder.expecting_hello(skip_junk);
        self
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = CodecError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        Ok(self.decoder.decode(buffer)?)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        let frame = self.decoder.decode(buffer)?;
        if frame.is_none() {
            self.decoder.finish(buffer)?;
        }
        Ok(frame)
    }
}

impl Encoder<&Frame> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), CodecError> {
        Ok(frame.encode(self.limit, out)?)
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), CodecError> {
        self.encode(&frame, out)
    }
}

/// What ends a `Framed` stream, or refuses what is sent into it.
///
/// ```
/// use bytes::BytesMut;
/// use procession_wire::{FrameError, codec::{CodecError, FrameCodec}};
/// use tokio_util::codec::Decoder;
///
/// let error = FrameCodec::new(1024).decode(&mut BytesMut::from("Hello")).unwrap_err();
/// assert!(matches!(error, CodecError::Frame(FrameError::UnknownKind(b'o'))));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CodecError {
    /// Reading or writing failed.
    Io(io::Error),
    /// This cannot be sent. Nothing was written, and more can be sent.
    Encode(EncodeError),
    /// What was received is not frames.
    Frame(FrameError),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Encode(error) => error.fmt(f),
            Self::Frame(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => error.source(),
            Self::Encode(_) | Self::Frame(_) => None,
        }
    }
}

impl From<io::Error> for CodecError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<EncodeError> for CodecError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<FrameError> for CodecError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}
