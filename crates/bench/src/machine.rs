//! The machine: what it is, and on which of its cores we run.

use std::{fs, io};

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

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

/// One line on the machine that the figures come from.
pub(crate) fn describe() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{} ({} cores), Linux {}",
        processor.as_deref().unwrap_or("unknown processor"),
        std::thread::available_parallelism().map_or(0, usize::from),
        kernel.trim(),
    )
}
