//! A parent without root's rights: `parent_without_rights WORKING_DIRECTORY` prints the error with
//! which the manager refuses the directory, and fails if it does not.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use procession_manager::ProcessManager;
use procession_tests::{become_nobody, fixture_main};

fn main() -> ExitCode {
    fixture_main(|| {
        let directory: PathBuf = env::args_os().nth(1).ok_or("usage: … DIRECTORY")?.into();
        become_nobody()?;
        let runtime = tokio::runtime::Runtime::new()?;
        let _entered = runtime.enter();
        match ProcessManager::spawn(&directory) {
            Ok(_) => Err("the manager took the directory".into()),
            Err(error) => Ok(writeln!(io::stdout(), "{:?}: {error}", error.kind())?),
        }
    })
}
