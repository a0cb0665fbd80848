//! A set of processes that need each other, as plain values.

use super::command::{Cmd, ConfigurationError};
use crate::supervision::graph::{Graph, Node};
use crate::supervision::{FailurePolicy, GraphError, MemberKind, RestartPolicy};

/// A set of named processes, what each of them needs, and what becomes of the others when one fails.
///
/// [`spawn_group`](crate::ProcessManagerHandle::spawn_group) starts it; [`guide::groups`](crate::guide::groups)
/// tells what happens then.
///
/// ```
/// use procession_manager::{Cmd, FailurePolicy, GroupProcess, ProcessGroup};
///
/// let group = ProcessGroup::new()
///     .on_failure(FailurePolicy::RestForOne)
///     .process("db", Cmd::new("db"))
///     .process("migrate", GroupProcess::new(Cmd::new("migrate")).needs(["db"]).oneshot())
///     .process("cache", Cmd::new("cache"))
///     .process("web", GroupProcess::new(Cmd::new("web")).needs(["migrate", "cache"]));
/// assert_eq!(group.waves()?, [vec!["db", "cache"], vec!["migrate"], vec!["web"]]);
/// # Ok::<(), procession_manager::GraphError>(())
/// ```
///
/// With the feature `serde` it can be a file. Everything but the programs may be left out, and what is wrong (an
/// unknown key, a bad value, a name that no process has, a cycle) is refused by name, with the line where the format tells
/// lines; of a name that no process has that is the line of the whole map. Each process is what a [`Cmd`] is as data, and `needs` and `kind` beside that:
///
/// ```toml
/// on_failure = "rest_for_one"           # one_for_one (the default), rest_for_one, one_for_all
///
/// [processes.db]
/// program = "db"
/// ready_when = { notify = {} }
/// supervised = { restart = "always" }
///
/// [processes.migrate]
/// program = "migrate"
/// kind = "oneshot"                      # service (the default), oneshot
/// needs = ["db"]
///
/// [processes.web]
/// program = "web"
/// args = ["--port", "8080"]
/// env = { RUST_LOG = "info" }
/// needs = ["migrate"]
/// limits = { open_files = 4096 }
/// ```
///
/// Processes keep the order in which they are given, as far as a format keeps it; that order has no meaning for the
/// start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
#[must_use]
pub struct ProcessGroup {
    #[cfg_attr(feature = "serde", serde(default, rename = "on_failure"))]
    policy: FailurePolicy,
    #[cfg_attr(feature = "serde", serde(default, with = "super::data::processes"))]
    processes: Vec<(String, GroupProcess)>,
}

/// One process of a [`ProcessGroup`]: the command, and what it needs.
///
/// A [`Cmd`] becomes one by itself: a service that needs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(
        from = "super::data::GroupProcessData",
        into = "super::data::GroupProcessData"
    )
)]
#[must_use]
pub struct GroupProcess {
    pub(super) cmd: Cmd,
    pub(super) needs: Vec<String>,
    pub(super) kind: MemberKind,
}

impl GroupProcess {
    /// A service that runs this command and needs nothing.
    ///
    /// A command that is not [`supervised`](Cmd::supervised) is not started again when it has ended, but for
    /// another's failure, as the [`FailurePolicy`] says.
    pub fn new(cmd: Cmd) -> Self {
        Self {
            cmd,
            needs: Vec::new(),
            kind: MemberKind::Service,
        }
    }

    /// It needs the processes of these names, too: it starts when they are ready, and stops before they do.
    pub fn needs<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.needs.extend(names.into_iter().map(Into::into));
        self
    }

    /// It does something and ends: what needs it waits for its end with exit code 0.
    pub fn oneshot(mut self) -> Self {
        self.kind = MemberKind::Oneshot;
        self
    }

    /// The command.
    pub fn cmd(&self) -> &Cmd {
        &self.cmd
    }

    /// The names of what it needs itself, as given.
    pub fn needed(&self) -> &[String] {
        &self.needs
    }

    /// What sort of process it is.
    pub fn kind(&self) -> MemberKind {
        self.kind
    }

    /// Refuses what cannot work, before anything is started.
    pub(crate) fn validate(&self) -> Result<(), ConfigurationError> {
        self.cmd.validate()?;
        let rules = self.cmd.supervision();
        let always = rules.is_some_and(|rules| rules.restart_policy() == RestartPolicy::Always);
        if always && self.kind == MemberKind::Oneshot {
            return Err(ConfigurationError::OneshotWithoutEnd);
        }
        Ok(())
    }
}

impl From<Cmd> for GroupProcess {
    fn from(cmd: Cmd) -> Self {
        Self::new(cmd)
    }
}

impl ProcessGroup {
    /// A group of nothing, whose processes do not share their failures ([`FailurePolicy::OneForOne`]).
    pub fn new() -> Self {
        Self::default()
    }

