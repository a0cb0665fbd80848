//! Removes a directory with all that is in it, whatever a hostile process has made there.
//!
//! ```text
//!  the directory ── its files are unlinked, its empty directories removed
//!        │
//!        └─ each other directory ──rename──► the directory itself, under the next fresh name: the queue
//!                                                 │
//!            the first of the queue is opened, and its content treated alike ◄┘
//! ```
//!
//! So nothing is ever deeper than one level below the directory: there is no stack and no `..`. At
//! most two directories are open, this one included, whatever the depth, and every name is looked
//! up in an open directory, so that no path is ever too long. Each directory is moved once, and the
//! queue has no memory of its own: its names are counted, and the directory holds them. Where the
//! mode of a directory shuts an ordinary user out, a third descriptor is open for a moment to set
//! it.
//!
//! No link is followed and no mount point crossed: `rmdir(2)` says `EBUSY` of a mount point before
//! anything is looked at, and a directory on another device is left. What cannot be removed is left
//! where it is and counted. Rounds go on while there is less from one to the next, so that what
//! others add or rename meanwhile is found too, and end at a deadline, so that nobody keeps this
//! busy for ever. A system call that the kernel does not return from, as on a dead network mount,
//! is beyond it.
//!
//! This file uses `core`, the constants of `libc`, and no allocation: behind [`System`] it can live
//! in a program without a standard library.

use core::ffi::CStr;

/// An error number, `errno(3)`.
pub(crate) type Errno = i32;

/// The system calls that removal needs. Every name is a single one, looked up in the open
/// directory.
pub(crate) trait System {
    /// An open directory, closed when dropped.
    type Directory;

    /// Opens a directory for reading, never through a symbolic link: `openat(2)` with
    /// `O_DIRECTORY`, `O_NOFOLLOW` and `O_CLOEXEC`.
    fn open(&self, parent: &Self::Directory, name: &CStr) -> Result<Self::Directory, Errno>;
    /// Returns the device and the mode of an open directory: `fstat(2)`.
    fn status(&self, directory: &Self::Directory) -> Result<Status, Errno>;
    /// Reads the next entries, 0 bytes at the end: `getdents64(2)`.
    fn read(&self, directory: &Self::Directory, entries: &mut [u8]) -> Result<usize, Errno>;
    /// Goes back to the first entry: `lseek(2)`.
    fn rewind(&self, directory: &Self::Directory) -> Result<(), Errno>;
    /// Removes anything but a directory: `unlinkat(2)`.
    fn unlink(&self, parent: &Self::Directory, name: &CStr) -> Result<(), Errno>;
    /// Removes an empty directory: `unlinkat(2)` with `AT_REMOVEDIR`.
    fn remove_directory(&self, parent: &Self::Directory, name: &CStr) -> Result<(), Errno>;
    /// Moves an entry: `renameat(2)`.
    fn rename(
        &self,
        from: (&Self::Directory, &CStr),
        to: (&Self::Directory, &CStr),
    ) -> Result<(), Errno>;
    /// Sets the mode of a directory to 0700, never through a symbolic link, and also where it
    /// cannot be opened for reading.
    fn make_accessible(&self, parent: &Self::Directory, name: &CStr) -> Result<(), Errno>;
    /// Returns the time since some moment in nanoseconds: `clock_gettime(2)`, one that never goes
    /// back.
    fn now(&self) -> u64;
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Status {
    pub(crate) device: u64,
    pub(crate) mode: u32,
}

/// How a removal is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// An entry of the directory that stays, and the directory with it: what tells whose it is.
    pub(crate) kept: Option<&'a CStr>,
    /// The time, by [`System::now`], at which it ends with [`libc::ETIMEDOUT`].
    pub(crate) deadline: u64,
    /// A number that nobody can guess, for the names in the queue.
    pub(crate) salt: u64,
}

/// The entries that a removal has left, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// The entries that were seen and could not be removed; more may be left where the time ran
    /// out.
    pub(crate) entries: u64,
    /// The reason of the first.
    pub(crate) error: Errno,
    name: Name,
}

