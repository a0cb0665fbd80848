//! Who children run as, what they may use up, and who else can use what is theirs. As root, where they
//! run as somebody else.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use futures::StreamExt as _;
use procession_manager::{
    Cmd, GetLogsError, Logging, LogsQuery, Messaging, Readiness, Resource, Script,
    ScriptingLanguage, SpawnProcessError, TryMessageStreamExt as _,
};
use procession_tests::{Checked, Within as _, checked, fixture, procfs, programs, say};

const NOBODY: u32 = 65_534;

fn sh(script: &str) -> Cmd {
    Cmd::new("sh").args(["-c", script])
}

async fn stdout(test: &Checked, cmd: Cmd) -> String {
    let output = test.manager().run(cmd).within("the run").await.unwrap();
    String::from_utf8(output.stdout().to_vec()).unwrap()
}

/// A test for root, in a directory that other users can pass to.
fn as_root(test: impl AsyncFnOnce(&Checked)) {
    if !rustix::process::geteuid().is_root() {
        say("NOT RUN without root's rights");
        return;
    }
    checked(async |checked| {
        passable(checked.working_directory());
        test(checked).await;
    });
}

fn passable(directory: &Path) {
    for above in directory.ancestors().take(2) {
        fs::set_permissions(above, Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_child_is_who_it_was_told_to_be_from_the_start() {
    as_root(async |test| {
        let report = "id -u; id -g; id -G; umask; nice; grep ^Uid: /proc/self/status";
        let all = sh(report)
            .user(NOBODY)
            .group(65_533)
            .groups([7, 65_532])
            .umask(0o137)
            .nice(7);
        let expected = "65534\n65533\n65533 7 65532\n0137\n7\nUid:\t65534\t65534\t65534\t65534\n";
        assert_eq!(stdout(test, all).await, expected);
        // Root's groups are not for another user.
        let user = stdout(test, sh("id -u; id -G").user(NOBODY).group(NOBODY)).await;
        assert_eq!(user, "65534\n65534\n");
        // Nobody else was changed.
        let own = stdout(test, sh("id -u; nice; umask").umask(0o22)).await;
        let nice = rustix::process::getpriority_process(None).unwrap();
        assert_eq!(own, format!("0\n{nice}\n0022\n"));
        assert!(rustix::process::geteuid().is_root());
    });
}

#[test]
fn this_process_stays_as_it_is_after_many_at_once() {
    as_root(async |test| {
        let status = || fs::read_to_string("/proc/self/status").unwrap();
        let of_all_threads = || {
            fs::read_dir("/proc/self/task")
                .unwrap()
                .filter_map(|task| {
                    let path = task.ok()?.path().join("status");
                    let text = fs::read_to_string(path).ok()?;
                    text.lines()
                        .find(|line| line.starts_with("Uid:"))
                        .map(str::to_owned)
                })
                .collect::<Vec<_>>()
        };
        let spawns = (0..40).map(|index| stdout(test, sh("id -u").user(1000 + index)));
        let said = futures::future::join_all(spawns).await;
        for (index, said) in said.iter().enumerate() {
            assert_eq!(said.trim(), (1000 + index).to_string());
        }
        assert!(status().contains("Uid:\t0\t0\t0\t0"));
        for thread in of_all_threads() {
            assert_eq!(thread, "Uid:\t0\t0\t0\t0");
        }
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(dumpable, rustix::process::DumpableBehavior::Dumpable);
    });
}

#[test]
fn messages_logs_and_scripts_of_another_user() {
    as_root(async |test| {
        // Where it is may not be passable for the child.
        let echo = test.working_directory().join("echo");
        fs::copy(fixture!("echo"), &echo).unwrap();
        let frames = procession_manager::Framing::Frames;
        let child = Cmd::new(&echo)
            .user(NOBODY)
            .group(NOBODY)
            .messaging(Messaging::named_pipes().framing(frames));
        let child = test.spawn(child).await;
        let mut messages = child
            .subscribe_message_stream()
            .await
            .unwrap()
            .into_string_stream();
        child.send_message("hello").await.unwrap();
        let heard = messages.next().within("the echo").await.unwrap().unwrap();
        assert_eq!(heard, "hello");
        // Nobody else gets in, and the ways there show nothing.
        let run_directory = test.run_directories().pop().unwrap();
        let metadata = fs::metadata(&run_directory).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o700, NOBODY));
        let above = fs::metadata(run_directory.parent().unwrap()).unwrap();
        assert_eq!((above.mode() & 0o7777, above.uid()), (0o711, 0));
        for refused in [&run_directory, run_directory.parent().unwrap()] {
            let list = Cmd::new("ls").arg(refused).user(65_533).group(65_533);
            let output = test.manager().run(list).within("the run").await.unwrap();
            assert!(!output.report().success(), "{}", refused.display());
        }
        child.close_input().await.unwrap();
        child.wait().within("the exit").await.unwrap();

        let script = Script::new(
            ScriptingLanguage::Bash,
            r#"id -u; touch "$PROCESS_DATA_DIR/mine"; stat -c %u:%a "$PROCESS_DATA_DIR/mine""#,
        );
        let script = script.user(NOBODY).group(NOBODY).umask(0o77);
        let script = test.spawn(script.logging(Logging::stdout())).await;
        script.wait().within("the exit").await.unwrap();
        let lines = script
            .get_logs_stdout(LogsQuery::fetch_all())
            .await
            .unwrap();
        assert_eq!(lines, ["65534", "65534:600"]);
    });
}

#[test]
fn what_the_user_cannot_reach_is_an_error_of_the_spawn() {
    as_root(async |test| {
        let private = test.scratch().join("private");
        fs::create_dir(&private).unwrap();
        fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
        let program = private.join("tool");
        fs::copy("/bin/true", &program).unwrap();
        let user = |cmd: Cmd| cmd.user(NOBODY).group(NOBODY);
        for (cmd, words) in [
            (user(Cmd::new(&program)), "user 65534 cannot execute"),
            (
                user(Cmd::new(&program)).limit(Resource::CoreSize, 0),
                "user 65534 cannot execute",
            ),
            (
                user(Cmd::new("true").current_dir(&private)),
                "user 65534 cannot enter",
            ),
        ] {
            let error = test.manager().spawn(cmd).await.unwrap_err();
            assert!(
                matches!(error, SpawnProcessError::CannotSpawnProcess { .. }),
                "{error:?}"
            );
            assert!(error.to_string().contains(words), "{error}");
        }
        // Named pipes behind a directory that the user cannot pass.
        let mode = |mode| {
            let mode = Permissions::from_mode(mode);
            fs::set_permissions(test.working_directory(), mode).unwrap();
        };
        mode(0o700);
        let pipes = user(Cmd::new("cat").messaging(Messaging::named_pipes()));
        let error = test.manager().spawn(pipes).await.unwrap_err();
        assert!(error.to_string().contains("chmod o+x"), "{error}");
        assert!(test.manager().list().await.unwrap().is_empty());
        assert!(test.run_directories().is_empty());
        // A child that opens nothing there does not need it.
        assert_eq!(stdout(test, user(sh("id -u"))).await, "65534\n");
        mode(0o755);
    });
}

#[test]
fn limits_are_in_force_and_the_process_is_the_program() {
    checked(async |test| {
        let pid_and_limits = sh("echo $$; ulimit -n; ulimit -Hn; ulimit -v; ulimit -c; ulimit -t; ulimit -Ht; ulimit -f; ulimit -p 2>/dev/null; read end; true")
            .messaging(Messaging::standard_io().input_only())
            .limit(Resource::OpenFiles, 64)
            .limit(Resource::AddressSpace, (1 << 30) + 1)
            .limit(Resource::CoreSize, 0)
            .limit(Resource::CpuSeconds, 100)
            .limit(Resource::FileSize, 4096)
            .logging(Logging::stdout());
        let child = test.spawn(pid_and_limits).await;
        let pid = child.get_process_info().await.unwrap().pid().unwrap();
        child.close_input().await.unwrap();
        assert!(child.wait().within("the exit").await.unwrap().success());
        let lines = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
        let expected = ["64", "64", "1048577", "0", "100", "101", "8"];
        assert_eq!(lines[0], pid.to_string());
        assert_eq!(lines[1..8], expected);

        let processes = Cmd::new("grep")
            .args(["^Max processes", "/proc/self/limits"])
            .limit(Resource::Processes, 4321)
            .limit(Resource::OpenFiles, 8);
        let line = stdout(test, processes).await;
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>()[2..4],
            ["4321", "4321"]
        );
    });
}

