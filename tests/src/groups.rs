//! Groups of services that write down what happens to them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Backoff, Cmd, FailurePolicy, GroupEvent, GroupEventStream, GroupHandle, GroupProcess,
    LogStream, Logging, MemberState, ProcessGroup, ProcessManagerHandle, Readiness,
    RestartIntensity, RestartPolicy, Supervision,
};

use crate::{Checked, Within as _, programs};

const MOMENT: Duration = Duration::from_millis(1);

/// Writes down that it starts, that it is ready, and that it is told to stop.
const SERVICE: &str = r#"
    trap 'echo "stop $NAME" >> "$BOOK"; exit 0' TERM
    echo "start $NAME" >> "$BOOK"
    echo "ready $NAME" >> "$BOOK"
    echo up
    while :; do sleep 1000 & wait $!; done
"#;

/// Restarted whatever happens, and at once.
pub fn always() -> Supervision {
    Supervision::new(RestartPolicy::Always)
        .backoff(Backoff::new(MOMENT, MOMENT))
        .intensity(RestartIntensity::new(10_000, MOMENT))
}

/// What the processes of a test write down: a line is a word and a name.
#[derive(Debug)]
pub struct Book(PathBuf);

impl Book {
    /// An empty one.
    pub fn new(test: &Checked) -> Self {
        Self(test.scratch().join("book"))
    }

    /// A shell script that has the book in `$BOOK`, and its name in `$NAME`.
    pub fn cmd(&self, name: &str, script: &str) -> Cmd {
        Cmd::new(programs::bash())
            .args(["-c", script])
            .env("NAME", name)
            .env("BOOK", &self.0)
    }

    /// A service that writes `start`, `ready` and, when it is told to end, `stop`.
    pub fn service(&self, name: &str) -> Cmd {
        let up = Readiness::LogLine {
            stream: LogStream::Stdout,
            containing: "up".into(),
        };
        self.cmd(name, SERVICE)
            .logging(Logging::stdout())
            .ready_when(up)
    }

    /// All that is in it.
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The number of the line that says this for the n-th time, counted from 0.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    pub fn place(&self, what: &str, name: &str, n: usize) -> usize {
        let lines = self.lines();
        let line = format!("{what} {name}");
        let mut places = (0..lines.len()).filter(|&at| lines[at] == line);
        let place = places.nth(n);
        place.unwrap_or_else(|| panic!("no {line} for the {n}-th time in {lines:?}"))
    }
}

/// The names of a tree of services, and what each of them needs.
pub const TREE: [(&str, &[&str]); 5] = [
    ("web", &["api", "cache"]),
    ("api", &["db"]),
    ("cache", &["db"]),
    ("db", &[]),
    ("log", &[]),
];

/// The tree as a group.
pub fn tree(book: &Book, policy: FailurePolicy, rules: Supervision) -> ProcessGroup {
    let group = ProcessGroup::new().on_failure(policy);
    TREE.iter().fold(group, |group, (name, needs)| {
        let cmd = book.service(name).supervised(rules);
        let process = GroupProcess::new(cmd).needs(needs.iter().copied());
        group.process(*name, process)
    })
}

/// Starts a group, and listens to it.
///
/// # Panics
/// Where it is refused.
pub async fn start(
    manager: &ProcessManagerHandle,
    group: ProcessGroup,
) -> (GroupHandle, GroupEventStream) {
    let group = manager.spawn_group(group).within("the start").await;
    let group = group.expect("a group that can be started");
    let events = group.events();
    (group, events)
}

/// The events up to the first one that is this, with that.
///
/// # Panics
/// Where it does not come.
pub async fn until(events: &mut GroupEventStream, last: &GroupEvent) -> Vec<GroupEvent> {
    let mut seen = Vec::new();
    while seen.last() != Some(last) {
        let what = format!("{last:?} after {seen:?}");
        let event = events.next().within(&what).await;
        seen.push(event.expect(&what));
    }
    seen
}

/// That a process of a group is in this state.
pub fn is(name: &str, state: MemberState) -> GroupEvent {
    let name = name.to_owned();
    GroupEvent::Member { name, state }
}

/// Where a process of a group is.
///
/// # Panics
/// Where there is no such process.
pub fn state(group: &GroupHandle, name: &str) -> MemberState {
    let status = group.status();
    status.member(name).expect("a process of the group").state()
}
