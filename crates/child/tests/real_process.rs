//! `connect` in a process of its own: this program runs itself as the child.
//!
//! Each test below starts a child whose standard streams are pipes and whose variables name them, as a
//! parent would. It has no harness, since a harness prints on the very streams that are tested.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test without a harness"
)]

use std::{
    env,
    io::{Read, Write},
    process::{Command, Output, Stdio, exit},
};

use procession_child::{ConnectError, connect};

const ROLE: &str = "PROCESSION_TEST_ROLE";

type Test = (&'static str, fn());

fn main() {
    if let Ok(role) = env::var(ROLE) {
        child(&role);
        return;
    }
    let tests: &[Test] = &[
        ("by_hand_it_is_an_error", by_hand_it_is_an_error),
        ("frames_over_stdio", frames_over_stdio),
        ("lines_over_stdio", lines_over_stdio),
        ("stray_output_is_a_log_line", stray_output_is_a_log_line),
        ("standard_input_is_empty", standard_input_is_empty),
        ("there_is_one_connection", there_is_one_connection),
        (
            "a_failed_connect_changes_nothing",
            a_failed_connect_changes_nothing,
        ),
        ("finish_before_exit", finish_before_exit),
        ("a_panic_says_so", a_panic_says_so),
        (
            "a_program_that_ignores_a_silent_parent_ends",
            a_program_that_ignores_a_silent_parent_ends,
        ),
        (
            "a_suspended_program_looks_before_it_gives_up",
            a_suspended_program_looks_before_it_gives_up,
        ),
        ("requests_over_stdio", requests_over_stdio),
        (
            "descriptors_are_not_inherited",
            descriptors_are_not_inherited,
        ),
        (
            "only_the_direction_in_use_is_redirected",
            only_the_direction_in_use_is_redirected,
        ),
        #[cfg(feature = "tokio")]
        ("async_frames_over_stdio", async_frames_over_stdio),
        #[cfg(feature = "tokio")]
        ("async_without_pipes", async_without_pipes),
    ];
    let arguments: Vec<String> = env::args().skip(1).collect();
    let asks = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if asks("--list") {
        // What cargo-nextest asks, and that none is to be ignored.
        for (name, _) in tests.iter().filter(|_| !asks("--ignored")) {
            println!("{name}: test");
        }
        return;
    }
    let wanted: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_wanted = |name: &str| {
        wanted.is_empty()
            || wanted.iter().any(|part| {
                if asks("--exact") {
                    name == *part
                } else {
                    name.contains(part)
                }
            })
    };
    let mut ran = 0;
    for (name, test) in tests {
        if is_wanted(name) {
            test();
            println!("test {name} ... ok");
            ran += 1;
        }
    }
    println!("\ntest result: ok. {ran} passed");
}

/// What the child does.
fn child(role: &str) {
    match role {
        "echo" => {
            let parent = connect().unwrap();
            for message in parent.messages() {
                parent.send(message.unwrap()).unwrap();
            }
        }
        "stray" => {
            print!("before ");
            let parent = connect().unwrap();
            println!("after");
            parent.send("a message").unwrap();
        }
        "stdin" => {
            let parent = connect().unwrap();
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).unwrap();
            assert_eq!(text, "");
            parent.send(parent.receive().unwrap().unwrap()).unwrap();
        }
        "twice" => {
            let parent = connect().unwrap();
            let again = connect().unwrap_err();
            assert!(matches!(again, ConnectError::AlreadyConnected));
            parent.send("one connection").unwrap();
            drop(parent);
            assert!(matches!(connect(), Err(ConnectError::AlreadyConnected)));
        }
        "by hand" => match connect() {
            Err(error) => println!("{error}"),
            Ok(_) => println!("connected"),
        },
        "exit" => {
            let parent = connect().unwrap();
            parent.feed("fed").unwrap();
            parent.clone().finish(3).unwrap();
            exit(3);
        }
        "panic" => {
            let _parent = connect().unwrap();
            panic!("on purpose");
        }
        "serve" => {
            let parent = connect().unwrap();
            parent.serve(|request| Ok(request.into_message())).unwrap();
        }
        "deaf" => {
            let _parent = connect().unwrap();
            loop {
                std::thread::park();
            }
        }
        "inherit" => {
            let before = listed("echo /proc/self/fd/*");
            let parent = connect().unwrap();
            assert_eq!(listed("echo /proc/self/fd/*"), before);
            parent.send(listed("readlink /proc/self/fd/0")).unwrap();
        }
        "output only" => {
            let parent = connect().unwrap();
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).unwrap();
            parent.send(text).unwrap();
        }
        #[cfg(feature = "tokio")]
        "async echo" => async_echo(),
        other => panic!("no such role: {other}"),
    }
}

