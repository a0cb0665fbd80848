//! What other languages bring along for this: Node's `fork` and Python's `multiprocessing`.
//!
//! Each is a script that is the parent and the child of its own work, checks what came of it, and
//! prints how much it did in how many seconds. Starting the interpreters is not in that time.

use std::{io, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::{
    Failure,
    machine::Cores,
    parts::check_cores,
    runner::{Contestant, NotHere, Sample},
};

/// A script, and what runs it.
#[derive(Debug, Clone, Copy)]
struct Script {
    name: &'static str,
    interpreter: &'static str,
    file: &'static str,
    source: &'static str,
    /// One of several that the script can be.
    variant: Option<&'static str>,
}

const NODE: Script = Script {
    name: "Node fork",
    interpreter: "node",
    file: "fork.mjs",
    source: include_str!("fork.mjs"),
    variant: None,
};

const PYTHON: Script = Script {
    name: "Python multiprocessing",
    interpreter: "python3",
    file: "multiprocessing.py",
    source: include_str!("multiprocessing.py"),
    variant: None,
};

const EXECUTOR: Script = Script {
    name: "Python ProcessPoolExecutor",
    interpreter: "python3",
    file: "executor.py",
    source: include_str!("executor.py"),
    variant: Some("concurrent.futures"),
};

const LOKY: Script = Script {
    name: "loky",
    variant: Some("loky"),
    ..EXECUTOR
};

/// How a script exits that lacks a module.
const NO_MODULE: i32 = 77;

/// What a script can do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    RoundTrip,
    Request,
    FloodIn,
    FloodOut,
    /// Requests to a pool of two workers, each of so many microseconds of a processor's time.
    Work,
}

/// How much of it: so many messages, or requests, of so many bytes, or numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) task: Task,
    pub(crate) count: usize,
    pub(crate) size: usize,
    pub(crate) cores: Cores,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::RoundTrip => "round-trip",
            Self::Request => "request",
            Self::FloodIn => "flood-in",
            Self::FloodOut => "flood-out",
            Self::Work => "work",
        }
    }
}

/// Both of them with this work, of which a message counts as `unit`.
pub(crate) fn scripts(load: Load, unit: usize) -> [Contestant; 2] {
    [NODE, PYTHON].map(|script| script.contestant(load, unit))
}

/// Pools of two workers.
pub(crate) fn executors(load: Load) -> [Contestant; 2] {
    [EXECUTOR, LOKY].map(|script| script.contestant(load, 1))
}

impl Script {
    fn contestant(self, load: Load, unit: usize) -> Contestant {
        let run = move || async move {
            let elapsed = self.run(load).await?;
            Ok(Sample::took(load.count * unit, elapsed))
        };
        Contestant::new(self.name, run)
    }

    /// Runs it to its end; what is dropped before that is killed, and its own child ends with it.
    async fn run(self, load: Load) -> Result<Duration, Failure> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join(self.file);
        std::fs::write(&file, self.source)?;
        let mut command = Command::new(self.interpreter);
        command.arg(file).arg(load.task.name());
        command.args([load.count, load.size].map(|number| number.to_string()));
        command.args(self.variant);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().map_err(|error| self.not_started(error))?;
        check_cores(child.id(), load.cores)?;
        // Its own child has the same output: this waits for both.
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.trim_end().lines().last().unwrap_or_default();
            if output.status.code() == Some(NO_MODULE) {
                return Err(NotHere(last.to_owned()).into());
            }
            return Err(format!("{} {}: {last}", self.interpreter, output.status).into());
        }
        read_result(&String::from_utf8(output.stdout)?, load.count)
    }

    fn not_started(self, error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::NotFound => NotHere(format!("{} is not here", self.interpreter)).into(),
            _ => error.into(),
        }
    }
}

/// Reads "COUNT SECONDS", where the count has to be what was asked for.
fn read_result(line: &str, count: usize) -> Result<Duration, Failure> {
    let (done, seconds) = line
        .trim()
        .split_once(' ')
        .ok_or("a result has two numbers")?;
    if done.parse() != Ok(count) {
        return Err(format!("{done} were done and {count} were asked for").into());
    }
    Ok(Duration::try_from_secs_f64(seconds.parse()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_and_checked() {
        let half = Duration::from_millis(500);
        assert_eq!(read_result("100 0.5\n", 100).unwrap(), half);
        for wrong in ["", "100", "99 0.5", "100 -1", "100 0.5 1"] {
            assert!(read_result(wrong, 100).is_err(), "{wrong:?}");
        }
    }
}
