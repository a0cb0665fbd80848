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
//! on `posix_spawn(3)`; as another user by a thread that was made for it ([`identity`]), and with
//! limits or in a cgroup by a shell that becomes the program ([`limits`]). Files are opened without
//! waiting for their other sides ([`files`]), and what hangs all the same is given up
//! ([`progress`]). Our descriptors are close-on-exec from the moment they exist.

mod attached;
mod channels;
mod child;
mod files;
mod identity;
mod limits;
mod progress;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use procession_wire::env::{PROCESSION_TREE, RESERVED};

use procession_wire::{Escaped, TreeTag};
use rustix::process::{Pid, PidfdFlags, kill_process_group, pidfd_open};

use super::notify::NotifySocket;
use super::program;
use super::spawn_error::{because, no_file, refused};
use super::task::Startup;
use crate::clock;
use crate::containment::{self, Tag, Tree, WAIT_TO_BE_MOVED, extinguish};
use crate::error::SpawnProcessError;
use crate::file_events::FileEvents;
use crate::handle::HealthCheck;
use crate::id::ProcessId;
use crate::logs::LogHook;
use crate::messaging::answering::RequestHandler;
use crate::model::{Cmd, Leftovers, Logging, Messaging, Readiness, Resource, Runnable};
use crate::os;
use crate::run_dir::{ManagerDir, RunDir};
use crate::signal::Signal;
use crate::supervision::Supervision;

pub(crate) use attached::Attached;
use channels::Channels;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use channels::OurEnd;
pub(crate) use channels::{LogEnd, LogEndRoute, OurEnds};
pub(crate) use child::Child;
use child::PidFd;
pub(crate) use progress::Progress;
use progress::Step;

/// The variables of the notification protocol, `sd_notify(3)` and `sd_watchdog_enabled(3)`. Without
/// `WATCHDOG_PID`, which nobody can know before the start, the latter is for whoever has it.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";

/// What is to be started.
pub(crate) struct Launch {
    pub(crate) id: ProcessId,
    /// Which of its runs, counted from 0.
    pub(crate) run: u64,
    pub(crate) runnable: Box<dyn Runnable>,
    pub(crate) dir: Arc<ManagerDir>,
    pub(crate) files: Arc<FileEvents>,
    /// Take stdout and stderr into memory, where the `Cmd` gives them no other use.
    pub(crate) capture: bool,
    /// Shared with whoever waits for it.
    pub(crate) progress: Arc<Progress>,
}

