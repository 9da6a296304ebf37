use std::cell::Cell;
use std::time::Instant;

use tokio::net::TcpListener;

use super::*;

/// What a test says about the service around the probe.
#[derive(Default)]
struct Told {
    executed: Option<Executed>,
    ready: bool,
    logged: bool,
    /// Exec probes that were started, and those that were dropped before their end.
    started: Cell<u32>,
    dropped: Cell<u32>,
}

struct CountDrop<'a>(&'a Cell<u32>);

impl Drop for CountDrop<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Surroundings for Told {
    fn exec<'a>(&'a self, command: &'a Argv, _: Duration) -> Pin<Box<dyn Future<Output = Executed> + 'a>> {
        self.started.set(self.started.get() + 1);
        Box::pin(async move {
            let guard = CountDrop(&self.dropped);
            assert!(!command.words.is_empty());
            match &self.executed {
                Some(executed) => {
                    std::mem::forget(guard);
                    executed.clone()
                }
                None => std::future::pending().await,
            }
        })
    }

    fn log_matched(&self, _: &str) -> bool {
        self.logged
    }

    fn notified(&self, kind: ProbeKind, _: Duration) -> bool {
        kind == ProbeKind::Ready && self.ready
    }

    fn listens(&self, _: Option<u16>) -> Pin<Box<dyn Future<Output = Outcome> + '_>> {
        Box::pin(std::future::ready(Outcome::Success))
    }

    fn pid(&self) -> Option<u32> {
        None
    }
}

const SECOND: Duration = Duration::from_secs(1);

async fn once(check: &Check, around: &Told) -> Outcome {
    attempt(check, ProbeKind::Ready, 10 * SECOND, 10 * SECOND, around).await
}

fn failure(words: &str) -> Outcome {
    Outcome::Failure(words.to_owned())
}

fn exec() -> Check {
    Check::Exec(Argv {
        words: vec!["pg_isready".to_owned(), "; rm -rf $HOME".to_owned()],
        shell: false,
    })
}

fn tcp(host: &str, port: u16) -> TcpTarget {
    TcpTarget {
        host: host.to_owned(),
        port,
    }
}

/// A port of 127.0.0.1 that nobody listens on while the guard lives: it is bound, but not listening.
fn closed_port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn tcp_tells_an_open_port_from_a_closed_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", ""] {
        assert_eq!(
            once(&Check::Tcp(tcp(host, port)), &Told::default()).await,
            Outcome::Success,
            "{host}"
        );
    }
    let (_held, closed) = closed_port();
    let refused = once(&Check::Tcp(tcp("127.0.0.1", closed)), &Told::default()).await;
    assert_eq!(refused, failure("connection refused"));
}

#[tokio::test]
async fn hp_04_a_swallowed_connection_times_out() {
    // A listener with a full backlog drops further SYNs.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    let short = Duration::from_millis(100);
    while let Ok(stream) = tokio::time::timeout(short, tokio::net::TcpStream::connect(address)).await {
        held.push(stream.unwrap());
        assert!(held.len() < 64, "the backlog never fills");
    }
    let check = Check::Tcp(tcp("127.0.0.1", address.port()));
    let outcome = attempt(&check, ProbeKind::Ready, 2 * short, SECOND, &Told::default()).await;
    assert_eq!(outcome, failure("timed out after 200ms"));
}

#[tokio::test]
async fn po_04_localhost_is_any_loopback_and_127_0_0_1_is_itself() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return; // No IPv6 on this machine: there is nothing to tell apart.
    };
    let port = listener.local_addr().unwrap().port();
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    if held.bind(([127, 0, 0, 1], port).into()).is_err() {
        return; // Somebody else holds the same number on the other loopback.
    }
    assert_eq!(
        once(&Check::Tcp(tcp("localhost", port)), &Told::default()).await,
        Outcome::Success
    );
    assert_eq!(
        once(&Check::Tcp(tcp("127.0.0.1", port)), &Told::default()).await,
        failure("connection refused")
    );
}

#[tokio::test]
async fn a_file_exists_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::default();
    assert_eq!(once(&Check::File(folder.path().into()), &told).await, Outcome::Success);
    let missing = Check::File(folder.path().join("missing"));
    assert_eq!(once(&missing, &told).await, failure("does not exist"));
}

#[tokio::test]
async fn hp_08_exec_says_how_it_ended_and_its_first_line() {
    let table = [
        (Executed::Success, Outcome::Success),
        (
            Executed::Failed {
                how: "exit code 2".to_owned(),
                output: b"no response\x07\nmore".to_vec(),
            },
            failure("exit code 2: no response\\u{7}"),
        ),
        (
            Executed::TimedOut { output: Vec::new() },
            failure("timed out after 10s"),
        ),
        (
            Executed::Unknown("no processes left".to_owned()),
            Outcome::Unknown("no processes left".to_owned()),
        ),
    ];
    for (executed, outcome) in table {
        let told = Told {
            executed: Some(executed),
            ..Told::default()
        };
        assert_eq!(once(&exec(), &told).await, outcome);
    }
}

