//! The seam behind which a process is started: everything from a `Runnable` to a running child with
//! our ends of its pipes.
//!
//! ```text
//!  run directory ─► bootstrap ─► validate ─► pipes, files ─► environment ─► posix_spawn ─► pidfd
//!        └──────────────┴───────────┴── any failure: clean_after_fail, everything removed ──┘
//! ```
//!
//! All of it blocks, and runs on the threads of the [`pool`](super::pool). The child is started by
//! the standard library, in a process group of its own, always by an absolute path, which keeps it
//! on `posix_spawn(3)`; as another user by a thread that was made for it ([`identity`]), and with limits
//! by a shell that becomes the program ([`limits`]). Our descriptors are close-on-exec from the moment they exist.

mod channels;
mod identity;
mod limits;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use procession_wire::env::{PROCESSION_TREE, RESERVED};
use procession_wire::{ChildEnvironment, TreeTag};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal,
    waitid,
};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::program;
use super::spawn_error::{because, no_file, refused};
use crate::containment::Root;
use crate::error::SpawnProcessError;
use crate::file_events::FileEvents;
use crate::id::ProcessId;
use crate::model::{Cmd, Leftovers, Messaging, Resource, Runnable};
use crate::os;
use crate::run_dir::{ManagerDir, RunDir};
use crate::signal::Signal;

pub(crate) use channels::{LogEnd, LogName, OurEnds};

/// What is to be started.
pub(crate) struct Launch {
    pub(crate) id: ProcessId,
    pub(crate) runnable: Box<dyn Runnable>,
    pub(crate) dir: Arc<ManagerDir>,
    pub(crate) files: Arc<FileEvents>,
    /// Take stdout and stderr into memory, where the `Cmd` gives them no other use.
    pub(crate) capture: bool,
}

/// A child that runs, and our ends of its pipes.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) program: String,
    pub(crate) messaging: Option<Messaging>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) leftovers: Leftovers,
    pub(crate) cpu_limit: Option<Duration>,
    pub(crate) file_limit: bool,
    pub(crate) ends: OurEnds,
    pub(crate) started_at: SystemTime,
    pub(crate) started: Instant,
    /// Our own high-water mark of resident memory, which the child inherits.
    pub(crate) max_rss_before: u64,
}

impl Launch {
    /// Starts it. On failure nothing is left.
    pub(crate) fn run(self) -> Result<Launched, SpawnProcessError> {
        let run_dir = self
            .dir
            .run_dir(self.id)
            .map_err(|(path, error)| no_file("a process", path, error))?;
        let result = self
            .bootstrap(&run_dir)
            .and_then(|cmd| self.start(&cmd, &run_dir));
        match result {
            Ok(mut launched) => {
                launched.child.run_dir = Some(run_dir);
                Ok(launched)
            }
            Err(error) => {
                let clean = || self.runnable.clean_after_fail(run_dir.path());
                if let Err(words) = guarded(clean) {
                    tracing::warn!(process = %self.id, error = %words, "cleaning up after a failed start failed");
                }
                Err(error)
            }
        }
    }

    fn bootstrap(&self, run_dir: &RunDir) -> Result<Cmd, SpawnProcessError> {
        let cmd = guarded(|| self.runnable.bootstrap_cmd(run_dir.path()))
            .map_err(SpawnProcessError::BootstrapProcessFailed)?;
        cmd.validate()
            .map_err(|source| SpawnProcessError::InvalidConfiguration {
                program: cmd.program().display().to_string(),
                source,
            })?;
        Ok(cmd)
    }

