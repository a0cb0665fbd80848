//! The pipes and files between parent and child, both ends.
//!
//! The child's ends are ordinary blocking descriptors. Ours are non-blocking; each end of a pipe is
//! an open file description of its own, so the one does not touch the other. A FIFO is held by one
//! descriptor that is open for reading and writing, so that the child's open never waits.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use procession_wire::{Channel, ChildEnvironment, Escaped, MessagingEnvironment};
use rustix::fs::{Mode, OFlags};

use super::super::notify::NotifySocket;
use super::super::spawn_error::{because, no_file, no_pipe, refused};
use super::files;
use crate::error::SpawnProcessError;
use crate::file_events::{Change, FileEvents};
use crate::logs::LogStream;
#[cfg(any(test, feature = "test-util"))]
use crate::messaging::memory::{MemoryReader, MemoryWriter};
use crate::messaging::pipe::{ReadPipe, WritePipe};
use crate::model::command::{LogRoute, Logging};
use crate::model::{Cmd, Output, Readiness, Stdin, Transport};
use crate::run_dir::{self, create_fifo, create_new, open_own};
use crate::starts::{self, Starting};

/// Our end of a stream that is logged.
#[derive(Debug)]
pub(crate) struct LogEnd {
    pub(crate) stream: LogStream,
    pub(crate) route: LogEndRoute,
}

#[derive(Debug)]
pub(crate) enum LogEndRoute {
    /// Kept in files of this directory.
    Pipe(OwnedFd, PathBuf),
    /// Kept in memory.
    Memory(OwnedFd),
    /// The file that the child writes, open for reading.
    File(File),
}

/// What the parent holds of a child's channels.
#[derive(Debug, Default)]
pub(crate) struct OurEnds {
    pub(crate) input: Option<OurEnd>,
    /// There where the input is a FIFO: tells when the child opens it, or why that is not known.
    pub(crate) input_opened: Option<io::Result<Change>>,
    pub(crate) output: Option<OurEnd>,
    pub(crate) logs: Vec<LogEnd>,
}

/// Our end of one direction of messaging.
#[derive(Debug)]
pub(crate) enum OurEnd {
    Fd {
        fd: OwnedFd,
        fifo: bool,
    },
    #[cfg(any(test, feature = "test-util"))]
    Read(MemoryReader),
    #[cfg(any(test, feature = "test-util"))]
    Write(MemoryWriter),
}

