//! The identifier of a process.

use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Identifies a process for as long as its manager lives, and after: a random UUID, never used twice,
/// unlike the system's process number.
///
/// It is also the name of the process's run directory.
///
/// ```
/// use procession_manager::ProcessId;
///
/// let id: ProcessId = "6f0a5c2e-9d3b-4a57-8f43-2b9c1c0d7e11".parse()?;
/// assert_eq!(id.to_string(), "6f0a5c2e-9d3b-4a57-8f43-2b9c1c0d7e11");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct ProcessId(Uuid);

impl ProcessId {
    /// A new identifier, different from every other.
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The UUID inside.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessId({})", self.0)
    }
}

/// Takes every notation of a UUID: with and without hyphens, in braces, as a URN.
impl FromStr for ProcessId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl From<Uuid> for ProcessId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<ProcessId> for Uuid {
    fn from(id: ProcessId) -> Self {
        id.0
    }
}

impl AsRef<Uuid> for ProcessId {
    fn as_ref(&self) -> &Uuid {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_identifiers_differ_and_survive_their_text_form() {
        let (one, other) = (ProcessId::random(), ProcessId::random());
        assert_ne!(one, other);
        assert_eq!(one.to_string().parse(), Ok(one));
        assert_eq!(one.to_string().len(), 36);
        assert_eq!(format!("{one:?}"), format!("ProcessId({one})"));
        assert_eq!(ProcessId::from(Uuid::from(one)), one);
        assert_eq!(one.as_uuid(), one.as_ref());
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        assert!("worker-1".parse::<ProcessId>().is_err());
    }

    #[cfg(feature = "serde")]
    #[test]
    fn as_data_it_is_its_text() {
        let id = ProcessId::random();
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ProcessId>(&json).unwrap(), id);
    }
}
