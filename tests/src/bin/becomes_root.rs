//! Becomes root for good, where its file has the set-user-ID bit and is root's, and then another
//! program: `becomes_root PROGRAM ARGUMENTS…`.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use procession_tests::fixture_main;
use rustix::process::Uid;
use rustix::thread::set_thread_uid;

fn main() -> ExitCode {
    fixture_main(|| {
        let mut arguments = env::args_os().skip(1);
        let program = arguments.next().ok_or("usage: … PROGRAM ARGUMENTS…")?;
        // With the effective user alone, whoever started it could still signal it: kill(2).
        set_thread_uid(Uid::ROOT)?;
        Err(Command::new(program).args(arguments).exec().into())
    })
}
