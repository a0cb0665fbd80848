//! The package `children/`, as cargo sees and builds it.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{Failure, runner::NotHere};

/// Known only where the benchmark was built.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/children/Cargo.toml");

/// What cargo has built; asked for once.
#[derive(Default)]
pub(super) struct Built(OnceLock<Result<Programs, String>>);

#[derive(Clone)]
pub(super) struct Programs {
    pub(super) echo: PathBuf,
    pub(super) empty: PathBuf,
}

impl Built {
    pub(super) fn programs(&self) -> Result<Programs, Failure> {
        let package = package()?;
        let build = || build(package).map_err(|failure| failure.to_string());
        Ok(self.0.get_or_init(build).clone()?)
    }

    /// How many crates it is made of that are not of this workspace.
    #[expect(clippy::unused_self, reason = "it is asked like the programs")]
    pub(super) fn foreign_crates(&self) -> Result<u64, Failure> {
        let tree = ["tree", "--edges", "normal,build", "--prefix", "none"];
        let tree = cargo(package()?, &[&tree[..], &["--format", "{p}"]].concat())?;
        let count = foreign(&tree).len() as u64;
        if count == 0 {
            return Err(format!("cargo has shown no tree: {tree:?}").into());
        }
        Ok(count)
    }
}

fn package() -> Result<&'static Path, Failure> {
    let package = Path::new(PACKAGE);
    if package.exists() {
        return Ok(package);
    }
    Err(NotHere("the sources of the children are not here".into()).into())
}

/// What is not of this workspace has no path behind its name and version.
fn foreign(tree: &str) -> BTreeSet<&str> {
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    lines
        .filter(|line| !line.is_empty() && !line.contains("(/"))
        .collect()
}

fn build(package: &Path) -> Result<Programs, Failure> {
    let build = ["build", "--profile", "stripped", "--message-format", "json"];
    let messages = cargo(package, &build)?;
    let program = |name: &str| {
        let found = executables(&messages).find(|path| path.ends_with(name));
        found.ok_or_else(|| format!("cargo has built no {name}"))
    };
    Ok(Programs {
        echo: program("bench-echo")?,
        empty: program("bench-empty")?,
    })
}

/// The programs that cargo tells of, one in a line.
fn executables(messages: &str) -> impl Iterator<Item = PathBuf> + '_ {
    messages.lines().filter_map(|line| {
        let (_, path) = line.split_once(r#""executable":""#)?;
        Some(PathBuf::from(path.split_once('"')?.0))
    })
}

fn cargo(package: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        // All that the children need was needed to build the benchmark, so it is there.
        .args(["--offline", "--manifest-path"])
        .arg(package)
        .output()
        .map_err(|error| NotHere(format!("cargo cannot be started: {error}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or_default();
        return Err(format!("cargo failed: {last}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_and_programs_are_found_in_what_cargo_says() {
        let tree = "ours v0.1.0 (/src/ours)\nbytes v1.12.2\nmemchr v2.8.3\nbytes v1.12.2 (*)\n\n";
        assert_eq!(foreign(tree).len(), 2);
        let messages =
            "{\"executable\":null}\n{\"a\":1,\"executable\":\"/t/bench-echo\",\"b\":2}\n";
        let found: Vec<_> = executables(messages).collect();
        assert_eq!(found, [PathBuf::from("/t/bench-echo")]);
    }
}
