//! Requests that make no sense, clients that never finish, clients that are gone: one clean error each, and the daemon goes on.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::common::{CEILING, eventually};
use crate::raw::{Running, answers, half_close, read_all};

const FILE: &str = "[services.web]\ncommand = \"echo start >> ledger; exec sleep 1000\"\n[services.db]\ncommand = \"exec sleep 1000\"\nlabels = [\"back\"]\n";

/// So many connections of one test are more than a process may have by default.
fn allow_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(16_384), hard).unwrap();
}

#[test]
fn ap_11_what_is_no_request_gets_one_clean_error() {
    let running = Running::of(FILE);
    let post = |body: &str| {
        format!(
            "POST /v1/stop HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let deep = |open: &str, count: usize| post(&format!("{{\"names\":{}", open.repeat(count)));
    let headers = |count: usize| -> String { (0..count).map(|number| format!("X-{number}: y\r\n")).collect() };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
    let cases: Vec<(String, u16)> = vec![
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(), 400),
        ("GET\r\n\r\n".into(), 400),
        ("GET /v1/project\r\n\r\n".into(), 400),
        ("GET /v1/project HTTP/9.9\r\n\r\n".into(), 400),
        ("GET /v1/pro\0ject HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /v1/project HTTP/1.1\r\nX\0: y\r\n\r\n".into(), 400),
        ("GET /v1/project HTTP/1.1\r\nX: a\0b\r\n\r\n".into(), 400),
        ("GET /v1/project HTTP/1.1\r\nno colon\r\n\r\n".into(), 400),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000)), 431),
        (
            format!("GET /v1/project HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(20_000)),
            431,
        ),
        (format!("GET /v1/project HTTP/1.1\r\n{}\r\n", headers(200)), 431),
        (get("/"), 404),
        (get("//v1/project"), 404),
        (get("/v1/../v1/project"), 404),
        (get("/v1/project/"), 404),
        (get("/v1/services/%00"), 404),
        (get("/v1/services/%ff"), 404),
        (get("/v1/services/%2e%2e%2fproject"), 404),
        (get("/v1/services/__proto__"), 404),
        (get("http://evil.example/v1/nosuch"), 404),
        (get("*"), 404),
        ("CONNECT evil:80 HTTP/1.1\r\nConnection: close\r\n\r\n".into(), 404),
        (get("/v1/project?x=1#y"), 200),
        ("GET /v1/project HTTP/1.0\r\n\r\n".into(), 200),
        (get("http://evil.example/v1/project"), 200),
        (post("{\"names\":[\"web\""), 400),
        (post("{\"names\":{\"a\":1}}"), 400),
        (post("{\"names\":[\"web\"],\"names\":[]}"), 400),
        (post("{\"nmaes\":[\"web\"]}"), 400),
        (post("[]"), 400),
        (post("null"), 400),
        (post("\u{0}"), 400),
        (post("{\"names\":[\"\\ud800\"]}"), 400),
        (post("{\"timeout_ms\":-1}"), 400),
        (post("{\"timeout_ms\":1e300}"), 400),
        (post("{\"timeout_ms\":18446744073709551616}"), 400),
        (post("{\"names\":[\"nosuch\"]}"), 404),
        (post("{\"names\":[\"\"]}"), 404),
        (post("{\"names\":[\"@\"]}"), 404),
        (post("{\"names\":[\"web\\u0000\"]}"), 404),
        (post(&format!("{{\"names\":[\"{}\"]}}", "a".repeat(60_000))), 404),
        (post("{\"signal\":\"KILL\",\"names\":[\"web\"]}"), 400),
        (deep("[", 30_000), 400),
        (deep("{\"a\":", 10_000), 400),
        (post(&"x".repeat(70_000)), 413),
        // Refused by what it announces, not by what it has sent.
        (
            "POST /v1/stop HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n".into(),
            413,
        ),
        ("POST /v1/stop HTTP/1.1\r\nContent-Length: -1\r\n\r\n".into(), 400),
        (
            "POST /v1/stop HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}".into(),
            400,
        ),
        (
            "POST /v1/stop HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".into(),
            400,
        ),
        (
            "POST /v1/stop HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}".into(),
            400,
        ),
        (
            "POST /v1/stop HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n{}".into(),
            400,
        ),
        (
            format!(
                "POST /v1/stop HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
                format!("2000\r\n{}\r\n", "x".repeat(0x2000)).repeat(20)
            ),
            413,
        ),
    ];
    for (request, status) in &cases {
        let shown: String = request.chars().take(120).collect();
        let answers = answers(&running.send(request.as_bytes()));
        assert_eq!(answers.len(), 1, "{shown:?}: {answers:?}");
        let answer = &answers[0];
        assert_eq!(answer.status, *status, "{shown:?}: {answer:?}");
        // What hyper itself does not take for a request is answered by the status alone.
        if *status >= 400 && !answer.body.is_empty() {
            assert_eq!(answer.kind(), "application/problem+json", "{shown:?}");
            let problem = answer.json();
            assert_eq!(problem["status"], *status, "{shown:?}");
            assert!(
                problem["detail"].as_str().unwrap().len() < 1000,
                "{shown:?}: a long answer"
            );
        }
    }
    assert_eq!(running.project.service("web")["state"], "ready");
    assert_eq!(running.project.read("ledger"), "start\n");
    running.assert_well("bad requests");
    running.end();
}

