//! The lock on a working directory, which belongs to one manager at a time.
//!
//! The lock keeps a second manager out. The lock on each manager's own directory keeps a second
//! manager from what the first one has: that lock holds also where a cleaner of temporary files has
//! removed the name of this one.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{LOCK_FILE, naming};

/// The lock on a working directory: an open file with `flock(2)`.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    pub(super) fn take(root: &Path) -> io::Result<Self> {
        loop {
            let taken = Self::try_take(root.join(LOCK_FILE));
            // Where there is none, the manager before us has just removed it.
            if let Some(lock) = taken.map_err(|error| naming("working directory", root, &error))? {
                return Ok(lock);
            }
        }
    }

    fn try_take(path: PathBuf) -> io::Result<Option<Self>> {
        let Some(file) = open(&path)? else {
            return Ok(None);
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error != Errno::WOULDBLOCK {
                return error.into();
            }
            let text =
                "another process manager is using it; give each manager a directory of its own";
            io::Error::new(io::ErrorKind::ResourceBusy, text)
        })?;
        // A umask may have left less of the mode.
        file.set_permissions(Permissions::from_mode(0o600))?;
        let lock = Self { path, file };
        // The manager before us removes the file while it holds the lock: what we have locked
        // counts only if it is still the file of that name.
        Ok(lock.has_its_name()?.then_some(lock))
    }

    fn has_its_name(&self) -> io::Result<bool> {
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let locked = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(named) => Ok(identity(&named) == identity(&locked)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Opens the lock file, or makes it. `None` if it came or went meanwhile.
fn open(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    // Opening a FIFO does not wait.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    options.read(true).write(true).custom_flags(flags);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match options.create_new(true).mode(0o600).open(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
                other => other?,
            }
        }
        // What is in the way says more than that it cannot be opened.
        Err(error) => {
            check(path, &fs::symlink_metadata(path)?)?;
            return Err(naming("lock file", path, &error));
        }
    };
    let metadata = file.metadata()?;
    check(path, &metadata)?;
    Ok((metadata.nlink() == 1).then_some(file))
}

/// Refuses what is not a file of this user alone: who owns it could unlock or replace it at any
/// time.
fn check(path: &Path, file: &Metadata) -> io::Result<()> {
    let fault = if !file.is_file() {
        "is no regular file".to_owned()
    } else if file.uid() != geteuid().as_raw() {
        format!("belongs to user {}", file.uid())
    } else if file.nlink() > 1 {
        "has another name besides".to_owned()
    } else {
        return Ok(());
    };
    let text = format!(
        "its lock file {} {fault}: remove it, or use a directory of your own",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is held; the file closes after this. Where a cleaner has removed the name,
        // it may be another manager's by now.
        if self.has_its_name().unwrap_or(false)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(file = %self.path.display(), %error, "cannot remove the lock file");
        }
    }
}
