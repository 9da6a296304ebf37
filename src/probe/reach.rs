//! Where a check connects to, and connecting there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;

use tokio::net::TcpStream;

use super::check::{Joined, together};
use super::words::{of_io_error, piece};
use crate::reconcile::Outcome;

/// More addresses of one name than this are not tried within one attempt.
const ADDRESSES: usize = 4;

/// Both loopback addresses, or one of them.
pub(super) fn is_this_machine(host: &str) -> bool {
    is_localhost(host) || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_localhost(host: &str) -> bool {
    host.is_empty() || host.eq_ignore_ascii_case("localhost")
}

/// The addresses of `host`. Literal addresses and `localhost` never touch the resolver: there may be no
/// `/etc/hosts` and no DNS (an empty chroot), and RFC 6761 fixes what `localhost` means.
async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, Outcome> {
    if is_localhost(host) {
        let loopbacks = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        return Ok(loopbacks.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found: Vec<SocketAddr> = match tokio::net::lookup_host((host, port)).await {
        Ok(found) => found.take(ADDRESSES).collect(),
        Err(error) => {
            return Err(match of_io_error(&error, None) {
                Outcome::Failure(reason) => Outcome::Failure(unresolved(host, &reason)),
                other => other,
            });
        }
    };
    if found.is_empty() {
        return Err(Outcome::Failure(unresolved(host, "it has no address")));
    }
    Ok(found)
}

fn unresolved(host: &str, reason: &str) -> String {
    format!("name {} cannot be resolved ({reason})", piece(host))
}

/// How far an attempt at one address came. A later variant tells more than an earlier one.
#[derive(Debug)]
pub(super) enum Reached {
    /// Nothing is there.
    NotConnected(Outcome),
    /// Somebody is there, and this is what came of it.
    Connected(Outcome),
}

impl Reached {
    fn outcome(&self) -> &Outcome {
        match self {
            Reached::NotConnected(outcome) | Reached::Connected(outcome) => outcome,
        }
    }
}

/// Performs `talk` on a connection to each address of `host` at once: one success is a success, and of the
/// failures the one that tells the most is kept.
pub(super) async fn at_any_address<F>(host: &str, port: u16, talk: impl Fn(TcpStream) -> F) -> Outcome
where
    F: Future<Output = Outcome>,
{
    let addresses = match addresses(host, port).await {
        Ok(addresses) => addresses,
        Err(outcome) => return outcome,
    };
    let talk = &talk;
    let attempts = addresses.into_iter().map(|address| async move {
        match connect(address).await {
            Ok(stream) => Reached::Connected(talk(stream).await),
            Err(error) => Reached::NotConnected(of_io_error(&error, Some(address))),
        }
    });
    let joined = pin!(together(attempts, |reached: &Reached| *reached.outcome() == Outcome::Success));
    match joined.await {
        Joined::Stopped(_) => Outcome::Success,
        Joined::All(attempts) => most_telling(attempts),
    }
}

/// None of them succeeded. An attempt that says nothing leaves open whether the service answers there.
fn most_telling(attempts: Vec<Reached>) -> Outcome {
    let rank = |reached: &Reached| match reached {
        Reached::NotConnected(Outcome::Unknown(_)) | Reached::Connected(Outcome::Unknown(_)) => 0,
        Reached::Connected(_) => 1,
        Reached::NotConnected(_) => 2,
    };
    let best = attempts
        .into_iter()
        .min_by_key(rank)
        .expect("there is at least one address");
    match best {
        Reached::NotConnected(outcome) | Reached::Connected(outcome) => outcome,
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    if is_connected_to_itself(&stream)? {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    Ok(stream)
}

/// Where nobody listens on a port of the ephemeral range, the kernel may choose that very port as the local one and
/// connect the socket to itself (simultaneous open, RFC 9293, 3.5). A poller meets this sooner or later.
fn is_connected_to_itself(stream: &TcpStream) -> io::Result<bool> {
    Ok(stream.local_addr()? == stream.peer_addr()?)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn a_socket_connected_to_itself_is_nobody() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(free).unwrap();
        let stream = socket.connect(free).await.unwrap();
        assert!(is_connected_to_itself(&stream).unwrap());

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!is_connected_to_itself(&stream).unwrap());
    }

    #[tokio::test]
    async fn localhost_means_both_loopbacks_without_a_resolver() {
        for host in ["localhost", "LOCALHOST", ""] {
            let found = addresses(host, 80).await.unwrap();
            assert_eq!(found, ["127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap()]);
        }
        assert_eq!(
            addresses("127.0.0.1", 80).await.unwrap(),
            ["127.0.0.1:80".parse().unwrap()]
        );
    }

    #[test]
    fn an_answer_tells_more_than_a_refusal_and_an_unknown_spoils_both() {
        let failure = |words: &str| Outcome::Failure(words.to_owned());
        let unknown = || Reached::NotConnected(Outcome::Unknown("no descriptors".to_owned()));
        let refused = || Reached::NotConnected(failure("connection refused"));
        let answered = || Reached::Connected(failure("status 503"));
        assert_eq!(most_telling(vec![refused(), answered()]), failure("status 503"));
        assert!(matches!(most_telling(vec![answered(), unknown()]), Outcome::Unknown(_)));
    }
}
