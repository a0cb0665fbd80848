//! The documented shapes, there and back, and what is said of wrong ones.

use crate::model::command::{
    Cmd, Leftovers, Liveness, LogRoute, Logging, Messaging, Output, Overflow, Readiness, Resource,
    Stdin, Transport,
};
use crate::model::script::{Script, ScriptRunConfig, ScriptingLanguage};
use crate::{Backoff, HealthRule, RestartIntensity, RestartPolicy, Supervision, Undelivered};
use procession_wire::Framing;
use serde::de::DeserializeOwned;
use serde::de::value::{BytesDeserializer, Error as ValueError};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

fn not_utf8() -> OsString {
    OsStr::from_bytes(b"caf\xe9").into()
}

fn full_cmd() -> Cmd {
    Cmd::new("worker")
        .args(["--mode", "fast"])
        .env("RUST_LOG", "info")
        .env_remove("LD_PRELOAD")
        .current_dir("/srv")
        .messaging(
            Messaging::split(Some(Transport::StandardIo), Some(Transport::NamedPipe))
                .framing(Framing::Frames)
                .buffer(1)
                .buffer_bytes(2)
                .overflow(Overflow::DropOldest)
                .message_limit(3)
                .skip_before_hello(4)
                .liveness(Liveness::every(Duration::from_millis(250)).misses(2).stop())
                .lease(Duration::from_secs(5)),
        )
        .ready_when(Readiness::Notify {
            watchdog: Some(Duration::from_secs(2)),
        })
        .no_start_deadline()
        .supervised(
            Supervision::new(RestartPolicy::Always)
                .backoff(
                    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
                        .reset_after(Duration::from_secs(7)),
                )
                .intensity(RestartIntensity::new(6, Duration::from_secs(8)))
                .health(HealthRule::new(9, 10))
                .undelivered(Undelivered::Fail)
                .keep_runs(11)
                .seed(12),
        )
        .logging(
            Logging::stdout_and_stderr()
                .route(LogRoute::File)
                .limit(1 << 20),
        )
        .timeout(Duration::from_millis(1500))
        .leftovers(Leftovers::Leave)
        .stdin(Stdin::File("/dev/zero".into()))
        .stdout(Output::Inherit)
        .stderr(Output::File("/dev/full".into()))
        .user(1000)
        .group(1001)
        .groups([4])
        .umask(0o27)
        .nice(-1)
        .limit(Resource::OpenFiles, 64)
        .limit(Resource::AddressSpace, 1 << 40)
}

fn full_cmd_json() -> serde_json::Value {
    json!({
        "program": "worker",
        "args": ["--mode", "fast"],
        "env": { "RUST_LOG": "info" },
        "env_remove": ["LD_PRELOAD"],
        "env_clear": false,
        "current_dir": "/srv",
        "messaging": {
            "input": "standard_io",
            "output": "named_pipe",
            "framing": "frames/1",
            "buffer": 1,
            "buffer_bytes": 2,
            "overflow": "drop_oldest",
            "message_limit": 3,
            "skip_before_hello": 4,
            "liveness": { "every_ms": 250, "misses": 2, "stop": true },
            "lease_ms": 5000,
        },
        "logging": { "streams": "stdout_and_stderr", "route": "file", "limit": 1_048_576 },
        "ready_when": { "notify": { "watchdog_ms": 2000 } },
        "start_deadline_ms": "none",
        "supervised": {
            "restart": "always",
            "backoff": { "first_ms": 100, "longest_ms": 5000, "reset_after_ms": 7000 },
            "intensity": { "restarts": 6, "period_ms": 8000 },
            "health": { "misses": 9, "successes": 10 },
            "undelivered": "fail",
            "keep_runs": 11,
            "seed": 12,
        },
        "timeout_ms": 1500,
        "leftovers": "leave",
        "stdin": { "file": "/dev/zero" },
        "stdout": "inherit",
        "stderr": { "file": "/dev/full" },
        "user": 1000,
        "group": 1001,
        "groups": [4],
        "umask": 23,
        "nice": -1,
        "limits": { "address_space": 1_099_511_627_776_u64, "open_files": 64 },
    })
}

