//! Every example, run as a user would run it: what it prints, how it ends, and what it leaves.
//!
//! Each run gets a variable of its own, which all that it starts inherits, and a temporary directory
//! of its own: afterwards no process may have the one, and nothing may be in the other.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use tokio::process::Command;

/// Far more than any example needs: they end by themselves within seconds.
const TIME_LIMIT: Duration = Duration::from_mins(1);
const MARK: &str = "PROCESSION_EXAMPLE_RUN";

/// Runs one example to its end and returns what it printed.
async fn run(program: &str, change: impl FnOnce(&mut Command)) -> String {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let mark = format!("{}.{}", std::process::id(), RUNS.fetch_add(1, Relaxed));
    let directory = tempfile::tempdir().unwrap();

    let mut command = Command::new(program);
    command
        .env(MARK, &mark)
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    change(&mut command);
    let output = command.spawn().unwrap().wait_with_output();
    let output = tokio::time::timeout(TIME_LIMIT, output).await;
    let output = output.expect("the example does not end").unwrap();

    let left = processes_with(&format!("{MARK}={mark}"));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{stdout}\n{stderr}",
        output.status
    );
    assert_eq!(stderr, "", "nothing is said on standard error");
    assert!(left.is_empty(), "processes {left:?} are left");
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert!(files.is_empty(), "{files:?} are left");
    stdout
}

/// The processes that have `variable` in their environment.
fn processes_with(variable: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let has_it = |path: &Path| {
        let environ = fs::read(path.join("environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|entry| entry == variable.as_bytes())
    };
    processes
        .filter(|path| has_it(path))
        .map(|path| path.display().to_string())
        .collect()
}

/// Asserts that these lines, or parts of lines, are there in this order.
fn assert_says(output: &str, parts: &[&str]) {
    let mut rest = output;
    for part in parts {
        let at = rest.find(part);
        let at = at.unwrap_or_else(|| panic!("{part:?} is missing, or out of order, in\n{output}"));
        rest = &rest[at + part.len()..];
    }
}

#[tokio::test]
async fn quickstart() {
    let output = run(env!("CARGO_BIN_EXE_quickstart"), |_| {}).await;
    assert_says(
        &output,
        &[
            "worker   <- Rectangle { width: 3, height: 4 }\n",
            "worker   -> Area { square_metres: 12 }\n",
            "worker   -> Area { square_metres: 84 }\n",
            "worker   exited with code 0 after",
            "worker   logged: worker: connected\n",
            "worker   logged: worker: 12 m by 7 m\n",
            "worker   logged: worker: no more rectangles\n",
            "shell    <- good morning\n",
            "shell    -> GOOD MORNING\n",
            "shell    ended by signal 9 after",
            "python   -> Grüße, 世界\n",
            "python   exited with code 0 after",
        ],
    );
    let lines = output.lines().count();
    assert!((20..=30).contains(&lines), "{lines} lines for one look");
}

/// The quickstart says that Python is not there, and goes on.
#[tokio::test]
async fn quickstart_without_python() {
    let bin = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/bin/bash", bin.path().join("bash")).unwrap();
    let output = run(env!("CARGO_BIN_EXE_quickstart"), |command| {
        command.env("PATH", bin.path());
    });
    let output = output.await;
    assert_says(
        &output,
        &["shell    ended by signal 9", "python   left out", "python3"],
    );
}

#[tokio::test]
async fn json_worker() {
    let output = run(env!("CARGO_BIN_EXE_json_worker"), |_| {}).await;
    assert_says(
        &output,
        &[
            r#"received Invoice { line: "40 x bolt", total: 120 }"#,
            r#"received Invoice { line: "2 x gear", total: 250 }"#,
            r#"received Invoice { line: "1 x belt", total: 80 }"#,
            "the worker exited with code 0 after",
        ],
    );
}

#[tokio::test]
async fn message_pack_worker() {
    let output = run(env!("CARGO_BIN_EXE_message_pack_worker"), |_| {}).await;
    assert_says(
        &output,
        &[
            r#"sent     Job { name: "long""#,
            r#"sent     Job { name: "short""#,
            r#"received Outcome { name: "short", mean: 3.0 }"#,
            r#"received Outcome { name: "long", mean: 3.0 }"#,
            "the worker exited with code 0 after",
        ],
    );
}

#[tokio::test]
async fn conversation() {
    let output = run(env!("CARGO_BIN_EXE_conversation"), |_| {}).await;
    assert_says(
        &output,
        &[
            "the worker is ready: two threads at work\n",
            "40 x bolt: 120 cents\n",
            "2 x gear: 250 cents\n",
            "1 x moon: ",
            "nobody sells moon",
            "360 has the factor 2\n",
            "360 has the factor 5\n",
            "6 in all\n",
            "asked 4, of which 1 failed; answered 2\n",
            "the worker exited with code 0 after",
            "it was asked to stop",
        ],
    );
}

#[tokio::test]
async fn typed_request() {
    let output = run(env!("CARGO_BIN_EXE_typed_request"), |_| {}).await;
    assert_eq!(output, "1 + 2.5 = 3.5\n");
}

/// What the README shows is the program that runs here, from its first `use` on.
#[test]
fn the_readme_shows_the_typed_request() {
    let program = include_str!("../src/bin/typed_request.rs");
    let start = program.find("use ").unwrap();
    let readme = include_str!("../../README.md");
    let block = format!("\n```rust,ignore\n{}```\n", &program[start..]);
    assert!(
        readme.contains(&block),
        "the README shows something else than\n{block}"
    );
}

#[tokio::test]
async fn shell_child() {
    let output = run(env!("CARGO_BIN_EXE_shell_child"), |_| {}).await;
    assert_says(
        &output,
        &[
            "bash says: 6 * 7 = 42\n",
            "bash says: 2 ** 10 = 1024\n",
            "bash says: 100 / 8 = 12\n",
            "bash exited with code 0 after",
            "bash logged: asked for 6 * 7\n",
            "bash logged: asked for 100 / 8\n",
            "sh says: Hello, world.\n",
            "sh exited with code 0 after",
        ],
    );
}

#[tokio::test]
async fn python_child() {
    let output = run(env!("CARGO_BIN_EXE_python_child"), |_| {}).await;
    assert_says(
        &output,
        &[
            "over lines: one line\n",
            "over lines: \n",
            "over lines: Grüße, 世界\n",
            "it exited with code 0 after",
            "over frames on standard streams: 9 bytes come back the same\n",
            "over frames on standard streams: 300000 bytes come back the same\n",
            "it exited with code 0 after",
            "over frames on named pipes: 300000 bytes come back the same\n",
            "it exited with code 0 after",
        ],
    );
}

#[tokio::test]
async fn fan_out() {
    let output = run(env!("CARGO_BIN_EXE_fan_out"), |_| {}).await;
    assert_says(
        &output,
        &[
            "100 children started in",
            "1000 slices done in",
            "there are 78498 primes below 1000000",
        ],
    );
}

#[tokio::test]
async fn services() {
    let output = run(env!("CARGO_BIN_EXE_services"), |command| {
        command.arg("--check");
    })
    .await;
    assert_says(
        &output,
        &[
            "`database` is starting\n",
            "`database` is ready\n",
            "`schema` has ended\n",
            "`shop` is ready\n",
            "the group is ready\n",
            "`shop` has stopped\n",
            "`database` has stopped\n",
            "the group has stopped\n",
        ],
    );
}

/// A mistake in the file is told with its line, and nothing is started.
#[tokio::test]
async fn services_of_a_wrong_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        file.path(),
        "[processes.shop]\nprogram = \"sh\"\nneed = [\"database\"]\n",
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_services"))
        .arg(file.path())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("line 3") && said.contains("need"), "{said}");
}

