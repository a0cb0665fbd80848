//! A parent without root's rights whose children become root: `parent_of_root_children
//! WORKING_DIRECTORY BECOMES_ROOT`, of which the last is that fixture with the set-user-ID bit. It
//! cannot kill them, and checks that everything that ends processes says so in its time. Prints
//! `left PID` for each that it has left, and `done`; when it is told a line, it waits for the ends
//! of all of them.

use std::env;
use std::error::Error;
use std::fmt::Debug;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use procession_manager::{
    Cmd, DENIED_BOUND, Event, Framing, GroupProcess, KILL_BOUND, KillProcessError, LeftProcess,
    LeftReason, ManagerError, MemberState, Messaging, ProcessGroup, ProcessHandle, ProcessManager,
    ProcessManagerHandle, ProcessState, Run, RunError, StopProcessError,
};
use procession_tests::{Within as _, become_nobody, ci_factor, eventually, fixture_main, programs};

type Outcome = Result<(), Box<dyn Error>>;

/// The grace of those that have one.
const GRACE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    fixture_main(|| {
        let mut arguments = env::args_os().skip(1).map(PathBuf::from);
        let mut next = || arguments.next().ok_or("usage: … DIRECTORY BECOMES_ROOT");
        let (directory, becomes_root) = (next()?, next()?);
        become_nobody()?;
        tokio::runtime::Runtime::new()?.block_on(parent(&directory, &becomes_root))
    })
}

async fn parent(directory: &Path, becomes_root: &Path) -> Outcome {
    let manager = ProcessManager::builder()
        .working_directory(directory)
        .grace(GRACE)
        .spawn()?;
    let sleeps = || Cmd::new(becomes_root).args(["sleep", "1000"]);
    let (killed, neighbour) = kill_and_stop(&manager, sleeps()).await?;
    ends_by_its_input(&manager, becomes_root).await?;
    leaves_a_child(&manager, becomes_root).await?;
    run_and_scope(&manager, sleeps()).await?;
    group(&manager, sleeps()).await?;

    let waiting = tokio::spawn({
        let killed = killed.clone();
        async move { killed.wait().await }
    });
    say("left now")?;
    // Killed by root, it ends as ever.
    let report = waiting.within("the end of what was killed").await??;
    check(report.signal(), Some(9), "its signal")?;
    killed.remove().await?;

    let begun = Instant::now();
    let shutdown = manager.shutdown_with(GRACE).await;
    in_time(begun, GRACE + DENIED_BOUND, "the shutdown")?;
    let Err(ManagerError::NotEnded { left }) = shutdown else {
        return Err(format!("the shutdown: {shutdown:?}").into());
    };
    // Of the run, the scope and the group.
    check(left.len(), 3, "all that is left")?;
    left.iter().try_for_each(is_denied)?;
    let neighbour = neighbour.wait().await?;
    check(neighbour.signal(), Some(15), "its neighbour was stopped")?;
    for left in left {
        say(&format!("left {}", left.pid()))?;
    }
    say("done")?;
    io::stdin().read_line(&mut String::new())?;
    eventually("the directory to go", KILL_BOUND, async || {
        let left = procession_tests::run_directories(directory).ok()?;
        left.is_empty().then_some(())
    })
    .await;
    Ok(())
}

/// Both say what is left, and nobody else is held up.
async fn kill_and_stop(
    manager: &ProcessManagerHandle,
    sleeps: Cmd,
) -> Result<(ProcessHandle, ProcessHandle), Box<dyn Error>> {
    let child = manager.spawn_with_handle(sleeps).await?;
    let pid = root(&child).await?;
    let plain = || Cmd::new(programs::sh()).args(["-c", "exec sleep 1000"]);
    let other = manager.spawn_with_handle(plain()).await?;
    let mut events = child.events();
    let begun = Instant::now();
    let elsewhere = async {
        manager.list().await?;
        let other = other.kill().await?;
        check(other.signal(), Some(9), "the other is killed")
    };
    let (killed, elsewhere) = tokio::join!(child.kill(), elsewhere);
    let Err(KillProcessError::NotEnded { left, report, .. }) = killed else {
        return Err(format!("the kill: {killed:?}").into());
    };
    check(report, None, "it has not ended")?;
    check(left.len(), 1, "itself")?;
    check(left[0].pid(), pid, "its number")?;
    check(left[0].name(), "sleep", "its name")?;
    is_denied(&left[0])?;
    in_time(begun, DENIED_BOUND, "the kill")?;
    elsewhere?;
    let info = child.get_process_info().await?;
    check(info.state(), ProcessState::Stuck, "its state")?;
    check(info.left(), &left[..], "what is told of it")?;
    while !matches!(events.next().await, Some(Event::NotEnded { left: told, .. }) if *told == *left)
    {
    }

    let begun = Instant::now();
    let stopped = child.stop_with(GRACE).await;
    in_time(begun, GRACE + DENIED_BOUND, "the stop")?;
    if !matches!(&stopped, Err(StopProcessError::NotEnded { left: again, .. }) if *again == left) {
        return Err(format!("the stop: {stopped:?}").into());
    }
    say(&format!("left {pid}"))?;
    let neighbour = manager.spawn_with_handle(plain()).await?;
    Ok((child, neighbour))
}

