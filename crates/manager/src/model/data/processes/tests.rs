//! Groups as data: there and back in three formats, and where it is said what is wrong.

use std::time::Duration;

use serde_json::json;

use crate::supervision::graph::random::Random;
use crate::{
    Backoff, Cmd, FailurePolicy, Framing, GroupProcess, LogRoute, LogStream, Logging, Messaging,
    ProcessGroup, Readiness, Resource, RestartIntensity, RestartPolicy, Stdin, Supervision,
};

const DOCUMENTED: &str = r#"
on_failure = "rest_for_one"

[processes.db]
program = "db"
ready_when = { notify = {} }
supervised = { restart = "always" }

[processes.migrate]
program = "migrate"
kind = "oneshot"
needs = ["db"]

[processes.web]
program = "web"
args = ["--port", "8080"]
env = { RUST_LOG = "info" }
needs = ["migrate"]
limits = { open_files = 4096 }
"#;

fn documented() -> ProcessGroup {
    let db = Cmd::new("db")
        .ready_when(Readiness::Notify { watchdog: None })
        .supervised(Supervision::new(RestartPolicy::Always));
    let migrate = GroupProcess::new(Cmd::new("migrate")).oneshot();
    let web = Cmd::new("web")
        .args(["--port", "8080"])
        .env("RUST_LOG", "info")
        .limit(Resource::OpenFiles, 4096);
    ProcessGroup::new()
        .on_failure(FailurePolicy::RestForOne)
        .process("db", db)
        .process("migrate", migrate.needs(["db"]))
        .process("web", GroupProcess::new(web).needs(["migrate"]))
}

fn of_toml(text: &str) -> Result<ProcessGroup, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn of_json(text: &str) -> Result<ProcessGroup, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn the_documented_file_is_read() {
    assert_eq!(of_toml(DOCUMENTED), Ok(documented()));
    assert_eq!(of_toml(""), Ok(ProcessGroup::new()));
    assert_eq!(of_json("{}"), Ok(ProcessGroup::new()));
    for (name, policy) in [
        ("one_for_one", FailurePolicy::OneForOne),
        ("rest_for_one", FailurePolicy::RestForOne),
        ("one_for_all", FailurePolicy::OneForAll),
    ] {
        let group = ProcessGroup::new().on_failure(policy);
        assert_eq!(of_toml(&format!("on_failure = {name:?}")), Ok(group));
    }
}

#[test]
fn a_process_is_a_command_and_what_it_needs() {
    let written = serde_json::to_value(documented()).expect("it is written");
    assert_eq!(written["on_failure"], "rest_for_one");
    let web = &written["processes"]["web"];
    assert_eq!(
        (&web["needs"], &web["kind"]),
        (&json!(["migrate"]), &json!("service"))
    );
    let mut flat = serde_json::to_value(Cmd::new("web")).expect("it is written");
    for (key, value) in [("needs", json!(["db"])), ("kind", json!("oneshot"))] {
        flat[key] = value;
    }
    let process: GroupProcess = serde_json::from_value(flat).expect("it is read");
    assert_eq!(
        process,
        GroupProcess::new(Cmd::new("web")).needs(["db"]).oneshot()
    );
}

/// There and back, in each format.
#[track_caller]
fn comes_back(group: &ProcessGroup) {
    let text = serde_json::to_string_pretty(group).expect("json");
    assert_eq!(of_json(&text).as_ref(), Ok(group), "{text}");
    let text = toml::to_string(group).expect("toml");
    assert_eq!(of_toml(&text).as_ref(), Ok(group), "{text}");
    let bytes = rmp_serde::to_vec(group).expect("MessagePack");
    assert_eq!(
        &rmp_serde::from_slice::<ProcessGroup>(&bytes).expect("read"),
        group
    );
    let bytes = rmp_serde::to_vec_named(group).expect("MessagePack");
    assert_eq!(
        &rmp_serde::from_slice::<ProcessGroup>(&bytes).expect("read"),
        group
    );
}

