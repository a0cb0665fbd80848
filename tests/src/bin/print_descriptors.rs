//! Prints, on standard error, a line for each of its descriptors: number, `blocking` or `nonblocking`,
//! and what it points to. Then it waits for the end of its standard input.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use procession_tests::fixture_main;
use rustix::fs::{OFlags, fcntl_getfl};

fn main() -> ExitCode {
    fixture_main(|| {
        let flags = [
            fcntl_getfl(io::stdin())?,
            fcntl_getfl(io::stdout())?,
            fcntl_getfl(io::stderr())?,
        ];
        let mut lines = Vec::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            let number: usize = entry.file_name().to_string_lossy().parse()?;
            let target = fs::read_link(entry.path())?;
            let mode = match flags.get(number) {
                Some(flags) if flags.contains(OFlags::NONBLOCK) => "nonblocking",
                Some(_) => "blocking",
                None => "other",
            };
            if !target.starts_with("/proc") {
                lines.push(format!("{number} {mode} {}", target.display()));
            }
        }
        lines.push("end".to_owned());
        writeln!(io::stderr(), "{}", lines.join("\n"))?;
        io::stdin().read_to_end(&mut Vec::new())?;
        Ok::<(), Box<dyn Error>>(())
    })
}
