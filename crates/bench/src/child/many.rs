//! A parent of many silent children, in a process of its own so that its memory is theirs alone.
//!
//! The children share its standard input, which the benchmark holds: they end with the benchmark, or
//! with this program's manager.

use std::{fs, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use procession_manager::{Cmd, Messaging, ProcessManager, ProcessManagerHandle, Stdin};

use crate::{
    Failure, machine,
    parts::{STARTS, open_files},
};

/// These are there before anything is measured, so that what is made once for all is there, too.
const FIRST: usize = 20;
/// What the last children get to begin, and what was begun for them to end.
const SETTLING: Duration = Duration::from_millis(500);

/// What a parent of many children came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Bytes of anonymous memory for the first tenth of the children.
    pub(crate) tenth: u64,
    /// Bytes of anonymous memory for all of them.
    pub(crate) all: u64,
    /// Open descriptors for all of them.
    pub(crate) descriptors: u64,
    /// CPU time in the silence, in microseconds.
    pub(crate) cpu: u64,
}

impl Figures {
    fn to_line(self) -> String {
        let Self {
            tenth,
            all,
            descriptors,
            cpu,
        } = self;
        format!("{tenth} {all} {descriptors} {cpu}")
    }

    pub(crate) fn from_line(line: &str) -> Result<Self, Failure> {
        let figures: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [tenth, all, descriptors, cpu] = figures[..] else {
            return Err(format!("four figures were expected, and not {line:?}").into());
        };
        Ok(Self {
            tenth,
            all,
            descriptors,
            cpu,
        })
    }
}

/// Starts `count` children, is silent for so many milliseconds, and prints its figures.
pub(super) fn run(count: usize, silence: u64) -> Result<(), Failure> {
    let silence = Duration::from_millis(silence);
    let figures = tokio::runtime::Runtime::new()?.block_on(measure(count, silence))?;
    #[expect(clippy::print_stdout, reason = "its parent reads it")]
    {
        println!("{}", figures.to_line());
    }
    Ok(())
}

async fn measure(count: usize, silence: Duration) -> Result<Figures, Failure> {
    machine::allow_open_files(open_files(count))?;
    let manager = ProcessManager::in_temp()?;
    start(&manager, FIRST).await?;
    let memory = machine::anonymous_memory()?;
    let descriptors = open_descriptors()?;
    start(&manager, count / 10).await?;
    let tenth = machine::anonymous_memory()?.saturating_sub(memory);
    start(&manager, count - count / 10).await?;
    let all = machine::anonymous_memory()?.saturating_sub(memory);
    let descriptors = open_descriptors()?.saturating_sub(descriptors);
    let cpu = machine::own_cpu();
    tokio::time::sleep(silence).await;
    let cpu = machine::own_cpu().saturating_sub(cpu);
    let running = manager.list().await?;
    let running = running.iter().filter(|one| one.is_running()).count();
    if running != FIRST + count {
        return Err(format!("{running} children were alive at the end").into());
    }
    manager.shutdown().await?;
    Ok(Figures {
        tenth,
        all,
        descriptors,
        cpu: u64::try_from(cpu.as_micros())?,
    })
}

async fn start(manager: &ProcessManagerHandle, count: usize) -> Result<(), Failure> {
    let cmd = Cmd::new("cat")
        .stdin(Stdin::Inherit)
        .messaging(Messaging::named_pipes());
    let starts = stream::iter(0..count).map(|_| manager.spawn(cmd.clone()));
    let mut starts = starts.buffer_unordered(STARTS);
    while starts.try_next().await?.is_some() {}
    tokio::time::sleep(SETTLING).await;
    Ok(())
}

fn open_descriptors() -> Result<u64, Failure> {
    Ok(fs::read_dir("/proc/self/fd")?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_back() {
        let figures = Figures {
            tenth: 1,
            all: 2,
            descriptors: 3,
            cpu: 4,
        };
        assert_eq!(Figures::from_line(&figures.to_line()).unwrap(), figures);
        assert!(Figures::from_line("1 2 3").is_err());
    }
}
