//! The three standard streams where neither messages nor logs are on them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use futures::StreamExt as _;
use procession_manager::{Cmd, Logging, LogsQuery, Messaging, Output, Stdin};
use procession_tests::{Within as _, checked, fixture, programs};

fn sh(script: &str) -> Cmd {
    Cmd::new(programs::sh()).args(["-c", script])
}

#[test]
fn they_are_null_by_default() {
    checked(async |test| {
        let script =
            "exec 3>targets; for n in 0 1 2; do t=$(readlink /proc/$$/fd/$n); echo $t >&3; done";
        let child = test.spawn(sh(script).current_dir(test.scratch())).await;
        assert!(child.wait().within("the exit").await.unwrap().success());
        let targets = fs::read_to_string(test.scratch().join("targets")).unwrap();
        assert_eq!(targets, "/dev/null\n/dev/null\n/dev/null\n");
    });
}

#[test]
fn files() {
    checked(async |test| {
        let [input, output, errors] =
            ["input", "output", "errors"].map(|name| test.scratch().join(name));
        fs::write(&input, "from a file\n").unwrap();
        fs::write(&output, "what was there before\n").unwrap();
        let child = sh("cat; echo error >&2")
            .stdin(Stdin::File(input))
            .stdout(Output::File(output.clone()))
            .stderr(Output::File(errors.clone()));
        let child = test.spawn(child).await;
        assert!(child.wait().within("the exit").await.unwrap().success());
        let written = fs::read_to_string(&output).unwrap();
        assert!(written.ends_with("from a file\n"), "{written:?}");
        assert_eq!(fs::read_to_string(&errors).unwrap(), "error\n");
    });
}

#[test]
fn bytes_and_then_the_end() {
    checked(async |test| {
        let bytes = vec![b'\xff'; 3_000_000];
        let child = sh("wc -c")
            .stdin(Stdin::Bytes(bytes.into()))
            .logging(Logging::stdout());
        let child = test.spawn(child).await;
        assert!(child.wait().within("the exit").await.unwrap().success());
        let lines = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
        assert_eq!(lines[0].trim(), "3000000");

        let child = test
            .spawn(
                sh("wc -c")
                    .stdin(Stdin::Bytes(Vec::new().into()))
                    .logging(Logging::stdout()),
            )
            .await;
        assert!(child.wait().within("the exit").await.unwrap().success());
        let lines = child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap();
        assert_eq!(lines[0].trim(), "0");
    });
}

/// The bytes in a FIFO come through, as from and to a file that ends, and its streams block as a
/// child expects.
#[test]
fn fifos_whose_other_sides_are_there() {
    checked(async |test| {
        let [input, output] = ["input", "output"].map(|name| test.scratch().join(name));
        for path in [&input, &output] {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).unwrap();
        }
        let both = |path: &std::path::Path| {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(true).open(path).unwrap()
        };
        let (mut writer, mut reader) = (both(&input), BufReader::new(both(&output)));
        let script = "import fcntl, os, sys\n\
                      flags = [fcntl.fcntl(n, fcntl.F_GETFL) & os.O_NONBLOCK for n in (0, 1)]\n\
                      print(flags, flush=True)\n\
                      print(sys.stdin.read(), flush=True)";
        let child = Cmd::new(programs::python3())
            .args(["-c", script])
            .stdin(Stdin::File(input))
            .stdout(Output::File(output));
        let child = test.spawn(child).await;
        let read = tokio::task::spawn_blocking(move || {
            let mut lines = [String::new(), String::new()];
            reader.read_line(&mut lines[0]).unwrap();
            writer.write_all(b"through it").unwrap();
            drop(writer);
            reader.read_line(&mut lines[1]).unwrap();
            lines
        });
        let read = read.within("what it writes").await.unwrap();
        assert_eq!(read, ["[0, 0]\n", "through it\n"]);
        assert!(child.wait().within("the exit").await.unwrap().success());
    });
}

/// Somebody has a lease on it, and gives it back only when it is broken: fcntl(2).
#[test]
fn a_file_that_is_leased() {
    checked(async |test| {
        let path = test.scratch().join("file");
        let script = "import fcntl, signal, sys\n\
                      file = open(sys.argv[1], 'w+')\n\
                      def give_back(*_): fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)\n\
                      signal.signal(signal.SIGIO, give_back)\n\
                      fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
                      print('leased', flush=True)\n\
                      while True: signal.pause()";
        let holder = Cmd::new(programs::python3())
            .args(["-c", script, path.to_str().unwrap()])
            .messaging(Messaging::standard_io());
        let holder = test.spawn(holder).await;
        let mut lines = holder.subscribe_message_stream().await.unwrap();
        let line = lines.next().within("the lease").await.unwrap();
        assert_eq!(line.unwrap(), "leased");
        let child = test
            .spawn(sh("echo text").stdout(Output::File(path.clone())))
            .await;
        assert!(child.wait().within("the exit").await.unwrap().success());
        assert_eq!(fs::read_to_string(&path).unwrap(), "text\n");
        holder.kill().within("its end").await.unwrap();
    });
}

/// Bytes that a child does not want are no reason to fail, or to hold anything up.
#[test]
fn bytes_that_nobody_reads() {
    checked(async |test| {
        let bytes = vec![0; 3_000_000];
        let child = test
            .spawn(Cmd::new("true").stdin(Stdin::Bytes(bytes.into())))
            .await;
        assert!(child.wait().within("the exit").await.unwrap().success());
    });
}

/// A helper is the parent, so that its own streams can be looked at.
#[test]
fn inherited() {
    checked(async |test| {
        let directory = test.scratch().join("helper");
        fs::create_dir(&directory).unwrap();
        let mut helper = Command::new(fixture!("parent_lends_its_streams"))
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        helper
            .stdin
            .take()
            .unwrap()
            .write_all(b"through the parent's streams\n")
            .unwrap();
        let output = tokio::task::spawn_blocking(move || helper.wait_with_output());
        let output = output.within("the helper").await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"through the parent's streams\n");
        assert_eq!(output.stderr, b"to standard error\n");
    });
}
