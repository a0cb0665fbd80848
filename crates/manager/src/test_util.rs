//! A child in memory, for tests of a program that has children.
//!
//! [`ScriptedChild`] takes the place of a [`Cmd`] in a spawn: the same options (messaging, readiness,
//! deadlines, handlers) and, instead of a program, an async function that plays the child. All else is as
//! with a process, with the same handles, errors and events, and nothing is started: so a test can pause
//! time (`#[tokio::test(start_paused = true)]`), and waits for half a minute in no time at all.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use procession_manager::test_util::{ChildEvent, ScriptedChild};
//! use procession_manager::{Cmd, Framing, Messaging, ProcessManager, RequestError};
//!
//! let manager = ProcessManager::in_temp()?;
//! let cmd = Cmd::new("worker").messaging(Messaging::named_pipes().framing(Framing::Frames));
//! let worker = ScriptedChild::new(cmd, |mut child| async move {
//!     loop {
//!         match child.next().await {
//!             ChildEvent::Request { id, message } if message == "slow" => {
//!                 tokio::time::sleep(Duration::from_secs(3600)).await;
//!                 child.reply(id, "at last").await;
//!             }
//!             ChildEvent::Request { id, message } => child.reply(id, message).await,
//!             ChildEvent::Stop | ChildEvent::InputEnded => return 0,
//!             _ => {}
//!         }
//!     }
//! });
//! let worker = manager.spawn_with_handle(worker).await?;
//! assert_eq!(worker.request("quick").await?, "quick");
//! let late = worker.request("slow").await.unwrap_err(); // 30 s, at once
//! assert!(matches!(late, RequestError::TimedOut { .. }));
//! # manager.shutdown().await?;
//! # Ok(()) }
//! ```
//!
//! What there is not: a run directory, environment variables, logs, a tree of processes. Its pid is told as
//! 0. Spawning waits for nothing; the manager itself has threads as ever, and its start and its shutdown
//! wait for those.

#[cfg(test)]
mod extremes;
mod side;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::{Duration, SystemTime};

use procession_wire::Framing;
use tokio::sync::{mpsc, oneshot};

pub use side::{ChildEvent, ChildSide};

use crate::error::SpawnProcessError;
use crate::messaging::memory;
use crate::model::{Cmd, Messaging, Runnable};
use crate::os::Reaped;
use crate::process::spawn::{Attached, Launched, OurEnd, OurEnds};
use crate::process::task::Startup;
use crate::signal::Signal;

/// Signals that may wait for a script.
const SIGNALS: usize = 16;

type Play = dyn Fn(ChildSide) -> Pin<Box<dyn Future<Output = i32> + Send>> + Send + Sync;

/// Reads a datagram of the notification socket (`sd_notify(3)`), and returns the number of things
/// that it tells: for the fuzz targets.
#[doc(hidden)]
pub fn read_notification(datagram: &[u8]) -> usize {
    crate::process::notify::read(datagram)
}

/// A child that is played by a function. See the [module](self).
#[derive(Clone)]
pub struct ScriptedChild {
    cmd: Cmd,
    play: Arc<Play>,
    greets: bool,
    handles_signals: bool,
    outlives_kill: bool,
}

impl ScriptedChild {
    /// A child with the options of this command, which is not run. `play` is called at each spawn, with the
    /// child's side of its channel; what it returns is the exit code.
    ///
    /// Over frames, hello and credit are sent before, pings are answered, and what it sends waits for the
    /// parent's credit.
    pub fn new<F, Fut>(cmd: Cmd, play: F) -> Self
    where
        F: Fn(ChildSide) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = i32> + Send + 'static,
    {
        Self {
            cmd,
            play: Arc::new(move |side| Box::pin(play(side))),
            greets: true,
            handles_signals: false,
            outlives_kill: false,
        }
    }

    /// Sends no hello and no credit: for tests of what becomes of such a child. [`ChildSide::write`] sends
    /// any bytes.
    pub fn without_hello(mut self) -> Self {
        self.greets = false;
        self
    }

    /// Signals but SIGKILL and SIGSTOP are [events](ChildEvent::Signal) for the script. Otherwise each ends
    /// it, as the default action of most does.
    pub fn handles_signals(mut self) -> Self {
        self.handles_signals = true;
        self
    }

    /// No signal ends it, not even SIGKILL, as what waits in the kernel is not ended. It ends with
    /// its script, or when it is let go.
    #[cfg(test)]
    pub(crate) fn outlives_kill(mut self) -> Self {
        self.outlives_kill = true;
        self
    }
}

impl fmt::Debug for ScriptedChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedChild")
            .field("cmd", &self.cmd)
            .finish_non_exhaustive()
    }
}

