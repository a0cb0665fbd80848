//! What can be wrong with the environment of a child.

use std::fmt;

use crate::Escaped;

/// A variable of the environment is missing or makes no sense.
///
/// ```
/// use procession_wire::ChildEnvironment;
///
/// let error = ChildEnvironment::read(|_| None).unwrap_err();
/// assert_eq!(error.variable(), "PROCESS_DATA_DIR");
/// assert_eq!(
///     error.to_string(),
///     "PROCESS_DATA_DIR is not set: was this program started by a Procession parent?"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentError {
    variable: &'static str,
    kind: EnvironmentErrorKind,
}

/// What is wrong with a variable.
///
/// ```
/// use procession_wire::{ChildEnvironment, EnvironmentErrorKind};
///
/// let error = ChildEnvironment::read(|_| Some("here".into())).unwrap_err();
/// assert_eq!(*error.kind(), EnvironmentErrorKind::NotAbsolute { value: "here".into() });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvironmentErrorKind {
    /// It is not set.
    Missing,
    /// It must be an absolute path.
    NotAbsolute {
        /// What it is, lossily where it is not UTF-8.
        value: String,
    },
    /// It has a value that is not understood.
    Invalid {
        /// What it is, lossily where it is not UTF-8.
        value: String,
        /// What it could be.
        expected: &'static str,
    },
}

impl EnvironmentError {
    pub(super) fn new(variable: &'static str, kind: EnvironmentErrorKind) -> Self {
        Self { variable, kind }
    }

    /// The name of the variable.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// What is wrong with it.
    pub fn kind(&self) -> &EnvironmentErrorKind {
        &self.kind
    }
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.variable)?;
        match &self.kind {
            EnvironmentErrorKind::Missing => f.write_str(" is not set")?,
            EnvironmentErrorKind::NotAbsolute { value } => {
                let value = Escaped::new(value);
                write!(f, " is {value:?}, which is not an absolute path")?;
            }
            EnvironmentErrorKind::Invalid { value, expected } => {
                let value = Escaped::new(value);
                write!(f, " is {value:?}, and should be {expected}")?;
            }
        }
        f.write_str(": was this program started by a Procession parent?")
    }
}

impl std::error::Error for EnvironmentError {}
