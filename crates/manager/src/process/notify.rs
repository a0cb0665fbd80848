//! The notification protocol of systemd, from the receiving side (`sd_notify(3)`): a datagram socket for
//! each process that asks for one, named to it by `NOTIFY_SOCKET`.
//!
//! The socket lies in the manager's directory by a short name, since a path of more than 107 bytes
//! cannot be the name of a socket (`unix(7)`), and belongs to the child's user, who alone can send
//! to it. Where the working directory's own path is too long it has an abstract name, which any
//! user of the machine can send to, and the kernel tells who does (`SCM_CREDENTIALS`).
//!
//! The number of datagrams received in a time is bounded, whoever sends ([`Budget`]): the rest
//! waits in the kernel's queue, which is short (`net.unix.max_dgram_qlen`), and its sender with it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType, recvmsg, sockopt,
};
use rustix::process::geteuid;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use crate::clock;

/// The longest name that a socket can have, in bytes: `sun_path` without its NUL, `unix(7)`.
const LONGEST: usize = 107;
/// The longest notification, as with systemd.
const DATAGRAM: usize = 4096;
/// The tokens of the budget that a notification costs: the notification is read, told to the
/// process's task, and may be an event.
const HEARD: u32 = 8;
/// The tokens that a datagram of another user costs, which is received and thrown away.
const IGNORED: u32 = 1;

/// What a child has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Ready(Option<String>),
    Status(String),
    /// It may take this much longer to start.
    Extend(Duration),
    /// It has not told in time that it lives, or has said that it does not.
    Late,
}

/// A socket that is bound, and not watched yet.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: OwnedFd,
    name: SocketName,
    /// Only from these, where the name lets anybody in.
    from: Option<u32>,
}

/// The value that `NOTIFY_SOCKET` is to have. A path is removed with the value.
#[derive(Debug)]
enum SocketName {
    Path(PathBuf),
    Abstract(OsString),
}

impl Drop for SocketName {
    fn drop(&mut self) {
        if let Self::Path(path) = self {
            // It may have gone with the manager's directory.
            let _ = fs::remove_file(path);
        }
    }
}

