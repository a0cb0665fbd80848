//! What happens to files: one inotify instance (`inotify(7)`) a manager, made when first needed.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::flag::Flag;
use crate::os;

#[derive(Debug)]
pub(crate) struct FileEvents {
    runtime: Handle,
    instance: Mutex<Option<Instance>>,
}

#[derive(Debug)]
struct Instance {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Debug)]
struct Shared {
    fd: AsyncFd<OwnedFd>,
    watches: Mutex<HashMap<i32, Watched>>,
}

#[derive(Debug)]
struct Watched {
    flag: Arc<Flag>,
    /// No harm is done if it is told without having happened.
    may_err: bool,
}

/// A watch for something that happens to a file for the first time; ended by dropping it.
#[derive(Debug)]
pub(crate) struct Change {
    flag: Arc<Flag>,
    number: i32,
    shared: Weak<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileEvents {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            instance: Mutex::new(None),
        }
    }

    /// Watches for the file being opened, from now on, by anybody. May be called on any thread.
    ///
    /// # Errors
    /// `EMFILE` where the user has `fs.inotify.max_user_instances` of them, `ENOSPC` where there are
    /// `fs.inotify.max_user_watches`.
    pub(crate) fn opened(&self, path: &Path) -> io::Result<Change> {
        self.once(path, WatchFlags::OPEN)
    }

    /// Watches for the file being written, or closed by a writer, from now on. A file can have one watch at
    /// a time.
    ///
    /// # Errors
    /// As of [`opened`](Self::opened).
    pub(crate) fn changed(&self, path: &Path) -> io::Result<Change> {
        let flags = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        self.once(path, flags)
    }

    fn once(&self, path: &Path, flags: WatchFlags) -> io::Result<Change> {
        let shared = self.instance()?;
        let flag = Arc::new(Flag::default());
        // Held over the call, so that an event finds its flag.
        let mut watches = lock(&shared.watches);
        let number = inotify::add_watch(shared.fd.get_ref(), path, flags | WatchFlags::ONESHOT)?;
        let may_err = flags != WatchFlags::OPEN;
        let watched = Watched {
            flag: Arc::clone(&flag),
            may_err,
        };
        watches.insert(number, watched);
        Ok(Change {
            flag,
            number,
            shared: Arc::downgrade(&shared),
        })
    }

    fn instance(&self) -> io::Result<Arc<Shared>> {
        let mut instance = lock(&self.instance);
        if let Some(instance) = &*instance {
            return Ok(Arc::clone(&instance.shared));
        }
        let _runtime = self.runtime.enter();
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            fd: os::watch(fd, Interest::READABLE).map_err(|(_, error)| error)?,
            watches: Mutex::default(),
        });
        *instance = Some(Instance {
            shared: Arc::clone(&shared),
            reader: self.runtime.spawn(read(Arc::clone(&shared))),
        });
        Ok(shared)
    }
}

async fn read(shared: Arc<Shared>) {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    while let Ok(mut ready) = shared.fd.readable().await {
        let mut events = inotify::Reader::new(shared.fd.get_ref(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) => shared.happened(event.wd(), event.events()),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    ready.clear_ready();
                    break;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "watching files failed");
                    return;
                }
            }
        }
    }
}

impl Shared {
    fn happened(&self, number: i32, events: ReadFlags) {
        let mut watches = lock(&self.watches);
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            // Nobody knows what was missed: logs are looked at. A process that has not opened its file
            // yet is one that ends with its manager at the latest.
            tracing::warn!("the kernel dropped file events: raise fs.inotify.max_queued_events");
            watches
                .values()
                .filter(|one| one.may_err)
                .for_each(|one| one.flag.set());
            return;
        }
        // A watch fires once, and is gone by itself.
        if let Some(watched) = watches.remove(&number) {
            watched.flag.set();
        }
    }
}

impl Change {
    /// Resolves when it has happened. Cancel safe.
    pub(crate) async fn wait(&self) {
        self.flag.wait().await;
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let mut watches = lock(&shared.watches);
        // The number may be another watch's by now, once it was given back.
        if watches
            .get(&self.number)
            .is_some_and(|watched| Arc::ptr_eq(&watched.flag, &self.flag))
        {
            watches.remove(&self.number);
            let _ = inotify::remove_watch(shared.fd.get_ref(), self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_open_is_told_once_it_happens_and_the_watch_goes() {
        let root = tempfile::tempdir().expect("a directory");
        let events = FileEvents::new(Handle::current());
        let path = root.path().join("file");
        std::fs::write(&path, "").expect("written");
        let opened = events.opened(&path).expect("watched");
        assert!(!opened.flag.is_set());
        std::fs::File::open(&path).expect("opened");
        opened.wait().await;
        let never = events.opened(&path).expect("watched");
        let shared = events.instance().expect("there");
        assert_eq!(lock(&shared.watches).len(), 1);
        drop(never);
        assert!(lock(&shared.watches).is_empty());
    }
}