impl OurEnd {
    #[cfg_attr(
        not(any(test, feature = "test-util")),
        expect(clippy::unnecessary_wraps, reason = "there is something else in tests")
    )]
    pub(crate) fn into_writer(self) -> io::Result<WritePipe> {
        match self {
            Self::Fd { fd, .. } => Ok(WritePipe::new(fd)),
            #[cfg(any(test, feature = "test-util"))]
            Self::Write(pipe) => Ok(WritePipe::Memory(pipe)),
            #[cfg(any(test, feature = "test-util"))]
            Self::Read(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// To be called within the runtime.
    pub(crate) fn into_reader(self) -> io::Result<ReadPipe> {
        match self {
            Self::Fd { fd, fifo } => ReadPipe::new(fd, fifo),
            #[cfg(any(test, feature = "test-util"))]
            Self::Read(pipe) => Ok(ReadPipe::Memory(pipe)),
            #[cfg(any(test, feature = "test-util"))]
            Self::Write(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

pub(super) struct Channels {
    pub(super) ours: OurEnds,
    /// The child's stdin, stdout and stderr.
    pub(super) child: [Stdio; 3],
    pub(super) environment: ChildEnvironment,
    pub(super) notify: Option<NotifySocket>,
    /// To be dropped when the child runs and its ends are closed here.
    pub(super) starting: Starting,
}

pub(super) fn open(
    cmd: &Cmd,
    run_dir: &Path,
    files: &FileEvents,
    capture: bool,
) -> Result<Channels, SpawnProcessError> {
    let program = cmd.program().display().to_string();
    let failed = |error| refused(&program, error);
    let mut ours = OurEnds::default();
    let mut stdin = stdin(cmd, run_dir, &program)?;
    let mut stdout = output(cmd.stdout_target(), true).map_err(failed)?;
    let mut stderr = output(cmd.stderr_target(), false).map_err(failed)?;
    let mut environment = ChildEnvironment::new(run_dir);
    let starting = starts::starting();

    let mut stdout_free = *cmd.stdout_target() == Output::Null;
    let mut stderr_free = *cmd.stderr_target() == Output::Null;
    if let Some(messaging) = cmd.messaging_options() {
        let mut ends = [Channel::None, Channel::None];
        match messaging.input() {
            Some(Transport::StandardIo) => {
                let (reader, writer) = io::pipe().map_err(failed)?;
                ours.input = Some(our_end(writer.into()).map_err(failed)?);
                stdin = reader.into();
                ends[0] = Channel::Stdio;
            }
            Some(_) => {
                let (end, path) = fifo(&program, run_dir.join(run_dir::INPUT))?;
                ours.input = Some(end);
                ours.input_opened = Some(files.opened(&path));
                ends[0] = Channel::Pipe(path);
            }
            None => {}
        }
        match messaging.output() {
            Some(Transport::StandardIo) => {
                let (reader, writer) = io::pipe().map_err(failed)?;
                ours.output = Some(our_end(reader.into()).map_err(failed)?);
                stdout = writer.into();
                stdout_free = false;
                ends[1] = Channel::Stdio;
            }
            Some(_) => {
                let (end, path) = fifo(&program, run_dir.join(run_dir::OUTPUT))?;
                ours.output = Some(end);
                ends[1] = Channel::Pipe(path);
            }
            None => {}
        }
        let [input, output] = ends;
        let (framing, limit) = (messaging.chosen_framing(), messaging.largest_message());
        let mut told = MessagingEnvironment::new(framing, limit, input, output);
        told.lease = messaging.lease_time();
        environment = environment.with_messaging(told);
    }

    if let Some(logging) = cmd.logging_options() {
        if logging.is_merged() {
            let (end, ours_end) = logged(LogStream::Merged, logging, run_dir, &program)?;
            stdout = end.try_clone().map_err(failed)?.into();
            stderr = end.into();
            ours.logs.push(ours_end);
        }
        if logging.captures_stdout() && !logging.is_merged() {
            let (end, ours_end) = logged(LogStream::Stdout, logging, run_dir, &program)?;
            stdout = end.into();
            ours.logs.push(ours_end);
        }
        if logging.captures_stderr() && !logging.is_merged() {
            let (end, ours_end) = logged(LogStream::Stderr, logging, run_dir, &program)?;
            stderr = end.into();
            ours.logs.push(ours_end);
        }
        stdout_free &= !logging.captures_stdout();
        stderr_free &= !logging.captures_stderr();
    }
    if capture && stdout_free {
        let (end, ours_end) = captured(LogStream::Stdout, &program)?;
        stdout = end.into();
        ours.logs.push(ours_end);
    }
    if capture && stderr_free {
        let (end, ours_end) = captured(LogStream::Stderr, &program)?;
        stderr = end.into();
        ours.logs.push(ours_end);
    }
    let notify = match cmd.readiness() {
        Some(Readiness::Notify { .. }) => {
            let own = rustix::process::geteuid().as_raw();
            let socket = NotifySocket::bind(run_dir, cmd.user_id().unwrap_or(own));
            Some(socket.map_err(|error| failed(because("its notification socket", &error)))?)
        }
        _ => None,
    };
    Ok(Channels {
        ours,
        child: [stdin, stdout, stderr],
        environment,
        notify,
        starting,
    })
}

fn non_blocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

fn our_end(fd: OwnedFd) -> io::Result<OurEnd> {
    Ok(OurEnd::Fd {
        fd: non_blocking(fd)?,
        fifo: false,
    })
}

fn fifo(program: &str, path: PathBuf) -> Result<(OurEnd, PathBuf), SpawnProcessError> {
    let failed = |error| no_pipe(program, &path, error);
    create_fifo(&path).map_err(failed)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    Ok((OurEnd::Fd { fd, fifo: true }, path))
}

/// The child's end of a log, and ours.
fn logged(
    stream: LogStream,
    logging: Logging,
    run_dir: &Path,
    program: &str,
) -> Result<(OwnedFd, LogEnd), SpawnProcessError> {
    if logging.log_route() == LogRoute::Pipe {
        let (theirs, ours) = pipe(program)?;
        let route = LogEndRoute::Pipe(ours, run_dir.to_owned());
        return Ok((theirs, LogEnd { stream, route }));
    }
    let path = run_dir.join(run_dir::log_name(stream));
    let failed = |error| no_file(program, path.clone(), error);
    let theirs = create_new(&path).map_err(failed)?;
    // Of both streams, and of all that the child starts, each write goes to the end.
    rustix::fs::fcntl_setfl(&theirs, OFlags::APPEND).map_err(|error| failed(error.into()))?;
    let ours = open_own(&path).map_err(failed)?;
    let route = LogEndRoute::File(ours);
    Ok((theirs.into(), LogEnd { stream, route }))
}

/// The child's end of what is taken into memory, and ours.
fn captured(stream: LogStream, program: &str) -> Result<(OwnedFd, LogEnd), SpawnProcessError> {
    let (theirs, ours) = pipe(program)?;
    let route = LogEndRoute::Memory(ours);
    Ok((theirs, LogEnd { stream, route }))
}

fn pipe(program: &str) -> Result<(OwnedFd, OwnedFd), SpawnProcessError> {
    let (reader, writer) = io::pipe().map_err(|error| refused(program, error))?;
    let ours = non_blocking(reader.into()).map_err(|error| refused(program, error))?;
    Ok((writer.into(), ours))
}

fn stdin(cmd: &Cmd, run_dir: &Path, program: &str) -> Result<Stdio, SpawnProcessError> {
    match cmd.stdin_source() {
        Stdin::Inherit => Ok(Stdio::inherit()),
        Stdin::File(path) => files::input(path).map(Into::into).map_err(|error| {
            refused(
                program,
                because(format_args!("its stdin {}", Escaped::new(path)), &error),
            )
        }),
        Stdin::Bytes(bytes) => {
            let path = run_dir.join(run_dir::STDIN);
            stdin_of(&path, bytes)
                .map(Into::into)
                .map_err(|error| no_file(program, path, error))
        }
        _ => Ok(Stdio::null()),
    }
}

/// A file without a name: nothing has to be fed to the child, and a slow reader holds up nobody.
fn stdin_of(path: &Path, bytes: &[u8]) -> io::Result<File> {
    create_new(path)?.write_all(bytes)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

fn output(target: &Output, stdout: bool) -> io::Result<Stdio> {
    match target {
        Output::Inherit => Ok(Stdio::inherit()),
        Output::File(path) => files::output(path).map(Into::into).map_err(|error| {
            let stream = if stdout { "stdout" } else { "stderr" };
            because(format_args!("its {stream} {}", Escaped::new(path)), &error)
        }),
        _ => Ok(Stdio::null()),
    }
}
