//! Ports: whether they are free, and who holds them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};

use super::{clock, processes, users};
use crate::reconcile::{Failure, Reason};
use crate::spec::Protocol;

/// A port that a service is about to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortToCheck {
    pub number: u16,
    pub protocol: Protocol,
}

/// Why a port can't be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortTrouble {
    Taken(PortOwner),
    /// Below 1024 and we may not (`PO-10`).
    Denied {
        port: u16,
    },
}

/// Who holds a port, as far as we may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    pub port: u16,
    pub protocol: Protocol,
    /// Everybody who is in the way.
    pub holders: Holders,
    /// The oldest of them.
    pub pid: Option<u32>,
    pub command: Option<String>,
    pub user: Option<String>,
    pub cwd: Option<std::path::PathBuf>,
    /// Nanoseconds since 1970.
    pub started_at_ns: Option<i64>,
}

/// The first of these ports that can't be had.
///
/// The cheap test is a bind of 127.0.0.1 and ::1 with SO_REUSEADDR (TIME_WAIT is no conflict): it fails for a listener
/// on the same address, on 0.0.0.0, and on `::` (for 127.0.0.1 only when that is dual-stack). A listener on another
/// address of the machine alone is no conflict. Only when it fails are the tables of sockets read.
pub fn conflict(ports: &[PortToCheck]) -> Option<PortTrouble> {
    ports.iter().find_map(|port| match obstacle(*port)? {
        Obstacle::Taken => Some(taken(*port)),
        Obstacle::Denied => Some(PortTrouble::Denied { port: port.number }),
    })
}

enum Obstacle {
    Taken,
    Denied,
}

/// The cheap test alone.
fn obstacle(port: PortToCheck) -> Option<Obstacle> {
    let addresses = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port.number)),
        (Ipv6Addr::LOCALHOST, port.number).into(),
    ];
    addresses
        .into_iter()
        .find_map(|address| match bind(address, port.protocol) {
            Err(nix::Error::EADDRINUSE) => Some(Obstacle::Taken),
            Err(nix::Error::EACCES) => Some(Obstacle::Denied),
            // No IPv6 here, no descriptors left: nothing that says that the port is taken.
            Ok(()) | Err(_) => None,
        })
}

/// Somebody holds this port.
pub fn taken(port: PortToCheck) -> PortTrouble {
    PortTrouble::Taken(owner(port))
}

/// The same, where it is known who is in the way.
pub fn taken_by(port: PortToCheck, holders: Holders) -> PortTrouble {
    PortTrouble::Taken(owner_of(port, holders))
}

/// Whether this port can be had.
pub fn can_be_had(port: PortToCheck) -> bool {
    obstacle(port).is_none()
}

/// Whether nobody holds this port, TCP or UDP.
pub fn is_free(number: u16) -> bool {
    let both = [Protocol::Tcp, Protocol::Udp];
    both.into_iter()
        .all(|protocol| can_be_had(PortToCheck { number, protocol }))
}

