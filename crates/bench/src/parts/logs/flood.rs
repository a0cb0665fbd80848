//! A child that prints as fast as it is read, and what that costs.

use std::{
    fs::File,
    process::Stdio,
    time::{Duration, Instant},
};

use procession_manager::{Cmd, LogRoute, LogStream, Logging, LogsQuery, ProcessManager};
use rustix::process::{WaitId, WaitIdOptions};
use tokio::process::Command;

use crate::{Failure, child, machine, runner::Sample};

/// What of a flood is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cost {
    Time,
    /// Of this process, or of `cat`.
    Cpu,
}

impl Cost {
    fn sample(self, bytes: usize, elapsed: Duration) -> Sample {
        let amount = match self {
            Self::Time => bytes,
            Self::Cpu => bytes / 1_000_000,
        };
        Sample::took(amount, elapsed)
    }
}

pub(super) async fn ours(bytes: usize, route: LogRoute, cost: Cost) -> Result<Sample, Failure> {
    let manager = ProcessManager::in_temp()?;
    let (program, arguments) = child::printing(bytes)?;
    let cmd = Cmd::new(program)
        .args(arguments)
        .logging(Logging::stdout().route(route).unlimited());
    let (started, cpu) = (Instant::now(), machine::own_cpu());
    let process = manager.spawn_with_handle(cmd).await?;
    let report = process.wait().await?;
    let elapsed = match cost {
        Cost::Time => started.elapsed(),
        Cost::Cpu => machine::own_cpu().saturating_sub(cpu),
    };
    if !report.success() {
        return Err(format!("the child ended badly: {report}").into());
    }
    let page = process
        .query_logs(LogStream::Stdout, LogsQuery::last(1))
        .await?;
    if page.written() != bytes.div_ceil(child::LINE) as u64 {
        return Err(format!("{} lines were counted", page.written()).into());
    }
    manager.shutdown().await?;
    Ok(cost.sample(bytes, elapsed))
}

pub(super) async fn cat(bytes: usize, cost: Cost) -> Result<Sample, Failure> {
    let directory = tempfile::tempdir()?;
    let (program, arguments) = child::printing(bytes)?;
    let file = File::create(directory.path().join("log"))?;
    let (reader, writer) = std::io::pipe()?;
    let started = Instant::now();
    let mut cat = Command::new("cat")
        .stdin(Stdio::from(reader))
        .stdout(file)
        .kill_on_drop(true)
        .spawn()?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(writer)
        .kill_on_drop(true)
        .spawn()?;
    child.wait().await?;
    // Looked at before it is reaped, so that its own time is told apart from the child's.
    let pid = cat.id().ok_or("cat has no number")?;
    let cpu = tokio::task::spawn_blocking(move || cpu_of_ended(pid)).await??;
    let elapsed = match cost {
        Cost::Time => started.elapsed(),
        Cost::Cpu => cpu,
    };
    cat.wait().await?;
    Ok(cost.sample(bytes, elapsed))
}

/// Waits for its end without reaping it, and reads its CPU time: `proc_pid_stat(5)`.
fn cpu_of_ended(pid: u32) -> Result<Duration, Failure> {
    let number = rustix::process::Pid::from_raw(pid.cast_signed()).ok_or("no number")?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(number), options)?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks: u64 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(
        ticks * 1000 / rustix::param::clock_ticks_per_second(),
    ))
}
