//! Opening what the environment names.
//!
//! Both ends are made ready first; standard input and output are redirected only when nothing can
//! fail any more, so that a refused connection leaves the program's streams as they were.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use procession_wire::{
    Channel, ChildEnvironment, Framing,
    env::{INPUT_PIPE, MESSAGE_INPUT, MESSAGE_OUTPUT, OUTPUT_PIPE, PROCESS_DATA_DIR},
};
use rustix::{
    fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl},
    io::fcntl_dupfd_cloexec,
    stdio,
};

use crate::ConnectError;

/// What the parent has configured.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) framing: Framing,
    pub(crate) limit: usize,
    pub(crate) data_dir: PathBuf,
    /// After how long with nothing from the parent it is taken for gone. Frames only: over lines
    /// nothing need come.
    pub(crate) lease: Option<Duration>,
}

/// One end of the channel, and the variable to name when something is wrong with it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) fd: OwnedFd,
    pub(crate) variable: &'static str,
    /// Other processes may use the same file description, so its flags are not ours to change.
    #[cfg_attr(
        not(feature = "tokio"),
        expect(dead_code, reason = "only the async side would change them")
    )]
    pub(crate) shared: bool,
}

/// The child's ends: blocking, close-on-exec, and its own but for the file description of standard
/// streams, which others may share.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) input: Option<End>,
    pub(crate) output: Option<End>,
}

/// The right to connect, of which a process has one.
#[derive(Debug)]
pub(crate) struct Claim {
    kept: bool,
}

static CLAIMED: AtomicBool = AtomicBool::new(false);

impl Claim {
    pub(crate) fn take() -> Result<Self, ConnectError> {
        if CLAIMED.swap(true, Ordering::AcqRel) {
            return Err(ConnectError::AlreadyConnected);
        }
        Ok(Self { kept: false })
    }

    /// The channel is open: nobody can connect again.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            CLAIMED.store(false, Ordering::Release);
        }
    }
}

/// Opens what the variables that `lookup` finds name.
pub(crate) fn open(
    lookup: impl FnMut(&str) -> Option<OsString>,
) -> Result<(Setup, Ends), ConnectError> {
    let environment = ChildEnvironment::read(lookup)?;
    let messaging = environment.messaging.ok_or(ConnectError::NoMessaging)?;
    let setup = Setup {
        framing: messaging.framing,
        limit: messaging.limit,
        data_dir: environment.data_dir,
        lease: messaging
            .lease
            .filter(|_| messaging.framing == Framing::Frames),
    };
    let ends = Ends {
        input: input(&messaging.input)?,
        output: output(&messaging.output)?,
    };
    if messaging.input == Channel::Stdio {
        redirect_stdin()?;
    }
    if messaging.output == Channel::Stdio {
        stdio::dup2_stdout(stdio::stderr())
            .map_err(|errno| ConnectError::io(MESSAGE_OUTPUT, "point stdout at stderr", errno))?;
    }
    Ok((setup, ends))
}

/// The run directory, for which no messaging is needed.
pub(crate) fn data_dir(
    mut lookup: impl FnMut(&str) -> Option<OsString>,
) -> Result<PathBuf, ConnectError> {
    let only_it = |name: &str| (name == PROCESS_DATA_DIR).then(|| lookup(name)).flatten();
    Ok(ChildEnvironment::read(only_it)?.data_dir)
}

fn input(channel: &Channel) -> Result<Option<End>, ConnectError> {
    match channel {
        Channel::Stdio => duplicate(stdio::stdin(), MESSAGE_INPUT).map(Some),
        Channel::Pipe(path) => open_pipe(path, OFlags::RDONLY, INPUT_PIPE).map(Some),
        _ => Ok(None),
    }
}

fn output(channel: &Channel) -> Result<Option<End>, ConnectError> {
    match channel {
        Channel::Stdio => duplicate(stdio::stdout(), MESSAGE_OUTPUT).map(Some),
        Channel::Pipe(path) => open_pipe(path, OFlags::WRONLY, OUTPUT_PIPE).map(Some),
        _ => Ok(None),
    }
}

/// A copy above the three standard streams.
fn duplicate(stream: impl AsFd, variable: &'static str) -> Result<End, ConnectError> {
    match fcntl_dupfd_cloexec(stream, 3) {
        Ok(fd) => Ok(End {
            fd,
            variable,
            shared: true,
        }),
        Err(errno) => Err(ConnectError::io(
            variable,
            "take the standard stream",
            errno,
        )),
    }
}

/// Opens a FIFO without waiting for the other side: a parent holds its own end for as long as it
/// lives, so with none there the input has ended and the output has no reader (`man 7 fifo`).
fn open_pipe(path: &Path, access: OFlags, variable: &'static str) -> Result<End, ConnectError> {
    let failed = |action: &str, error: io::Error| {
        ConnectError::io(variable, format!("{action} {}", path.display()), error)
    };
    let metadata = std::fs::metadata(path).map_err(|error| failed("find", error))?;
    if !metadata.file_type().is_fifo() {
        return Err(ConnectError::NotAPipe {
            variable,
            path: path.to_owned(),
        });
    }
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| failed("open", errno.into()))?;
    if access == OFlags::RDONLY {
        // Poll reports the end of input only where there has been a writer since our open. If there
        // is none, this is one; then the end is seen. If there is one, this changes nothing.
        let writer = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        drop(rustix::fs::open(path, writer, Mode::empty()));
    }
    fcntl_getfl(&fd)
        .and_then(|flags| fcntl_setfl(&fd, flags - OFlags::NONBLOCK))
        .map_err(|errno| failed("make a blocking end of", errno.into()))?;
    Ok(End {
        fd,
        variable,
        shared: false,
    })
}

fn redirect_stdin() -> Result<(), ConnectError> {
    let failed = |error| ConnectError::io(MESSAGE_INPUT, "point stdin at /dev/null", error);
    let null = File::open("/dev/null").map_err(failed)?;
    stdio::dup2_stdin(null).map_err(|errno| failed(errno.into()))
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