    fn start(&self, cmd: &Cmd, run_dir: &RunDir) -> Result<Launched, SpawnProcessError> {
        let name = cmd.program().display().to_string();
        let inherited_path = std::env::var_os("PATH");
        let path = cmd.environment().resolve("PATH", inherited_path);
        let program = program::resolve(cmd.program(), path.as_deref())
            .map_err(|error| refused(&name, error))?;
        let channels = channels::open(cmd, run_dir.path(), &self.files, self.capture)?;

        let mut command = command(cmd, &program).map_err(|error| refused(&name, error))?;
        command.args(cmd.arguments()).process_group(0);
        if let Some(dir) = cmd.working_directory() {
            check_directory(dir).map_err(|error| refused(&name, error))?;
            command.current_dir(dir);
        }
        self.set_environment(&mut command, cmd, &channels.environment);
        let [stdin, stdout, stderr] = channels.child;
        command.stdin(stdin).stdout(stdout).stderr(stderr);

        let for_child = self
            .give_run_dir(cmd, run_dir)
            .map_err(|error| refused(&name, error))?;
        let needs = identity::Needs {
            program: &program,
            current_dir: cmd.working_directory(),
            run_dir: for_child.then(|| run_dir.path()),
        };
        let max_rss_before = os::own_max_rss();
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let spawned = identity::spawn(&mut command, cmd.identity(), &needs);
        // The child's ends: ours would keep its pipes from ever showing their end.
        drop(command);
        let spawned = spawned.map_err(|error| {
            refused(
                &name,
                match error.raw_os_error() {
                    Some(libc::ENOENT) => because(
                        "it is there, but the interpreter that it names is not",
                        &error,
                    ),
                    Some(libc::ENOEXEC) => because(
                        "it is neither a program nor a script with a `#!` line",
                        &error,
                    ),
                    _ => error,
                },
            )
        })?;
        let pid = Pid::from_raw(spawned.id().cast_signed())
            .ok_or_else(|| refused(&name, io::ErrorKind::InvalidData.into()))?;
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                unwind(pid);
                return Err(refused(&name, error.into()));
            }
        };
        Ok(Launched {
            child: Child {
                pid,
                pidfd: PidFd::Plain(pidfd),
                reaped: false,
                leaves_group: cmd.leftovers_policy() == Leftovers::Leave,
                run_dir: None,
                dir: Arc::clone(&self.dir),
            },
            program: name,
            messaging: cmd.messaging_options().cloned(),
            timeout: cmd.time_limit(),
            leftovers: cmd.leftovers_policy(),
            cpu_limit: limit(cmd, Resource::CpuSeconds).map(Duration::from_secs),
            file_limit: limit(cmd, Resource::FileSize).is_some(),
            ends: channels.ours,
            started_at,
            started,
            max_rss_before,
        })
    }

    /// To the user that the child runs as. Gives whether there is anything in it for the child to
    /// open, so that it must be able to get there.
    fn give_run_dir(&self, cmd: &Cmd, run_dir: &RunDir) -> io::Result<bool> {
        let own = rustix::process::geteuid().as_raw();
        let Some(user) = cmd.user_id().filter(|user| *user != own) else {
            return Ok(false);
        };
        let failed = |error: io::Error| {
            because(
                format_args!("cannot become user {user} and give it its own directory"),
                &error,
            )
        };
        let given = run_dir.give_to(user, cmd.group_id()).map_err(failed)?;
        self.dir.let_users_pass().map_err(failed)?;
        Ok(given)
    }

    fn set_environment(&self, command: &mut Command, cmd: &Cmd, ours: &ChildEnvironment) {
        let environment = cmd.environment();
        if environment.is_cleared() {
            command.env_clear();
        }
        for name in RESERVED {
            command.env_remove(name);
        }
        for (name, value) in environment.changes() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.envs(ours.write());
        let inherited: Option<OsString> = std::env::var_os(PROCESSION_TREE);
        let tag = TreeTag::append(inherited.as_deref(), self.dir.id(), self.id, 0);
        command.env(PROCESSION_TREE, tag);
    }
}

/// The program itself, or with limits the shell that becomes it.
fn command(cmd: &Cmd, program: &std::path::Path) -> io::Result<Command> {
    let limits = cmd.limits_to_set();
    if limits.is_empty() {
        let mut command = Command::new(program);
        command.arg0(cmd.program());
        return Ok(command);
    }
    let script = limits::script(limits, program, cmd.user_id())?;
    let mut command = Command::new(limits::SHELL);
    command.arg("-c").arg(script).arg(program);
    Ok(command)
}

fn limit(cmd: &Cmd, resource: Resource) -> Option<u64> {
    let mut limits = cmd.limits();
    limits.find_map(|(known, limit)| (known == resource).then_some(limit))
}

/// Runs a user's code: a panic is a failure in words.
fn guarded<T>(code: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Err(match words {
            Some(words) => format!("it panicked: {words}"),
            None => "it panicked".to_owned(),
        })
    })
}

/// `posix_spawn(3)` does not tell a missing directory from a missing program.
fn check_directory(dir: &std::path::Path) -> io::Result<()> {
    let named = |error| {
        because(
            format_args!("its current directory {}", dir.display()),
            &error,
        )
    };
    let metadata = std::fs::metadata(dir).map_err(named)?;
    if !metadata.is_dir() {
        return Err(named(io::ErrorKind::NotADirectory.into()));
    }
    Ok(())
}

/// Ends a child that could not be taken charge of. It is ours and was not reaped, so its number is
/// still its own.
fn unwind(pid: Pid) {
    let _ = kill_process_group(pid, Signal::KILL.into());
    while let Err(rustix::io::Errno::INTR) =
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
    {}
}

