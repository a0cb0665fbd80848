//! A group of services from a TOML file, with their status on the terminal: `cargo run --bin services [--check] [FILE]`.
//!
//! Without a file it runs `services.toml` of the examples. On a terminal it shows a line for each service that is kept up
//! to date; elsewhere it prints what happens. Ctrl-C and SIGTERM stop the services in reverse order. With `--check` it
//! stops them as soon as all are ready: the file is right, and what is in it starts.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::error::Error;
use std::io::IsTerminal as _;
use std::time::Duration;

use futures::StreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use procession_manager::{
    GroupError, GroupHandle, GroupStatus, MemberState, MemberStatus, ProcessGroup, ProcessManager,
};
use tokio::signal::unix::{SignalKind, signal};

const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/services.toml");

/// What is shown to whoever started this, and may come from another task.
type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut checks = false;
    let mut file = SERVICES.to_owned();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--check" => checks = true,
            _ => file = argument,
        }
    }
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let group: ProcessGroup = toml::from_str(&text).map_err(|error| format!("{file}: {error}"))?;

    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let manager = ProcessManager::in_temp()?;
    let group = manager.spawn_group(group).await?;
    let told = tokio::spawn(tell(group.clone()));
    let ready = async {
        let ready = group.wait_ready().await;
        if !checks && ready.is_ok() {
            std::future::pending::<()>().await;
        }
        ready
    };
    let failed = tokio::select! {
        ready = ready => ready.err(),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    group.stop().await?;
    told.await??;
    manager.shutdown().await?;
    match failed {
        None | Some(GroupError::Stopped) => Ok(()),
        Some(error) => Err(error.into()),
    }
}

/// Shows what becomes of the group, until it has stopped.
async fn tell(group: GroupHandle) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        return show(group).await;
    }
    let mut events = group.events();
    while let Some(event) = events.next().await {
        println!("{event}");
    }
    Ok(())
}

/// A line for each service. Its run and its age are looked at now and then; all else is told.
async fn show(group: GroupHandle) -> Result<(), Failure> {
    let mut events = group.events();
    let lines = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:12} {msg}")?;
    let bars: Vec<_> = group
        .status()
        .members()
        .iter()
        .map(|member| {
            let bar = ProgressBar::new_spinner().with_style(style.clone());
            let bar = lines.add(bar);
            bar.set_prefix(member.name().to_owned());
            bar
        })
        .collect();
    let mut looks = tokio::time::interval(Duration::from_millis(500));
    loop {
        refresh(&group, &group.status(), &bars).await;
        tokio::select! {
            event = events.next() => match event {
                Some(event) => lines.println(event.to_string())?,
                None => break,
            },
            _ = looks.tick() => {}
        }
    }
    bars.iter().for_each(ProgressBar::abandon);
    Ok(())
}

async fn refresh(group: &GroupHandle, status: &GroupStatus, bars: &[ProgressBar]) {
    for (member, bar) in status.members().iter().zip(bars) {
        bar.set_message(line(group, member).await);
    }
}

/// What is to be seen of a service.
async fn line(group: &GroupHandle, member: &MemberStatus) -> String {
    let sign = match member.state() {
        MemberState::Ready | MemberState::Ended => "●",
        MemberState::Failed => "✗",
        _ => "○",
    };
    let mut parts = vec![format!("{sign} {:10}", member.state().to_string())];
    if let Some(process) = group.process(member.name())
        && let Ok(info) = process.get_process_info().await
    {
        parts.push(format!("run {}", info.run()));
        let age = info.started_at().and_then(|at| at.elapsed().ok());
        if let (true, Some(pid), Some(age)) = (info.is_running(), info.pid(), age) {
            parts.push(format!("pid {pid}, up {} s", age.as_secs()));
        } else if let Some(report) = info.exit() {
            parts.push(report.to_string());
        }
    }
    parts.extend(member.error().map(str::to_owned));
    parts.join("  ")
}