/// Binds without listening, so that nobody can connect to the test.
fn bind(address: SocketAddr, protocol: Protocol) -> nix::Result<()> {
    let socket = unbound(&address, protocol)?;
    if address.is_ipv6() {
        socket::setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    // For UDP it would let two sockets share the port.
    if protocol == Protocol::Tcp {
        socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    socket::bind(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &SockaddrStorage::from(address),
    )
}

/// A socket for such an address, close-on-exec.
pub(super) fn unbound(address: &SocketAddr, protocol: Protocol) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    #[cfg(target_os = "linux")]
    let flags = SockFlag::SOCK_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = SockFlag::empty();
    socket::socket(family, kind, flags, None)
}

impl PortTrouble {
    /// In the words of the contract.
    pub fn failure(&self) -> Failure {
        match self {
            PortTrouble::Denied { port } => Failure {
                reason: Reason::PermissionDenied,
                message: format!("port {port} is below 1024 and may not be bound by this user"),
                suggestion: Some("use a port from 1024 on, or allow it (CAP_NET_BIND_SERVICE)".into()),
            },
            PortTrouble::Taken(owner) => Failure {
                reason: Reason::PortInUse,
                message: owner.describe(),
                suggestion: Some(match owner.pid {
                    Some(pid) => format!("stop process {pid}, or give the service another port"),
                    None => format!(
                        "find its owner as root (`ss -lptn 'sport = :{}'`), or use another port",
                        owner.port
                    ),
                }),
            },
        }
    }
}

impl PortOwner {
    /// `port 3000 is in use by node (pid 8123, /srv/old-shop, started 2 h ago)`.
    pub fn describe(&self) -> String {
        self.describe_at(clock::wall_ns())
    }

    fn describe_at(&self, now_ns: i64) -> String {
        let port = match self.protocol {
            Protocol::Tcp => format!("port {}", self.port),
            Protocol::Udp => format!("udp port {}", self.port),
        };
        let Some(pid) = self.pid else {
            let user = self.user.as_ref();
            let whose = user.map_or(String::new(), |user| format!(" of user {user}"));
            return format!("{port} is in use by a process{whose} that runner may not look at");
        };
        let name = self.command.as_deref().map_or("a process", program);
        let mut about = vec![format!("pid {pid}")];
        if let Some(user) = self.user.as_ref().filter(|user| **user != users::own().name) {
            about.push(format!("user {user}"));
        }
        about.extend(self.cwd.as_ref().map(|cwd| cwd.display().to_string()));
        if let Some(started_at_ns) = self.started_at_ns {
            about.push(format!("started {} ago", age(now_ns.saturating_sub(started_at_ns))));
        }
        format!("{port} is in use by {name} ({})", about.join(", "))
    }
}

/// `node` of `/usr/bin/node server.js`, `nginx` of `nginx: master process`.
fn program(command: &str) -> &str {
    let first = command.split_ascii_whitespace().next().unwrap_or(command);
    let name = first.rsplit('/').next().unwrap_or(first).trim_end_matches(':');
    if name.is_empty() { command } else { name }
}

/// `12 s`, `5 min`, `2 h`, `3 d`: the largest unit is exact enough to recognise a process.
fn age(ns: i64) -> String {
    let seconds = ns.max(0) / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// One line of /proc/net/tcp and its kin (proc_net_tcp(5)).
struct Entry {
    /// As the kernel writes it.
    address: String,
    port: u16,
    listens: bool,
    user: u32,
    inode: u64,
}

/// `TCP_LISTEN` of the kernel.
const LISTEN: u8 = 0x0a;

fn table(of: &str, name: &str) -> Vec<Entry> {
    let text = std::fs::read_to_string(format!("/proc/{of}/net/{name}")).unwrap_or_default();
    text.lines().skip(1).filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, port) = fields.get(1)?.rsplit_once(':')?;
    Some(Entry {
        address: address.to_owned(),
        port: u16::from_str_radix(port, 16).ok()?,
        listens: u8::from_str_radix(fields.get(3)?, 16).ok()? == LISTEN,
        user: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The listening TCP sockets of our network namespace.
fn listening() -> Vec<Entry> {
    #[cfg(target_os = "linux")]
    if let Ok(found) = super::listeners::all() {
        return found.into_iter().map(Entry::from).collect();
    }
    let all = ["tcp", "tcp6"].into_iter().flat_map(|name| table("self", name));
    all.filter(|entry| entry.listens).collect()
}

#[cfg(target_os = "linux")]
impl From<super::listeners::Listener> for Entry {
    fn from(listener: super::listeners::Listener) -> Self {
        let words = listener.address.chunks_exact(4);
        Entry {
            address: words
                .map(|word| format!("{:08X}", u32::from_ne_bytes([word[0], word[1], word[2], word[3]])))
                .collect(),
            port: listener.port,
            listens: true,
            user: listener.user,
            inode: listener.inode,
        }
    }
}

/// Whether a process has the network namespace that we have.
fn is_our_namespace(of: &str) -> bool {
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
    namespace(of).is_some_and(|theirs| Some(theirs) == namespace("self"))
}

impl Entry {
    /// Whether it is bound to an address that [`conflict`] tries: one of both loopbacks, or one that covers them.
    fn is_tried(&self) -> bool {
        // Words of four bytes, each in the order of the machine.
        let word = |bytes| format!("{:08X}", u32::from_ne_bytes(bytes));
        let (any, v4) = (word([0; 4]), word([127, 0, 0, 1]));
        let v6 = |last: &str| format!("{any}{any}{any}{last}");
        let mapped = format!("{any}{any}{}{v4}", word([0, 0, 0xff, 0xff]));
        let tried = [v6(&any), v6(&word([0, 0, 0, 1])), mapped, any.clone(), v4];
        tried.contains(&self.address)
    }
}

/// The sockets on this port, those in the way first.
fn entries(port: PortToCheck) -> Vec<Entry> {
    let names = match port.protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
    };
    let mut entries: Vec<_> = names.iter().flat_map(|name| table("self", name)).collect();
    entries.retain(|entry| entry.port == port.number && entry.inode != 0);
    entries.sort_by_key(|entry| (!entry.is_tried(), !entry.listens));
    entries
}

/// The processes that hold the sockets in the way of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Oldest first.
    pub pids: Vec<u32>,
    /// Some of the sockets are held by processes that we may not look at.
    pub hidden: bool,
}

/// Who listens on this port (UDP: is bound to it) at an address that [`conflict`] tries. A mere connection from this port is
/// nobody's service.
pub fn holders(port: PortToCheck) -> Holders {
    let mut entries = match port.protocol {
        Protocol::Tcp => listening(),
        Protocol::Udp => entries(port),
    };
    entries.retain(|entry| entry.port == port.number && entry.inode != 0 && entry.is_tried());
    let mut unseen: std::collections::HashSet<String> = entries
        .iter()
        .map(|entry| format!("socket:[{}]", entry.inode))
        .collect();
    if unseen.is_empty() {
        return Holders::default();
    }
    let wanted = unseen.clone();
    let mut found: Vec<_> = processes::all()
        .into_iter()
        .filter(|stat| {
            let held: Vec<String> = descriptors(stat.pid).filter(|target| wanted.contains(target)).collect();
            unseen.retain(|target| !held.contains(target));
            !held.is_empty()
        })
        .collect();
    found.sort_by_key(|stat| (stat.start_ticks, stat.pid));
    Holders {
        pids: found.into_iter().map(|stat| stat.pid).collect(),
        hidden: !unseen.is_empty(),
    }
}

fn owner(port: PortToCheck) -> PortOwner {
    owner_of(port, holders(port))
}

fn owner_of(port: PortToCheck, holders: Holders) -> PortOwner {
    let entries = entries(port);
    let pid = match holders.pids.first() {
        Some(&oldest) => Some(oldest),
        None => entries.iter().find_map(|entry| holder(entry.inode)),
    };
    let uid = pid
        .and_then(processes::owner)
        .or_else(|| entries.first().map(|entry| entry.user));
    PortOwner {
        port: port.number,
        protocol: port.protocol,
        holders,
        pid,
        command: pid.and_then(processes::command_line),
        user: uid.map(users::name_of),
        cwd: pid.and_then(processes::working_dir),
        started_at_ns: pid
            .and_then(processes::stat)
            .as_ref()
            .and_then(processes::started_at_ns),
    }
}

/// The oldest process that holds a socket, by its inode.
fn holder(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let mut found: Vec<_> = processes::all()
        .into_iter()
        .filter(|stat| holds(stat.pid, &wanted))
        .collect();
    found.sort_by_key(|stat| (stat.start_ticks, stat.pid));
    found.first().map(|stat| stat.pid)
}

fn holds(pid: u32, wanted: &str) -> bool {
    descriptors(pid).any(|target| target == wanted)
}

fn descriptors(pid: u32) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    entries.filter_map(|entry| {
        std::fs::read_link(entry.path())
            .ok()?
            .into_os_string()
            .into_string()
            .ok()
    })
}

/// Sockets on which some processes listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// Sorted, each once.
    pub tcp_ports: Vec<u16>,
    pub unix: bool,
}

