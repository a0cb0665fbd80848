//! The notification protocol of systemd, from the receiving side (`sd_notify(3)`): a datagram socket for
//! each process that asks for one, named to it by `NOTIFY_SOCKET`.
//!
//! The socket lies in the run directory, where only the child's user gets. A path of more than 107 bytes
//! cannot be the name of a socket (`unix(7)`); there it has an abstract name, which any user of the
//! machine can send to, and the kernel tells who does (`SCM_CREDENTIALS`).

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType, recvmsg, sockopt,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::run_dir;

/// The longest name that a socket can have, in bytes: `sun_path` without its NUL, `unix(7)`.
const LONGEST: usize = 107;
/// The longest notification, as with systemd.
const DATAGRAM: usize = 4096;

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
    name: OsString,
    /// Only from these, where the name lets anybody in.
    from: Option<u32>,
}

impl NotifySocket {
    /// Binds one for a child that runs as this user.
    pub(super) fn bind(run_dir: &Path, user: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        let path = run_dir.join(run_dir::NOTIFY);
        if path.as_os_str().len() <= LONGEST {
            rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
            // Nobody else gets into the directory.
            std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
            return Ok(Self {
                socket,
                name: path.into_os_string(),
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
            name: format!("@{name}").into(),
            from: Some(user),
        })
    }

    /// What `NOTIFY_SOCKET` is to be.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Tells what comes, for ever. With `watchdog`, also that nothing did.
    pub(super) async fn run(
        self,
        watchdog: Option<Duration>,
        tell: mpsc::Sender<Told>,
    ) -> io::Result<()> {
        let socket = UnixDatagram::from_std(self.socket.into())?;
        let mut buffer = vec![0; DATAGRAM];
        let mut alive_by = None;
        let mut ready = false;
        loop {
            let next = receive(&socket, &mut buffer, self.from);
            let received = match alive_by {
                None => Some(next.await?),
                Some(until) => timeout_at(until, next).await.ok().transpose()?,
            };
            let Some(len) = received else {
                // Told once; from its next sign on it is watched again.
                alive_by = None;
                let _ = tell.send(Told::Late).await;
                continue;
            };
            let said = Said::parse(&buffer[..len]);
            ready |= said.ready;
            if ready && (said.ready || said.alive) {
                alive_by = watchdog.map(|time| Instant::now() + time);
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

/// The next datagram from whom it may come.
async fn receive(socket: &UnixDatagram, buffer: &mut [u8], from: Option<u32>) -> io::Result<usize> {
    loop {
        let (len, uid) = socket
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
            .await?;
        match from {
            Some(user) if uid != Some(user) && uid != Some(0) => {
                tracing::warn!(?uid, "a notification from another user is ignored");
            }
            _ => return Ok(len),
        }
    }
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
}
