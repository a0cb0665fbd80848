//! The machine: what it is, and on which of its cores we run.

use std::{fmt, fs, io, process::Command, time::Duration};

use rustix::{
    process::{Resource, getrlimit, setrlimit},
    thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity},
};
use serde::{Deserialize, Serialize};

use crate::{Failure, runner::NotHere};

/// Which cores a race uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// One core for parent and child together: no core wakes another, so round trips are stable.
    One,
    /// Wherever the scheduler puts them.
    All,
}

/// Moves the whole process to one core, or back to all that it had at first.
///
/// Affinity belongs to a thread (sched_setaffinity(2)) and is inherited by what a thread starts, so
/// every thread of the process is moved, and asked for again until no new one has appeared.
pub(crate) fn use_cores(cores: Cores, at_first: &CpuSet) -> io::Result<()> {
    let mut set = *at_first;
    if cores == Cores::One {
        let core = (0..CpuSet::MAX_CPU)
            .rev()
            .find(|core| at_first.is_set(*core))
            .ok_or_else(|| io::Error::other("this process may run on no core"))?;
        set = CpuSet::new();
        set.set(core);
    }
    loop {
        let mut moved = false;
        for task in fs::read_dir("/proc/self/task")? {
            let tid = task?.file_name().to_string_lossy().parse().ok();
            let Some(tid) = tid.and_then(Pid::from_raw) else {
                continue;
            };
            // A thread that has ended meanwhile needs no moving.
            if sched_getaffinity(Some(tid)).is_ok_and(|now| now != set) {
                sched_setaffinity(Some(tid), &set)?;
                moved = true;
            }
        }
        if !moved {
            return Ok(());
        }
    }
}

/// The cores that this thread may run on.
pub(crate) fn allowed() -> io::Result<CpuSet> {
    Ok(sched_getaffinity(None)?)
}

/// On how many cores process `pid` may run.
pub(crate) fn cores_of(pid: u32) -> io::Result<u32> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("that is no process id"))?;
    Ok(sched_getaffinity(Some(pid))?.count())
}

/// The machine that the figures come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    /// In bytes; `None` where the system does not say.
    memory: Option<u64>,
    kernel: String,
    /// What `rustc --version` says; `None` where there is no compiler.
    compiler: Option<String>,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Self {
        let processor = field("/proc/cpuinfo", "model name");
        let memory = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.strip_suffix("kB")?.trim_end().parse::<u64>().ok());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: processor.unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: memory.map(|kib| kib * 1024),
            kernel: kernel.trim().to_owned(),
            compiler: compiler(),
        }
    }
}

/// What the first line that begins with `name` has after its colon.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Asked in the directory of this crate, where the workspace has a say in which compiler it is.
fn compiler() -> Option<String> {
    let output = Command::new("rustc")
        .arg("--version")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cores == 1 { "" } else { "s" };
        write!(f, "{} ({} core{plural}", self.processor, self.cores)?;
        if let Some(memory) = self.memory {
            write!(f, ", {} GiB", (memory + (1 << 29)) >> 30)?;
        }
        write!(f, "), Linux {}", self.kernel)?;
        match &self.compiler {
            Some(compiler) => write!(f, ", {compiler}"),
            None => Ok(()),
        }
    }
}

/// Lets this process have so many descriptors open at once, as far as its user may decide that.
pub(crate) fn allow_open_files(count: u64) -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < count) {
        let text = format!("at most {most} files may be open here, and {count} are needed");
        return Err(NotHere(text).into());
    }
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// The anonymous memory of this process in bytes: `proc_pid_status(5)`.
pub(crate) fn anonymous_memory() -> Result<u64, Failure> {
    figure_of("/proc/self/status", "RssAnon:")
}

/// The memory in bytes that can be taken without making the machine swap: `proc_meminfo(5)`.
pub(crate) fn available_memory() -> Result<u64, Failure> {
    figure_of("/proc/meminfo", "MemAvailable:")
}

fn figure_of(file: &str, name: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.ok_or_else(|| format!("{file} has no {name}"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

/// The CPU time that this process has used, in all of its threads, those that have ended included.
pub(crate) fn own_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let mut machine = Machine {
            processor: "Z80".to_owned(),
            cores: 1,
            memory: Some(3 << 29),
            kernel: "6.1".to_owned(),
            compiler: Some("rustc 1.95.0".to_owned()),
        };
        let line = machine.to_string();
        assert_eq!(line, "Z80 (1 core, 2 GiB), Linux 6.1, rustc 1.95.0");
        machine.memory = None;
        machine.compiler = None;
        assert_eq!(machine.to_string(), "Z80 (1 core), Linux 6.1");
    }
}