#[test]
fn going_over_a_limit_ends_the_child_by_its_signal() {
    checked(async |test| {
        let file = test.scratch().join("large");
        let write = format!(
            "exec dd if=/dev/zero of='{}' bs=1024 count=9",
            file.display()
        );
        for (cmd, signal) in [
            (sh(&write).limit(Resource::FileSize, 4096), 25),
            (sh("while :; do :; done").limit(Resource::CpuSeconds, 1), 24),
        ] {
            let child = test.spawn(cmd).await;
            let report = child.wait().within("the signal").await.unwrap();
            assert_eq!(
                report.status().and_then(|status| status.signal()),
                Some(signal)
            );
        }
        assert_eq!(fs::metadata(&file).unwrap().len(), 4096);
    });
}

#[test]
fn a_limit_of_processor_time_that_the_kernel_cannot_count_is_none() {
    checked(async |test| {
        for seconds in [u64::MAX / 1_000_000_000, 1 << 62, u64::MAX] {
            let count = sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo $i");
            let cmd = count.limit(Resource::CpuSeconds, seconds);
            assert_eq!(stdout(test, cmd).await, "100000\n", "{seconds} s");
        }
    });
}

#[test]
fn with_limits_what_cannot_be_started_is_still_an_error_of_the_spawn() {
    checked(async |test| {
        let write = |name: &str, text: &str| {
            let path = test.scratch().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            path
        };
        for path in [
            test.scratch().join("missing"),
            write("plain", "echo no"),
            write("lost", "#!/no/such/interpreter\n"),
        ] {
            let cmd = Cmd::new(&path).limit(Resource::CoreSize, 0);
            let error = test.manager().spawn(cmd).await.unwrap_err();
            assert!(
                matches!(error, SpawnProcessError::CannotSpawnProcess { .. }),
                "{error:?}"
            );
        }
        let good = write("good", "#!/bin/sh\necho $0 \"$1\"");
        let cmd = Cmd::new(&good).arg("a  b").limit(Resource::CoreSize, 0);
        let expected = format!("{} a  b\n", good.display());
        assert_eq!(stdout(test, cmd).await, expected);
    });
}