#[tokio::test]
async fn python_pool() {
    let output = run(env!("CARGO_BIN_EXE_python_pool"), |command| {
        command.arg("2000000");
    })
    .await;
    assert_says(
        &output,
        &[
            "worker 0 ended by signal 9",
            "there are 148933 primes below 2000000",
            "40 slices, ",
        ],
    );
}

#[tokio::test]
async fn python_pool_without_python() {
    let output = run(env!("CARGO_BIN_EXE_python_pool"), |command| {
        command.env("PATH", "/no/such/place");
    })
    .await;
    assert_says(&output, &["no Python here: ", "python3"]);
}

/// The order of lines of different children is theirs; that of each child's streams is kept.
#[tokio::test]
async fn logs() {
    let output = run(env!("CARGO_BIN_EXE_logs"), |_| {}).await;
    for (label, lines) in [
        (
            "build |",
            &[
                "compiling part 1",
                "compiling part 2",
                "compiling part 3",
                "done",
            ][..],
        ),
        ("tests |", &["12 passed"]),
        ("tests !", &["1 failed: parser"]),
        ("fetch |", &["fetching index: 3 new"]),
        ("fetch !", &["warm"]),
    ] {
        let of_it = |line: &str| Some(line.split_once(label)?.1.trim().to_owned());
        let found: Vec<_> = output.lines().filter_map(of_it).collect();
        assert_eq!(found, lines, "{label} in\n{output}");
    }
    assert_says(&output, &["tests = exited with code 1"]);
    assert!(!output.contains('\x1b'), "colours are for terminals");
    let given = run(env!("CARGO_BIN_EXE_logs"), |command| {
        command.arg("echo one; echo two");
    })
    .await;
    assert_says(&given, &["| one", "| two"]);
}
