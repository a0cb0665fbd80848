//! Leaves a process of another group behind that holds its standard output and error open, prints
//! that process's pid on both as its only lines, and exits.
//!
//! The process left behind ends by itself after a minute, for the case that a test fails.

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        if env::args().nth(1).as_deref() == Some("hold") {
            thread::park_timeout(Duration::from_mins(1));
            return Ok(());
        }
        let mut command = Command::new(env::current_exe()?);
        let left_behind = command
            .arg("hold")
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()?;
        writeln!(io::stdout(), "{}", left_behind.id())?;
        writeln!(io::stderr(), "{}", left_behind.id())?;
        Ok::<(), Box<dyn Error>>(())
    })
}
