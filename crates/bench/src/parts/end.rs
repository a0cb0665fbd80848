//! End: stop many children, each of which has a child of its own.
//!
//! ```text
//!  gate ──stdin──► sh ──► cat ──stdin── gate      both hold the tally: it ends when all have gone
//! ```
//!
//! Both sides send SIGTERM to all of each tree, reap the children and know in the end that no
//! grandchild is left: we by our hunts, by hand by the end of the tally. Grandchildren are reaped by
//! whoever has become their parent, on both sides.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use procession_manager::{Cmd, Output, ProcessHandle, ProcessManager, Stdin};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{io::AsyncReadExt, net::unix::pipe};

use super::gate::{ByHand, Gate};
use crate::{
    Failure,
    args::Scale,
    machine::{self, Cores},
    peers::{Ours, Peer, make_fifo},
    runner::{Bound, Contestant, LIMIT, Measure, Race, Sample, work},
};

const SHELL: &str = "/bin/sh";
/// What a shell starts in the background has no input unless it is given one.
const SCRIPT: &str = "exec 3<&0; (echo; exec cat <&3) & wait";
/// For something to be gone that was said to be.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let (count, setting) = match scale {
        Scale::Full => (1_000, "stop 1,000 with a grandchild each"),
        Scale::Quick => (100, "stop 100 with a grandchild each"),
    };
    vec![Race {
        part: "end",
        rounds: 3,
        limit: LIMIT,
        setting,
        measure: Measure::Time,
        cores: Cores::All,
        contestants: vec![
            Contestant {
                name: Ours::NAME,
                bound: None,
                note: Some("until every stop has come back: reaped, and nothing of its tree left"),
                work: work(move || ours(count)),
            },
            Contestant {
                name: "signals by hand",
                bound: Some(Bound::AtMost(1.5)),
                note: Some(
                    "SIGTERM to each process group, waitpid for each child, and the end of a pipe \
                     that the grandchildren held",
                ),
                work: work(move || by_hand(count)),
            },
        ],
    }]
}

async fn ours(count: usize) -> Result<Sample, Failure> {
    machine::allow_open_files(super::open_files(count))?;
    let manager = ProcessManager::in_temp()?;
    let gate = Gate::new()?;
    let mut tally = Tally::new(&gate)?;
    let cmd = Cmd::new(SHELL)
        .args(["-c", SCRIPT])
        .stdin(Stdin::File(gate.path().to_owned()))
        .stdout(Output::File(Tally::path(&gate)));
    let starts = stream::iter(0..count).map(|_| manager.spawn_with_handle(cmd.clone()));
    let processes: Vec<_> = starts.buffered(super::STARTS).try_collect().await?;
    tally.all_there(count).await?;
    let started = Instant::now();
    let reports = try_join_all(processes.iter().map(ProcessHandle::stop)).await?;
    let elapsed = started.elapsed();
    let gone = tokio::time::timeout(PATIENCE, tally.all_gone()).await;
    gone.map_err(|_| "something is left that was said to be gone")??;
    let other = reports
        .iter()
        .find(|report| report.signal() != Some(Signal::TERM.as_raw()));
    if let Some(report) = other {
        return Err(format!("a child ended otherwise: {report}").into());
    }
    manager.shutdown().await?;
    Ok(Sample::took(1, elapsed))
}

async fn by_hand(count: usize) -> Result<Sample, Failure> {
    let gate = Gate::new()?;
    let mut tally = Tally::new(&gate)?;
    let mut children = ByHand::default();
    for _ in 0..count {
        let output = std::fs::OpenOptions::new()
            .write(true)
            .open(Tally::path(&gate))?;
        let child = Command::new(SHELL)
            .args(["-c", SCRIPT])
            .process_group(0)
            .stdin(gate.stdin()?)
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()?;
        children.0.push(child);
    }
    tally.all_there(count).await?;
    let started = Instant::now();
    let children = tokio::task::spawn_blocking(move || end(children)).await??;
    tally.all_gone().await?;
    let elapsed = started.elapsed();
    drop(children);
    Ok(Sample::took(1, elapsed))
}

fn end(mut children: ByHand) -> Result<ByHand, Failure> {
    for child in &children.0 {
        let group = Pid::from_raw(child.id().cast_signed()).ok_or("a child without a number")?;
        kill_process_group(group, Signal::TERM)?;
    }
    for child in &mut children.0 {
        child.wait()?;
    }
    Ok(children)
}

/// A named pipe that all children and grandchildren have open: each tree says a byte when all of it is
/// there, and the end comes when all of all trees are gone.
struct Tally(pipe::Receiver);

impl Tally {
    fn path(gate: &Gate) -> std::path::PathBuf {
        gate.directory().join("tally")
    }

    fn new(gate: &Gate) -> Result<Self, Failure> {
        let path = Self::path(gate);
        make_fifo(&path)?;
        Ok(Self(pipe::OpenOptions::new().open_receiver(path)?))
    }

    async fn all_there(&mut self, count: usize) -> Result<(), Failure> {
        let mut said = vec![0; count];
        self.0.read_exact(&mut said).await?;
        Ok(())
    }

    async fn all_gone(&mut self) -> Result<(), Failure> {
        match self.0.read(&mut [0]).await? {
            0 => Ok(()),
            _ => Err("a tree said that it is there, twice".into()),
        }
    }
}
