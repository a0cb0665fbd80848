//! The lock on a working directory, which belongs to one manager at a time.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use super::{LOCK_FILE, naming};

/// The lock on a working directory: an open file with `flock(2)`.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    pub(super) fn take(root: &Path) -> io::Result<Self> {
        let path = root.join(LOCK_FILE);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
                .map_err(|error| naming("working directory", root, &error))?;
            if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                return Err(if error == rustix::io::Errno::WOULDBLOCK {
                    io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        format!(
                            "working directory {}: another process manager is using it; give each manager a directory of its own",
                            root.display()
                        ),
                    )
                } else {
                    naming("working directory", root, &error.into())
                });
            }
            // A umask may have left less of the mode.
            let own = file.metadata()?.uid() == geteuid().as_raw();
            if own {
                file.set_permissions(Permissions::from_mode(0o600))
                    .map_err(|error| naming("working directory", root, &error))?;
            }
            // The manager before us removes the file while it holds the lock: what we have locked
            // counts only if it is still the file of that name.
            let locked = file.metadata()?;
            match fs::symlink_metadata(&path) {
                Ok(named) if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) => {
                    return Ok(Self { path, _file: file });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(naming("working directory", root, &error)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is held; the file closes after this.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(file = %self.path.display(), %error, "cannot remove the lock file");
        }
    }
}
