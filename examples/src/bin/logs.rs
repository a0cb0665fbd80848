//! The logs of several children followed at once, a colour for each: `cargo run --bin logs`.
//!
//! With arguments it runs those instead, each a line of shell:
//! `cargo run --bin logs -- 'ping -c 3 localhost' 'make -C project'`.
//! Colours are left out where the output is no terminal, and where `NO_COLOR` is set.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::{env, error::Error, io::IsTerminal, time::SystemTime};

use futures::{StreamExt, stream::select_all};
use procession_manager::{Cmd, FollowFrom, FollowLogsError, LogStream, Logging, ProcessManager};

const CHILDREN: [(&str, &str); 3] = [
    (
        "build",
        "for i in 1 2 3; do echo \"compiling part $i\"; sleep 0.02; done; echo done",
    ),
    (
        "tests",
        "sleep 0.01; echo '12 passed'; echo '1 failed: parser' >&2; exit 1",
    ),
    (
        "fetch",
        "printf 'fetching '; sleep 0.03; echo 'index: 3 new'; echo warm >&2",
    ),
];
/// Of the terminal: green, yellow, blue, magenta, cyan.
const COLOURS: [u8; 5] = [32, 33, 34, 35, 36];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let coloured = std::io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    let given: Vec<_> = env::args()
        .skip(1)
        .map(|script| (script.clone(), script))
        .collect();
    let commands = if given.is_empty() {
        CHILDREN
            .map(|(name, script)| (name.to_owned(), script.to_owned()))
            .to_vec()
    } else {
        given
    };
    let width = commands
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    let started = SystemTime::now();

    let manager = ProcessManager::in_temp()?;
    let (mut children, mut followers) = (Vec::new(), Vec::new());
    for ((name, script), colour) in commands.into_iter().zip(COLOURS.into_iter().cycle()) {
        let cmd = Cmd::new("sh")
            .args(["-c", &script])
            .logging(Logging::stdout_and_stderr());
        let child = manager.spawn_with_handle(cmd).await?;
        let label = if coloured {
            format!("\x1b[{colour}m{name:width$}\x1b[0m")
        } else {
            format!("{name:width$}")
        };
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let lines = child.follow_logs(stream, FollowFrom::Beginning).await?;
            let label = label.clone();
            followers.push(lines.map(move |line| (label.clone(), line)));
        }
        children.push((label, child));
    }

    // Of all of them, as the lines appear; it ends when all logs are complete.
    let mut lines = select_all(followers);
    while let Some((label, line)) = lines.next().await {
        match line {
            Ok(line) => {
                let mark = if line.stream() == LogStream::Stderr {
                    '!'
                } else {
                    '|'
                };
                let at = line
                    .time()
                    .and_then(|time| time.duration_since(started).ok());
                println!(
                    "{:6.3} {label} {mark} {line}",
                    at.unwrap_or_default().as_secs_f64()
                );
            }
            Err(FollowLogsError::Dropped { count, .. }) => {
                println!("{label} … {count} lines dropped");
            }
            Err(error) => println!("{label} … {error}"),
        }
    }
    for (label, child) in children {
        println!("{label} = {}", child.wait().await?);
    }
    manager.shutdown().await?;
    Ok(())
}