/// Charge of a running child: whoever drops it before it was reaped kills and reaps it.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: PidFd,
    reaped: bool,
    /// Its group is not to be killed with it.
    leaves_group: bool,
    run_dir: Option<RunDir>,
    /// Goes after the run directory that is in it.
    dir: Arc<ManagerDir>,
}

/// The one descriptor for the process: made on a thread without a runtime, then watched by it.
#[derive(Debug)]
enum PidFd {
    Plain(OwnedFd),
    Watched(AsyncFd<OwnedFd>),
    Gone,
}

impl PidFd {
    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Plain(fd) => Ok(fd.as_fd()),
            Self::Watched(fd) => Ok(fd.get_ref().as_fd()),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Gives the descriptor back, once the exit is past.
    pub(crate) fn close(&mut self) {
        if self.reaped {
            self.pidfd = PidFd::Gone;
        }
    }

    /// Whoever ends it means its group too, also if that was to be left.
    pub(crate) fn take_group_along(&mut self) {
        self.leaves_group = false;
    }

    /// What a hunt starts from, until it is reaped.
    pub(crate) fn root(&self) -> Option<Root> {
        if self.reaped {
            return None;
        }
        Some(Root::of(self.pid))
    }

    /// Sends it a signal; `false` once it has been reaped.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        if self.reaped {
            return Ok(false);
        }
        match pidfd_send_signal(self.pidfd.fd()?, signal.into()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts watching for the exit.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        if let PidFd::Plain(fd) = std::mem::replace(&mut self.pidfd, PidFd::Gone) {
            match os::watch(fd, Interest::READABLE) {
                Ok(fd) => self.pidfd = PidFd::Watched(fd),
                Err((fd, error)) => {
                    self.pidfd = PidFd::Plain(fd);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Resolves when it has exited and was reaped, with what the kernel says of it; without where
    /// something else has reaped it. Cancel safe.
    pub(crate) async fn exited(&mut self) -> Option<os::Reaped> {
        loop {
            let PidFd::Watched(fd) = &self.pidfd else {
                return None;
            };
            let Ok(mut ready) = fd.readable().await else {
                return None;
            };
            ready.clear_ready();
            match self.try_reap() {
                Ok(None) => {}
                Ok(reaped) => return reaped,
                Err(error) => {
                    tracing::warn!(pid = self.pid(), %error, "the exit status of a process is lost: something else in this program has reaped it");
                    return None;
                }
            }
        }
    }

    /// SIGKILL to the whole group. Nothing is sent once the child was reaped: from then on its
    /// number may be somebody else's.
    pub(crate) fn kill_group(&self) {
        if self.reaped {
            return;
        }
        // The group is there as long as its leader is, also as a zombie.
        if let Err(error) = kill_process_group(self.pid, Signal::KILL.into())
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = self.pid(), %error, "cannot kill a process group");
        }
    }

    /// Reaps it if it has exited. What is left of its group is killed first, while its number
    /// cannot be reused.
    fn try_reap(&mut self) -> io::Result<Option<os::Reaped>> {
        if self.reaped || !self.has_exited() {
            return Ok(None);
        }
        if !self.leaves_group {
            self.kill_group();
        }
        let result = self.pidfd.fd().and_then(|fd| os::reap(fd, false));
        // Where it was reaped behind our back there is nothing left to signal either.
        self.reaped = !matches!(result, Ok(None));
        result
    }

    /// Whether it is a zombie; or not there at all, which reaping then tells.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Ok(fd) = self.pidfd.fd() else { return true };
        !matches!(waitid(WaitId::PidFd(fd), options), Ok(None))
    }

    pub(crate) fn take_run_dir(&mut self) -> Option<RunDir> {
        self.run_dir.take()
    }
}

impl Drop for Child {
    /// The runtime went away, or the task panicked. Killing is done here, since the program may end
    /// before another thread runs; reaping may take a moment, and gets a thread.
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.kill_group();
        self.reaped = true;
        let pidfd = match std::mem::replace(&mut self.pidfd, PidFd::Gone) {
            PidFd::Plain(fd) => fd,
            PidFd::Watched(fd) => fd.into_inner(),
            PidFd::Gone => return,
        };
        let (run_dir, dir) = (self.run_dir.take(), Arc::clone(&self.dir));
        let reaper = std::thread::Builder::new().name("procession-reaper".into());
        let _ = reaper.spawn(move || {
            let _ = os::reap(pidfd.as_fd(), true);
            drop(run_dir);
            drop(dir);
        });
    }
}
