//! What probes say to people: what is checked, and why it failed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::Uri;
use nix::errno::Errno;

use super::reach;
use crate::reconcile::Outcome;
use crate::spec::{Check, Gate, TcpTarget};

/// Longest piece of a command or of foreign text inside a phrase, in characters.
const PIECE: usize = 120;

/// A check in a few words, as they stand after "waiting for": `http :3000/healthz`, `exec: pg_isready -q`.
pub fn describe(check: &Check) -> String {
    match check {
        Check::Http(http) => format!("http {}", place_of_url(&http.url)),
        Check::Tcp(target) => format!("tcp {}", place(&target.host, target.port)),
        Check::Exec(command) => format!("exec: {}", piece(&command.display())),
        Check::Log(pattern) => format!("log: /{}/", piece(pattern)),
        Check::File(path) => format!("file: {}", path.display()),
        Check::Notify => "notify".to_owned(),
        Check::Listen => "listen".to_owned(),
        Check::Binds(port) => format!("listen on :{port}"),
        Check::All(checks) => format!("all of {}", list(checks)),
        Check::Any(checks) => format!("any of {}", list(checks)),
    }
}

/// A gate as the user wrote it: `tcp://host:5432`.
pub(super) fn describe_gate(gate: &Gate) -> String {
    match gate {
        Gate::Tcp(TcpTarget { host, port }) => format!("tcp://{}:{port}", bracketed(host)),
        Gate::Http(url) => url.clone(),
        Gate::File(path) => format!("file:{}", path.display()),
    }
}

fn list(checks: &[Check]) -> String {
    checks.iter().map(describe).collect::<Vec<_>>().join(", ")
}

/// `:5432` on this machine, `db.internal:5432` elsewhere.
fn place(host: &str, port: u16) -> String {
    if reach::is_this_machine(host) {
        format!(":{port}")
    } else {
        format!("{}:{port}", bracketed(host))
    }
}

fn place_of_url(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else {
        return piece(url);
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    match uri.port_u16() {
        None if !reach::is_this_machine(host) => format!("{}{path}", bracketed(host)),
        port => format!("{}{path}", place(host, port.unwrap_or(80))),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// `3s`, `1.5s`, `250ms`.
pub(super) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        format!("{millis}ms")
    } else {
        format!("{}s", millis as f64 / 1000.0)
    }
}

pub(super) fn timed_out(after: Duration) -> String {
    format!("timed out after {}", duration(after))
}

/// Foreign text made fit for a phrase: nothing in it can move a cursor, and it is short.
pub(super) fn piece(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == PIECE {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The first line that says something, of what a command printed.
pub(super) fn first_line(output: &[u8]) -> Option<String> {
    output
        .split(|&byte| byte == b'\n')
        .map(|line| piece(String::from_utf8_lossy(line).trim()))
        .find(|line| !line.is_empty())
}

/// What a failed connection or transfer says about the service, if anything.
pub(super) fn of_io_error(error: &io::Error, address: Option<SocketAddr>) -> Outcome {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        return Outcome::Failure(match error.kind() {
            io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
            _ => piece(&error.to_string()),
        });
    };
    let words = match errno {
        Errno::ECONNREFUSED => "connection refused",
        Errno::ECONNRESET | Errno::EPIPE => "connection reset",
        Errno::ETIMEDOUT => "timed out",
        Errno::EHOSTUNREACH => "host unreachable",
        Errno::ENETUNREACH => "network unreachable",
        Errno::ENOENT | Errno::ENOTDIR => "does not exist",
        // Ours to solve, and no news about the service. EADDRNOTAVAIL on IPv4 means that no local port is left.
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN => {
            return Outcome::Unknown(errno.desc().to_owned());
        }
        Errno::EADDRNOTAVAIL if address.is_some_and(|address| address.is_ipv4()) => {
            return Outcome::Unknown("no local port is left to connect from".to_owned());
        }
        other => other.desc(),
    };
    Outcome::Failure(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Argv, HttpCheck, StatusPattern};

    fn http(url: &str) -> Check {
        Check::Http(HttpCheck {
            url: url.to_owned(),
            method: "GET".to_owned(),
            headers: Default::default(),
            status: vec![StatusPattern::Class(2)],
            body: None,
            json: Default::default(),
        })
    }

    #[test]
    fn checks_are_described_in_short_words() {
        let exec = |words: &[&str], shell| {
            Check::Exec(Argv {
                words: words.iter().map(|&word| word.to_owned()).collect(),
                shell,
            })
        };
        let tcp = |host: &str| {
            Check::Tcp(TcpTarget {
                host: host.to_owned(),
                port: 5432,
            })
        };
        let table = [
            (http("http://127.0.0.1:3000/healthz"), "http :3000/healthz"),
            (http("http://localhost/a?b=c"), "http :80/a?b=c"),
            (http("http://example.org/x"), "http example.org/x"),
            (http("http://[fe80::1]:8080/x"), "http [fe80::1]:8080/x"),
            (tcp(""), "tcp :5432"),
            (tcp("db.internal"), "tcp db.internal:5432"),
            (tcp("fe80::1"), "tcp [fe80::1]:5432"),
            (exec(&["pg_isready", "-q"], false), "exec: pg_isready -q"),
            (exec(&["sh", "-c", "a\nb"], true), "exec: a\\nb"),
            (Check::Log("ready".to_owned()), "log: /ready/"),
            (Check::File("/run/x".into()), "file: /run/x"),
            (Check::Notify, "notify"),
            (
                Check::All(vec![tcp("localhost"), Check::Listen]),
                "all of tcp :5432, listen",
            ),
        ];
        for (check, words) in table {
            assert_eq!(describe(&check), words);
        }
    }

    #[test]
    fn the_first_line_is_escaped_and_short() {
        assert_eq!(
            first_line(b"\n  \nno \x1b[2J such db\nmore"),
            Some("no \\u{1b}[2J such db".to_owned())
        );
        assert_eq!(first_line(b" \n"), None);
        let long = first_line(&[b'x'; 4096]).expect("a line");
        assert_eq!(long.chars().count(), PIECE + 1);
    }

    #[test]
    fn hp_16_having_no_descriptors_left_says_nothing_about_the_service() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert!(matches!(of_io_error(&error, None), Outcome::Unknown(_)), "{errno}");
        }
        let refused = io::Error::from_raw_os_error(Errno::ECONNREFUSED as i32);
        assert_eq!(
            of_io_error(&refused, None),
            Outcome::Failure("connection refused".to_owned())
        );
    }

    #[test]
    fn durations_read_like_in_the_file() {
        for (millis, words) in [(3000, "3s"), (1500, "1.5s"), (250, "250ms"), (90_000, "90s")] {
            assert_eq!(duration(Duration::from_millis(millis)), words);
        }
    }
}
