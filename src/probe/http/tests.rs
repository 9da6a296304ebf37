use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::probe::{Executed, Surroundings, attempt as attempt_check};
use crate::reconcile::ProbeKind;
use crate::spec::{Argv, Check, StatusPattern};

struct Nothing;

impl Surroundings for Nothing {
    fn exec<'a>(&'a self, _: &'a Argv, _: Duration) -> std::pin::Pin<Box<dyn Future<Output = Executed> + 'a>> {
        unreachable!("no exec check here")
    }
    fn log_matched(&self, _: &str) -> bool {
        false
    }
    fn notified(&self, _: ProbeKind, _: Duration) -> bool {
        false
    }
    fn listens(&self, _: Option<u16>) -> std::pin::Pin<Box<dyn Future<Output = Outcome> + '_>> {
        unreachable!("no listen check here")
    }
    fn pid(&self) -> Option<u32> {
        None
    }
}

fn check(url: String) -> HttpCheck {
    HttpCheck {
        url,
        method: "GET".to_owned(),
        headers: Default::default(),
        status: vec![StatusPattern::Class(2), StatusPattern::Class(3)],
        body: None,
        json: Default::default(),
    }
}

fn failure(words: &str) -> Outcome {
    Outcome::Failure(words.to_owned())
}

async fn within(check: HttpCheck, timeout: Duration) -> Outcome {
    attempt_check(&Check::Http(check), ProbeKind::Health, timeout, timeout, &Nothing).await
}

/// Long enough for anything that is not meant to time out.
const LONG: Duration = Duration::from_secs(30);

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/healthz", listener.local_addr().unwrap());
    (listener, url)
}

/// Takes one connection and its request, and answers with `first`, then with `again` for as long as somebody reads.
/// Returns the request and how many bytes could be written.
async fn serve(listener: TcpListener, first: Vec<u8>, again: Option<Vec<u8>>) -> (String, usize) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let mut written = first.len();
    let mut alive = stream.write_all(&first).await.is_ok();
    while let (true, Some(again)) = (alive, &again) {
        alive = stream.write_all(again).await.is_ok();
        written += again.len();
    }
    let _ = stream.shutdown().await;
    (String::from_utf8(request).unwrap(), written)
}

/// The outcome of one check against a server that answers this, and what the server saw.
async fn answered(
    adjust: impl FnOnce(&mut HttpCheck),
    first: impl Into<Vec<u8>>,
    again: Option<&[u8]>,
) -> (Outcome, String, usize) {
    let (listener, url) = listen().await;
    let mut check = check(url);
    adjust(&mut check);
    let server = serve(listener, first.into(), again.map(<[u8]>::to_vec));
    let (outcome, (request, written)) = tokio::join!(within(check, LONG), server);
    (outcome, request, written)
}

async fn judged(adjust: impl FnOnce(&mut HttpCheck), answer: &str) -> Outcome {
    answered(adjust, answer, None).await.0
}

#[tokio::test]
async fn the_status_decides() {
    let table = [
        ("200 OK", Outcome::Success),
        ("204 No Content", Outcome::Success),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", Outcome::Success),
        ("404 Not Found", failure("status 404")),
        ("503 Service Unavailable", failure("status 503")),
    ];
    for (status, outcome) in table {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(judged(|_| {}, &answer).await, outcome, "{status}");
    }
    let exact = |check: &mut HttpCheck| check.status = vec![StatusPattern::Exact(418)];
    assert_eq!(judged(exact, "HTTP/1.1 418 Teapot\r\n\r\n").await, Outcome::Success);
    assert_eq!(judged(exact, "HTTP/1.1 200 OK\r\n\r\n").await, failure("status 200"));
}

