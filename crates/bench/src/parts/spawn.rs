//! Spawn: start, run and reap `/bin/true`, one at a time, with messaging and logging on.
//!
//! The time runs from asking for the process to knowing that it has ended; what it left behind is
//! taken away outside of it.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use procession_manager::{Cmd, Logging, Messaging, ProcessManager};
use tokio::{
    fs,
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    process::Command,
};

use crate::{
    Failure,
    args::Scale,
    machine::Cores,
    peers::{Heim, Ours, Peer, make_fifo},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race, Sample, work},
};

const PROGRAM: &str = "/bin/true";
const PROCESSES: usize = 100;
/// How often proc-heim is to look whether a process has ended: the shortest that tokio's timer does.
const HEIM_INTERVAL: Duration = Duration::from_millis(1);

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let count = scale.work(PROCESSES);
    let contestant = |name, bound, note, work| Contestant {
        name,
        bound,
        note,
        work,
    };
    vec![Race {
        part: "spawn",
        rounds: ROUNDS,
        limit: LIMIT,
        setting: "one at a time",
        measure: Measure::Time,
        cores: Cores::All,
        contestants: vec![
            contestant(Ours::NAME, None, None, work(move || ours(count))),
            contestant(
                "tokio with files",
                None,
                Some("tokio::process with a run directory, two named pipes and two log files"),
                work(move || tokio_with_files(count)),
            ),
            contestant(
                "bare tokio",
                None,
                Some("tokio::process with nothing around it"),
                work(move || tokio_bare(count)),
            ),
            contestant(
                Heim::NAME,
                Some(Bound::AtMost(1.0)),
                Some("its wait looks every millisecond"),
                work(move || heim(count)),
            ),
        ],
    }]
}

async fn ours(count: usize) -> Result<Sample, Failure> {
    let manager = ProcessManager::in_temp()?;
    let mut elapsed = Duration::ZERO;
    for _ in 0..count {
        let started = Instant::now();
        let cmd = Cmd::new(PROGRAM)
            .messaging(Messaging::named_pipes())
            .logging(Logging::stdout_and_stderr());
        let id = manager.spawn(cmd).await?;
        let report = manager.wait(id).await?;
        elapsed += started.elapsed();
        if !report.success() {
            return Err(format!("{PROGRAM} ended badly: {report:?}").into());
        }
        manager.remove(id).await?;
    }
    manager.shutdown().await?;
    Ok(Sample::took(count, elapsed))
}

async fn tokio_with_files(count: usize) -> Result<Sample, Failure> {
    let directory = tempfile::tempdir()?;
    let mut elapsed = Duration::ZERO;
    for number in 0..count {
        let directory = directory.path().join(number.to_string());
        let started = Instant::now();
        run_with_files(&directory).await?;
        elapsed += started.elapsed();
        fs::remove_dir_all(directory).await?;
    }
    Ok(Sample::took(count, elapsed))
}

async fn run_with_files(directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir(directory)?;
    let (input, output) = (directory.join("input"), directory.join("output"));
    make_fifo(&input)?;
    make_fifo(&output)?;
    let mut open = pipe::OpenOptions::new();
    let _input = open.read_write(true).open_sender(&input)?;
    let _output = open.open_receiver(&output)?;
    let stdout_log = std::fs::File::create(directory.join("stdout"))?;
    let stderr_log = std::fs::File::create(directory.join("stderr"))?;
    let mut child = Command::new(PROGRAM)
        .env("INPUT_PIPE", input)
        .env("OUTPUT_PIPE", output)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let stderr = child.stderr.take().ok_or("no standard error")?;
    let (status, stdout, stderr) = tokio::join!(
        child.wait(),
        capture(stdout, stdout_log),
        capture(stderr, stderr_log),
    );
    stdout?;
    stderr?;
    if !status?.success() {
        return Err(format!("{PROGRAM} ended badly").into());
    }
    Ok(())
}

/// Copies what a child prints into its log.
async fn capture(mut from: impl AsyncRead + Unpin, log: std::fs::File) -> Result<(), Failure> {
    let mut buffer = vec![0; 4096];
    let mut log = fs::File::from_std(log);
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            read => log.write_all(&buffer[..read]).await?,
        }
    }
}

async fn tokio_bare(count: usize) -> Result<Sample, Failure> {
    let started = Instant::now();
    for _ in 0..count {
        let status = Command::new(PROGRAM).kill_on_drop(true).status().await?;
        if !status.success() {
            return Err(format!("{PROGRAM} ended badly").into());
        }
    }
    Ok(Sample::took(count, started.elapsed()))
}

async fn heim(count: usize) -> Result<Sample, Failure> {
    use proc_heim::{
        manager::ProcessManager,
        model::command::{Cmd, CmdOptions, LoggingType},
    };
    let directory = tempfile::tempdir()?;
    let manager = ProcessManager::spawn(directory.path().to_owned())?;
    let mut elapsed = Duration::ZERO;
    for _ in 0..count {
        let started = Instant::now();
        let mut options = CmdOptions::with_named_pipe_messaging();
        options.set_logging_type(LoggingType::StdoutAndStderr)?;
        let id = manager.spawn(Cmd::with_options(PROGRAM, options)).await?;
        let info = manager.wait(id, HEIM_INTERVAL).await??;
        elapsed += started.elapsed();
        if !info.exit_status().is_some_and(|status| status.success()) {
            return Err(format!("{PROGRAM} ended badly").into());
        }
        manager.kill(id).await?;
    }
    Ok(Sample::took(count, elapsed))
}
