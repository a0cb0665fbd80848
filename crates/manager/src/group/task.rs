//! The task of a group.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use procession_wire::Escaped;
use tokio::sync::{broadcast, watch};

use super::error::MemberFailure;
use super::events::GroupEvent;
use super::member::{Edge, End, Member, Place, Seen, end_of};
use super::shared::{Shared, StartGroup, View};
use crate::containment::List;
use crate::error::{LastLines, SpawnProcessError};
use crate::lifecycle::ExitReport;
use crate::manager::context::Context;
use crate::model::Runnable;
use crate::process::{Control, Process};
use crate::supervision::MemberState;
use crate::supervision::group::{Effect, Group, Input};

/// What the task waits for, of one node.
type Waiting = Pin<Box<dyn Future<Output = (usize, Happened)> + Send>>;

enum Happened {
    Spawned(Result<Arc<Process>, SpawnProcessError>),
    Seen(Edge, Seen, Arc<Process>),
    /// It has failed for ever, and said this last.
    Failed(Option<Arc<ExitReport>>, LastLines),
    /// Its task has ended without a word.
    Gone,
}

pub(crate) struct GroupTask {
    context: Arc<Context>,
    shutdown: watch::Receiver<Option<Instant>>,
    shared: Arc<Shared>,
    view: watch::Sender<View>,
    events: broadcast::Sender<GroupEvent>,
    group: Group,
    members: Vec<Member>,
    waiting: FuturesUnordered<Waiting>,
    /// What the state machine is to be told, in this order.
    inputs: VecDeque<Input>,
    /// It has been asked to stop.
    stopping: bool,
    /// The manager ends, and with it all processes.
    shut_down: bool,
}

impl StartGroup {
    /// The task, where whoever asked for it is still there.
    pub(crate) fn accept(self, context: Arc<Context>) -> Option<GroupTask> {
        let mut group = Group::new(self.graph, self.policy);
        for (node, part) in self.parts.iter().enumerate() {
            group = group.with_kind(node, part.kind);
        }
        let members = self.parts.into_iter().map(|part| Member {
            kind: part.kind,
            place: Place::Unborn(part.runnable),
            told_to_end: false,
            is_stuck: false,
        });
        self.reply.send(()).ok()?;
        Some(GroupTask {
            shutdown: context.shutdown.subscribe(),
            context,
            shared: self.shared,
            view: self.view,
            events: self.events,
            group,
            members: members.collect(),
            waiting: FuturesUnordered::new(),
            inputs: VecDeque::new(),
            stopping: false,
            shut_down: false,
        })
    }
}

impl GroupTask {
    /// Sees the group to its end.
    pub(crate) async fn run(mut self) {
        self.step(Input::Start).await;
        while !self.is_over() {
            tokio::select! {
                biased;
                Ok(()) = self.shutdown.changed(), if !self.shut_down => self.shut_down().await,
                () = self.shared.stop.wait(), if !self.stopping => self.stop().await,
                Some((node, happened)) = self.waiting.next() => self.happened(node, happened).await,
                // The manager is gone without a word, and all processes with it.
                else => return,
            }
        }
        self.view.send_modify(|view| view.stopped = true);
        self.tell(GroupEvent::Stopped);
    }

    /// Whether all has ended, also what waits for a release that will not come.
    fn is_over(&self) -> bool {
        let is_over = |member: &Member| matches!(member.place, Place::Unborn(_) | Place::Over(_));
        self.group.is_over() && self.members.iter().all(is_over)
    }

    async fn stop(&mut self) {
        self.stopping = true;
        self.step(Input::Stop).await;
        for node in 0..self.members.len() {
            if self.members[node].is_stuck && self.is(node, MemberState::Stopping) {
                // It was to run again. Now it is to end, and has its time for that anew.
                self.end(node).await;
            }
        }
    }

    /// The processes have been told by the manager already: here it is only waited for them.
    async fn shut_down(&mut self) {
        self.shut_down = true;
        self.stop().await;
    }

