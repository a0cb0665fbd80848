//! Descriptors or processes used up. Helper programs are the parents here, so that the limits are
//! theirs alone.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::process::Command;

use procession_tests::{checked, fixture, procfs, programs};
use std::os::unix::fs::PermissionsExt as _;

struct Said {
    output: String,
}

fn helper(program: &str, test: &procession_tests::Checked) -> Said {
    let directory = test.scratch().join("helper");
    std::fs::create_dir(&directory).unwrap();
    // A helper that gives up its rights must still be able to use it. Without the sticky bit the manager
    // would refuse it.
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o1777)).unwrap();
    for above in directory.ancestors().skip(1).take(2) {
        std::fs::set_permissions(above, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let result = Command::new(program).arg(&directory).output().unwrap();
    let output = String::from_utf8_lossy(&result.stdout).into_owned();
    let errors = String::from_utf8_lossy(&result.stderr);
    assert!(
        result.status.success(),
        "{program}: {}\n{output}{errors}",
        result.status
    );
    let left = procfs::with_in_environment(directory.as_os_str());
    assert!(left.is_empty(), "left behind by {program}: {left:?}");
    Said { output }
}

#[test]
fn descriptors_used_up_at_any_point_of_a_spawn() {
    checked(async |test| {
        let said = helper(fixture!("parent_short_of_descriptors"), test).output;
        let count = |name: &str| -> usize {
            let line = said
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.trim().parse().unwrap()
        };
        assert!(
            count("refused ") >= 5,
            "a spawn needs several descriptors:\n{said}"
        );
        assert!(count("started ") >= 5, "with enough room it works:\n{said}");
        for error in said.lines().filter_map(|line| line.strip_prefix("error ")) {
            assert!(
                error.contains("RLIMIT_NOFILE"),
                "the limit is named: {error}"
            );
            let program = programs::sh();
            assert!(
                error.contains(program.to_str().unwrap()),
                "and the program: {error}"
            );
            assert!(error.contains("ulimit -n"), "and how to raise it: {error}");
        }
    });
}

#[test]
fn processes_used_up() {
    checked(async |test| {
        let said = helper(fixture!("parent_short_of_processes"), test).output;
        assert!(said.contains("processes"), "the limit is named: {said}");
        assert!(said.contains("/bin/sh"), "and the program: {said}");
        assert!(said.contains("ulimit -u"), "and how to raise it: {said}");
    });
}
