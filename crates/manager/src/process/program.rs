//! Which file a program's name means.
//!
//! A bare name is looked up on the *child's* `PATH`, and the child is started by the absolute path
//! that was found. The standard library, given a bare name and a changed environment, forks
//! instead of using `posix_spawn(3)`, and a parent with much memory then starts children a
//! hundred times slower.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// What `execvp(3)` uses where there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The absolute path of `program`, given the child's `PATH`.
///
/// As `execvp(3)` does: a name with a slash is taken as it is (relative to this process's current
/// directory), any other is the first executable file on the path. Where one was found but may not
/// be executed the error is `PermissionDenied`, else `NotFound`. Opens nothing.
pub(crate) fn resolve(program: &OsStr, path: Option<&OsStr>) -> io::Result<PathBuf> {
    if program.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the program's name is empty",
        ));
    }
    if program.as_bytes().contains(&b'/') {
        let absolute = std::path::absolute(Path::new(program))?;
        return executable(&absolute).map(|()| absolute);
    }
    let default = OsString::from(DEFAULT_PATH);
    let mut refused = None;
    for folder in std::env::split_paths(path.unwrap_or(&default)) {
        let candidate = folder.join(program);
        match executable(&candidate) {
            Ok(()) => return std::path::absolute(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no such program on the child's PATH",
        )
    }))
}

pub(super) fn executable(path: &Path) -> io::Result<()> {
    access(path, Access::EXEC_OK)?;
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_file() {
        return Ok(());
    }
    // execve(2) says EACCES; to open one of the latter may be to wait for ever.
    let words = if kind.is_dir() {
        "it is a directory"
    } else {
        "it is no file, but a FIFO, a socket or a device"
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn looks_along_the_childs_path_and_skips_what_cannot_run() {
        let root = tempfile::tempdir().expect("a directory");
        let (first, second) = (root.path().join("a"), root.path().join("b"));
        for (folder, mode) in [(&first, 0o644), (&second, 0o755)] {
            fs::create_dir(folder).expect("made");
            fs::write(folder.join("tool"), "#!/bin/sh\n").expect("written");
            fs::set_permissions(folder.join("tool"), fs::Permissions::from_mode(mode))
                .expect("set");
        }
        fs::create_dir(first.join("folder")).expect("made");
        let path = std::env::join_paths([&first, &second]).expect("joined");
        assert_eq!(
            resolve("tool".as_ref(), Some(&path)).expect("found"),
            second.join("tool")
        );
        let only_first =
            resolve("tool".as_ref(), Some(first.as_os_str())).expect_err("not executable");
        assert_eq!(only_first.kind(), io::ErrorKind::PermissionDenied);
        let folder = resolve("folder".as_ref(), Some(&path)).expect_err("a directory");
        assert_eq!(folder.kind(), io::ErrorKind::PermissionDenied);
        let fifo = first.join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o755);
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).expect("made");
        fs::write(second.join("fifo"), "#!/bin/sh\n").expect("written");
        let refused = resolve("fifo".as_ref(), Some(&path)).expect_err("a FIFO");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let refused = resolve(fifo.as_os_str(), None).expect_err("a FIFO");
        assert!(refused.to_string().contains("FIFO"), "{refused}");
        fs::set_permissions(second.join("fifo"), fs::Permissions::from_mode(0o755)).expect("set");
        assert_eq!(
            resolve("fifo".as_ref(), Some(&path)).expect("passed over"),
            second.join("fifo")
        );
        let missing = resolve("no-such-tool".as_ref(), Some(&path)).expect_err("not there");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            resolve("".as_ref(), None).expect_err("empty").kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn without_a_path_the_systems_default_is_used() {
        assert!(resolve("sh".as_ref(), None).expect("found").is_absolute());
    }
}