#[tokio::test]
async fn log_and_notify_ask_what_was_seen() {
    let silent = Told::default();
    assert_eq!(
        once(&Check::Log("up".to_owned()), &silent).await,
        failure("no line matches yet")
    );
    assert_eq!(once(&Check::Notify, &silent).await, failure("READY=1 has not come yet"));
    let told = Told {
        ready: true,
        logged: true,
        ..Told::default()
    };
    let both = Check::All(vec![Check::Log("up".to_owned()), Check::Notify]);
    assert_eq!(once(&both, &told).await, Outcome::Success);
    let watched = attempt(&Check::Notify, ProbeKind::Health, SECOND, 5 * SECOND, &told).await;
    assert_eq!(watched, failure("no WATCHDOG=1 for 5s"));
}

#[tokio::test]
async fn all_names_what_is_missing_and_any_what_was_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = Check::Tcp(tcp("127.0.0.1", listener.local_addr().unwrap().port()));
    let missing = Check::File("/nonexistent/x".into());
    let log = Check::Log("up".to_owned());
    let told = Told::default();

    let all = Check::All(vec![open.clone(), missing.clone(), log.clone()]);
    let words = "file: /nonexistent/x (does not exist), log: /up/ (no line matches yet)";
    assert_eq!(once(&all, &told).await, failure(words));
    assert_eq!(
        once(&Check::Any(vec![missing.clone(), log]), &told).await,
        failure(words)
    );
    assert_eq!(once(&Check::Any(vec![missing, open]), &told).await, Outcome::Success);
}

#[tokio::test]
async fn hp_16_unknown_neither_fails_nor_succeeds_a_combination() {
    let told = Told {
        executed: Some(Executed::Unknown("no descriptors".to_owned())),
        ..Told::default()
    };
    let log = Check::Log("up".to_owned());
    assert!(matches!(
        once(&Check::All(vec![exec(), Check::Listen]), &told).await,
        Outcome::Unknown(_)
    ));
    assert!(matches!(
        once(&Check::Any(vec![exec(), log.clone()]), &told).await,
        Outcome::Unknown(_)
    ));
    // Whatever the unknown one would say, these are decided.
    assert!(matches!(
        once(&Check::All(vec![exec(), log]), &told).await,
        Outcome::Failure(_)
    ));
    assert_eq!(
        once(&Check::Any(vec![exec(), Check::Listen]), &told).await,
        Outcome::Success
    );
}

#[tokio::test]
async fn hp_10_an_attempt_that_is_over_leaves_nothing_running() {
    let told = Told::default();
    let any = Check::Any(vec![exec(), Check::Listen]);
    assert_eq!(once(&any, &told).await, Outcome::Success);
    assert_eq!(
        (told.started.get(), told.dropped.get()),
        (1, 1),
        "the hanging command was dropped"
    );
}

#[tokio::test]
async fn members_of_all_run_at_the_same_time() {
    // Accepts nothing and answers nothing: each http member takes its whole timeout.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = Gate::Http(format!("http://{}/", listener.local_addr().unwrap()));
    let started = Instant::now();
    let timeout = Duration::from_millis(300);
    let outcome = attempt_gates(&vec![silent; 20], timeout).await;
    assert!(matches!(outcome, Outcome::Failure(reason) if reason.ends_with("(timed out after 300ms)")));
    assert!(
        started.elapsed() < 10 * timeout,
        "one after the other would take {:?}",
        20 * timeout
    );
}

#[tokio::test]
async fn gates_name_those_that_are_closed_as_they_were_written() {
    let (_held, closed) = closed_port();
    let folder = tempfile::tempdir().unwrap();
    let there = Gate::File(folder.path().into());
    let missing = Gate::File("/nonexistent/x".into());
    let refused = Gate::Tcp(tcp("127.0.0.1", closed));

    assert_eq!(attempt_gates(&[], SECOND).await, Outcome::Success);
    assert_eq!(
        attempt_gates(std::slice::from_ref(&there), SECOND).await,
        Outcome::Success
    );
    let outcome = attempt_gates(&[there, refused, missing.clone()], SECOND).await;
    assert_eq!(
        outcome,
        failure(&format!(
            "tcp://127.0.0.1:{closed} (connection refused), file:/nonexistent/x (does not exist)"
        ))
    );
    assert_eq!(
        attempt_gates(&[missing], SECOND).await,
        failure("file:/nonexistent/x (does not exist)")
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_failure_with_its_reason() {
    // `.invalid` never resolves (RFC 6761, 6.4).
    let outcome = once(&Check::Tcp(tcp("db.invalid", 5432)), &Told::default()).await;
    let Outcome::Failure(reason) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(
        reason.starts_with("name db.invalid cannot be resolved (") || reason.starts_with("timed out"),
        "{reason}"
    );
}
