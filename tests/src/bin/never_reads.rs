//! Never reads its input. It sends the message `here`, then lives until it is killed.
//!
//! Over frames it says hello without the credit feature, so that only the full pipe holds senders up;
//! it opens its input, so that the pipe can fill.

use std::env;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::process::{self, ExitCode};

use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        let mut output = output()?;
        let _input = match env::var_os("INPUT_PIPE") {
            Some(path) => Some(File::open(path)?),
            None => None,
        };
        if env::var("MESSAGE_FRAMING")? == "lines" {
            output.write_all(b"here\n")?;
        } else {
            output.write_all(&hello_without_features())?;
            output.write_all(b"\0\0\0\x04\0here")?;
        }
        loop {
            std::thread::park();
        }
    })
}

fn output() -> Result<File, Box<dyn Error>> {
    Ok(match env::var_os("OUTPUT_PIPE") {
        Some(path) => OpenOptions::new().write(true).open(path)?,
        None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
    })
}

fn hello_without_features() -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 20, 0x10];
    frame.extend_from_slice(b"procession");
    frame.extend_from_slice(&0x0100_u16.to_be_bytes());
    frame.extend_from_slice(&0_u32.to_be_bytes());
    frame.extend_from_slice(&process::id().to_be_bytes());
    frame
}