fn from_json<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What is wrong with `text`, read as a `Cmd`.
fn error(text: &str) -> String {
    serde_json::from_str::<Cmd>(text).unwrap_err().to_string()
}

#[test]
fn a_command_has_the_documented_shape_and_comes_back() {
    let json = serde_json::to_value(full_cmd()).unwrap();
    assert_eq!(json, full_cmd_json());
    assert_eq!(from_json::<Cmd>(&json.to_string()), full_cmd());
}

#[test]
fn a_program_is_all_that_a_command_needs() {
    assert_eq!(from_json::<Cmd>(r#"{"program":"ls"}"#), Cmd::new("ls"));
    let plain = serde_json::to_string(&Cmd::new("ls")).unwrap();
    assert_eq!(from_json::<Cmd>(&plain), Cmd::new("ls"));
    assert!(error("{}").starts_with("missing field `program`"));
}

#[test]
fn what_messaging_leaves_out_has_its_default() {
    let json = r#"{"program":"w","messaging":{"input":"standard_io","output":"standard_io"}}"#;
    let expected = Cmd::new("w").messaging(Messaging::standard_io());
    assert_eq!(from_json::<Cmd>(json), expected);
    let json = r#"{"program":"w","messaging":{"output":"named_pipe"}}"#;
    let expected = Cmd::new("w").messaging(Messaging::named_pipes().output_only());
    assert_eq!(from_json::<Cmd>(json), expected);
}

#[test]
fn what_has_a_default_can_be_none_in_words_and_by_null() {
    for none in ["null", r#""none""#] {
        let json = format!(r#"{{"program":"w","start_deadline_ms":{none}}}"#);
        assert_eq!(from_json::<Cmd>(&json), Cmd::new("w").no_start_deadline());
        let json = format!(r#"{{"streams":"stderr","limit":{none}}}"#);
        let unlimited = Logging::stderr().unlimited();
        assert_eq!(from_json::<Logging>(&json), unlimited);
    }
    let of = |value: &str| error(&format!(r#"{{"program":"w","start_deadline_ms":{value}}}"#));
    for (value, says) in [
        (
            "-1",
            "invalid value: integer `-1`, expected a whole number, or `none`",
        ),
        (
            r#""no""#,
            r#"invalid value: string "no", expected a whole number, or `none`"#,
        ),
        (
            "1.5",
            "invalid type: floating point `1.5`, expected a whole number, or `none`",
        ),
    ] {
        assert!(of(value).starts_with(says), "{}", of(value));
    }
}

#[test]
fn what_supervision_leaves_out_has_its_default_and_nothing_wrong_is_taken() {
    let json = r#"{"program":"w","supervised":{"restart":"never","backoff":{"first_ms":5}}}"#;
    let backoff = Backoff::new(Duration::from_millis(5), Backoff::default().longest_wait());
    let rules = Supervision::new(RestartPolicy::Never).backoff(backoff);
    assert_eq!(from_json::<Cmd>(json), Cmd::new("w").supervised(rules));
    let of = |rules: &str| error(&format!(r#"{{"program":"w","supervised":{rules}}}"#));
    for (rules, says) in [
        (
            r#"{"restarts":3}"#,
            "unknown field `restarts`, expected one of `restart`",
        ),
        (
            r#"{"restart":"maybe"}"#,
            "unknown variant `maybe`, expected one of `never`",
        ),
        (r#"{"backoff":{"max":3}}"#, "unknown field `max`"),
        (
            r#"{"intensity":{"restarts":10001}}"#,
            "expected at most 10000 restarts",
        ),
        (r#"{"health":{"misses":0}}"#, "expected at least 1 in a row"),
    ] {
        let error = of(rules);
        assert!(
            error.contains(says) && error.contains("line 1"),
            "{rules}: {error}"
        );
    }
}

#[test]
fn every_choice_has_its_name() {
    for (framing, name) in [(Framing::Lines, "lines"), (Framing::Frames, "frames/1")] {
        let messaging = Messaging::standard_io().framing(framing);
        let json = serde_json::to_value(&messaging).unwrap();
        assert_eq!(json["framing"], name);
        assert_eq!(from_json::<Messaging>(&json.to_string()), messaging);
    }
    for logging in [
        Logging::stdout(),
        Logging::stderr(),
        Logging::stdout_and_stderr(),
        Logging::merged(),
    ] {
        let json = json!({ "streams": logging.to_string() });
        assert_eq!(from_json::<Logging>(&json.to_string()), logging);
        let unlimited = logging.unlimited();
        let json = serde_json::to_value(unlimited).unwrap();
        let streams = logging.to_string();
        assert_eq!(
            json,
            json!({ "streams": streams, "route": "pipe", "limit": "none" })
        );
        assert_eq!(from_json::<Logging>(&json.to_string()), unlimited);
    }
    for (overflow, name) in [
        (Overflow::Block, "block"),
        (Overflow::DropOldest, "drop_oldest"),
    ] {
        assert_eq!(serde_json::to_value(overflow).unwrap(), name);
        assert_eq!(from_json::<Overflow>(&format!("{name:?}")), overflow);
    }
    for (stdin, json) in [
        (Stdin::Null, json!("null")),
        (Stdin::Inherit, json!("inherit")),
        (Stdin::File("/a".into()), json!({ "file": "/a" })),
        (Stdin::Bytes("text\n".into()), json!({ "bytes": "text\n" })),
        (
            Stdin::Bytes(vec![255, 0].into()),
            json!({ "bytes": [255, 0] }),
        ),
    ] {
        assert_eq!(serde_json::to_value(&stdin).unwrap(), json);
        assert_eq!(from_json::<Stdin>(&json.to_string()), stdin);
    }
    for (output, json) in [
        (Output::Null, json!("null")),
        (Output::Inherit, json!("inherit")),
        (Output::File("/a".into()), json!({ "file": "/a" })),
    ] {
        assert_eq!(serde_json::to_value(&output).unwrap(), json);
        assert_eq!(from_json::<Output>(&json.to_string()), output);
    }
}

#[test]
fn scripts_name_their_language() {
    for (language, name) in [
        (ScriptingLanguage::Bash, "bash"),
        (ScriptingLanguage::Python, "python"),
        (ScriptingLanguage::Php, "php"),
        (ScriptingLanguage::JavaScript, "javascript"),
        (ScriptingLanguage::Perl, "perl"),
        (ScriptingLanguage::Lua, "lua"),
        (ScriptingLanguage::Ruby, "ruby"),
        (ScriptingLanguage::Groovy, "groovy"),
    ] {
        let json = json!({ "language": name, "content": "text", "args": ["-x"] });
        let script = Script::new(language, "text").arg("-x");
        assert_eq!(from_json::<Script>(&json.to_string()), script);
        let written = serde_json::to_value(&script).unwrap();
        assert_eq!(written["language"], name);
        assert_eq!(from_json::<Script>(&written.to_string()), script);
    }
}

#[test]
fn a_script_in_another_language_brings_its_run_configuration() {
    let json = json!({
        "language": { "other": { "program": "awk", "args": ["-f", "@FILE_PATH"], "extension": "awk" } },
        "content": "END { print NR }",
    });
    let config = ScriptRunConfig::new("awk", ["-f", "@FILE_PATH"], "awk");
    let script = Script::new(ScriptingLanguage::Other(config), "END { print NR }");
    assert_eq!(from_json::<Script>(&json.to_string()), script);
    let written = serde_json::to_value(&script).unwrap();
    assert_eq!(written["language"], json["language"]);
}

#[test]
fn words_that_are_not_utf8_are_bytes_and_come_back() {
    let cmd = Cmd::new(not_utf8())
        .arg(not_utf8())
        .env("NAME", not_utf8())
        .env_remove(not_utf8())
        .current_dir(not_utf8())
        .stdout(Output::File(not_utf8().into()));
    let json = serde_json::to_value(&cmd).unwrap();
    let bytes = json!([99, 97, 102, 233]);
    assert_eq!(json["program"], bytes);
    assert_eq!(json["args"], json!([bytes]));
    assert_eq!(json["env"], json!({ "NAME": bytes }));
    assert_eq!(json["env_remove"], json!([bytes]));
    assert_eq!(json["current_dir"], bytes);
    assert_eq!(json["stdout"], json!({ "file": bytes }));
    assert_eq!(from_json::<Cmd>(&json.to_string()), cmd);
}

#[test]
fn a_variable_with_a_name_that_is_not_utf8_makes_the_map_a_list_of_pairs() {
    let cmd = Cmd::new("w").env(not_utf8(), "1").env("B", "2");
    let json = serde_json::to_value(&cmd).unwrap();
    assert_eq!(json["env"], json!([["B", "2"], [[99, 97, 102, 233], "1"]]));
    assert_eq!(from_json::<Cmd>(&json.to_string()), cmd);
}

#[test]
fn a_format_with_bytes_of_its_own_gives_them_as_such() {
    let bytes = BytesDeserializer::<ValueError>::new(b"caf\xe9");
    let word: OsString = super::text::deserialize(bytes).unwrap();
    assert_eq!(word, not_utf8());
}

#[test]
fn clearing_the_environment_survives() {
    let cmd = Cmd::new("w").env_clear().env("A", "1");
    let json = serde_json::to_string(&cmd).unwrap();
    assert_eq!(from_json::<Cmd>(&json), cmd);
}

#[test]
fn a_variable_both_set_and_removed_is_removed() {
    let json = r#"{"program":"w","env":{"A":"1"},"env_remove":["A"]}"#;
    assert_eq!(from_json::<Cmd>(json), Cmd::new("w").env_remove("A"));
    let json = r#"{"program":"w","env":{"A":"1"},"env_remove":["A"],"env_clear":true}"#;
    assert_eq!(from_json::<Cmd>(json), Cmd::new("w").env_clear());
}

/// Each mistake stands on the third line of its text, the last column is past it.
#[test]
fn errors_name_the_mistake_and_its_line() {
    let table = [
        (
            r#""argz": []"#,
            "unknown field `argz`, expected one of `program`, `args`",
        ),
        (
            r#""args": "--fast""#,
            r#"invalid type: string "--fast", expected a sequence"#,
        ),
        (
            r#""args": ["-a", 5]"#,
            "invalid type: integer `5`, expected a string, or bytes",
        ),
        (
            r#""args": [[300]]"#,
            "invalid value: integer `300`, expected u8",
        ),
        (
            r#""env": { "A": "1", "A": "2" }"#,
            "the variable A is given twice",
        ),
        (
            r#""env": "A=1""#,
            r#"invalid type: string "A=1", expected a map from names to values of variables, or a list of such pairs"#,
        ),
        (
            r#""messaging": { "framing": "frames/2" }"#,
            r#"invalid value: string "frames/2", expected `lines` or `frames/1`"#,
        ),
        (
            r#""messaging": { "buffer": -1 }"#,
            "invalid value: integer `-1`, expected usize",
        ),
        (
            r#""messaging": { "input": "stdin" }"#,
            "unknown variant `stdin`, expected `standard_io` or `named_pipe`",
        ),
        (
            r#""messaging": { "frame": "lines" }"#,
            "unknown field `frame`, expected one of `input`",
        ),
        (
            r#""logging": { "streams": "both" }"#,
            "unknown variant `both`, expected one of `stdout`",
        ),
        (
            r#""logging": { "streams": "merged", "size": 1 }"#,
            "unknown field `size`, expected one of `streams`",
        ),
        (
            r#""stdin": { "file": 5 }"#,
            "invalid type: integer `5`, expected a string, or bytes",
        ),
        (
            r#""stdout": "stdout""#,
            "unknown variant `stdout`, expected one of `null`",
        ),
        (r#""user": -1"#, "invalid value: integer `-1`, expected u32"),
        (
            r#""limits": { "memory": 1 }"#,
            "unknown variant `memory`, expected one of `cpu_seconds`",
        ),
    ];
    for (field, expected) in table {
        let error = error(&format!("{{\n\"program\": \"w\",\n{field}\n}}"));
        assert!(error.starts_with(expected), "{field}: {error}");
        assert!(error.contains(" at line 3 column "), "{field}: {error}");
    }
}
