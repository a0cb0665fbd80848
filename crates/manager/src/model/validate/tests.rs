//! Every row of refused commands, and the neighbours that are allowed.

use super::*;
use crate::model::command::Overflow;

fn refused(cmd: &Cmd) -> ConfigurationError {
    cmd.validate()
        .expect_err(&format!("{cmd:?} should be refused"))
}

fn nul(cmd: &Cmd) -> String {
    match refused(cmd) {
        ConfigurationError::NulByte { what } => what,
        other => panic!("{other:?}"),
    }
}

fn worker() -> Cmd {
    Cmd::new("worker")
}

#[test]
fn an_empty_program_is_refused() {
    assert_eq!(refused(&Cmd::new("")), ConfigurationError::EmptyProgram);
}

#[test]
fn a_nul_byte_is_refused_wherever_it_is_and_its_place_is_named() {
    assert_eq!(nul(&Cmd::new("a\0b")), "the program");
    assert_eq!(
        nul(&worker().arg("fine").arg("a\0b")),
        r"argument 2 ($'a\x00b')"
    );
    assert_eq!(
        nul(&worker().env("a\0b", "")),
        r"the name of the variable $'a\x00b'"
    );
    assert_eq!(
        nul(&worker().env_remove("a\0b")),
        r"the name of the variable $'a\x00b'"
    );
    assert_eq!(
        nul(&worker().env("A", "a\0b")),
        "the value of the variable A"
    );
    assert_eq!(nul(&worker().current_dir("/a\0b")), "the current directory");
    assert_eq!(
        nul(&worker().stdin(Stdin::File("/a\0b".into()))),
        "the file for stdin"
    );
    assert_eq!(
        nul(&worker().stdout(Output::File("/a\0b".into()))),
        "the file for stdout"
    );
    assert_eq!(
        nul(&worker().stderr(Output::File("/a\0b".into()))),
        "the file for stderr"
    );
    // Bytes on standard input are no word.
    let cmd = worker().stdin(Stdin::Bytes("a\0b".into()));
    assert_eq!(cmd.validate(), Ok(()));
}

#[test]
fn names_that_no_variable_can_have_are_refused() {
    for name in ["", "A=B", "="] {
        let expected = ConfigurationError::InvalidVariableName { name: name.into() };
        assert_eq!(refused(&worker().env(name, "1")), expected);
        assert_eq!(refused(&worker().env_remove(name)), expected);
    }
    assert_eq!(worker().env("A", "B=C").validate(), Ok(()));
}

#[test]
fn the_variables_of_the_protocol_cannot_be_set_but_may_be_removed() {
    let ours = [
        "PROCESS_DATA_DIR",
        "INPUT_PIPE",
        "OUTPUT_PIPE",
        "MESSAGE_FRAMING",
        "MESSAGE_LIMIT",
        "MESSAGE_INPUT",
        "MESSAGE_OUTPUT",
        "MESSAGE_LEASE",
        "PROCESSION_TREE",
    ];
    for name in ours {
        let expected = ConfigurationError::ReservedVariable { name };
        assert_eq!(refused(&worker().env(name, "1")), expected);
        assert!(expected.to_string().contains(name));
        assert_eq!(worker().env_remove(name).validate(), Ok(()));
    }
    for name in env::RESERVED.iter().filter(|name| !ours.contains(name)) {
        assert_eq!(worker().env(name, "1").validate(), Ok(()), "{name}");
    }
    assert_eq!(worker().env("MESSAGE_COLOUR", "red").validate(), Ok(()));
}

#[test]
fn messaging_without_a_direction_is_refused() {
    for messaging in [
        Messaging::split(None, None),
        Messaging::standard_io().input_only().output_only(),
    ] {
        let cmd = worker().messaging(messaging);
        assert_eq!(refused(&cmd), ConfigurationError::NoDirection);
    }
}

