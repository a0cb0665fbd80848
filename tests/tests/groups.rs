//! Groups of real processes: who starts after whom, who stops before whom, and who shares a failure.
//!
//! What the group tells is compared with what its processes themselves have written down.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Backoff, Cmd, ConfigurationError, ExitCause, FailurePolicy, GraphError, GroupError, GroupEvent,
    GroupEventStream, GroupHandle, GroupPhase, GroupProcess, LogStream, Logging, MemberFailure,
    MemberState, MemberStatus, ProcessGroup, ProcessId, ProcessManager, ProcessManagerHandle,
    Readiness, RestartIntensity, RestartPolicy, Signal, SpawnGroupError, Supervision,
};
use procession_tests::{Checked, Within as _, checked, eventually, procfs, programs};

use FailurePolicy::{OneForAll, OneForOne, RestForOne};

const MOMENT: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(20);

/// Writes down that it starts, that it is ready, and that it is told to stop.
const SERVICE: &str = r#"
    trap 'echo "stop $NAME" >> "$BOOK"; exit 0' TERM
    echo "start $NAME" >> "$BOOK"
    echo "ready $NAME" >> "$BOOK"
    echo up
    while :; do sleep 1000 & wait $!; done
"#;

fn always() -> Supervision {
    Supervision::new(RestartPolicy::Always)
        .backoff(Backoff::new(MOMENT, MOMENT))
        .intensity(RestartIntensity::new(10_000, MOMENT))
}

/// What the processes of a test write down.
struct Book(PathBuf);

impl Book {
    fn new(test: &Checked) -> Self {
        Self(test.scratch().join("book"))
    }

    fn cmd(&self, name: &str, script: &str) -> Cmd {
        Cmd::new(programs::bash())
            .args(["-c", script])
            .env("NAME", name)
            .env("BOOK", &self.0)
    }

    fn service(&self, name: &str) -> Cmd {
        let up = Readiness::LogLine {
            stream: LogStream::Stdout,
            containing: "up".into(),
        };
        self.cmd(name, SERVICE)
            .logging(Logging::stdout())
            .ready_when(up)
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The place of the last line that says this.
    #[track_caller]
    fn place(&self, what: &str, name: &str) -> usize {
        let lines = self.lines();
        let line = format!("{what} {name}");
        let place = lines.iter().rposition(|known| *known == line);
        place.unwrap_or_else(|| panic!("no {line} in {lines:?}"))
    }
}

async fn start(test: &Checked, group: ProcessGroup) -> (GroupHandle, GroupEventStream) {
    start_in(test.manager(), group).await
}

async fn start_in(
    manager: &ProcessManagerHandle,
    group: ProcessGroup,
) -> (GroupHandle, GroupEventStream) {
    let group = manager.spawn_group(group).within("the start").await;
    let group = group.unwrap();
    let events = group.events();
    (group, events)
}

/// The events up to the first one that is this, with that.
async fn until(events: &mut GroupEventStream, last: &GroupEvent) -> Vec<GroupEvent> {
    let mut seen = Vec::new();
    while seen.last() != Some(last) {
        let event = events
            .next()
            .within(format!("{last:?} after {seen:?}"))
            .await;
        seen.push(event.unwrap());
    }
    seen
}

fn is(name: &str, state: MemberState) -> GroupEvent {
    let name = name.to_owned();
    GroupEvent::Member { name, state }
}

fn state(group: &GroupHandle, name: &str) -> MemberState {
    group.status().member(name).unwrap().state()
}

/// Numbers that look random, the same ones in each run: a prime modulus and a primitive root.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0 * 48_271 % 2_147_483_647;
        usize::try_from(self.0).unwrap() % bound
    }
}

/// Fifty names in no order, and what each of them needs.
fn fifty(seed: u64) -> Vec<(String, Vec<String>)> {
    let mut dice = Dice(seed);
    let mut made: Vec<(String, Vec<String>)> = Vec::new();
    for number in 0..50 {
        let mut needs = Vec::new();
        for _ in 0..dice.below(4).min(number) {
            needs.push(made[dice.below(number)].0.clone());
        }
        made.push((format!("p{number}"), needs));
    }
    for at in (1..made.len()).rev() {
        made.swap(at, dice.below(at + 1));
    }
    made
}

