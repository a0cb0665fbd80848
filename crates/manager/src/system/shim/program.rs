//! The helper as a program, and the ways to run it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// Empty where the build could not compile it.
static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/helper"));

/// The ways to run the helper, tried in this order until one works: a memory file, a file in a
/// directory, a path that the user names.
#[derive(Debug, Clone, Default)]
pub(crate) struct HelperProgram {
    /// Where a file may be made, if the memory file is refused; it is removed at once.
    pub(crate) directory: Option<PathBuf>,
    /// A copy of the helper that the user has put there.
    pub(crate) named: Option<PathBuf>,
    /// Ways that tests take away.
    #[cfg(test)]
    pub(crate) without_memory_file: bool,
}

impl HelperProgram {
    /// Calls `start` with the path of the program, for each way until one succeeds.
    pub(super) fn run(&self, start: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut problems = Vec::new();
        let mut tried = |way: String, result: io::Result<()>| match result {
            Ok(()) => true,
            Err(error) => {
                problems.push(format!("{way}: {error}"));
                false
            }
        };
        if !BYTES.is_empty() {
            if self.may_use_memory_file()
                && tried("from memory".to_owned(), run_from_memory(&start))
            {
                return Ok(());
            }
            if let Some(directory) = &self.directory
                && tried(
                    format!("in {}", directory.display()),
                    run_from_file(directory, &start),
                )
            {
                return Ok(());
            }
        }
        if let Some(path) = &self.named
            && tried(format!("at {}", path.display()), start(path))
        {
            return Ok(());
        }
        if BYTES.is_empty() {
            problems.push("this build has none".to_owned());
        }
        Err(io::Error::other(format!(
            "cannot run the helper that starts children ({}); allow one of these, or name a copy of it \
             with `ProcessManagerBuilder::helper`",
            problems.join("; ")
        )))
    }

    #[cfg(test)]
    fn may_use_memory_file(&self) -> bool {
        !self.without_memory_file
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests take this way away")]
    fn may_use_memory_file(&self) -> bool {
        true
    }
}

/// `memfd_create(2)`: the file is sealed, so that it runs as it was written. `MFD_EXEC` is there
/// since Linux 6.3; before it memory files can be executed anyway.
fn run_from_memory(start: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create("procession-helper", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create("procession-helper", flags)?,
        other => other?,
    };
    let mut file = File::from(file);
    file.write_all(BYTES)?;
    fcntl_add_seals(
        file.as_fd(),
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    // The path is looked up before the new program closes the descriptor.
    start(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))
}

/// The file is gone again when the program runs, or does not.
fn run_from_file(directory: &Path, start: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    const TEXT_BUSY: i32 = libc::ETXTBSY;
    let path = directory.join(format!(".helper-{}", uuid::Uuid::new_v4().simple()));
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&path)?;
        file.write_all(BYTES)
    };
    let mut result = write();
    if result.is_ok() {
        // A program that another thread starts just now has our descriptor until it runs.
        for _ in 0..100 {
            result = start(&path);
            match &result {
                Err(error) if error.raw_os_error() == Some(TEXT_BUSY) => std::thread::yield_now(),
                _ => break,
            }
        }
    }
    let _ = fs::remove_file(&path);
    result
}

#[cfg(test)]
pub(super) fn bytes() -> &'static [u8] {
    BYTES
}
