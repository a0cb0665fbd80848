//! How far a start has come, and whether it is still waited for.
//!
//! A start may hang where nothing can break it off: on a file system that does not answer, in a
//! user's code. Its thread is then left to itself, and whoever waits goes on:
//!
//! ```text
//!  job:     step ──► step ──► … ──► done
//!             │        │
//!  waiter:    └────────┴──at the bound──► given up: the next step fails, and what was started is undone
//! ```

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::SpawnProcessError;

/// A step of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Wait,
    Directory,
    Prepare,
    Look,
    Open,
    Run,
}

impl Step {
    const ALL: [Self; 6] = [
        Self::Wait,
        Self::Directory,
        Self::Prepare,
        Self::Look,
        Self::Open,
        Self::Run,
    ];

    /// After "while".
    fn words(self) -> &'static str {
        match self {
            Self::Wait => {
                "it waited for its turn (other starts hang, or the sweep of the working directory does)"
            }
            Self::Directory => "its run directory was being made",
            Self::Prepare => "it was being prepared (`Runnable::bootstrap_cmd`)",
            Self::Look => "its program and its current directory were being looked for",
            Self::Open => "its files and pipes were being opened",
            Self::Run => "its program was being run",
        }
    }
}

/// After all steps; nothing follows either.
const DONE: u8 = 254;
const GIVEN_UP: u8 = 255;

#[derive(Debug)]
pub(crate) struct Progress {
    state: AtomicU8,
    program: OnceLock<String>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(Step::Wait as u8),
            program: OnceLock::new(),
        }
    }

    /// The job begins this step. Fails where nobody waits for it any more.
    pub(super) fn step(&self, step: Step) -> Result<(), SpawnProcessError> {
        if self.advance(step as u8) {
            Ok(())
        } else {
            Err(SpawnProcessError::ManagerCommunicationError)
        }
    }

    /// The job begins to look for its program, whose name is known from now on.
    pub(super) fn look_for(&self, program: &str) -> Result<(), SpawnProcessError> {
        let _ = self.program.set(program.to_owned());
        self.step(Step::Look)
    }

    /// The job has come to its end, and may say so again. False where nobody waits for it any more.
    #[must_use]
    pub(crate) fn done(&self) -> bool {
        self.advance(DONE)
    }

    fn advance(&self, to: u8) -> bool {
        let next = |now| (now != GIVEN_UP).then_some(to);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.state.fetch_update(set, fetch, next).is_ok()
    }

    /// Nobody waits for it any more: gives the program and what hung. `None` where it has come to
    /// its end.
    pub(crate) fn give_up(&self) -> Option<(String, &'static str)> {
        let next = |now| (now != DONE).then_some(GIVEN_UP);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        let before = self.state.fetch_update(set, fetch, next).ok()?;
        let step = Step::ALL.get(usize::from(before)).copied();
        let program = self.program.get().map_or("a process", String::as_str);
        Some((program.to_owned(), step.unwrap_or(Step::Wait).words()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_takes_no_further_step() {
        for step in Step::ALL {
            let progress = Progress::new();
            progress.look_for("tool").expect("waited for");
            progress.step(step).expect("waited for");
            let (program, words) = progress.give_up().expect("not done");
            assert_eq!((program.as_str(), words), ("tool", step.words()));
            progress.step(Step::Run).expect_err("given up");
            assert!(!progress.done());
        }
    }

    #[test]
    fn what_is_done_cannot_be_given_up() {
        let progress = Progress::new();
        progress.step(Step::Run).expect("waited for");
        assert!(progress.done());
        assert_eq!(progress.give_up(), None);
    }
}
