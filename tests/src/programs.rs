//! Programs of the system that the tests run.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::say;

/// The POSIX shell, which must be there.
pub fn sh() -> PathBuf {
    required("sh")
}

/// Bash, which must be there.
pub fn bash() -> PathBuf {
    required("bash")
}

/// The Python interpreter itself, which must be there: not a launcher script of a version manager.
pub fn python3() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let output = Command::new(required("python3"))
                .args(["-c", "import sys; print(sys.executable)"])
                .output()
                .expect("python3 runs");
            PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
        })
        .clone()
}

/// Perl, where it is there. Under CI it must be.
pub fn perl() -> Option<PathBuf> {
    optional("perl")
}

/// Node, where it is there. Under CI it must be.
pub fn node() -> Option<PathBuf> {
    optional("node")
}

/// A program that a test can do without, except under CI. What is therefore not run is printed.
fn optional(name: &str) -> Option<PathBuf> {
    let found = where_found(name);
    let under_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(
        found.is_some() || !under_ci,
        "under CI, {name} must be on PATH"
    );
    found
}

/// A program that a test can do without. What is therefore not run is printed.
pub fn where_found(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        let test = std::thread::current();
        say(&format!(
            "NOT RUN with {name}, which is not on PATH: {}",
            test.name().unwrap_or("?")
        ));
    }
    found
}

fn required(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("the tests need {name} on PATH"))
}

fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
