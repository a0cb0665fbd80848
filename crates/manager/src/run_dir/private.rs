//! Modes and owners of what we make: exactly those that are asked for, whatever the umask of this
//! process, and never through a symbolic link.
//!
//! A mode given to `mkdir(2)` and its like is only what the umask leaves of it. So it is set again on
//! the thing itself, which an `O_PATH` descriptor holds: the same for things that we could not open.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RawMode, Stat, Uid, chownat, fstat, mknodat,
    openat, statat,
};
use rustix::process::geteuid;

/// Makes a directory that is ours alone: it must not be there yet.
pub(super) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    set_mode(path, 0o700).inspect_err(|_| {
        // It was made a moment ago and holds nothing. That it has failed already is the news.
        let _ = fs::remove_dir(path);
    })
}

/// Makes a file of mode 0600 that must not be there yet, open for writing.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Makes a FIFO of mode 0600 that must not be there yet.
pub(crate) fn create_fifo(path: &Path) -> io::Result<()> {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    set_mode(path, 0o600)
}

/// Opens a file of ours for reading: a regular one, that belongs to this user and has no other name. Who
/// may write in its directory could have put a link, a pipe or a device in its place.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        // Opening a FIFO does not wait.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => replaced("a symbolic link"),
            _ => error,
        })?;
    let stat = fstat(&file)?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(replaced("no regular file"));
    }
    if !is_ours_alone(&stat) {
        return Err(replaced("not the file that was made"));
    }
    Ok(file)
}

fn replaced(by: &str) -> io::Error {
    let text = format!("it is {by}: something has replaced it, and it is not read");
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// A hard link to it could be to any file of ours.
fn is_ours_alone(stat: &Stat) -> bool {
    stat.st_uid == geteuid().as_raw() && stat.st_nlink <= 1
}

/// Sets the mode of what is at `path`, not of what a link there points to.
pub(super) fn set_mode(path: &Path, mode: RawMode) -> io::Result<()> {
    let now = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    if !FileType::from_raw_mode(now.st_mode).is_symlink() && now.st_mode & 0o7777 == mode {
        // As nearly always, and without a descriptor, which may be scarce.
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = openat(CWD, path, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&held)?.st_mode).is_symlink() {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    // fchmod(2) refuses such a descriptor; its name in /proc is the thing itself, proc_pid_fd(5).
    let name = format!("/proc/self/fd/{}", held.as_raw_fd());
    fs::set_permissions(name, Permissions::from_mode(mode))
}

/// Gives the directory at `path` and what is in it to another user, but for the files that are
/// `kept`. Gives whether there was anything in it for that user.
///
/// Only what is ours is given: something that a process has put there may be a hard link.
pub(super) fn give(path: &Path, user: u32, group: Option<u32>, kept: &[&str]) -> io::Result<bool> {
    let owner = Owner {
        user: Uid::from_raw(user),
        group: group.map(Gid::from_raw),
    };
    let dir = openat(CWD, path, DIRECTORY, Mode::empty())?;
    let given = give_content(&dir, owner, kept)?;
    // Last, so that the user cannot come in meanwhile.
    rustix::fs::fchown(&dir, Some(owner.user), owner.group)?;
    Ok(given)
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

#[derive(Clone, Copy)]
struct Owner {
    user: Uid,
    group: Option<Gid>,
}

fn give_content(dir: impl AsFd, owner: Owner, kept: &[&str]) -> io::Result<bool> {
    let mut given = false;
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if [&b"."[..], b".."].contains(&name.to_bytes())
            || kept.iter().any(|kept| kept.as_bytes() == name.to_bytes())
        {
            continue;
        }
        given = true;
        let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            let inner = openat(&dir, name, DIRECTORY, Mode::empty())?;
            give_content(&inner, owner, &[])?;
            rustix::fs::fchown(&inner, Some(owner.user), owner.group)?;
        } else if is_ours_alone(&stat) {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            chownat(&dir, name, Some(owner.user), owner.group, flags)?;
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn modes_are_those_asked_for_whatever_the_umask() {
        for umask in [0, 0o777] {
            let root = tempfile::tempdir().expect("a directory");
            let path = root.path().to_owned();
            // The umask of a thread of its own.
            std::thread::spawn(move || {
                crate::os::identity::set_thread_umask(umask).expect("allowed");
                private_dir(&path.join("dir")).expect("made");
                create_fifo(&path.join("dir/fifo")).expect("made");
                create_new(&path.join("dir/file")).expect("made");
            })
            .join()
            .expect("no panic");
            assert_eq!(mode(&root.path().join("dir")), 0o700);
            assert_eq!(mode(&root.path().join("dir/fifo")), 0o600);
            assert_eq!(mode(&root.path().join("dir/file")), 0o600);
        }
    }

    #[test]
    fn no_link_is_followed() {
        let root = tempfile::tempdir().expect("a directory");
        let (file, link) = (root.path().join("file"), root.path().join("link"));
        fs::write(&file, "text").expect("written");
        symlink(&file, &link).expect("linked");
        let before = mode(&file);
        set_mode(&link, 0o711).expect_err("a link");
        assert_eq!(mode(&file), before);
        create_new(&link).expect_err("there already");
        open_own(&link).expect_err("a link");
        open_own(&file).expect("a file of ours");
        fs::hard_link(&file, root.path().join("other")).expect("linked");
        open_own(&file).expect_err("has two names");
        open_own(root.path()).expect_err("a directory");
        create_fifo(&root.path().join("fifo")).expect("made");
        open_own(&root.path().join("fifo")).expect_err("a pipe, and it does not wait");
    }

    /// Ours given to ourselves, which needs no rights; what is not ours alone stays.
    #[test]
    fn what_is_given_is_found_and_links_stay() {
        let root = tempfile::tempdir().expect("a directory");
        let (user, dir) = (geteuid().as_raw(), root.path().join("dir"));
        private_dir(&dir).expect("made");
        assert!(!give(&dir, user, None, &["log"]).expect("given"));
        create_new(&dir.join("log")).expect("made");
        assert!(!give(&dir, user, None, &["log"]).expect("given"));
        private_dir(&dir.join("inner")).expect("made");
        create_new(&dir.join("inner/file")).expect("made");
        symlink("/no/such/target", dir.join("inner/link")).expect("linked");
        assert!(give(&dir, user, None, &["log"]).expect("given"));
        give(&dir.join("inner/link"), user, None, &[]).expect_err("a link");
    }

    #[test]
    fn as_root_another_user_gets_all_but_what_is_kept_or_has_another_name() {
        if !geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("dir");
        private_dir(&dir).expect("made");
        let outside = root.path().join("outside");
        for path in [&outside, &dir.join("log"), &dir.join("file")] {
            create_new(path).expect("made");
        }
        fs::hard_link(&outside, dir.join("hard")).expect("linked");
        symlink(&outside, dir.join("soft")).expect("linked");
        give(&dir, 65_534, Some(65_533), &["log"]).expect("given");
        let owner = |path: &Path| {
            let metadata = fs::symlink_metadata(path).expect("there");
            (metadata.uid(), metadata.gid())
        };
        for (path, expected) in [
            (&dir, 65_534),
            (&dir.join("file"), 65_534),
            (&dir.join("soft"), 65_534),
            (&dir.join("log"), 0),
            (&outside, 0),
        ] {
            assert_eq!(owner(path).0, expected, "{}", path.display());
        }
        assert_eq!(owner(&dir).1, 65_533);
    }
}
