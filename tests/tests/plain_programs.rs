//! Children that know nothing of us: `cat`, `dd`, shells, Python, Perl and Node over lines. Their
//! descriptors are ordinary blocking ones, and they have no others.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::BTreeSet;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Framing, Logging, LogsQuery, Messaging, ProcessHandle, Runnable, Script,
    ScriptingLanguage, Transport,
};
use procession_tests::payload::Digest;
use procession_tests::{Checked, Within as _, checked, eventually, fixture, procfs, programs};
use std::time::Duration;

const LINE: usize = 50_000;
const LINES: usize = 2_000;

/// Sends 100 MB as lines, ends the input, and reads everything that comes back.
async fn hundred_megabytes_through(test: &Checked, program: Cmd) {
    let child = test
        .spawn(program.messaging(Messaging::standard_io()))
        .await;
    let mut stream = child.subscribe_message_stream().await.unwrap();
    let sending = async {
        let mut digest = Digest::default();
        for number in 0..LINES {
            let line = format!("{number:0>LINE$}");
            digest.add(line.as_bytes());
            child
                .send_message(line)
                .within("room for a line")
                .await
                .unwrap();
        }
        child.close_input().await.unwrap();
        digest
    };
    let receiving = async {
        let mut digest = Digest::default();
        while let Some(line) = stream.next().within("the next line, or the end").await {
            digest.add(line.unwrap().as_bytes());
        }
        digest
    };
    let (sent, received) = tokio::join!(sending, receiving);
    assert_eq!(received.to_string(), sent.to_string());
    assert!(child.wait().within("the exit").await.unwrap().success());
}

#[test]
fn cat_takes_100_megabytes_both_ways() {
    checked(async |test| hundred_megabytes_through(test, Cmd::new("cat")).await);
}

#[test]
fn dd_takes_100_megabytes_both_ways() {
    checked(async |test| {
        let dd = Cmd::new("dd").args(["bs=65536", "status=none"]);
        hundred_megabytes_through(test, dd).await;
    });
}

#[test]
fn a_python_loop_takes_100_megabytes_both_ways() {
    checked(async |test| {
        let program = "import sys\nfor line in sys.stdin: sys.stdout.write(line)";
        hundred_megabytes_through(test, Cmd::new(programs::python3()).args(["-c", program])).await;
    });
}

#[test]
fn descriptors_are_blocking_and_there_are_no_others() {
    let messagings = [
        Messaging::standard_io().framing(Framing::Lines),
        Messaging::standard_io().framing(Framing::Frames),
        Messaging::named_pipes().framing(Framing::Lines),
    ];
    checked(async |test| {
        for messaging in messagings {
            let child = Cmd::new(fixture!("print_descriptors"))
                .messaging(messaging)
                .logging(Logging::stderr());
            let child = test.spawn(child).await;
            let report = descriptor_report(&child).await;
            for line in report.iter().take(3) {
                assert!(line.contains(" blocking "), "{report:?}");
            }
            assert_no_other_descriptors(&report);
            child.kill().await.unwrap();
        }
    });
}

/// Spawned at the same time, no child holds a pipe that is another's.
#[test]
fn descriptors_do_not_leak_between_concurrent_spawns() {
    checked(async |test| {
        let spawning = (0..40).map(|_| {
            let child = Cmd::new(fixture!("print_descriptors"))
                .messaging(Messaging::standard_io())
                .logging(Logging::stderr());
            test.spawn(child)
        });
        let children = futures::future::join_all(spawning).await;
        for child in &children {
            assert_no_other_descriptors(&descriptor_report(child).await);
        }
        // No sibling keeps the input open: each ends at the end of its own.
        for child in &children {
            child.close_input().await.unwrap();
            assert!(
                child
                    .wait()
                    .within("the exit at the end of input")
                    .await
                    .unwrap()
                    .success()
            );
        }
    });
}

async fn descriptor_report(child: &ProcessHandle) -> Vec<String> {
    eventually(
        "the report of the descriptors",
        Duration::from_secs(10),
        async || {
            let lines = child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap();
            (lines.last()? == "end").then_some(lines)
        },
    )
    .await
}

fn assert_no_other_descriptors(report: &[String]) {
    let own: BTreeSet<String> = inheritable_descriptors();
    for line in &report[..report.len() - 1] {
        let number = line.split(' ').next().unwrap_or_default();
        let standard = ["0", "1", "2"].contains(&number);
        assert!(
            standard || own.contains(number),
            "the child has a descriptor too many: {line}"
        );
    }
}

/// What the tests were started with and pass on: not the manager's doing.
fn inheritable_descriptors() -> BTreeSet<String> {
    procfs::inheritable()
        .into_iter()
        .map(|number| number.to_string())
        .collect()
}

/// Sends three lines and reads the three answers, each in capitals; then ends the input.
async fn shouts(test: &Checked, what: impl Runnable) {
    let child = test.spawn(what).await;
    let mut stream = child.subscribe_message_stream().await.unwrap();
    for (line, answer) in [("one", "ONE"), ("", ""), ("a b  c", "A B  C")] {
        child.send_message(line).await.unwrap();
        let heard = stream.next().within("the answer").await.unwrap().unwrap();
        assert_eq!(heard, answer);
    }
    child.close_input().await.unwrap();
    assert!(child.wait().within("the exit").await.unwrap().success());
}

