//! A handle to a group, and how a group is started.

use std::fmt;
use std::sync::Arc;

use super::error::{GroupError, SpawnGroupError};
use super::events::GroupEventStream;
use super::shared::{Part, Shared, StartGroup};
use super::status::GroupStatus;
use crate::error::ManagerError;
use crate::handle::{ProcessHandle, ProcessManagerHandle};
use crate::manager::Command;
use crate::model::{GroupProcess, ProcessGroup, Runnable};
use crate::supervision::graph::Graph;
use crate::supervision::{FailurePolicy, MemberKind, RestartPolicy, Supervision};

/// A handle to a group of processes, by [`spawn_group`](ProcessManagerHandle::spawn_group). Clones are cheap.
///
/// The handle keeps the manager alive, and not the group: that lives until its processes have ended for ever, or it is
/// stopped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use procession_manager::{Cmd, GroupProcess, ProcessGroup, ProcessManager};
///
/// let manager = ProcessManager::in_temp()?;
/// let sleep = || Cmd::new("sleep").arg("1000");
/// let group = ProcessGroup::new()
///     .process("db", sleep())
///     .process("web", GroupProcess::new(sleep()).needs(["db"]));
/// let group = manager.spawn_group(group).await?;
/// group.wait_ready().await?;
/// println!("{}", group.status());
/// let db = group.process("db").ok_or("it is there")?;
/// assert!(db.get_process_info().await?.is_running());
/// group.stop().await?; // first web, then db
/// # manager.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct GroupHandle {
    shared: Arc<Shared>,
    manager: ProcessManagerHandle,
}