#[test]
fn fifty_processes_start_in_the_least_waves_and_stop_in_reverse() {
    checked(async |test| {
        let book = Book::new(test);
        let nodes = fifty(11);
        let needs: HashMap<_, _> = nodes.iter().cloned().collect();
        let group = nodes
            .iter()
            .fold(ProcessGroup::new(), |group, (name, needs)| {
                let process = GroupProcess::new(book.service(name)).needs(needs);
                group.process(name, process)
            });
        let waves = group.waves().unwrap();
        assert!(waves.len() > 4, "{waves:?}");
        let (group, mut events) = start(test, group).await;
        let started = until(&mut events, &GroupEvent::Ready).await;
        group.wait_ready().within("ready").await.unwrap();

        // Each starts at the very moment at which the last of what it needs is ready.
        let mut depth: HashMap<String, usize> = HashMap::new();
        let mut ready: Vec<&String> = Vec::new();
        for event in &started {
            let GroupEvent::Member { name, state } = event else {
                continue;
            };
            if *state == MemberState::Ready {
                ready.push(name);
                continue;
            }
            assert_eq!(*state, MemberState::Starting, "{event}");
            let needs = &needs[name];
            assert!(needs.iter().all(|need| ready.contains(&need)), "{event}");
            match ready.last() {
                Some(last) => assert!(needs.contains(last), "{event} after {last}"),
                None => assert!(needs.is_empty(), "{event}"),
            }
            let below = needs.iter().map(|need| depth[need] + 1).max();
            depth.insert(name.clone(), below.unwrap_or(0));
        }
        assert_eq!(depth.len(), 50);
        for (number, wave) in waves.iter().enumerate() {
            assert!(wave.iter().all(|name| depth[name] == number), "{wave:?}");
        }
        for (name, needs) in &needs {
            for need in needs {
                let (ready, start) = (book.place("ready", need), book.place("start", name));
                assert!(ready < start, "{name} has started before {need} was ready");
            }
        }

        let status = group.stop().within("the stop").await.unwrap();
        assert_eq!(status.phase(), GroupPhase::Stopped);
        let mut stopped: Vec<String> = Vec::new();
        while let Some(event) = events.next().within("an event").await {
            if let GroupEvent::Member { name, state } = event {
                match state {
                    MemberState::Stopped => stopped.push(name),
                    MemberState::Stopping => {
                        let needing = needs.iter().filter(|(_, needs)| needs.contains(&name));
                        let mut needing = needing.map(|(other, _)| other);
                        assert!(needing.all(|other| stopped.contains(other)), "{name}");
                    }
                    state => panic!("{name} is {state}"),
                }
            }
        }
        assert_eq!(stopped.len(), 50);
        for (name, needs) in &needs {
            for need in needs {
                let (first, then) = (book.place("stop", name), book.place("stop", need));
                assert!(first < then, "{need} has stopped before {name}");
            }
            let handle = group.process(name).unwrap();
            let report = handle.wait().within("its end").await.unwrap();
            assert_eq!(
                (report.code(), report.cause()),
                (Some(0), ExitCause::Stopped)
            );
        }
    });
}

const TREE: [(&str, &[&str]); 5] = [
    ("web", &["api", "cache"]),
    ("api", &["db"]),
    ("cache", &["db"]),
    ("db", &[]),
    ("log", &[]),
];

fn tree(book: &Book, policy: FailurePolicy, rules: Supervision) -> ProcessGroup {
    let group = ProcessGroup::new().on_failure(policy);
    TREE.iter().fold(group, |group, (name, needs)| {
        let cmd = book.service(name).supervised(rules);
        group.process(*name, GroupProcess::new(cmd).needs(needs.iter().copied()))
    })
}

async fn pids(group: &GroupHandle) -> Vec<(ProcessId, Option<u32>)> {
    let mut pids = Vec::new();
    for (name, _) in TREE {
        let info = group
            .process(name)
            .unwrap()
            .get_process_info()
            .await
            .unwrap();
        pids.push((info.id(), info.pid()));
    }
    pids
}

/// Kills `api`, waits for what is the last to be ready then, and says who has been started again.
async fn kill_api(policy: FailurePolicy, last: &str, test: &Checked) -> (Book, Vec<&'static str>) {
    let book = Book::new(test);
    let (group, mut events) = start(test, tree(&book, policy, always())).await;
    until(&mut events, &GroupEvent::Ready).await;
    let before = pids(&group).await;
    let api = group.process("api").unwrap();
    api.signal(Signal::KILL).await.unwrap();
    until(&mut events, &is("api", MemberState::Down)).await;
    until(&mut events, &is(last, MemberState::Ready)).await;
    let after = pids(&group).await;
    let mut again = Vec::new();
    for ((name, _), (before, after)) in TREE.into_iter().zip(before.iter().zip(&after)) {
        assert_eq!(before.0, after.0, "the id of {name} stays");
        if before.1 != after.1 {
            again.push(name);
            assert!(!procfs::is_alive(before.1.unwrap()), "the old {name}");
        }
    }
    group.stop().within("the stop").await.unwrap();
    (book, again)
}

#[test]
fn one_for_one_starts_what_was_killed_again() {
    checked(async |test| {
        let (_, again) = kill_api(OneForOne, "api", test).await;
        assert_eq!(again, ["api"]);
    });
}

