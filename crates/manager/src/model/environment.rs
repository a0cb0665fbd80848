//! What a child's environment is to differ in from the one that it inherits.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// The changes to the environment that a child inherits, as made with `env`, `envs`, `env_remove` and
/// `env_clear`; seen through [`Cmd::environment`](super::command::Cmd::environment).
///
/// They are changes and not the whole: the variables in which Procession tells the child where its
/// pipes and its directory are come on top.
///
/// ```
/// use procession_manager::model::command::Cmd;
/// use std::ffi::OsStr;
///
/// let cmd = Cmd::new("worker").env("RUST_LOG", "info").env_remove("LD_PRELOAD");
/// let changes: Vec<_> = cmd.environment().changes().collect();
/// assert_eq!(
///     changes,
///     [
///         (OsStr::new("LD_PRELOAD"), None),
///         (OsStr::new("RUST_LOG"), Some(OsStr::new("info"))),
///     ]
/// );
/// assert!(!cmd.environment().is_cleared());
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    changes: BTreeMap<OsString, Option<OsString>>,
    cleared: bool,
}

impl Environment {
    /// Every variable that was set (with its value) or removed (`None`), each once, sorted by name.
    pub fn changes(&self) -> impl Iterator<Item = (&OsStr, Option<&OsStr>)> {
        self.changes
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_deref()))
    }

    /// Whether the child inherits nothing, so that it has only the variables that were set.
    pub fn is_cleared(&self) -> bool {
        self.cleared
    }

    /// What the child sees in the variable `name`, given what it would inherit there.
    ///
    /// ```
    /// use procession_manager::model::command::Cmd;
    ///
    /// let inherited = Some("/usr/bin".into());
    /// let cmd = Cmd::new("worker").env("PATH", "/opt/bin");
    /// assert_eq!(cmd.environment().resolve("PATH", inherited.clone()), Some("/opt/bin".into()));
    ///
    /// let cmd = Cmd::new("worker").env_clear();
    /// assert_eq!(cmd.environment().resolve("PATH", inherited), None);
    /// ```
    pub fn resolve(
        &self,
        name: impl AsRef<OsStr>,
        inherited: Option<OsString>,
    ) -> Option<OsString> {
        match self.changes.get(name.as_ref()) {
            Some(change) => change.clone(),
            None if self.cleared => None,
            None => inherited,
        }
    }

    /// Whether it leaves the inherited environment as it is.
    pub(super) fn is_unchanged(&self) -> bool {
        self.changes.is_empty() && !self.cleared
    }

    pub(super) fn set(&mut self, name: OsString, value: OsString) {
        self.changes.insert(name, Some(value));
    }

    pub(super) fn remove(&mut self, name: OsString) {
        if self.cleared {
            self.changes.remove(&name);
        } else {
            self.changes.insert(name, None);
        }
    }

    pub(super) fn clear(&mut self) {
        self.changes.clear();
        self.cleared = true;
    }
}

/// Shows the names, not the values: they often are secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug(f, false)
    }
}

impl Environment {
    pub(super) fn debug(&self, f: &mut fmt::Formatter<'_>, reveal: bool) -> fmt::Result {
        let mut map = f.debug_map();
        if self.cleared {
            map.entry(&format_args!("(inherited)"), &format_args!("(cleared)"));
        }
        for (name, value) in &self.changes {
            match value {
                Some(value) if reveal => map.entry(name, value),
                Some(_) => map.entry(name, &format_args!("(hidden)")),
                None => map.entry(name, &format_args!("(removed)")),
            };
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(environment: &Environment) -> Vec<(&str, Option<&str>)> {
        environment
            .changes()
            .map(|(name, value)| (name.to_str().unwrap(), value.map(|v| v.to_str().unwrap())))
            .collect()
    }

    #[test]
    fn the_last_change_of_a_variable_counts() {
        let mut environment = Environment::default();
        environment.set("A".into(), "1".into());
        environment.set("B".into(), "2".into());
        environment.set("A".into(), "3".into());
        environment.remove("B".into());
        assert_eq!(changes(&environment), [("A", Some("3")), ("B", None)]);
    }

    #[test]
    fn clearing_forgets_what_was_set_before_and_keeps_what_is_set_after() {
        let mut environment = Environment::default();
        environment.set("A".into(), "1".into());
        environment.clear();
        environment.set("B".into(), "2".into());
        environment.remove("C".into());
        assert!(environment.is_cleared());
        assert_eq!(changes(&environment), [("B", Some("2"))]);
    }

    #[test]
    fn a_variable_is_inherited_unless_changed_or_cleared() {
        let mut environment = Environment::default();
        assert!(environment.is_unchanged());
        environment.set("SET".into(), "1".into());
        environment.remove("GONE".into());
        let inherited = || Some(OsString::from("parent"));
        assert_eq!(environment.resolve("SET", inherited()), Some("1".into()));
        assert_eq!(environment.resolve("GONE", inherited()), None);
        assert_eq!(environment.resolve("OTHER", inherited()), inherited());
        environment.clear();
        assert_eq!(environment.resolve("OTHER", inherited()), None);
        assert!(!environment.is_unchanged());
    }

    #[test]
    fn debug_tells_removed_from_set_and_shows_the_clearing() {
        let mut environment = Environment::default();
        environment.remove("GONE".into());
        environment.set("SET".into(), "1".into());
        assert_eq!(
            format!("{environment:?}"),
            r#"{"GONE": (removed), "SET": (hidden)}"#
        );
        environment.clear();
        assert_eq!(format!("{environment:?}"), "{(inherited): (cleared)}");
    }
}
