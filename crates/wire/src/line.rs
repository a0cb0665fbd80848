//! `Framing::Lines`: one message a line.
//!
//! `\n` ends a line, every other byte is payload, `\r` included. An empty line is an empty message,
//! and so is a last line without `\n` if it has any bytes. A line over the limit is reported once
//! and skipped to its end; the next line is read as usual.
//!
//! ```text
//!                        no \n, within the limit: NeedMore
//!                        ┌────┐
//!      \n: Line        ┌─▼────┴──┐   no \n, over the limit: TooLong   ┌──────────┐ no \n: Skip
//!      \n: TooLong ┌───┤ in line ├───────────────────────────────────►│ skipping ├───┐
//!                  └──►└─────────┘◄──────────── \n: Skip ─────────────┴──────────┘◄──┘
//! ```

use std::{fmt, ops::Range};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::memchr;

use crate::EncodeError;

/// Checks that a payload can be sent as a line, with a limit in bytes.
///
/// # Errors
///
/// [`EncodeError::TooLarge`] and [`EncodeError::EmbeddedNewline`].
pub fn check_line(payload: &[u8], limit: usize) -> Result<(), EncodeError> {
    if payload.len() > limit {
        return Err(EncodeError::TooLarge {
            len: payload.len(),
            limit,
        });
    }
    match memchr(b'\n', payload) {
        Some(at) => Err(EncodeError::EmbeddedNewline { at }),
        None => Ok(()),
    }
}

/// Appends the payload as a line to `out`, or leaves `out` as it is.
///
/// ```
/// use bytes::BytesMut;
/// use procession_wire::line::encode_line;
///
/// let mut out = BytesMut::new();
/// encode_line(b"hello", 1024, &mut out)?;
/// assert_eq!(&out[..], b"hello\n");
/// # Ok::<(), procession_wire::EncodeError>(())
/// ```
///
/// # Errors
///
/// Those of [`check_line`].
pub fn encode_line(payload: &[u8], limit: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    check_line(payload, limit)?;
    out.reserve(payload.len() + 1);
    out.put_slice(payload);
    out.put_u8(b'\n');
    Ok(())
}

/// What [`LineDecoder::parse`] found at the start of the bytes.
///
/// Exhaustive on purpose: a caller that leaves out one of these steps loses its place.
///
/// ```
/// use procession_wire::{LineDecoder, LineStep};
///
/// let mut decoder = LineDecoder::new(4);
/// assert_eq!(decoder.parse(b"ab\ncd"), LineStep::Line { payload: 0..2, end: 3 });
/// assert_eq!(decoder.parse(b"cd"), LineStep::NeedMore);
/// assert_eq!(decoder.parse(b"cdefg"), LineStep::TooLong { end: 5 });
/// assert_eq!(decoder.parse(b"h\ni"), LineStep::Skip { end: 2 });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineStep {
    /// A line. `end` bytes are to be consumed.
    Line {
        /// Where the payload is, without the newline.
        payload: Range<usize>,
        /// How many bytes to consume.
        end: usize,
    },
    /// A line over the limit, reported once. `end` bytes are to be consumed; if the line goes on
    /// after them, the rest follows as [`Skip`](Self::Skip).
    TooLong {
        /// How many bytes to consume.
        end: usize,
    },
    /// More of a line that was reported as too long. `end` bytes are to be consumed.
    Skip {
        /// How many bytes to consume.
        end: usize,
    },
    /// There is no whole line yet: read more and come back with these bytes and the new ones.
    NeedMore,
}

/// Cuts a stream into lines. Holds no bytes itself.
///
/// It remembers how far it has looked for a newline, so that a long line is searched once and not
/// once a read: what one call did not consume must be the start of what the next is given.
///
/// ```
/// use bytes::BytesMut;
/// use procession_wire::LineDecoder;
///
/// let mut decoder = LineDecoder::new(1024);
/// let mut buffer = BytesMut::from("one\r\n\nthr");
/// assert_eq!(decoder.decode(&mut buffer).unwrap().unwrap(), "one\r");
/// assert_eq!(decoder.decode(&mut buffer).unwrap().unwrap(), "");
/// assert_eq!(decoder.decode(&mut buffer), None);
/// buffer.extend_from_slice(b"ee");
/// assert_eq!(decoder.finish(&mut buffer).unwrap(), "three");
/// ```
#[derive(Clone, Debug)]
pub struct LineDecoder {
    limit: usize,
    /// How many of the bytes not yet consumed are known to hold no newline.
    scanned: usize,
    skipping: bool,
}

impl LineDecoder {
    /// A decoder of lines with at most `limit` bytes of payload.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            scanned: 0,
            skipping: false,
        }
    }

    /// Looks at the bytes received and not yet consumed.
    #[inline]
    pub fn parse(&mut self, bytes: &[u8]) -> LineStep {
        if self.skipping {
            return self.skip(bytes);
        }
        let scanned = self.scanned.min(bytes.len());
        if let Some(found) = memchr(b'\n', &bytes[scanned..]) {
            let newline = scanned + found;
            self.scanned = 0;
            let end = newline + 1;
            if newline > self.limit {
                return LineStep::TooLong { end };
            }
            return LineStep::Line {
                payload: 0..newline,
                end,
            };
        }
        if bytes.len() > self.limit {
            self.scanned = 0;
            self.skipping = true;
            return LineStep::TooLong { end: bytes.len() };
        }
        self.scanned = bytes.len();
        LineStep::NeedMore
    }

    /// Takes the next line off `buffer`, without a copy; `None` if more must be read.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`], once for each line over the limit; decoding goes on with the next line.
    #[inline]
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Option<Result<Bytes, LineTooLong>> {
        loop {
            match self.parse(buffer) {
                LineStep::Line { payload, end } => {
                    let mut line = buffer.split_to(end);
                    line.truncate(payload.end);
                    return Some(Ok(line.freeze()));
                }
                LineStep::TooLong { end } => {
                    buffer.advance(end);
                    return Some(Err(LineTooLong { limit: self.limit }));
                }
                LineStep::Skip { end } => buffer.advance(end),
                LineStep::NeedMore => return None,
            }
        }
    }

    /// Takes the last line, which has no newline, at the end of the stream; `None` if there is
    /// none. To be called when [`decode`](Self::decode) has given all that it had.
    pub fn finish(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        let rest = buffer.split();
        self.scanned = 0;
        let skipped = std::mem::take(&mut self.skipping);
        (!skipped && !rest.is_empty()).then(|| rest.freeze())
    }

    #[cold]
    fn skip(&mut self, bytes: &[u8]) -> LineStep {
        match memchr(b'\n', bytes) {
            Some(newline) => {
                self.skipping = false;
                LineStep::Skip { end: newline + 1 }
            }
            None if bytes.is_empty() => LineStep::NeedMore,
            None => LineStep::Skip { end: bytes.len() },
        }
    }
}

/// A line was longer than the limit and has been skipped.
///
/// ```
/// use bytes::BytesMut;
/// use procession_wire::{LineDecoder, LineTooLong};
///
/// let mut buffer = BytesMut::from("too long\nok\n");
/// let mut decoder = LineDecoder::new(4);
/// assert_eq!(decoder.decode(&mut buffer), Some(Err(LineTooLong { limit: 4 })));
/// assert_eq!(decoder.decode(&mut buffer), Some(Ok("ok".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineTooLong {
    /// The limit, in bytes.
    pub limit: usize,
}

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a line was longer than the message limit of {} bytes and was skipped: raise the limit, \
             or check that the writer ends its lines",
            self.limit
        )
    }
}

impl std::error::Error for LineTooLong {}
