//! How much room to make before the next read.
//!
//! A length field is a claim by the other side. Room is given for what was received, not for what
//! was claimed: a buffer grows by one read buffer at first, then doubles as bytes really arrive,
//! and never by more than [`MAX_READ_BUFFER`] at a time.

/// The usual size of one read, in bytes: the capacity of a Linux pipe (`man 7 pipe`).
pub const READ_BUFFER: usize = 64 * 1024;

/// The most room that one read is given, in bytes.
pub const MAX_READ_BUFFER: usize = 1024 * 1024;

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
