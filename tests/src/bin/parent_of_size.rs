//! A parent that has a lot in memory: `parent_of_size DIRECTORY MEBIBYTES`. For each line that it reads
//! it starts children in all ways that may be slow, and prints a line: how long the starts took, in
//! nanoseconds each, and last the most memory that one of `/bin/true` is said to have used, in bytes.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use procession_manager::{Cmd, ProcessManager, ProcessManagerHandle, Resource};
use procession_tests::fixture_main;

const STARTS: usize = 5;

fn main() -> ExitCode {
    fixture_main(|| {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [directory, mebibytes] = &arguments[..] else {
            return Err("usage: parent_of_size DIRECTORY MEBIBYTES".into());
        };
        let held = vec![1_u8; mebibytes.parse::<usize>()? << 20];
        let runtime = tokio::runtime::Runtime::new()?;
        let manager = runtime.block_on(async { ProcessManager::spawn(directory) })?;
        for line in io::stdin().lock().lines() {
            line?;
            let line = runtime.block_on(starts(&manager))?;
            writeln!(io::stdout(), "{line}")?;
        }
        runtime.block_on(manager.shutdown())?;
        drop(std::hint::black_box(held));
        Ok(())
    })
}

async fn starts(manager: &ProcessManagerHandle) -> Result<String, Box<dyn Error>> {
    let mut line = String::new();
    let mut peak = 0;
    for cmd in [
        Cmd::new("true"),
        Cmd::new("true").env("PATH", "/usr/bin:/bin"),
        Cmd::new("/bin/true").env_clear(),
        Cmd::new("/bin/true").limit(Resource::OpenFiles, 100),
    ] {
        for _ in 0..STARTS {
            let start = Instant::now();
            let child = manager.spawn_with_handle(cmd.clone()).await?;
            line += &start.elapsed().as_nanos().to_string();
            line.push(' ');
            // Also what is hunted afterwards is over, and disturbs no other start.
            let report = child.stop().await?;
            let used = report.usage().and_then(|usage| usage.peak_memory);
            peak = peak.max(used.unwrap_or(0));
            child.remove().await?;
        }
    }
    Ok(line + &peak.to_string())
}
