//! Starting programs one after the other, and the clock around that.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Failure, runner::Sample};

/// What the hello may take: the start and end of an empty program, times the first, plus the second.
const ALLOWED: (f64, Duration) = (1.2, Duration::from_micros(500));

/// The kind of a hello, and what its body begins with.
const HELLO: (u8, &[u8]) = (0x10, b"procession");
/// A longer hello is none.
const LONGEST: usize = 1024;

/// From the start of each child until its hello has come through a pipe.
pub(super) fn hello(program: &Path, count: usize) -> Result<Sample, Failure> {
    let directory = tempfile::tempdir()?;
    let mut elapsed = Duration::ZERO;
    for _ in 0..count {
        let started = Instant::now();
        let mut child = Started(start(program, directory.path())?);
        let output = child.0.stdout.as_mut().ok_or("no standard output")?;
        read_hello(output)?;
        elapsed += started.elapsed();
        // The end of its input ends it, and the end of its output would fail its farewell.
        drop(child.0.stdin.take());
        if !child.0.wait()?.success() {
            return Err("the child ended badly".into());
        }
    }
    Ok(Sample::took(count, elapsed))
}

/// From the start of each program until it has ended and was reaped.
pub(super) fn empty(program: &Path, count: usize) -> Result<Sample, Failure> {
    Ok(Sample::took(count, time_of_empty(program, count)?))
}

/// What the hello is allowed to take, from the same empty program.
pub(super) fn allowance(program: &Path, count: usize) -> Result<Sample, Failure> {
    let (times, plus) = ALLOWED;
    let allowed = time_of_empty(program, count)?.mul_f64(times) + plus * u32::try_from(count)?;
    Ok(Sample::took(count, allowed))
}

fn time_of_empty(program: &Path, count: usize) -> Result<Duration, Failure> {
    let directory = tempfile::tempdir()?;
    let mut elapsed = Duration::ZERO;
    for _ in 0..count {
        let started = Instant::now();
        let mut child = Started(start(program, directory.path())?);
        let status = child.0.wait()?;
        elapsed += started.elapsed();
        if !status.success() {
            return Err("the empty program ended badly".into());
        }
    }
    Ok(elapsed)
}

/// With pipes and the environment that a manager gives, whether the program looks at them or not.
fn start(program: &Path, directory: &Path) -> Result<Child, Failure> {
    let child = Command::new(program)
        .env("PROCESS_DATA_DIR", directory)
        .env("MESSAGE_FRAMING", "frames/1")
        .env("MESSAGE_LIMIT", "16777216")
        .env("MESSAGE_INPUT", "stdin")
        .env("MESSAGE_OUTPUT", "stdout")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn read_hello(output: &mut impl Read) -> Result<(), Failure> {
    let mut header = [0; 5];
    output.read_exact(&mut header)?;
    let [a, b, c, d, kind] = header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if kind != HELLO.0 || length > LONGEST {
        return Err(format!("a frame of kind {kind} and {length} bytes is no hello").into());
    }
    let mut body = vec![0; length];
    output.read_exact(&mut body)?;
    if !body.starts_with(HELLO.1) {
        return Err("the hello is of another protocol".into());
    }
    Ok(())
}

/// Killed and reaped, unless that was done.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_told_from_other_frames() {
        let hello = b"\0\0\0\x14\x10procession\x01\0\0\0\0\x01\0\0\x12\x67";
        read_hello(&mut &hello[..]).unwrap();
        read_hello(&mut &hello[..20]).unwrap_err();
        read_hello(&mut &b"\0\0\0\x01\0a"[..]).unwrap_err();
        read_hello(&mut &b"\0\0\0\x14\x10procassion\x01\0\0\0\0\x01\0\0\x12\x67"[..]).unwrap_err();
    }
}