impl NotifySocket {
    /// Binds one for a child that runs as this user, in the directory above its run directory.
    pub(super) fn bind(run_dir: &Path, user: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        let manager_dir = run_dir.parent().unwrap_or(run_dir);
        // Its file begins with the mode of the socket, whatever the umask leaves of it.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        loop {
            let path = manager_dir.join(format!("n{:08x}", fastrand::u32(..)));
            if path.as_os_str().len() > LONGEST {
                break;
            }
            match rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?) {
                Err(Errno::ADDRINUSE) => continue,
                other => other?,
            }
            let name = SocketName::Path(path.clone());
            // Connecting needs the right to write, unix(7).
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            if user != geteuid().as_raw() {
                std::os::unix::fs::lchown(&path, Some(user), None)?;
            }
            return Ok(Self {
                socket,
                name,
                from: None,
            });
        }
        let name = format!("procession-{}", Uuid::new_v4());
        sockopt::set_socket_passcred(&socket, true)?;
        rustix::net::bind(
            &socket,
            &SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        )?;
        Ok(Self {
            socket,
            name: SocketName::Abstract(format!("@{name}").into()),
            from: Some(user),
        })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub(super) fn name(&self) -> &OsStr {
        match &self.name {
            SocketName::Path(path) => path.as_os_str(),
            SocketName::Abstract(name) => name,
        }
    }

    /// Whether the child must be able to pass to the manager's directory for it.
    pub(super) fn is_path(&self) -> bool {
        matches!(self.name, SocketName::Path(_))
    }

    /// Tells what comes, for ever. With `watchdog`, also that nothing did.
    pub(super) async fn run(
        self,
        watchdog: Option<Duration>,
        tell: mpsc::Sender<Told>,
    ) -> io::Result<()> {
        let mut receiver = Receiver::new(self)?;
        let mut alive_by = None;
        let mut ready = false;
        loop {
            let next = receiver.next();
            let received = match alive_by {
                None => Some(next.await?),
                Some(until) => timeout_at(until, next).await.ok().transpose()?,
            };
            let Some(said) = received else {
                // Told once; from its next sign on it is watched again.
                alive_by = None;
                let _ = tell.send(Told::Late).await;
                continue;
            };
            ready |= said.ready;
            if ready && (said.ready || said.alive) {
                alive_by = watchdog.map(|time| Instant::now() + time.min(clock::LONGEST));
            }
            if said.stopping {
                alive_by = None;
            }
            for told in said.told() {
                // The task that listens ends with the process.
                if tell.send(told).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// The receiving end, within a runtime.
struct Receiver {
    socket: UnixDatagram,
    _name: SocketName,
    from: Option<u32>,
    buffer: Vec<u8>,
    budget: Budget,
    /// Datagrams of other users that were thrown away.
    ignored: u64,
    /// More came than the budget allows, and that was told.
    flooded: bool,
}

impl Receiver {
    fn new(socket: NotifySocket) -> io::Result<Self> {
        let NotifySocket { socket, name, from } = socket;
        Ok(Self {
            socket: UnixDatagram::from_std(socket.into())?,
            _name: name,
            from,
            buffer: vec![0; DATAGRAM],
            budget: Budget::new(Instant::now()),
            ignored: 0,
            flooded: false,
        })
    }

    /// The next notification from whom it may come. Cancel safe.
    async fn next(&mut self) -> io::Result<Said> {
        loop {
            if let Some(until) = self.budget.wait(Instant::now()) {
                if !std::mem::replace(&mut self.flooded, true) {
                    tracing::warn!("notifications come too fast, and wait: told once a socket");
                }
                sleep_until(until).await;
            }
            let (len, uid) = receive(&self.socket, &mut self.buffer).await?;
            match self.from {
                Some(user) if uid != Some(user) && uid != Some(0) => {
                    self.budget.spend(IGNORED);
                    if self.ignored == 0 {
                        tracing::warn!(
                            ?uid,
                            "notifications from another user are ignored: told once a socket"
                        );
                    }
                    self.ignored += 1;
                }
                _ => {
                    self.budget.spend(HEARD);
                    return Ok(Said::parse(&self.buffer[..len]));
                }
            }
        }
    }
}

/// How many datagrams are received in a time: a token bucket.
///
/// Of a flood of notifications 500 a second are heard, of one from another user 4,000 a second are
/// received; either costs a few thousandths of a processor. A burst of 128 notifications waits for
/// nothing.
#[derive(Debug)]
struct Budget {
    tokens: u32,
    /// Up to when tokens were given.
    at: Instant,
}

impl Budget {
    /// The most tokens that there are.
    const BURST: u32 = 128 * HEARD;
    /// The tokens that come in each millisecond.
    const RATE: u32 = 4;
    /// The tokens that are waited for where there are none: 32 ms, so that a flood wakes nobody all
    /// the time.
    const WAKE: u32 = 128;

    fn new(now: Instant) -> Self {
        Self {
            tokens: Self::BURST,
            at: now,
        }
    }

    fn spend(&mut self, cost: u32) {
        self.tokens = self.tokens.saturating_sub(cost);
    }

    /// Until when nothing is to be received, where there are no tokens.
    fn wait(&mut self, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let given = u32::try_from(passed).unwrap_or(u32::MAX);
        self.at += Duration::from_millis(given.into());
        let tokens = given.saturating_mul(Self::RATE).saturating_add(self.tokens);
        self.tokens = tokens.min(Self::BURST);
        let missing = Self::WAKE.saturating_sub(self.tokens);
        let wait = Duration::from_millis((missing / Self::RATE).into());
        (self.tokens < HEARD).then(|| self.at + wait)
    }
}

/// The next datagram, and who has sent it where that is asked of the kernel.
async fn receive(socket: &UnixDatagram, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    socket
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(buffer)];
            // Descriptors that come along find no room, and are closed: who waits for that goes on.
            let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let uid = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmCredentials(who) => Some(who.uid.as_raw()),
                _ => None,
            });
            Ok((received.bytes, uid))
        })
        .await
}

/// One notification.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that hold or not, each for itself"
)]
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    ready: bool,
    stopping: bool,
    alive: bool,
    hangs: bool,
    status: Option<String>,
    extend: Option<Duration>,
}

