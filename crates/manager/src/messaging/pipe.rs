//! The parent's ends of a child's pipes, and what a test may put in their place.
//!
//! Ours are non-blocking; the child's ends are other open file descriptions (`open(2)`) and stay
//! ordinary blocking ones. Waiting for readiness and reading are one call here, because room for a
//! read is made only once there is something to read: a silent child holds no buffer.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use procession_wire::buffer::reserve_for_read;
use rustix::fs::{Mode, OFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[cfg(any(test, feature = "test-util"))]
use super::memory::{MemoryReader, MemoryWriter};
use super::spare;
use crate::os;
use crate::starts::{self, Mark};

/// Where a child's output comes from.
pub(crate) trait ReadEnd: Send {
    /// Reads what is there, up to about `room` bytes, into `buffer`; 0 is the end.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>>;

    /// The child has exited: from now on the end shows when nobody else holds the pipe.
    fn child_exited(&mut self) -> io::Result<()>;

    /// Whether the end may not show, after the exit, only because another child is just being started and
    /// has a copy of a writing end for a moment.
    fn may_have_copies(&self) -> bool {
        false
    }

    /// How many bytes the pipe can hold.
    fn capacity(&self) -> usize;

    /// A descriptor to read it by without waiting, on any thread. None where there is none to spare.
    fn lend(&self) -> Option<OwnedFd> {
        None
    }
}

/// Where a child's input goes.
pub(crate) trait WriteEnd: Send + Sync + 'static {
    /// Writes what there is room for, without waiting: `WouldBlock` where there is none.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// The same, waiting for room. One task at a time may wait.
    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
}

/// A read or write of more than this is of long messages.
const LONG: usize = 64 * 1024;
/// What a pipe is made to hold that carries long messages, in bytes: each time that it is full, or
/// empty, the two processes change over, and that costs more than the copying.
const LONG_PIPE: usize = 256 * 1024;

/// Makes a pipe hold more. Best effort: an unprivileged user has a limit over all of its pipes
/// (`/proc/sys/fs/pipe-user-pages-soft`, `pipe(7)`), and past that the pipe stays as it is.
fn widen(fd: &OwnedFd) {
    let has = rustix::pipe::fcntl_getpipe_size(fd).unwrap_or(LONG_PIPE);
    if has < LONG_PIPE {
        let _ = rustix::pipe::fcntl_setpipe_size(fd, LONG_PIPE);
    }
}

/// Where a child's output comes from, whatever it is.
#[derive(Debug)]
pub(crate) enum ReadPipe {
    System(SystemReadPipe),
    #[cfg(any(test, feature = "test-util"))]
    Memory(MemoryReader),
}

/// Where a child's input goes, whatever it is.
#[derive(Debug)]
pub(crate) enum WritePipe {
    System(SystemWritePipe),
    #[cfg(any(test, feature = "test-util"))]
    Memory(MemoryWriter),
}

impl ReadPipe {
    /// `fd` must be non-blocking.
    pub(crate) fn new(fd: OwnedFd, fifo: bool) -> io::Result<Self> {
        SystemReadPipe::new(fd, fifo).map(Self::System)
    }
}

impl WritePipe {
    /// `fd` must be non-blocking.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self::System(SystemWritePipe::new(fd))
    }
}

impl ReadEnd for ReadPipe {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::System(pipe) => pipe.poll_read(cx, buffer, room),
            #[cfg(any(test, feature = "test-util"))]
            Self::Memory(pipe) => pipe.poll_read(cx, buffer, room),
        }
    }

    fn child_exited(&mut self) -> io::Result<()> {
        match self {
            Self::System(pipe) => pipe.child_exited(),
            #[cfg(any(test, feature = "test-util"))]
            Self::Memory(pipe) => pipe.child_exited(),
        }
    }

    fn may_have_copies(&self) -> bool {
        match self {
            Self::System(pipe) => pipe.may_have_copies(),
            #[cfg(any(test, feature = "test-util"))]
            Self::Memory(pipe) => pipe.may_have_copies(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::System(pipe) => pipe.capacity(),
            #[cfg(any(test, feature = "test-util"))]
            Self::Memory(pipe) => pipe.capacity(),
        }
    }

    fn lend(&self) -> Option<OwnedFd> {
        match self {
            Self::System(pipe) => pipe.lend(),
            #[cfg(any(test, feature = "test-util"))]
            Self::Memory(pipe) => pipe.lend(),
        }
    }
}

impl WriteEnd for WritePipe {
    #[inline]
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::System(pipe) => pipe.try_write(slices),
            #[cfg(any(test, feature = "test-util"))]
            Self::Memory(pipe) => pipe.try_write(slices),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::System(pipe) => pipe.poll_write(cx, slices),
            #[cfg(any(test, feature = "test-util"))]
            Self::Memory(pipe) => pipe.poll_write(cx, slices),
        }
    }
}

/// The reading end of a pipe or FIFO.
#[derive(Debug)]
pub(crate) struct SystemReadPipe {
    fd: ReadFd,
    widened: bool,
    /// A FIFO is held open for reading and writing, so that the child's open never waits and the
    /// end does not show before the child has opened it.
    fifo: bool,
    /// When the child had exited.
    exited: Option<Mark>,
}