#[test]
fn rest_for_one_starts_all_that_needs_it_again_after_it() {
    checked(async |test| {
        let (book, again) = kill_api(RestForOne, "web", test).await;
        assert_eq!(again, ["web", "api"]);
        let lines = book.lines();
        let at = |line: &str, skip| {
            let mut places = (0..lines.len()).filter(|&at| lines[at] == line);
            places.nth(skip).unwrap_or_else(|| panic!("{lines:?}"))
        };
        let order = [
            at("stop web", 0),
            at("start api", 1),
            at("ready api", 1),
            at("start web", 1),
        ];
        assert!(order.is_sorted(), "{lines:?}");
    });
}

#[test]
fn one_for_all_stops_all_in_reverse_and_starts_all_again() {
    checked(async |test| {
        let (book, again) = kill_api(OneForAll, "web", test).await;
        assert_eq!(again.len(), 5, "{again:?}");
        let lines = book.lines();
        let at = |line: &str, skip| {
            let mut places = (0..lines.len()).filter(|&at| lines[at] == line);
            places.nth(skip).unwrap_or_else(|| panic!("{lines:?}"))
        };
        let order = [
            at("stop web", 0),
            at("stop cache", 0),
            at("stop db", 0),
            at("start db", 1),
            at("ready db", 1),
            at("start api", 1),
            at("ready api", 1),
            at("start web", 1),
        ];
        assert!(order.is_sorted(), "{lines:?}");
        assert!(at("stop log", 0) < at("start db", 1), "{lines:?}");
    });
}

#[test]
fn what_cannot_be_a_group_is_refused_before_anything_starts() {
    checked(async |test| {
        let needs = |need: &str| GroupProcess::new(Cmd::new("true")).needs([need]);
        let circle = ProcessGroup::new()
            .process("c", needs("a"))
            .process("free", Cmd::new("true"))
            .process("b", needs("c"))
            .process("a", needs("b"));
        let error = test.manager().spawn_group(circle).await.unwrap_err();
        let path = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(error, SpawnGroupError::Graph(GraphError::Cycle { path }));
        assert!(error.to_string().ends_with("a -> b -> c -> a"), "{error}");
        let twice = ProcessGroup::new()
            .process("a", Cmd::new("true"))
            .process("a", Cmd::new("true"));
        let error = test.manager().spawn_group(twice).await.unwrap_err();
        assert_eq!(error.to_string(), "two processes are named `a`");
        let bad = ProcessGroup::new()
            .process("good", Cmd::new("true"))
            .process("bad", Cmd::new(""));
        let error = test.manager().spawn_group(bad).await.unwrap_err();
        let expected = SpawnGroupError::Configuration {
            name: "bad".to_owned(),
            error: ConfigurationError::EmptyProgram,
        };
        assert_eq!(error, expected);
        assert!(
            error.to_string().starts_with("`bad` cannot be started: "),
            "{error}"
        );
        assert_eq!(test.manager().list().await.unwrap(), []);
    });
}

#[test]
fn a_oneshot_is_over_before_what_needs_it_begins() {
    checked(async |test| {
        let book = Book::new(test);
        let set_up = book.cmd(
            "set_up",
            r#"echo "start set_up" >> "$BOOK"; echo "done set_up" >> "$BOOK""#,
        );
        let group = ProcessGroup::new()
            .process(
                "web",
                GroupProcess::new(book.service("web")).needs(["set_up"]),
            )
            .process("set_up", GroupProcess::new(set_up).needs(["db"]).oneshot())
            .process("db", book.service("db"));
        let (group, _) = start(test, group).await;
        group.wait_ready().within("ready").await.unwrap();
        let expected = [
            "start db",
            "ready db",
            "start set_up",
            "done set_up",
            "start web",
            "ready web",
        ];
        assert_eq!(book.lines(), expected);
        assert_eq!(state(&group, "set_up"), MemberState::Ended);
        group.stop().within("the stop").await.unwrap();
        assert_eq!(book.lines()[6..], ["stop web", "stop db"]);
    });
}