/// A process that cannot be killed may still end by itself: its input is closed.
async fn ends_by_its_input(manager: &ProcessManagerHandle, becomes_root: &Path) -> Outcome {
    let lines = Messaging::standard_io().framing(Framing::Lines);
    let child = manager
        .spawn_with_handle(Cmd::new(becomes_root).arg("cat").messaging(lines))
        .await?;
    root(&child).await?;
    let report = child.kill().await?;
    check(report.code(), Some(0), "it ends with its input")?;
    Ok(child.remove().await?)
}

/// The process itself is killed, and its child is told of.
async fn leaves_a_child(manager: &ProcessManagerHandle, becomes_root: &Path) -> Outcome {
    let script = format!("{} sleep 1000 & echo $!; wait", becomes_root.display());
    let lines = Messaging::standard_io().framing(Framing::Lines);
    let child = Cmd::new(programs::sh())
        .args(["-c", &script])
        .messaging(lines);
    let child = manager.spawn_with_handle(child).await?;
    let mut messages = child.subscribe_message_stream().await?;
    let pid = messages.next().await.ok_or("no message")??;
    let pid: u32 = pid.as_str()?.parse()?;
    is_root(pid).await;
    if std::fs::read(format!("/proc/self/task/{}/children", std::process::id())).is_err() {
        // A kernel that does not tell whose children are whose.
        say(&format!("left {pid}"))?;
        let _ = child.kill().await;
        return Ok(());
    }
    let killed = child.kill().await;
    let Err(KillProcessError::NotEnded { left, report, .. }) = killed else {
        return Err(format!("the kill of a parent: {killed:?}").into());
    };
    check(left.len(), 1, "its child")?;
    check(left[0].pid(), pid, "the number of its child")?;
    is_denied(&left[0])?;
    let report = report.ok_or("it has ended itself")?;
    check(report.signal(), Some(9), "its signal")?;
    check(report.left(), &left[..], "what is left, in the report")?;
    say(&format!("left {pid}"))
}

async fn run_and_scope(manager: &ProcessManagerHandle, sleeps: Cmd) -> Outcome {
    let begun = Instant::now();
    let time = 4 * GRACE;
    let run = manager.run(Run::new(sleeps.clone()).timeout(time)).await;
    in_time(begun, time + DENIED_BOUND, "the run")?;
    let Err(RunError::NotEnded { left, .. }) = run else {
        return Err(format!("the run: {run:?}").into());
    };
    left.iter().try_for_each(is_denied)?;

    let scoped = manager.spawn_with_scoped_handle(sleeps).await?;
    root(&scoped).await?;
    let mut events = scoped.events();
    let begun = Instant::now();
    drop(scoped);
    while !matches!(events.next().await, Some(Event::NotEnded { .. })) {}
    in_time(begun, DENIED_BOUND, "the drop of a scoped handle")
}

/// The needed process is stopped, though the one that needs it does not end.
async fn group(manager: &ProcessManagerHandle, sleeps: Cmd) -> Outcome {
    let plain = Cmd::new(programs::sh()).args(["-c", "exec sleep 1000"]);
    let group = ProcessGroup::new()
        .process("needed", plain)
        .process("stays", GroupProcess::new(sleeps).needs(["needed"]));
    let group = manager.spawn_group(group).await?;
    group.wait_ready().await?;
    root(&group.process("stays").ok_or("it was spawned")?).await?;
    let begun = Instant::now();
    let stopped = group.stop().await;
    in_time(begun, 2 * GRACE + DENIED_BOUND, "the stop of the group")?;
    let Err(ManagerError::NotEnded { left }) = stopped else {
        return Err(format!("the stop of the group: {stopped:?}").into());
    };
    left.iter().try_for_each(is_denied)?;
    let status = group.status();
    let state = |name| {
        status
            .member(name)
            .map(procession_manager::MemberStatus::state)
    };
    check(state("needed"), Some(MemberState::Stopped), "the needed")?;
    check(state("stays"), Some(MemberState::Failed), "the other")
}

fn is_denied(left: &LeftProcess) -> Outcome {
    let denied = LeftReason::NotPermitted { user: Some(0) };
    check(left.reason(), denied, "the reason")
}

/// The pid of a child that has become root.
async fn root(child: &ProcessHandle) -> Result<u32, Box<dyn Error>> {
    let pid = child.get_process_info().await?.pid().ok_or("no pid")?;
    is_root(pid).await;
    Ok(pid)
}

async fn is_root(pid: u32) {
    eventually("it to become root", KILL_BOUND, async || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let is_itself = status.starts_with("Name:\tsleep") || status.starts_with("Name:\tcat");
        (is_itself && status.contains("\nUid:\t0\t0\t0")).then_some(())
    })
    .await;
}

/// Checks that an act took no longer than its bound, and the time for a program on a busy machine.
fn in_time(begun: Instant, bound: Duration, what: &str) -> Outcome {
    let took = begun.elapsed();
    if took < bound + Duration::from_secs(3) * ci_factor() {
        return Ok(());
    }
    Err(format!("{what} took {took:?}").into())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "so that values can be written in place"
)]
fn check<T: PartialEq + Debug>(found: T, expected: T, what: &str) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?} instead of {expected:?}").into())
}

fn say(line: &str) -> Outcome {
    Ok(writeln!(io::stdout(), "{line}")?)
}
