//! [`InputBuffer`]: what was read and not yet decoded.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use procession_wire::buffer::{MAX_READ_BUFFER, next_read, reserve_for_read};

/// Less room than this is not worth a read.
const LEAST_ROOM: usize = 8 * 1024;

/// A buffer that has grown past this is given back once it is empty.
const KEPT: usize = 4 * MAX_READ_BUFFER;

/// A growing buffer that payloads are cut from without copying.
///
/// ```text
///  ┌──────────────┬───────────────┬ ─ ─ ─ ─ ─ ┐
///  │   received   │ zeroed: room  │  capacity
///  └──────────────┴───────────────┴ ─ ─ ─ ─ ─ ┘
///  0           filled         bytes.len()
/// ```
///
/// The room is zeroed once and then read into piece by piece, so that a small read costs no clearing
/// of a large buffer.
#[derive(Debug, Default)]
pub(crate) struct InputBuffer {
    bytes: BytesMut,
    filled: usize,
    grown: bool,
}

impl InputBuffer {
    /// What has been received and not been taken.
    #[inline]
    pub(crate) fn received(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Where the next read goes; `missing` bytes of the frame at hand are known to come. Never more
    /// than was received plus one read buffer, whatever `missing` claims.
    pub(crate) fn room(&mut self, missing: usize) -> &mut [u8] {
        if self.filled == 0 && self.grown {
            *self = Self::default();
        }
        let wanted = next_read(self.filled, missing);
        if self.bytes.len() - self.filled < missing.clamp(LEAST_ROOM, wanted) {
            if self.bytes.capacity() - self.filled < wanted {
                self.bytes.truncate(self.filled);
                reserve_for_read(&mut self.bytes, wanted);
            }
            self.bytes.resize(self.filled + wanted, 0);
            self.grown |= self.bytes.len() > KEPT;
        }
        &mut self.bytes[self.filled..]
    }

    /// `len` bytes were read into the room.
    pub(crate) fn fill(&mut self, len: usize) {
        debug_assert!(len <= self.bytes.len() - self.filled, "more than the room");
        self.filled += len;
    }

    /// Cuts off the first `end` bytes and gives the `payload` inside them, which shares the memory.
    #[inline]
    pub(crate) fn take(&mut self, payload: Range<usize>, end: usize) -> Bytes {
        if payload.is_empty() {
            self.skip(end);
            return Bytes::new();
        }
        let mut taken = self.bytes.split_to(end);
        self.filled -= end;
        taken.truncate(payload.end);
        taken.advance(payload.start);
        taken.freeze()
    }

    /// Cuts off the first `end` bytes.
    #[inline]
    pub(crate) fn skip(&mut self, end: usize) {
        self.bytes.advance(end);
        self.filled -= end;
    }

    /// All that is left, at the end of input.
    pub(crate) fn take_rest(&mut self) -> BytesMut {
        let Self {
            mut bytes, filled, ..
        } = std::mem::take(self);
        bytes.truncate(filled);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(buffer: &mut InputBuffer, bytes: &[u8], missing: usize) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = buffer.room(missing);
            let len = room.len().min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            buffer.fill(len);
            rest = &rest[len..];
        }
    }

    #[test]
    fn payloads_are_cut_out_whole_and_in_order() {
        let mut buffer = InputBuffer::default();
        receive(&mut buffer, b"..one|..two|..thr", 1);
        assert_eq!(buffer.take(2..5, 6), "one");
        assert_eq!(buffer.take(2..5, 6), "two");
        assert_eq!(buffer.received(), b"..thr");
        receive(&mut buffer, b"ee|", 1);
        assert_eq!(buffer.take(2..7, 8), "three");
        assert_eq!(buffer.received(), b"");
    }

    #[test]
    fn what_is_kept_is_never_overwritten() {
        let mut buffer = InputBuffer::default();
        let mut kept = Vec::new();
        for number in 0..50_000u32 {
            receive(&mut buffer, &number.to_be_bytes(), 4);
            kept.push(buffer.take(0..4, 4));
        }
        for (number, payload) in (0u32..).zip(kept) {
            assert_eq!(payload[..], number.to_be_bytes());
        }
    }

    #[test]
    fn room_is_not_given_for_what_is_only_claimed() {
        let mut buffer = InputBuffer::default();
        assert!(buffer.room(usize::MAX).len() <= 64 * 1024);
        receive(&mut buffer, &vec![0; 300_000], usize::MAX);
        assert!(buffer.room(usize::MAX).len() <= 512 * 1024);
        assert!(buffer.bytes.capacity() <= 2 * 1024 * 1024);
    }

    #[test]
    fn a_buffer_that_has_grown_is_given_back() {
        let mut buffer = InputBuffer::default();
        receive(&mut buffer, &vec![1; 8 << 20], 8 << 20);
        let len = buffer.received().len();
        assert_eq!(buffer.take(0..len, len).len(), 8 << 20);
        assert!(buffer.room(1).len() <= 64 * 1024);
        assert!(buffer.bytes.capacity() < KEPT);
    }

    #[test]
    fn small_messages_share_one_allocation() {
        let mut buffer = InputBuffer::default();
        receive(&mut buffer, &[1; 100], 1);
        let first = buffer.take(0..100, 100);
        receive(&mut buffer, &[2; 100], 1);
        let second = buffer.take(0..100, 100);
        assert_eq!(first.as_ptr().wrapping_add(100), second.as_ptr());
    }

    #[test]
    fn the_rest_is_what_was_received_and_no_more() {
        let mut buffer = InputBuffer::default();
        receive(&mut buffer, b"abc\nde", 1);
        buffer.skip(4);
        assert_eq!(buffer.take_rest(), "de");
        assert_eq!(buffer.received(), b"");
    }
}