#[tokio::test]
async fn the_request_is_in_origin_form_and_its_headers_are_the_users() {
    let (outcome, request, _) = answered(|_| {}, "HTTP/1.1 200 OK\r\n\r\n", None).await;
    assert_eq!(outcome, Outcome::Success);
    assert!(request.starts_with("GET /healthz HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: 127.0.0.1:"), "{request}");

    let adjust = |check: &mut HttpCheck| {
        check.method = "OPTIONS".to_owned();
        check.headers.insert("Host".to_owned(), "shop.example".to_owned());
        check.headers.insert("X-Probe".to_owned(), "1".to_owned());
    };
    let (_, request, _) = answered(adjust, "HTTP/1.1 200 OK\r\n\r\n", None).await;
    assert!(request.starts_with("OPTIONS /healthz HTTP/1.1\r\n"), "{request}");
    assert_eq!(request.matches("host:").count(), 1, "{request}");
    assert!(
        request.contains("host: shop.example\r\n") && request.contains("x-probe: 1\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn body_and_json_decide() {
    let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let matches = |check: &mut HttpCheck| check.body = Some("^ok".to_owned());
    assert_eq!(judged(matches, &answer("ok, 3 workers")).await, Outcome::Success);
    assert_eq!(
        judged(matches, &answer("starting")).await,
        failure("body does not match")
    );

    let json = |check: &mut HttpCheck| {
        check.json.insert("status".to_owned(), "alive".into());
        check.json.insert("db.pools.0.free".to_owned(), 3.into());
    };
    let alive = r#"{"status":"alive","db":{"pools":[{"free":3.0}]}}"#;
    assert_eq!(judged(json, &answer(alive)).await, Outcome::Success);
    let dead = r#"{"status":"dead\u001b","db":{"pools":[]}}"#;
    assert_eq!(
        judged(json, &answer(dead)).await,
        failure(r#"status is "dead\u001b" instead of "alive""#)
    );
    let short = r#"{"status":"alive","db":{"pools":[]}}"#;
    assert_eq!(
        judged(json, &answer(short)).await,
        failure("body has no field db.pools.0.free")
    );
    assert_eq!(judged(json, &answer("<html>")).await, failure("body is not JSON"));
}

#[tokio::test]
async fn hp_01_one_byte_at_a_time_ends_at_the_deadline() {
    for (sent, dribble) in [
        ("HTTP/1.1 200 OK\r\nX-Slow: ", "x"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", "x"),
    ] {
        let (listener, url) = listen().await;
        let mut check = check(url);
        check.body = Some("never".to_owned());
        let timeout = Duration::from_millis(300);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut pace = tokio::time::interval(timeout / 10);
            while stream.write_all(dribble.as_bytes()).await.is_ok() {
                pace.tick().await;
            }
        };
        let started = Instant::now();
        let (outcome, ()) = tokio::join!(within(check, timeout), server);
        assert_eq!(outcome, failure("timed out after 300ms"), "{sent:?}");
        assert!(started.elapsed() >= timeout);
    }
}

#[tokio::test]
async fn hp_02_an_endless_body_is_judged_by_its_beginning() {
    let chunk = format!("1000\r\n{}\r\n", "z".repeat(0x1000));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bounded = |written: usize| assert!(written < 16 << 20, "{written} bytes were taken");

    // By the status line alone: the body is not read at all.
    let (outcome, _, written) = answered(|_| {}, head, Some(chunk.as_bytes())).await;
    assert_eq!(outcome, Outcome::Success);
    bounded(written);

    let never = |check: &mut HttpCheck| check.body = Some("never".to_owned());
    let (outcome, _, written) = answered(never, head, Some(chunk.as_bytes())).await;
    assert_eq!(outcome, failure("body does not match"));
    bounded(written);

    let json = |check: &mut HttpCheck| {
        check.json.insert("a".to_owned(), 1.into());
    };
    let (outcome, _, written) = answered(json, head, Some(chunk.as_bytes())).await;
    assert_eq!(outcome, failure("body is not JSON of less than 64 KiB"));
    bounded(written);
}

#[tokio::test]
async fn hp_02_a_huge_header_block_is_a_failure() {
    let header = format!("X-Big: {}\r\n", "h".repeat(8000));
    let (outcome, _, written) = answered(|_| {}, "HTTP/1.1 200 OK\r\n", Some(header.as_bytes())).await;
    assert_eq!(outcome, failure("more than 64 KiB of headers"));
    assert!(written < 16 << 20, "{written} bytes were taken");
}

#[tokio::test]
async fn hp_02_nothing_is_decompressed() {
    let (listener, url) = listen().await;
    let mut check = check(url);
    check.body = Some("ok".to_owned());
    let answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00".to_vec();
    let (outcome, (request, _)) = tokio::join!(within(check, LONG), serve(listener, answer, None));
    assert_eq!(outcome, failure("body does not match"));
    assert!(!request.to_ascii_lowercase().contains("accept-encoding"), "{request}");
}

#[tokio::test]
async fn hp_04_reasons_are_distinct() {
    // Accepts (the kernel does) and never answers.
    let (_listener, url) = listen().await;
    let timeout = Duration::from_millis(200);
    assert_eq!(
        within(check(url.clone()), timeout).await,
        failure("timed out after 200ms")
    );

    // Reset: closed with unread bytes of ours in its buffer.
    let (listener, url) = listen().await;
    let resetting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(within(check(url), LONG), resetting);
    assert_eq!(outcome, failure("connection reset"));

    // Refused: the port is taken, so nobody else gets it, but nobody listens.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", held.local_addr().unwrap());
    assert_eq!(within(check(url), LONG).await, failure("connection refused"));
}

#[tokio::test]
async fn what_is_no_answer_is_said() {
    assert_eq!(
        judged(|_| {}, "SSH-2.0-OpenSSH_9.2\r\n").await,
        failure("the answer is not HTTP")
    );
    assert_eq!(judged(|_| {}, "").await, failure("connection closed before an answer"));
    let body = |check: &mut HttpCheck| check.body = Some("ok".to_owned());
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok";
    assert!(matches!(judged(body, cut).await, Outcome::Failure(_)));
}

#[tokio::test]
async fn hp_05_a_proxy_is_never_asked() {
    // Nothing of this room reads the environment at all, so it is enough that the code cannot.
    for source in [
        include_str!("../http.rs"),
        include_str!("../reach.rs"),
        include_str!("../check.rs"),
    ] {
        assert!(!source.contains("env::var"), "the environment is read");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_says_nothing_about_the_service() {
    let mut bad = check("http://127.0.0.1:1/".to_owned());
    bad.headers.insert("bad header".to_owned(), "x".to_owned());
    let (listener, url) = listen().await;
    bad.url = url;
    let outcome = within(bad, LONG).await;
    assert!(
        matches!(&outcome, Outcome::Unknown(reason) if reason.contains("bad header")),
        "{outcome:?}"
    );
    drop(listener);
}
