//! A reader as the manager has one: it reads into one growing buffer, finds all that is complete there,
//! takes that off as one chunk, and makes messages that are parts of the chunk.

use std::ops::Range;

use bytes::BytesMut;
use procession_wire::{
    FrameDecoder, LineDecoder, LineStep, Message,
    buffer::{READ_BUFFER, next_read, reserve_for_read},
};

/// Finds the first message in the bytes: where it is, and how many bytes to consume.
pub(crate) trait Decoder {
    fn message(&mut self, bytes: &[u8]) -> Option<(Range<usize>, usize)>;
    fn missing(&self, bytes: &[u8]) -> usize;
}

impl Decoder for FrameDecoder {
    fn message(&mut self, bytes: &[u8]) -> Option<(Range<usize>, usize)> {
        let frame = self.parse(bytes).expect("frames")?;
        Some((frame.payload, frame.end))
    }

    fn missing(&self, bytes: &[u8]) -> usize {
        self.needed(bytes)
    }
}

impl Decoder for LineDecoder {
    fn message(&mut self, bytes: &[u8]) -> Option<(Range<usize>, usize)> {
        match self.parse(bytes) {
            LineStep::Line { payload, end } => Some((payload, end)),
            LineStep::NeedMore => None,
            other => panic!("lines within the limit: {other:?}"),
        }
    }

    fn missing(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

pub(crate) struct Reader<D> {
    decoder: D,
    buffer: BytesMut,
    /// Kept from read to read: what they cost is the caller's, and not the decoder's.
    payloads: Vec<Range<usize>>,
}

impl<D: Decoder> Reader<D> {
    pub(crate) fn new(decoder: D) -> Self {
        Self {
            decoder,
            buffer: BytesMut::new(),
            payloads: Vec::with_capacity(READ_BUFFER),
        }
    }

    /// Reads all of `pipe`, hands each message on, and says how many there were.
    pub(crate) fn read(&mut self, mut pipe: &[u8], mut hand_on: impl FnMut(Message)) -> usize {
        let mut count = 0;
        while !pipe.is_empty() {
            let missing = self.decoder.missing(&self.buffer);
            let room = next_read(self.buffer.len(), missing);
            reserve_for_read(&mut self.buffer, room);
            let (read, rest) = pipe.split_at(room.min(pipe.len()));
            self.buffer.extend_from_slice(read);
            pipe = rest;
            count += self.decode(&mut hand_on);
        }
        count
    }

    fn decode(&mut self, hand_on: &mut impl FnMut(Message)) -> usize {
        let mut at = 0;
        while let Some((payload, end)) = self.decoder.message(&self.buffer[at..]) {
            self.payloads.push(at + payload.start..at + payload.end);
            at += end;
        }
        let chunk = self.buffer.split_to(at).freeze();
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        let count = self.payloads.len();
        for payload in self.payloads.drain(..) {
            hand_on(Message::from(chunk.slice(payload)));
        }
        count
    }
}
