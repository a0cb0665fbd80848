//! [`Framing`]: how a stream of bytes is cut into messages.

use std::{fmt, str::FromStr};

use crate::Escaped;

/// How the bytes of a channel are cut into messages, in both directions.
///
/// The text form is that of the variable `MESSAGE_FRAMING`:
///
/// ```
/// use procession_wire::Framing;
///
/// assert_eq!(Framing::Frames.to_string(), "frames/1");
/// assert_eq!("lines".parse::<Framing>()?, Framing::Lines);
/// assert!("frames/2".parse::<Framing>().is_err());
/// # Ok::<(), procession_wire::UnknownFraming>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Framing {
    /// A line is a message: for scripts and every program that already speaks a line at a time.
    /// A payload must not hold `\n`.
    #[default]
    Lines,
    /// A length, a kind and a body: any payload, requests, and control beside the messages.
    Frames,
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lines => "lines",
            Self::Frames => "frames/1",
        })
    }
}

impl FromStr for Framing {
    type Err = UnknownFraming;

    fn from_str(text: &str) -> Result<Self, UnknownFraming> {
        match text {
            "lines" => Ok(Self::Lines),
            "frames/1" => Ok(Self::Frames),
            _ => Err(UnknownFraming {
                text: text.to_owned(),
            }),
        }
    }
}

/// A text that names no framing this version knows.
///
/// ```
/// use procession_wire::Framing;
///
/// let error = "frames/2".parse::<Framing>().unwrap_err();
/// assert_eq!(error.text(), "frames/2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFraming {
    text: String,
}

impl UnknownFraming {
    /// The text that was not understood.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for UnknownFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown framing {:?}: expected \"lines\" or \"frames/1\"",
            Escaped::new(&self.text)
        )
    }
}

impl std::error::Error for UnknownFraming {}
