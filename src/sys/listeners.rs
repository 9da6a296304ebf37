//! The listening TCP sockets of our network namespace, told by the kernel (sock_diag(7)).
//!
//! /proc/net/tcp tells the same among all connections, those in TIME_WAIT included: after some thousands of requests a look at
//! it costs many milliseconds. This costs as much as there are listeners. Kernels without it, and other namespaces, are what
//! the tables are for.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Four bytes, or sixteen, as they are sent.
    pub address: Vec<u8>,
    pub port: u16,
    pub user: u32,
    pub inode: u64,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `TCP_LISTEN`, as a bit.
const LISTENING: u32 = 1 << 10;
const HEADER: usize = 16;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// `struct inet_diag_msg`.
const ANSWER: usize = 72;
/// A piece of an answer is no larger (netlink(7)).
const PIECE: usize = 32 * 1024;

/// All of them, IPv4 and IPv6.
///
/// # Errors
/// The kernel does not tell.
pub fn all() -> io::Result<Vec<Listener>> {
    let asked = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let mut found = Vec::new();
    let mut piece = vec![0; PIECE];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = request(u8::try_from(family).map_err(io::Error::other)?);
        sendto(asked.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        loop {
            let length = recv(asked.as_raw_fd(), &mut piece, MsgFlags::empty())?;
            if !take(&piece[..length], &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

fn request(family: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    let length = u32::try_from(HEADER + REQUEST).unwrap_or(0);
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unwrap_or(0);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(LISTENING.to_ne_bytes());
    bytes.resize(HEADER + REQUEST, 0);
    bytes
}

/// Takes what one piece holds; whether there are more.
fn take(mut piece: &[u8], found: &mut Vec<Listener>) -> io::Result<bool> {
    let torn = || io::Error::new(io::ErrorKind::InvalidData, "sock_diag: a torn answer");
    while !piece.is_empty() {
        let length = usize::try_from(word(piece, 0).ok_or_else(torn)?).map_err(io::Error::other)?;
        let kind = piece.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
        let message = piece.get(HEADER..length).ok_or_else(torn)?;
        match kind.map(i32::from) {
            Some(libc::NLMSG_DONE) => return Ok(false),
            Some(libc::NLMSG_ERROR) => {
                let errno = word(message, 0).ok_or_else(torn)?.cast_signed();
                return Err(io::Error::from_raw_os_error(-errno));
            }
            _ => found.push(listener(message).ok_or_else(torn)?),
        }
        // Each begins at a multiple of four.
        piece = piece.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn listener(message: &[u8]) -> Option<Listener> {
    let message = message.get(..ANSWER)?;
    let bytes = if i32::from(message[0]) == libc::AF_INET { 4 } else { 16 };
    Some(Listener {
        port: u16::from_be_bytes([message[4], message[5]]),
        address: message[8..8 + bytes].to_vec(),
        user: word(message, 64)?,
        inode: word(message, 68)?.into(),
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_listener_is_told_until_it_is_closed_and_a_connection_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd()))
            .unwrap()
            .ino();
        let wanted = Listener {
            address: vec![127, 0, 0, 1],
            port,
            user: nix::unistd::geteuid().as_raw(),
            inode,
        };
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let on_port = || all().unwrap().into_iter().filter(|other| other.port == port);
        assert_eq!(on_port().collect::<Vec<_>>(), [wanted]);
        drop(listener);
        assert_eq!(on_port().count(), 0);
        drop(client);
    }

    #[test]
    fn what_is_torn_is_an_error_and_never_a_panic() {
        let mut whole = Vec::new();
        let length = HEADER + ANSWER;
        whole.extend(u32::try_from(length).unwrap().to_ne_bytes());
        whole.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        whole.resize(length, 0);
        let mut found = Vec::new();
        assert!(take(&whole, &mut found).unwrap() && found.len() == 1);
        for cut in 1..length {
            assert!(take(&whole[..cut], &mut Vec::new()).is_err(), "cut at {cut}");
        }
        // One that says that it is empty would be read for ever.
        assert!(take(&[0; HEADER], &mut Vec::new()).is_err());
    }
}
