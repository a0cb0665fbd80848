//! Storm: many children that send one message each, all at once.
//!
//! Each child is a shell that waits for the end of the [gate](super::gate), writes its number to its
//! named pipe and ends. The time runs from the end of the gate until the last message was received.
//! The other side is one thread with epoll(7), which reaps nobody until the time is over.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, select_all},
};
use procession_manager::{
    Cmd, Message, Messaging, ProcessManager, ProcessManagerHandle, ReceiveMessageError, Stdin,
};
use rustix::{
    event::{Timespec, epoll},
    fs::{Mode, OFlags, open},
};

use super::gate::{ByHand, Gate};
use crate::{
    Failure,
    args::Scale,
    machine::{self, Cores},
    peers::{Ours, Peer, make_fifo},
    runner::{Bound, Contestant, Measure, Race, Sample, work},
};

/// Most of it goes by while the children start.
const LIMIT: Duration = Duration::from_mins(2);
const SHELL: &str = "/bin/sh";
const SCRIPT: &str = r#"read nothing; echo "$1" > "$OUTPUT_PIPE""#;
/// What the last children get to come to the gate.
const SETTLING: Duration = Duration::from_millis(300);
/// So long a silence before all messages are there means that one was lost.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

type Received = Result<Message, ReceiveMessageError>;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let (count, setting) = match scale {
        Scale::Full => (5_000, "one message of each of 5,000"),
        Scale::Quick => (500, "one message of each of 500"),
    };
    vec![Race {
        part: "storm",
        // Their start takes far longer than what is measured.
        rounds: scale.heavy(2),
        limit: LIMIT,
        setting,
        measure: Measure::Time,
        cores: Cores::All,
        contestants: vec![
            Contestant {
                name: Ours::NAME,
                bound: None,
                note: Some("one stream of messages for each child, all of them merged"),
                work: work(move || ours(count)),
            },
            Contestant {
                name: "epoll by hand",
                bound: Some(Bound::AtMost(2.0)),
                note: Some("one thread that reads and does nothing else"),
                work: work(move || async move {
                    tokio::task::spawn_blocking(move || by_hand(count)).await?
                }),
            },
        ],
    }]
}

async fn ours(count: usize) -> Result<Sample, Failure> {
    machine::allow_open_files(super::open_files(count))?;
    let manager = ProcessManager::in_temp()?;
    let gate = Gate::new()?;
    let streams = stream::iter(0..count).map(|number| start(&manager, &gate, number));
    let streams: Vec<_> = streams.buffered(super::STARTS).try_collect().await?;
    let mut messages = select_all(streams);
    tokio::time::sleep(SETTLING).await;
    let mut roll = Roll::new(count);
    let started = Instant::now();
    let directory = gate.open();
    while roll.missing > 0 {
        let Some((number, message)) = messages.next().await else {
            return Err(format!("{} messages never came", roll.missing).into());
        };
        roll.tick(number, message?.as_bytes())?;
    }
    let elapsed = started.elapsed();
    // What comes after the last one that was expected has come twice.
    while let Some((number, message)) = messages.next().await {
        roll.tick(number, message?.as_bytes())?;
    }
    manager.shutdown().await?;
    drop(directory);
    Ok(Sample::took(1, elapsed))
}

/// One child, and its messages with its number.
async fn start(
    manager: &ProcessManagerHandle,
    gate: &Gate,
    number: usize,
) -> Result<impl Stream<Item = (usize, Received)> + Unpin + use<>, Failure> {
    let cmd = Cmd::new(SHELL)
        .args(["-c", SCRIPT, "sh", &number.to_string()])
        .stdin(Stdin::File(gate.path().to_owned()))
        .messaging(Messaging::named_pipes());
    let process = manager.spawn_with_handle(cmd).await?;
    let stream = process.subscribe_message_stream().await?;
    Ok(stream.map(move |message| (number, message)))
}

fn by_hand(count: usize) -> Result<Sample, Failure> {
    machine::allow_open_files(super::open_files(count))?;
    let gate = Gate::new()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let (mut pipes, mut children) = (Vec::new(), ByHand::default());
    for number in 0..count {
        let path = gate.directory().join(number.to_string());
        let pipe = named_pipe(&path)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&epoll, &pipe, data, epoll::EventFlags::IN)?;
        pipes.push(pipe);
        let child = Command::new(SHELL)
            .args(["-c", SCRIPT, "sh", &number.to_string()])
            .env("OUTPUT_PIPE", path)
            .stdin(gate.stdin()?)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        children.0.push(child);
    }
    std::thread::sleep(SETTLING);
    let started = Instant::now();
    let directory = gate.open();
    read_all(&epoll, &pipes)?;
    let elapsed = started.elapsed();
    drop((children, directory));
    Ok(Sample::took(1, elapsed))
}

fn named_pipe(path: &Path) -> Result<File, Failure> {
    make_fifo(path)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// Until each pipe has had its message.
fn read_all(epoll: &OwnedFd, pipes: &[File]) -> Result<(), Failure> {
    let mut roll = Roll::new(pipes.len());
    let mut events = Vec::with_capacity(1024);
    let mut buffer = [0; 4096];
    while roll.missing > 0 {
        events.clear();
        // The ends of children interrupt it by a signal.
        rustix::io::retry_on_intr(|| {
            epoll::wait(
                epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&PATIENCE),
            )
        })?;
        if events.is_empty() {
            return Err(format!("{} messages did not come", roll.missing).into());
        }
        for event in &events {
            let number = usize::try_from(event.data.u64())?;
            let mut pipe = pipes.get(number).ok_or("there is no such pipe")?;
            let read = pipe.read(&mut buffer)?;
            let line = buffer[..read].strip_suffix(b"\n").ok_or("half a line")?;
            roll.tick(number, line)?;
        }
    }
    Ok(())
}

/// Who has sent its message, and how many have not.
struct Roll {
    seen: Vec<bool>,
    missing: usize,
}

impl Roll {
    fn new(count: usize) -> Self {
        Self {
            seen: vec![false; count],
            missing: count,
        }
    }

    /// A message has come from the child of this number: its number, and once.
    fn tick(&mut self, number: usize, message: &[u8]) -> Result<(), Failure> {
        if message != number.to_string().as_bytes() {
            let text = String::from_utf8_lossy(message);
            return Err(format!("child {number} has sent {text:?}").into());
        }
        match self.seen.get_mut(number) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(format!("the message of child {number} has come again").into()),
        }
        self.missing -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_a_doubled_and_a_foreign_message_are_found_out() {
        let mut roll = Roll::new(2);
        roll.tick(1, b"1").unwrap();
        assert_eq!(roll.missing, 1);
        assert!(roll.tick(1, b"1").is_err());
        assert!(roll.tick(0, b"1").is_err());
        assert!(roll.tick(2, b"2").is_err());
        roll.tick(0, b"0").unwrap();
        assert_eq!(roll.missing, 0);
    }
}