#[test]
fn ap_11_a_wrong_method_is_told_the_right_one_and_changes_nothing() {
    let running = Running::of(FILE);
    for (path, allowed) in [
        ("/v1/project", "GET"),
        ("/v1/services/web", "GET"),
        ("/v1/down", "POST"),
        ("/v1/services/web/stop", "POST"),
        ("/metrics", "GET"),
    ] {
        for method in [
            "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get",
        ] {
            if method == allowed {
                continue;
            }
            let answer = running.ask(method, path, "");
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some(allowed)),
                "{method} {path}"
            );
            assert_eq!(answer.kind(), "application/problem+json");
        }
        let head = running.ask("HEAD", path, "");
        assert_eq!((head.status, head.body.len()), (405, 0), "HEAD {path}");
    }
    assert_eq!(running.project.service("web")["state"], "ready");
    running.end();
}

#[test]
fn ap_13_logs_with_huge_or_negative_numbers_and_regex_bombs() {
    let running = Running::of(
        "[services.web]\ncommand = \"echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!; exec sleep 1000\"\nready = { log = \"!\" }\n",
    );
    for (query, status) in [
        ("tail=-1", 400),
        ("tail=99999999999999999999", 400),
        ("tail=18446744073709551615", 200),
        ("run=-1", 400),
        ("run=4294967295", 200),
        ("run=4294967296", 400),
        ("since=-5m", 400),
        ("since=99999999999999999999h", 400),
        ("since=9999-12-01T00:00:00Z", 200),
        ("until=-009000-01-01T00:00:00Z", 200),
        ("since=1h&since=2h", 400),
        ("grep=(", 400),
        ("grep=x{1000}{1000}{1000}", 400),
        ("grep=(((((((a*)*)*)*)*)*)*)*b", 200),
        ("grep=%28a%7Ca%29%2A%24", 200),
        ("grep=%FF%FE", 200),
        ("stream=both", 400),
        ("nosuch=1", 400),
        ("service=nosuch", 404),
    ] {
        let answer = running.get(&format!("/v1/logs?{query}"));
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        if status != 200 {
            assert_eq!(answer.kind(), "application/problem+json", "{query}");
        }
    }
    let nested = format!("/v1/logs?grep={}a{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(running.get(&nested).status, 400);
    let whole = running.get("/v1/logs?grep=(a|a)*!$");
    assert_eq!(whole.text().lines().count(), 1, "{whole:?}");
    running.assert_well("regex bombs");
    running.end();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let running = Running::of(FILE);
    let mut requests = String::new();
    for number in 0..100 {
        let path = ["/v1/project", "/v1/nosuch", "/v1/services/web", "/v1/services/nosuch"][number % 4];
        requests.push_str(&format!("GET {path} HTTP/1.1\r\n\r\n"));
    }
    requests.push_str("GET /v1/health HTTP/1.1\r\nConnection: close\r\n\r\n");
    let answers = answers(&running.send(requests.as_bytes()));
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let mut wanted = [200, 404, 200, 404].repeat(25);
    wanted.push(200);
    assert_eq!(statuses, wanted);
    running.end();
}

#[test]
fn ap_04_a_thousand_slow_connections_keep_nobody_out() {
    allow_descriptors();
    let project = crate::common::Project::new(
        "[services.web]\ncommand = \"mkfifo in; exec 3<>in; echo here; while read -r line <&3; do echo \\\"got $line\\\"; done\"\nready = { log = \"here\" }\n",
    );
    // Connected before all the others, and the last that may go.
    let mut up = project.up(&[]);
    up.wait_for("ready after");
    let running = Running::joined(project);
    let before = running.memory_kib();
    let parts: [&[u8]; 5] = [
        b"",
        b"GET /v1/proj",
        b"GET /v1/project HTTP/1.1\r\nX-Slow: y\r\n",
        b"POST /v1/stop HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{\"names\":[",
        b"GET /v1/project HTTP/1.1\r\n\r\n",
    ];
    let mut slow: Vec<UnixStream> = Vec::new();
    let mut worst = std::time::Duration::ZERO;
    for number in 0..1000 {
        let mut stream = running.connect();
        // Who is shown the door can't write.
        let _ = stream.write_all(parts[number % parts.len()]);
        slow.push(stream);
        if number % 100 == 99 {
            let asked = std::time::Instant::now();
            running.assert_well("slow connections");
            worst = worst.max(asked.elapsed());
        }
    }
    for stream in &mut slow {
        let _ = stream.write_all(b" ");
    }
    let asked = std::time::Instant::now();
    running.assert_well("a thousand slow connections");
    worst = worst.max(asked.elapsed());
    println!("the slowest `ps` and its check took {worst:?}");
    assert!(worst.as_secs() < 5, "{worst:?}");
    assert!(running.descriptors() < 400, "{} descriptors", running.descriptors());
    assert!(
        running.memory_kib() < before + 32 * 1024,
        "{before} KiB became {}",
        running.memory_kib()
    );
    std::fs::write(running.project.file("in"), "it\n").unwrap();
    up.wait_for("| got it");
    drop(slow);
    up.signal("INT");
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    running.project.assert_nothing_is_left();
}

#[test]
fn ap_05_clients_that_vanish_leave_nothing_behind() {
    allow_descriptors();
    let running = Running::of(
        "[services.web]\ncommand = \"seq 200000; echo here; exec sleep 1000\"\nready = { log = \"here\" }\n",
    );
    // Whether an answer begins at once.
    let requests: [(&[u8], bool); 9] = [
        (b"GET /v1/pro", false),
        (
            b"POST /v1/kill HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{\"names\":",
            false,
        ),
        (b"GET /v1/services HTTP/1.1\r\n\r\n", true),
        (b"GET /v1/logs HTTP/1.1\r\n\r\n", true),
        (b"GET /v1/logs?follow=1 HTTP/1.1\r\n\r\n", true),
        (b"GET /v1/events?since=0 HTTP/1.1\r\n\r\n", true),
        (b"GET /v1/wait?for=stopped HTTP/1.1\r\n\r\n", false),
        (
            b"POST /v1/up HTTP/1.1\r\nContent-Length: 31\r\n\r\n{\"console\": true,\"detach\":true}",
            true,
        ),
        (b"GET /v1/plan HTTP/1.1\r\n\r\n", true),
    ];
    let round = |number: usize| {
        for (at, (request, is_answered)) in requests.iter().enumerate() {
            let mut stream = running.connect();
            stream.write_all(request).unwrap();
            match (number + at) % 3 {
                0 => half_close(&stream),
                // The rest of the answer is never read.
                1 if *is_answered => assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1),
                _ => {}
            }
        }
    };
    // What the first of each kind opens for good is not counted.
    round(1);
    running.assert_well("one round");
    let idle = running.descriptors();
    (0..40).for_each(round);
    running.assert_well("forty rounds");
    eventually("its descriptors are closed", || running.descriptors() <= idle);
    running.end();
}