impl Said {
    fn parse(datagram: &[u8]) -> Self {
        let mut said = Self::default();
        for line in datagram.split(|byte| *byte == b'\n') {
            match line {
                b"READY=1" => said.ready = true,
                b"STOPPING=1" => said.stopping = true,
                b"WATCHDOG=1" => said.alive = true,
                b"WATCHDOG=trigger" => said.hangs = true,
                _ => {
                    if let Some(text) = line.strip_prefix(b"STATUS=") {
                        said.status = Some(OsStr::from_bytes(text).to_string_lossy().into_owned());
                    } else if let Some(number) = line.strip_prefix(b"EXTEND_TIMEOUT_USEC=") {
                        let number = str::from_utf8(number)
                            .ok()
                            .and_then(|text| text.parse().ok());
                        said.extend = number.map(Duration::from_micros);
                    }
                }
            }
        }
        said
    }

    fn told(self) -> impl Iterator<Item = Told> {
        let status = match (self.status, self.stopping) {
            (None, true) => Some("stopping".to_owned()),
            (status, _) => status,
        };
        let news = if self.ready {
            Some(Told::Ready(status))
        } else {
            status.map(Told::Status)
        };
        let late = self.hangs.then_some(Told::Late);
        [self.extend.map(Told::Extend), news, late]
            .into_iter()
            .flatten()
    }
}

