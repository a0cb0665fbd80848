//! From the system's reason to an error that names the thing and the remedy.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::SpawnProcessError;

/// The system refused `program`, or something that it needs.
pub(super) fn refused(program: &str, source: io::Error) -> SpawnProcessError {
    let program = program.to_owned();
    match limit(&source) {
        Some(limit) => SpawnProcessError::ResourceLimit {
            program,
            limit,
            source,
        },
        None => SpawnProcessError::CannotSpawnProcess { program, source },
    }
}

/// The run directory, or a file in it, could not be made.
pub(super) fn no_file(program: &str, path: PathBuf, source: io::Error) -> SpawnProcessError {
    match limit(&source) {
        Some(limit) => SpawnProcessError::ResourceLimit {
            program: program.to_owned(),
            limit,
            source,
        },
        None => SpawnProcessError::CannotCreateProcessWorkingDir { path, source },
    }
}

/// A named pipe could not be made or opened.
pub(super) fn no_pipe(program: &str, path: &Path, source: io::Error) -> SpawnProcessError {
    match limit(&source) {
        Some(limit) => SpawnProcessError::ResourceLimit {
            program: program.to_owned(),
            limit,
            source,
        },
        None => SpawnProcessError::CannotCreateNamedPipe {
            path: path.to_owned(),
            source,
        },
    }
}

/// Puts words before the system's, and keeps the kind.
pub(super) fn because(reason: impl std::fmt::Display, source: &io::Error) -> io::Error {
    io::Error::new(source.kind(), format!("{reason}: {source}"))
}

/// Which limit the error speaks of, what it is now, and how to raise it.
fn limit(error: &io::Error) -> Option<String> {
    let now = |resource| match getrlimit(resource).current {
        Some(limit) => limit.to_string(),
        None => "unlimited".to_owned(),
    };
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(format!(
            "this process has as many open files as it may (RLIMIT_NOFILE is {}): raise it with `ulimit -n` or setrlimit(2)",
            now(Resource::Nofile)
        )),
        Errno::NFILE => Some(
            "the system has as many open files as it may: raise the sysctl fs.file-max".to_owned(),
        ),
        Errno::AGAIN => Some(format!(
            "no more processes may be started: raise RLIMIT_NPROC (now {}) with `ulimit -u`, the pids limit of the control group, or the sysctl kernel.threads-max",
            now(Resource::Nproc)
        )),
        Errno::NOMEM => Some("the system has no memory for another process".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_its_remedy() {
        for (errno, words) in [
            (libc::EMFILE, "RLIMIT_NOFILE is "),
            (libc::ENFILE, "fs.file-max"),
            (libc::EAGAIN, "RLIMIT_NPROC (now "),
            (libc::ENOMEM, "memory"),
        ] {
            let error = refused("tool", io::Error::from_raw_os_error(errno));
            assert!(matches!(error, SpawnProcessError::ResourceLimit { .. }));
            let text = error.to_string();
            assert!(text.contains("tool") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn any_other_reason_keeps_the_program_and_its_words() {
        let error = refused("tool", io::Error::from_raw_os_error(libc::ENOENT));
        assert!(matches!(
            error,
            SpawnProcessError::CannotSpawnProcess { .. }
        ));
        let text = error.to_string();
        assert!(
            text.contains("tool") && text.contains("No such file"),
            "{text}"
        );
    }
}
