//! The receiving end of the sd_notify protocol (sd_notify(3)): a datagram socket that services find by `NOTIFY_SOCKET`.
//!
//! Everything that comes in is bounded and names its sender as the kernel saw it (SO_PASSCRED, unix(7)); whether that
//! sender may speak for the service is for the daemon to judge. That judgement keeps strangers out, never the path: a
//! service that runs as another user than runner can't reach a private folder, so its socket has an abstract name.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, setsockopt, sockopt::PassCred,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Longest datagram that is read; a longer one is ignored as a whole.
const DATAGRAM: usize = 64 * 1024;
/// Longest `STATUS=` that is kept, in bytes of UTF-8.
const STATUS: usize = 1024;
/// Most assignments of one datagram that are looked at.
const MESSAGES: usize = 64;
/// Most descriptors that one datagram can carry (SCM_MAX_FD, unix(7)).
const DESCRIPTORS: usize = 253;

/// One assignment of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `READY=1`
    Ready,
    /// `STATUS=...`: at most 1 KiB, without control characters.
    Status(String),
    /// `MAINPID=...`, never 0 or 1.
    MainPid(u32),
    /// `WATCHDOG=1`
    Watchdog,
    /// `STOPPING=1`
    Stopping,
    /// `RELOADING=1`
    Reloading,
    /// Anything else, which has no meaning here.
    Other,
}

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// As the kernel tells; 0 for a process outside our PID namespace.
    pub sender_pid: u32,
    pub messages: Vec<Message>,
}

/// A bound socket. Its file is removed with it.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Path(PathBuf),
    /// unix(7); known to this network namespace.
    Abstract(String),
}

impl NotifySocket {
    /// Binds `path`, replacing a socket that an earlier life left there. Must be called within the runtime.
    ///
    /// # Errors
    /// As of bind(2); a path longer than 107 bytes is `InvalidInput`.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = StdDatagram::bind(path)?;
        NotifySocket::listening(socket, Place::Path(path.to_owned()))
    }

    /// Binds an abstract name, which a service of any user can reach.
    ///
    /// # Errors
    /// As of bind(2); `Unsupported` where there are no abstract names.
    #[cfg(target_os = "linux")]
    pub fn bind_abstract(name: &str) -> io::Result<Self> {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let socket = StdDatagram::bind_addr(&address)?;
        NotifySocket::listening(socket, Place::Abstract(name.to_owned()))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn bind_abstract(_: &str) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Binds what [`NotifySocket::address`] once told, when its socket is gone. Must be called within the runtime.
    ///
    /// # Errors
    /// As of bind(2).
    pub fn bind_again(address: &str) -> io::Result<Self> {
        match address.strip_prefix('@') {
            Some(name) => NotifySocket::bind_abstract(name),
            None => NotifySocket::bind(Path::new(address)),
        }
    }

    fn listening(socket: StdDatagram, place: Place) -> io::Result<Self> {
        setsockopt(&socket, PassCred, &true)?;
        socket.set_nonblocking(true)?;
        Ok(NotifySocket {
            socket: UnixDatagram::from_std(socket)?,
            place,
        })
    }

    /// One that an earlier daemon bound, and that somebody has held since. Must be called within the runtime.
    ///
    /// # Errors
    /// It is no datagram socket.
    pub fn inherited(socket: OwnedFd) -> io::Result<Self> {
        let socket = StdDatagram::from(socket);
        let path = socket.local_addr()?.as_pathname().map(Path::to_owned);
        let place = path.map_or_else(|| Place::Abstract(String::new()), Place::Path);
        NotifySocket::listening(socket, place)
    }

    /// Another descriptor of the same socket: what holds it keeps what is sent there.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> Vec<u8> {
        match &self.place {
            Place::Path(path) => path.as_os_str().as_bytes().to_vec(),
            Place::Abstract(name) => format!("@{name}").into_bytes(),
        }
    }

    /// The next notification. Datagrams that are too long or come without a sender are passed over.
    ///
    /// # Errors
    /// As of recvmsg(2). Cancel safe: a datagram is taken only when it is returned.
    pub async fn next(&self) -> io::Result<Notification> {
        loop {
            let taken = self
                .socket
                .async_io(Interest::READABLE, || receive(self.socket.as_raw_fd()));
            if let Some(notification) = taken.await? {
                return Ok(notification);
            }
        }
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        if let Place::Path(path) = &self.place {
            // Whoever removed the folder before was right as well.
            let _ = fs::remove_file(path);
        }
    }
}