#[test]
fn ap_05_whoever_hangs_up_gives_up_their_place_whatever_they_sent_behind() {
    allow_descriptors();
    let running = Running::of(FILE);
    let idle = running.descriptors();
    let before = running.memory_kib();
    // More than there are places, each with the beginning of another request behind it, so that nobody reads the end.
    for request in [
        "GET /v1/wait?for=stopped HTTP/1.1\r\n\r\nGET /v1",
        "GET /v1/events HTTP/1.1\r\n\r\nGET /v1",
    ] {
        for _ in 0..3 {
            let mut held = Vec::new();
            for _ in 0..100 {
                let mut stream = running.connect();
                stream.write_all(request.as_bytes()).unwrap();
                held.push(stream);
            }
            // They are really there.
            running.assert_well("a hundred that wait");
            drop(held);
            eventually("they are gone", || running.descriptors() <= idle);
        }
    }
    assert_eq!(running.get("/v1/wait?for=ready&timeout_ms=1").status, 200);
    assert!(
        running.memory_kib() < before + 16 * 1024,
        "{before} KiB became {}",
        running.memory_kib()
    );
    running.end();
}

#[test]
fn too_many_that_wait_are_told_so_and_leave_room_for_quick_questions() {
    allow_descriptors();
    let running = Running::of(FILE);
    let mut held = Vec::new();
    for _ in 0..208 {
        let mut stream = running.connect();
        stream.write_all(b"GET /v1/wait?for=stopped HTTP/1.1\r\n\r\n").unwrap();
        held.push(stream);
    }
    let one_more = || running.get("/v1/wait?for=stopped&timeout_ms=1").status;
    eventually("every place is taken", || one_more() == 429);
    running.assert_well("every place was taken");
    // A connection that waits is not given up for idle ones.
    let idle: Vec<_> = (0..300).map(|_| running.connect()).collect();
    running.assert_well("three hundred idle ones");
    drop(idle);
    assert_eq!(running.ask("POST", "/v1/stop", "{\"wait\":false}").status, 200);
    for stream in &mut held {
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
    }
    running.end();
}

#[test]
fn every_name_is_meant_once_however_often_it_is_said() {
    let running = Running::of(FILE);
    let names = serde_json::json!({ "names": vec!["@back"; 8000], "signal": "CONT" }).to_string();
    let answer = running.ask("POST", "/v1/kill", &names);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["services"].as_array().unwrap().len(), 1);
    let twice = running.get("/v1/wait?service=web&service=web&service=@back");
    assert_eq!(twice.json()["services"].as_array().unwrap().len(), 2);
    running.end();
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let running = Running::of(FILE);
    let mut stream = running.connect();
    stream
        .write_all(b"POST /v1/stop HTTP/1.1\r\nContent-Length: 2\r\n\r\n{")
        .unwrap();
    let began = std::time::Instant::now();
    let answers = answers(&read_all(&mut stream));
    assert!(began.elapsed() < CEILING);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [408]);
    assert_eq!(running.project.service("web")["state"], "ready");
    running.end();
}
