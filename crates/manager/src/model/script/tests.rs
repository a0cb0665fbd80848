//! How each language is run, and the file that it is run from.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Starts `cmd` with its program and arguments alone, and returns what it printed.
fn run(cmd: &Cmd) -> String {
    let output = Command::new(cmd.program())
        .args(cmd.arguments())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_language_is_run_by_its_interpreter_with_its_file() {
    let table = [
        (ScriptingLanguage::Bash, "bash FILE a -b", "script.sh"),
        (ScriptingLanguage::Python, "python3 FILE a -b", "script.py"),
        (ScriptingLanguage::Php, "php -f FILE -- a -b", "script.php"),
        (ScriptingLanguage::JavaScript, "node FILE a -b", "script.js"),
        (ScriptingLanguage::Perl, "perl FILE a -b", "script.pl"),
        (ScriptingLanguage::Lua, "lua FILE a -b", "script.lua"),
        (ScriptingLanguage::Ruby, "ruby FILE a -b", "script.rb"),
        (
            ScriptingLanguage::Groovy,
            "groovy FILE a -b",
            "script.groovy",
        ),
        (
            ScriptingLanguage::Other(ScriptRunConfig::new(
                "awk",
                ["--file=@FILE_PATH", "-x", "@FILE_PATH:@FILE_PATH"],
                "tar.awk",
            )),
            "awk --file=FILE -x FILE:FILE a -b",
            "script.tar.awk",
        ),
        (
            ScriptingLanguage::Other(ScriptRunConfig::new("own", ["@FILE_PATH"], "")),
            "own FILE a -b",
            "script",
        ),
    ];
    for (language, line, file_name) in table {
        let dir = dir();
        let script = Script::new(language, "the text").args(["a", "-b"]);
        let cmd = script.bootstrap_cmd(dir.path()).unwrap();
        let file = dir.path().join(file_name);
        assert_eq!(
            cmd.to_string(),
            line.replace("FILE", file.to_str().unwrap())
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "the text");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn the_script_s_own_arguments_are_left_as_they_are() {
    let dir = dir();
    let script = Script::new(ScriptingLanguage::Bash, r#"printf '%s|' "$@""#).args([
        "@FILE_PATH",
        "two words",
        "$HOME",
    ]);
    let cmd = script.bootstrap_cmd(dir.path()).unwrap();
    assert_eq!(run(&cmd), "@FILE_PATH|two words|$HOME|");
}

#[test]
fn a_script_takes_all_its_options_along() {
    let dir = dir();
    let script = Script::new(ScriptingLanguage::Python, "")
        .env("A", "1")
        .current_dir("/tmp")
        .messaging(Messaging::named_pipes())
        .logging(Logging::merged())
        .stdin(Stdin::Inherit);
    let cmd = script.bootstrap_cmd(dir.path()).unwrap();
    let expected = Cmd::new("python3")
        .arg(dir.path().join("script.py"))
        .env("A", "1")
        .current_dir("/tmp")
        .messaging(Messaging::named_pipes())
        .logging(Logging::merged())
        .stdin(Stdin::Inherit);
    assert_eq!(cmd, expected);
}

#[test]
fn a_directory_that_is_not_utf8_works() {
    let parent = dir();
    let dir = parent.path().join(OsStr::from_bytes(b"caf\xe9 "));
    std::fs::create_dir(&dir).unwrap();
    let script = Script::new(ScriptingLanguage::Bash, "echo here");
    let cmd = script.bootstrap_cmd(&dir).unwrap();
    assert_eq!(cmd.arguments(), [dir.join("script.sh")]);
    assert_eq!(run(&cmd), "here\n");
}

#[test]
fn a_second_run_in_the_same_directory_replaces_the_file() {
    let dir = dir();
    let long = Script::new(ScriptingLanguage::Bash, "echo long; echo script");
    let cmd = long.bootstrap_cmd(dir.path()).unwrap();
    assert_eq!(run(&cmd), "long\nscript\n");
    let short = Script::new(ScriptingLanguage::Bash, "echo short");
    let cmd = short.bootstrap_cmd(dir.path()).unwrap();
    assert_eq!(run(&cmd), "short\n");
}

#[test]
fn an_extension_cannot_lead_out_of_the_directory() {
    let parent = dir();
    let dir = parent.path().join("run");
    std::fs::create_dir(&dir).unwrap();
    for (extension, shown) in [
        ("x/../../out", "x/../../out"),
        ("/out", "/out"),
        ("a\0b", r"$'a\x00b'"),
    ] {
        let config = ScriptRunConfig::new("own", ["@FILE_PATH"], extension);
        let script = Script::new(ScriptingLanguage::Other(config), "");
        let error = script.bootstrap_cmd(&dir).unwrap_err();
        assert!(error.starts_with(&format!("{shown} cannot be")), "{error}");
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_file_that_cannot_be_written_is_named_with_the_reason() {
    let error = Script::new(ScriptingLanguage::Bash, "")
        .bootstrap_cmd(Path::new("/proc/no such directory"))
        .unwrap_err();
    assert_eq!(
        error,
        "cannot write the script to /proc/no such directory/script.sh: No such file or directory (os error 2)"
    );
}

#[test]
fn debug_hides_the_text_and_what_may_be_secret_until_it_is_asked_for() {
    let script = Script::new(ScriptingLanguage::Bash, "echo").arg("x");
    assert_eq!(
        format!("{script:?}"),
        "Script { language: Bash, content: (4 bytes hidden), args: (1 hidden) }"
    );
    assert_eq!(
        format!("{:?}", script.reveal()),
        r#"Script { language: Bash, content: "echo", args: ["x"] }"#
    );
}