impl fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupHandle")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl GroupHandle {
    /// Waits until each of its processes is ready, or has ended well: a service by its
    /// [readiness](crate::guide::readiness), a oneshot by its end with exit code 0. Any number of tasks may wait.
    /// Cancel safe.
    ///
    /// A group that was ready stays so: what becomes of its processes later is in the [status](Self::status).
    ///
    /// # Errors
    ///
    /// [`GroupError`], as soon as it is sure that the group will not be ready: a process has failed for good or has
    /// ended though others need it, or the group was stopped. With [`OneForAll`](FailurePolicy::OneForAll) also where
    /// a process fails for good after it was ready.
    pub async fn wait_ready(&self) -> Result<(), GroupError> {
        let names = &self.shared.names;
        let mut view = self.shared.view.clone();
        let readiness = view.wait_for(|view| view.readiness(names).is_some()).await;
        match readiness.map(|view| view.readiness(names)) {
            Ok(Some(readiness)) => readiness,
            Ok(None) | Err(_) => Err(GroupError::ManagerCommunicationError),
        }
    }

    /// What is known of it and of each of its processes. Answered at once.
    pub fn status(&self) -> GroupStatus {
        self.shared.status()
    }

    /// The process of this name, once it was spawned: the same one over all its runs. `None` before that, and where the
    /// group has no such process.
    ///
    /// A service that is stopped or killed by its own handle has [ended](crate::MemberState::Ended): that is nobody's
    /// failure, and what needs it is not started any more. A oneshot that is ended so before it has done its work has
    /// failed. [`restart`](ProcessHandle::restart) is to the group as if its run had failed.
    pub fn process(&self, name: &str) -> Option<ProcessHandle> {
        let node = self.shared.names.iter().position(|known| known == name)?;
        let process = self.shared.view.borrow().members[node].process.clone()?;
        Some(ProcessHandle::new(process, self.manager.clone()))
    }

    /// What happens to it from now on; the first listener gets all that has happened since the start.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::StreamExt;
    /// use procession_manager::{Cmd, GroupProcess, ProcessGroup, ProcessManager};
    ///
    /// let manager = ProcessManager::in_temp()?;
    /// let once = GroupProcess::new(Cmd::new("true")).oneshot();
    /// let group = manager.spawn_group(ProcessGroup::new().process("once", once)).await?;
    /// let events = group.events().map(|event| event.to_string());
    /// assert_eq!(
    ///     events.collect::<Vec<_>>().await,
    ///     ["`once` is starting", "`once` has ended", "the group is ready", "the group has stopped"],
    /// );
    /// # manager.shutdown().await?;
    /// # Ok(()) }
    /// ```
    pub fn events(&self) -> GroupEventStream {
        GroupEventStream::new(self.shared.listen())
    }

    /// Stops all processes of the group: each process when all that needs it has stopped, as by
    /// [`ProcessHandle::stop`] with the manager's [grace](crate::ProcessManagerBuilder::grace).
    /// Processes that are being started are stopped, too, and nothing is started any more. Resolves
    /// with the last status when nothing of the group runs. A process that does not end within the
    /// grace and [`KILL_BOUND`](crate::KILL_BOUND) counts as failed, and the processes that it
    /// needs are stopped after that. A group that has stopped already is no error.
    ///
    /// Cancel safe: once this was polled, the stop is carried out.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub async fn stop(&self) -> Result<GroupStatus, ManagerError> {
        self.shared.stop.set();
        self.wait().await
    }

    /// Waits until all of it has ended for ever, asked for or not; gives its last status. Any number of tasks may wait.
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ManagerError`]: the manager's runtime has ended before the group did, or something of it does not end
    /// ([`NotEnded`](ManagerError::NotEnded)); all else has stopped then.
    pub async fn wait(&self) -> Result<GroupStatus, ManagerError> {
        let mut view = self.shared.view.clone();
        match view.wait_for(|view| view.stopped).await {
            Ok(_) => {}
            Err(_) => return Err(ManagerError::ManagerCommunicationError),
        }
        let members = &self.shared.view.borrow().members;
        let left = members.iter().flat_map(|member| member.left.iter());
        let left: Vec<_> = left.cloned().collect();
        if !left.is_empty() {
            return Err(ManagerError::NotEnded { left });
        }
        Ok(self.status())
    }
}

impl ProcessManagerHandle {
    /// Starts a group of processes: each when all that it needs is ready, and otherwise at the same time. Resolves when
    /// everything has been checked and the group is on its way; [`GroupHandle::wait_ready`] waits for the rest.
    ///
    /// Cancel safe: a group that was started for a future that was dropped is stopped. Dropping its handles does
    /// not stop it. The manager's [`shutdown`](Self::shutdown) ends all processes at once; where the order matters, stop
    /// the group first.
    ///
    /// # Errors
    ///
    /// [`SpawnGroupError`]: of the processes that need each other in a cycle, of a command that cannot work. Nothing
    /// has been started then. A program that is not there is found out later, and fails its process.
    pub async fn spawn_group(&self, group: ProcessGroup) -> Result<GroupHandle, SpawnGroupError> {
        let graph = group.graph()?;
        let policy = group.failure_policy();
        let mut parts = Vec::new();
        for (name, process) in group.into_processes() {
            match process.validate() {
                Ok(()) => parts.push(Part::from(process)),
                Err(error) => return Err(SpawnGroupError::Configuration { name, error }),
            }
        }
        self.start_group(graph, policy, parts).await
    }

    pub(super) async fn start_group(
        &self,
        graph: Graph,
        policy: FailurePolicy,
        parts: Vec<Part>,
    ) -> Result<GroupHandle, SpawnGroupError> {
        let gone = || SpawnGroupError::ManagerCommunicationError;
        let (start, shared, answer) = StartGroup::new(graph, policy, parts);
        let mut owned = Owned(Some(shared));
        self.ask(Command::StartGroup(Box::new(start)))
            .await
            .map_err(|()| gone())?;
        answer.await.map_err(|_| gone())?;
        let shared = owned.0.take().ok_or_else(gone)?;
        let manager = self.clone();
        Ok(GroupHandle { shared, manager })
    }
}

/// A group that nobody but one future has: it ends with that.
struct Owned(Option<Arc<Shared>>);

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.stop.set();
        }
    }
}

impl From<GroupProcess> for Part {
    fn from(process: GroupProcess) -> Self {
        let kind = process.kind();
        let cmd = process.cmd().clone();
        let cmd = match cmd.supervision() {
            Some(_) => cmd,
            None => cmd.supervised(Supervision::new(RestartPolicy::Never)),
        };
        Self::new(kind, Box::new(cmd))
    }
}

impl Part {
    /// What it runs has to be supervised.
    pub(super) fn new(kind: MemberKind, runnable: Box<dyn Runnable>) -> Self {
        Self { kind, runnable }
    }
}