#[test]
fn sizes_of_zero_are_refused_and_one_is_enough() {
    let messaging = Messaging::named_pipes;
    for (setting, zero) in [
        ("buffer", messaging().buffer(0)),
        ("buffer_bytes", messaging().buffer_bytes(0)),
        ("message_limit", messaging().message_limit(0)),
    ] {
        let error = refused(&worker().messaging(zero));
        assert_eq!(error, ConfigurationError::ZeroSize { setting });
    }
    let least = messaging().buffer(1).buffer_bytes(1).message_limit(1);
    assert_eq!(worker().messaging(least).validate(), Ok(()));
}

#[test]
fn a_message_limit_that_no_frame_can_hold_is_refused() {
    let limited = |limit| worker().messaging(Messaging::standard_io().message_limit(limit));
    assert_eq!(limited(4_294_966_271).validate(), Ok(()));
    assert_eq!(
        refused(&limited(4_294_966_272)),
        ConfigurationError::MessageLimitTooLarge {
            limit: 4_294_966_272,
            largest: 4_294_966_271
        }
    );
}

#[test]
fn bytes_before_hello_are_skipped_only_where_a_hello_comes() {
    let skipping = |messaging: Messaging| worker().messaging(messaging.skip_before_hello(80));
    let frames = Messaging::standard_io().framing(Framing::Frames);
    assert_eq!(skipping(frames.clone()).validate(), Ok(()));
    assert_eq!(skipping(frames.clone().output_only()).validate(), Ok(()));
    for messaging in [frames.input_only(), Messaging::standard_io()] {
        assert_eq!(
            refused(&skipping(messaging)),
            ConfigurationError::NoHelloToSkipTo
        );
    }
}

/// Every combination of messaging, logging and given streams, against the one rule that a stream has
/// one use.
#[test]
fn no_stream_has_two_uses() {
    let messagings = [
        (None, false, false),
        (Some(Messaging::standard_io()), true, true),
        (Some(Messaging::standard_io().input_only()), true, false),
        (Some(Messaging::standard_io().output_only()), false, true),
        (Some(Messaging::named_pipes()), false, false),
        (
            Some(Messaging::split(
                Some(Transport::StandardIo),
                Some(Transport::NamedPipe),
            )),
            true,
            false,
        ),
    ];
    let loggings = [
        (None, false, false),
        (Some(Logging::stdout()), true, false),
        (Some(Logging::stderr()), false, true),
        (Some(Logging::stdout_and_stderr()), true, true),
        (Some(Logging::merged()), true, true),
    ];
    let stdins = [
        Stdin::Null,
        Stdin::Inherit,
        Stdin::File("/dev/zero".into()),
        Stdin::Bytes("abc".into()),
    ];
    let outputs = [
        Output::Null,
        Output::Inherit,
        Output::File("/dev/full".into()),
    ];
    let mut allowed = 0;
    for (messaging, message_in, message_out) in &messagings {
        for (logging, log_out, log_err) in &loggings {
            for stdin in &stdins {
                for stdout in &outputs {
                    for stderr in &outputs {
                        let mut cmd = worker()
                            .stdin(stdin.clone())
                            .stdout(stdout.clone())
                            .stderr(stderr.clone());
                        cmd.options.messaging.clone_from(messaging);
                        cmd.options.logging = *logging;
                        let uses = |flags: &[bool]| flags.iter().filter(|flag| **flag).count();
                        let fits = uses(&[*message_in, *stdin != Stdin::Null]) <= 1
                            && uses(&[*message_out, *log_out, *stdout != Output::Null]) <= 1
                            && uses(&[*log_err, *stderr != Output::Null]) <= 1;
                        assert_eq!(cmd.validate().is_ok(), fits, "{cmd:?}");
                        allowed += usize::from(fits);
                    }
                }
            }
        }
    }
    assert!(allowed > 0);
}