/// Reads one notification, and returns the number of things that it tells.
#[cfg(any(test, feature = "test-util"))]
pub(crate) fn read(datagram: &[u8]) -> usize {
    Said::parse(datagram).told().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(datagram: &[u8]) -> Vec<Told> {
        Said::parse(datagram).told().collect()
    }

    #[test]
    fn notifications_are_understood_line_by_line() {
        assert_eq!(told(b"READY=1"), [Told::Ready(None)]);
        assert_eq!(
            told(b"STATUS=up and running\nREADY=1\nMAINPID=4711\n"),
            [Told::Ready(Some("up and running".into()))]
        );
        assert_eq!(told(b"STATUS=42%"), [Told::Status("42%".into())]);
        assert_eq!(told(b"STATUS="), [Told::Status(String::new())]);
        assert_eq!(told(b"STOPPING=1"), [Told::Status("stopping".into())]);
        assert_eq!(told(b"WATCHDOG=1"), []);
        assert_eq!(told(b"WATCHDOG=trigger"), [Told::Late]);
        assert_eq!(
            told(b"EXTEND_TIMEOUT_USEC=1500000"),
            [Told::Extend(Duration::from_millis(1500))]
        );
        assert_eq!(
            told(b"READY=0\nFDSTORE=1\nX_OWN=\nEXTEND_TIMEOUT_USEC=x"),
            []
        );
        assert_eq!(told(b"STATUS=\xff"), [Told::Status("\u{fffd}".into())]);
        assert!(Said::parse(b"WATCHDOG=1").alive);
    }

    fn run_dir(root: &Path) -> PathBuf {
        root.join(Uuid::new_v4().to_string())
            .join(Uuid::new_v4().to_string())
    }

    #[test]
    fn a_socket_has_a_path_that_goes_with_it_or_where_there_is_no_room_an_abstract_name() {
        let root = tempfile::tempdir().expect("a directory");
        let temporary = format!("procession-{}", Uuid::new_v4().simple());
        for (name, fits) in [("a", true), (&*temporary, true), (&"x".repeat(100), false)] {
            let dir = run_dir(&root.path().join(name));
            fs::create_dir_all(&dir).expect("made");
            let socket = NotifySocket::bind(&dir, geteuid().as_raw()).expect("bound");
            assert_eq!(socket.is_path(), fits, "{name}");
            assert_eq!(socket.from.is_none(), fits);
            let path = PathBuf::from(socket.name());
            if fits {
                assert_eq!(path.parent(), dir.parent());
                let metadata = fs::symlink_metadata(&path).expect("there");
                assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
                drop(socket);
                assert!(!path.exists());
            }
            assert_eq!(
                fs::read_dir(dir.parent().expect("one"))
                    .expect("there")
                    .count(),
                1
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_received_in_a_time_is_bounded() {
        for (cost, a_second) in [(HEARD, 500), (IGNORED, 4000)] {
            let begin = Instant::now();
            let mut budget = Budget::new(begin);
            let burst = Budget::BURST / cost;
            let most = burst + 10 * a_second;
            let (mut received, mut waits) = (0, 0);
            let end = begin + Duration::from_secs(10);
            while Instant::now() < end && received <= most {
                if let Some(until) = budget.wait(Instant::now()) {
                    waits += 1;
                    sleep_until(until).await;
                } else {
                    budget.spend(cost);
                    received += 1;
                }
            }
            assert!(
                (most - burst..=most).contains(&received),
                "{received} of {most}"
            );
            assert!(waits < 10 * 40, "{waits} waits");
        }
        // What has not come for long is there at once, and no more than that.
        let mut budget = Budget::new(Instant::now());
        tokio::time::advance(Duration::from_secs(1 << 20)).await;
        for _ in 0..Budget::BURST / HEARD {
            assert_eq!(budget.wait(Instant::now()), None);
            budget.spend(HEARD);
        }
        assert!(budget.wait(Instant::now()).is_some());
    }

    fn sender(name: &OsStr) -> std::os::unix::net::UnixDatagram {
        use std::os::linux::net::SocketAddrExt as _;
        let name = name.as_bytes().strip_prefix(b"@").expect("abstract");
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("an address");
        let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
        socket.connect_addr(&address).expect("connected");
        socket
    }

    #[derive(Default)]
    struct Warnings(std::sync::atomic::AtomicUsize);

    impl tracing::Subscriber for Warnings {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() == tracing::Level::WARN && metadata.target().ends_with("notify")
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[test]
    fn a_flood_of_another_user_costs_little_and_holds_nobody_up() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        if !geteuid().is_root() {
            return;
        }
        let warnings = Arc::new(Warnings::default());
        let _guard = tracing::subscriber::set_default(Arc::clone(&warnings));
        let dir = run_dir(&Path::new("/").join("x".repeat(100)));
        let socket = NotifySocket::bind(&dir, 0).expect("bound");
        let name = socket.name().to_owned();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        let entered = runtime.enter();
        let mut receiver = Receiver::new(socket).expect("a receiver");
        drop(entered);
        let begin = Instant::now();
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let floods = [(); 2].map(|()| {
                threads.spawn(|| {
                    crate::os::identity::set_thread_user(65_534).expect("allowed");
                    let socket = sender(&name);
                    socket.set_nonblocking(true).expect("set");
                    let mut sent = 0_u64;
                    while !over.load(Ordering::Relaxed) {
                        match socket.send(b"READY=1\nSTATUS=not true") {
                            Ok(_) => sent += 1,
                            Err(_) => std::thread::yield_now(),
                        }
                    }
                    sent
                })
            });
            threads.spawn(|| {
                let socket = sender(&name);
                for _ in 0..20 {
                    socket.send(b"STATUS=true").expect("sent");
                }
            });
            let heard = async {
                for _ in 0..20 {
                    let said = receiver.next().await.expect("received");
                    assert_eq!(said.status.as_deref(), Some("true"));
                }
                // Until the flood is worth the name.
                while receiver.ignored < 8000 {
                    let next = receiver.next();
                    let _ = timeout_at(Instant::now() + Duration::from_millis(50), next).await;
                }
            };
            runtime.block_on(heard);
            over.store(true, Ordering::Relaxed);
            let sent: u64 = floods
                .into_iter()
                .map(|flood| flood.join().expect("no panic"))
                .sum();
            assert!(sent >= receiver.ignored);
        });
        let _ = crate::os::identity::set_dumpable();
        let took = u64::try_from(begin.elapsed().as_millis()).expect("a time");
        let most = u64::from(Budget::BURST) + took * u64::from(Budget::RATE);
        assert!(receiver.ignored <= most, "{} of {most}", receiver.ignored);
        // One of another user, one of the speed.
        assert!((1..=2).contains(&warnings.0.load(Ordering::Relaxed)));
    }
}