    async fn happened(&mut self, node: usize, happened: Happened) {
        match happened {
            Happened::Spawned(Ok(process)) => self.spawned(node, process).await,
            Happened::Spawned(Err(error)) => self.not_spawned(node, &error).await,
            Happened::Seen(Edge::NotEnded(left), seen, process) => {
                self.members[node].is_stuck = true;
                self.view.send_modify(|view| {
                    let member = &mut view.members[node];
                    member.error = Some(format!("it does not end: {}", List(&left)));
                    member.left = left.to_vec();
                });
                if self.is(node, MemberState::Stopping) && !self.group.starts_again(node) {
                    self.over(node, End::NotEnded).await;
                } else {
                    self.watch(node, process, seen);
                }
            }
            Happened::Seen(Edge::Ready, seen, process) => {
                self.watch(node, process, seen);
                self.step(Input::Ready(node)).await;
            }
            Happened::Seen(Edge::Held, seen, process) => {
                self.ended_after_all(node);
                self.watch(node, process, seen);
                let input = if self.is(node, MemberState::Stopping) {
                    Input::Stopped(node)
                } else {
                    Input::Down(node)
                };
                self.step(input).await;
            }
            Happened::Seen(Edge::Over(end, report), ..) => {
                self.ended_after_all(node);
                self.note_left(node, report.as_deref());
                let end = end_of(self.members[node].kind, end, report.as_deref());
                self.over(node, end).await;
            }
            Happened::Failed(report, words) => {
                self.ended_after_all(node);
                self.note_left(node, report.as_deref());
                let report = report.map(|report| format!("{report}{words}"));
                self.view.send_modify(|view| {
                    view.members[node].error = report;
                    view.members[node].words = words;
                });
                self.over(node, End::Failed).await;
            }
            Happened::Gone if self.shut_down => self.over(node, End::ShutDown).await,
            Happened::Gone => self.over(node, End::Failed).await,
        }
    }

    /// Clears the error of a process that has ended after all, and the processes left of it.
    fn ended_after_all(&mut self, node: usize) {
        if std::mem::take(&mut self.members[node].is_stuck) {
            self.view.send_modify(|view| {
                view.members[node].error = None;
                view.members[node].left.clear();
            });
        }
    }

    /// Notes the processes that an ended process had started and that may not have ended.
    fn note_left(&self, node: usize, report: Option<&ExitReport>) {
        if let Some(report) = report.filter(|report| !report.left().is_empty()) {
            self.view
                .send_modify(|view| view.members[node].left = report.left().to_vec());
        }
    }

    async fn spawned(&mut self, node: usize, process: Arc<Process>) {
        self.members[node].place = Place::There(Arc::clone(&process));
        let shared = Arc::clone(&process);
        self.view
            .send_modify(|view| view.members[node].process = Some(shared));
        self.watch(node, process, Seen::default());
        if self.is(node, MemberState::Stopping) {
            // It came to that while it was being spawned.
            self.end_run(node).await;
        }
    }

    async fn not_spawned(&mut self, node: usize, error: &SpawnProcessError) {
        if matches!(error, SpawnProcessError::ManagerCommunicationError) {
            if !self.stopping {
                self.stop().await;
            }
            self.over(node, End::ShutDown).await;
            return;
        }
        let error = error.to_string();
        tracing::warn!(name = %Escaped::new(&self.shared.names[node]), %error, "a process of a group cannot be started");
        self.view
            .send_modify(|view| view.members[node].error = Some(error));
        self.over(node, End::Failed).await;
    }

    /// It will never run again.
    async fn over(&mut self, node: usize, end: End) {
        self.members[node].place = Place::Over(end);
        if end == End::ShutDown && !self.stopping {
            self.shut_down().await;
        }
        if let Some(input) = self.input_of(node, end) {
            self.step(input).await;
        }
    }

    /// What the end of a process is to the state machine; nothing yet, where that has still to come to its stop.
    fn input_of(&self, node: usize, end: End) -> Option<Input> {
        let is_stopped = self.is(node, MemberState::Stopping) && !self.group.starts_again(node);
        match end {
            End::Ended | End::ShutDown if is_stopped => Some(Input::Stopped(node)),
            End::ShutDown => None,
            End::Ended => Some(Input::Ended(node)),
            End::Failed if is_stopped && self.was_there(node) => Some(Input::Stopped(node)),
            End::NotEnded | End::Failed => Some(Input::Failed(node)),
        }
    }

    fn was_there(&self, node: usize) -> bool {
        self.view.borrow().members[node].process.is_some()
    }

    fn is(&self, node: usize, state: MemberState) -> bool {
        self.group.state(node) == Some(state)
    }

    /// Waits for what the process's status tells next.
    fn watch(&mut self, node: usize, process: Arc<Process>, seen: Seen) {
        let kind = self.members[node].kind;
        self.waiting.push(Box::pin(async move {
            match process.when(|status| seen.edge(status)).await {
                Some((Edge::Over(end, report), _))
                    if end_of(kind, end, report.as_deref()) == End::Failed =>
                {
                    let words = process.last_lines().await;
                    (node, Happened::Failed(report, words))
                }
                Some((edge, seen)) => (node, Happened::Seen(edge, seen, process)),
                None => (node, Happened::Gone),
            }
        }));
    }