#[test]
fn two_uses_of_a_stream_are_reported_with_the_stream_and_a_way_out() {
    let stdio = || worker().messaging(Messaging::standard_io());
    let table = [
        (
            stdio().logging(Logging::merged()),
            "messages and logs (Logging::merged()) both use stdout: log with Logging::stderr(), or move the messages to Messaging::named_pipes()",
        ),
        (
            stdio().stdin(Stdin::Inherit),
            "messages use stdin, and `stdin(..)` gives it another use: leave `stdin(..)` out, or move the messages to Messaging::named_pipes()",
        ),
        (
            stdio().stdout(Output::Inherit),
            "messages use stdout, and `stdout(..)` gives it another use: leave `stdout(..)` out, or move the messages to Messaging::named_pipes()",
        ),
        (
            worker().logging(Logging::merged()).stdout(Output::Inherit),
            "logging uses stdout, and `stdout(..)` gives it another use: leave `stdout(..)` out, or do not log stdout",
        ),
        (
            worker().logging(Logging::stderr()).stderr(Output::Inherit),
            "logging uses stderr, and `stderr(..)` gives it another use: leave `stderr(..)` out, or do not log stderr",
        ),
    ];
    for (cmd, text) in table {
        assert_eq!(refused(&cmd).to_string(), text);
    }
}

#[test]
fn numbers_that_no_child_can_have_are_refused() {
    let nobody = u32::MAX;
    for (setting, cmd) in [
        ("user", worker().user(nobody)),
        ("group", worker().group(nobody)),
        ("groups", worker().groups([0, nobody])),
    ] {
        let number = nobody;
        let expected = ConfigurationError::InvalidIdentity { setting, number };
        assert_eq!(refused(&cmd), expected);
    }
    let many = |count| worker().groups(0..count);
    assert_eq!(many(65_536).validate(), Ok(()));
    let count = 65_537;
    let expected = ConfigurationError::TooManyGroups { count };
    assert_eq!(refused(&many(65_537)), expected);
    for nice in [-21, 20, i32::MIN, i32::MAX] {
        let expected = ConfigurationError::InvalidNice { nice };
        assert_eq!(refused(&worker().nice(nice)), expected);
    }
    assert_eq!(worker().nice(-20).validate(), Ok(()));
    assert_eq!(worker().nice(19).umask(0o777).validate(), Ok(()));
    let expected = ConfigurationError::InvalidUmask { umask: 0o1000 };
    assert_eq!(refused(&worker().umask(0o1000)), expected);
    assert!(expected.to_string().contains("0o1000"));
}

#[test]
fn a_full_command_is_accepted() {
    let cmd = worker()
        .args(["--mode", "fast"])
        .env("NOTIFY_SOCKET", "/run/notify")
        .env_remove("LD_PRELOAD")
        .current_dir("/")
        .messaging(
            Messaging::named_pipes()
                .framing(Framing::Frames)
                .overflow(Overflow::DropOldest)
                .skip_before_hello(4096),
        )
        .logging(Logging::merged())
        .stdin(Stdin::File("/dev/zero".into()));
    assert_eq!(cmd.validate(), Ok(()));
}

#[test]
fn a_health_check_that_cannot_be_is_refused() {
    use crate::{Framing, HealthCheck, Supervision};
    let second = Duration::from_secs(1);
    let check = || HealthCheck::new(second, |_| async { true });
    let request = || HealthCheck::request(second, "well?");
    let rules = Supervision::default();
    let frames = Messaging::named_pipes().framing(Framing::Frames);
    let alone = Cmd::new("worker").health_check(check());
    assert_eq!(
        alone.validate(),
        Err(ConfigurationError::HealthWithoutSupervision)
    );
    assert_eq!(alone.supervised(rules).validate(), Ok(()));
    let asked = Cmd::new("worker").supervised(rules).health_check(request());
    assert_eq!(
        asked.validate(),
        Err(ConfigurationError::HealthWithoutFrames)
    );
    assert_eq!(asked.messaging(frames).validate(), Ok(()));
}