impl Runnable for ScriptedChild {
    fn bootstrap_cmd(&self, _process_dir: &Path) -> Result<Cmd, String> {
        Err("a scripted child cannot be run as a program".to_owned())
    }

    fn scripted(&self) -> Option<Launch> {
        Some(Launch(self.clone()))
    }
}

/// A scripted child that is to be started.
#[doc(hidden)]
#[derive(Debug)]
pub struct Launch(ScriptedChild);

impl Launch {
    pub(crate) fn launch(self) -> Result<Launched, SpawnProcessError> {
        let Self(child) = self;
        let cmd = &child.cmd;
        let program = cmd.program().display().to_string();
        cmd.validate()
            .map_err(|source| SpawnProcessError::InvalidConfiguration {
                program: program.clone(),
                source,
            })?;
        let messaging = cmd.messaging_options().cloned();
        let mut ends = OurEnds::default();
        let (mut input, mut output) = (None, None);
        if let Some(messaging) = &messaging {
            if messaging.input().is_some() {
                let (ours, theirs) = memory::pipe();
                ends.input = Some(OurEnd::Write(ours));
                input = Some(theirs);
            }
            if messaging.output().is_some() {
                let (theirs, ours) = memory::pipe();
                ends.output = Some(OurEnd::Read(ours));
                output = Some(theirs);
            }
        }
        let (signals, received) = mpsc::channel(SIGNALS);
        let framing = messaging
            .as_ref()
            .map_or(Framing::Lines, Messaging::chosen_framing);
        let limit = messaging.as_ref().map_or(0, Messaging::largest_message);
        let mut side = ChildSide::new(framing, limit, input, output, received);
        if child.greets {
            side.greet();
        }
        let play = Arc::clone(&child.play);
        let mut scripted = Scripted::start(signals, child.handles_signals, play(side));
        scripted.outlives_kill = child.outlives_kill;
        Ok(Launched {
            child: Attached::Scripted(scripted),
            program,
            messaging,
            log_limit: None,
            log_hook: None,
            handler: cmd.handler().cloned(),
            startup: Startup {
                readiness: cmd.readiness().cloned(),
                deadline: cmd.start_time_limit(),
                socket: None,
            },
            supervision: cmd.supervision().copied(),
            health_check: cmd.health().cloned(),
            timeout: cmd.time_limit(),
            leftovers: cmd.leftovers_policy(),
            cpu_limit: None,
            file_limit: false,
            ends,
            started_at: SystemTime::now(),
            started: tokio::time::Instant::now().into_std(),
            max_rss_before: 0,
        })
    }
}

/// Charge of a scripted child.
#[derive(Debug)]
pub(crate) struct Scripted {
    /// For the script.
    signals: Option<mpsc::Sender<Signal>>,
    /// Ends it.
    end: mpsc::Sender<Signal>,
    exit: oneshot::Receiver<ExitStatus>,
    outlives_kill: bool,
}

impl Scripted {
    fn start(
        signals: mpsc::Sender<Signal>,
        handles_signals: bool,
        play: impl Future<Output = i32> + Send + 'static,
    ) -> Self {
        let (end, mut ended) = mpsc::channel(1);
        let (tell, exit) = oneshot::channel();
        tokio::spawn(async move {
            let raw = tokio::select! {
                biased;
                Some(signal) = ended.recv() => Signal::as_raw(signal),
                code = play => (code & 0xff) << 8,
            };
            // What it held has been dropped: its pipes are closed before its exit is seen.
            let _ = tell.send(ExitStatus::from_raw(raw));
        });
        Self {
            signals: handles_signals.then_some(signals),
            end,
            exit,
            outlives_kill: false,
        }
    }

    /// Ready with its exit, once. A script that panics has the code 101.
    pub(crate) fn poll_exited(&mut self, cx: &mut task::Context<'_>) -> Poll<Reaped> {
        let status = ready!(Pin::new(&mut self.exit).poll(cx));
        Poll::Ready(Reaped {
            status: status.unwrap_or_else(|_| ExitStatus::from_raw(101 << 8)),
            user_time: Duration::ZERO,
            system_time: Duration::ZERO,
            max_rss: 0,
        })
    }

    /// `false` once it has exited.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let handled = self.signals.as_ref().filter(|_| signal != Signal::KILL);
        let sent = match handled {
            _ if self.outlives_kill => return !self.end.is_closed(),
            _ if signal == Signal::STOP || signal == Signal::CONT => return !self.end.is_closed(),
            Some(signals) => signals.try_send(signal).is_ok(),
            None => self.end.try_send(signal).is_ok(),
        };
        sent || !self.end.is_closed()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.end.try_send(Signal::KILL);
    }
}
