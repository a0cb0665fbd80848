//! Writes bytes to its message output as they are, with no library's help, then waits for the end of
//! its input and exits. The arguments, in order: `hex:BYTES` writes these bytes, `zeros:N` writes N
//! zero bytes, `text:TEXT` writes the text, `exit` exits at once.
//!
//! A write that fails is printed to standard error, and ends the writing.

use std::env;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use procession_tests::{fixture_main, say};

fn main() -> ExitCode {
    fixture_main(|| {
        // Opened in the order in which the parent's side expects it: output first, for its hello.
        let mut output = output()?;
        for argument in env::args().skip(1) {
            let (verb, value) = argument.split_once(':').unwrap_or((&argument, ""));
            let written = match verb {
                "hex" => output.write_all(&from_hex(value)?),
                "text" => output.write_all(value.as_bytes()),
                "zeros" => write_zeros(&mut output, value.parse()?),
                "exit" => return Ok(()),
                _ => return Err(format!("no such argument: {argument}").into()),
            };
            if let Err(error) = written {
                say(&format!("cannot write: {error}"));
                break;
            }
        }
        let mut sink = Vec::new();
        input()?.read_to_end(&mut sink)?;
        Ok(())
    })
}

fn output() -> Result<File, Box<dyn Error>> {
    Ok(match env::var("MESSAGE_OUTPUT")?.as_str() {
        "stdout" => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        _ => OpenOptions::new()
            .write(true)
            .open(env::var("OUTPUT_PIPE")?)?,
    })
}

fn input() -> Result<Box<dyn Read>, Box<dyn Error>> {
    Ok(match env::var("MESSAGE_INPUT")?.as_str() {
        "stdin" => Box::new(io::stdin()),
        "pipe" => Box::new(File::open(env::var("INPUT_PIPE")?)?),
        _ => Box::new(io::empty()),
    })
}

fn write_zeros(output: &mut File, mut left: usize) -> io::Result<()> {
    let zeros = [0; 16 * 1024];
    while left > 0 {
        let now = left.min(zeros.len());
        output.write_all(&zeros[..now])?;
        left -= now;
    }
    Ok(())
}

fn from_hex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits: String = text
        .chars()
        .filter(|digit| !digit.is_whitespace())
        .collect();
    let pairs = digits.as_bytes().chunks(2);
    Ok(pairs
        .map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16))
        .collect::<Result<_, _>>()?)
}