    /// Tells the state machine what happened, and does what it says.
    async fn step(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let effects = self.group.step(input);
            let changes = self.group.take_changes();
            self.publish(&changes, &effects);
            for &(node, _) in &changes {
                if self.is(node, MemberState::Stopped) {
                    // Where it waits for its release, nobody is going to give it that.
                    self.end(node).await;
                }
            }
            for effect in effects {
                self.apply(effect).await;
            }
        }
    }

    async fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::StartNode(node) | Effect::RestartNode(node) => self.begin_run(node).await,
            Effect::StopNode(node) => self.end_run(node).await,
            // Told with the states.
            Effect::GroupFailed { .. }
            | Effect::NotStarted { .. }
            | Effect::GroupReady
            | Effect::GroupStopped => {}
        }
    }

    async fn begin_run(&mut self, node: usize) {
        match std::mem::replace(&mut self.members[node].place, Place::Spawning) {
            Place::Unborn(runnable) => self.spawn(node, runnable),
            Place::Spawning => {}
            Place::There(process) => {
                // Its task takes at once what is asked of it: it waits for no child.
                process.ask(Control::Release).await;
                self.members[node].place = Place::There(process);
            }
            Place::Over(end) => {
                // It ended while nobody waited for it.
                self.members[node].place = Place::Over(end);
                self.inputs.extend(self.input_of(node, end));
            }
        }
    }

    fn spawn(&mut self, node: usize, runnable: Box<dyn Runnable>) {
        // Kept for the spawn alone: a manager goes on for as long as there is a handle to it.
        let manager = self.context.handle();
        self.waiting.push(Box::pin(async move {
            let spawned = match manager {
                Some(manager) => manager.spawn_gated(runnable).await,
                None => Err(SpawnProcessError::ManagerCommunicationError),
            };
            let process = spawned.map(|handle| Arc::clone(handle.process()));
            (node, Happened::Spawned(process))
        }));
    }

    /// Ends what runs of a node, so that it can be started again where that is to be.
    async fn end_run(&mut self, node: usize) {
        match &self.members[node].place {
            Place::Unborn(_) | Place::Spawning => {}
            Place::There(process) if self.group.starts_again(node) && !self.shut_down => {
                process.ask(Control::Hold).await;
            }
            Place::There(_) => self.end(node).await,
            Place::Over(end) => self.inputs.extend(self.input_of(node, *end)),
        }
    }

    /// Ends a node's process for ever.
    async fn end(&mut self, node: usize) {
        let member = &mut self.members[node];
        if let Place::There(process) = &member.place
            && !member.told_to_end
            && !self.shut_down
        {
            member.told_to_end = true;
            process.ask(Control::Stop { grace: None }).await;
        }
    }

    fn publish(&self, changes: &[(usize, MemberState)], effects: &[Effect]) {
        let stopping = self.group.is_stopping();
        self.view.send_modify(|view| {
            for &(node, state) in changes {
                view.members[node].state = state;
            }
            for effect in effects {
                match *effect {
                    Effect::GroupReady => view.ready = true,
                    Effect::GroupFailed { node } => view.failed = Some((node, failure(view, node))),
                    _ => {}
                }
            }
            view.stopping = stopping;
        });
        let name = |node: usize| self.shared.names[node].clone();
        for &(node, state) in changes {
            let name = name(node);
            self.tell(GroupEvent::Member { name, state });
        }
        for effect in effects {
            self.tell(match *effect {
                Effect::GroupFailed { node } => GroupEvent::Failed { name: name(node) },
                Effect::NotStarted { node, because_of } => GroupEvent::NotStarted {
                    name: name(node),
                    because_of: name(because_of),
                },
                Effect::GroupReady => GroupEvent::Ready,
                _ => continue,
            });
        }
    }

    fn tell(&self, event: GroupEvent) {
        tracing::debug!(%event);
        let _ = self.events.send(event);
    }
}

/// What has become of a node that has failed, or ended though others need it.
fn failure(view: &View, node: usize) -> MemberFailure {
    let member = &view.members[node];
    if let (None, Some(error)) = (&member.process, &member.error) {
        return MemberFailure::CannotStart(error.clone());
    }
    let process = member.process.as_ref();
    if !member.left.is_empty() && process.is_some_and(|process| process.report().is_none()) {
        let left = member.left.clone();
        return MemberFailure::NotEnded { left };
    }
    let report = member
        .process
        .as_ref()
        .and_then(|process| process.last_report());
    report.map_or(MemberFailure::Gone, |report| MemberFailure::Ended {
        report: Box::new(ExitReport::clone(&report)),
        stderr: member.words.clone(),
    })
}
