//! Frames out of bytes.
//!
//! ```text
//!   expecting_hello                          parse: Ok
//!  ┌───────────────┐    hello, major 1   ┌────────────────┐──┐
//!  │ Hello         ├────────────────────►│ Frames         │◄─┘
//!  │ skip, scanned │                     │ (new)          │
//!  └───────┬───────┘                     └───────┬────────┘
//!          └───────────► Lost(error) ◄───────────┘
//!                        the same error for ever
//! ```

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Frame, FrameHead, HEADER_LEN, Hello,
    hello::{HELLO_LEN, Resemblance, resembles_hello},
    kind,
};
use crate::{FrameError, MAX_MESSAGE_LIMIT, PROTOCOL_VERSION};

/// How much of what is not a hello an error shows.
const SHOWN: usize = 16;

/// Cuts a stream into frames. Holds no bytes itself: the caller owns the buffer.
///
/// ```
/// use procession_wire::{FrameDecoder, FrameHead};
///
/// let mut decoder = FrameDecoder::new(1024);
/// let received = b"\0\0\0\x02\0hi\0\0\0";
/// let frame = decoder.parse(received)?.unwrap();
/// assert_eq!(frame.head, FrameHead::Message);
/// assert_eq!(&received[frame.payload], b"hi");
/// assert_eq!(decoder.parse(&received[frame.end..])?, None); // more must be read
/// # Ok::<(), procession_wire::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    limit: usize,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Frames,
    /// Nothing before `scanned` is the start of a hello.
    Hello {
        skip: usize,
        scanned: usize,
    },
    Lost(FrameError),
}

/// A frame found in the bytes given to [`FrameDecoder::parse`]; positions are within those.
///
/// ```
/// use procession_wire::{FrameDecoder, FrameHead};
///
/// let received = b"\0\0\0\x0a\x02\0\0\0\0\0\0\0\x0742";
/// let frame = FrameDecoder::new(1024).parse(received)?.unwrap();
/// assert_eq!(frame.head, FrameHead::Reply { id: 7 });
/// assert_eq!((frame.start, frame.payload, frame.end), (0, 13..15, 15));
/// # Ok::<(), procession_wire::FrameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParsedFrame {
    /// Everything but the payload.
    pub head: FrameHead,
    /// Where the frame begins: 0, unless something came before hello and is skipped.
    pub start: usize,
    /// Where the payload is: up to `end`, and empty for a kind that has none.
    pub payload: Range<usize>,
    /// How many bytes to consume.
    pub end: usize,
}

impl FrameDecoder {
    /// A decoder of frames with at most `limit` bytes of payload (never more than
    /// [`MAX_MESSAGE_LIMIT`]).
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.min(MAX_MESSAGE_LIMIT),
            state: State::Frames,
        }
    }

    /// From now on the first frame must be a hello of our major version, with at most `skip_junk`
    /// bytes of anything before it.
    ///
    /// ```
    /// use procession_wire::{Features, FrameDecoder, FrameHead, Hello};
    ///
    /// let mut decoder = FrameDecoder::new(1024).expecting_hello(100);
    /// let hello = FrameHead::Hello(Hello::new(Features::CREDIT, 1));
    /// let received = [b"Welcome to node 7\n", &hello.prefix(0)[..]].concat();
    /// let frame = decoder.parse(&received)?.unwrap();
    /// assert_eq!(frame.head, hello);
    /// assert_eq!(&received[..frame.start], b"Welcome to node 7\n");
    /// # Ok::<(), procession_wire::FrameError>(())
    /// ```
    pub fn expecting_hello(mut self, skip_junk: usize) -> Self {
        self.state = State::Hello {
            skip: skip_junk,
            scanned: 0,
        };
        self
    }

    /// Looks for a frame at the start of the bytes received and not yet consumed; `None` if more
    /// must be read. What one call did not consume must be the start of what the next is given.
    ///
    /// # Errors
    ///
    /// [`FrameError`] as soon as the bytes cannot be frames, often before the frame at fault is
    /// complete. From then on every call returns that error.
    #[inline]
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Option<ParsedFrame>, FrameError> {
        if let State::Frames = self.state
            && let Some(&[l0, l1, l2, l3, kind::MESSAGE]) = bytes.first_chunk()
        {
            let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            if len <= self.limit && len <= bytes.len() - HEADER_LEN {
                let end = HEADER_LEN + len;
                let head = FrameHead::Message;
                return Ok(Some(ParsedFrame {
                    head,
                    start: 0,
                    payload: HEADER_LEN..end,
                    end,
                }));
            }
        }
        self.parse_any(bytes)
    }

    /// How many bytes the frame at hand still lacks, as far as known, and at least 1: a hint for
    /// the next read (see [`next_read`](crate::buffer::next_read)).
    pub fn needed(&self, bytes: &[u8]) -> usize {
        let frame = match &self.state {
            State::Hello { scanned, .. } => bytes.get(*scanned..).unwrap_or_default(),
            State::Frames | State::Lost(_) => bytes,
        };
        frame_len(frame).saturating_sub(frame.len()).max(1)
    }

    /// Takes the next frame off `buffer` in its owned form; the payload shares the buffer's bytes.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Self::parse).
    #[inline]
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(frame) = self.parse(buffer)? else {
            return Ok(None);
        };
        buffer.advance(frame.payload.start);
        let payload = buffer.split_to(frame.payload.len()).freeze();
        Ok(Some(Frame::from_parts(frame.head, payload)))
    }

    /// Judges the end of the stream; `rest` is what was never consumed.
    ///
    /// # Errors
    ///
    /// [`FrameError::Truncated`] if the stream ended inside a frame, [`FrameError::NoHello`] if it
    /// ended before the hello that was expected, or the error that [`parse`](Self::parse) gave.
    pub fn finish(&self, rest: &[u8]) -> Result<(), FrameError> {
        match &self.state {
            State::Lost(error) => Err(error.clone()),
            State::Hello { .. } => Err(FrameError::NoHello),
            State::Frames if rest.is_empty() => Ok(()),
            State::Frames => Err(FrameError::Truncated {
                have: rest.len(),
                missing: self.needed(rest),
            }),
        }
    }

    fn parse_any(&mut self, bytes: &[u8]) -> Result<Option<ParsedFrame>, FrameError> {
        let parsed = match &mut self.state {
            State::Frames => parse_frame(bytes, self.limit),
            State::Hello { skip, scanned } => {
                let parsed = parse_hello(bytes, *skip, scanned);
                if let Ok(Some(_)) = parsed {
                    self.state = State::Frames;
                }
                parsed
            }
            State::Lost(error) => return Err(error.clone()),
        };
        if let Err(error) = &parsed {
            self.state = State::Lost(error.clone());
        }
        parsed
    }
}

