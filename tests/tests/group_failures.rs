//! Groups of real processes, one of which fails: who is started again with it, and who is stopped.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::Duration;

use procession_manager::{
    Cmd, ExitCause, FailurePolicy, GroupError, GroupEvent, GroupHandle, GroupPhase, GroupProcess,
    MemberFailure, MemberState, ProcessGroup, ProcessId, RestartIntensity, Signal,
};
use procession_tests::groups::{Book, TREE, always, is, start, state, tree, until};
use procession_tests::{Checked, Within as _, checked, procfs};

use FailurePolicy::{OneForAll, OneForOne, RestForOne};

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
    let (group, mut events) = start(test.manager(), tree(&book, policy, always())).await;
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
        let order = [
            book.place("stop", "web", 0),
            book.place("start", "api", 1),
            book.place("ready", "api", 1),
            book.place("start", "web", 1),
        ];
        assert!(order.is_sorted(), "{:?}", book.lines());
    });
}

#[test]
fn one_for_all_stops_all_in_reverse_and_starts_all_again() {
    checked(async |test| {
        let (book, again) = kill_api(OneForAll, "web", test).await;
        assert_eq!(again.len(), 5, "{again:?}");
        let order = [
            book.place("stop", "web", 0),
            book.place("stop", "cache", 0),
            book.place("stop", "db", 0),
            book.place("start", "db", 1),
            book.place("ready", "db", 1),
            book.place("start", "api", 1),
            book.place("ready", "api", 1),
            book.place("start", "web", 1),
        ];
        assert!(order.is_sorted(), "{:?}", book.lines());
        assert!(
            book.place("stop", "log", 0) < book.place("start", "db", 1),
            "{:?}",
            book.lines()
        );
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
        let (group, mut events) = start(test.manager(), group).await;
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
        let (group, mut events) = start(test.manager(), tree(&book, RestForOne, few)).await;
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
