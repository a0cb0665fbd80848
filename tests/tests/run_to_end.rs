//! `run`: one command, its output and its exit.

use std::time::{Duration, Instant};

use procession_manager::{Cmd, ExitCause, OutputState, Run, RunError, Stdin};
use procession_tests::{Within as _, checked, programs};

fn sh(script: &str) -> Cmd {
    Cmd::new(programs::sh()).args(["-c", script])
}

#[test]
fn it_gives_both_outputs_and_the_exit() {
    checked(async |test| {
        let script = r"printf 'out\0bytes'; printf 'err\n' >&2; exit 3";
        let output = test
            .manager()
            .run(sh(script))
            .within("the run")
            .await
            .unwrap();
        assert_eq!(output.stdout().as_ref(), b"out\0bytes");
        assert_eq!(output.stderr().as_ref(), b"err\n");
        assert_eq!(output.report().code(), Some(3));
        assert_eq!(output.report().cause(), ExitCause::ByItself);
        assert_eq!(output.report().output(), OutputState::Complete);
        // Nothing of it is left to be asked for.
        assert!(test.manager().list().await.unwrap().is_empty());
        assert!(test.run_directories().is_empty());
    });
}

#[test]
fn it_passes_input_as_given() {
    checked(async |test| {
        let input: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let cat = Cmd::new("cat").stdin(Stdin::Bytes(input.clone().into()));
        let output = test.manager().run(cat).within("the run").await.unwrap();
        assert!(output.stdout() == &input);
    });
}

#[test]
fn large_outputs_on_both_streams_do_not_block_each_other() {
    checked(async |test| {
        let script =
            "head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero; head -c 10 /dev/zero >&2";
        let output = test
            .manager()
            .run(sh(script))
            .within("the run")
            .await
            .unwrap();
        assert_eq!(
            (output.stdout().len(), output.stderr().len()),
            (3_000_000, 3_000_010)
        );
    });
}

#[test]
fn a_time_out_kills_it_and_gives_what_was_read() {
    checked(async |test| {
        let limit = Duration::from_millis(300);
        let start = Instant::now();
        let run = Run::new(sh("echo first; sleep 1000 & sleep 1000")).timeout(limit);
        let error = test
            .manager()
            .run(run)
            .within("the run")
            .await
            .expect_err("it times out");
        assert!(start.elapsed() >= limit, "not before its time");
        let RunError::TimedOut { timeout, output } = error else {
            panic!("unexpected: {error:?}")
        };
        assert_eq!(timeout, limit);
        assert_eq!(output.stdout().as_ref(), b"first\n");
        assert_eq!(output.report().cause(), ExitCause::TimedOut);
        assert_eq!(output.report().signal(), Some(9));
        assert!(test.run_directories().is_empty());
    });
}

#[test]
fn one_that_ends_in_time_is_not_touched() {
    checked(async |test| {
        let run = Run::new(sh("echo done")).timeout(Duration::from_secs(1000));
        let output = test.manager().run(run).within("the run").await.unwrap();
        assert_eq!(output.stdout().as_ref(), b"done\n");
        assert_eq!(output.report().cause(), ExitCause::ByItself);
    });
}

#[test]
fn an_output_over_the_limit_kills_it_and_gives_what_was_read() {
    checked(async |test| {
        for stream in ["", " >&2"] {
            let script = format!("while :; do echo 0123456789{stream}; done");
            let run = Run::new(sh(&script)).output_limit(1_000);
            let error = test
                .manager()
                .run(run)
                .within("the run")
                .await
                .expect_err("over the limit");
            let RunError::OutputLimit { limit, output } = error else {
                panic!("unexpected: {error:?}");
            };
            assert_eq!(limit, 1_000);
            let read = if stream.is_empty() {
                output.stdout()
            } else {
                output.stderr()
            };
            assert_eq!(read.as_ref(), &b"0123456789\n".repeat(100)[..1_000]);
            assert_eq!(output.report().cause(), ExitCause::LimitExceeded);
        }
    });
}

#[test]
fn an_output_of_exactly_the_limit_is_fine() {
    checked(async |test| {
        let run = Run::new(sh("head -c 1000 /dev/zero")).output_limit(1_000);
        let output = test.manager().run(run).within("the run").await.unwrap();
        assert_eq!(output.stdout().len(), 1_000);
        let run = Run::new(sh("head -c 1001 /dev/zero")).output_limit(1_000);
        let error = test
            .manager()
            .run(run)
            .within("the run")
            .await
            .expect_err("one too many");
        assert!(matches!(error, RunError::OutputLimit { .. }), "{error:?}");
    });
}

#[test]
fn a_program_that_cannot_be_started() {
    checked(async |test| {
        let run = test.manager().run(Cmd::new("no-such-program-anywhere"));
        let error = run
            .within("the run")
            .await
            .expect_err("there is no such program");
        assert!(matches!(error, RunError::Spawn(_)), "{error:?}");
        assert!(
            error.to_string().contains("no-such-program-anywhere"),
            "{error}"
        );
    });
}

/// Whoever gives up on a run does not leave it running.
#[test]
fn a_run_that_is_dropped_is_killed() {
    checked(async |test| {
        let go = test.scratch().join("running");
        rustix::fs::mkfifoat(rustix::fs::CWD, &go, rustix::fs::Mode::RWXU).unwrap();
        let cmd = sh(r#"echo $$ > "$GO"; exec sleep 1000"#).env("GO", &go);
        let manager = test.manager().clone();
        let run = tokio::spawn(async move { manager.run(cmd).await });
        let pid = tokio::task::spawn_blocking(move || std::fs::read_to_string(go).unwrap());
        let pid: u32 = pid
            .within("it to run")
            .await
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        run.abort();
        procession_tests::eventually("it to be killed", Duration::from_secs(5), async || {
            (!procession_tests::procfs::is_alive(pid)).then_some(())
        })
        .await;
    });
}