/// Length of the frame that begins here, as far as known.
fn frame_len(bytes: &[u8]) -> usize {
    match bytes.first_chunk() {
        Some(&[l0, l1, l2, l3]) => {
            HEADER_LEN.saturating_add(u32::from_be_bytes([l0, l1, l2, l3]) as usize)
        }
        None => HEADER_LEN,
    }
}

fn parse_frame(bytes: &[u8], limit: usize) -> Result<Option<ParsedFrame>, FrameError> {
    let Some(&kind) = bytes.get(HEADER_LEN - 1) else {
        return Ok(None);
    };
    let end = frame_len(bytes);
    let len = end - HEADER_LEN;
    let least = kind::fixed_len(kind).ok_or(FrameError::UnknownKind(kind))?;
    if len < least {
        return Err(FrameError::BodyTooShort { kind, len, least });
    }
    let limit = if kind == kind::HELLO {
        super::MAX_HELLO_LEN - HELLO_LEN
    } else {
        limit
    };
    if len - least > limit {
        return Err(FrameError::TooLarge {
            len: len - least,
            limit,
        });
    }
    let Some(body) = bytes.get(HEADER_LEN..end) else {
        return Ok(None);
    };
    let head = parse_head(kind, body)?;
    let payload = if head.has_payload() {
        HEADER_LEN + least..end
    } else {
        end..end
    };
    Ok(Some(ParsedFrame {
        head,
        start: 0,
        payload,
        end,
    }))
}

/// The head of a frame whose body is known to have room for its fixed fields.
fn parse_head(kind: u8, body: &[u8]) -> Result<FrameHead, FrameError> {
    Ok(match kind {
        kind::MESSAGE => FrameHead::Message,
        kind::REQUEST => FrameHead::Request { id: u64_at(body) },
        kind::REPLY => FrameHead::Reply { id: u64_at(body) },
        kind::FAILURE => FrameHead::Failure { id: u64_at(body) },
        kind::CANCEL => FrameHead::Cancel { id: u64_at(body) },
        kind::ITEM => FrameHead::Item { id: u64_at(body) },
        kind::CREDIT => FrameHead::Credit {
            lane: u64_at(body),
            bytes: u32::from_be_bytes(fixed(&body[8..])),
        },
        kind::HELLO => FrameHead::Hello(checked_hello(body)?),
        kind::READY => FrameHead::Ready,
        kind::STOP => FrameHead::Stop,
        kind::PING => FrameHead::Ping(u64_at(body)),
        kind::PONG => FrameHead::Pong(u64_at(body)),
        kind::BYE => FrameHead::Bye {
            status: i32::from_be_bytes(fixed(body)),
        },
        kind::EXTENSION.. => FrameHead::Extension { kind },
        _ => return Err(FrameError::UnknownKind(kind)),
    })
}

fn checked_hello(body: &[u8]) -> Result<Hello, FrameError> {
    let hello = Hello::from_fields(&fixed(body)).ok_or_else(|| not_hello(body))?;
    if u16::from(hello.major()) != PROTOCOL_VERSION >> 8 {
        return Err(FrameError::UnsupportedVersion(hello.version));
    }
    Ok(hello)
}

/// Looks for a hello that begins within the first `skip` bytes or right after them.
fn parse_hello(
    bytes: &[u8],
    skip: usize,
    scanned: &mut usize,
) -> Result<Option<ParsedFrame>, FrameError> {
    while *scanned <= skip {
        let start = *scanned;
        let rest = bytes.get(start..).unwrap_or_default();
        match resembles_hello(rest) {
            Resemblance::No => *scanned += 1,
            Resemblance::SoFar => return Ok(None),
            Resemblance::Yes => {
                let end = start + frame_len(rest);
                let Some(body) = bytes.get(start + HEADER_LEN..end) else {
                    return Ok(None);
                };
                let head = FrameHead::Hello(checked_hello(body)?);
                return Ok(Some(ParsedFrame {
                    head,
                    start,
                    payload: end..end,
                    end,
                }));
            }
        }
    }
    Err(not_hello(bytes))
}

fn not_hello(bytes: &[u8]) -> FrameError {
    FrameError::NotHello {
        first: Bytes::copy_from_slice(&bytes[..bytes.len().min(SHOWN)]),
    }
}

fn u64_at(body: &[u8]) -> u64 {
    u64::from_be_bytes(fixed(body))
}

/// The first `N` bytes, which the caller knows to be there.
fn fixed<const N: usize>(body: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&body[..N]);
    field
}