const SHOUT_SH: &str = r#"while IFS= read -r line; do printf '%s\n' "$line" | tr a-z A-Z; done"#;
const SHOUT_SH_PIPES: &str = r#"
while IFS= read -r line; do printf '%s\n' "$line" | tr a-z A-Z; done < "$INPUT_PIPE" > "$OUTPUT_PIPE"
"#;
const SHOUT_PYTHON: &str = r"
import sys
for line in sys.stdin:
    print(line.rstrip('\n').upper(), flush=True)
";
const SHOUT_PYTHON_PIPES: &str = r"
import os
with open(os.environ['INPUT_PIPE']) as lines, open(os.environ['OUTPUT_PIPE'], 'w') as out:
    for line in lines:
        print(line.rstrip('\n').upper(), file=out, flush=True)
";
const SHOUT_PERL: &str = r"$| = 1; while (my $line = <STDIN>) { print uc $line; }";
const SHOUT_NODE: &str = r"
require('readline').createInterface({ input: process.stdin })
    .on('line', line => process.stdout.write(line.toUpperCase() + '\n'));
";

#[test]
fn sh_speaks_lines_over_both_transports() {
    checked(async |test| {
        let sh = |script| Cmd::new(programs::sh()).args(["-c", script]);
        shouts(test, sh(SHOUT_SH).messaging(Messaging::standard_io())).await;
        shouts(test, sh(SHOUT_SH_PIPES).messaging(Messaging::named_pipes())).await;
    });
}

#[test]
fn bash_speaks_lines_over_both_transports() {
    checked(async |test| {
        let bash = |script| Cmd::new(programs::bash()).args(["-c", script]);
        shouts(test, bash(SHOUT_SH).messaging(Messaging::standard_io())).await;
        shouts(
            test,
            bash(SHOUT_SH_PIPES).messaging(Messaging::named_pipes()),
        )
        .await;
    });
}

#[test]
fn python_speaks_lines_over_both_transports() {
    checked(async |test| {
        let python = |program| Cmd::new(programs::python3()).args(["-c", program]);
        shouts(
            test,
            python(SHOUT_PYTHON).messaging(Messaging::standard_io()),
        )
        .await;
        shouts(
            test,
            python(SHOUT_PYTHON_PIPES).messaging(Messaging::named_pipes()),
        )
        .await;
    });
}

#[test]
fn perl_speaks_lines() {
    let Some(_) = programs::perl() else { return };
    checked(async |test| {
        let script = Script::new(ScriptingLanguage::Perl, SHOUT_PERL);
        shouts(test, script.messaging(Messaging::standard_io())).await;
    });
}

#[test]
fn node_speaks_lines() {
    let Some(_) = programs::node() else { return };
    checked(async |test| {
        let script = Script::new(ScriptingLanguage::JavaScript, SHOUT_NODE);
        shouts(test, script.messaging(Messaging::standard_io())).await;
    });
}

/// Every byte but the newline is payload, a last line without a newline is a message, and an empty
/// line is an empty message.
#[test]
fn lines_are_cut_at_newlines_only() {
    checked(async |test| {
        let script = r"printf 'with\r\n\n\tand\0zero\nlast'";
        let child = Cmd::new(programs::bash()).args(["-c", script]);
        let child = test.spawn(child.messaging(Messaging::standard_io())).await;
        let stream = child.subscribe_message_stream().await.unwrap();
        let messages: Vec<_> = stream.map(Result::unwrap).collect().within("the end").await;
        let expected: [&[u8]; 4] = [b"with\r", b"", b"\tand\0zero", b"last"];
        assert_eq!(messages, expected);
    });
}

/// Each direction can have a transport of its own, or none.
#[test]
fn each_direction_is_its_own() {
    checked(async |test| {
        let script = r#"while IFS= read -r line; do printf '%s\n' "$line"; done > "$OUTPUT_PIPE""#;
        let messaging = Messaging::split(Some(Transport::StandardIo), Some(Transport::NamedPipe));
        let child = Cmd::new(programs::sh())
            .args(["-c", script])
            .messaging(messaging);
        let child = test.spawn(child.logging(Logging::stdout())).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        child.send_message("across").await.unwrap();
        assert_eq!(
            stream.next().within("the echo").await.unwrap().unwrap(),
            "across"
        );
        child.close_input().await.unwrap();
        child.wait().within("the exit").await.unwrap();

        let to_file = Cmd::new(programs::sh()).args(["-c", "cat > received"]);
        let to_file = to_file.current_dir(test.scratch());
        let child = test
            .spawn(to_file.messaging(Messaging::standard_io().input_only()))
            .await;
        child.send_message("only in").await.unwrap();
        child.close_input().await.unwrap();
        child.wait().within("the exit").await.unwrap();
        let received = std::fs::read_to_string(test.scratch().join("received")).unwrap();
        assert_eq!(received, "only in\n");
        child
            .subscribe_message_stream()
            .await
            .expect_err("there is no output");
    });
}

#[test]
fn a_python_child_without_a_library_echoes_lines() {
    checked(async |test| {
        let child = Cmd::new(programs::python3()).arg(procession_examples::LINES_ECHO_PY);
        let child = test.spawn(child.messaging(Messaging::standard_io())).await;
        let mut stream = child.subscribe_message_stream().await.unwrap();
        for line in ["one", "", "gr\u{fc}n \r", "x"] {
            child.send_message(line).await.unwrap();
            assert_eq!(
                stream.next().within("the echo").await.unwrap().unwrap(),
                line
            );
        }
        child.close_input().await.unwrap();
        assert!(child.wait().within("the exit").await.unwrap().success());
    });
}
