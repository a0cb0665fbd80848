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

use procession_wire::{Channel, ChildEnvironment, MessagingEnvironment};
use rustix::fs::{Mode, OFlags};

use super::super::spawn_error::{because, no_file, no_pipe, refused};
use crate::error::SpawnProcessError;
use crate::file_events::{FileEvents, Opened};
use crate::model::{Cmd, Output, Stdin, Transport};
use crate::run_dir::{self, create_fifo, create_new};

/// Which log a stream goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LogName {
    Stdout,
    Stderr,
    Merged,
}

impl LogName {
    fn file_name(self) -> &'static str {
        match self {
            Self::Stdout => run_dir::STDOUT_LOG,
            Self::Stderr => run_dir::STDERR_LOG,
            Self::Merged => run_dir::MERGED_LOG,
        }
    }
}

/// Our end of a stream that is logged, and the file it goes to; none where it goes to memory.
#[derive(Debug)]
pub(crate) struct LogEnd {
    pub(crate) name: LogName,
    pub(crate) pipe: OwnedFd,
    pub(crate) file: Option<(PathBuf, File)>,
}

/// What the parent holds of a child's channels.
#[derive(Debug, Default)]
pub(crate) struct OurEnds {
    pub(crate) input: Option<OurEnd>,
    /// There where the input is a FIFO: tells when the child opens it, or why that is not known.
    pub(crate) input_opened: Option<io::Result<Opened>>,
    pub(crate) output: Option<OurEnd>,
    pub(crate) logs: Vec<LogEnd>,
}

/// Our end of one direction of messaging.
#[derive(Debug)]
pub(crate) struct OurEnd {
    pub(crate) fd: OwnedFd,
    pub(crate) fifo: bool,
}

pub(super) struct Channels {
    pub(super) ours: OurEnds,
    /// The child's stdin, stdout and stderr.
    pub(super) child: [Stdio; 3],
    pub(super) environment: ChildEnvironment,
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
        environment =
            environment.with_messaging(MessagingEnvironment::new(framing, limit, input, output));
    }

    if let Some(logging) = cmd.logging_options() {
        if logging.is_merged() {
            let (end, ours_end) = logged(LogName::Merged, Some(run_dir), &program)?;
            stdout = end.try_clone().map_err(failed)?.into();
            stderr = end.into();
            ours.logs.push(ours_end);
        }
        if logging.captures_stdout() && !logging.is_merged() {
            let (end, ours_end) = logged(LogName::Stdout, Some(run_dir), &program)?;
            stdout = end.into();
            ours.logs.push(ours_end);
        }
        if logging.captures_stderr() && !logging.is_merged() {
            let (end, ours_end) = logged(LogName::Stderr, Some(run_dir), &program)?;
            stderr = end.into();
            ours.logs.push(ours_end);
        }
        stdout_free &= !logging.captures_stdout();
        stderr_free &= !logging.captures_stderr();
    }
    if capture && stdout_free {
        let (end, ours_end) = logged(LogName::Stdout, None, &program)?;
        stdout = end.into();
        ours.logs.push(ours_end);
    }
    if capture && stderr_free {
        let (end, ours_end) = logged(LogName::Stderr, None, &program)?;
        stderr = end.into();
        ours.logs.push(ours_end);
    }
    Ok(Channels {
        ours,
        child: [stdin, stdout, stderr],
        environment,
    })
}

fn our_end(fd: OwnedFd) -> io::Result<OurEnd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(OurEnd { fd, fifo: false })
}

fn fifo(program: &str, path: PathBuf) -> Result<(OurEnd, PathBuf), SpawnProcessError> {
    let failed = |error| no_pipe(program, &path, error);
    create_fifo(&path).map_err(failed)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    Ok((OurEnd { fd, fifo: true }, path))
}

fn logged(
    name: LogName,
    run_dir: Option<&Path>,
    program: &str,
) -> Result<(io::PipeWriter, LogEnd), SpawnProcessError> {
    let (reader, writer) = io::pipe().map_err(|error| refused(program, error))?;
    let end = our_end(reader.into()).map_err(|error| refused(program, error))?;
    let file = match run_dir {
        Some(run_dir) => {
            let path = run_dir.join(name.file_name());
            let file = create_new(&path).map_err(|error| no_file(program, path.clone(), error))?;
            Some((path, file))
        }
        None => None,
    };
    let pipe = end.fd;
    Ok((writer, LogEnd { name, pipe, file }))
}

fn stdin(cmd: &Cmd, run_dir: &Path, program: &str) -> Result<Stdio, SpawnProcessError> {
    match cmd.stdin_source() {
        Stdin::Inherit => Ok(Stdio::inherit()),
        Stdin::File(path) => File::open(path).map(Into::into).map_err(|error| {
            refused(
                program,
                because(format_args!("its stdin {}", path.display()), &error),
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
        Output::File(path) => OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o666)
            // So that stdout and stderr may go to one file.
            .custom_flags(libc::O_APPEND)
            .open(path)
            .map(Into::into)
            .map_err(|error| {
                let stream = if stdout { "stdout" } else { "stderr" };
                because(format_args!("its {stream} {}", path.display()), &error)
            }),
        _ => Ok(Stdio::null()),
    }
}