/// What a shell that inherits our streams and whatever else can be inherited prints.
fn listed(script: &str) -> String {
    let shell = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::inherit())
        .output()
        .unwrap();
    String::from_utf8(shell.stdout).unwrap().trim().to_owned()
}

#[cfg(feature = "tokio")]
fn async_echo() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(async {
        let parent = procession_child::tokio::connect().await.unwrap();
        println!("stray");
        while let Some(message) = parent.receive().await.unwrap() {
            parent.send(message).await.unwrap();
        }
        parent.finish(0).await.unwrap();
    });
}

fn command(role: &str, framing: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .env(ROLE, role)
        .env("RUST_BACKTRACE", "0")
        .env("PROCESS_DATA_DIR", "/run/nowhere")
        .env("MESSAGE_FRAMING", framing)
        .env("MESSAGE_LIMIT", "1000")
        .env("MESSAGE_INPUT", "stdin")
        .env("MESSAGE_OUTPUT", "stdout")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Writes all of `input`, closes it, and waits for the end.
fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// What the child writes between its first grants and `bye` with status 0.
fn conversation(output: &Output) -> &[u8] {
    between_hello_and_bye(output, 0)
}

fn between_hello_and_bye(output: &Output, status: u8) -> &[u8] {
    let stdout = &output.stdout;
    assert_eq!(stdout[..15], *b"\0\0\0\x14\x10procession", "{output:?}");
    let after_grants = &stdout[25 + 2 * 17..];
    let bye = [0, 0, 0, 4, 0x15, 0, 0, 0, status];
    after_grants
        .strip_suffix(&bye)
        .unwrap_or_else(|| panic!("no bye: {output:?}"))
}

const CREDIT: &[u8] = b"\0\0\0\x0c\x06\0\0\0\0\0\0\0\0\x7f\xff\xff\xff";

fn with_credit(rest: &[u8]) -> Vec<u8> {
    [CREDIT, rest].concat()
}

fn by_hand_it_is_an_error() {
    let mut by_hand = command("by hand", "lines");
    by_hand.env_remove("PROCESS_DATA_DIR");
    let output = run(&mut by_hand, b"");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "PROCESS_DATA_DIR is not set: was this program started by a Procession parent?\n"
    );
}

fn frames_over_stdio() {
    let input = with_credit(b"\0\0\0\x02\0hi\0\0\0\x01\0!");
    let output = run(&mut command("echo", "frames/1"), &input);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(conversation(&output), b"\0\0\0\x02\0hi\0\0\0\x01\0!");
}

fn lines_over_stdio() {
    let output = run(&mut command("echo", "lines"), b"one\n\nthree");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"one\n\nthree\n");
}

fn stray_output_is_a_log_line() {
    let output = run(&mut command("stray", "lines"), b"");
    assert_eq!(output.stdout, b"a message\n", "{output:?}");
    assert_eq!(output.stderr, b"before after\n", "{output:?}");
}