#[test]
fn one_that_cannot_be_started_is_named_and_the_others_go_on() {
    checked(async |test| {
        let book = Book::new(test);
        let group = ProcessGroup::new()
            .process("web", GroupProcess::new(book.service("web")).needs(["db"]))
            .process("db", Cmd::new("/no/such/program"))
            .process("log", book.service("log"));
        let (group, mut events) = start(test, group).await;
        let error = group.wait_ready().within("its failure").await.unwrap_err();
        let GroupError::Failed {
            name,
            why: MemberFailure::CannotStart(why),
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(name, "db");
        assert!(why.contains("/no/such/program"), "{why}");
        until(&mut events, &is("log", MemberState::Ready)).await;
        let status = group.status();
        assert_eq!(status.phase(), GroupPhase::Failed);
        let db = status.member("db").unwrap();
        assert_eq!(
            (db.state(), db.error()),
            (MemberState::Failed, Some(why.as_str()))
        );
        assert_eq!(db.process(), None);
        assert_eq!(state(&group, "web"), MemberState::Stopped);
        assert!(group.process("web").is_none());
        group.stop().within("the stop").await.unwrap();
        assert_eq!(book.lines(), ["start log", "ready log", "stop log"]);
    });
}

#[test]
fn one_that_is_given_up_takes_along_what_needs_it() {
    checked(async |test| {
        let book = Book::new(test);
        let few = always().intensity(RestartIntensity::new(2, Duration::from_mins(1)));
        let (group, mut events) = start(test, tree(&book, RestForOne, few)).await;
        until(&mut events, &GroupEvent::Ready).await;
        for _ in 0..2 {
            let api = group.process("api").unwrap();
            api.signal(Signal::KILL).await.unwrap();
            until(&mut events, &is("api", MemberState::Down)).await;
            until(&mut events, &is("web", MemberState::Ready)).await;
        }
        let api = group.process("api").unwrap();
        api.signal(Signal::KILL).await.unwrap();
        until(&mut events, &is("api", MemberState::Failed)).await;
        until(&mut events, &is("web", MemberState::Stopped)).await;
        let report = api.wait().within("its end").await.unwrap();
        assert_eq!(
            (report.signal(), report.cause()),
            (Some(9), ExitCause::RestartLimit)
        );
        for name in ["cache", "db", "log"] {
            assert_eq!(state(&group, name), MemberState::Ready, "{name}");
        }
        group.stop().within("the stop").await.unwrap();
    });
}

#[test]
fn a_stop_while_it_starts_leaves_nothing() {
    checked(async |test| {
        for seed in 1..8 {
            let book = Book::new(test);
            let group = fifty(seed).into_iter().take(20);
            let names: Vec<_> = group.collect();
            let known: Vec<_> = names.iter().map(|(name, _)| name.clone()).collect();
            let group = names
                .iter()
                .fold(ProcessGroup::new(), |group, (name, needs)| {
                    let needs = needs.iter().filter(|need| known.contains(need)).cloned();
                    group.process(name, GroupProcess::new(book.service(name)).needs(needs))
                });
            let (group, mut events) = start(test, group).await;
            // At another moment each time, from the first one on.
            for _ in 0..(seed - 1) * 3 {
                events.next().within("an event").await;
            }
            let status = group.stop().within("the stop").await.unwrap();
            let states = status.members().iter().map(MemberStatus::state);
            let states: Vec<_> = states.collect();
            assert_eq!(states, [MemberState::Stopped; 20], "{seed}");
            for info in test.manager().list().await.unwrap() {
                assert!(info.permanent_end().is_some(), "{info:?}");
            }
        }
    });
}

#[test]
fn a_shutdown_of_the_manager_ends_groups_wherever_they_are() {
    checked(async |test| {
        let book = Book::new(test);
        let manager = ProcessManager::spawn(test.scratch()).unwrap();
        let slow = Backoff::new(Duration::from_mins(10), Duration::from_mins(10));
        let (up, mut events) = start_in(&manager, tree(&book, OneForOne, always())).await;
        until(&mut events, &GroupEvent::Ready).await;
        let (down, mut events) =
            start_in(&manager, tree(&book, RestForOne, always().backoff(slow))).await;
        until(&mut events, &GroupEvent::Ready).await;
        let db = down.process("db").unwrap();
        db.signal(Signal::KILL).await.unwrap();
        until(&mut events, &is("db", MemberState::Restarting)).await;
        let (starting, _) = start_in(&manager, tree(&book, OneForAll, always())).await;
        manager.shutdown().within("the shutdown").await.unwrap();
        for group in [up, down, starting] {
            let status = group.wait().within("its end").await.unwrap();
            assert_eq!(status.phase(), GroupPhase::Stopped);
            let states: Vec<_> = status.members().iter().map(MemberStatus::state).collect();
            assert_eq!(states, [MemberState::Stopped; 5], "{status}");
        }
    });
}

#[test]
fn what_a_group_leaves_running_is_found_by_nobody() {
    checked(async |test| {
        let book = Book::new(test);
        let script = r#"sleep 1000 & echo $! >> "$BOOK"; wait"#;
        let group = ProcessGroup::new().process("parent", book.cmd("parent", script));
        let (group, _) = start(test, group).await;
        let child = eventually("its child", SOON, async || {
            book.lines().first().and_then(|line| line.parse().ok())
        });
        let child: u32 = child.await;
        group.stop().within("the stop").await.unwrap();
        assert!(!procfs::is_alive(child), "it was of its tree");
    });
}
