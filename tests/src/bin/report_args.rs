//! Stands in for an interpreter: prints the name by which it was called, each argument but the
//! script's path (of that only the extension), and the content of the script, as lines.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        let mut arguments = env::args();
        let called = arguments.next().unwrap_or_default();
        let mut output = io::stdout().lock();
        writeln!(output, "called {}", file_name(&called))?;
        for argument in arguments {
            let path = Path::new(&argument);
            if path.is_file() {
                writeln!(output, "script .{}", extension(path))?;
                for line in fs::read_to_string(path)?.lines() {
                    writeln!(output, "content {line}")?;
                }
            } else {
                writeln!(output, "argument {argument}")?;
            }
        }
        Ok::<(), Box<dyn Error>>(())
    })
}

fn file_name(path: &str) -> String {
    Path::new(path)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn extension(path: &Path) -> String {
    path.extension()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