impl Listening {
    pub fn any(&self) -> bool {
        self.unix || !self.tcp_ports.is_empty()
    }
}

/// Whether one of these processes holds a listening TCP or Unix socket. The tables are those of the network namespace
/// of the first.
pub fn listening_sockets_of(pids: &[u32]) -> Listening {
    let mut listening = Listening::default();
    let inodes: std::collections::HashSet<u64> = pids
        .iter()
        .flat_map(|pid| descriptors(*pid))
        .filter_map(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect();
    let Some(first) = pids.first().filter(|_| !inodes.is_empty()) else {
        return listening;
    };
    let of = first.to_string();
    let entries = match is_our_namespace(&of) {
        true => self::listening(),
        false => ["tcp", "tcp6"].iter().flat_map(|name| table(&of, name)).collect(),
    };
    let ports = entries
        .iter()
        .filter(|entry| entry.listens && inodes.contains(&entry.inode))
        .map(|entry| entry.port);
    listening.tcp_ports = ports.collect();
    listening.tcp_ports.sort_unstable();
    listening.tcp_ports.dedup();
    listening.unix = unix_listeners(&of).iter().any(|inode| inodes.contains(inode));
    listening
}

/// Inodes of listening Unix sockets: flag `__SO_ACCEPTCON` (0x10000) of /proc/net/unix.
fn unix_listeners(of: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(format!("/proc/{of}/net/unix")).unwrap_or_default();
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
        let inode = fields.get(6)?.parse().ok()?;
        (flags & 0x10000 != 0).then_some(inode)
    };
    text.lines().skip(1).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn tcp(number: u16) -> [PortToCheck; 1] {
        [PortToCheck {
            number,
            protocol: Protocol::Tcp,
        }]
    }

    #[test]
    fn po_01_the_owner_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Some(PortTrouble::Taken(owner)) = conflict(&tcp(port)) else {
            panic!("the port is held")
        };
        assert_eq!(owner.pid, Some(std::process::id()));
        assert!(owner.command.is_some() && owner.user.is_some() && owner.started_at_ns.is_some());
        let failure = PortTrouble::Taken(owner).failure();
        assert_eq!(failure.reason, Reason::PortInUse);
        let words = format!("port {port} is in use by ");
        assert!(failure.message.starts_with(&words), "{}", failure.message);
        assert!(
            failure.message.contains(&format!("(pid {}, ", std::process::id())),
            "{}",
            failure.message
        );
        drop(listener);
        assert_eq!(conflict(&tcp(port)), None);
    }

    #[test]
    fn po_01_an_owner_reads_like_a_sentence() {
        let started_at_ns = 1_700_000_000_000_000_000;
        let mut owner = PortOwner {
            port: 3000,
            protocol: Protocol::Tcp,
            holders: Holders::default(),
            pid: Some(8123),
            command: Some("/usr/bin/node server.js".into()),
            user: Some(users::own().name),
            cwd: Some("/srv/old-shop".into()),
            started_at_ns: Some(started_at_ns),
        };
        let now_ns = started_at_ns + 2 * 3_600_000_000_000 + 5;
        let words = "port 3000 is in use by node (pid 8123, /srv/old-shop, started 2 h ago)";
        assert_eq!(owner.describe_at(now_ns), words);
        owner.user = Some("somebody".into());
        owner.command = Some("nginx: master process nginx".into());
        owner.cwd = None;
        let words = "port 3000 is in use by nginx (pid 8123, user somebody, started 0 s ago)";
        assert_eq!(owner.describe_at(started_at_ns - 1), words);
        owner.pid = None;
        owner.protocol = Protocol::Udp;
        let words = "udp port 3000 is in use by a process of user somebody that runner may not look at";
        assert_eq!(owner.describe_at(now_ns), words);
        assert_eq!(
            ["59", "60", "86399", "86400"].map(|text| age(text.parse::<i64>().unwrap() * 1_000_000_000)),
            ["59 s", "1 min", "23 h", "1 d"]
        );
    }

    #[test]
    fn po_04_every_address_of_localhost_counts_and_time_wait_does_not() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            assert!(conflict(&tcp(port)).is_some(), "{address}");
        }
        let v6_only = socket::socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
        if let Ok(socket) = v6_only {
            socket::setsockopt(&socket, sockopt::Ipv6V6Only, &true).unwrap();
            let any = SockaddrStorage::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
            if socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &any).is_ok() {
                let listener = TcpListener::from(socket);
                let address = listener.local_addr().unwrap();
                let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
                assert!(bind(v4, Protocol::Tcp).is_ok(), "IPv4 is not in its way");
                assert!(conflict(&tcp(address.port())).is_some(), "but ::1 is");
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        // The side that closes first is the one that stays in TIME_WAIT.
        drop(listener.accept().unwrap());
        drop(client);
        drop(listener);
        assert_eq!(conflict(&tcp(address.port())), None);
    }

    #[test]
    fn po_04_only_who_is_in_the_way_holds_a_port() {
        let own = std::process::id();
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0", "127.0.0.2:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let is_in_the_way = address != "127.0.0.2:0";
            assert_eq!(conflict(&tcp(port)).is_some(), is_in_the_way, "{address}");
            assert_eq!(holders(tcp(port)[0]).pids == [own], is_in_the_way, "{address}");
        }
        // One end of a connection is nobody's service.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(holders(tcp(client.local_addr().unwrap().port())[0]), Holders::default());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = PortToCheck {
            number: socket.local_addr().unwrap().port(),
            protocol: Protocol::Udp,
        };
        assert_eq!(holders(udp).pids, [own]);
    }

    #[test]
    fn udp_is_another_matter_than_tcp() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = socket.local_addr().unwrap().port();
        let udp = PortToCheck {
            number,
            protocol: Protocol::Udp,
        };
        assert!(conflict(&[udp]).is_some());
        assert_eq!(conflict(&tcp(number)), None);
    }

    #[test]
    fn listening_sockets_are_found() {
        let own = std::process::id();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = listening_sockets_of(&[own]);
        assert!(found.tcp_ports.contains(&listener.local_addr().unwrap().port()));
        assert!(!listening_sockets_of(&[]).any());
        let dir = tempfile::tempdir().unwrap();
        let _unix = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        assert!(listening_sockets_of(&[own]).unix);
    }
}
