//! The last lines of many: what each looks them up with.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use procession_manager::{
    Cmd, LogRoute, LogStream, Logging, LogsQuery, ProcessHandle, ProcessManager,
};
use tokio::process::Command;

use crate::{Failure, runner::Sample};

const LAST: usize = 5;

pub(super) async fn ours(lines: usize, route: LogRoute, again: bool) -> Result<Sample, Failure> {
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

pub(super) async fn count(lines: usize) -> Result<Sample, Failure> {
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

pub(super) async fn heim(lines: usize) -> Result<Sample, Failure> {
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
