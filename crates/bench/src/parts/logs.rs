//! Logs: output at full speed, what that costs the parent, and finding the last lines of many.
//!
//! The lines of the flood are of 100 bytes, written 64 KiB at a time by this binary; those of the queries are
//! `seq`'s, 79 MB. A query's time has nothing else in it than the query.

use std::{
    fs::File,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use procession_manager::{
    Cmd, LogRoute, LogStream, Logging, LogsQuery, ProcessHandle, ProcessManager,
};
use rustix::process::{WaitId, WaitIdOptions};
use tokio::process::Command;

use crate::{
    Failure,
    args::Scale,
    child,
    machine::Cores,
    peers::{Heim, Ours, Peer},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample, Work, work},
};

const BYTES: usize = 1_000_000_000;
const LINES: usize = 10_000_000;
const LAST: usize = 5;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let bytes = scale.work(BYTES);
    let lines = scale.work(LINES);
    let race = |setting, measure, contestants| Race {
        part: "logs",
        rounds: ROUNDS,
        limit: LIMIT,
        setting,
        measure,
        cores: Cores::All,
        contestants,
    };
    let first = |route| work(move || ours_query(lines, route, false));
    let second = |route| work(move || ours_query(lines, route, true));
    let count = || {
        one(
            "wc -l",
            Some(Bound::AtMost(2.0)),
            work(move || count(lines)),
        )
    };
    let heim = || {
        one(
            Heim::NAME,
            Some(Bound::AtMost(1.0)),
            work(move || heim_query(lines)),
        )
    };
    let own = |work| one(Ours::NAME, None, work);
    vec![
        race(
            "output through a pipe",
            Measure::Bandwidth,
            vec![
                own(work(move || ours_flood(bytes, LogRoute::Pipe, Cost::Time))),
                one(
                    "cat > file",
                    Some(Bound::AtLeast(0.7)),
                    work(move || cat(bytes, Cost::Time)),
                ),
                one("our file route", None, {
                    work(move || ours_flood(bytes, LogRoute::File, Cost::Time))
                }),
            ],
        ),
        race(
            "CPU time a MB",
            Measure::Time,
            vec![
                own(work(move || ours_flood(bytes, LogRoute::Pipe, Cost::Cpu))),
                one("cat > file", None, work(move || cat(bytes, Cost::Cpu))),
                one("our file route", None, {
                    work(move || ours_flood(bytes, LogRoute::File, Cost::Cpu))
                }),
            ],
        ),
        race(
            "first query, pipe",
            Measure::Time,
            vec![own(first(LogRoute::Pipe)), count(), heim()],
        ),
        race(
            "first query, file",
            Measure::Time,
            vec![own(first(LogRoute::File)), count(), heim()],
        ),
        race(
            "second query, pipe",
            Measure::Time,
            vec![own(second(LogRoute::Pipe)), heim()],
        ),
        race(
            "second query, file",
            Measure::Time,
            vec![own(second(LogRoute::File)), heim()],
        ),
    ]
}

fn one(name: &'static str, bound: Option<Bound>, work: Work) -> Contestant {
    Contestant {
        name,
        bound,
        note: None,
        work,
    }
}

/// What of a flood is told.
#[derive(Debug, Clone, Copy)]
enum Cost {
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

fn own_cpu() -> Duration {
    // Of all threads, also those that have ended.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

async fn ours_flood(bytes: usize, route: LogRoute, cost: Cost) -> Result<Sample, Failure> {
    let manager = ProcessManager::in_temp()?;
    let (program, arguments) = child::printing(bytes)?;
    let cmd = Cmd::new(program)
        .args(arguments)
        .logging(Logging::stdout().route(route).unlimited());
    let (started, cpu) = (Instant::now(), own_cpu());
    let process = manager.spawn_with_handle(cmd).await?;
    let report = process.wait().await?;
    let elapsed = match cost {
        Cost::Time => started.elapsed(),
        Cost::Cpu => own_cpu().saturating_sub(cpu),
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

async fn cat(bytes: usize, cost: Cost) -> Result<Sample, Failure> {
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

async fn ours_query(lines: usize, route: LogRoute, again: bool) -> Result<Sample, Failure> {
    let manager = ProcessManager::in_temp()?;
    let cmd = Cmd::new("seq")
        .arg(lines.to_string())
        .logging(Logging::stdout().route(route).unlimited());
    let process = manager.spawn_with_handle(cmd).await?;
    process.wait().await?;
    if again {
        last(&process, lines).await?;
    }
    let elapsed = last(&process, lines).await?;
    manager.shutdown().await?;
    Ok(Sample::took(1, elapsed))
}

async fn last(process: &ProcessHandle, lines: usize) -> Result<Duration, Failure> {
    let started = Instant::now();
    let found = process
        .query_logs(LogStream::Stdout, LogsQuery::last(LAST))
        .await?;
    let elapsed = started.elapsed();
    let expected = (lines + 1 - LAST..=lines).map(|line| line.to_string());
    if !found
        .lines()
        .iter()
        .map(|line| line.text().to_string())
        .eq(expected)
    {
        return Err(format!("other lines were found: {found:?}").into());
    }
    Ok(elapsed)
}

async fn count(lines: usize) -> Result<Sample, Failure> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("log");
    seq(&path, lines).await?;
    let started = Instant::now();
    let output = Command::new("wc").arg("-l").arg(&path).output().await?;
    let elapsed = started.elapsed();
    if !output.stdout.starts_with(lines.to_string().as_bytes()) {
        return Err("wc counted otherwise".into());
    }
    Ok(Sample::took(1, elapsed))
}

async fn seq(path: &Path, lines: usize) -> Result<(), Failure> {
    let file = File::create(path)?;
    let status = Command::new("seq")
        .arg(lines.to_string())
        .stdout(file)
        .status()
        .await?;
    if status.success() {
        return Ok(());
    }
    Err("seq ended badly".into())
}

async fn heim_query(lines: usize) -> Result<Sample, Failure> {
    use proc_heim::{
        manager::{LogsQuery, ProcessManager},
        model::command::{Cmd, CmdOptions, LoggingType},
    };
    let directory = tempfile::tempdir()?;
    let manager = ProcessManager::spawn(directory.path().to_owned())?;
    let options = CmdOptions::with_logging(LoggingType::StdoutOnly);
    let cmd = Cmd::with_args_and_options("seq", [lines.to_string()], options);
    let id = manager.spawn(cmd).await?;
    manager.wait(id, Duration::from_millis(1)).await??;
    let query = LogsQuery::with_offset_and_limit(lines - LAST, LAST);
    let started = Instant::now();
    let found = manager.get_logs_stdout(id, query).await?;
    let elapsed = started.elapsed();
    let expected = (lines + 1 - LAST..=lines).map(|line| line.to_string());
    if !found.into_iter().eq(expected) {
        return Err("other lines were found".into());
    }
    manager.kill(id).await?;
    Ok(Sample::took(1, elapsed))
}
