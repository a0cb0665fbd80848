//! Logs that are kept, and how long those are readable that are not.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Event, FollowFrom, FollowLogsError, GetLogsError, KeepLogsError, LogRoute, LogStream, Logging,
    LogsQuery, ProcessManager,
};
use procession_tests::logs::{
    ROUTES, STDOUT, all, ends, fault, follow, go_on, line, query, rest, sh, stdout, steered, texts,
    written,
};
use procession_tests::{Within as _, checked};

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

/// The lines of `seq`.
fn text(from: u32, to: u32) -> String {
    (from..=to)
        .map(|number| number.to_string() + "\n")
        .collect()
}

#[test]
fn kept_logs_outlive_their_process() {
    for route in ROUTES {
        checked(async |test| {
            let script = "seq 1 100000; read -r x; seq 1 5 >&2; printf end >&2";
            // In several files before.
            let logging = Logging::stdout_and_stderr().route(route).limit(1 << 20);
            let child = test.spawn(steered(script, logging)).await;
            let directory = test.scratch().join("a/b");
            match child.keep_logs(&directory).await {
                Err(KeepLogsError::StillRunning(id)) => assert_eq!(id, child.id()),
                other => panic!("unexpected: {other:?}"),
            }
            assert!(!directory.exists());
            go_on(&child).await;
            ends(&child).await;
            let before = all(&child).await;
            assert_eq!(before.lines().len(), 100_000);
            let kept = child
                .keep_logs(&directory)
                .within("the move")
                .await
                .unwrap();
            let stderr = LogStream::Stderr;
            let file = |stream: LogStream| (stream, directory.join(format!("{stream}.log")));
            assert_eq!(kept, [file(STDOUT), file(stderr)]);
            let whole = || {
                assert!(
                    read(&directory, "stdout.log") == text(1, 100_000),
                    "all of it"
                );
                assert_eq!(read(&directory, "stderr.log"), text(1, 5) + "end");
            };
            whole();
            // Asked about as before.
            let after = all(&child).await;
            assert!(before.lines() == after.lines(), "the same lines and times");
            assert!(after.damage().is_none());
            let last = query(&child, LogsQuery::last(2).containing("9")).await;
            assert_eq!(texts(last.lines()), ["99998", "99999"]);
            let followed = rest(follow(&child, FollowFrom::Line(99_990)).await).await;
            assert_eq!(followed, before.lines()[99_990..]);
            let page = child.query_logs(stderr, LogsQuery::last(1)).await.unwrap();
            assert_eq!(texts(page.lines()), ["end"]);
            child.remove().await.unwrap();
            assert!(test.run_directories().is_empty());
            whole();
        });
    }
}

#[test]
fn a_file_that_is_there_is_not_replaced() {
    for route in ROUTES {
        checked(async |test| {
            let child = test.spawn(sh("echo line", stdout(route))).await;
            ends(&child).await;
            let file = test.scratch().join("stdout.log");
            fs::write(&file, "precious").unwrap();
            match child.keep_logs(test.scratch()).await {
                Err(error @ KeepLogsError::IoError { .. }) => {
                    let text = error.to_string();
                    assert!(text.contains(file.to_str().unwrap()), "{text}");
                    let KeepLogsError::IoError { path, source } = error else {
                        return;
                    };
                    assert_eq!(path, file);
                    assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
                }
                other => panic!("unexpected: {other:?}"),
            }
            assert_eq!(read(test.scratch(), "stdout.log"), "precious");
            assert_eq!(
                texts(all(&child).await.lines()),
                ["line"],
                "it is where it was"
            );
        });
    }
}

