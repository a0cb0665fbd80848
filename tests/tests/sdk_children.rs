//! Children built with our SDK: typed payloads, stray output, the end of the parent, statuses.

use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Encoding, ExitCause, Framing, Logging, LogsQuery, Message, MessageFormat, Messaging,
    OutputState, ProcessManager, TryMessageStreamExt as _,
};
use procession_tests::{Within as _, all_channels, checked, eventually, fixture, procfs};

#[test]
fn typed_payloads_in_each_format() {
    let formats = [
        ("json", MessageFormat::Json, true),
        (
            "message-pack",
            MessageFormat::MessagePack(Encoding::Raw),
            false,
        ),
        (
            "message-pack-hex",
            MessageFormat::MessagePack(Encoding::Hex),
            true,
        ),
        (
            "message-pack-base64",
            MessageFormat::MessagePack(Encoding::Base64),
            true,
        ),
    ];
    checked(async |test| {
        for (name, format, fits_lines) in formats {
            for messaging in all_channels() {
                let framed = messaging == messaging.clone().framing(Framing::Frames);
                if !framed && !fits_lines {
                    continue;
                }
                let child = Cmd::new(fixture!("typed_sums"))
                    .arg(name)
                    .messaging(messaging);
                let child = test.spawn(child).await;
                let stream = child.subscribe_message_stream().await.unwrap();
                let mut sums = stream.into_deserialized_stream::<i64>(&format);
                for numbers in [vec![], vec![10], vec![1, -2, 1 << 40, 13]] {
                    let message = Message::from_serializable(&numbers, &format).unwrap();
                    child.send_message(message).await.unwrap();
                    let sum = sums.next().within("the sum").await.unwrap().unwrap();
                    assert_eq!(sum, numbers.iter().sum::<i64>());
                }
                child.close_input().await.unwrap();
                assert!(child.wait().within("the exit").await.unwrap().success());
            }
        }
    });
}

/// A stray print is a line of the log, and no broken protocol.
#[test]
fn what_a_child_prints_is_not_taken_for_messages() {
    checked(async |test| {
        for messaging in [
            Messaging::standard_io().framing(Framing::Frames),
            Messaging::standard_io().framing(Framing::Lines),
        ] {
            let child = Cmd::new(fixture!("chatty_sdk"))
                .messaging(messaging)
                .logging(Logging::stderr());
            let child = test.spawn(child).await;
            let stream = child.subscribe_message_stream().await.unwrap();
            child.close_input().await.unwrap();
            let messages: Vec<_> = stream.map(Result::unwrap).collect().within("the end").await;
            assert_eq!(messages, ["message"]);
            child.wait().within("the exit").await.unwrap();
            let log = child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap();
            assert!(log.contains(&"stray line".to_owned()), "{log:?}");
            assert!(log.contains(&"another stray line".to_owned()), "{log:?}");
        }
    });
}

#[test]
fn a_child_knows_its_run_directory() {
    checked(async |test| {
        let child = Cmd::new(fixture!("chatty_sdk"))
            .messaging(Messaging::named_pipes())
            .logging(Logging::stdout_and_stderr());
        let child = test.spawn(child).await;
        child.close_input().await.unwrap();
        child.wait().within("the exit").await.unwrap();
        let errors = child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap();
        let directory = errors
            .iter()
            .find_map(|line| line.strip_prefix("data_dir "))
            .unwrap();
        assert_eq!(
            test.run_directories(),
            [std::path::PathBuf::from(directory)]
        );
        // Over named pipes, its standard output is its own.
        let output = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
        assert_eq!(output, ["stray line", "another stray line"]);
    });
}

#[test]
fn a_child_ends_with_its_own_status() {
    checked(async |test| {
        for messaging in all_channels() {
            let child = Cmd::new(fixture!("echo")).arg("exit").messaging(messaging);
            let child = test.spawn(child).await;
            let stream = child.subscribe_message_stream().await.unwrap();
            for text in ["one", "two", "exit 42"] {
                child.send_message(text).await.unwrap();
            }
            // What it had fed before it ended was flushed.
            let messages: Vec<_> = stream.map(Result::unwrap).collect().within("the end").await;
            assert_eq!(messages, ["one", "two"]);
            let report = child.wait().within("the exit").await.unwrap();
            assert_eq!(
                (report.code(), report.cause()),
                (Some(42), ExitCause::ByItself)
            );
            assert_eq!(report.output(), OutputState::Complete);
        }
    });
}

