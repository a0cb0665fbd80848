//! Hello: the first frame of a child, by which it says that it speaks frames, and which.

use std::ops::BitOr;

use super::kind;
use crate::PROTOCOL_VERSION;

/// What every hello begins with, in every version of the protocol, so that it can be found.
pub(super) const LITERAL: &[u8; 10] = b"procession";

/// Length of the fixed fields: literal, version, features, pid.
pub(super) const HELLO_LEN: usize = LITERAL.len() + 2 + 4 + 4;

/// The longest body of a hello: room for what later versions add, and small enough that text is
/// told from a hello by its first byte.
pub const MAX_HELLO_LEN: usize = 1024;

/// What a child says of itself.
///
/// ```
/// use procession_wire::{Features, Hello};
///
/// let hello = Hello::new(Features::CREDIT, 4711);
/// assert_eq!(hello.major(), 1);
/// assert!(hello.features.contains(Features::CREDIT));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of the protocol: major in the high byte, minor in the low one.
    pub version: u16,
    /// What the child can do beyond the plain protocol.
    pub features: Features,
    /// The child's process id as the child sees it.
    pub pid: u32,
}

impl Hello {
    /// A hello of the version that this crate implements.
    pub const fn new(features: Features, pid: u32) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            features,
            pid,
        }
    }

    /// The major version. Sides with different ones do not understand each other.
    pub const fn major(self) -> u8 {
        self.version.to_be_bytes()[0]
    }

    pub(super) fn fields(self) -> [u8; HELLO_LEN] {
        let mut out = [0; HELLO_LEN];
        out[..10].copy_from_slice(LITERAL);
        out[10..12].copy_from_slice(&self.version.to_be_bytes());
        out[12..16].copy_from_slice(&self.features.0.to_be_bytes());
        out[16..].copy_from_slice(&self.pid.to_be_bytes());
        out
    }

    /// `None` if the literal is not there.
    pub(super) fn from_fields(fields: &[u8; HELLO_LEN]) -> Option<Self> {
        let (literal, rest) = fields.split_first_chunk::<10>()?;
        let &[v0, v1, f0, f1, f2, f3, p0, p1, p2, p3] = rest else {
            return None;
        };
        (literal == LITERAL).then_some(Self {
            version: u16::from_be_bytes([v0, v1]),
            features: Features(u32::from_be_bytes([f0, f1, f2, f3])),
            pid: u32::from_be_bytes([p0, p1, p2, p3]),
        })
    }
}

/// A set of features that a hello announces. Bits that are not known are kept and ignored.
///
/// ```
/// use procession_wire::Features;
///
/// let features = Features::from_bits(0b101);
/// assert!(features.contains(Features::CREDIT));
/// assert_eq!(features.bits(), 5);
/// assert!(!Features::NONE.contains(Features::CREDIT));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(u32);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Bit 0: the child keeps to credit, and grants it.
    pub const CREDIT: Self = Self(1);

    /// The set with these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits, as in hello.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Whether bytes can be the beginning of a hello frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resemblance {
    /// Header and literal are there.
    Yes,
    /// So far, and there are too few bytes to tell.
    SoFar,
    No,
}

pub(super) fn resembles_hello(bytes: &[u8]) -> Resemblance {
    // A hello's length is at most 1024, so its first two bytes are zero.
    if bytes.iter().take(2).any(|&byte| byte != 0) {
        return Resemblance::No;
    }
    if let Some(&[_, _, high, low]) = bytes.first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        if !(HELLO_LEN..=MAX_HELLO_LEN).contains(&len) {
            return Resemblance::No;
        }
    }
    if bytes.get(4).is_some_and(|&byte| byte != kind::HELLO) {
        return Resemblance::No;
    }
    let there = bytes.get(5..).unwrap_or_default();
    let compared = there.len().min(LITERAL.len());
    if there[..compared] != LITERAL[..compared] {
        Resemblance::No
    } else if compared == LITERAL.len() {
        Resemblance::Yes
    } else {
        Resemblance::SoFar
    }
}