#[derive(Debug)]
enum ReadFd {
    /// Not waited for yet: it is read first.
    Plain(Arc<OwnedFd>),
    Watched(AsyncFd<Arc<OwnedFd>>),
}

impl ReadFd {
    fn get(&self) -> &Arc<OwnedFd> {
        match self {
            Self::Plain(fd) => fd,
            Self::Watched(fd) => fd.get_ref(),
        }
    }

    fn watched(fd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
        os::watch(fd, Interest::READABLE).map_err(|(_, error)| error)
    }
}

/// Reads what is there, without waiting: how much, and whether that was all.
fn read_now(fd: &OwnedFd, buffer: &mut BytesMut, room: usize) -> io::Result<(usize, bool)> {
    if room <= spare::SIZE && buffer.capacity() == 0 {
        *buffer = spare::take();
    }
    reserve_for_read(buffer, room);
    let spare = buffer.capacity() - buffer.len();
    loop {
        match os::read(fd, buffer) {
            // A short read has emptied the pipe; another one would only say so.
            Ok(count) => return Ok((count, count > 0 && count < spare)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                if buffer.is_empty() {
                    spare::put(std::mem::take(buffer));
                }
                return Err(error);
            }
        }
    }
}

impl SystemReadPipe {
    fn new(fd: OwnedFd, fifo: bool) -> io::Result<Self> {
        Ok(Self {
            fd: ReadFd::Watched(ReadFd::watched(Arc::new(fd))?),
            widened: false,
            fifo,
            exited: None,
        })
    }

    /// Reopens a FIFO for reading only, through `/proc` since its name may be gone, and lets go of
    /// the old descriptor. What is in the pipe stays, and the end shows once all writers have gone: mostly
    /// at once, so that a watch would be for nothing.
    fn reopen(&mut self) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", self.fd.get().as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        self.fd = ReadFd::Plain(Arc::new(fd));
        self.fifo = false;
        Ok(())
    }
}

impl ReadEnd for SystemReadPipe {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if room > LONG && !self.widened {
            self.widened = true;
            widen(self.fd.get());
        }
        loop {
            match &self.fd {
                ReadFd::Plain(fd) => {
                    // Who still writes may not keep the thread for ever.
                    let proceed = ready!(tokio::task::coop::poll_proceed(cx));
                    match read_now(fd, buffer, room) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.fd = ReadFd::Watched(ReadFd::watched(Arc::clone(fd))?);
                        }
                        read => {
                            proceed.made_progress();
                            return Poll::Ready(read.map(|(count, _)| count));
                        }
                    }
                }
                ReadFd::Watched(fd) => {
                    let mut guard = ready!(fd.poll_read_ready(cx))?;
                    match read_now(fd.get_ref(), buffer, room) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            guard.clear_ready();
                        }
                        Ok((count, emptied)) => {
                            if emptied {
                                guard.clear_ready();
                            }
                            return Poll::Ready(Ok(count));
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            }
        }
    }

    fn child_exited(&mut self) -> io::Result<()> {
        if self.fifo {
            self.reopen()?;
        }
        self.exited = Some(starts::mark());
        Ok(())
    }

    fn may_have_copies(&self) -> bool {
        self.exited.is_some_and(|mark| !mark.is_past())
    }

    fn lend(&self) -> Option<OwnedFd> {
        self.fd.get().try_clone().ok()
    }

    fn capacity(&self) -> usize {
        rustix::pipe::fcntl_getpipe_size(self.fd.get()).unwrap_or(64 * 1024)
    }
}

/// The writing end of a pipe or FIFO.
///
/// It is watched from the first time on that there was no room in it: a child that reads what it is sent
/// never costs a watch. A FIFO's end is open for reading too, and the kernel would look at the watch of such a
/// one at each write.
#[derive(Debug)]
pub(crate) struct SystemWritePipe {
    fd: Arc<OwnedFd>,
    watch: OnceLock<Box<AsyncFd<Arc<OwnedFd>>>>,
    widened: AtomicBool,
}

impl SystemWritePipe {
    fn new(fd: OwnedFd) -> Self {
        Self {
            fd: Arc::new(fd),
            watch: OnceLock::new(),
            widened: AtomicBool::new(false),
        }
    }

    fn watch(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        if let Some(watch) = self.watch.get() {
            return Ok(watch);
        }
        let watch = os::watch(Arc::clone(&self.fd), Interest::WRITABLE);
        let watch = watch.map_err(|(_, error)| error)?;
        // One task at a time waits, so that nobody else has set it.
        Ok(self.watch.get_or_init(|| Box::new(watch)))
    }
}

impl WriteEnd for SystemWritePipe {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > LONG
            && !self.widened.swap(true, Ordering::Relaxed)
        {
            widen(&self.fd);
        }
        loop {
            let written = match slices {
                [only] => rustix::io::write(&self.fd, only),
                _ => rustix::io::writev(&self.fd, slices),
            };
            match written {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.watch()?.poll_write_ready(cx))?;
            match self.try_write(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                other => return Poll::Ready(other),
            }
        }
    }
}
