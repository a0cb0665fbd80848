//! `long_line BYTES` writes `before`, a line of that many bytes, and `after`, as lines on standard
//! output.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        let mut left: usize = std::env::args()
            .nth(1)
            .ok_or("usage: long_line BYTES")?
            .parse()?;
        let mut output = io::stdout().lock();
        output.write_all(b"before\n")?;
        let part = [b'x'; 16 * 1024];
        while left > 0 {
            let now = left.min(part.len());
            output.write_all(&part[..now])?;
            left -= now;
        }
        output.write_all(b"\nafter\n")?;
        output.flush()?;
        Ok::<(), Box<dyn Error>>(())
    })
}
