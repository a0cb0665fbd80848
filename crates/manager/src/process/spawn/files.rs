//! Opening the files that a user names for a child's standard streams, without waiting for anybody.
//!
//! To open a FIFO is to wait for its other side, and that may never come: fifo(7). A terminal line
//! may wait for its carrier: termios(3), `CLOCAL`. So all are opened with `O_NONBLOCK`, which is
//! taken back before the child has them, since it expects streams that block. A dead file system
//! still holds up its thread; see [`Progress`](super::progress::Progress).

use std::fs::{File, OpenOptions, metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_setfl, fstatfs};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, tee};

/// The file system of the pipes that have no name, from the kernel's `include/uapi/linux/magic.h`.
const PIPEFS_MAGIC: i128 = 0x5049_5045;

/// Opens a file for a child to read.
pub(super) fn input(path: &Path) -> io::Result<File> {
    let file = open(path, OpenOptions::new().read(true), OFlags::empty())?;
    if file.metadata()?.file_type().is_fifo() && !has_writer(&file)? {
        return Err(no_peer("writing"));
    }
    Ok(file)
}

/// Opens a file for a child to write; it is made where it is not there, and emptied where it is.
pub(super) fn output(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o666);
    // So that stdout and stderr may go to one file.
    open(path, &mut options, OFlags::APPEND).map_err(|error| {
        let is_fifo = || metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
        match Errno::from_io_error(&error) {
            Some(Errno::NXIO) if is_fifo() => no_peer("reading"),
            _ => error,
        }
    })
}

fn open(path: &Path, options: &mut OpenOptions, flags: OFlags) -> io::Result<File> {
    let mut open = |more| {
        let flags = (flags | OFlags::NOCTTY | more).bits();
        options.custom_flags(flags.cast_signed()).open(path)
    };
    match open(OFlags::NONBLOCK) {
        Ok(file) => {
            fcntl_setfl(&file, flags)?;
            Ok(file)
        }
        // Somebody has a lease on it, and is asked to give it back: the kernel bounds that,
        // `F_SETLEASE` in fcntl(2).
        Err(error)
            if error.kind() == io::ErrorKind::WouldBlock
                && metadata(path).is_ok_and(|metadata| metadata.is_file()) =>
        {
            open(OFlags::empty())
        }
        Err(error) => Err(error),
    }
}

/// Whether somebody writes a FIFO, or has left something in it. One without a name has its end
/// otherwise.
fn has_writer(fifo: &File) -> io::Result<bool> {
    if i128::from(fstatfs(fifo)?.f_type) == PIPEFS_MAGIC {
        return Ok(true);
    }
    let (_reader, writer) = io::pipe()?;
    // A copy: what is in it stays there. Without a writer this is the end, otherwise there is
    // nothing yet.
    match tee(fifo, writer, 1, SpliceFlags::NONBLOCK) {
        Ok(count) => Ok(count > 0),
        Err(Errno::AGAIN) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn no_peer(side: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::WouldBlock,
        format!(
            "it is a FIFO that nobody has open for {side}, and a start waits for nobody: open its other end first, or both ends (`O_RDWR`, fifo(7))"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    use rustix::fs::{CWD, Mode, fcntl_getfl, mkfifoat};

    fn fifo() -> (tempfile::TempDir, std::path::PathBuf) {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("fifo");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("made");
        (root, path)
    }

    fn blocks(file: &File) -> bool {
        !fcntl_getfl(file).expect("told").contains(OFlags::NONBLOCK)
    }

    fn both(path: &Path) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(path).expect("opened")
    }

    #[test]
    fn a_fifo_without_its_other_side_is_refused_at_once() {
        let (_root, path) = fifo();
        for (result, side) in [(input(&path), "writing"), (output(&path), "reading")] {
            let error = result.expect_err("nobody is there");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            assert!(error.to_string().contains(side), "{error}");
        }
    }

    #[test]
    fn a_fifo_with_its_other_side_is_opened_and_blocks() {
        let (_root, path) = fifo();
        let mut other = both(&path);
        let mut reader = input(&path).expect("silent, but there");
        assert!(blocks(&reader));
        let mut writer = output(&path).expect("there");
        assert!(blocks(&writer));
        writer.write_all(b"1").expect("written");
        // Looked at, and not taken.
        assert!(has_writer(&reader).expect("told"));
        let mut byte = [0];
        reader.read_exact(&mut byte).expect("read");
        other.write_all(b"2").expect("written");
        drop((writer, other));
        assert!(has_writer(&reader).expect("told"), "something is left");
        reader.read_exact(&mut byte).expect("read");
        assert!(!has_writer(&reader).expect("told"));
    }

    #[test]
    fn what_has_no_other_side_is_opened_as_ever() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("file");
        let mut file = output(&path).expect("made");
        assert_eq!(
            fcntl_getfl(&file).expect("told") & (OFlags::APPEND | OFlags::NONBLOCK),
            OFlags::APPEND
        );
        file.write_all(b"text").expect("written");
        assert!(blocks(&input(&path).expect("there")));
        output(&path).expect("there");
        assert_eq!(std::fs::read(&path).expect("there"), b"", "emptied");
        for device in ["/dev/null", "/dev/zero"] {
            assert!(blocks(&input(device.as_ref()).expect("there")));
            assert!(blocks(&output(device.as_ref()).expect("there")));
        }
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(writer);
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let mut ended = input(name.as_ref()).expect("at its end");
        assert_eq!(ended.read(&mut [0]).expect("read"), 0);
    }
}
