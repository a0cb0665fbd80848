//! Signals to the parent: an orderly shutdown on Ctrl-C and SIGTERM.

use std::io;

use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

use crate::error::ManagerError;
use crate::handle::ProcessManagerHandle;
use crate::signal::Signal;

/// Turns SIGINT (Ctrl-C) and SIGTERM to this program into a
/// [`shutdown`](ProcessManagerHandle::shutdown) of a manager; a second signal forces it.
///
/// Children do not get the terminal's Ctrl-C: each leads a process group of its own, and a terminal
/// sends its signals to the group in the foreground (`termios(3)`, `setpgid(2)`). So it is this program
/// that must stop them, and here they get the stop that they understand.
///
/// From [`listen`](Self::listen) on these signals no longer end this program by themselves, also when
/// this value has been dropped (`tokio::signal::unix`).
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use procession_manager::{Cmd, ProcessManager, ShutdownSignals};
///
/// let signals = ShutdownSignals::listen()?;
/// let manager = ProcessManager::in_temp()?;
/// manager.spawn(Cmd::new("worker")).await?;
/// let signal = signals.shut_down(&manager).await?;
/// println!("ended by {signal}");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "signals that nobody waits for do nothing"]
pub struct ShutdownSignals {
    interrupt: Listener,
    terminate: Listener,
}

impl ShutdownSignals {
    /// Takes over SIGINT and SIGTERM. What comes from here on is not missed.
    ///
    /// # Errors
    ///
    /// The system's, if a handler cannot be installed.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O enabled.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the first signal, and shuts the manager down, with its grace. Another signal meanwhile
    /// kills what is left. Resolves with the first signal, when the shutdown is complete.
    ///
    /// Cancel safe: a shutdown that has begun goes on.
    ///
    /// # Errors
    ///
    /// [`ManagerError`]: the manager had been shut down before by somebody else.
    pub async fn shut_down(
        mut self,
        manager: &ProcessManagerHandle,
    ) -> Result<Signal, ManagerError> {
        let first = self.next().await;
        let orderly = manager.shutdown();
        tokio::pin!(orderly);
        tokio::select! {
            done = &mut orderly => done?,
            _ = self.next() => {
                let forced = manager.shutdown_with(std::time::Duration::ZERO);
                let (done, _) = tokio::join!(orderly, forced);
                done?;
            }
        }
        Ok(first)
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::INT,
            Some(()) = self.terminate.recv() => Signal::TERM,
            else => std::future::pending().await,
        }
    }
}
