//! The tree tag: by which a process is known to belong to a manager, whoever started it.

use std::{
    ffi::{OsStr, OsString},
    fmt,
};

/// One entry of the list in `PROCESSION_TREE`: `<manager>/<process>.<run>:`.
///
/// Each manager appends its entry to what it inherited, and descendants inherit the list. Each entry
/// ends with a colon, so that run 1 is not found in run 12.
///
/// ```
/// use procession_wire::TreeTag;
///
/// let outer = TreeTag::append(None, "m1", "p1", 0);
/// let inner = TreeTag::append(Some(&outer), "m2", "p7", 3);
/// assert_eq!(inner, "m1/p1.0:m2/p7.3:");
/// assert!(inner.to_str().unwrap().contains(&TreeTag::new("m2", "p7", 3).to_string()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TreeTag {
    entry: String,
}

impl TreeTag {
    /// The entry of a process: of the manager and the process their UUIDs, and the number of the
    /// run, counted from 0.
    pub fn new(manager: impl fmt::Display, process: impl fmt::Display, run: u32) -> Self {
        Self {
            entry: format!("{manager}/{process}.{run}:"),
        }
    }

    /// The value for a child of a manager that has itself inherited `existing`.
    pub fn append(
        existing: Option<&OsStr>,
        manager: impl fmt::Display,
        process: impl fmt::Display,
        run: u32,
    ) -> OsString {
        let mut list = existing.unwrap_or_default().to_owned();
        // Entries are told apart by their ends, also behind a list that somebody has cut.
        if !list.is_empty() && list.as_encoded_bytes().last() != Some(&b':') {
            list.push(":");
        }
        list.push(Self::new(manager, process, run).entry);
        list
    }
}

impl fmt::Display for TreeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_behind_a_cut_list_stands_for_itself() {
        let lists = [
            (None, "m/p.0:"),
            (Some("a/b.1:"), "a/b.1:m/p.0:"),
            (Some("a/b.1"), "a/b.1:m/p.0:"),
        ];
        for (existing, expected) in lists {
            assert_eq!(
                TreeTag::append(existing.map(OsStr::new), "m", "p", 0),
                expected
            );
        }
    }
}