#[test]
fn logs_of_what_has_failed_are_kept() {
    checked(async |test| {
        let directory = test.scratch().join("failed");
        let work = test.scratch().join("work");
        fs::create_dir(&work).unwrap();
        let builder = ProcessManager::builder().working_directory(&work);
        let manager = builder.keep_failed_logs(&directory).spawn().unwrap();
        let logging = |route| Logging::stdout_and_stderr().route(route);
        let mut failed = Vec::new();
        for route in ROUTES {
            for (script, fails) in [
                ("echo out; echo err >&2; exit 3", true),
                ("echo out; echo err >&2; kill -KILL $$", true),
                ("echo out; echo err >&2; exit 0", false),
            ] {
                let child = manager.spawn_with_handle(sh(script, logging(route)));
                let child = child.await.unwrap();
                child.wait().within("the end").await.unwrap();
                assert!(
                    !directory.join(child.id().to_string()).exists(),
                    "not before the removal"
                );
                child.remove().await.unwrap();
                if fails {
                    failed.push(child.id().to_string());
                }
            }
            // Ended by us.
            for ending in 0..2 {
                let child =
                    manager.spawn_with_handle(sh("echo out; exec sleep 1000", logging(route)));
                let child = child.await.unwrap();
                written(&child, STDOUT, 1).await;
                let report = match ending {
                    0 => child.kill().within("the kill").await.unwrap(),
                    _ => child.stop().within("the stop").await.unwrap(),
                };
                assert!(!report.success());
                child.remove().within("the removal").await.unwrap();
            }
        }
        // One is still there at the end.
        let child = manager.spawn_with_handle(sh(
            "echo out; echo err >&2; exit 1",
            logging(LogRoute::Pipe),
        ));
        let child = child.await.unwrap();
        child.wait().within("the end").await.unwrap();
        failed.push(child.id().to_string());
        manager.shutdown().within("the shutdown").await.unwrap();
        let names = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        failed.sort_unstable();
        assert_eq!(names, failed);
        for name in failed {
            let directory = directory.join(name);
            assert_eq!(read(&directory, "stdout.log"), "out\n");
            assert_eq!(read(&directory, "stderr.log"), "err\n");
        }
    });
}

/// The second time by the user. At the removal of what has failed there is no second copy.
#[test]
fn logs_that_are_kept_twice_are_left_where_they_were_kept_first() {
    for route in ROUTES {
        checked(async |test| {
            let (first, failed) = (test.scratch().join("first"), test.scratch().join("failed"));
            let builder = ProcessManager::builder().working_directory(test.scratch());
            let manager = builder.keep_failed_logs(&failed).spawn().unwrap();
            for status in [0, 1] {
                let script = format!("seq 1 100000; echo end >&2; exit {status}");
                // In several files before.
                let logging = Logging::stdout_and_stderr().route(route).limit(1 << 20);
                let child = manager.spawn_with_handle(sh(&script, logging));
                let child = child.await.unwrap();
                let report = child.wait().within("the end").await.unwrap();
                assert_eq!(report.code(), Some(status));
                let id = child.id().to_string();
                let places = [first.join(&id), failed.join(&id)];
                let kept = child.keep_logs(&places[0]).within("the move").await;
                let file = |stream: LogStream| (stream, places[0].join(format!("{stream}.log")));
                assert_eq!(kept.unwrap(), [STDOUT, LogStream::Stderr].map(file));
                let whole = |place: &Path| {
                    read(place, "stdout.log") == text(1, 100_000)
                        && read(place, "stderr.log") == "end\n"
                };
                assert!(whole(&places[0]), "all of it");
                if status == 0 {
                    let kept = child.keep_logs(&places[1]).within("the move").await;
                    kept.unwrap();
                    assert!(places.iter().all(|place| whole(place)), "all of it, twice");
                    assert_eq!(all(&child).await.lines().len(), 100_000);
                }
                child.remove().within("the removal").await.unwrap();
                assert!(whole(&places[0]), "all of it");
                match status {
                    0 => assert!(whole(&places[1]), "all of it, twice"),
                    _ => assert!(!failed.exists(), "the user has kept it"),
                }
                let _ = fs::remove_dir_all(&failed);
            }
            manager.shutdown().within("the shutdown").await.unwrap();
        });
    }
}

