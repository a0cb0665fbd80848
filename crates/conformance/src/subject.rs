//! A child under examination: its process, its pipes, and the threads that serve them.
//!
//! ```text
//!  check ── bytes ──► writer thread ──► input  ┐
//!        ◄─ events ── reader thread ◄── output ┘ child, in a process group of its own
//!                        ▲ gate            ▲
//!                        └ closed: the output fills up
//!  watch thread: waits for the exit, then lets go of the spare ends of named pipes
//! ```
//!
//! No thread is waited for: each ends when its end of the pipe does, which the end of the child sees
//! to.

use std::{
    fs::File,
    io::{self, Read, Seek as _, Write},
    os::fd::{AsFd, OwnedFd},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use procession_wire::{
    Channel, ChildEnvironment, Frame, FrameDecoder, FrameError, Framing, MessagingEnvironment,
    TreeTag, env,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
    },
};
use tempfile::TempDir;

use crate::{Fault, Transport};

/// What is read at a time, in bytes.
const CHUNK: usize = 64 * 1024;

/// How a child is started.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) transport: Transport,
    pub(crate) limit: usize,
    pub(crate) lease: Option<Duration>,
    /// Set over what the rest says; `None` removes.
    pub(crate) overrides: Vec<(&'static str, Option<&'static str>)>,
    /// Where the end of the child's standard error is left.
    pub(crate) log: Arc<Mutex<String>>,
}

/// What comes from the child.
#[derive(Debug)]
pub(crate) enum Event {
    Frame(Frame),
    /// What follows is not believed; it is read and thrown away.
    Lost(FrameError),
    /// Bytes after bye.
    Trailing(usize),
    /// The end of the stream, and whether it ended between two frames.
    End(Result<(), FrameError>),
}

/// How a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

/// Whether the reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Shut,
    /// The read end is closed for good.
    Gone,
}

/// A value that threads wait for.
#[derive(Debug)]
struct Watched<T>(Mutex<T>, Condvar);

