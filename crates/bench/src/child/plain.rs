//! Children without a library: buffered reads and writes, and framing by hand.

use std::io::{self, BufRead, BufReader, BufWriter, Write};

use super::{Job, Order, pipe::Pipe};
use crate::Failure;

/// The size of a write of a flood, and of a read.
const BUFFER: usize = 64 * 1024;

/// Cuts bytes into messages.
pub(super) trait Framing {
    /// Reads the next message into `message`; `false` at the end of input.
    fn read(&self, input: &mut impl BufRead, message: &mut Vec<u8>) -> io::Result<bool>;
    /// Writes one message.
    fn write(&self, output: &mut impl Write, message: &[u8]) -> io::Result<()>;
}

/// A length of four bytes, big-endian, then the message.
pub(super) struct Frames;

/// The message, then a newline.
pub(super) struct Lines;

impl Framing for Frames {
    fn read(&self, input: &mut impl BufRead, message: &mut Vec<u8>) -> io::Result<bool> {
        if input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        message.resize(u32::from_be_bytes(length) as usize, 0);
        input.read_exact(message)?;
        Ok(true)
    }

    fn write(&self, output: &mut impl Write, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        output.write_all(&length.to_be_bytes())?;
        output.write_all(message)
    }
}

impl Framing for Lines {
    fn read(&self, input: &mut impl BufRead, message: &mut Vec<u8>) -> io::Result<bool> {
        message.clear();
        input.read_until(b'\n', message)?;
        Ok(message.pop().is_some())
    }

    fn write(&self, output: &mut impl Write, message: &[u8]) -> io::Result<()> {
        output.write_all(message)?;
        output.write_all(b"\n")
    }
}

/// Does `job` until the input ends.
pub(super) fn run(framing: &impl Framing, job: Job) -> Result<(), Failure> {
    let mut input = BufReader::with_capacity(BUFFER, Pipe::input()?);
    let mut output = BufWriter::with_capacity(BUFFER, Pipe::output()?);
    let mut message = Vec::new();
    while framing.read(&mut input, &mut message)? {
        match job {
            Job::Echo => framing.write(&mut output, &message)?,
            Job::Flood => {
                let order = Order::from_message(&message)?;
                message.clear();
                message.resize(order.size, b'x');
                for _ in 0..order.count {
                    framing.write(&mut output, &message)?;
                }
            }
            Job::Drain => {
                let order = Order::from_message(&message)?;
                let mut bytes = 0;
                for _ in 0..order.count {
                    if !framing.read(&mut input, &mut message)? {
                        return Err("the parent ended early".into());
                    }
                    bytes += message.len();
                }
                framing.write(&mut output, bytes.to_string().as_bytes())?;
            }
            Job::Serve | Job::Work => return Err("nothing but the SDK has requests".into()),
        }
        output.flush()?;
    }
    Ok(())
}
