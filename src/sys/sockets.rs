//! Sockets that are bound here and used by others: listening ones of TCP, bound ones of UDP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{self, Backlog, SockType, SockaddrStorage, sockopt};
use serde::{Deserialize, Serialize};

use super::passing;
use super::ports::{self, PortToCheck, PortTrouble};
use crate::spec::{Port, Protocol};

/// `SD_LISTEN_FDS_START`.
const FIRST_PASSED: RawFd = 3;

/// Where a socket is bound, as far as clients are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundTo {
    pub number: u16,
    pub protocol: Protocol,
}

impl From<&Port> for BoundTo {
    fn from(port: &Port) -> BoundTo {
        BoundTo {
            number: port.number,
            protocol: port.protocol,
        }
    }
}

impl BoundTo {
    /// Of a TCP socket that listens or a UDP socket that is bound; anything else is bound to nothing that counts.
    pub fn of(socket: BorrowedFd) -> Option<BoundTo> {
        let kind = socket::getsockopt(&socket, sockopt::SockType).ok()?;
        let protocol = match kind {
            SockType::Stream if socket::getsockopt(&socket, sockopt::AcceptConn).ok()? => Protocol::Tcp,
            SockType::Datagram => Protocol::Udp,
            _ => return None,
        };
        let address: SockaddrStorage = socket::getsockname(socket.as_raw_fd()).ok()?;
        let v4 = address.as_sockaddr_in().map(|address| address.port());
        let number = v4.or_else(|| address.as_sockaddr_in6().map(|address| address.port()))?;
        (number != 0).then_some(BoundTo { number, protocol })
    }
}

/// Binds it on all addresses of both families (of IPv4 alone, where there is no IPv6), and listens with the longest queue
/// that the kernel allows.
///
/// # Errors
/// Somebody has it, it is not for this user, or no descriptors are left (`Ok` inside: the trouble with the port).
pub fn bind(to: BoundTo) -> io::Result<Result<OwnedFd, PortTrouble>> {
    let port = PortToCheck {
        number: to.number,
        protocol: to.protocol,
    };
    // A listener on one of the loopbacks alone is in the way too, of whatever family.
    if let Some(trouble) = ports::conflict(&[port]) {
        return Ok(Err(trouble));
    }
    let bound = match bind_at((Ipv6Addr::UNSPECIFIED, to.number).into(), to.protocol) {
        Err(nix::Error::EAFNOSUPPORT | nix::Error::EADDRNOTAVAIL) => {
            bind_at((Ipv4Addr::UNSPECIFIED, to.number).into(), to.protocol)
        }
        bound => bound,
    };
    match bound {
        Ok(socket) => Ok(Ok(socket)),
        Err(nix::Error::EADDRINUSE) => Ok(Err(ports::taken(port))),
        Err(nix::Error::EACCES) => Ok(Err(PortTrouble::Denied { port: to.number })),
        Err(error) => Err(error.into()),
    }
}