/// Takes one datagram, if there is one.
fn receive(socket: RawFd) -> io::Result<Option<Notification>> {
    let mut bytes = vec![0_u8; DATAGRAM];
    let mut control = nix::cmsg_space!(UnixCredentials, [RawFd; DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<UnixAddr>(socket, &mut parts, Some(&mut control), flags)?;
    let (length, truncated) = (received.bytes, received.flags.contains(MsgFlags::MSG_TRUNC));
    let mut sender = None;
    for message in received.cmsgs().into_iter().flatten() {
        match message {
            ControlMessageOwned::ScmCredentials(credentials) => sender = u32::try_from(credentials.pid()).ok(),
            // Nothing is stored for services. Closing is also the answer that sd_notify_barrier(3) waits for.
            ControlMessageOwned::ScmRights(descriptors) => {
                for descriptor in descriptors {
                    let _ = nix::unistd::close(descriptor);
                }
            }
            _ => {}
        }
    }
    Ok(sender.filter(|_| !truncated).map(|sender_pid| Notification {
        sender_pid,
        messages: parse(&bytes[..length]),
    }))
}

fn parse(datagram: &[u8]) -> Vec<Message> {
    datagram
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .take(MESSAGES)
        .map(|line| message(&String::from_utf8_lossy(line)))
        .collect()
}

fn message(assignment: &str) -> Message {
    match assignment.split_once('=') {
        Some(("READY", "1")) => Message::Ready,
        Some(("WATCHDOG", "1")) => Message::Watchdog,
        Some(("STOPPING", "1")) => Message::Stopping,
        Some(("RELOADING", "1")) => Message::Reloading,
        Some(("STATUS", text)) => Message::Status(status(text)),
        Some(("MAINPID", pid)) => match pid.parse() {
            Ok(pid) if pid > 1 => Message::MainPid(pid),
            _ => Message::Other,
        },
        _ => Message::Other,
    }
}

fn status(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if kept.len() + character.len_utf8() > STATUS {
            break;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram as Sender;

    use super::*;

    fn bound() -> (tempfile::TempDir, NotifySocket, Sender) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = NotifySocket::bind(&path).unwrap();
        let sender = Sender::unbound().unwrap();
        sender.connect(&path).unwrap();
        (folder, socket, sender)
    }

    #[tokio::test]
    async fn a_notification_names_its_sender() {
        let (_folder, socket, sender) = bound();
        sender
            .send(b"READY=1\nSTATUS=serving 3\x1b[2J\nMAINPID=42\n\nFDNAME=x")
            .unwrap();
        let told = socket.next().await.unwrap();
        assert_eq!(told.sender_pid, std::process::id());
        let status = Message::Status("serving 3 [2J".to_owned());
        assert_eq!(
            told.messages,
            [Message::Ready, status, Message::MainPid(42), Message::Other]
        );
    }

    #[tokio::test]
    async fn hp_19_what_comes_in_is_bounded() {
        let (_folder, socket, sender) = bound();
        sender.send(&vec![b'x'; DATAGRAM + 1]).unwrap();
        sender.send("\nA=1".repeat(10_000).as_bytes()).unwrap();
        sender
            .send(format!("STATUS={}", "é".repeat(10_000)).as_bytes())
            .unwrap();
        assert_eq!(socket.next().await.unwrap().messages, vec![Message::Other; MESSAGES]);
        let told = socket.next().await.unwrap().messages;
        assert_eq!(told, [Message::Status("é".repeat(STATUS / 2))]);
    }

    #[test]
    fn hp_19_a_main_process_is_never_init_or_nobody() {
        for text in [
            "MAINPID=0",
            "MAINPID=1",
            "MAINPID=-7",
            "MAINPID=",
            "MAINPID=99999999999",
            "READY=2",
            "READY",
        ] {
            assert_eq!(parse(text.as_bytes()), [Message::Other], "{text}");
        }
    }

    #[tokio::test]
    async fn descriptors_that_come_along_are_closed_at_once() {
        use std::io::{IoSlice, Read};

        let (_folder, socket, sender) = bound();
        let (mut waiting, passed) = std::os::unix::net::UnixStream::pair().unwrap();
        let rights = [passed.as_raw_fd()];
        let rights = [nix::sys::socket::ControlMessage::ScmRights(&rights)];
        let bytes = [IoSlice::new(b"BARRIER=1")];
        nix::sys::socket::sendmsg::<UnixAddr>(sender.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).unwrap();
        drop(passed);
        assert_eq!(socket.next().await.unwrap().messages, [Message::Other]);
        assert_eq!(waiting.read(&mut [0]).unwrap(), 0, "the other end is closed");
    }

    #[tokio::test]
    async fn the_file_goes_with_the_socket() {
        let (folder, socket, _sender) = bound();
        let path = folder.path().join("notify");
        assert!(path.exists());
        drop(NotifySocket::bind(&path).unwrap());
        drop(socket);
        assert!(!path.exists());
    }
}
