//! An SDK child that also prints to its standard output, as any program may by accident; sends
//! `message` and reports on standard error what `data_dir` says.

use std::io::{self, Write};
use std::process::ExitCode;

use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        let parent = procession_child::connect()?;
        writeln!(io::stdout(), "stray line")?;
        io::stdout().flush()?;
        parent.send("message")?;
        writeln!(io::stdout(), "another stray line")?;
        writeln!(io::stderr(), "data_dir {}", parent.data_dir().display())?;
        while parent.receive()?.is_some() {}
        Ok(())
    })
}