impl<T: Copy> Watched<T> {
    fn new(value: T) -> Arc<Self> {
        Arc::new(Self(Mutex::new(value), Condvar::new()))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.lock());
        self.1.notify_all();
    }

    /// The first value that is wanted; `None` when the time is up.
    fn wait(&self, deadline: Option<Instant>, wanted: impl Fn(T) -> bool) -> Option<T> {
        let mut value = self.lock();
        while !wanted(*value) {
            value = match deadline {
                None => self.1.wait(value).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.checked_duration_since(Instant::now())?;
                    let waited = self.1.wait_timeout(value, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        Some(*value)
    }
}

/// How far the writer is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    written: usize,
    stopped: bool,
}

/// A child, killed with its process group and reaped when this is dropped.
#[derive(Debug)]
pub(crate) struct Subject {
    child: Child,
    pidfd: OwnedFd,
    input: Option<mpsc::Sender<Vec<u8>>>,
    queued: usize,
    progress: Arc<Watched<Progress>>,
    gate: Arc<Watched<Gate>>,
    events: mpsc::Receiver<Event>,
    directory: TempDir,
    log: Arc<Mutex<String>>,
}

impl Subject {
    pub(crate) fn start(mut command: Command, start: &Start) -> Result<Self, Fault> {
        let directory = tempfile::tempdir().map_err(cannot("make a run directory"))?;
        let path = directory.path();
        let log = File::create(path.join("stderr")).map_err(cannot("make a log"))?;
        let (input, output) = match start.transport {
            Transport::Stdio => (Channel::Stdio, Channel::Stdio),
            Transport::Pipes => (
                Channel::Pipe(fifo(path, "input")?),
                Channel::Pipe(fifo(path, "output")?),
            ),
        };
        let mut messaging =
            MessagingEnvironment::new(Framing::Frames, start.limit, input.clone(), output.clone());
        messaging.lease = start.lease;
        for variable in env::RESERVED {
            command.env_remove(variable);
        }
        let told = ChildEnvironment::new(path).with_messaging(messaging);
        command.envs(told.write());
        command.env(
            env::PROCESSION_TREE,
            TreeTag::append(
                std::env::var_os(env::PROCESSION_TREE).as_deref(),
                "conformance",
                "child",
                0,
            ),
        );
        for (variable, value) in &start.overrides {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        command.process_group(0).stderr(log);
        let spare;
        let ends = if let (Channel::Pipe(input), Channel::Pipe(output)) = (&input, &output) {
            command.stdin(Stdio::null()).stdout(Stdio::null());
            // Our ends are open first, each with a spare of the other end, so that no open waits
            // and nothing looks ended before the child has opened it.
            let receiver = open(output, OFlags::RDONLY | OFlags::NONBLOCK)?;
            let output_spare = open(output, OFlags::WRONLY)?;
            rustix::fs::fcntl_setfl(&receiver, OFlags::empty())
                .map_err(|error| Fault::failed(format!("fcntl: {error}")))?;
            let input_spare = open(input, OFlags::RDONLY | OFlags::NONBLOCK)?;
            let sender = open(input, OFlags::WRONLY)?;
            spare = vec![output_spare, input_spare];
            Some((File::from(sender), File::from(receiver)))
        } else {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            spare = Vec::new();
            None
        };
        let mut child = command.spawn().map_err(cannot("start the child"))?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| {
            // Not yet in the hands of our Drop.
            let _ = child.kill();
            let _ = child.wait();
            Fault::failed(format!("cannot watch the child: {error}"))
        })?;
        let (sender, receiver) = ends.unwrap_or_else(|| {
            let (sender, receiver) = (child.stdin.take(), child.stdout.take());
            let (sender, receiver) = (sender.expect("is piped"), receiver.expect("is piped"));
            (OwnedFd::from(sender).into(), OwnedFd::from(receiver).into())
        });
        drop(command);

        let (input, frames) = mpsc::channel();
        let (events_sender, events) = mpsc::channel();
        let progress = Watched::new(Progress::default());
        let gate = Watched::new(Gate::Open);
        if let Ok(pidfd) = pidfd.try_clone() {
            thread::spawn(move || {
                wait_for_exit(&pidfd, None);
                drop(spare);
            });
        }
        let subject = Self {
            child,
            pidfd,
            input: Some(input),
            queued: 0,
            progress: Arc::clone(&progress),
            gate: Arc::clone(&gate),
            events,
            directory,
            log: Arc::clone(&start.log),
        };
        thread::spawn(move || write(sender, &frames, &progress));
        let limit = start.limit;
        thread::spawn(move || read(receiver, limit, &gate, &events_sender));
        Ok(subject)
    }

    /// Queues bytes for the input; what a child that has closed it does not take is dropped.
    pub(crate) fn write(&mut self, bytes: Vec<u8>) {
        if let Some(input) = &self.input {
            self.queued += bytes.len();
            // The writer has gone where the child has closed its end.
            let _ = input.send(bytes);
        }
    }

    /// Waits until all that was queued is in the pipe.
    pub(crate) fn all_is_written(&self, deadline: Instant) -> bool {
        let done = |progress: Progress| progress.stopped || progress.written == self.queued;
        let progress = self.progress.wait(Some(deadline), done);
        progress.is_some_and(|progress| progress.written == self.queued)
    }

    /// Ends the input, after all that was queued.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    pub(crate) fn input_is_closed(&self) -> bool {
        self.input.is_none()
    }

    /// From now on nothing is read, after at most one read that is under way.
    pub(crate) fn stop_reading(&self) {
        self.gate.update(|gate| *gate = Gate::Shut);
    }

    pub(crate) fn read_on(&self) {
        self.gate.update(|gate| *gate = Gate::Open);
    }

    /// Closes the output, once the read that is under way has come to something.
    pub(crate) fn close_output(&self) {
        self.gate.update(|gate| *gate = Gate::Gone);
    }

    pub(crate) fn next(&self, deadline: Instant) -> Option<Event> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.events.recv_timeout(left).ok()
    }

    /// How the child has ended; `None` if it has not when the time is up. It stays a zombie, so that
    /// its number stays taken until its group is killed.
    pub(crate) fn exit(&self, deadline: Instant) -> Option<Exit> {
        if !wait_for_exit(&self.pidfd, Some(deadline)) {
            return None;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), options).ok()??;
        status
            .exit_status()
            .map(Exit::Code)
            .or_else(|| status.terminating_signal().map(Exit::Signal))
    }

    /// The last that the child has said on its standard error.
    fn last_words(&self) -> String {
        let log = end_of(&self.directory.path().join("stderr")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

/// The last 16 KiB of a file, which may be very long.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    const END: u64 = 16 * 1024;
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(len.saturating_sub(END)))?;
    let mut end = Vec::new();
    file.take(END).read_to_end(&mut end)?;
    Ok(end)
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.input = None;
        self.close_output();
        // Not reaped yet: the number is still this child's. Without a group there is nobody in it.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = self.last_words();
    }
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> Fault {
    move |error| Fault::failed(format!("cannot {what}: {error}"))
}

fn fifo(directory: &Path, name: &str) -> Result<PathBuf, Fault> {
    let path = directory.join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .map_err(|error| cannot("make a named pipe")(error.into()))?;
    Ok(path)
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Fault> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| cannot("open a named pipe")(error.into()))
}

/// False when the time is up.
fn wait_for_exit(pidfd: &OwnedFd, deadline: Option<Instant>) -> bool {
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec::try_from(left).expect("a time limit within reason")
        });
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn write(mut input: File, frames: &mpsc::Receiver<Vec<u8>>, progress: &Watched<Progress>) {
    for bytes in frames {
        if input.write_all(&bytes).is_err() {
            break;
        }
        progress.update(|progress| progress.written += bytes.len());
    }
    progress.update(|progress| progress.stopped = true);
}

fn read(mut output: File, limit: usize, gate: &Watched<Gate>, events: &mpsc::Sender<Event>) {
    let mut decoder = FrameDecoder::new(limit).expecting_hello(0);
    let mut received = BytesMut::new();
    let mut chunk = vec![0; CHUNK];
    let mut believed = true;
    let mut over = false;
    loop {
        if gate.wait(None, |gate| gate != Gate::Shut) == Some(Gate::Gone) {
            return;
        }
        let length = match output.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if !believed {
            continue;
        }
        received.extend_from_slice(&chunk[..length]);
        while believed && !over {
            let event = match decoder.decode(&mut received) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    over = matches!(frame, Frame::Bye { .. });
                    Event::Frame(frame)
                }
                Err(error) => {
                    believed = false;
                    Event::Lost(error)
                }
            };
            if events.send(event).is_err() {
                return;
            }
        }
        if over && !received.is_empty() {
            let _ = events.send(Event::Trailing(received.len()));
            received.clear();
        }
    }
    let end = if over || !believed {
        Ok(())
    } else {
        decoder.finish(&received)
    };
    let _ = events.send(Event::End(end));
}