fn helper(program: &str, test: &Checked, arguments: &[&str]) -> Output {
    let directory: PathBuf = test.scratch().join("helper");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o1777)).unwrap();
    for above in directory.ancestors().skip(1).take(2) {
        fs::set_permissions(above, Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new(program)
        .arg(&directory)
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let left = procfs::with_in_environment(directory.as_os_str());
    assert!(left.is_empty(), "left behind by {program}: {left:?}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    fs::remove_dir(&directory).unwrap();
    output
}

#[test]
fn without_rights_each_refusal_says_what_was_refused() {
    checked(async |test| {
        let output = helper(fixture!("parent_asks_too_much"), test, &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<_> = said.lines().collect();
        for (line, (words, reason)) in lines.iter().zip([
            ("cannot become user 1", "Operation not permitted"),
            ("cannot become group 0", "Operation not permitted"),
            ("supplementary groups [0]", "Operation not permitted"),
            ("niceness -20", "Permission denied"),
            ("RLIMIT_NOFILE", "Operation not permitted"),
            ("RLIMIT_NOFILE", "Operation not permitted"),
        ]) {
            assert!(line.contains(words) && line.contains(reason), "{line}");
        }
        assert_eq!(lines.len(), 6);
    });
}

#[test]
fn modes_are_private_under_any_umask() {
    checked(async |test| {
        for umask in ["0", "777"] {
            let output = helper(fixture!("parent_with_umask"), test, &[umask]);
            let said = String::from_utf8_lossy(&output.stdout);
            let mut lines: Vec<_> = said.lines().collect();
            lines.sort_unstable();
            // Lock, marker, script and two logs; two pipes; the manager's and the run directory.
            let mut expected = vec!["600 file"; 5];
            expected.extend(["600 pipe"; 2]);
            expected.extend(["700 directory"; 2]);
            assert_eq!(lines, expected, "with the umask {umask}");
        }
    });
}

/// The notification socket of a child is for the child's user alone, also where the directory above
/// lets others pass.
#[test]
fn nobody_else_can_send_to_a_notification_socket() {
    as_root(async |test| {
        let Some(perl) = programs::perl() else {
            return;
        };
        let socket = "use Socket; socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die;";
        let perl = |script| Cmd::new(&perl).args(["-e", &format!("{socket} {script}")]);
        let service = r#"my $name = $ENV{NOTIFY_SOCKET};
            connect($s, sockaddr_un($name)) or die; send($s, "READY=1\nSTATUS=$name", 0); <STDIN>"#;
        let service = perl(service)
            .user(NOBODY)
            .group(NOBODY)
            .messaging(Messaging::standard_io().input_only())
            .ready_when(Readiness::Notify { watchdog: None });
        let service = test.spawn(service).await;
        let name = service.wait_ready().within("ready").await.unwrap();
        let metadata = fs::symlink_metadata(&name).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (NOBODY, 0o600));
        let connect = "print connect($s, sockaddr_un($ARGV[0])) ? 'connected' : $!";
        for (user, expected) in [(65_533, "Permission denied"), (NOBODY, "connected")] {
            let cmd = perl(connect).arg(&name).user(user).group(NOBODY);
            assert_eq!(stdout(test, cmd).await, expected);
        }
    });
}

#[test]
fn a_log_that_was_replaced_is_not_read() {
    checked(async |test| {
        let secret = test.scratch().join("secret");
        fs::write(&secret, "secret\n").unwrap();
        let child = sh("echo one; cat").logging(Logging::stdout());
        let child = test
            .spawn(child.messaging(Messaging::standard_io().input_only()))
            .await;
        child.close_input().await.unwrap();
        child.wait().within("the exit").await.unwrap();
        let query = LogsQuery::fetch_all;
        assert_eq!(child.get_logs_stdout(query()).await.unwrap(), ["one"]);
        let log = test.run_directories().pop().unwrap().join("stdout.log");
        let replacements: [&dyn Fn(); 3] = [
            &|| symlink(&secret, &log).unwrap(),
            &|| fs::hard_link(&secret, &log).unwrap(),
            &|| {
                let status = Command::new("mkfifo").arg(&log).status().unwrap();
                assert!(status.success());
            },
        ];
        for replace in replacements {
            fs::remove_file(&log).unwrap();
            replace();
            let read = child.get_logs_stdout(query());
            match read.within("the refusal").await {
                Err(GetLogsError::UnExpectedIoError { source, .. }) => {
                    assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
                    assert!(source.to_string().contains("replaced"), "{source}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret\n");
    });
}

#[test]
fn a_working_directory_that_others_can_write_is_refused() {
    checked(async |test| {
        let directory = test.scratch().join("open");
        fs::create_dir(&directory).unwrap();
        let mode = |mode| fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        for open in [0o777, 0o770, 0o702] {
            mode(open);
            let error = procession_manager::ProcessManager::spawn(&directory).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            let remedy = format!("chmod go-w {}", directory.display());
            assert!(error.to_string().contains(&remedy), "{error}");
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        }
        mode(0o1777);
        let manager = procession_manager::ProcessManager::spawn(&directory).unwrap();
        manager.shutdown().within("the shutdown").await.unwrap();
    });
}
