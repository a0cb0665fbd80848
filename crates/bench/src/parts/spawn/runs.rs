//! What each contestant does for one process, and the clock around it.

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use procession_manager::{Cmd, Logging, Messaging, ProcessManager};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    process::Command,
    task::JoinSet,
};

use super::Job;
use crate::{Failure, peers::make_fifo, runner::Sample};

const PROGRAM: &str = "/bin/true";
/// How often proc-heim is to look whether a process has ended: the shortest that tokio's timer does.
const HEIM_INTERVAL: Duration = Duration::from_millis(1);

/// Runs all processes of a job and says how long that took; also what each of them came to.
async fn clocked<T, F>(
    job: Job,
    one: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Result<(Sample, Vec<T>), Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send,
{
    let mut all = vec![one(job.count).await?];
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for task in 0..job.at_once {
        let one = one.clone();
        tasks.spawn(async move {
            let mut done = Vec::new();
            for number in (task..job.count).step_by(job.at_once) {
                done.push(one(number).await?);
            }
            Ok::<_, Failure>(done)
        });
    }
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    let elapsed = started.elapsed();
    if all.len() != job.count + 1 {
        return Err(format!("{} processes were run", all.len()).into());
    }
    Ok((Sample::took(job.count, elapsed), all))
}

pub(super) async fn ours(job: Job) -> Result<Sample, Failure> {
    let directory = job.place.directory()?;
    let manager = ProcessManager::spawn(directory.path())?;
    let one = {
        let manager = manager.clone();
        move |_| {
            let manager = manager.clone();
            async move {
                let cmd = Cmd::new(PROGRAM)
                    .messaging(Messaging::named_pipes())
                    .logging(Logging::stdout_and_stderr());
                let id = manager.spawn(cmd).await?;
                let report = manager.wait(id).await?;
                if !report.success() {
                    return Err(format!("{PROGRAM} ended badly: {report}").into());
                }
                Ok(id)
            }
        }
    };
    let (sample, ids) = clocked(job, one).await?;
    for id in ids {
        manager.remove(id).await?;
    }
    manager.shutdown().await?;
    Ok(sample)
}

/// Makes and opens what we make and open for such a process, and nothing else.
pub(super) async fn tokio_with_files(job: Job) -> Result<Sample, Failure> {
    let directory = job.place.directory()?;
    let root = directory.path().to_owned();
    let one = move |number: usize| run_with_files(root.join(number.to_string()));
    let (sample, _) = clocked(job, one).await?;
    Ok(sample)
}

async fn run_with_files(directory: PathBuf) -> Result<(), Failure> {
    std::fs::create_dir(&directory)?;
    let (input, output) = (directory.join("input"), directory.join("output"));
    make_fifo(&input)?;
    make_fifo(&output)?;
    let mut open = pipe::OpenOptions::new();
    open.read_write(true);
    let _input = open.open_sender(&input)?;
    let _output = open.open_receiver(&output)?;
    let mut child = Command::new(PROGRAM)
        .env("PROCESS_DATA_DIR", &directory)
        .env("INPUT_PIPE", input)
        .env("OUTPUT_PIPE", output)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let stderr = child.stderr.take().ok_or("no standard error")?;
    let (status, stdout, stderr) = tokio::join!(
        child.wait(),
        capture(stdout, &directory, "stdout"),
        capture(stderr, &directory, "stderr"),
    );
    stdout?;
    stderr?;
    if !status?.success() {
        return Err(format!("{PROGRAM} ended badly").into());
    }
    Ok(())
}

/// Copies what a child prints into its log, which is there from its first byte on.
async fn capture(
    mut from: impl AsyncRead + Unpin,
    directory: &Path,
    name: &str,
) -> Result<(), Failure> {
    let mut buffer = vec![0; 4096];
    let mut log = None;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let log = match &mut log {
            Some(log) => log,
            None => log.insert(tokio::fs::File::create(directory.join(name)).await?),
        };
        log.write_all(&buffer[..read]).await?;
    }
}

pub(super) async fn tokio_bare(job: Job) -> Result<Sample, Failure> {
    let one = |_| async {
        let status = Command::new(PROGRAM).kill_on_drop(true).status().await?;
        if !status.success() {
            return Err(format!("{PROGRAM} ended badly").into());
        }
        Ok(())
    };
    let (sample, _) = clocked(job, one).await?;
    Ok(sample)
}

pub(super) async fn heim(job: Job) -> Result<Sample, Failure> {
    use proc_heim::{
        manager::ProcessManager,
        model::command::{Cmd, CmdOptions, LoggingType},
    };
    let directory = job.place.directory()?;
    let manager = ProcessManager::spawn(directory.path().to_owned())?;
    let one = {
        let manager = manager.clone();
        move |_| {
            let manager = manager.clone();
            async move {
                let mut options = CmdOptions::with_named_pipe_messaging();
                options.set_logging_type(LoggingType::StdoutAndStderr)?;
                let id = manager.spawn(Cmd::with_options(PROGRAM, options)).await?;
                let info = manager.wait(id, HEIM_INTERVAL).await??;
                if !info.exit_status().is_some_and(|status| status.success()) {
                    return Err(format!("{PROGRAM} ended badly").into());
                }
                Ok(id)
            }
        }
    };
    let (sample, ids) = clocked(job, one).await?;
    for id in ids {
        manager.kill(id).await?;
    }
    Ok(sample)
}
