//! SDK children started by hand: without the environment, and with one that is wrong. The error names
//! the variable and the reason, and says what to do.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::Path;
use std::process::Command;

use procession_tests::{checked, fixture};

/// Starts the echo child with only these variables, and gives what it says before it gives up.
fn refusal(program: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(program);
    let output = command
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "it must fail");
    String::from_utf8(output.stderr).unwrap()
}

fn named_pipes<'a>(input: &'a str, output: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("PROCESS_DATA_DIR", "/tmp"),
        ("MESSAGE_FRAMING", "frames/1"),
        ("MESSAGE_LIMIT", "1000"),
        ("MESSAGE_INPUT", "pipe"),
        ("MESSAGE_OUTPUT", "pipe"),
        ("INPUT_PIPE", input),
        ("OUTPUT_PIPE", output),
    ]
}

const ECHOES: [&str; 2] = [fixture!("echo"), fixture!("async_echo")];

#[test]
fn without_the_environment() {
    checked(async |_| {
        for program in ECHOES {
            let words = refusal(program, &[]);
            assert!(words.contains("PROCESS_DATA_DIR"), "{words}");
            assert!(
                words.contains("Procession parent"),
                "it says what to do: {words}"
            );
        }
    });
}

#[test]
fn each_variable_that_is_missing_is_named() {
    checked(async |_| {
        for missing in [
            "PROCESS_DATA_DIR",
            "MESSAGE_FRAMING",
            "MESSAGE_LIMIT",
            "INPUT_PIPE",
            "OUTPUT_PIPE",
        ] {
            let mut environment = named_pipes("/tmp/in", "/tmp/out");
            environment.retain(|(name, _)| *name != missing);
            for program in ECHOES {
                let words = refusal(program, &environment);
                assert!(words.contains(missing), "{missing}: {words}");
            }
        }
    });
}

#[test]
fn a_value_that_makes_no_sense_is_shown() {
    checked(async |_| {
        for (name, value) in [
            ("MESSAGE_FRAMING", "smoke"),
            ("MESSAGE_LIMIT", "lots"),
            ("MESSAGE_INPUT", "stdout"),
            ("MESSAGE_OUTPUT", "printer"),
        ] {
            let mut environment = named_pipes("/tmp/in", "/tmp/out");
            environment.retain(|(other, _)| *other != name);
            environment.push((name, value));
            for program in ECHOES {
                let words = refusal(program, &environment);
                assert!(words.contains(name) && words.contains(value), "{words}");
            }
        }
    });
}

#[test]
fn a_variable_that_names_no_pipe() {
    checked(async |test| {
        let pipe = test.scratch().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let file = test.scratch().join("file");
        std::fs::write(&file, "a file").unwrap();
        let missing = test.scratch().join("missing");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        for bad in [&file, &missing, &test.scratch().to_owned()] {
            for program in ECHOES {
                let words = refusal(program, &named_pipes(&text(bad), &text(&pipe)));
                assert!(
                    words.contains("INPUT_PIPE") && words.contains(&text(bad)),
                    "{words}"
                );
                let words = refusal(program, &named_pipes(&text(&pipe), &text(bad)));
                assert!(
                    words.contains("OUTPUT_PIPE") && words.contains(&text(bad)),
                    "{words}"
                );
            }
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a file");
    });
}
