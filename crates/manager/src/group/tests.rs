//! Groups of scripts, in paused time.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use procession_wire::Framing;

use super::shared::Part;
use super::*;
use crate::supervision::graph::{Graph, Node};
use crate::test_util::{ChildEvent, ChildSide, ScriptedChild};
use crate::{
    Backoff, Cmd, ExitCause, FailurePolicy, KILL_BOUND, ManagerError, MemberKind, MemberState,
    Messaging, ProcessHandle, ProcessManager, ProcessManagerHandle, Readiness, RestartIntensity,
    RestartPolicy, Supervision,
};
use FailurePolicy::{OneForAll, OneForOne, RestForOne};

mod edges;
mod ends;
mod policies;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

fn manager() -> ProcessManagerHandle {
    ProcessManager::in_temp().expect("a manager")
}

/// Always restarted, after a wait of up to so much.
fn always(wait: Duration) -> Supervision {
    Supervision::new(RestartPolicy::Always)
        .backoff(Backoff::new(wait, wait))
        .intensity(RestartIntensity::new(1000, SECOND))
        .seed(7)
}

/// Does what it is told: is ready, or exits with a number.
async fn told(mut child: ChildSide) -> i32 {
    loop {
        match child.next().await {
            ChildEvent::Message(message) => match message.as_str() {
                Ok("ready") => child.ready("").await,
                Ok(text) => return text.parse().expect("an exit code"),
                Err(_) => return 99,
            },
            ChildEvent::Stop => {
                child.bye(0).await;
                return 0;
            }
            ChildEvent::InputEnded => return 1,
            _ => {}
        }
    }
}

/// The same, ready at once.
async fn quick(mut child: ChildSide) -> i32 {
    child.ready("").await;
    told(child).await
}

/// Ready at once, and never ends.
async fn stays(mut child: ChildSide) -> i32 {
    child.ready("").await;
    while !matches!(child.next().await, ChildEvent::InputEnded) {}
    std::future::pending().await
}

/// A group of scripts, of nodes written as `web:db,cache`: a star is a oneshot, a question mark one that has to be told
/// when it is ready, a plus one that cannot be killed.
async fn start(
    manager: &ProcessManagerHandle,
    policy: FailurePolicy,
    nodes: &str,
    rules: Supervision,
) -> (GroupHandle, GroupEventStream) {
    let frames = Messaging::named_pipes().framing(Framing::Frames);
    let cmd = Cmd::new("scripted").messaging(frames);
    let cmd = cmd.ready_when(Readiness::Frame).no_start_deadline();
    let (graph, parts): (Vec<_>, Vec<_>) = nodes
        .split(' ')
        .map(|node| {
            let (name, needs) = node.split_once(':').unwrap_or((node, ""));
            let needs = needs.split(',').filter(|need| !need.is_empty());
            let bare = name.trim_end_matches(['*', '?', '+']);
            let is_oneshot = name.contains('*');
            let (kind, rules) = if is_oneshot {
                (MemberKind::Oneshot, Supervision::new(RestartPolicy::Never))
            } else {
                (MemberKind::Service, rules)
            };
            let cmd = cmd.clone().supervised(rules);
            let script = if name.contains('?') || is_oneshot {
                ScriptedChild::new(cmd, told)
            } else if name.contains('+') {
                ScriptedChild::new(cmd, stays).outlives_kill()
            } else {
                ScriptedChild::new(cmd, quick)
            };
            (
                Node::new(bare).needs(needs),
                Part::new(kind, Box::new(script)),
            )
        })
        .unzip();
    let graph = Graph::new(graph).expect("a graph");
    let group = manager.start_group(graph, policy, parts).await;
    let group = group.expect("it starts");
    let events = group.events();
    (group, events)
}

fn member(group: &GroupHandle, name: &str) -> ProcessHandle {
    group.process(name).expect("it was spawned")
}

fn state(group: &GroupHandle, name: &str) -> MemberState {
    group.status().member(name).expect("a member").state()
}

async fn run_of(group: &GroupHandle, name: &str) -> u64 {
    let info = member(group, name).get_process_info().await;
    info.expect("there").run()
}

async fn tell(group: &GroupHandle, name: &str, what: &str) {
    member(group, name).send_message(what).await.expect("sent");
}

/// An event in few letters.
fn letters(event: &GroupEvent) -> String {
    match event {
        GroupEvent::Member { name, state } => format!("{name}={state}"),
        GroupEvent::Ready => "R".to_owned(),
        GroupEvent::Stopped => "S".to_owned(),
        GroupEvent::Failed { name } => format!("!{name}"),
        GroupEvent::NotStarted { name, because_of } => format!("x{name}:{because_of}"),
        GroupEvent::Missed(count) => format!("missed {count}"),
    }
}

/// All events up to this one.
async fn until(events: &mut GroupEventStream, last: &str) -> String {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|seen| seen != last) {
        let Some(event) = events.next().await else {
            panic!("there is no {last} after {seen:?}");
        };
        seen.push(letters(&event));
    }
    seen.join(" ")
}

async fn rest(events: GroupEventStream) -> String {
    let events: Vec<_> = events.map(|event| letters(&event)).collect().await;
    events.join(" ")
}
