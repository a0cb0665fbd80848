//! Scripts given as text. Bash and Python always run for real, Perl and Node where they are; all
//! eight languages are checked through stand-ins on the child's PATH that report how they were called.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use futures::StreamExt as _;
use procession_manager::{
    Logging, LogsQuery, Messaging, SCRIPT_FILE_PATH_PLACEHOLDER, Script, ScriptRunConfig,
    ScriptingLanguage,
};
use procession_tests::{Checked, Within as _, checked, fixture, programs};

/// A directory with a stand-in for each interpreter. Links, not fresh copies: a file that was just
/// written can be busy when it is executed.
fn stand_ins(test: &Checked) -> PathBuf {
    let directory = test.scratch().join("interpreters");
    std::fs::create_dir(&directory).unwrap();
    for name in [
        "bash", "python", "python3", "php", "node", "perl", "lua", "ruby", "groovy", "tcl",
    ] {
        symlink(fixture!("report_args"), directory.join(name)).unwrap();
    }
    directory
}

async fn stdout_of(test: &Checked, script: Script) -> Vec<String> {
    let child = test.spawn(script.logging(Logging::stdout())).await;
    let report = child.wait().within("the exit").await.unwrap();
    assert!(report.success(), "{report}");
    child.get_logs_stdout(LogsQuery::fetch_all()).await.unwrap()
}

async fn called_as(test: &Checked, language: ScriptingLanguage, before_the_content: &[&str]) {
    let path = test.scratch().join("interpreters");
    // Else `php` takes those that begin with a dash for its own.
    let separator = (language == ScriptingLanguage::Php).then_some("argument --");
    let script = Script::new(language, "first line\nsecond line\n")
        .args(["one", "two words"])
        .env("PATH", path);
    let lines = stdout_of(test, script).await;
    let expected: Vec<&str> = before_the_content
        .iter()
        .copied()
        .chain(["content first line", "content second line"])
        .chain(separator)
        .chain(["argument one", "argument two words"])
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn every_language_has_its_interpreter_and_file() {
    checked(async |test| {
        stand_ins(test);
        called_as(
            test,
            ScriptingLanguage::Bash,
            &["called bash", "script .sh"],
        )
        .await;
        called_as(
            test,
            ScriptingLanguage::Python,
            &["called python3", "script .py"],
        )
        .await;
        called_as(
            test,
            ScriptingLanguage::Php,
            &["called php", "argument -f", "script .php"],
        )
        .await;
        called_as(
            test,
            ScriptingLanguage::JavaScript,
            &["called node", "script .js"],
        )
        .await;
        called_as(
            test,
            ScriptingLanguage::Perl,
            &["called perl", "script .pl"],
        )
        .await;
        called_as(test, ScriptingLanguage::Lua, &["called lua", "script .lua"]).await;
        called_as(
            test,
            ScriptingLanguage::Ruby,
            &["called ruby", "script .rb"],
        )
        .await;
        called_as(
            test,
            ScriptingLanguage::Groovy,
            &["called groovy", "script .groovy"],
        )
        .await;
        let other = ScriptRunConfig::new("tcl", ["-q", SCRIPT_FILE_PATH_PLACEHOLDER, "-x"], "tcl");
        let language = ScriptingLanguage::Other(other);
        let script = Script::new(language, "only line")
            .arg("last")
            .env("PATH", test.scratch().join("interpreters"));
        assert_eq!(
            stdout_of(test, script).await,
            [
                "called tcl",
                "argument -q",
                "script .tcl",
                "content only line",
                "argument -x",
                "argument last"
            ],
        );
    });
}

/// Its file is in the run directory, so it goes with it.
#[test]
fn the_script_is_a_file_in_the_run_directory() {
    checked(async |test| {
        let script = r#"dirname "$0"; echo "$PROCESS_DATA_DIR""#;
        let lines = stdout_of(test, Script::new(ScriptingLanguage::Bash, script)).await;
        assert_eq!(lines[0], lines[1]);
    });
}

/// A greeting for each of the arguments, and the line that it reads in capitals.
async fn runs(test: &Checked, language: ScriptingLanguage, content: &str) {
    let script = Script::new(language, content)
        .args(["first", "second argument"])
        .env("GREETING", "hello")
        .messaging(Messaging::standard_io());
    let child = test.spawn(script).await;
    let mut stream = child.subscribe_message_stream().await.unwrap();
    child.send_message("quiet").await.unwrap();
    for expected in ["hello first", "hello second argument", "QUIET"] {
        assert_eq!(
            stream.next().within("a line").await.unwrap().unwrap(),
            expected
        );
    }
    assert!(stream.next().within("the end").await.is_none());
    assert!(child.wait().within("the exit").await.unwrap().success());
}

#[test]
fn a_bash_script_runs() {
    let content = r#"
        for name in "$@"; do echo "$GREETING $name"; done
        read -r line
        echo "${line^^}"
    "#;
    checked(async |test| runs(test, ScriptingLanguage::Bash, content).await);
}

#[test]
fn a_python_script_runs() {
    let content = "
import os, sys
for name in sys.argv[1:]:
    print(os.environ['GREETING'], name)
print(sys.stdin.readline().strip().upper())
";
    checked(async |test| runs(test, ScriptingLanguage::Python, content).await);
}

#[test]
fn a_perl_script_runs() {
    let Some(_) = programs::perl() else { return };
    let content = r#"
        print "$ENV{GREETING} $_\n" for @ARGV;
        print uc <STDIN>;
    "#;
    checked(async |test| runs(test, ScriptingLanguage::Perl, content).await);
}

#[test]
fn a_node_script_runs() {
    let Some(_) = programs::node() else { return };
    let content = r"
        for (const name of process.argv.slice(2)) console.log(process.env.GREETING, name);
        require('readline').createInterface({ input: process.stdin })
            .on('line', line => { console.log(line.toUpperCase()); process.exit(0); });
    ";
    checked(async |test| runs(test, ScriptingLanguage::JavaScript, content).await);
}

#[test]
fn an_sh_script_runs_as_another_language() {
    let content = r#"
        for name in "$@"; do echo "$GREETING $name"; done
        read -r line
        echo "$line" | tr a-z A-Z
    "#;
    let sh = ScriptRunConfig::new("sh", [SCRIPT_FILE_PATH_PLACEHOLDER], "sh");
    checked(async |test| runs(test, ScriptingLanguage::Other(sh), content).await);
}

/// The other interpreters that happen to be here run for real as well; those that are not are named.
#[test]
fn the_others_run_where_they_are() {
    let others = [
        (
            "php",
            ScriptingLanguage::Php,
            "<?php foreach (array_slice($argv, 1) as $n) echo getenv('GREETING').\" $n\\n\"; echo strtoupper(fgets(STDIN));",
        ),
        (
            "ruby",
            ScriptingLanguage::Ruby,
            "ARGV.each { |n| puts ENV['GREETING'] + ' ' + n }; puts STDIN.gets.upcase",
        ),
        (
            "lua",
            ScriptingLanguage::Lua,
            "for _, n in ipairs(arg) do print(os.getenv('GREETING') .. ' ' .. n) end print(io.read():upper())",
        ),
        (
            "groovy",
            ScriptingLanguage::Groovy,
            "args.each { println System.getenv('GREETING') + ' ' + it }; println System.in.newReader().readLine().toUpperCase()",
        ),
    ];
    checked(async |test| {
        for (program, language, content) in others {
            if programs::where_found(program).is_some() {
                runs(test, language, content).await;
            }
        }
    });
}
