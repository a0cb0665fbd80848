//! The harness of the integration tests: real managers, real children, and the checks that every
//! test ends with.
//!
//! A test runs inside [`checked`], which gives it a manager in a directory of its own. When the body
//! has returned, the manager is shut down and the harness looks for what should be gone:
//!
//! ```text
//!  body ──► shutdown ──► no process carries the directory's name in its environment
//!                        nothing of a process is left in the working directory
//!                        no descriptor of ours points into it
//!                        none of our children is a zombie
//!                        when no other test runs: as many descriptors as before the first
//! ```
//!
//! Nothing here or in the tests waits for a time to pass. What a test waits for is an event, with a
//! bound ([`Within`]), or a fact outside of the program ([`eventually`]); either says what was missing
//! when the bound is reached. Tests that measure time, memory or descriptors of the whole process are
//! in the `serial_*` binaries, where [`alone`] keeps them from each other.
//!
//! The fixture children are the binaries of this package, found by [`fixture!`].
#![forbid(unsafe_code)]

pub mod groups;
pub mod logs;
pub mod payload;
pub mod procfs;
pub mod programs;
pub mod scene;
pub mod workers;

mod bound;
mod channels;
mod checked;
mod serial;
mod settled;
mod tally;
mod unprivileged;

pub use bound::{Within, ci_factor, eventually, eventually_blocking};
pub use channels::all_channels;
pub use checked::{Checked, checked, checked_for, run_directories};
pub use serial::alone;
pub use tally::Tally;
pub use unprivileged::become_nobody;

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The absolute path of a fixture child, by its name.
#[macro_export]
macro_rules! fixture {
    ($name:literal) => {
        env!(concat!("CARGO_BIN_EXE_", $name))
    };
}

/// Runs the body of a fixture child. An error is printed to standard error, and the exit code is 2.
pub fn fixture_main(body: impl FnOnce() -> Result<(), Box<dyn Error>>) -> ExitCode {
    match body() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("fixture failed: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Prints a line to the real standard error, past the capture of the test harness: a test that was
/// left out must be seen even where everything passes.
pub fn say(line: &str) {
    // Nobody to tell where standard error is closed.
    drop(writeln!(io::stderr(), "{line}"));
}
