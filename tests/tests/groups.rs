//! Groups of real processes: who starts after whom, who stops before whom, and ends that come in the middle.
//!
//! What the group tells is compared with what its processes themselves have written down.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Backoff, Cmd, ConfigurationError, ExitCause, FailurePolicy, GraphError, GroupEvent, GroupPhase,
    GroupProcess, MemberState, MemberStatus, ProcessGroup, ProcessManager, Signal, SpawnGroupError,
};
use procession_tests::groups::{Book, always, is, start, state, tree, until};
use procession_tests::{Within as _, checked, eventually, procfs};

use FailurePolicy::{OneForAll, OneForOne, RestForOne};

const SOON: Duration = Duration::from_secs(20);

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
        let (group, mut events) = start(test.manager(), group).await;
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
                let (ready, start) = (book.place("ready", need, 0), book.place("start", name, 0));
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
                let (first, then) = (book.place("stop", name, 0), book.place("stop", need, 0));
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
        let (group, _) = start(test.manager(), group).await;
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
            let (group, mut events) = start(test.manager(), group).await;
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
        let (up, mut events) = start(&manager, tree(&book, OneForOne, always())).await;
        until(&mut events, &GroupEvent::Ready).await;
        let (down, mut events) =
            start(&manager, tree(&book, RestForOne, always().backoff(slow))).await;
        until(&mut events, &GroupEvent::Ready).await;
        let db = down.process("db").unwrap();
        db.signal(Signal::KILL).await.unwrap();
        until(&mut events, &is("db", MemberState::Restarting)).await;
        let (starting, _) = start(&manager, tree(&book, OneForAll, always())).await;
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
fn what_a_member_has_started_goes_with_it() {
    checked(async |test| {
        let book = Book::new(test);
        let script = r#"sleep 1000 & echo $! >> "$BOOK"; wait"#;
        let group = ProcessGroup::new().process("parent", book.cmd("parent", script));
        let (group, _) = start(test.manager(), group).await;
        let child = eventually("its child", SOON, async || {
            book.lines().first().and_then(|line| line.parse().ok())
        });
        let child: u32 = child.await;
        group.stop().within("the stop").await.unwrap();
        assert!(!procfs::is_alive(child), "it was of its tree");
    });
}
