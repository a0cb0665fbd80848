//! A small read buffer for each thread of the runtime, lent to whoever reads next.
//!
//! A silent child holds no buffer, and most of what a child says after a silence is a message or two, which are
//! copied out. So one buffer goes from reader to reader, and is neither allocated nor freed for each read.

use std::cell::Cell;

use bytes::BytesMut;

/// The room in it, in bytes.
pub(crate) const SIZE: usize = 4 * 1024;

thread_local! {
    static SPARE: Cell<BytesMut> = Cell::default();
}

/// This thread's buffer, or an empty one without room where another has it.
pub(crate) fn take() -> BytesMut {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// Gives a buffer back that nobody refers to any more; one of another size is freed.
pub(crate) fn put(mut buffer: BytesMut) {
    buffer.clear();
    // What is left of a larger one would keep all of that.
    if buffer.capacity() == SIZE {
        let _ = SPARE.try_with(|spare| spare.set(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_of_the_right_size_is_lent_again() {
        let mut buffer = BytesMut::with_capacity(SIZE);
        buffer.extend_from_slice(b"old");
        let address = buffer.as_ptr();
        put(buffer);
        let again = take();
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        assert_eq!(take().capacity(), 0, "it is lent");
        put(BytesMut::with_capacity(16 * SIZE));
        assert_eq!(take().capacity(), 0, "too large to be kept");
    }
}
