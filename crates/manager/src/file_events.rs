//! What happens to files: one inotify instance (`inotify(7)`) a manager, made when first needed.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::os;

#[derive(Debug, Default)]
pub(crate) struct FileEvents {
    instance: OnceLock<Instance>,
    starting: Mutex<()>,
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
    watches: Mutex<HashMap<i32, watch::Sender<()>>>,
}

impl Shared {
    fn watches(&self) -> MutexGuard<'_, HashMap<i32, watch::Sender<()>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch on one file; ended by dropping it.
#[derive(Debug)]
pub(crate) struct Watch {
    number: i32,
    changes: watch::Receiver<()>,
    shared: Weak<Shared>,
}

impl FileEvents {
    /// Watches for the file being opened by anybody.
    ///
    /// # Errors
    /// `EMFILE` where the user has `fs.inotify.max_user_instances` of them, `ENOSPC` where there are
    /// `fs.inotify.max_user_watches`.
    pub(crate) fn watch_open(&self, path: &Path) -> io::Result<Watch> {
        let shared = self.instance()?;
        let mut watches = shared.watches();
        let number = inotify::add_watch(shared.fd.get_ref(), path, WatchFlags::OPEN)?;
        let (sender, changes) = watch::channel(());
        watches.insert(number, sender);
        Ok(Watch {
            number,
            changes,
            shared: Arc::downgrade(&shared),
        })
    }

    fn instance(&self) -> io::Result<Arc<Shared>> {
        let _one_at_a_time = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = self.instance.get() {
            return Ok(Arc::clone(&instance.shared));
        }
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            fd: os::watch(fd, Interest::READABLE).map_err(|(_, error)| error)?,
            watches: Mutex::default(),
        });
        let reader = tokio::spawn(read(Arc::clone(&shared)));
        let instance = Instance {
            shared: Arc::clone(&shared),
            reader,
        };
        let _ = self.instance.set(instance);
        Ok(shared)
    }
}

async fn read(shared: Arc<Shared>) {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    while let Ok(mut ready) = shared.fd.readable().await {
        let mut events = inotify::Reader::new(shared.fd.get_ref(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    shared
                        .watches()
                        .values()
                        .for_each(|changed| changed.send_replace(()));
                }
                Ok(event) => {
                    if let Some(changed) = shared.watches().get(&event.wd()) {
                        changed.send_replace(());
                    }
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    ready.clear_ready();
                    break;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "watching files failed");
                    shared.watches().clear();
                    return;
                }
            }
        }
    }
}

impl Watch {
    /// Resolves when something has happened since the last call. Cancel safe.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        self.changes
            .changed()
            .await
            .map_err(|_| io::Error::other("files are not watched any more"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.watches().remove(&self.number);
            let _ = inotify::remove_watch(shared.fd.get_ref(), self.number);
        }
    }
}