/// On the pipe route the log is in the user's file. On the file route its own is there still.
#[test]
fn logs_whose_kept_files_are_gone_are_not_kept_again() {
    type Change<'a> = &'a dyn Fn(&Path);
    checked(async |test| {
        let failed = test.scratch().join("failed");
        let builder = ProcessManager::builder().working_directory(test.scratch());
        let manager = builder.keep_failed_logs(&failed).spawn().unwrap();
        // To the last file, so that the other one was copied before.
        let changes: [(&str, Change<'_>); 3] = [
            ("removed", &|file| fs::remove_file(file).unwrap()),
            ("cut", &|file| fs::write(file, "").unwrap()),
            ("rewritten", &|file| {
                fs::write(file, text(1, 1000)).unwrap();
            }),
        ];
        for route in ROUTES {
            for (name, change) in changes {
                let [first, second] =
                    ["first", "second"].map(|place| test.scratch().join(place).join(name));
                let logging = Logging::stdout_and_stderr().route(route);
                let child = manager.spawn_with_handle(sh("seq 1 9; seq 1 9 >&2; exit 1", logging));
                let child = child.await.unwrap();
                child.wait().within("the end").await.unwrap();
                child.keep_logs(&first).within("the move").await.unwrap();
                let file = first.join("stderr.log");
                change(&file);
                let again = child.keep_logs(&second).within("the move").await;
                match (route, again) {
                    (LogRoute::Pipe, Err(error @ KeepLogsError::IoError { .. })) => {
                        let text = error.to_string();
                        assert!(text.contains(file.to_str().unwrap()), "{text}");
                        let KeepLogsError::IoError { path, .. } = error else {
                            return;
                        };
                        assert_eq!(path, file, "{name}");
                        let left = fs::read_dir(&second).unwrap().count();
                        assert_eq!(left, 0, "nothing half-made");
                        assert_eq!(texts(all(&child).await.lines()).len(), 9, "its stdout");
                    }
                    (LogRoute::File, Ok(kept)) => {
                        assert_eq!(kept.len(), 2);
                        assert_eq!(read(&second, "stderr.log"), text(1, 9));
                    }
                    (_, other) => panic!("unexpected: {name}: {other:?}"),
                }
                assert_eq!(read(&first, "stdout.log"), text(1, 9));
                child.remove().within("the removal").await.unwrap();
                assert!(!failed.exists(), "the user has kept it");
                fs::remove_dir_all(test.scratch().join("first")).unwrap();
                fs::remove_dir_all(test.scratch().join("second")).unwrap();
            }
        }
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}

/// Nothing was moved where one could not be.
#[test]
fn logs_are_kept_together_or_not_at_all() {
    for route in ROUTES {
        checked(async |test| {
            let script = "seq 1 9; seq 1 9 >&2";
            let logging = Logging::stdout_and_stderr().route(route);
            let child = test.spawn(sh(script, logging)).await;
            ends(&child).await;
            fs::write(test.scratch().join("stderr.log"), "precious").unwrap();
            let refused = child.keep_logs(test.scratch()).within("the move").await;
            assert!(matches!(refused, Err(KeepLogsError::IoError { .. })));
            assert!(!test.scratch().join("stdout.log").exists());
            let other = test.scratch().join("other");
            child.keep_logs(&other).within("the move").await.unwrap();
            assert_eq!(read(&other, "stdout.log"), text(1, 9));
            assert_eq!(read(&other, "stderr.log"), text(1, 9));
        });
    }
}

#[test]
fn a_log_is_readable_until_its_process_is_removed() {
    for route in ROUTES {
        checked(async |test| {
            let child = test.spawn(sh("seq 1 3000", stdout(route))).await;
            ends(&child).await;
            let manager = test.manager();
            assert_eq!(all(&child).await.lines().len(), 3000);
            let mut follower = follow(&child, FollowFrom::Beginning).await;
            assert_eq!(line(&mut follower).await.text(), "1");
            let id = child.id();
            let mut events = manager.events();
            child.remove().await.unwrap();
            let gone = |error| matches!(error, GetLogsError::ProcessNotFound(other) if other == id);
            let question = LogsQuery::fetch_all;
            assert!(gone(
                child.query_logs(STDOUT, question()).await.unwrap_err()
            ));
            assert!(gone(
                manager
                    .query_logs(id, STDOUT, question())
                    .await
                    .unwrap_err()
            ));
            assert!(gone(child.get_logs_stdout(question()).await.unwrap_err()));
            for followed in [
                child.follow_logs(STDOUT, FollowFrom::End).await,
                manager.follow_logs(id, STDOUT, FollowFrom::End).await,
            ] {
                assert!(
                    matches!(followed, Err(FollowLogsError::ProcessNotFound(other)) if other == id)
                );
            }
            assert!(matches!(
                child.keep_logs(test.scratch()).await,
                Err(KeepLogsError::ProcessNotFound(other)) if other == id
            ));
            // A follower that was left behind says what it misses, and ends.
            let items: Vec<_> = follower.collect().within("the end of the stream").await;
            let mut next = 1;
            for item in items {
                next = match item {
                    Ok(line) => line.number() + 1,
                    Err(FollowLogsError::Dropped { first, count }) => first + count,
                    Err(error) => panic!("unexpected: {error}"),
                };
            }
            assert_eq!(next, 3000);
            // Which is no fault of anybody.
            let other = test.spawn(sh("echo x", stdout(route))).await;
            ends(&other).await;
            loop {
                match events.next().within("an event").await.unwrap() {
                    Event::Finished { id, .. } if id == other.id() => break,
                    Event::LogFault { reason, .. } => panic!("it was removed: {reason}"),
                    _ => {}
                }
            }
        });
    }
}

/// A failed process may have made its log a terabyte of nothing, or have filled the disk.
#[test]
fn holes_are_kept_as_holes_and_of_data_the_end() {
    const TERABYTE: u64 = 1 << 40;
    const BOUND: u64 = 256 << 20;
    checked(async |test| {
        let failed = test.scratch().join("failed");
        let builder = ProcessManager::builder().working_directory(test.scratch());
        let manager = builder.keep_failed_logs(&failed).spawn().unwrap();
        let sparse = "echo begin; truncate -s 1T /proc/self/fd/1; echo end; exit 3";
        let large = "head -c 300M /dev/zero | tr '\\0' x; echo end; exit 3";
        for (script, cut, length) in [
            (sparse, 0, TERABYTE + 4),
            (large, (300 << 20) + 4 - BOUND, BOUND),
        ] {
            let child = manager.spawn_with_handle(sh(script, stdout(LogRoute::File)));
            let child = child.await.unwrap();
            let mut events = child.events();
            let report = child.wait().within("the end").await.unwrap();
            assert_eq!(report.code(), Some(3));
            child.remove().within("the removal").await.unwrap();
            let path = failed.join(child.id().to_string()).join("stdout.log");
            if cut > 0 {
                let told = fault(&mut events).await;
                let bytes = format!("{cut} bytes before that were cut");
                assert!(told.contains(&bytes), "{told}");
                assert!(told.contains(path.to_str().unwrap()), "{told}");
            }
            let file = fs::File::open(&path).unwrap();
            let metadata = file.metadata().unwrap();
            assert_eq!(metadata.len(), length);
            assert!(metadata.blocks() * 512 <= BOUND + (1 << 20), "{metadata:?}");
            let mut end = [0; 4];
            file.read_exact_at(&mut end, length - 4).unwrap();
            assert_eq!(&end, b"end\n");
            fs::remove_file(path).unwrap();
        }
        // The user's own copy has all, and a shutdown without any grace keeps what has failed.
        let child = manager.spawn_with_handle(sh(sparse, stdout(LogRoute::File)));
        let child = child.await.unwrap();
        child.wait().within("the end").await.unwrap();
        let kept = test.scratch().join("kept");
        let files = child.keep_logs(&kept).within("the copy").await.unwrap();
        assert_eq!(fs::metadata(&files[0].1).unwrap().len(), TERABYTE + 4);
        let child = manager.spawn_with_handle(sh(sparse, stdout(LogRoute::File)));
        let child = child.await.unwrap();
        child.wait().within("the end").await.unwrap();
        let ended = manager.shutdown_with(Duration::ZERO);
        ended.within("the shutdown").await.unwrap();
        let path = failed.join(child.id().to_string()).join("stdout.log");
        assert_eq!(fs::metadata(path).unwrap().len(), TERABYTE + 4);
    });
}