impl Left {
    /// The name of the first, cut after 100 bytes; empty where no entry could be named.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name.bytes[..usize::from(self.name.len)]
    }

    fn of(name: &CStr, error: Errno) -> Self {
        let mut left = Self {
            entries: 1,
            error,
            name: Name {
                bytes: [0; LONGEST_NAME],
                len: 0,
            },
        };
        for (to, from) in left.name.bytes.iter_mut().zip(name.to_bytes()) {
            *to = *from;
            left.name.len += 1;
        }
        left
    }
}

/// Enough to tell names apart; an error is handed on by value.
const LONGEST_NAME: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    bytes: [u8; LONGEST_NAME],
    len: u8,
}

/// Removes what `name` is in `parent`, a directory or not. Nothing of this name is as good.
pub(crate) fn remove<S: System>(
    system: &S,
    parent: &S::Directory,
    name: &CStr,
    terms: Terms<'_>,
) -> Result<(), Left> {
    let failed = |error| Left::of(name, error);
    match system.remove_directory(parent, name) {
        Ok(()) | Err(libc::ENOENT) => return Ok(()),
        Err(libc::ENOTDIR) => match system.unlink(parent, name) {
            Ok(()) | Err(libc::ENOENT) => return Ok(()),
            Err(error) => return Err(failed(error)),
        },
        Err(libc::ENOTEMPTY | libc::EEXIST) => {}
        Err(error) => return Err(failed(error)),
    }
    match open(system, parent, name) {
        Ok(directory) => remove_open(system, &directory, (parent, name), terms),
        Err(libc::ENOENT) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Removes an open directory, which has this place, with all that is in it.
pub(crate) fn remove_open<S: System>(
    system: &S,
    directory: &S::Directory,
    (parent, name): (&S::Directory, &CStr),
    terms: Terms<'_>,
) -> Result<(), Left> {
    let failed = |error| Left::of(name, error);
    let status = system.status(directory).map_err(failed)?;
    admit(system, (parent, name), status);
    let mut removal = Removal {
        system,
        root: directory,
        device: status.device,
        terms,
        moved: 0,
        handled: 0,
        removed: 0,
        left: None,
    };
    loop {
        let before = removal.removed;
        removal.round()?;
        let left = if let Some(left) = removal.left.take() {
            left
        } else if terms.kept.is_some() {
            return Ok(());
        } else {
            match system.remove_directory(parent, name) {
                Ok(()) | Err(libc::ENOENT) => return Ok(()),
                Err(error @ (libc::ENOTEMPTY | libc::EEXIST)) => failed(error),
                Err(error) => return Err(failed(error)),
            }
        };
        if removal.removed == before {
            return Err(left);
        }
    }
}

/// Opens a directory, also one that nobody may read.
fn open<S: System>(system: &S, parent: &S::Directory, name: &CStr) -> Result<S::Directory, Errno> {
    match system.open(parent, name) {
        Err(libc::EACCES) => {
            system.make_accessible(parent, name)?;
            system.open(parent, name)
        }
        other => other,
    }
}

/// Sees to it that entries of a directory can be removed.
fn admit<S: System>(system: &S, (parent, name): (&S::Directory, &CStr), status: Status) {
    const ALL: u32 = 0o700;
    if status.mode & ALL != ALL {
        // Root needs no mode, and where this fails for others, so does what follows.
        let _ = system.make_accessible(parent, name);
    }
}

struct Removal<'a, S: System> {
    system: &'a S,
    root: &'a S::Directory,
    device: u64,
    terms: Terms<'a>,
    /// How many names of the queue were given, and how many of them were handled.
    moved: u64,
    handled: u64,
    /// How many entries are gone.
    removed: u64,
    /// The entries that this round has failed at.
    left: Option<Left>,
}

impl<S: System> Removal<'_, S> {
    /// Tries everything once. Fails at the deadline only.
    fn round(&mut self) -> Result<(), Left> {
        match self.system.rewind(self.root) {
            Ok(()) => self.content(self.root, true)?,
            Err(error) => self.fail(c"", error),
        }
        while self.handled < self.moved {
            let name = QueueName::new(self.terms.salt, self.handled);
            self.handled += 1;
            self.queued(name.as_c_str())?;
        }
        Ok(())
    }

    /// Handles a directory of the queue.
    fn queued(&mut self, name: &CStr) -> Result<(), Left> {
        self.check_time(name)?;
        let opened = open(self.system, self.root, name).and_then(|directory| {
            let status = self.system.status(&directory)?;
            if status.device != self.device {
                return Err(libc::EXDEV);
            }
            admit(self.system, (self.root, name), status);
            Ok(directory)
        });
        let directory = match opened {
            Ok(directory) => directory,
            // It was renamed by somebody else: where it is still ours, the next round finds it.
            Err(libc::ENOENT) => return Ok(()),
            // It was replaced, or the name was taken.
            Err(libc::ENOTDIR | libc::ELOOP) => return self.entry(self.root, name, false),
            Err(error) => {
                self.fail(name, error);
                return Ok(());
            }
        };
        let before = self.left.map_or(0, |left| left.entries);
        self.content(&directory, false)?;
        match self.system.remove_directory(self.root, name) {
            Ok(()) => self.removed += 1,
            Err(libc::ENOENT) => {}
            // That is told already.
            Err(libc::ENOTEMPTY | libc::EEXIST)
                if self.left.map_or(0, |left| left.entries) > before => {}
            Err(error) => self.fail(name, error),
        }
        Ok(())
    }

    /// Removes the entries of a directory, or puts them in the queue.
    fn content(&mut self, directory: &S::Directory, is_root: bool) -> Result<(), Left> {
        let mut buffer = Buffer([0; 4096]);
        loop {
            let len = match self.system.read(directory, &mut buffer.0) {
                // A directory that was removed while it is open has no entries.
                Ok(0) | Err(libc::ENOENT) => return Ok(()),
                Ok(len) => len,
                Err(error) => {
                    self.fail(c"", error);
                    return Ok(());
                }
            };
            let mut rest = buffer.0.get(..len).unwrap_or_default();
            while let Some((entry, after)) = Entry::first(rest) {
                rest = after;
                let skipped = is_root && self.is_passed_over(entry.name);
                if !skipped && entry.name != c"." && entry.name != c".." {
                    self.entry(directory, entry.name, entry.is_directory)?;
                }
            }
        }
    }

    /// Whether this entry of the root waits in the queue, or stays.
    fn is_passed_over(&self, name: &CStr) -> bool {
        let number = QueueName::number(self.terms.salt, name);
        Some(name) == self.terms.kept
            || number.is_some_and(|number| (self.handled..self.moved).contains(&number))
    }

    /// Removes an entry, or puts it in the queue.
    fn entry(
        &mut self,
        parent: &S::Directory,
        name: &CStr,
        is_directory: bool,
    ) -> Result<(), Left> {
        self.check_time(name)?;
        let system = self.system;
        let mut is_directory = is_directory;
        // The kind may not be known, and what has the name may change meanwhile.
        for _ in 0..3 {
            let result = if is_directory {
                system.remove_directory(parent, name)
            } else {
                system.unlink(parent, name)
            };
            match result {
                Ok(()) => {
                    self.removed += 1;
                    return Ok(());
                }
                Err(libc::ENOENT) => return Ok(()),
                Err(libc::EISDIR) if !is_directory => is_directory = true,
                Err(libc::ENOTDIR) if is_directory => is_directory = false,
                Err(libc::ENOTEMPTY | libc::EEXIST) if is_directory => {
                    return self.enqueue(parent, name);
                }
                Err(error) => {
                    self.fail(name, error);
                    return Ok(());
                }
            }
        }
        self.fail(name, libc::EBUSY);
        Ok(())
    }

    /// Moves a directory to the root, under the next name of the queue that is free.
    fn enqueue(&mut self, parent: &S::Directory, name: &CStr) -> Result<(), Left> {
        let mut was_made_accessible = false;
        loop {
            self.check_time(name)?;
            let fresh = QueueName::new(self.terms.salt, self.moved);
            // Whatever has this name is handled with the queue, also where the move fails.
            self.moved += 1;
            let fresh = fresh.as_c_str();
            match self.system.rename((parent, name), (self.root, fresh)) {
                Ok(()) | Err(libc::ENOENT) => return Ok(()),
                Err(libc::ENOTEMPTY | libc::EEXIST | libc::ENOTDIR | libc::EISDIR) => {}
                // A directory that gets another parent must be writable itself, rename(2).
                Err(libc::EACCES) if !was_made_accessible => {
                    was_made_accessible = true;
                    if let Err(error) = self.system.make_accessible(parent, name) {
                        self.fail(name, error);
                        return Ok(());
                    }
                }
                Err(error) => {
                    self.fail(name, error);
                    return Ok(());
                }
            }
        }
    }

    fn check_time(&self, name: &CStr) -> Result<(), Left> {
        if self.system.now() < self.terms.deadline {
            return Ok(());
        }
        let mut left = Left::of(name, libc::ETIMEDOUT);
        left.entries += self.left.map_or(0, |left| left.entries);
        Err(left)
    }

    fn fail(&mut self, name: &CStr, error: Errno) {
        match &mut self.left {
            Some(left) => left.entries += 1,
            None => self.left = Some(Left::of(name, error)),
        }
    }
}