fn standard_input_is_empty() {
    let output = run(&mut command("stdin", "lines"), b"for the program\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"for the program\n");
}

fn there_is_one_connection() {
    let output = run(&mut command("twice", "frames/1"), CREDIT);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(conversation(&output), b"\0\0\0\x0e\0one connection");
}

fn a_failed_connect_changes_nothing() {
    let mut half_wrong = command("by hand", "lines");
    half_wrong
        .env("MESSAGE_OUTPUT", "pipe")
        .env("OUTPUT_PIPE", "/dev/null");
    let output = run(&mut half_wrong, b"");
    // Standard output is what it was: the error is printed there.
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "OUTPUT_PIPE is \"/dev/null\", which is not a pipe\n"
    );
}

fn finish_before_exit() {
    let output = run(&mut command("exit", "frames/1"), CREDIT);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(between_hello_and_bye(&output, 3), b"\0\0\0\x03\0fed");
}

fn a_panic_says_so() {
    let output = run(&mut command("panic", "frames/1"), b"");
    assert_eq!(output.status.code(), Some(101), "{output:?}");
    assert_eq!(between_hello_and_bye(&output, 101), b"");
}

fn requests_over_stdio() {
    let input = with_credit(b"\0\0\0\x0a\x01\0\0\0\0\0\0\0\x07hi");
    let output = run(&mut command("serve", "frames/1"), &input);
    assert!(output.status.success(), "{output:?}");
    let reply = b"\0\0\0\x0a\x02\0\0\0\0\0\0\0\x07hi";
    assert_eq!(conversation(&output), reply);
}

fn a_program_that_ignores_a_silent_parent_ends() {
    let mut deaf = command("deaf", "frames/1");
    let mut child = deaf.env("MESSAGE_LEASE", "100").spawn().unwrap();
    // It stays open, and nothing comes.
    let _input = child.stdin.take();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(procession_child::LEASE_EXIT_CODE));
}

/// It is suspended for several leases, while pings arrive.
fn a_suspended_program_looks_before_it_gives_up() {
    let mut echo = command("echo", "frames/1");
    let mut child = echo.env("MESSAGE_LEASE", "400").spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    let mut ping = |count: u32| {
        for _ in 0..count {
            input
                .write_all(b"\0\0\0\x08\x13\0\0\0\0\0\0\0\x01")
                .unwrap();
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    ping(2);
    signal(rustix::process::Signal::STOP);
    ping(20);
    signal(rustix::process::Signal::CONT);
    ping(4);
    input.write_all(CREDIT).unwrap();
    input.write_all(b"\0\0\0\x02\0hi").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let echoed = b"\0\0\0\x02\0hi";
    let written = conversation(&output);
    assert!(written.ends_with(echoed), "{output:?}");
}

fn descriptors_are_not_inherited() {
    let output = run(&mut command("inherit", "lines"), b"");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"/dev/null\n", "{output:?}");
}

fn only_the_direction_in_use_is_redirected() {
    let mut output_only = command("output only", "lines");
    output_only.env("MESSAGE_INPUT", "none");
    let output = run(&mut output_only, b"the program's own");
    assert_eq!(output.stdout, b"the program's own\n", "{output:?}");
}

#[cfg(feature = "tokio")]
fn async_frames_over_stdio() {
    let input = with_credit(b"\0\0\0\x02\0hi\0\0\0\x01\0!");
    let output = run(&mut command("async echo", "frames/1"), &input);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(conversation(&output), b"\0\0\0\x02\0hi\0\0\0\x01\0!");
    assert_eq!(output.stderr, b"stray\n");
}

/// Standard streams that are files cannot be polled: threads serve them.
#[cfg(feature = "tokio")]
fn async_without_pipes() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("input"), dir.path().join("output"));
    let lines = "one line of many\n".repeat(20_000);
    std::fs::write(&input, &lines).unwrap();
    let status = command("async echo", "lines")
        .stdin(std::fs::File::open(&input).unwrap())
        .stdout(std::fs::File::create(&output).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(std::fs::read_to_string(&output).unwrap() == lines);
}
