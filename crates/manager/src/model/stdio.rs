//! What a standard stream of a child is when neither messages nor logs use it.

use bytes::Bytes;
use std::fmt;
use std::path::PathBuf;

/// Where a child's standard input comes from, where it does not carry messages.
///
/// ```
/// use procession_manager::model::command::{Cmd, Stdin};
///
/// let sort = Cmd::new("sort").stdin(Stdin::Bytes("b\na\n".into()));
/// assert_eq!(sort.stdin_source(), &Stdin::Bytes("b\na\n".into()));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Stdin {
    /// `/dev/null`: reading it gives the end of input at once. The default.
    #[default]
    Null,
    /// The parent's own standard input.
    Inherit,
    /// This file, opened for reading. A relative path is taken from the parent's current directory.
    ///
    /// A FIFO must be open for writing already, or have something in it: the spawn fails at once
    /// otherwise, and does not wait as a shell does (fifo(7)). The input ends when the last writer
    /// closes it.
    File(#[cfg_attr(feature = "serde", serde(with = "super::data::text"))] PathBuf),
    /// These bytes, then the end of input.
    Bytes(#[cfg_attr(feature = "serde", serde(with = "super::data::blob"))] Bytes),
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Inherit => f.write_str("Inherit"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// Where a child's standard output or standard error goes, where it carries neither messages nor
/// logs.
///
/// ```
/// use procession_manager::model::command::{Cmd, Output};
///
/// let build = Cmd::new("make")
///     .stdout(Output::File("/tmp/build.out".into()))
///     .stderr(Output::Inherit);
/// assert_eq!(build.stderr_target(), &Output::Inherit);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Output {
    /// `/dev/null`: what is written is gone. The default.
    #[default]
    Null,
    /// The parent's own stream of that name.
    Inherit,
    /// This file, made where it is missing and emptied where it is not. A relative path is taken from
    /// the parent's current directory.
    ///
    /// A FIFO must be open for reading already: the spawn fails at once otherwise, and does not
    /// wait as a shell does (fifo(7)).
    File(#[cfg_attr(feature = "serde", serde(with = "super::data::text"))] PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_connected_unless_asked() {
        assert_eq!(Stdin::default(), Stdin::Null);
        assert_eq!(Output::default(), Output::Null);
    }

    #[test]
    fn debug_of_given_bytes_is_their_length() {
        let debug = format!("{:?}", Stdin::Bytes(vec![7; 1 << 20].into()));
        assert_eq!(debug, "Bytes(1048576 bytes)");
        assert_eq!(
            format!("{:?}", Stdin::File("/a b".into())),
            r#"File("/a b")"#
        );
        assert_eq!(format!("{:?}", Stdin::Null), "Null");
        assert_eq!(format!("{:?}", Stdin::Inherit), "Inherit");
    }
}