/// Any group: each may need those that were made before it, and they are given in any order.
fn any(random: &mut Random) -> ProcessGroup {
    let words = [
        "",
        "a b",
        "\"",
        "naïve\n",
        "-x",
        "💡",
        "[processes]",
        "none",
    ];
    let policies = [
        FailurePolicy::OneForOne,
        FailurePolicy::RestForOne,
        FailurePolicy::OneForAll,
    ];
    let mut made: Vec<(String, GroupProcess)> = Vec::new();
    for number in 0..random.below(9) {
        let millis = Duration::from_millis(u64::try_from(random.below(100_000)).expect("small"));
        let mut cmd = Cmd::new(words[random.below(8)])
            .arg(words[random.below(8)])
            .env(format!("V{}", random.below(3)), words[random.below(8)]);
        cmd = match random.below(8) {
            0 => cmd.env_clear().env_remove("PATH"),
            1 => cmd.messaging(Messaging::named_pipes().framing(Framing::Frames)),
            2 => cmd.logging(Logging::merged().route(LogRoute::File).unlimited()),
            3 => cmd.ready_when(Readiness::LogLine {
                stream: LogStream::Stderr,
                containing: words[random.below(8)].to_owned(),
            }),
            4 => cmd.no_start_deadline().timeout(millis),
            5 => cmd
                .start_deadline(millis)
                .stdin(Stdin::Bytes("text".into())),
            6 => cmd
                .limit(Resource::OpenFiles, 7)
                .user(3)
                .umask(0o27)
                .nice(-3),
            _ => cmd.supervised(
                Supervision::new(RestartPolicy::Always)
                    .backoff(Backoff::new(millis, millis * 2))
                    .intensity(RestartIntensity::new(3, millis)),
            ),
        };
        let mut process = GroupProcess::new(cmd);
        for _ in 0..random.below(3).min(number) {
            let need = made[random.below(number)].0.clone();
            process = process.needs([need]);
        }
        if random.below(3) == 0 {
            process = process.oneshot();
        }
        made.push((format!("{}{number}", words[random.below(8)]), process));
    }
    random.shuffle(&mut made);
    let group = ProcessGroup::new().on_failure(policies[random.below(3)]);
    made.into_iter()
        .fold(group, |group, (name, process)| group.process(name, process))
}

#[test]
fn groups_come_back_as_they_were() {
    comes_back(&documented());
    for seed in 1..300 {
        comes_back(&any(&mut Random::new(seed)));
    }
}

#[test]
fn bytes_that_are_no_group_are_refused_and_cost_nothing() {
    // A map that announces four billion processes.
    let bytes = b"\x92\xabone_for_one\xdf\xff\xff\xff\xff";
    rmp_serde::from_slice::<ProcessGroup>(bytes).expect_err("they are not there");
}

/// A key that there is not, or a value that cannot be, on a line of its own: named with that line.
#[test]
fn errors_of_toml_name_the_mistake_and_its_line() {
    for (line, says) in [
        (
            "argz = []",
            "unknown field `argz`, expected one of `program`, `needs`, `kind`, `args`",
        ),
        (
            "needs = 5",
            "invalid type: integer `5`, expected a sequence",
        ),
        (
            "needs = [5]",
            "invalid type: integer `5`, expected a string",
        ),
        ("needs = [\"a\"]", "`a` needs itself"),
        (
            "kind = \"once\"",
            "unknown variant `once`, expected `service` or `oneshot`",
        ),
        (
            "start_deadline_ms = \"no\"",
            "expected a whole number, or `none`",
        ),
        (
            "limits = { memory = 1 }",
            "unknown variant `memory`, expected one of `cpu_seconds`",
        ),
        (
            "supervised = { restart = \"maybe\" }",
            "unknown variant `maybe`",
        ),
        (
            "supervised = { backoff = { max = 3 } }",
            "unknown field `max`",
        ),
        ("args = \"-x\"\nargs = []", "duplicate key"),
    ] {
        let text =
            format!("[processes.b]\nprogram = \"b\"\n\n[processes.a]\nprogram = \"a\"\n{line}\n");
        let error = of_toml(&text).expect_err(line);
        assert!(error.contains(says), "{line}: {error}");
        let place = match says {
            // Known when all of it has been read.
            "`a` needs itself" => "at line 4, column 1",
            "duplicate key" => "at line 7, column 1",
            _ => "at line 6, column ",
        };
        assert!(error.contains(place), "{line}: {error}");
    }
    for (text, line, says) in [
        (
            "on_failur = 1",
            1,
            "unknown field `on_failur`, expected `on_failure` or `processes`",
        ),
        (
            "\non_failure = \"all\"",
            2,
            "unknown variant `all`, expected one of `one_for_one`, `rest_for_one`, `one_for_all`",
        ),
        ("\n[processes.a]\n", 2, "missing field `program`"),
        (
            "[processes.a]\nprogram=\"a\"\n[processes.a]\nprogram=\"a\"",
            3,
            "duplicate key",
        ),
        (
            "[processes.a]\nprogram='a'\nneeds=['b']\n[processes.b]\nprogram='b'\nneeds=['c']\n\
             [processes.c]\nprogram='c'\nneeds=['a']\n[processes.d]\nprogram='d'",
            7,
            "in a circle: a -> b -> c -> a",
        ),
        // The names alone say where: that there is none of this name is known at the end.
        (
            "[processes.a]\nprogram='a'\n[processes.b]\nprogram='b'\nneeds=['aa']\n",
            1,
            "`b` needs `aa`, which does not exist; did you mean `a`?",
        ),
    ] {
        let error = of_toml(text).expect_err(text);
        let place = format!("at line {line}, column ");
        assert!(error.contains(says) && error.contains(&place), "{error}");
    }
}

