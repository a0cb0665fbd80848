//! Payloads that both ends can make for themselves, and digests to compare.

use std::fmt;

/// A small generator of numbers that follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, not including, `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.number() % end).unwrap_or(0)
    }

    /// A size from 0 to `2^bits - 1`, each order of magnitude as likely as any other.
    pub fn size(&mut self, bits: usize) -> usize {
        match self.below(bits + 1) {
            0 => 0,
            chosen => (1 << (chosen - 1)) + self.below(1 << (chosen - 1)),
        }
    }

    /// Any bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// An endless series of payloads with sizes from 0 bytes to 1 MiB, log-uniform; the first is empty and
/// the second has exactly 1 MiB.
#[derive(Clone, Debug)]
pub struct Payloads {
    random: Random,
    made: u64,
    newlines: bool,
}

impl Payloads {
    /// The series of this seed; without `newlines`, no payload holds a `\n`.
    pub fn new(seed: u64, newlines: bool) -> Self {
        Self {
            random: Random::new(seed),
            made: 0,
            newlines,
        }
    }
}

impl Iterator for Payloads {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let size = match self.made {
            0 => 0,
            1 => 1 << 20,
            _ => self.random.size(20),
        };
        self.made += 1;
        let mut bytes = self.random.bytes(size);
        if !self.newlines {
            for byte in &mut bytes {
                *byte = if *byte == b'\n' { b'\r' } else { *byte };
            }
        }
        Some(bytes)
    }
}

/// What a series of messages comes to: how many, how long, and a hash over content, cuts and order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    count: u64,
    bytes: u64,
    hash: u64,
}

impl Digest {
    /// Takes the next message in.
    pub fn add(&mut self, payload: &[u8]) {
        let len = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        self.count += 1;
        self.bytes += len;
        self.mix(len);
        let (words, rest) = payload.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }

    /// How many messages there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "count={} bytes={} hash={:016x}",
            self.count, self.bytes, self.hash
        )
    }
}