/// A child that runs, and our ends of its pipes.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) child: Attached,
    pub(crate) program: String,
    pub(crate) messaging: Option<Messaging>,
    pub(crate) log_limit: Option<u64>,
    pub(crate) log_hook: Option<LogHook>,
    pub(crate) handler: Option<RequestHandler>,
    pub(crate) startup: Startup,
    /// How it is kept up.
    pub(crate) supervision: Option<Supervision>,
    pub(crate) health_check: Option<HealthCheck>,
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
    /// Starts it. On failure nothing is left. Gives back what says what to run, where it may be run again.
    pub(crate) fn run(
        self,
    ) -> (
        Option<Box<dyn Runnable>>,
        Result<Launched, SpawnProcessError>,
    ) {
        let result = self.try_run();
        let supervised = |launched: &Launched| launched.supervision.is_some();
        let again = self.run > 0 || result.as_ref().is_ok_and(supervised);
        (again.then_some(self.runnable), result)
    }

    /// Its name among those of the manager's: its id, and the number of its run from the second on.
    fn name(&self) -> String {
        match self.run {
            0 => self.id.to_string(),
            run => format!("{}.{run}", self.id),
        }
    }

    fn try_run(&self) -> Result<Launched, SpawnProcessError> {
        self.progress.step(Step::Directory)?;
        let run_dir = self
            .dir
            .run_dir(self.name())
            .map_err(|(path, error)| no_file("a process", path, error))?;
        let result = self
            .bootstrap(&run_dir)
            .and_then(|cmd| self.start(&cmd, &run_dir))
            .and_then(|launched| self.hand_over(launched));
        match result {
            Ok(mut launched) => {
                launched.child.give_run_dir(run_dir);
                Ok(launched)
            }
            Err(error) => {
                let clean = || self.runnable.clean_after_fail(run_dir.path());
                if let Err(words) = guarded(clean) {
                    tracing::warn!(process = %self.id, error = %Escaped::new(&words), "cleaning up after a failed start failed");
                }
                Err(error)
            }
        }
    }

    /// Hands over the launched process; kills it, with all that it has started meanwhile, where
    /// nobody waits for it any more.
    fn hand_over(&self, launched: Launched) -> Result<Launched, SpawnProcessError> {
        if self.progress.done() {
            return Ok(launched);
        }
        let tree = Tree {
            tag: Tag::Process(self.dir.id(), self.id),
            root: launched.child.root(),
            known: Vec::new(),
        };
        extinguish(tree, launched.child.group().cloned());
        Err(SpawnProcessError::ManagerCommunicationError)
    }

    fn bootstrap(&self, run_dir: &RunDir) -> Result<Cmd, SpawnProcessError> {
        self.progress.step(Step::Prepare)?;
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
        self.progress.look_for(&name)?;
        let inherited_path = std::env::var_os("PATH");
        let path = cmd.environment().resolve("PATH", inherited_path);
        let program = program::resolve(cmd.program(), path.as_deref())
            .map_err(|error| refused(&name, error))?;
        if let Some(dir) = cmd.working_directory() {
            check_directory(dir).map_err(|error| refused(&name, error))?;
        }
        self.progress.step(Step::Open)?;
        let channels = channels::open(cmd, run_dir.path(), &self.files, self.capture)?;

        let group = self.dir.group(self.name());
        let group = group.map_err(|error| refused(&name, error))?;
        let mut command =
            command(cmd, &program, group.is_some()).map_err(|error| refused(&name, error))?;
        command.args(cmd.arguments()).process_group(0);
        if let Some(dir) = cmd.working_directory() {
            command.current_dir(dir);
        }
        self.set_environment(&mut command, cmd, &channels);
        let [stdin, stdout, stderr] = channels.child;
        command.stdin(stdin).stdout(stdout).stderr(stderr);

        let for_child = self
            .give_run_dir(cmd, run_dir)
            .map_err(|error| refused(&name, error))?;
        // The socket lies beside the run directory.
        let by_path = channels.notify.as_ref().is_some_and(NotifySocket::is_path);
        let needs = identity::Needs {
            program: &program,
            current_dir: cmd.working_directory(),
            run_dir: (for_child || by_path).then(|| run_dir.path()),
        };
        self.progress.step(Step::Run)?;
        let max_rss_before = os::own_max_rss();
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let spawned = identity::spawn(&mut command, cmd.identity(), &needs);
        // The child's ends: ours would keep its pipes from ever showing their end.
        drop(command);
        drop(channels.starting);
        let spawned = spawned.map_err(|error| refused(&name, why_not_executed(error)))?;
        let pid = Pid::from_raw(spawned.id().cast_signed())
            .ok_or_else(|| refused(&name, io::ErrorKind::InvalidData.into()))?;
        containment::started(pid);
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                unwind(pid);
                return Err(refused(&name, error.into()));
            }
        };
        if let Some(group) = &group
            && let Err(error) = group.take_in(pid, pidfd.as_fd())
        {
            unwind(pid);
            return Err(refused(&name, error));
        }
        Ok(Launched {
            child: Attached::Process(Child {
                pid,
                pidfd: PidFd::Plain(pidfd),
                since: started,
                reaped: false,
                group,
                leaves_group: cmd.leftovers_policy() == Leftovers::Leave,
                run_dir: None,
                dir: Arc::clone(&self.dir),
            }),
            program: name,
            messaging: cmd.messaging_options().cloned(),
            log_limit: cmd.logging_options().and_then(Logging::size_limit),
            log_hook: cmd.hook().cloned(),
            handler: cmd.handler().cloned(),
            startup: Startup {
                readiness: cmd.readiness().cloned(),
                deadline: cmd.start_time_limit(),
                socket: channels.notify,
            },
            supervision: cmd.supervision().copied(),
            health_check: cmd.health().cloned(),
            timeout: cmd.time_limit(),
            leftovers: cmd.leftovers_policy(),
            cpu_limit: limit(cmd, Resource::CpuSeconds).map(Duration::from_secs),
            file_limit: limit(cmd, Resource::FileSize).is_some(),
            ends: channels.ours,
            started_at,
            started,
            // It may have grown while the child was being started.
            max_rss_before: max_rss_before.max(os::own_max_rss()),
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

    fn set_environment(&self, command: &mut Command, cmd: &Cmd, ours: &Channels) {
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
        command.envs(ours.environment.write());
        if let Some(socket) = &ours.notify {
            command.env(NOTIFY_SOCKET, socket.name());
        }
        if let Some(Readiness::Notify {
            watchdog: Some(time),
        }) = cmd.readiness()
        {
            let micros = (*time).min(clock::LONGEST).as_micros();
            command.env(WATCHDOG_USEC, micros.to_string());
        }
        let inherited: Option<OsString> = std::env::var_os(PROCESSION_TREE);
        let run = u32::try_from(self.run).unwrap_or(u32::MAX);
        let tag = TreeTag::append(inherited.as_deref(), self.dir.id(), self.id, run);
        command.env(PROCESSION_TREE, tag);
    }
}

/// The program itself, or with limits or a cgroup the shell that becomes it.
fn command(cmd: &Cmd, program: &std::path::Path, in_cgroup: bool) -> io::Result<Command> {
    let limits = cmd.limits_to_set();
    if limits.is_empty() && !in_cgroup {
        let mut command = Command::new(program);
        command.arg0(cmd.program());
        return Ok(command);
    }
    let mut script = limits::script(limits, program, cmd.user_id())?;
    if in_cgroup {
        script.insert_str(0, WAIT_TO_BE_MOVED);
    }
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

/// In words what `execve(2)` has said of a program that is there.
fn why_not_executed(error: io::Error) -> io::Error {
    let words = match error.raw_os_error() {
        Some(libc::ENOENT) => "it is there, but the interpreter that it names is not",
        Some(libc::ENOEXEC) => "it is neither a program nor a script with a `#!` line",
        _ => return error,
    };
    because(words, &error)
}

/// `posix_spawn(3)` does not tell a missing directory from a missing program.
fn check_directory(dir: &std::path::Path) -> io::Result<()> {
    let named = |error| {
        because(
            format_args!("its current directory {}", Escaped::new(dir)),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A process whose start was given up is killed, and its tree too.
    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_killed() {
        let dir = Arc::new(ManagerDir::temporary().expect("a directory"));
        let script = "setsid sleep 1000 & exec sleep 1000";
        let launch = Launch {
            id: ProcessId::random(),
            run: 0,
            runnable: Box::new(Cmd::new("sh").args(["-c", script])),
            dir: Arc::clone(&dir),
            files: Arc::new(FileEvents::new(tokio::runtime::Handle::current())),
            capture: false,
            progress: Arc::new(Progress::new()),
        };
        let run_dir = dir.run_dir(launch.name()).expect("made");
        let cmd = launch.bootstrap(&run_dir).expect("prepared");
        let launched = launch.start(&cmd, &run_dir).expect("started");
        let pidfd = launched.child.root().expect("not reaped");
        let (program, doing) = launch.progress.give_up().expect("not done");
        assert_eq!(program, "sh");
        assert!(doing.contains("run"), "{doing}");
        launch.hand_over(launched).expect_err("given up");
        while pidfd.is_unreaped() {
            std::thread::yield_now();
        }
        let tree = Tree {
            tag: Tag::Process(dir.id(), launch.id),
            root: None,
            known: Vec::new(),
        };
        assert_eq!(extinguish(tree, None).killed, 0, "nothing is left");
    }
}
