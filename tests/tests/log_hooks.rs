//! Hooks see every line of a log, and lines become events.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::sync::{Arc, Mutex};

use procession_manager::{
    LogHook, LogLine, LogRoute, LogStream, Logging, OutputState, ProcessId, ProcessManager,
};
use procession_tests::logs::{ROUTES, STDOUT, ends, sh, stdout};
use procession_tests::{Within as _, checked};

/// What a hook was called with.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(ProcessId, LogLine)>>>);

impl Seen {
    fn hook(&self) -> LogHook {
        let seen = self.clone();
        LogHook::new(move |process, line| {
            let seen = seen.clone();
            async move {
                tokio::task::yield_now().await;
                seen.0.lock().unwrap().push((process, line));
            }
        })
    }

    fn of(&self, process: ProcessId, stream: LogStream) -> Vec<(u64, String)> {
        let seen = self.0.lock().unwrap();
        let own = seen
            .iter()
            .filter(|(id, line)| *id == process && line.stream() == stream);
        own.map(|(_, line)| (line.number(), line.text().into_owned()))
            .collect()
    }
}

/// Line 0 is `1`.
fn counted(count: u64) -> Vec<(u64, String)> {
    (0..count)
        .map(|number| (number, (number + 1).to_string()))
        .collect()
}

#[test]
fn a_hook_of_a_command_sees_every_line_before_the_removal() {
    for route in ROUTES {
        checked(async |test| {
            let seen = Seen::default();
            let logging = Logging::stdout_and_stderr().route(route);
            let script = "seq 1 5000; seq 1 3000 >&2; printf 3001 >&2";
            let child = test.spawn(sh(script, logging).log_hook(seen.hook())).await;
            let other = test.spawn(sh("echo other", logging)).await;
            ends(&child).await;
            ends(&other).await;
            let id = child.id();
            child.remove().within("the removal").await.unwrap();
            assert!(
                seen.of(id, STDOUT) == counted(5000),
                "each line once and in order"
            );
            assert!(
                seen.of(id, LogStream::Stderr) == counted(3001),
                "each line once and in order"
            );
            assert_eq!(
                seen.of(other.id(), STDOUT),
                counted(0),
                "it is another command's"
            );
        });
    }
}

#[test]
fn a_hook_of_a_manager_sees_every_line_before_the_shutdown() {
    checked(async |test| {
        let (all, own) = (Seen::default(), Seen::default());
        let builder = ProcessManager::builder().working_directory(test.scratch());
        let manager = builder.log_hook(all.hook()).spawn().unwrap();
        let mut ids = Vec::new();
        // The last ones have much, and the shutdown comes at once.
        for (route, count) in ROUTES
            .into_iter()
            .cycle()
            .zip([10, 2000, 2000, 10, 9000, 9000])
        {
            let cmd = sh(&format!("seq 1 {count}"), stdout(route)).log_hook(own.hook());
            let child = manager.spawn_with_handle(cmd).await.unwrap();
            ends(&child).await;
            ids.push((child.id(), count));
        }
        manager.shutdown().within("the shutdown").await.unwrap();
        for (id, count) in ids {
            assert!(
                all.of(id, STDOUT) == counted(count),
                "each line once and in order"
            );
            assert!(
                own.of(id, STDOUT) == counted(count),
                "each line once and in order"
            );
        }
    });
}

/// A hook that hangs holds nobody up for long.
#[test]
fn a_hook_that_never_returns_does_not_hang_the_removal() {
    checked(async |test| {
        let hook = LogHook::new(|_, _| std::future::pending());
        let child = test
            .spawn(sh("seq 1 10", stdout(LogRoute::Pipe)).log_hook(hook))
            .await;
        assert_eq!(ends(&child).await, OutputState::Complete);
        child.remove().within("the removal").await.unwrap();
    });
}

mod subscriber {
    //! What is emitted by the hook that emits events.

    use std::fmt::{self, Debug, Write as _};
    use std::sync::Mutex;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    static EMITTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// The fields of the events so far that have this in them.
    pub(crate) fn emitted(with: &str) -> Vec<String> {
        let emitted = EMITTED.lock().unwrap();
        emitted
            .iter()
            .filter(|event| event.contains(with))
            .cloned()
            .collect()
    }

    #[derive(Debug)]
    pub(crate) struct Collecting;

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _: fmt::Result = write!(self.0, "{field}={value:?};");
        }
    }

    impl Subscriber for Collecting {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "procession::log"
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            assert_eq!(*event.metadata().level(), Level::INFO);
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            EMITTED.lock().unwrap().push(fields.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }
}

#[test]
fn lines_become_events() {
    checked(async |test| {
        // For all threads: the hook is called on any.
        tracing::subscriber::set_global_default(subscriber::Collecting).unwrap();
        let cmd = sh("echo one; echo two >&2", Logging::merged()).log_hook(LogHook::tracing());
        let child = test.spawn(cmd).await;
        ends(&child).await;
        let id = child.id();
        child.remove().within("the removal").await.unwrap();
        let event = |line, text| format!("message={text};process={id};stream=merged;line={line};");
        let emitted = subscriber::emitted(&format!("process={id};"));
        assert_eq!(emitted, [event(0, "one"), event(1, "two")]);
    });
}