    /// What becomes of the others when one fails.
    pub fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// One process more. A name that is there already is refused at the start.
    pub fn process(mut self, name: impl Into<String>, process: impl Into<GroupProcess>) -> Self {
        self.processes.push((name.into(), process.into()));
        self
    }

    /// What becomes of the others when one fails.
    pub fn failure_policy(&self) -> FailurePolicy {
        self.policy
    }

    /// The processes with their names, in the order in which they were given.
    pub fn processes(&self) -> impl ExactSizeIterator<Item = (&str, &GroupProcess)> {
        let processes = self.processes.iter();
        processes.map(|(name, process)| (name.as_str(), process))
    }

    /// The waves of a start: each process comes one wave after the last of what it needs, in the order in which they
    /// were given. There are as many as the longest chain has processes, and less is not possible.
    ///
    /// It shows what a start comes to. The start itself does not wait for waves: each process starts as soon as all
    /// that it needs is ready.
    ///
    /// # Errors
    ///
    /// [`GraphError`]: a name is used twice, a process needs itself or what does not exist, or processes need each
    /// other in a cycle.
    pub fn waves(&self) -> Result<Vec<Vec<String>>, GraphError> {
        let graph = self.graph()?;
        let name = |node: &usize| self.processes[*node].0.clone();
        let waves = graph.waves().iter();
        Ok(waves.map(|wave| wave.iter().map(name).collect()).collect())
    }

    pub(crate) fn graph(&self) -> Result<Graph, GraphError> {
        graph_of(&self.processes)
    }

    pub(crate) fn into_processes(self) -> Vec<(String, GroupProcess)> {
        self.processes
    }
}

/// Who needs whom.
pub(super) fn graph_of(processes: &[(String, GroupProcess)]) -> Result<Graph, GraphError> {
    let nodes = processes.iter();
    Graph::new(nodes.map(|(name, process)| Node::new(name).needs(&process.needs)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Supervision;

    #[test]
    fn every_verb_is_seen_by_its_accessor() {
        let cmd = Cmd::new("web").arg("-v");
        let web = GroupProcess::new(cmd.clone()).needs(["db"]).needs(["log"]);
        let group = ProcessGroup::new()
            .on_failure(FailurePolicy::OneForAll)
            .process("web", web.clone())
            .process("db", Cmd::new("db"))
            .process("log", GroupProcess::new(Cmd::new("log")).oneshot());
        assert_eq!(group.failure_policy(), FailurePolicy::OneForAll);
        let names: Vec<_> = group.processes().map(|(name, _)| name).collect();
        assert_eq!(names, ["web", "db", "log"]);
        let (cmd_of, needs) = (web.cmd(), web.needed());
        assert_eq!((cmd_of, needs), (&cmd, &["db".into(), "log".into()][..]));
        let kinds: Vec<_> = group
            .processes()
            .map(|(_, process)| process.kind())
            .collect();
        let service = MemberKind::Service;
        assert_eq!(kinds, [service, service, MemberKind::Oneshot]);
        assert_eq!(group.waves().unwrap(), [vec!["db", "log"], vec!["web"]]);
        assert_eq!(ProcessGroup::new().waves().unwrap(), [[""; 0]; 0]);
    }

    #[test]
    fn what_is_no_graph_has_no_waves() {
        let needs = |name: &str, need| {
            (
                name.to_owned(),
                GroupProcess::new(Cmd::new("x")).needs([need]),
            )
        };
        let of = |processes: &[(String, GroupProcess)]| {
            let group = processes.iter().cloned();
            let group = group.fold(ProcessGroup::new(), |group, (name, it)| {
                group.process(name, it)
            });
            group.waves().unwrap_err().to_string()
        };
        for (processes, says) in [
            (
                vec![needs("a", "b"), needs("b", "a")],
                "in a circle: a -> b -> a",
            ),
            (
                vec![needs("cache", "cahce")],
                "`cache` needs `cahce`, which does not exist",
            ),
            (vec![needs("a", "a")], "`a` needs itself"),
            (
                vec![needs("a", "b"), needs("a", "b")],
                "two processes are named `a`",
            ),
        ] {
            let error = of(&processes);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_oneshot_that_would_be_run_for_ever_is_refused() {
        let with = |policy| Cmd::new("x").supervised(Supervision::new(policy));
        let oneshot = GroupProcess::new(with(RestartPolicy::Always)).oneshot();
        let error = oneshot.validate().unwrap_err();
        assert_eq!(error, ConfigurationError::OneshotWithoutEnd);
        let oneshot = GroupProcess::new(with(RestartPolicy::OnFailure)).oneshot();
        assert_eq!(oneshot.validate(), Ok(()));
        let service = GroupProcess::new(with(RestartPolicy::Always));
        assert_eq!(service.validate(), Ok(()));
    }
}