/// Aligned as the kernel's records are.
#[repr(align(8))]
struct Buffer([u8; 4096]);

struct Entry<'a> {
    name: &'a CStr,
    /// False also where the file system does not tell.
    is_directory: bool,
}

impl<'a> Entry<'a> {
    /// Splits off the first `struct linux_dirent64`, `getdents64(2)`: two numbers of eight bytes,
    /// the length of the record, the kind, and the name with its end.
    fn first(records: &'a [u8]) -> Option<(Self, &'a [u8])> {
        const LENGTH: usize = 16;
        const KIND: usize = 18;
        const NAME: usize = 19;
        let length = u16::from_ne_bytes([*records.get(LENGTH)?, *records.get(LENGTH + 1)?]);
        let (record, rest) = records.split_at_checked(usize::from(length))?;
        let entry = Self {
            name: CStr::from_bytes_until_nul(record.get(NAME..)?).ok()?,
            is_directory: record[KIND] == libc::DT_DIR,
        };
        Some((entry, rest))
    }
}

/// A name in the queue: the prefix, the salt, and the place in the queue, in hexadecimal digits.
struct QueueName([u8; Self::LEN + 1]);

impl QueueName {
    const PREFIX: &'static [u8] = b".procession-removed-";
    const SALT: usize = Self::PREFIX.len();
    const NUMBER: usize = Self::SALT + 17;
    const LEN: usize = Self::NUMBER + 16;

    fn new(salt: u64, number: u64) -> Self {
        let mut bytes = [0; Self::LEN + 1];
        bytes[..Self::SALT].copy_from_slice(Self::PREFIX);
        hexadecimal(&mut bytes[Self::SALT..Self::NUMBER - 1], salt);
        bytes[Self::NUMBER - 1] = b'-';
        hexadecimal(&mut bytes[Self::NUMBER..Self::LEN], number);
        Self(bytes)
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }

    /// The place in the queue that this name has.
    fn number(salt: u64, name: &CStr) -> Option<u64> {
        let digits = name.to_bytes().get(Self::NUMBER..)?;
        let digits = core::str::from_utf8(digits).ok()?;
        let number = u64::from_str_radix(digits, 16).ok()?;
        (Self::new(salt, number).as_c_str() == name).then_some(number)
    }
}

fn hexadecimal(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % 16) as usize];
        number /= 16;
    }
}

#[cfg(test)]
mod tests;
