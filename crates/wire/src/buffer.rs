//! How much room to make before the next read.
//!
//! A length field is a claim by the other side. Room is given for what was received, not for what
//! was claimed: a buffer grows by one read buffer at first, then doubles as bytes really arrive,
//! and never by more than [`MAX_READ_BUFFER`] at a time.

use bytes::{Buf, BytesMut};

/// The usual size of one read, in bytes: the capacity of a Linux pipe (`man 7 pipe`).
pub const READ_BUFFER: usize = 64 * 1024;

/// The most room that one read is given, in bytes.
pub const MAX_READ_BUFFER: usize = 1024 * 1024;

/// Bytes that a buffer may begin later than its memory does, so that a read goes to a better address.
const LEAD: usize = 64;

/// Makes room for a read of `room` bytes, and at most [`MAX_READ_BUFFER`], behind what `buffer`
/// holds, at an address to which the kernel copies fast.
///
/// A page of a pipe is copied from its start, and some processors copy to an address that lies 1 to
/// 31 bytes past a page boundary two times slower than to any other (measured on AMD Zen 3: 1.0
/// against 2.4 GB/s). The C library puts every large allocation 16 bytes past one. So a large read that
/// would go there goes 64 bytes further.
///
/// ```
/// use bytes::BytesMut;
/// use procession_wire::buffer::{READ_BUFFER, reserve_for_read};
///
/// let mut buffer = BytesMut::from("part of a frame");
/// reserve_for_read(&mut buffer, READ_BUFFER);
/// assert_eq!(buffer, "part of a frame");
/// assert!(buffer.capacity() - buffer.len() >= READ_BUFFER);
/// let place = (buffer.as_ptr().addr() + buffer.len()) % 4096;
/// assert!(!(1..32).contains(&place));
/// ```
pub fn reserve_for_read(buffer: &mut BytesMut, room: usize) {
    if room < READ_BUFFER {
        buffer.reserve(room);
        return;
    }
    buffer.reserve(room.min(MAX_READ_BUFFER) + LEAD);
    let place = (buffer.as_ptr().addr() + buffer.len()) % 4096;
    if (1..32).contains(&place) {
        let len = buffer.len();
        buffer.resize(len + LEAD, 0);
        buffer.copy_within(..len, LEAD);
        buffer.advance(LEAD);
    }
}

/// The room to reserve for the next read, in bytes.
///
/// `buffered` is what has been received and not yet consumed; `missing` is what the frame at hand
/// still lacks ([`FrameDecoder::needed`](crate::FrameDecoder::needed)).
///
/// ```
/// use procession_wire::buffer::{READ_BUFFER, next_read};
///
/// // Somebody claims four gigabytes, and has sent five bytes of them.
/// assert_eq!(next_read(5, u32::MAX as usize), READ_BUFFER);
/// // The last third of a message of 300 kB fits into one read.
/// assert_eq!(next_read(200_000, 100_000), 100_000);
/// ```
pub fn next_read(buffered: usize, missing: usize) -> usize {
    missing.clamp(READ_BUFFER, buffered.clamp(READ_BUFFER, MAX_READ_BUFFER))
}