/// The end of the input is the end of an SDK child, however the parent went.
#[test]
fn a_child_does_not_outlive_its_input() {
    checked(async |test| {
        for messaging in all_channels() {
            for program in [fixture!("echo"), fixture!("async_echo")] {
                let child = test
                    .spawn(Cmd::new(program).messaging(messaging.clone()))
                    .await;
                let pid = child.get_process_info().await.unwrap().pid().unwrap();
                let mut stream = child.subscribe_message_stream().await.unwrap();
                child.send_message("there?").await.unwrap();
                stream.next().within("the echo").await.unwrap().unwrap();
                child.close_input().await.unwrap();
                let report = child.wait().within("the exit").await.unwrap();
                assert_eq!(
                    (report.code(), report.cause()),
                    (Some(0), ExitCause::ByItself)
                );
                assert!(!procfs::is_alive(pid));
            }
        }
    });
}

/// The parent's whole process is gone: killed, with no chance to say goodbye.
#[test]
fn a_child_does_not_outlive_a_killed_parent() {
    checked(async |test| {
        for transport in ["standard-io", "named-pipes"] {
            let directory = test.scratch().join(transport);
            std::fs::create_dir(&directory).unwrap();
            let mut parent = std::process::Command::new(fixture!("parent_until_killed"))
                .args([
                    directory.as_os_str(),
                    transport.as_ref(),
                    fixture!("echo").as_ref(),
                ])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let output = parent.stdout.take().unwrap();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
            let pid: u32 = line.trim().parse().unwrap();
            assert!(procfs::is_alive(pid));
            parent.kill().unwrap();
            parent.wait().unwrap();
            eventually(
                "the child to end by itself",
                Duration::from_secs(5),
                async || (!procfs::is_alive(pid)).then_some(()),
            )
            .await;
        }
    });
}

/// A child of ours that is a parent itself: what it inherits of our environment is not its children's.
#[test]
fn a_nested_manager_passes_none_of_our_variables_on() {
    checked(async |test| {
        let directory = test.scratch().join("inner");
        std::fs::create_dir(&directory).unwrap();
        let nested = Cmd::new(fixture!("parent_lends_its_streams"))
            .arg(&directory)
            .env("CHILD_SCRIPT", "env")
            .messaging(Messaging::named_pipes())
            .logging(Logging::stdout());
        let child = test.spawn(nested).await;
        assert!(child.wait().within("the exit").await.unwrap().success());
        let environment = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
        for absent in [
            "INPUT_PIPE=",
            "OUTPUT_PIPE=",
            "MESSAGE_FRAMING=",
            "MESSAGE_LIMIT=",
        ] {
            assert!(
                !environment.iter().any(|line| line.starts_with(absent)),
                "{environment:?}"
            );
        }
        let tree = environment
            .iter()
            .find_map(|line| line.strip_prefix("PROCESSION_TREE="))
            .unwrap();
        assert_eq!(
            tree.matches(':').count(),
            2,
            "one entry of each manager: {tree}"
        );
        let data_dir = environment
            .iter()
            .find_map(|line| line.strip_prefix("PROCESS_DATA_DIR="));
        assert!(data_dir.unwrap().starts_with(directory.to_str().unwrap()));
    });
}

/// The child's side of the message limit comes from its environment, so the two cannot disagree.
#[test]
fn a_child_that_would_send_too_much_is_told_so() {
    checked(async |test| {
        let messaging = Messaging::standard_io()
            .framing(Framing::Frames)
            .message_limit(1_000);
        let child = Cmd::new(fixture!("source")).args(["random", "2", "1"]);
        let child = test
            .spawn(child.messaging(messaging).logging(Logging::stderr()))
            .await;
        let stream = child.subscribe_message_stream().await.unwrap();
        // The first is empty; the second, of 1 MiB, is refused on the child's side.
        let messages: Vec<_> = stream.map(Result::unwrap).collect().within("the end").await;
        assert_eq!(messages, [""]);
        let report = child.wait().within("the exit").await.unwrap();
        assert_eq!(report.code(), Some(2));
        let log = child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap();
        assert!(
            log[0].contains("1048576") && log[0].contains("1000"),
            "{log:?}"
        );
    });
}

/// The manager's handle is used from a runtime with a single thread as well.
#[test]
fn on_a_runtime_with_one_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let manager = ProcessManager::in_temp().unwrap();
        for messaging in all_channels() {
            let child = Cmd::new(fixture!("echo")).messaging(messaging);
            let child = manager.spawn_with_handle(child).await.unwrap();
            let mut stream = child.subscribe_message_stream().await.unwrap();
            child.send_message("hello").await.unwrap();
            assert_eq!(
                stream.next().within("the echo").await.unwrap().unwrap(),
                "hello"
            );
            child.kill().within("the kill").await.unwrap();
        }
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}