#[test]
fn errors_of_json_name_the_mistake_and_its_line() {
    for (line, says) in [
        (
            r#""argz": []"#,
            "unknown field `argz`, expected one of `program`, `needs`",
        ),
        (
            r#""needs": "b""#,
            r#"invalid type: string "b", expected a sequence"#,
        ),
        (r#""needs": ["a"]"#, "`a` needs itself"),
        (
            r#""kind": "once""#,
            "unknown variant `once`, expected `service` or `oneshot`",
        ),
        (r#""limits": { "memory": 1 }"#, "unknown variant `memory`"),
        (
            r#""needs": ["b"]"#,
            "what is needed goes in a circle: a -> b -> a",
        ),
    ] {
        let text = format!(
            "{{ \"processes\": {{\n\"b\": {{ \"program\": \"b\", \"needs\": [\"a\"] }},\n\"a\": {{ \"program\": \"a\",\n{line} }},\n\"c\": {{ \"program\": \"c\" }}\n}} }}"
        );
        let error = of_json(&text).expect_err(line);
        assert!(error.starts_with(says), "{line}: {error}");
        assert!(error.contains(" at line 4 column "), "{line}: {error}");
    }
    for (text, says) in [
        (
            "{\n\"on_failure\": \"all\" }",
            "unknown variant `all`, expected one of `one_for_one`, `rest_for_one`, `one_for_all` at line 2",
        ),
        (
            "{\n\"process\": {} }",
            "unknown field `process`, expected `on_failure` or `processes` at line 2",
        ),
        (
            "{ \"processes\": {\n\"a\": {\"program\":\"a\"},\n\"a\": {\"program\":\"a\"},\n\"b\": {\"program\":\"b\"} } }",
            "two processes are named `a` at line 3",
        ),
        (
            "{ \"processes\": {\n\"a\": {\"program\":\"a\", \"needs\": [\"c\"]},\n\"b\": {\"program\":\"a\"}\n} }",
            // Known at their end.
            "`a` needs `c`, which does not exist; did you mean `b`? at line 4",
        ),
        (
            "{ \"processes\": [] }",
            "invalid type: sequence, expected a map from names to processes at line 1",
        ),
    ] {
        let error = of_json(text).expect_err(text);
        assert!(error.starts_with(says), "{error}");
    }
}

/// What the guide shows of everything that a file may say is all that there is, and right.
#[test]
fn the_guide_shows_every_key() {
    let guide = include_str!("../../../guide/groups.md");
    let (_, rest) = guide.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let group: ProcessGroup = toml::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    let written = toml::to_string(&group).unwrap();
    for line in written.lines() {
        let key = line.split([' ', '=']).next().unwrap();
        let is_there = line.starts_with('[') || text.contains(key);
        // They have no default that could be shown beside the rest.
        let is_alone = ["stdout", "stderr", "seed", "skip_before_hello"].contains(&key);
        assert!(is_there || is_alone, "{key} is not in the guide");
    }
}