fn bind_at(address: SocketAddr, protocol: Protocol) -> nix::Result<OwnedFd> {
    let socket = ports::unbound(&address, protocol)?;
    if address.is_ipv6() {
        socket::setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    }
    // For UDP it would let two sockets share the port.
    if protocol == Protocol::Tcp {
        socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    if protocol == Protocol::Tcp {
        // The kernel shortens it to net.core.somaxconn.
        #[cfg(target_os = "linux")]
        let queue = Backlog::MAXALLOWABLE;
        #[cfg(not(target_os = "linux"))]
        let queue = Backlog::MAXCONN;
        socket::listen(&socket, queue)?;
    }
    Ok(socket)
}

/// O_NONBLOCK belongs to the socket and not to the descriptor: what one run has set, the next one would find.
///
/// # Errors
/// As of fcntl(2).
pub fn make_blocking(socket: BorrowedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    if flags.contains(OFlag::O_NONBLOCK) {
        fcntl(socket, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    }
    Ok(())
}

/// From here on the kernel answers clients of a TCP socket that nobody listens, whoever holds the socket.
pub fn refuse_all(socket: BorrowedFd) {
    // One of UDP has no connection, and is closed with its last descriptor.
    let _ = socket::shutdown(socket.as_raw_fd(), socket::Shutdown::Both);
}

/// The descriptors that whoever started us has passed as sd_listen_fds(3) says, with their names; taken once in the life of a
/// process, before it opens anything. Nothing where they are meant for another process.
pub fn passed_to_us() -> Vec<(String, OwnedFd)> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID").parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    let count: RawFd = variable("LISTEN_FDS").parse().unwrap_or(0);
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let numbers = FIRST_PASSED..FIRST_PASSED.saturating_add(count);
    // The first that is not open ends them: a count is no reason to try two thousand million.
    let descriptors = numbers.map_while(passing::inherited);
    descriptors
        .map(|descriptor| (names.next().unwrap_or("unknown").to_owned(), descriptor))
        .collect()
}

/// A copy of the socket that a held process has there (pidfd_getfd(2)). `pid` is its number.
///
/// # Errors
/// It has none, or we may not: that takes what ptrace(2) takes.
pub fn copy_from(process: BorrowedFd, pid: u32, to: BoundTo) -> io::Result<OwnedFd> {
    let mut why = io::Error::from(io::ErrorKind::NotFound);
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let is_socket =
            std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|_| is_socket) else {
            continue;
        };
        match descriptor_of(process, number) {
            Ok(copy) if BoundTo::of(copy.as_fd()) == Some(to) => return Ok(copy),
            Ok(_) => {}
            Err(error) => why = error,
        }
    }
    Err(why)
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn descriptor_of(process: BorrowedFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: three numbers; the result is a new descriptor of ours (close-on-exec, pidfd_getfd(2)).
    unsafe {
        let descriptor = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(descriptor as RawFd))
    }
}

#[cfg(not(target_os = "linux"))]
fn descriptor_of(_: BorrowedFd, _: RawFd) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn free() -> BoundTo {
        let number = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        BoundTo {
            number,
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn po_11_both_families_reach_it_and_it_says_where_it_is_bound() {
        let to = free();
        let socket = bind(to).unwrap().unwrap();
        assert_eq!(BoundTo::of(socket.as_fd()), Some(to));
        TcpStream::connect(("127.0.0.1", to.number)).unwrap();
        let v6 = TcpListener::bind("[::1]:0").is_ok();
        assert!(!v6 || TcpStream::connect(("::1", to.number)).is_ok());
        let udp = BoundTo {
            protocol: Protocol::Udp,
            ..to
        };
        let socket = bind(udp).unwrap().unwrap();
        assert_eq!(BoundTo::of(socket.as_fd()), Some(udp));
    }

    #[test]
    fn what_nobody_can_reach_is_bound_to_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(BoundTo::of(client.as_fd()), None, "a connection");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(BoundTo::of(file.as_fd()), None);
        let unix = std::os::unix::net::UnixDatagram::unbound().unwrap();
        assert_eq!(BoundTo::of(unix.as_fd()), None);
    }

    #[test]
    fn a_listener_on_one_loopback_is_in_the_way() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = BoundTo {
            number: other.local_addr().unwrap().port(),
            protocol: Protocol::Tcp,
        };
        let trouble = bind(to).unwrap().unwrap_err();
        assert!(matches!(trouble, PortTrouble::Taken(owner) if owner.pid == Some(std::process::id())));
    }

    #[test]
    fn the_next_run_finds_it_blocking() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        make_blocking(socket.as_fd()).unwrap();
        let flags = fcntl(&socket, FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn a_copy_is_taken_from_whoever_holds_it() {
        let to = free();
        let theirs = bind(to).unwrap().unwrap();
        let own = std::process::id();
        let process = crate::sys::pidfd::open(own).unwrap();
        let copy = copy_from(process.as_fd(), own, to).unwrap();
        drop(theirs);
        assert_eq!(BoundTo::of(copy.as_fd()), Some(to));
        drop(copy);
        assert!(copy_from(process.as_fd(), own, to).is_err());
    }
}
