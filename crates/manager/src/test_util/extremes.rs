//! Zero, the smallest and the largest values of all options that take a time or a number, as
//! `docs/extremes.md` tells them.

use std::fmt::{Debug, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use tokio::time::timeout;

use super::tests::{echo, frames, manager, spawn};
use super::*;
use crate::model::{ConfigurationError, Resource, Subscription};
use crate::{
    Backoff, ExitCause, HealthCheck, HealthRule, Liveness, LogsQuery, MAX_WORKERS,
    PoolRequestError, PoolRequestOptions, ProcessHandle, ProcessManager, ProcessManagerBuilder,
    ProcessManagerHandle, ProcessPoolBuilder, Readiness, RequestError, RequestOptions,
    RestartIntensity, RestartPolicy, Run, StartPoolError, Supervision, WhenFull,
};

const NANO: Duration = Duration::from_nanos(1);
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The longest time that can be added to an instant of now: a timer that rounds it up overflows.
fn longest() -> Duration {
    let now = Instant::now();
    (0..63).rev().fold(Duration::ZERO, |sum, bit| {
        let more = sum + Duration::from_secs(1 << bit);
        now.checked_add(more).map_or(sum, |_| more)
    })
}

/// From the smallest to the largest.
fn times() -> [Duration; 5] {
    [Duration::ZERO, NANO, MILLI, longest(), Duration::MAX]
}

/// Returns times that are long enough for anything.
fn long_times() -> [Duration; 3] {
    [
        Duration::from_hours(24 * 365 * 1000),
        longest(),
        Duration::MAX,
    ]
}

/// Checks that the child answers, passes on messages, and stops when it is asked to.
async fn works(child: &ProcessHandle, what: &dyn Debug) {
    let mut messages = child.subscribe_message_stream().await.expect("a stream");
    for number in 0..20 {
        let text = format!("{number}");
        assert_eq!(
            child.request(text.clone()).await.expect("a reply"),
            text.as_str(),
            "{what:?}"
        );
        child.send_message(text.clone()).await.expect("sent");
        let message = messages.next().await.expect("a message").expect("whole");
        assert_eq!(message, text.as_str(), "{what:?}");
    }
    let report = child.stop().await.expect("it stops");
    assert_eq!(
        (report.code(), report.cause()),
        (Some(0), ExitCause::Stopped),
        "{what:?}"
    );
}

async fn works_with(manager: &ProcessManagerHandle, cmd: Cmd) {
    let what = cmd.clone();
    let child = spawn(manager, ScriptedChild::new(cmd, echo)).await;
    works(&child, &what).await;
    child.remove().await.expect("removed");
}

fn with(change: impl FnOnce(Messaging) -> Messaging) -> Cmd {
    let messaging = Messaging::named_pipes().framing(Framing::Frames);
    Cmd::new("scripted").messaging(change(messaging))
}

fn supervised(rules: Supervision) -> Cmd {
    frames().supervised(rules)
}

/// A check that is passed.
fn check(interval: Duration) -> HealthCheck {
    HealthCheck::request(interval, "well?")
}

/// Options of a command under which a child works as under any other.
fn harmless() -> Vec<Cmd> {
    let mut all = vec![
        with(|messaging| messaging.message_limit(procession_wire::MAX_MESSAGE_LIMIT)),
        with(|messaging| messaging.skip_before_hello(1024 * 1024)),
    ];
    for most in [1, usize::MAX / 2, usize::MAX] {
        all.push(with(|messaging| messaging.buffer(most)));
        all.push(with(|messaging| messaging.buffer_bytes(most)));
        all.push(with(|messaging| messaging.buffer(most).buffer_bytes(most)));
        all.push(supervised(Supervision::default().keep_runs(most)));
    }
    all.push(supervised(Supervision::default().keep_runs(0)));
    for time in long_times() {
        all.push(with(|messaging| messaging.lease(time)));
        all.push(frames().timeout(time));
        all.push(frames().start_deadline(time));
        all.push(frames().ready_when(Readiness::Notify {
            watchdog: Some(time),
        }));
        let rules = Supervision::default();
        all.push(supervised(rules).health_check(check(time)));
        all.push(supervised(rules).health_check(check(SECOND).time_limit(time)));
        for count in [0, 1, u32::MAX] {
            all.push(with(|messaging| {
                messaging.liveness(Liveness::every(time).misses(count.max(1)).stop())
            }));
            all.push(supervised(
                rules.intensity(RestartIntensity::new(count, time)),
            ));
            all.push(
                supervised(rules.health(HealthRule::new(count, count))).health_check(check(time)),
            );
        }
    }
    for (first, longest) in times()
        .into_iter()
        .flat_map(|one| times().map(|other| (one, other)))
    {
        let backoff = Backoff::new(first, longest).reset_after(first);
        all.push(supervised(Supervision::default().backoff(backoff)));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn no_option_of_a_command_is_too_large() {
    let manager = manager();
    for cmd in harmless() {
        // A scripted child has no socket to say that it is ready.
        if !matches!(cmd.readiness(), Some(Readiness::Notify { .. })) {
            works_with(&manager, cmd).await;
        }
    }
    manager.shutdown().await.expect("the end");
}

/// Why a command is refused; by the name of the option, and the least or the most.
fn refused() -> Vec<(Cmd, &'static str, &'static str)> {
    let mut all = vec![
        (
            with(|messaging| messaging.buffer(0)),
            "buffer",
            "at least 1",
        ),
        (
            with(|messaging| messaging.buffer_bytes(0)),
            "buffer_bytes",
            "at least 1",
        ),
        (
            with(|messaging| messaging.message_limit(0)),
            "message_limit",
            "at least 1",
        ),
        (
            with(|messaging| messaging.message_limit(usize::MAX)),
            "message limit",
            "at most 4294966271",
        ),
        (
            with(|messaging| messaging.skip_before_hello(usize::MAX)),
            "skip_before_hello",
            "at most 1048576",
        ),
        (
            with(|messaging| messaging.liveness(Liveness::every(SECOND).misses(0))),
            "misses",
            "at least 1",
        ),
        (
            frames().limit(Resource::CpuSeconds, 0),
            "RLIMIT_CPU",
            "at least 1",
        ),
        (
            frames().limit(Resource::AddressSpace, 0),
            "RLIMIT_AS",
            "at least 1",
        ),
        (frames().user(u32::MAX), "user", "none"),
        (frames().group(u32::MAX), "group", "none"),
        (frames().umask(u32::MAX), "umask", "at most 0o777"),
        (frames().nice(i32::MAX), "niceness", "from -20 to 19"),
        (frames().nice(i32::MIN), "niceness", "from -20 to 19"),
    ];
    for time in [Duration::ZERO, NANO] {
        let rules = Supervision::default();
        all.extend([
            (
                with(|messaging| messaging.lease(time)),
                "lease",
                "at least 30 ms",
            ),
            (
                with(|messaging| messaging.liveness(Liveness::every(time))),
                "liveness",
                "at least 10 ms",
            ),
            (frames().timeout(time), "timeout", "at least 1 ms"),
            (
                frames().start_deadline(time),
                "start_deadline",
                "at least 1 ms",
            ),
            (
                frames().ready_when(Readiness::Notify {
                    watchdog: Some(time),
                }),
                "watchdog",
                "at least 10 ms",
            ),
            (
                supervised(rules).health_check(check(time)),
                "health_check",
                "at least 10 ms",
            ),
            (
                supervised(rules).health_check(check(SECOND).time_limit(time)),
                "time_limit",
                "at least 1 ms",
            ),
            (
                supervised(rules.intensity(RestartIntensity::new(1, time))),
                "intensity",
                "at least 1 ms",
            ),
        ]);
    }
    all
}

fn is_refused(cmd: &Cmd, option: &str, bound: &str) {
    let error: ConfigurationError = cmd.validate().expect_err(option);
    let text = error.to_string();
    assert!(text.contains(option) && text.contains(bound), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused_by_its_name_and_bound() {
    for (cmd, option, bound) in refused() {
        is_refused(&cmd, option, bound);
    }
}

#[cfg(feature = "serde")]
#[test]
fn data_are_held_to_the_same() {
    let read = |text: &str| serde_json::from_str::<Cmd>(text).expect("it can be read");
    for cmd in harmless() {
        // A check of its health is a function, and no data.
        if cmd.health().is_none() {
            let text = serde_json::to_string(&cmd).expect("written");
            read(&text).validate().expect(&text);
        }
    }
    for (cmd, option, bound) in refused() {
        if cmd.health().is_none() && cmd.supervision().is_none() {
            let text = serde_json::to_string(&cmd).expect("written");
            // Times are rounded up to whole milliseconds.
            if read(&text) == cmd {
                is_refused(&read(&text), option, bound);
            }
        }
    }
    for (text, bound) in [
        (
            r#""messaging":{"input":"standard_io","framing":"lines","buffer":-1}"#,
            "-1",
        ),
        (
            r#""messaging":{"input":"standard_io","framing":"lines","buffer":18446744073709551616}"#,
            "1.844",
        ),
        (r#""timeout_ms":1.5"#, "1.5"),
        (r#""timeout_ms":NaN"#, ""),
        (r#""timeout_ms":1e300"#, "1e+300"),
        (r#""timeout_ms":-1"#, "-1"),
        (
            r#""supervised":{"intensity":{"restarts":4294967295}}"#,
            "at most 10000",
        ),
    ] {
        let text = format!(r#"{{"program":"worker",{text}}}"#);
        let error = serde_json::from_str::<Cmd>(&text)
            .expect_err(&text)
            .to_string();
        assert!(error.contains(bound), "{text}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_option_of_a_manager_is_too_large() {
    type Set = fn(ProcessManagerBuilder, Duration) -> ProcessManagerBuilder;
    let sets: [Set; 3] = [
        ProcessManagerBuilder::drain_quiet,
        ProcessManagerBuilder::drain_bound,
        ProcessManagerBuilder::grace,
    ];
    let builder = || ProcessManager::builder().guard(false);
    for time in times() {
        for set in sets {
            let manager = set(builder(), time).spawn().expect("a manager");
            let child = spawn(&manager, ScriptedChild::new(frames(), echo)).await;
            assert_eq!(child.request("a").await.expect("a reply"), "a");
            child.close_input().await.expect("closed");
            child.wait().await.expect("its end");
            manager.shutdown().await.expect("the end");
        }
    }
    for time in long_times() {
        let manager = builder().spawn_timeout(time).spawn().expect("a manager");
        let output = manager.run(Cmd::new("true")).await;
        assert!(output.expect("it runs").success(), "{time:?}");
        manager.shutdown().await.expect("the end");
    }
    for time in [Duration::ZERO, NANO] {
        let error = builder()
            .spawn_timeout(time)
            .spawn()
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("spawn_timeout") && error.contains("at least 1 ms"),
            "{error}"
        );
    }
    for count in [0, 1, usize::MAX] {
        let limit = u64::try_from(count).expect("64 bits");
        let manager = builder().retain_exited(count).total_log_limit(limit);
        let manager = manager.spawn().expect("a manager");
        let child = spawn(&manager, ScriptedChild::new(frames(), echo)).await;
        child.stop().await.expect("its end");
        manager.shutdown().await.expect("the end");
    }
}

#[tokio::test(start_paused = true)]
async fn no_time_of_a_call_is_too_long_and_none_is_over_at_once() {
    let manager = manager();
    for time in times() {
        let child = spawn(&manager, ScriptedChild::new(frames(), echo)).await;
        let options = RequestOptions::new().deadline(time);
        match child.request_with("a", options).await {
            Ok(reply) => assert_eq!(reply, "a"),
            Err(RequestError::TimedOut { .. }) => assert!(time <= MILLI, "{time:?}"),
            Err(error) => panic!("{time:?}: {error}"),
        }
        let mut items = child
            .request_items("a", options)
            .await
            .expect("it is asked");
        while items.next().await.is_some() {}
        if time <= MILLI {
            assert_eq!(child.wait_timeout(time).await.expect("no end"), None);
        }
        let waits = child.clone();
        let waits = tokio::spawn(async move { waits.wait_timeout(time).await });
        let report = child.stop_with(time).await.expect("it stops");
        assert_eq!(report.cause(), ExitCause::Stopped, "{time:?}");
        let waited = waits.await.expect("no panic").expect("known");
        assert!(waited.is_some() || time <= MILLI, "{time:?}");
    }
    manager.shutdown().await.expect("the end");
    for time in times() {
        let manager = self::manager();
        spawn(&manager, ScriptedChild::new(frames(), echo)).await;
        manager.shutdown_with(time).await.expect("the end");
    }
}

#[tokio::test(start_paused = true)]
async fn no_buffer_of_a_subscription_is_too_large() {
    let manager = manager();
    for most in [0, 1, usize::MAX] {
        let child = spawn(&manager, ScriptedChild::new(frames(), echo)).await;
        for subscription in [
            Subscription::new().buffer(most),
            Subscription::new().buffer_bytes(most),
            Subscription::new().buffer(most).buffer_bytes(most),
        ] {
            let subscribed = child.subscribe_message_stream_with(subscription).await;
            let Ok(mut messages) = subscribed else {
                assert_eq!(most, 0);
                continue;
            };
            for _ in 0..100 {
                child.send_message("a").await.expect("sent");
                let message = messages.next().await.expect("a message").expect("whole");
                assert_eq!(message, "a");
            }
        }
        child.stop().await.expect("its end");
    }
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_as_far_away_as_it_is_told_to_be() {
    let manager = manager();
    let often = RestartIntensity::new(3, Duration::MAX);
    for (backoff, restarts) in [
        (Backoff::new(Duration::ZERO, Duration::ZERO), true),
        (Backoff::new(Duration::MAX, Duration::ZERO), true),
        (Backoff::new(Duration::ZERO, Duration::MAX), true),
        (Backoff::new(Duration::MAX, Duration::MAX), false),
        (Backoff::new(longest(), longest()), false),
    ] {
        let rules = Supervision::new(RestartPolicy::Always)
            .intensity(often)
            .backoff(backoff);
        let ends = |_child: ChildSide| async { 0 };
        let child = ScriptedChild::new(Cmd::new("scripted").supervised(rules), ends);
        let child = spawn(&manager, child).await;
        let over = timeout(Duration::from_hours(1), child.wait()).await.is_ok();
        assert_eq!(over, restarts, "{backoff}");
        child.kill().await.expect("killed");
    }
    manager.shutdown().await.expect("the end");
}

#[tokio::test(start_paused = true)]
async fn no_rule_of_a_pool_is_too_large_and_none_is_too_small_but_with_an_error() {
    type Set = Box<dyn Fn(ProcessPoolBuilder) -> ProcessPoolBuilder>;
    let mut sets: Vec<Set> = Vec::new();
    for time in times() {
        sets.push(Box::new(move |pool| pool.idle_after(time)));
        sets.push(Box::new(move |pool| pool.cancel_grace(time)));
        for other in times() {
            sets.push(Box::new(move |pool| pool.backoff(time, other)));
        }
    }
    for time in long_times() {
        sets.push(Box::new(move |pool| pool.recycle_after_age(time)));
        sets.push(Box::new(move |pool| {
            pool.request_options(PoolRequestOptions::new().deadline(time).tries(u32::MAX))
        }));
    }
    for number in [0, 1, usize::MAX] {
        let (short, long) = (u32::try_from(number).unwrap_or(u32::MAX), number as u64);
        sets.push(Box::new(move |pool| pool.in_flight(number)));
        sets.push(Box::new(move |pool| pool.queue(number, WhenFull::Wait)));
        sets.push(Box::new(move |pool| pool.queue(number, WhenFull::Refuse)));
        sets.push(Box::new(move |pool| pool.size(0..=number.max(1))));
        sets.push(Box::new(move |pool| pool.poison_after(short)));
        sets.push(Box::new(move |pool| pool.start_failures(short)));
        sets.push(Box::new(move |pool| pool.recycle_after_requests(long)));
        sets.push(Box::new(move |pool| pool.recycle_over_memory(long.max(1))));
    }
    let manager = manager();
    let pool =
        || crate::ProcessPool::builder_with(|_| ScriptedChild::new(frames(), echo)).size(1..=1);
    for set in sets {
        let pool = set(pool()).start(&manager).expect("a pool");
        for _ in 0..3 {
            assert_eq!(pool.request("a").await.expect("a reply"), "a");
        }
        let inputs = futures::stream::iter(["a"; 20]);
        let outcomes = pool.map(inputs).limit(1).collect::<Vec<_>>().await;
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome.as_ref().is_ok_and(|reply| *reply == "a"))
        );
        pool.drain().await.expect("drained");
    }
    let pool_of_one = pool().start(&manager).expect("a pool");
    let at_once = PoolRequestOptions::new().deadline(Duration::ZERO);
    let late = pool_of_one
        .request_with("a", at_once)
        .await
        .expect_err("it has no time");
    assert!(matches!(late, PoolRequestError::TimedOut { .. }), "{late}");
    for limit in [0, usize::MAX] {
        let inputs = futures::stream::iter(["a"; 20]);
        let outcomes = pool_of_one.map_unordered(inputs).limit(limit);
        assert_eq!(outcomes.collect::<Vec<_>>().await.len(), 20);
    }
    pool_of_one.drain().await.expect("drained");
    for (set, words) in [
        (
            pool().recycle_after_age(Duration::ZERO),
            ["recycle_after_age", "10 ms"],
        ),
        (
            pool().recycle_after_age(MILLI),
            ["recycle_after_age", "10 ms"],
        ),
        (
            pool().recycle_over_memory(0),
            ["recycle_over_memory", "1 byte"],
        ),
        (pool().size(0..=0), ["at least one", "at most 16384"]),
        (
            pool().size(MAX_WORKERS + 1..=usize::MAX),
            ["16385", "at most 16384"],
        ),
        (
            pool().size(usize::MAX..=usize::MAX),
            ["at least one", "at most 16384"],
        ),
    ] {
        let error: StartPoolError = set.start(&manager).expect_err("it is refused");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    manager.shutdown().await.expect("the end");
}

#[tokio::test]
async fn a_run_has_as_long_and_may_write_as_much_as_it_is_told() {
    let manager = manager();
    let hello = || Cmd::new("echo").arg("hello");
    for time in long_times() {
        let output = manager
            .run(Run::new(hello()).timeout(time))
            .await
            .expect("it runs");
        assert_eq!(output.stdout(), "hello\n");
    }
    let output = manager
        .run(Run::new(hello()).output_limit(usize::MAX))
        .await;
    assert_eq!(output.expect("it runs").stdout(), "hello\n");
    let none = manager.run(Run::new(hello()).output_limit(0)).await;
    assert!(
        matches!(none, Err(crate::RunError::OutputLimit { limit: 0, .. })),
        "{none:?}"
    );
    let forever = Cmd::new("sleep").arg("1000");
    let none = manager.run(Run::new(forever).timeout(Duration::ZERO)).await;
    assert!(
        matches!(none, Err(crate::RunError::TimedOut { .. })),
        "{none:?}"
    );
    manager.shutdown().await.expect("the end");
}

#[tokio::test]
async fn any_lines_of_a_log_can_be_asked_for() {
    use crate::{LogCursor, LogStream, Logging};
    let manager = manager();
    for limit in [0, u64::MAX] {
        let logging = Logging::stdout().limit(limit);
        let cmd = Cmd::new("seq").arg("3").logging(logging);
        let child = manager.spawn_with_handle(cmd).await.expect("it starts");
        child.wait().await.expect("its end");
        for (query, lines) in [
            (LogsQuery::with_offset(0), 3),
            (LogsQuery::with_offset(usize::MAX), 0),
            (LogsQuery::with_limit(0), 0),
            (LogsQuery::with_limit(usize::MAX), 3),
            (LogsQuery::with_offset_and_limit(1, usize::MAX), 2),
            (LogsQuery::with_offset_and_limit(usize::MAX, usize::MAX), 0),
            (LogsQuery::fetch_all().line_limit(0), 3),
            (LogsQuery::fetch_all().line_limit(usize::MAX), 3),
            (LogsQuery::last(0), 0),
            (LogsQuery::last(usize::MAX), 3),
            (LogsQuery::last(usize::MAX).containing("2"), 1),
            (LogsQuery::from_cursor(LogCursor::before_line(0)), 3),
            (LogsQuery::from_cursor(LogCursor::before_line(u64::MAX)), 0),
            (
                LogsQuery::fetch_all().since(SystemTime::UNIX_EPOCH - longest_ago()),
                3,
            ),
            (
                LogsQuery::fetch_all().until(SystemTime::UNIX_EPOCH - longest_ago()),
                0,
            ),
            (
                LogsQuery::fetch_all().since(SystemTime::UNIX_EPOCH + longest_ago()),
                0,
            ),
            (
                LogsQuery::fetch_all().until(SystemTime::UNIX_EPOCH + longest_ago()),
                3,
            ),
        ] {
            let what = format!("{query:?}");
            let page = child
                .query_logs(LogStream::Stdout, query)
                .await
                .expect("a page");
            assert_eq!(page.lines().len(), lines, "{what}");
        }
        let gone = child
            .query_run_logs(u64::MAX, LogStream::Stdout, LogsQuery::fetch_all())
            .await;
        assert!(gone.is_err());
    }
    manager.shutdown().await.expect("the end");
}

/// A time that `SystemTime` can still tell, of more microseconds than 64 bits hold.
fn longest_ago() -> Duration {
    Duration::from_secs(1 << 60)
}

/// Finds the functions that take a time or a number, as `type::function`.
fn that_take_numbers(dir: &Path, found: &mut Vec<String>) {
    let entries = std::fs::read_dir(dir).expect("the sources are there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        if path.to_string_lossy().contains("test") {
            continue;
        }
        if path.is_dir() {
            that_take_numbers(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        let text = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        let (mut owner, mut rest) = (String::new(), text);
        while let Some((line, after)) = rest.split_once('\n') {
            let words = line.trim_start();
            if let Some(of) = words.strip_prefix("impl") {
                let of = of.split(" for ").last().unwrap_or_default();
                let of = of.rsplit_once("> ").map_or(of, |(_, of)| of);
                owner = of
                    .trim()
                    .chars()
                    .take_while(|letter| letter.is_alphanumeric())
                    .collect();
            }
            let words = words.strip_prefix("pub ").unwrap_or_default();
            let words = words
                .trim_start_matches("const ")
                .trim_start_matches("async ");
            if let Some(name) = words.strip_prefix("fn ") {
                let name: String = name
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let head = rest.split(['{', ';']).next().unwrap_or_default();
                let arguments = head.split("->").next().unwrap_or_default();
                let numbers = [
                    "Duration", "usize", "u64", "u32", "u16", "f32", "f64", "i32", "i64",
                ];
                let is_number = |word: &str| numbers.contains(&word);
                if arguments
                    .split(|c: char| !c.is_alphanumeric())
                    .any(is_number)
                {
                    // Verbs that a macro gives to all kinds of programs.
                    let owner = match owner.as_str() {
                        "" | "Options" => "Cmd",
                        owner => owner,
                    };
                    found.push(format!("{owner}::{name}"));
                }
            }
            rest = after;
        }
    }
}

#[test]
fn each_option_is_told_of() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crates");
    let table = crates
        .parent()
        .expect("the workspace")
        .join("docs/extremes.md");
    let table = std::fs::read_to_string(table).expect("docs/extremes.md");
    let mut found = Vec::new();
    for sources in ["manager/src", "child/src"] {
        that_take_numbers(&crates.join(sources), &mut found);
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 50, "{found:?}");
    let mut wrong = String::new();
    for name in &found {
        if !table.contains(&format!("`{name}`")) {
            let _ = writeln!(wrong, "docs/extremes.md has no row for `{name}`");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
